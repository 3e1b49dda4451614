package send

import (
	"crypto/rand"
	"encoding/hex"

	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// seqLane is the record of a lane. Whoever has taken it from the book owns it. It
// is durable as it was when the last write was prepared: places that were reached
// since are found again by sending what was prepared under its number, or by the
// checkpoint.
type seqLane struct {
	state.Seq
	busy    bool   // somebody has taken it; guarded by the book
	known   bool   // has a place; else the lane is new
	stored  bool   // the store has a record of it
	dirty   bool   // what was prepared is not durable yet
	maybe   []bool // of Pend: the service may have it
	session uint64
	closed  bool
}

// newKey gives the lane a hash key that nobody has used. Keys are random and not
// made from the lane's id: if the record is lost, the numbers begin anew, and those
// of the old key would be refused as repeated. What was prepared is forgotten.
func (l *seqLane) newKey() {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand never fails on supported systems
	}
	l.Key, l.Next, l.Pend, l.maybe, l.dirty = hex.EncodeToString(b[:]), 1, nil, nil, true
}

// begin makes the record of a lane that begins with the range.
func (l *seqLane) begin(r *delivery.Range) {
	l.newKey()
	l.known, l.dirty = true, false // it is worth a commit only with something prepared
	l.SeqPlace = state.SeqPlace{End: r.Start, Hash: r.StartHash}
	l.session, l.closed = r.Session, false
}

func (l *seqLane) progress() *delivery.Progress {
	if !l.known {
		return nil
	}
	return &delivery.Progress{End: l.End, Hash: l.Hash, State: l.State, Session: l.session, Closed: l.closed}
}

// moveTo commits the lane up to a place. Numbers of what was prepared below it are
// not used for anything else: the service may have them.
func (l *seqLane) moveTo(p state.SeqPlace) {
	if p.End < l.End {
		return
	}
	l.SeqPlace = p
	n := 0
	for n < len(l.Pend) && l.Pend[n].End <= p.End {
		n++
	}
	l.used(n)
}

// used says that the first n numbers of what was prepared are done with.
func (l *seqLane) used(n int) {
	l.Next += uint64(n)
	l.Pend, l.maybe = l.Pend[n:], l.maybe[n:]
}

// confirm takes over that everything below the offset is delivered or given up.
func (l *seqLane) confirm(end uint64) {
	if end <= l.End {
		return
	}
	p := state.SeqPlace{End: end}
	for i := range l.Pend {
		if l.Pend[i].End == end {
			p = l.Pend[i].SeqPlace
		}
	}
	l.moveTo(p)
}

// seqStep is one write of a package's logs, or, without them, its end.
type seqStep struct {
	pkg      int // in the task
	last     bool
	action   delivery.Action // with last
	number   uint64
	from, to int             // the logs
	place    state.SeqPlace  // where they end
	whole    state.SeqPlace  // where the range ends that was prepared under the number first
	short    *state.SeqPlace // a shorter one that may be stored instead
}

// seqTask is what a request has of one lane.
type seqTask struct {
	id      delivery.LaneID
	lane    *seqLane
	pkgs    []*Package
	at      []int // of the packages in the request
	done    int   // packages that have an outcome
	out     []Outcome
	rekeyed bool // the lane got a new key already
}

// plan says what is to be written of the packages that have no outcome yet, by the
// rules of compare and append, and prepares it. A range that was prepared before and
// may be stored is sent again as it was, with the same end, also where packages end
// elsewhere now: then either answer means the same.
func (t *seqTask) plan() (steps []seqStep) {
	l := t.lane
	v := l.progress()
	next := 0 // of what is prepared
	for k := t.done; k < len(t.pkgs); k++ {
		p := t.pkgs[k]
		a := delivery.Decide(v, &p.Range)
		if !a.Accepted() {
			return append(steps, seqStep{pkg: k, last: true, action: a})
		}
		end := place(&p.Range)
		if a != delivery.Duplicate {
			if v == nil {
				l.begin(&p.Range)
				v = l.progress()
			}
			writes, more := t.split(k, v.End, &next)
			steps = append(steps, writes...)
			if !more {
				return append(steps, seqStep{pkg: k, last: true, action: a, place: end})
			}
			adv := delivery.Advance(&p.Range, 0)
			v = &adv
		}
		steps = append(steps, seqStep{pkg: k, last: true, action: a, place: end})
	}
	return steps
}

func place(r *delivery.Range) state.SeqPlace {
	return state.SeqPlace{End: r.End, Hash: r.EndHash, State: r.State}
}

// split says how the logs of a package that lie above start are written, and whether
// it can be planned on behind it. next is the first of the ranges that are prepared
// and not passed yet.
func (t *seqTask) split(k int, start uint64, next *int) (steps []seqStep, more bool) {
	l, p := t.lane, t.pkgs[k]
	from, _ := p.Range.CutEnds(start)
	for from < p.Logs {
		for *next < len(l.Pend) && l.Pend[*next].End <= start {
			*next++
		}
		i := *next
		if i < len(l.Pend) && l.Pend[i].End > p.Range.End && !l.maybe[i] {
			l.Pend, l.maybe = l.Pend[:i], l.maybe[:i] // it was never sent
		}
		if i == len(l.Pend) {
			l.Pend, l.maybe = append(l.Pend, state.SeqIntent{SeqPlace: place(&p.Range)}), append(l.maybe, false)
			l.dirty = true
		}
		pend := &l.Pend[i]
		s := seqStep{pkg: k, number: l.Next + uint64(i), from: from, to: p.Logs, place: pend.SeqPlace, whole: pend.SeqPlace, short: pend.Short}
		if pend.End > p.Range.End {
			s.place = place(&p.Range)
			if pend.Short == nil || pend.Short.End > s.place.End {
				pend.Short, l.dirty = &s.place, true
			}
			return append(steps, s), false
		}
		if pend.End < p.Range.End {
			s.to, _ = p.Range.CutEnds(pend.End)
		}
		if s.to > s.from {
			steps = append(steps, s)
		}
		start, from = pend.End, s.to
	}
	return steps, true
}
