package agent

import (
	"fmt"
	"slices"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/event"
	"logtail/internal/agent/ledger"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// Every log and byte that is left out is counted per file and reason, and
// exactly once also over crashes: a count is final with the checkpoint that
// passes the place that it belongs to, and is stored in the same commit. What is
// read again after a crash is counted again, and for the first time. What the disk
// buffer has is not read again; it counts with the next commit.

// note is a loss that counts when the stream's checkpoints, or what the disk buffer
// has, pass end.
type note struct {
	end    uint64
	reason ledger.Reason
	count  ledger.Count
	way    int // of whose destination it is, counted from 1; 0: of all
}

// tally is what the rules took out of the open group.
type tally struct {
	logs   [event.NumReasons]uint32
	bytes  [event.NumReasons]uint64
	splits uint32
	some   bool
}

// drop counts a record that is not kept.
func (t *tally) drop(r *event.Record) {
	t.logs[r.Drop]++
	t.bytes[r.Drop] += uint64(len(r.Raw))
	t.some = true
}

// split counts parts of records over the size limit.
func (t *tally) split(n int) {
	if n > 0 {
		t.splits += uint32(n)
		t.some = true
	}
}

// noteTally makes the tally count with the end of the open group.
func (s *stream) noteTally(end uint64) {
	t := &s.group.tally
	if !t.some {
		return
	}
	for r := event.Kept + 1; r < event.NumReasons; r++ {
		if n := t.logs[r]; n > 0 {
			s.notes = append(s.notes, note{end: end, reason: ledger.Dropped(r), count: ledger.Count{Logs: int64(n), Bytes: int64(t.bytes[r]), Times: 1}})
		}
	}
	if n := t.splits; n > 0 {
		s.notes = append(s.notes, note{end: end, reason: ledger.Split, count: ledger.Count{Logs: int64(n), Times: 1}})
	}
	*t = tally{}
}

// lose counts bytes that cannot be read, with the checkpoints that pass end. way is for whose
// destination, counted from 1, or 0 for all.
func (s *stream) lose(end uint64, reason ledger.Reason, bytes uint64, way int) {
	s.notes = append(s.notes, note{end: end, reason: reason, count: ledger.Count{Bytes: int64(bytes), Times: 1}, way: way})
}

// miss counts bytes that nobody has read, now that they cannot be read any more. It is
// stored together with that: nobody can find it out later.
func (s *stream) miss(why delivery.Reason, bytes uint64) {
	s.a.stats.LostBytes.Add(int64(bytes))
	kind, what := alarm.DropLog, "is gone"
	if why == delivery.ReasonTruncated {
		kind, what = alarm.LogTruncate, "was truncated or rewritten"
	}
	s.a.alarms.Raise(kind, s.run.scope, 1, fmt.Sprintf("%s %s, and %d bytes of it were never read", s.rec.Path, what, bytes), nil)
	s.sure(ledger.Abandoned(why), ledger.Count{Bytes: int64(bytes), Times: 1})
}

// sure counts what is decided already, with the next commit of the stream.
func (s *stream) sure(reason ledger.Reason, c ledger.Count) {
	s.notes = slices.Insert(s.notes, 0, note{reason: reason, count: c})
	s.a.saver.dirty(s)
}

// first counts what is decided when the stream is made, with the commit that stores it.
func (s *stream) first(reason ledger.Reason, c ledger.Count) {
	s.notes = append(s.notes, note{reason: reason, count: c})
}

// unnote forgets what counts behind a place that is read again.
func (s *stream) unnote(pos uint64) {
	for len(s.notes) > 0 && s.notes[len(s.notes)-1].end > pos {
		s.notes = s.notes[:len(s.notes)-1]
	}
}

// tell makes final what lies below an offset: it belongs to the commit that stores the
// checkpoints with which that was found.
func (s *stream) tell(kept uint64) {
	n := 0
	for n < len(s.notes) && s.notes[n].end <= kept {
		s.count(s.notes[n].reason, s.notes[n].count)
		n++
	}
	if s.notes = s.notes[n:]; len(s.notes) == 0 {
		s.notes = nil
	}
}

// kept returns the checkpoints, and up to where every destination has the stream, or
// the disk buffer has it for that.
func (s *stream) kept() (lanes state.Lanes, low uint64) {
	lanes, low = make(state.Lanes, len(s.lanes)), unlimited
	for i, l := range s.lanes {
		c, end := l.Kept()
		if l.anew {
			c.Incarnation = "" // no logstore has heard of the new id
		}
		lanes[i] = state.Lane{Flusher: s.run.flushers[i].name, Checkpoint: c}
		if l.given.End != unlimited { // else taken over by another agent
			low = min(low, end)
		}
	}
	return lanes, low
}

// safe is up to where every destination has the stream, or its buffer on disk has.
func (s *stream) safe() uint64 {
	low := uint64(unlimited)
	for _, l := range s.lanes {
		if _, end := l.Kept(); l.given.End != unlimited {
			low = min(low, end)
		}
	}
	return low
}

// conclude has the stream stored if there is something to tell.
func (s *stream) conclude() {
	if len(s.notes) > 0 && s.lanes != nil && s.notes[0].end <= s.safe() {
		s.a.saver.dirty(s)
	}
}

// count adds to the ledger under the path of the stream's file.
func (s *stream) count(reason ledger.Reason, c ledger.Count) {
	s.a.ledger.Add(ledger.Key{Pipeline: s.run.p.Name, Path: s.origin(), Reason: reason}, c)
}
