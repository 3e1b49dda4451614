package agent

import (
	"fmt"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/event"
	"logtail/internal/agent/ledger"
	"logtail/internal/delivery"
)

// Every log and byte that is left out is counted per file and reason, and
// exactly once also over crashes: a count is final with the checkpoint that
// passes the place that it belongs to, and is stored in the same commit. What is
// read again after a crash is counted again, and for the first time.

// note is a loss that counts when the stream's checkpoints pass end.
type note struct {
	end    uint64
	reason ledger.Reason
	count  ledger.Count
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
	if !s.tally.some {
		return
	}
	for r := event.Kept + 1; r < event.NumReasons; r++ {
		if n := s.tally.logs[r]; n > 0 {
			s.notes = append(s.notes, note{end, ledger.Dropped(r), ledger.Count{Logs: int64(n), Bytes: int64(s.tally.bytes[r]), Times: 1}})
		}
	}
	if n := s.tally.splits; n > 0 {
		s.notes = append(s.notes, note{end, ledger.Split, ledger.Count{Logs: int64(n), Times: 1}})
	}
	s.tally = tally{}
}

// lose counts bytes that cannot be read, with the checkpoints that pass end.
func (s *stream) lose(end uint64, reason ledger.Reason, bytes uint64) {
	s.notes = append(s.notes, note{end, reason, ledger.Count{Bytes: int64(bytes), Times: 1}})
}

// miss counts bytes that nobody has read, now that they cannot be read any more.
func (s *stream) miss(why delivery.Reason, bytes uint64) {
	s.a.stats.LostBytes.Add(int64(bytes))
	kind, what := alarm.DropLog, "is gone"
	if why == delivery.ReasonTruncated {
		kind, what = alarm.LogTruncate, "was truncated or rewritten"
	}
	s.a.alarms.Raise(kind, s.run.scope, 1, fmt.Sprintf("%s %s, and %d bytes of it were never read", s.path, what, bytes), nil)
	s.lose(s.high, ledger.Abandoned(why), bytes)
}

// unnote forgets what counts behind a place that is read again.
func (s *stream) unnote(pos uint64) {
	s.tally = tally{}
	for len(s.notes) > 0 && s.notes[len(s.notes)-1].end > pos {
		s.notes = s.notes[:len(s.notes)-1]
	}
}

// tell makes final what the checkpoints have passed; all of it if the stream has ended.
func (s *stream) tell() {
	if len(s.notes) == 0 {
		return
	}
	low := s.safe()
	if s.done {
		low = unlimited
	}
	n := 0
	for n < len(s.notes) && s.notes[n].end <= low {
		s.count(s.notes[n].reason, s.notes[n].count)
		n++
	}
	if s.notes = s.notes[n:]; len(s.notes) == 0 {
		s.notes = nil
	}
}

// safe is up to where every destination has the stream, or its buffer on disk has.
func (s *stream) safe() uint64 {
	low := uint64(unlimited)
	for i, l := range s.lanes {
		switch {
		case s.given[i].End == unlimited: // taken over by another agent
		case l.Safe():
			low = min(low, s.given[i].End)
		default:
			low = min(low, l.Checkpoint().End)
		}
	}
	return low
}

// count adds to the ledger under the path of the stream's file.
func (s *stream) count(reason ledger.Reason, c ledger.Count) {
	s.a.ledger.Add(ledger.Key{Pipeline: s.run.p.Name, Path: s.origin(), Reason: reason}, c)
}
