package agent

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"logtail/internal/agent/aggregate"
	"logtail/internal/agent/alarm"
	"logtail/internal/agent/event"
	"logtail/internal/agent/process"
	"logtail/internal/agent/read"
	"logtail/internal/agent/send"
	"logtail/internal/delivery"
	"logtail/internal/sls"
)

const (
	// chunkSize is how much is read at a turn, as documented; it is also the
	// longest record.
	chunkSize = 512 << 10
	// linger is how long the first log of an open group waits for company when
	// the destination is idle. It bounds the requests of a busy file to ten a second.
	linger = 100 * time.Millisecond
	// goneInterval is how often an open file is looked at that was renamed out
	// of its pattern or deleted.
	goneInterval = 500 * time.Millisecond
	// relook is how often a file that was renamed out of its pattern is looked
	// for, so that it is forgotten when it is deleted.
	relook = 10 * time.Minute
)

// worker takes turns on streams. All its memory is its own and reused: nothing
// is allocated per record.
type worker struct {
	a          *Agent
	buf        []byte // what stands before the chunk, and the chunk
	batch      event.Batch
	groups     *aggregate.Pool
	compressor sls.Compressor
	packed     []byte
	chains     map[*pipelineRun]*process.Chain
	splitters  map[*pipelineRun]process.Splitter
}

func (a *Agent) newWorker() *worker {
	return &worker{
		a: a, buf: make([]byte, read.Overlap+chunkSize), groups: aggregate.NewPool(4),
		chains: map[*pipelineRun]*process.Chain{}, splitters: map[*pipelineRun]process.Splitter{},
	}
}

// work takes turns until the queue is closed.
func (w *worker) work() {
	for {
		s := w.a.queue.next()
		if s == nil {
			return
		}
		w.a.queue.done(s, w.turn(s))
	}
}

// turn is one look at one file: read a chunk, process, filter, aggregate, and
// hand what is complete to the senders. It says whether more waits in the file.
func (w *worker) turn(s *stream) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done || !s.attached() {
		return false
	}
	accepts := true
	for _, l := range s.lanes { // ask each, as asking passes the space on
		accepts = l.Accepts() && accepts
	}
	now := w.a.now()
	if s.frozen {
		w.flush(s)
		s.settle(true)
		return false
	}
	if !accepts || w.a.stopping.Load() {
		return false // LaneSpace follows
	}
	more = w.read(s, now)
	if s.frozen {
		w.flush(s)
		s.settle(true)
		return false
	}
	if !more {
		w.rest(s, now)
	}
	return more
}

// read reads a chunk and works on it.
func (w *worker) read(s *stream, now time.Time) (more bool) {
	if s.pos >= s.limit {
		return false
	}
	if !s.openFile() {
		w.unreachable(s)
		return false
	}
	size := int(min(chunkSize, s.limit-s.pos))
	before, content, err := read.Chunk(s.f, s.pos, s.tail, w.buf[:min(s.pos, read.Overlap)+uint64(size)])
	switch {
	case errors.Is(err, read.ErrTruncated):
		s.truncated()
		return false
	case err != nil:
		w.a.alarms.Raise(alarm.OpenLogfileFail, s.run.scope, 1, fmt.Sprintf("cannot read %s: %v; it is tried again when the file changes", s.path, err), nil)
		s.f.Close()
		s.f = nil
		return false
	}
	end := s.pos + uint64(len(content))
	if len(content) == 0 {
		if s.run.input.Once {
			s.limit = s.pos // it is shorter now than it was at the start
		}
		return false
	}
	if end > s.seen {
		s.seen, s.grew = end, now
	}
	s.learnHead()
	var mode process.Mode
	if len(content) == chunkSize {
		mode |= process.Full
	}
	// A read that was cut off ends anywhere, also in the middle of a record.
	whole := len(content) < size || end >= s.limit
	if whole && (s.run.input.Once || now.Sub(s.grew) >= s.run.flushTimeout) {
		mode |= process.Final
	}
	w.consume(s, before, content, mode, now)
	return len(content) == chunkSize && end < s.limit
}

// consume splits a chunk into records, processes them, and adds them to the
// open group, which it seals when it is full.
func (w *worker) consume(s *stream, before, content []byte, mode process.Mode, now time.Time) {
	chain, splitter := w.tools(s.run)
	limits, nanos := &s.run.limits, s.run.limits.Nanos
	all := w.buf[:len(before)+len(content)]
	base := s.pos - uint64(len(before)) // offset of all[0]
	w.batch.NowSec, w.batch.NowNsec = uint32(now.Unix()), int32(now.Nanosecond())
	if !s.group.IsOpen() {
		s.group.Borrow(w.groups)
		s.group.Open(delivery.Point{End: s.pos, Hash: s.tail}, now)
	}
	start := s.pos
	for len(content) > 0 {
		w.batch.Reset()
		if s.mid {
			mode |= process.Mid
		} else {
			mode &^= process.Mid
		}
		n, mid := splitter.Split(&w.batch, content, s.pos, mode)
		if n == 0 {
			break
		}
		chain.Run(&w.batch)
		if s.run.input.AppendingLogPositionMeta {
			w.addPositions(s.pos)
		}
		next := s.pos + uint64(n)
		for i := range w.batch.Records {
			r := &w.batch.Records[i]
			if r.Drop == event.Kept {
				s.group.Add(r, nanos)
			}
			if s.group.Full(limits) || r.End == s.boundary {
				hash := delivery.TailHash(all[:r.End-base])
				w.seal(s, delivery.Point{End: r.End, Hash: hash, State: readerState(mid && r.End == next)})
				s.group.Open(delivery.Point{End: r.End, Hash: hash}, now)
			}
		}
		content, s.pos, s.mid = content[n:], next, mid
		mode &^= process.Full
	}
	s.tail = delivery.TailHash(all[:s.pos-base])
	s.high = max(s.high, s.pos)
	if s.pos > s.boundary || s.boundary == unlimited && s.pos > start {
		s.bound()
	}
	w.a.stats.ReadBytes.Add(int64(s.pos - start))
}

// offsetKey is the field of AppendingLogPositionMeta.
var offsetKey = []byte("__file_offset__")

// addPositions gives each record the offset in the file at which it begins.
func (w *worker) addPositions(start uint64) {
	var digits [20]byte
	for i := range w.batch.Records {
		r := &w.batch.Records[i]
		if r.Drop == event.Kept {
			text := strconv.AppendUint(digits[:0], start, 10)
			value := w.batch.Alloc(len(text))
			copy(value, text)
			r.Fields = append(r.Fields, event.Field{Key: offsetKey, Value: value})
		}
		start = r.End
	}
}

// rest is called when the file has no more for now: it decides when the open
// group goes, and when the stream is looked at again.
func (w *worker) rest(s *stream, now time.Time) {
	g := &s.group
	if g.IsOpen() && g.Start.End == s.pos {
		g.Release(w.groups)
	}
	if g.IsOpen() {
		switch {
		case g.Old(&s.run.limits, now), s.pos >= s.limit:
			w.flush(s)
		case g.Logs > 0 && now.Sub(s.lastSeal) >= linger && s.idle():
			w.flush(s)
		case g.Logs > 0:
			at := now.Add(linger)
			if t := s.lastSeal.Add(linger); t.After(now) {
				at = t
			}
			w.a.queue.at(s, at)
		default: // nothing but filtered records: no hurry
			w.a.queue.at(s, g.Opened.Add(s.run.limits.Age))
		}
	}
	unread := s.seen > s.pos && s.pos < s.limit
	switch {
	case s.pos >= s.limit:
		s.settle(false)
	case unread && now.Sub(s.grew) < s.run.flushTimeout:
		// An unterminated record: it is sent as it is when its time is over.
		w.a.queue.at(s, s.grew.Add(s.run.flushTimeout))
	case s.f != nil && now.Sub(s.grew) >= s.run.closeAfter:
		s.f.Close()
		s.f = nil
		if s.gone { // deleted, or only renamed? The next look tells
			w.a.queue.at(s, now)
		}
	case s.f != nil && s.gone:
		// Its writer may have it open still, and where it is now nobody may watch.
		w.a.queue.at(s, now.Add(goneInterval))
	case s.f != nil:
		w.a.queue.at(s, s.grew.Add(s.run.closeAfter))
	case s.gone:
		w.a.queue.at(s, now.Add(relook))
	}
}

// idle says whether any destination of the stream has nothing to do.
func (s *stream) idle() bool {
	for _, l := range s.lanes {
		if l.Idle() {
			return true
		}
	}
	return false
}

// flush seals the open group, so far as it covers anything.
func (w *worker) flush(s *stream) {
	if s.group.IsOpen() && s.pos > s.group.Start.End {
		w.seal(s, delivery.Point{End: s.pos, Hash: s.tail, State: readerState(s.mid)})
	}
	s.group.Release(w.groups)
}

// seal closes the open group at end and gives it to the lanes that have not
// got it yet.
func (w *worker) seal(s *stream, end delivery.Point) {
	start, logs := s.group.Start, s.group.Logs
	encoded, ends := s.group.Seal(s.trailer)
	s.lastSeal = w.a.now()
	ends = bytes.Clone(ends)
	var packed [4]*send.Buffer
	for i, l := range s.lanes {
		if s.given[i].End >= end.End {
			continue
		}
		p := &send.Package{
			Range:   delivery.Range{Start: start.End, End: end.End, StartHash: start.Hash, EndHash: end.Hash, Ends: ends, State: end.State},
			RawSize: len(encoded), Logs: logs, Compress: s.run.flushers[i].compress,
		}
		if logs == 0 {
			p.Range.Flags |= delivery.Empty
		} else if b := packed[p.Compress]; b != nil {
			p.Buf = b.Share()
		} else {
			p.Buf = w.pack(encoded, &p.Compress)
			packed[p.Compress] = p.Buf
		}
		s.given[i] = end
		l.Put(p)
	}
	w.a.stats.Groups.Add(1)
	w.a.stats.Logs.Add(int64(logs))
}

// pack compresses a log group into a pooled buffer.
func (w *worker) pack(encoded []byte, t *sls.CompressType) *send.Buffer {
	out, err := w.compressor.Append(w.packed[:0], encoded, *t)
	if err != nil {
		// Never for the types that a pipeline may name; the group goes as it is.
		w.a.alarms.Raise(alarm.CompressFail, alarm.Scope{}, 1, fmt.Sprintf("cannot compress: %v; the logs are sent uncompressed", err), nil)
		*t = sls.CompressNone
		return send.NewBuffer(encoded)
	}
	w.packed = out[:0]
	return send.NewBuffer(out)
}

// tools returns the worker's own processors for a pipeline.
func (w *worker) tools(run *pipelineRun) (*process.Chain, process.Splitter) {
	c := w.chains[run]
	if c == nil {
		c = run.chain.Clone()
		w.chains[run], w.splitters[run] = c, run.splitter.Clone()
	}
	return c, w.splitters[run]
}

// unreachable is called when a stream's file is neither at its path nor in its
// folder. If the folder is there, the file was deleted.
func (w *worker) unreachable(s *stream) {
	if s.frozen || !s.gone || !read.OnDevice(filepath.Dir(s.path), s.rec.Dev) {
		return // a file system that is not mounted now may come back
	}
	for i, l := range s.lanes { // the service lost what is nowhere any more
		if s.given[i].End >= s.high {
			continue
		}
		lost := s.high - s.given[i].End
		w.a.stats.LostBytes.Add(int64(lost))
		w.a.alarms.Raise(alarm.DropLog, s.run.scope, 1, fmt.Sprintf("%s is gone with %d bytes that %s has lost; they are given up", s.path, lost, l.Name()), nil)
		l.Put(&send.Package{Range: delivery.Range{
			Start: s.given[i].End, End: s.high, StartHash: s.given[i].Hash,
			Flags: delivery.Abandoned, Reason: delivery.ReasonDeleted,
		}})
		s.given[i] = delivery.Point{End: s.high}
	}
	s.pos, s.tail = s.high, 0
	s.group.Release(nil)
	s.frozen = true
}

// settle ends the stream when all that was read is delivered. forget says that
// its file is gone for good, which the destinations are told.
func (s *stream) settle(forget bool) {
	if !s.delivered() {
		return
	}
	if !forget {
		s.finished = true
		s.end(false)
		s.a.saver.dirty(s)
		s.a.checkFinished()
		return
	}
	if !s.closing {
		s.closing = true
		for i, l := range s.lanes {
			l.Put(&send.Package{Range: delivery.Range{
				Start: s.given[i].End, End: s.given[i].End, StartHash: s.given[i].Hash, EndHash: s.given[i].Hash, State: s.given[i].State,
				Flags: delivery.Closed | delivery.Empty,
			}})
		}
		return // the acknowledgement gives the next turn
	}
	s.end(true)
	s.a.checkFinished()
}

// learnHead extends the hash of the file's beginning while the file is short.
func (s *stream) learnHead() {
	if s.rec.HeadLen >= read.HeadBytes || s.seen <= uint64(s.rec.HeadLen) {
		return
	}
	n := int(min(s.seen, read.HeadBytes))
	if h, ok := read.HashHead(s.f, n); ok {
		s.rec.HeadLen, s.rec.Head = n, h
		s.a.saver.dirty(s)
	}
}
