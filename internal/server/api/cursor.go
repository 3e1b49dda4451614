package api

import (
	"encoding/base64"
	"errors"
	"math"
	"strconv"
	"time"

	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// EncodeCursor writes a sequence of a shard as SLS writes cursors: base64 of
// the decimal number. The Go SDK reads them, subtracts one and writes them
// again, so they have to be dense.
func EncodeCursor(seq uint64) string {
	return base64.StdEncoding.EncodeToString(strconv.AppendUint(nil, seq, 10))
}

// DecodeCursor reads a cursor; ok is false for what is none.
func DecodeCursor(s string) (seq uint64, ok bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return 0, false
	}
	seq, err = strconv.ParseUint(string(b), 10, 63) // SLS: a signed 64-bit integer
	return seq, err == nil && strconv.FormatUint(seq, 10) == string(b)
}

// getCursor serves type=cursor: from is begin, end or unix seconds of receipt.
func (h *Handler) getCursor(rq *request, _ string, s shardlog.Shard) error {
	first, next := s.Bounds()
	var seq uint64
	switch from := rq.r.URL.Query().Get("from"); from {
	case "begin":
		seq = first
	case "end":
		seq = next
	default:
		sec, err := strconv.ParseInt(from, 10, 64)
		if err != nil || sec < 0 {
			return invalid("from is %q; it has to be begin, end or a time in unix seconds", from)
		}
		if sec > math.MaxInt64/int64(time.Second) {
			seq = next
			break
		}
		if seq, err = s.SeekTime(sec * int64(time.Second)); err != nil {
			return err
		}
	}
	return rq.json(struct {
		Cursor string `json:"cursor"`
	}{EncodeCursor(seq)})
}

// getCursorTime serves type=cursor_time: when the log group at the cursor was
// received. At the end of the shard that is now, for what will be there will
// not be older; before the first group that is kept, it is the time of that.
func (h *Handler) getCursorTime(rq *request, id string, s shardlog.Shard) error {
	seq, err := cursorOf(rq, "cursor")
	if err != nil {
		return err
	}
	first, next := s.Bounds()
	if seq > next {
		return beyondEnd(id)
	}
	at := rq.now.Unix()
	if seq < next {
		for seq = max(seq, first); seq < next; seq++ {
			recs, err := s.Read(seq, 1, 1)
			if errors.Is(err, shardlog.ErrCorrupt) { // the one behind it was received about then
				continue
			}
			if err != nil {
				return cursorError(err, id)
			}
			if len(recs) > 0 {
				at = recs[0].Received / int64(time.Second)
			}
			break
		}
	}
	return rq.json(struct {
		Time int64 `json:"cursor_time"`
	}{at})
}

// cursorOf reads a cursor from the query string.
func cursorOf(rq *request, name string) (uint64, error) {
	s := rq.r.URL.Query().Get(name)
	seq, ok := DecodeCursor(s)
	if !ok {
		return 0, sls.NewError(sls.CodeInvalidCursor, "%s is %q, which is no cursor; get one with type=cursor", name, s)
	}
	return seq, nil
}

func beyondEnd(shard string) *sls.Error {
	return sls.NewError(sls.CodeInvalidCursor,
		"the cursor is beyond the end of shard %s; perhaps the logstore was deleted and made again; get a new one with type=cursor", shard)
}
