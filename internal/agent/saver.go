package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/buffer"
	"logtail/internal/agent/ledger"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// saveInterval is how often moved checkpoints are made durable. A crash costs
// no log and doubles none, as the destination has its own progress; an
// up-to-date checkpoint only makes the next start faster, and is what counts
// for destinations that know nothing of ranges.
const saveInterval = time.Second

// saveShare bounds what saving may cost where very many files grow: it takes one
// part in so many of the time.
const saveShare = 20

// saver makes streams and checkpoints durable, many with one commit.
type saver struct {
	a     *Agent
	store *state.Store
	wake  chan struct{} // capacity 1: a stream waits to be stored before it may be sent

	mu      sync.Mutex
	newOnes []*stream
	moved   map[*stream]struct{}
	removed []delivery.StreamID
	scanned []*pipelineRun
	tombs   []state.Tomb
	hints   []state.Hint // that were used
	failing bool
	lost    buffer.Stats // what was lost in it is counted; of the saving goroutine
}

func newSaver(a *Agent, store *state.Store) *saver {
	return &saver{a: a, store: store, wake: make(chan struct{}, 1), moved: map[*stream]struct{}{}}
}

// add stores a new stream and then attaches it.
func (v *saver) add(list ...*stream) {
	v.mu.Lock()
	v.newOnes = append(v.newOnes, list...)
	v.mu.Unlock()
	v.signal()
}

// scan stores the streams of a pipeline's first scan, all with one commit, so
// that a crash in the middle of it makes the scan begin again.
func (v *saver) scan(run *pipelineRun, list []*stream) {
	v.mu.Lock()
	v.newOnes = append(v.newOnes, list...)
	v.scanned = append(v.scanned, run)
	v.mu.Unlock()
	v.signal()
}

// dirty says that a checkpoint moved.
func (v *saver) dirty(s *stream) {
	v.mu.Lock()
	v.moved[s] = struct{}{}
	v.mu.Unlock()
}

// remove forgets a stream.
func (v *saver) remove(id delivery.StreamID) {
	v.mu.Lock()
	v.removed = append(v.removed, id)
	v.mu.Unlock()
}

// bury keeps what stays of a stream that ended.
func (v *saver) bury(t state.Tomb) {
	v.mu.Lock()
	v.tombs = append(v.tombs, t)
	v.mu.Unlock()
}

// used says that a hint has served.
func (v *saver) used(h state.Hint) {
	v.mu.Lock()
	v.hints = append(v.hints, h)
	v.mu.Unlock()
}

func (v *saver) signal() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// run saves until ctx ends, and once more then.
func (v *saver) run(ctx context.Context) {
	t := time.NewTicker(saveInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			v.save()
			return
		case <-v.wake:
			if v.failed() { // all that waits is tried again once a second, not with each new file
				continue
			}
		case <-t.C:
		}
		began := time.Now()
		v.save()
		t.Reset(max(saveInterval, saveShare*time.Since(began)))
	}
}

// failed says whether the last commit failed.
func (v *saver) failed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failing
}

// unsaved is what a commit is made of.
type unsaved struct {
	newOnes []*stream
	moved   map[*stream]struct{}
	removed []delivery.StreamID
	scanned []*pipelineRun
	tombs   []state.Tomb
	hints   []state.Hint
	counts  []ledger.Entry
}

func (v *saver) take() *unsaved {
	v.mu.Lock()
	defer v.mu.Unlock()
	u := &unsaved{newOnes: v.newOnes, moved: v.moved, removed: v.removed, scanned: v.scanned, tombs: v.tombs, hints: v.hints}
	v.newOnes, v.removed, v.scanned, v.tombs, v.hints = nil, nil, nil, nil, nil
	v.moved = map[*stream]struct{}{}
	return u
}

// save commits what has changed. On an error everything is kept for the next
// time; new streams wait with their files unread till then.
func (v *saver) save() {
	u := v.take()
	c := state.Change{Delete: u.removed, PutTombs: u.tombs, DropHints: u.hints, Now: v.a.now().Unix()}
	for _, s := range u.newOnes {
		if rec, ok := s.snapshot(); ok {
			c.Put = append(c.Put, rec)
		}
	}
	for s := range u.moved {
		if rec, ok := s.snapshot(); ok {
			c.Put = append(c.Put, rec)
		}
	}
	for _, run := range u.scanned {
		c.Scanned = append(c.Scanned, run.p.Name)
	}
	v.lostInBuffer()
	// After the snapshots, which make counts final: they belong to these checkpoints.
	u.counts = v.a.ledger.Changed()
	c.Counts = u.counts
	if len(c.Put)+len(c.Delete)+len(c.Scanned)+len(c.PutTombs)+len(c.DropHints)+len(c.Counts) == 0 {
		return
	}
	if err := v.store.Commit(c); err != nil {
		if errors.Is(err, state.ErrHealed) { // what it has lost is in memory still
			v.a.healed(v.store.Opened())
			for _, s := range v.a.files.of(nil) {
				v.dirty(s)
			}
		}
		v.keep(u, err)
		return
	}
	v.mu.Lock()
	failed := v.failing
	v.failing = false
	v.mu.Unlock()
	if failed {
		v.a.log.Info("the agent's state can be written again")
	}
	for _, s := range u.newOnes {
		s.stored()
	}
}

// lostInBuffer counts what the disk buffer has lost since the last time.
func (v *saver) lostInBuffer() {
	now := v.a.buffer.Stats()
	if records, logs := now.LostRecords-v.lost.LostRecords, now.LostLogs-v.lost.LostLogs; records > 0 {
		v.a.ledger.Add(ledger.Key{Reason: ledger.BufferDamaged}, ledger.Count{Logs: int64(logs), Times: int64(records)})
	}
	v.lost = now
}

// keep puts back what could not be committed.
func (v *saver) keep(u *unsaved, err error) {
	v.a.ledger.Restore(u.counts)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.newOnes = append(u.newOnes, v.newOnes...)
	v.removed = append(u.removed, v.removed...)
	v.scanned = append(u.scanned, v.scanned...)
	v.tombs = append(u.tombs, v.tombs...)
	v.hints = append(u.hints, v.hints...)
	for s := range u.moved {
		v.moved[s] = struct{}{}
	}
	if !v.failing {
		v.a.alarms.Raise(alarm.Checkpoint, alarm.Scope{}, 1,
			err.Error()+"; new files wait until it can be written: make room or give the agent's user the right to write there", nil)
	}
	v.failing = true
}

// stored goes on with a stream that is durable now.
func (s *stream) stored() {
	s.mu.Lock()
	s.proved, s.proving = s.proved || s.headSaved, false
	s.renewed()
	pending, path := s.rec.Pending, ""
	if pending {
		s.fresh = false
		if s.touched { // modified, but that could not be followed before
			s.touched, path = false, s.path
		}
	}
	s.mu.Unlock()
	if path != "" {
		s.a.again.add(look{filePath: filePath{s.run, path}})
	}
	if !pending {
		s.attach(false) // its id is new, so no destination knows its lanes
		s.a.queue.add(s)
	}
}
