package agent

import (
	"os"
	"time"

	"logtail/internal/agent/ledger"
	"logtail/internal/agent/read"
	"logtail/internal/agent/send"
	"logtail/internal/delivery"
)

// A file is its own buffer for as long as it is there. Two things go to the disk
// buffer instead: what is left of a deleted file while its destination does not
// take it, and what one destination of a file lacks while another one goes on.

// spillAfter is how long a destination may lag behind another one of the same file.
const spillAfter = 3 * time.Second

// holdTime bounds how long a stopping agent takes to save what is left of deleted files.
const holdTime = 10 * time.Second

// given counts what a destination gave up, with the checkpoint that has moved over it.
func (a *Agent) given(l *send.Lane, reason delivery.Reason, logs int, bytes int64) {
	c := ledger.Count{Logs: int64(logs), Bytes: bytes, Times: 1}
	if l != nil {
		if s, ok := l.Owner().(*stream); ok {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.done {
				s.sure(ledger.Abandoned(reason), c)
			} else {
				s.count(ledger.Abandoned(reason), c)
			}
			return
		}
	}
	a.ledger.Add(ledger.Key{Reason: ledger.Abandoned(reason)}, c)
}

// accepts says whether every destination takes packages of the stream. Those that
// do not while they should spill to the disk buffer.
func (w *worker) accepts(s *stream, now time.Time) bool {
	all, some := true, false
	for _, l := range s.lanes {
		if l.given.End == unlimited {
			continue
		}
		if l.Accepts() { // ask each, as asking passes the space on
			some = true
		} else {
			all = false
		}
	}
	if all {
		s.blocked = 0
		return true
	}
	if s.blocked == 0 {
		s.blocked = momentOf(now)
	}
	switch lag := s.blocked.age(now); {
	case s.unlinked, some && lag >= w.a.opt.SpillAfter:
		w.spill(s)
	case some:
		w.a.queue.at(s, s.blocked.plus(w.a.opt.SpillAfter))
	}
	return false
}

// spill makes the destinations that do not take the stream's packages put them on disk.
func (w *worker) spill(s *stream) {
	s.spilling = true
	must := s.unlinked && w.a.handles.Load() >= w.a.maxHandles
	for _, l := range s.lanes {
		if l.given.End == unlimited {
			continue
		}
		if must {
			l.MustSpill(true)
		} else {
			l.Spill(true)
		}
	}
}

// unspill ends spilling when everything is delivered.
func (s *stream) unspill() {
	if !s.spilling || s.unlinked {
		return
	}
	for _, l := range s.lanes {
		if l.Pending() {
			return
		}
	}
	s.spilling = false
	for _, l := range s.lanes {
		l.Spill(false)
	}
}

// hold keeps the file open while its content waits, so that it is not lost when
// it is deleted, and notices when that happens, or when it is truncated.
func (w *worker) hold(s *stream, now time.Time) {
	if s.frozen || s.rec.Pending || s.rec.Sealed || s.compressed() {
		return
	}
	if s.f == nil && (s.rec.SizeSeen <= s.known().End || w.a.handles.Load() >= w.a.maxHandles || !s.openFile()) {
		return
	}
	f, ok := s.f.(*os.File)
	if !ok {
		return
	}
	if size, err := read.Len(f); err == nil {
		if uint64(size) < s.known().End || !w.begins(s) {
			s.truncated()
			return
		}
		if uint64(size) > s.seen {
			s.seen, s.grew = uint64(size), momentOf(now)
		}
		s.learnHead()
	}
	if !s.gone || s.unlinked {
		return
	}
	if n, err := read.Links(f); err == nil && n == 0 {
		s.unlinked = true
		w.spill(s)
		return
	}
	w.a.queue.at(s, now.Add(goneInterval))
}

// goAlone lets the stream go on for the destinations that have answered when
// others give no answer for a while; what those lack goes to the disk buffer.
func (w *worker) goAlone(s *stream, now time.Time) {
	some := false
	for i := range s.lanes {
		some = some || s.lanes[i].ready
	}
	if !some || s.gone { // where a file is gone, the checkpoint may lie behind what was delivered
		return
	}
	if s.blocked == 0 {
		s.blocked = momentOf(now)
	}
	if left := w.a.opt.SpillAfter - s.blocked.age(now); left > 0 {
		w.a.queue.at(s, now.Add(left))
		return
	}
	for i := range s.lanes {
		l := &s.lanes[i]
		if l.ready {
			continue
		}
		if p, ok := l.BeginLocal(); ok {
			l.given, l.ready = p, true
		}
	}
	s.spilling = true
	s.rewind()
}

// Readable says whether the stream's content from an offset on can still be read.
func (s *stream) Readable(from uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen || s.done {
		return false
	}
	if s.f != nil {
		return true
	}
	f := s.confirmed()
	if f == nil {
		return false
	}
	f.Close()
	return true
}

// saveHeld reads what is left of deleted files into the disk buffer, as they end
// with the agent.
func (a *Agent) saveHeld(w *worker) {
	deadline := time.Now().Add(holdTime)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for _, s := range a.files.of(nil) {
		for time.Now().Before(deadline) {
			s.mu.Lock()
			if s.attached() && !s.done && !s.frozen && s.f != nil {
				s.gone = s.gone || !s.leads(s.rec.Path) // the event may not have been heard yet
				w.hold(s, a.now())
			}
			more := s.unlinked && s.attached() && !s.frozen && !s.done && s.f != nil
			if more && w.accepts(s, a.now()) {
				more = w.read(s, a.now())
				s.mu.Unlock()
				if !more {
					break
				}
				continue
			}
			s.mu.Unlock()
			if !more {
				break
			}
			<-poll.C
		}
	}
}
