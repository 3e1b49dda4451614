package api

import (
	"context"
	"crypto/md5" //nolint:gosec // a name for a lane, not a secret
	"encoding/binary"
	"fmt"
	"mime"
	"strconv"
	"strings"
	"sync"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// putLogs serves the three paths of a write. It answers 200 when everything is
// durable in the shard log.
//
// A body is one log group or, with x-log-mode: batch_group, a list of packages.
// Packages that carry a range are decided one by one (delivery.Decide) in the
// shard that owns their lane, and the reply tells what became of each.
func (h *Handler) putLogs(rq *request) error {
	l, err := h.logstore(rq)
	if err != nil {
		return err
	}
	packages, err := h.readPackages(rq)
	if err != nil {
		return err
	}
	w := write{h: h, rq: rq, l: l, packages: packages, results: make([]sls.PutResult, len(packages)), errs: make([]error, len(packages))}
	for i := range packages {
		w.ranges = w.ranges || packages[i].Range != nil
	}
	if err := w.route(); err != nil {
		return err
	}
	if err := w.records(); err != nil {
		return err
	}
	w.append()
	return w.reply()
}

// readPackages takes the body apart. A single log group is a list of one.
func (h *Handler) readPackages(rq *request) ([]sls.Package, error) {
	head := rq.r.Header
	switch t, _, err := mime.ParseMediaType(head.Get("Content-Type")); {
	case head.Get("Content-Type") == "":
		return nil, sls.NewError(sls.CodeMissingContentType, "the header Content-Type is missing; log groups are %s", sls.ContentTypePB)
	case err != nil || t != sls.ContentTypePB:
		return nil, sls.NewError(sls.CodeInvalidContentType, "Content-Type is %q; log groups have to be sent as %s", head.Get("Content-Type"), sls.ContentTypePB)
	}
	raw := head.Get(sls.HeaderBodyRawSize)
	if raw == "" {
		return nil, sls.NewError(sls.CodeMissingBodyRawSize, "the header %s is missing; it tells the size of the body before compression", sls.HeaderBodyRawSize)
	}
	size, err := strconv.Atoi(raw)
	if err != nil || size < 0 {
		return nil, sls.NewError(sls.CodeInvalidBodyRawSize, "%s is %q; it has to be a number of bytes", sls.HeaderBodyRawSize, raw)
	}
	compress, err := sls.ParseCompressType(head.Get(sls.HeaderCompressType))
	if err != nil {
		return nil, err
	}
	switch mode := head.Get(sls.HeaderMode); mode {
	case "":
		return []sls.Package{{Data: rq.body, RawSize: size, Compress: compress}}, nil
	case sls.ModeBatchGroup:
		limits := sls.DefaultLimits
		limits.MaxRaw = h.Limits.GroupBytes
		return sls.DecodePackages(rq.body, limits)
	default:
		return nil, invalid("%s is %q; it has to be %s, or be left out for a single log group", sls.HeaderMode, mode, sls.ModeBatchGroup)
	}
}

// write is one PutLogs on its way.
type write struct {
	h        *Handler
	rq       *request
	l        *logstore
	packages []sls.Package
	ranges   bool // at least one package carries a range
	sequence bool // the single package carries the sequence number of a stock agent

	shards  []int              // by package
	recs    []*shardlog.Record // by package; nil for one that has nothing to store
	results []sls.PutResult
	errs    []error
}

// route finds the shard of each package: the owner of its lane, so that a lane
// always meets its progress; else the owner of the key that the client names,
// else any.
func (w *write) route() error {
	var rest int
	q := w.rq.r.URL.Query()
	if strings.HasSuffix(w.rq.r.URL.Path, "/shards/route") {
		key, err := hashKey(q.Get("key"))
		if err != nil {
			return err
		}
		s, err := w.l.shardOf(key)
		if err != nil {
			return err
		}
		rest = s.ID
		if q.Has("seqid") {
			if err := w.takeSequence(key, q.Get("seqid")); err != nil {
				return err
			}
		}
	} else {
		s, err := w.l.anyShard(w.h.turn.Add(1))
		if err != nil {
			return err
		}
		rest = s.ID
	}
	w.shards = make([]int, len(w.packages))
	for i, p := range w.packages {
		w.shards[i] = rest
		if p.Range != nil && !w.sequence {
			s, err := w.l.shardOf(p.Range.Lane.String())
			if err != nil {
				return err
			}
			w.shards[i] = s.ID
		}
	}
	return nil
}

// takeSequence turns the sequence number of a stock agent's exactly-once mode
// into a range: per logstore and hash key, numbers only ever grow, and what is
// not above the last one was sent before. As a range that begins at 0 and in
// which each log ends at the number, that is what compare and append does.
func (w *write) takeSequence(key, number string) error {
	n, err := strconv.ParseUint(number, 10, 63)
	switch {
	case err != nil || n == 0:
		return invalid("seqid is %q; it has to be a number from 1 up", number)
	case len(w.packages) != 1 || w.packages[0].Range != nil:
		return invalid("seqid goes with a single log group only; leave it out")
	}
	w.sequence = true
	w.packages[0].Range = &delivery.Range{
		Lane: delivery.LaneID(md5.Sum([]byte("seqid " + key))), //nolint:gosec // see the import
		End:  n,
		Ends: binary.AppendUvarint(nil, n), // of the first log; record appends those of the others
	}
	return nil
}

// records checks each package and makes its record. Without ranges the first
// bad one fails the request, before anything is stored; with ranges it gets an
// error of its own, and the ones after it in its lane are refused as a hole.
func (w *write) records() error {
	sc, err := w.h.takeScratch(w.rq.ctx())
	if err != nil {
		return err
	}
	defer func() {
		if sc != nil {
			w.h.giveScratch(sc)
		}
	}()
	w.recs = make([]*shardlog.Record, len(w.packages))
	decoded := 0
	for i := range w.packages {
		// A list of small packages may hold a hundred gigabytes of zeros: others
		// get their turn meanwhile, and nothing is done for who has gone away.
		if decoded += w.packages[i].RawSize; decoded > w.h.Limits.GroupBytes {
			decoded = w.packages[i].RawSize
			w.h.giveScratch(sc)
			if sc, err = w.h.takeScratch(w.rq.ctx()); err != nil {
				return err
			}
		}
		rec, err := w.record(sc, &w.packages[i])
		if err != nil {
			if !w.ranges {
				return err
			}
			w.errs[i] = err
			continue
		}
		w.recs[i] = rec
	}
	return nil
}

// record checks one package. It returns nil for a log group without logs and
// without a range: there is nothing to remember of it.
func (w *write) record(sc *scratch, p *sls.Package) (*shardlog.Record, error) {
	// Not the time at which the request began: its body may have taken long, and
	// the times of a shard must not fall.
	rec := &shardlog.Record{Received: w.h.Now().UnixNano(), Range: p.Range}
	if len(p.Data) > 0 {
		raw, err := sc.decompress(p.Data, p.Compress, p.RawSize, w.h.Limits.GroupBytes)
		if err != nil {
			return nil, err
		}
		if err := sc.group.Decode(raw, sls.DefaultLimits); err != nil {
			return nil, err
		}
		if n := len(sc.group.Logs); n > 0 {
			rec.Logs, rec.Data, rec.RawSize, rec.Compress = n, p.Data, p.RawSize, p.Compress
			if w.l.appendMeta {
				if err := w.addMeta(sc, rec); err != nil {
					return nil, err
				}
			}
		}
	} else if p.RawSize != 0 {
		return nil, sls.NewError(sls.CodePostBodyUncompressError, "nothing does not decompress to the %d bytes announced", p.RawSize)
	}
	switch {
	case p.Range == nil && rec.Logs == 0:
		return nil, nil
	case p.Range == nil:
	case w.sequence:
		p.Range.Ends = append(p.Range.Ends, make([]byte, max(rec.Logs-1, 0))...)
		if rec.Logs == 0 {
			p.Range.Ends = nil
		}
	default:
		if err := checkEnds(p.Range, rec.Logs); err != nil {
			return nil, err
		}
	}
	return rec, nil
}

// addMeta adds the tags that a logstore with appendMeta has: a log group is
// protobuf, so they may simply follow.
func (w *write) addMeta(sc *scratch, rec *shardlog.Record) error {
	sc.raw = sls.AppendTag(sc.raw, "__client_ip__", clientIP(w.rq.r))
	sc.raw = sls.AppendTag(sc.raw, "__receive_time__", strconv.FormatInt(w.rq.now.Unix(), 10))
	packed, err := sc.pack.Append(nil, sc.raw, rec.Compress)
	if err != nil {
		return err
	}
	rec.Data, rec.RawSize = packed, len(sc.raw)
	return nil
}

// checkEnds checks that there is one end for each log and that none lies
// outside of the range.
func checkEnds(r *delivery.Range, logs int) error {
	bad := func(why string) error {
		return sls.NewError(sls.CodePostBodyInvalid, "a range of lane %s: %s", r.Lane, why)
	}
	if r.End < r.Start {
		return bad("it ends before it starts")
	}
	if len(r.State) > delivery.MaxState {
		return bad(fmt.Sprintf("its reader state is longer than %d bytes", delivery.MaxState))
	}
	rest, left := r.Ends, r.End-r.Start
	for range logs {
		step, n := binary.Uvarint(rest)
		if n <= 0 || step > left {
			return bad("the end offsets of its logs do not fit")
		}
		rest, left = rest[n:], left-step
	}
	if len(rest) > 0 {
		return bad(fmt.Sprintf("it has more end offsets than the %d logs", logs))
	}
	return nil
}

// append hands the records to their shards, each in one durable write.
func (w *write) append() {
	byShard := make(map[int][]int)
	for i, rec := range w.recs {
		switch {
		case rec != nil:
			byShard[w.shards[i]] = append(byShard[w.shards[i]], i)
		case w.errs[i] == nil:
			w.results[i].Action = delivery.Append.String()
		}
	}
	var wg sync.WaitGroup
	for shard, which := range byShard {
		if len(byShard) == 1 {
			w.appendTo(w.rq.ctx(), shard, which)
			return
		}
		wg.Go(func() { w.appendTo(w.rq.ctx(), shard, which) })
	}
	wg.Wait()
}

func (w *write) appendTo(ctx context.Context, shard int, which []int) {
	recs := make([]*shardlog.Record, len(which))
	for i, n := range which {
		recs[i] = w.recs[n]
	}
	var results []shardlog.Result
	s, err := w.h.Log.Shard(shardlog.Key{Store: w.l.ID, Shard: shard})
	if err == nil {
		results, err = s.Append(ctx, recs)
	}
	if err == nil && len(results) != len(recs) {
		err = fmt.Errorf("shard %d answered %d records with %d results", shard, len(recs), len(results))
	}
	for i, n := range which {
		if err != nil {
			w.errs[n] = err
			continue
		}
		w.results[n].Action = results[i].Action.String()
		if !results[i].Action.Accepted() && results[i].Action != delivery.Unknown {
			p := sls.NewLaneProgress(&results[i].Progress)
			w.results[n].Progress = &p
		}
	}
}

// reply sends 200 if everything is durable. With ranges it tells of each
// package, unless all failed for the same kind of reason: then the request
// failed, and any agent knows what that means.
func (w *write) reply() error {
	if w.sequence {
		return w.replySequence()
	}
	failed := 0
	for i, err := range w.errs {
		if err == nil {
			continue
		}
		if !w.ranges {
			return err // they went to one shard together: it is the same for all
		}
		failed++
		e := answerOf(err)
		if e.Status >= 500 && failed == 1 { // one line a request: the others failed with it
			w.h.Logger.Error("a package was not stored", "request", w.rq.w.Header().Get(sls.HeaderRequestID),
				"logstore", w.l.Name, "project", w.l.Project, "shard", w.shards[i], "code", e.Code, "error", err)
		}
		w.results[i] = sls.PutResult{Action: sls.ActionError, Code: e.Code, Message: e.Message}
	}
	if !w.ranges {
		return w.rq.ok()
	}
	if failed == len(w.errs) && w.allRetryable() {
		return w.errs[0]
	}
	w.rq.w.Header().Set(sls.HeaderDelivery, "1")
	return w.rq.json(sls.PutReply{Results: w.results})
}

// allRetryable says whether every package failed for a reason on our side.
func (w *write) allRetryable() bool {
	for _, err := range w.errs {
		if err == nil || answerOf(err).Status < 500 {
			return false
		}
	}
	return true
}

// replySequence answers as SLS does to a stock agent's sequence number.
func (w *write) replySequence() error {
	if w.errs[0] != nil {
		return w.errs[0]
	}
	switch a := w.results[0].Action; a {
	case delivery.Append.String(), delivery.Trim.String():
		return w.rq.ok()
	case delivery.Duplicate.String():
		return sls.NewError(sls.CodeInvalidSequenceID, "the sequence number was used before with this key: the logs are stored already")
	default:
		return fmt.Errorf("compare and append answered a sequence number with %q", a)
	}
}
