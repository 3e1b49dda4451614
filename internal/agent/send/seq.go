package send

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// SLS itself knows nothing of ranges. What it knows is a hash key and a sequence
// number in a write: it takes each number of a key once, and only rising ones.
// With that, the agent keeps the contract of exactly-once by itself: it does for a
// lane what our own server does, compare and append, against a progress in its own
// state. What cannot be known after a lost reply or a crash, whether the last
// writes arrived, it learns by sending the same logs again under the same numbers.
//
// SLS keeps the last number of at most 10,000 keys per shard, so a logstore takes
// about 9,500 files that are active at a time, of all agents together, per shard.

const (
	// SeqExpiry is how long the record of a silent lane is kept, longer than
	// any stream without unread bytes.
	SeqExpiry = 90 * 24 * time.Hour
	// seqParallel is how many lanes of a request are sent at a time: each log
	// group is a write of its own here.
	seqParallel = 4
)

// SeqStore is where the records of the lanes are durable; state.Store is one.
type SeqStore interface {
	LoadSeq() (map[delivery.LaneID]state.Seq, error)
	PutSeq(list map[delivery.LaneID]state.Seq) error
	DeleteSeq(list []delivery.LaneID) error
}

// SeqBook has the records of all lanes that are delivered exactly once to SLS. One
// serves all destinations of an agent. It is safe for concurrent use.
type SeqBook struct {
	store SeqStore
	alarm func(kind, message string)
	now   func() time.Time
	doubt bool

	mu     sync.Mutex
	loaded bool
	lanes  map[delivery.LaneID]*seqLane
	freed  chan struct{} // closed and replaced when lanes are given back
}

// NewSeqBook returns the book over a store. doubt says that the records may be
// older than what was sent, as the state was damaged or restored: then the lanes
// take new hash keys, so that nothing new passes for something that was sent before;
// what had been sent without an answer may then be there twice. alarm raises an alarm of a
// documented type.
func NewSeqBook(store SeqStore, doubt bool, alarm func(kind, message string), now func() time.Time) *SeqBook {
	return &SeqBook{store: store, doubt: doubt, alarm: alarm, now: now, freed: make(chan struct{})}
}

// load reads the records, once.
func (b *SeqBook) load() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.loaded {
		return nil
	}
	list, err := b.store.LoadSeq()
	if err != nil {
		return fmt.Errorf("cannot read the sequence numbers of what was sent: %w", err)
	}
	b.lanes = make(map[delivery.LaneID]*seqLane, len(list))
	oldest := b.now().Add(-SeqExpiry).Unix()
	var expired []delivery.LaneID
	for id, rec := range list {
		if rec.Time < oldest {
			expired = append(expired, id)
			continue
		}
		l := &seqLane{Seq: rec, known: true, stored: true, maybe: make([]bool, len(rec.Pend))}
		for i := range l.maybe {
			l.maybe[i] = true
		}
		if b.doubt {
			l.newKey()
		}
		b.lanes[id] = l
	}
	b.loaded = true
	if len(expired) > 0 {
		return b.store.DeleteSeq(expired)
	}
	return nil
}

// take waits until nobody else works on the lanes, and returns them, those that
// are not known as new ones.
func (b *SeqBook) take(ctx context.Context, ids []delivery.LaneID) ([]*seqLane, error) {
	list := make([]*seqLane, len(ids))
	for {
		b.mu.Lock()
		busy := false
		for _, id := range ids {
			busy = busy || b.lanes[id] != nil && b.lanes[id].busy
		}
		if !busy {
			for i, id := range ids {
				if b.lanes[id] == nil {
					b.lanes[id] = &seqLane{}
				}
				list[i] = b.lanes[id]
				list[i].busy = true
			}
			b.mu.Unlock()
			return list, nil
		}
		freed := b.freed
		b.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// give gives the lanes back, and forgets those of which there is nothing to know.
func (b *SeqBook) give(ids []delivery.LaneID, list []*seqLane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, l := range list {
		l.busy = false
		if !l.known {
			delete(b.lanes, ids[i])
		}
	}
	close(b.freed)
	b.freed = make(chan struct{})
}

// save makes what changed in the lanes durable, in one commit.
func (b *SeqBook) save(tasks []*seqTask) error {
	list := map[delivery.LaneID]state.Seq{}
	now := b.now().Unix()
	for _, t := range tasks {
		if l := t.lane; l.dirty {
			l.Time = now
			list[t.id] = l.Seq
		}
	}
	if len(list) == 0 {
		return nil
	}
	if err := b.store.PutSeq(list); err != nil {
		return err
	}
	for _, t := range tasks {
		if t.lane.dirty {
			t.lane.dirty, t.lane.stored = false, true
		}
	}
	return nil
}

// drop forgets lanes: their stream ended, or their destination keeps the contract
// itself now.
func (b *SeqBook) drop(ids []delivery.LaneID, list []*seqLane) error {
	var gone []delivery.LaneID
	for i, l := range list {
		if l.known = false; l.stored {
			gone = append(gone, ids[i])
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return b.store.DeleteSeq(gone)
}

// Seq carries packages to a logstore exactly once, whether its service knows
// ranges, as our own does, or only sequence numbers, as SLS does.
type Seq struct {
	inner    *SLS
	book     *SeqBook
	sessions atomic.Uint64
	parallel int // lanes at a time

	mu        sync.Mutex
	confirmed map[delivery.LaneID]uint64 // for the next Resume
}

// NewSeq returns the transport.
func NewSeq(inner *SLS, book *SeqBook) *Seq {
	return &Seq{inner: inner, book: book, parallel: seqParallel, confirmed: map[delivery.LaneID]uint64{}}
}

// placed is a transport that wants to know how far the lanes have come which it is
// asked for.
type placed interface {
	Place(lane delivery.LaneID, confirmed uint64)
}

// Place notes, for the next Resume, that what lies below confirmed was acknowledged, or
// was dropped by rule and that has been told.
func (t *Seq) Place(lane delivery.LaneID, confirmed uint64) {
	t.mu.Lock()
	t.confirmed[lane] = confirmed
	t.mu.Unlock()
}

// Resume asks the service where the lanes stand, and if it does not know the call,
// the records. The agent's own checkpoints count too: a record may be behind them,
// as it is written before a write and not after.
func (t *Seq) Resume(ctx context.Context, ids []delivery.LaneID) (*Resumed, error) {
	t.mu.Lock()
	confirmed := t.confirmed
	t.confirmed = map[delivery.LaneID]uint64{}
	t.mu.Unlock()
	r, err := t.inner.Resume(ctx, ids)
	if err != nil {
		return nil, err
	}
	if err := t.book.load(); err != nil {
		return nil, err
	}
	lanes, err := t.book.take(ctx, ids)
	if err != nil {
		return nil, err
	}
	defer t.book.give(ids, lanes)
	if r.Ranges {
		return r, t.book.drop(ids, lanes)
	}
	r = &Resumed{Ranges: true, Limits: true, Session: t.sessions.Add(1), Progress: make([]*delivery.Progress, len(ids))}
	for i, l := range lanes {
		if l.known {
			l.session, l.closed = r.Session, false
			l.confirm(confirmed[ids[i]])
			r.Progress[i] = l.progress()
		}
	}
	return r, nil
}

// Close closes idle connections.
func (t *Seq) Close() error { return t.inner.Close() }
