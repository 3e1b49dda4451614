package api

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"logtail/internal/sls"
)

// firstBuffer is how much memory a body gets before any of it has arrived.
// It then grows fourfold: a client that announces much and sends little
// holds little.
const firstBuffer = 16 << 10

// readBody reads the body of at most limit bytes and returns how many bytes of
// the budget it holds; the caller gives them back, also after an error.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, limit int64) (body []byte, held int64, err error) {
	defer func() {
		if err != nil {
			dropBody(w, r)
		}
	}()
	size := r.ContentLength
	switch {
	case size == 0:
		return nil, 0, nil
	case size < 0:
		return nil, 0, sls.NewError(sls.CodeMissingContentLength, "the request has a body but no Content-Length; send the header")
	case size > limit:
		return nil, 0, sls.NewError(sls.CodePostBodyTooLarge,
			"the body has %d bytes, at most %d are taken here; send less at a time", size, limit)
	}

	// The slow must not keep their memory for ever. Not every ResponseWriter
	// (of a test, say) has deadlines.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(h.Limits.BodyTime + time.Duration(size/slowestRate)*time.Second))
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()

	for at := int64(0); ; {
		room := min(size, max(firstBuffer, 4*at))
		if !h.budget.take(room - held) {
			return nil, held, sls.NewError(sls.CodeServerBusy, "the service has too many requests in memory; try again")
		}
		held = room
		grown := make([]byte, room)
		copy(grown, body)
		body = grown
		n, err := io.ReadFull(r.Body, body[at:])
		at += int64(n)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, held, sls.NewError(sls.CodeRequestTimeout, "the body came too slowly: %d of %d bytes; try again", at, size)
		case err != nil:
			return nil, held, sls.NewError(sls.CodeBadRequest, "the body ended after %d of %d bytes; send it again", at, size)
		case at == size:
			return body, held, nil
		}
	}
}

// dropBody has the connection closed after the reply if the request has a body
// that was not read. Else net/http would wait for the rest of it, without a
// deadline, before it sends the reply.
func dropBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		closeAfter(w)
	}
}

// closeAfter has the connection closed after the reply.
func closeAfter(w http.ResponseWriter) { w.Header().Set("Connection", "close") }
