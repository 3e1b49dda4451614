package agent

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

	"logtail/internal/agent/aggregate"
	"logtail/internal/agent/alarm"
	"logtail/internal/agent/event"
	"logtail/internal/agent/ledger"
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
	// goneGrace is how long a file is nowhere before it counts as deleted: it may
	// have gone to another folder, where the monitor finds it within a second.
	goneGrace = 5 * time.Second
	// retryRead is when a file is tried again that could not be opened or read;
	// a one-time input gives it up after the third time.
	retryRead    = 5 * time.Second
	onceFailures = 3
	// maxUnsure is how often a file is searched for that may be there, but not
	// every place of which can be looked at: a day long.
	maxUnsure = int(24 * time.Hour / retryRead)
	// openBudget bounds the memory of all open groups, in bytes: above it, a
	// group is sealed at the end of a turn and waits for no company.
	openBudget = 16 << 20
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
	trailer    []byte // of the group that is sealed
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
	if s.done {
		return false
	}
	s.conclude()
	now := w.a.now()
	if s.before != nil {
		if !s.before.passed.Load() {
			w.hold(s, now)
			return false // its pass gives the next turn
		}
		s.before = nil
	}
	if !s.attached() {
		for _, l := range s.lanes {
			l.Accepts() // asking passes the space on
		}
		w.hold(s, now)
		w.goAlone(s, now)
		return s.attached() // else LaneReady follows
	}
	accepts := w.accepts(s, now)
	if s.stopped() {
		s.park()
		return false
	}
	if !s.frozen {
		if s.gone || !accepts {
			w.hold(s, now)
		}
		if !accepts || w.a.stopping.Load() {
			return false // LaneSpace follows
		}
		if !s.frozen { // hold may have found that it was truncated
			more = w.read(s, now)
		}
		if !more && !s.frozen {
			w.rest(s, now)
		}
	}
	if s.frozen {
		w.flush(s)
		w.giveUp(s)
		if !w.awaitCopy(s, now) {
			s.settle(true)
		}
		more = false
	}
	if s.account(); s.group != nil && w.a.open.Load() > openBudget {
		w.flush(s)
		s.account()
	}
	return more
}

// account brings the stream's part in the sum of open groups up to date.
func (s *stream) account() {
	size := 0
	if s.group != nil {
		size = s.group.Size()
	}
	s.a.open.Add(int64(size) - int64(s.size))
	s.size = int32(size)
}

// read reads a chunk and works on it.
func (w *worker) read(s *stream, now time.Time) (more bool) {
	if s.pos >= s.limit {
		return false
	}
	if !s.openFile() {
		w.unreachable(s, now)
		return false
	}
	if !s.prove() {
		return false // when its head is stored it goes on
	}
	if !w.begins(s) {
		s.truncated()
		return false
	}
	if (s.rec.Sealed || s.archived) && w.short(s) {
		return false
	}
	stop := min(s.limit, s.boundary)
	size := int(min(chunkSize, stop-s.pos))
	before, content, err := read.Chunk(s.f, s.pos, s.tail, w.buf[:min(s.pos, read.Overlap)+uint64(size)])
	switch {
	case err == nil:
	case errors.Is(err, read.ErrIncomplete), errors.Is(err, read.ErrDamagedArchive):
		w.brokenArchive(s, err, now)
		return false
	case errors.Is(err, read.ErrTruncated):
		s.truncated()
		return false
	default:
		w.a.alarms.Raise(alarm.OpenLogfileFail, s.run.scope, 1, fmt.Sprintf("cannot read %s: %v; it is tried again every %v", s.rec.Path, err, retryRead), nil)
		s.closeFile()
		w.retry(s, now)
		return false
	}
	s.failures = 0
	end := s.pos + uint64(len(content))
	if len(content) == 0 {
		switch {
		case s.run.input.Once:
			s.limit = s.pos // it is shorter now than it was at the start
		case s.archived:
			w.endArchive(s)
		case s.rec.Compressed != "" && s.rec.SizeSeen != s.pos:
			s.rec.SizeSeen = s.pos // before, it was as it lies on disk
			w.a.saver.dirty(s)
		}
		return false
	}
	if end > s.seen {
		s.seen, s.grew = end, momentOf(now)
		s.rec.SizeSeen = max(s.rec.SizeSeen, end)
	}
	s.learnHead()
	var mode process.Mode
	if len(content) == chunkSize {
		mode |= process.Full
	}
	// A read that was cut off ends anywhere, also in the middle of a record.
	whole := len(content) < size || end >= s.limit
	// At a boundary a record ended, or was cut, when it was read before.
	atBoundary := end == s.boundary
	if atBoundary || whole && (s.run.input.Once && !s.compressed() || s.decoded(end) || s.grew.age(now) >= s.run.flushTimeout) {
		mode |= process.Final
	}
	start := s.pos
	w.consume(s, before, content, mode, now)
	if s.pos == s.boundary {
		w.cross(s)
	}
	return (len(content) == size || s.compressed()) && end < s.limit && s.pos > start
}

// cross ends the open group where a lane goes on that is ahead of others, in the
// state of reading in which that lane was left there.
func (w *worker) cross(s *stream) {
	for _, l := range s.lanes {
		if l.given.End == s.pos {
			s.mid = isMid(l.given.State)
			break
		}
	}
	w.flush(s)
	s.bound()
}

// retry looks at a file again that could not be opened or read.
func (w *worker) retry(s *stream, now time.Time) {
	s.pass() // what cannot be read must not hold up what can
	if s.failures++; s.run.input.Once && s.failures >= onceFailures {
		s.limit = s.pos
		return
	}
	w.a.queue.at(s, now.Add(retryRead))
}

// consume splits a chunk into records, processes them, and adds them to the
// open group, which it seals when it is full.
func (w *worker) consume(s *stream, before, content []byte, mode process.Mode, now time.Time) {
	chain, splitter := w.tools(s.run)
	limits, nanos := &s.run.limits, s.run.limits.Nanos
	all := w.buf[:len(before)+len(content)]
	base := s.pos - uint64(len(before)) // offset of all[0]
	w.batch.NowSec, w.batch.NowNsec = uint32(now.Unix()), int32(now.Nanosecond())
	if s.group == nil {
		s.group = &openGroup{}
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
			} else {
				s.group.tally.drop(r)
			}
			if s.group.Full(limits) {
				hash := delivery.TailHash(all[:r.End-base])
				w.seal(s, delivery.Point{End: r.End, Hash: hash, State: readerState(mid && r.End == next)})
				s.group.Open(delivery.Point{End: r.End, Hash: hash}, now)
			}
		}
		s.group.tally.split(w.batch.Splits)
		content, s.pos, s.mid = content[n:], next, mid
		mode &^= process.Full
	}
	s.tail = delivery.TailHash(all[:s.pos-base])
	s.mark(all[:s.pos-base], now)
	s.high = max(s.high, s.pos)
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
	s.unspill()
	if s.group != nil && s.group.Start.End == s.pos {
		s.discard(w.groups)
	}
	if g := s.group; g != nil {
		switch {
		case g.Old(&s.run.limits, now), s.pos >= s.limit:
			w.flush(s)
		case g.Logs > 0 && s.lastSeal.age(now) >= linger && s.idle():
			w.flush(s)
		case g.Logs > 0:
			at := now.Add(linger)
			if t := s.lastSeal.plus(linger); t.After(now) {
				at = t
			}
			w.a.queue.at(s, at)
		default: // nothing but filtered records: no hurry
			w.a.queue.at(s, g.Opened.Add(s.run.limits.Age))
		}
	}
	if s.gone || len(s.next) > 0 {
		s.passIfSent() // an unterminated end may still be written on, and holds up nobody
	}
	unread := s.seen > s.pos && s.pos < s.limit
	switch {
	case s.pos >= s.limit:
		s.settle(false)
	case unread && s.grew.age(now) < s.run.flushTimeout:
		// An unterminated record: it is sent as it is when its time is over.
		w.a.queue.at(s, s.grew.plus(s.run.flushTimeout))
	case s.f != nil && (s.grew.age(now) >= s.run.closeAfter || !s.gone && w.a.handles.Load() > w.a.maxHandles):
		s.closeFile()
		switch {
		case s.sought: // it was only renamed
			w.a.queue.at(s, now.Add(relook))
		case s.gone: // deleted, or only renamed? The next look tells
			w.a.queue.at(s, now)
		}
	case s.f != nil && s.gone:
		// Its writer may have it open still, and where it is now nobody may watch.
		w.a.queue.at(s, now.Add(goneInterval))
	case s.f != nil:
		w.a.queue.at(s, s.grew.plus(s.run.closeAfter))
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
	if s.group != nil && s.pos > s.group.Start.End {
		w.seal(s, delivery.Point{End: s.pos, Hash: s.tail, State: readerState(s.mid)})
	}
	s.discard(w.groups)
}

// seal closes the open group at end and gives it to the lanes that have not
// got it yet.
func (w *worker) seal(s *stream, end delivery.Point) {
	s.noteTally(end.End)
	start, logs := s.group.Start, s.group.Logs
	w.trailer = s.appendTrailer(w.trailer[:0])
	encoded, ends := s.group.Seal(w.trailer)
	s.lastSeal = momentOf(w.a.now())
	ends = bytes.Clone(ends)
	// The worker holds a reference of its own, as a lane may be done with a buffer
	// before the next one has got it.
	var packed [4]*send.Buffer
	defer func() {
		for _, b := range packed {
			b.Release()
		}
	}()
	for i := range s.lanes {
		l := &s.lanes[i]
		if l.given.End >= end.End {
			continue
		}
		p := &send.Package{
			Range:   delivery.Range{Start: start.End, End: end.End, StartHash: start.Hash, EndHash: end.Hash, Ends: ends, State: end.State},
			RawSize: len(encoded), Logs: logs, Compress: s.run.flushers[i].compress,
		}
		if logs == 0 {
			p.Range.Flags |= delivery.Empty
		} else {
			if packed[p.Compress] == nil {
				b := w.pack(encoded, &p.Compress)
				packed[p.Compress] = b
			}
			p.Buf = packed[p.Compress].Share()
		}
		l.given = end
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

// unreachable is called when a stream's file cannot be opened, or is neither at
// its path nor in its folder. If the folder is there, the file was deleted.
func (w *worker) unreachable(s *stream, now time.Time) {
	switch {
	case s.frozen:
	case !s.gone:
		w.retry(s, now)
	case s.fromArchive():
		w.a.queue.at(s, now)
	case s.unsure && int(s.tries) < maxUnsure:
		s.tries++
		s.pass()
		w.a.queue.at(s, now.Add(retryRead))
	case !read.OnDevice(filepath.Dir(s.rec.Path), s.rec.Dev):
		// A file system that is not mounted now may come back.
	case !s.run.input.Once && w.mayAppear(s, now):
	case s.restored && s.seen == 0 && s.adopt(): // it was copied and truncated before it went, while nobody looked
		w.a.log.Info("the rest of a deleted file is read from the copy that was made of it", "path", s.origin(), "copy", s.rec.Path)
		w.a.queue.add(s)
	default:
		s.freeze(delivery.ReasonDeleted)
		if s.rec.SizeSeen > s.high {
			s.miss(delivery.ReasonDeleted, s.rec.SizeSeen-s.high)
		}
	}
}

// mayAppear says whether what is missed since a while may still be found; if so, it gives
// the stream a turn at the end of that while.
func (w *worker) mayAppear(s *stream, now time.Time) bool {
	if s.missing == 0 {
		s.missing = momentOf(now)
	}
	left := goneGrace - s.missing.age(now)
	if left > 0 {
		w.a.queue.at(s, now.Add(left))
	}
	return left > 0
}

// awaitCopy says whether a copy may still appear that has the bytes of a truncated file that
// nobody has read. After a while they are lost, and counted.
func (w *worker) awaitCopy(s *stream, now time.Time) bool {
	if s.rec.Missed == 0 {
		return false
	}
	if w.mayAppear(s, now) {
		return true
	}
	unread := s.rec.Missed
	s.rec.Missed = 0
	s.miss(s.lost, unread)
	return false
}

// giveUp tells the destinations of what was read once, was not delivered, or
// was lost by the service, and cannot be read again.
func (w *worker) giveUp(s *stream) {
	for i := range s.lanes {
		l := &s.lanes[i]
		if l.given.End >= s.high {
			continue
		}
		lost := s.high - l.given.End
		w.a.stats.LostBytes.Add(int64(lost))
		s.lose(s.high, ledger.Abandoned(s.lost), lost, i+1)
		kind, what := alarm.DropLog, "is gone"
		if s.lost == delivery.ReasonTruncated {
			kind, what = alarm.LogTruncate, "was truncated or rewritten"
		}
		w.a.alarms.Raise(kind, s.run.scope, 1, fmt.Sprintf("%s %s, and %d bytes of it that %s does not have cannot be read again; they are given up", s.rec.Path, what, lost, l.Name()), nil)
		l.Put(&send.Package{Range: delivery.Range{
			Start: l.given.End, End: s.high, StartHash: l.given.Hash,
			Flags: delivery.Abandoned, Reason: s.lost,
		}})
		l.given = delivery.Point{End: s.high}
	}
	if s.pos < s.high {
		s.pos, s.tail, s.mid = s.high, 0, false
	}
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
		for _, l := range s.lanes {
			l.Put(&send.Package{Range: delivery.Range{
				Start: l.given.End, End: l.given.End, StartHash: l.given.Hash, EndHash: l.given.Hash, State: l.given.State,
				Flags: delivery.Closed | delivery.Empty,
			}})
		}
		return // the acknowledgement gives the next turn
	}
	s.end(true)
	s.a.checkFinished()
}

// prove says whether enough of the file's content is stored to know it again,
// wherever and in whatever form it is found: nothing of it is sent before.
func (s *stream) prove() bool {
	if s.proved || s.compressed() {
		return true
	}
	if s.rec.HeadLen == 0 {
		var buf [read.HeadBytes]byte
		n, _ := s.f.ReadAt(buf[:], 0) // of a file that cannot be read the turn finds out
		if n == 0 {
			return true // nothing is there to be sent
		}
		s.rec.HeadLen, s.rec.Head = n, xxhash.Sum64(buf[:n])
		// It was empty when it was found. What was written to it since may have
		// been rotated away by copytruncate already.
		s.a.again.add(look{filePath: filePath{s.run, s.origin()}, begun: true})
	}
	if !s.proving {
		s.proving = true
		s.a.saver.add(s)
	}
	return false
}

// firstHead learns the head of a file that is not open yet.
func (s *stream) firstHead() {
	f, facts, _, err := read.Look(s.rec.Path)
	if err != nil {
		return
	}
	defer f.Close()
	if n := int(min(facts.Size, read.HeadBytes)); facts.Identity == s.identity() && n > 0 {
		if h, ok := facts.Head(n); ok {
			s.rec.HeadLen, s.rec.Head = n, h
		}
	}
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
