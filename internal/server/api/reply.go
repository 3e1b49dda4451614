package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"logtail/internal/sls"
)

// replyTime is how long a client may take for a reply, plus a second for every
// slowestRate bytes.
const replyTime = 30 * time.Second

// write sends a reply with status 200, the only one that clients of SLS take
// for a success.
func (rq *request) write(contentType string, body []byte) {
	rq.w.Header().Set("Content-Type", contentType)
	rq.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	limitWrite(rq.w, len(body))
	_, _ = rq.w.Write(body) // if the client goes away nobody is left to tell
}

// limitWrite gives a client its time to take a reply of so many bytes: one that
// takes nothing must not keep its connection for ever.
func limitWrite(w http.ResponseWriter, size int) {
	// Not every ResponseWriter (of a test, say) has deadlines.
	_ = http.NewResponseController(w).SetWriteDeadline(
		time.Now().Add(replyTime + time.Duration(size/slowestRate)*time.Second))
}

// ok sends an empty success.
func (rq *request) ok() error {
	rq.write("application/json", nil)
	return nil
}

// json sends v.
func (rq *request) json(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the reply: %w", err)
	}
	rq.write("application/json", body)
	return nil
}

// compressed sends a body as the client asked for it: as raw LZ4 block or zstd
// frame with the headers that tell so, or plainly. The headers are sent for an
// empty body, too: the Go SDK insists on them.
func (rq *request) compressed(contentType string, body []byte, t sls.CompressType) error {
	head := rq.w.Header()
	if t == sls.CompressNone {
		rq.write(contentType, body)
		return nil
	}
	head.Set(sls.HeaderCompressType, t.String())
	head.Set(sls.HeaderBodyRawSize, strconv.Itoa(len(body)))
	if len(body) == 0 {
		rq.write(contentType, nil)
		return nil
	}
	var c sls.Compressor
	packed, err := c.Append(nil, body, t)
	if err != nil {
		return fmt.Errorf("compress the reply: %w", err)
	}
	rq.write(contentType, packed)
	return nil
}

// acceptedCompression is what the client's Accept-Encoding lets us use. Other
// encodings in it ("gzip", which many HTTP libraries add by themselves) are not
// offered by SLS.
func acceptedCompression(r *http.Request) sls.CompressType {
	for _, v := range r.Header.Values("Accept-Encoding") {
		for name := range strings.SplitSeq(v, ",") {
			name, weight, _ := strings.Cut(name, ";")
			if strings.ReplaceAll(weight, " ", "") == "q=0" {
				continue
			}
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "lz4":
				return sls.CompressLZ4
			case "zstd":
				return sls.CompressZstd
			}
		}
	}
	return sls.CompressNone
}

// decode reads the JSON object in the body into v.
func (rq *request) decode(v any, what string) error {
	body := bytes.TrimSpace(rq.body)
	if len(body) == 0 || body[0] != '{' {
		return sls.NewError(sls.CodePostBodyInvalid, "the body has to be a JSON object: %s", what)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return sls.NewError(sls.CodePostBodyInvalid, "the body is not %s: %s", what, jsonTrouble(err))
	}
	return nil
}

// jsonTrouble tells a JSON error in the words of the API, not of Go.
func jsonTrouble(err error) string {
	switch e := err.(type) { //nolint:errorlint // json.Unmarshal returns these as they are
	case *json.UnmarshalTypeError:
		want := "a " + e.Type.Kind().String()
		switch e.Type.Kind().String() {
		case "int", "int32", "int64", "uint32", "uint64":
			want = "an integer"
		case "bool":
			want = "true or false"
		case "struct", "map":
			want = "an object"
		case "slice":
			want = "a list"
		}
		return fmt.Sprintf("%q is a %s where %s is expected (byte %d)", e.Field, e.Value, want, e.Offset)
	case *json.SyntaxError:
		return fmt.Sprintf("%s (byte %d)", e.Error(), e.Offset)
	}
	return err.Error()
}

// page reads offset and size of a list. Sizes beyond largest are an error: a
// client that asks for more would take the page for the whole.
func page(rq *request, largest int) (offset, size int, err error) {
	q := rq.r.URL.Query()
	if offset, err = queryInt(q.Get("offset"), 0); err != nil || offset < 0 {
		return 0, 0, invalid("offset is %q; it has to be 0 or more", q.Get("offset"))
	}
	if size, err = queryInt(q.Get("size"), min(100, largest)); err != nil || size < 0 || size > largest {
		return 0, 0, invalid("size is %q; it has to be between 1 and %d", q.Get("size"), largest)
	}
	if size == 0 {
		size = largest
	}
	return offset, size, nil
}

// queryInt reads an integer of the query string, def if it is missing.
func queryInt(s string, def int) (int, error) {
	if s == "" {
		return def, nil
	}
	return strconv.Atoi(s)
}
