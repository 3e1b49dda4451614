package api

import (
	"context"
	"errors"
	"strconv"

	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

const (
	// maxPullCount is the most log groups of one reply, as in SLS.
	maxPullCount = 1000
	// pullBytes is about how much one reply holds before compression. It is less
	// than what a group may have, so that a reply holds at most one large group.
	pullBytes = 4 << 20
)

// pullLogs serves type=logs: log groups from a cursor on, as LogGroupList.
// Ranges without logs are empty groups in it, because clients derive each
// group's cursor by counting.
func (h *Handler) pullLogs(rq *request, id string, s shardlog.Shard) error {
	q := rq.r.URL.Query()
	seq, err := cursorOf(rq, "cursor")
	if err != nil {
		return err
	}
	count, err := queryInt(q.Get("count"), 100)
	if err != nil || count < 1 {
		return invalid("count is %q; it has to be between 1 and %d", q.Get("count"), maxPullCount)
	}
	count = min(count, maxPullCount)
	if q.Get("query") != "" || q.Get("processor") != "" {
		return sls.NewError(sls.CodeNotSupported, "pulling with a query or a processor is not supported; pull without it, or use GetLogs to search")
	}
	if q.Get("end_cursor") != "" {
		end, err := cursorOf(rq, "end_cursor")
		if err != nil {
			return err
		}
		if end <= seq {
			count = 0
		} else {
			count = int(min(uint64(count), end-seq))
		}
	}

	// Held until the reply is gone: decompressed groups and the compressed reply.
	held := int64(2 * (pullBytes + h.Limits.GroupBytes))
	if !h.budget.take(held) {
		return sls.NewError(sls.CodeServerBusy, "the service has too many requests in memory; try again")
	}
	defer func() { h.budget.give(held) }()

	body, next, err := h.readGroups(rq.ctx(), s, rq.store, id, seq, count)
	if err != nil {
		return err
	}
	// Most replies are small, and a slow reader may take long for them.
	if used := int64(2 * cap(body)); used < held {
		h.budget.give(held - used)
		held = used
	}
	head := rq.w.Header()
	head.Set(sls.HeaderCursor, EncodeCursor(next))
	head.Set(sls.HeaderCount, strconv.FormatUint(next-seq, 10))
	head.Set(sls.HeaderBodyRawSize, strconv.Itoa(len(body)))
	if next > seq {
		head.Set("x-log-read-last-cursor", strconv.FormatUint(next-1, 10))
	}
	return rq.compressed(sls.ContentTypePB, body, acceptedCompression(rq.r))
}

// readGroups encodes up to count log groups from seq on and returns the
// sequence after the last one.
func (h *Handler) readGroups(ctx context.Context, s shardlog.Shard, store, id string, seq uint64, count int) (body []byte, next uint64, err error) {
	if first, end := s.Bounds(); seq > end {
		return nil, 0, beyondEnd(id)
	} else if seq < first {
		return nil, 0, cursorError(shardlog.ErrTruncated, id)
	}
	if count == 0 {
		return nil, seq, nil
	}
	recs, err := s.Read(seq, count, pullBytes)
	if errors.Is(err, shardlog.ErrCorrupt) {
		// An empty group in its place: clients count groups, and one damaged
		// record must not stop them for ever.
		h.logDamage(store, id, seq, err)
		return sls.AppendLogGroupListEntry(nil, nil), seq + 1, nil
	}
	if err != nil {
		return nil, 0, cursorError(err, id)
	}
	sc, err := h.takeScratch(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer h.giveScratch(sc)
	next = seq
	for i := range recs {
		rec := &recs[i]
		if len(body) > 0 && len(body)+rec.RawSize > pullBytes {
			break
		}
		var group []byte
		if len(rec.Data) > 0 {
			if group, err = sc.decompress(rec.Data, rec.Compress, rec.RawSize, rec.RawSize); err != nil {
				h.logDamage(store, id, rec.Seq, err)
				group = nil
			}
		}
		body = sls.AppendLogGroupListEntry(body, group)
		next = rec.Seq + 1
	}
	return body, next, nil
}

// logDamage says once that a record cannot be read: clients may ask for it
// again and again.
func (h *Handler) logDamage(store, shard string, seq uint64, err error) {
	if _, said := h.damaged.LoadOrStore(store+"/"+shard+"/"+strconv.FormatUint(seq, 10), true); !said {
		h.Logger.Error("a record of the shard log is damaged; clients get an empty log group in its place",
			"store", store, "shard", shard, "sequence", seq, "error", err)
	}
}

// cursorError tells what to do about a cursor that fell out of the shard log.
func cursorError(err error, shard string) error {
	if errors.Is(err, shardlog.ErrTruncated) {
		return sls.NewError(sls.CodeInvalidCursor,
			"the cursor is older than what shard %s keeps; get a new one with type=cursor&from=begin, and read more often or have the shard log kept longer", shard)
	}
	return err
}
