package agent

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
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

// saveBatch is how many streams one commit has at most, as a commit takes some 5 kB of
// memory for each until it is done.
const saveBatch = 4096

// saver makes streams and checkpoints durable, many with one commit.
type saver struct {
	a     *Agent
	store *state.Store
	wake  chan struct{} // capacity 1: a stream waits to be stored before it may be sent

	mu      sync.Mutex
	newOnes []*stream
	moved   map[*stream]struct{}
	removed []delivery.StreamID
	scans   []firstScan
	tombs   []state.Tomb
	hints   []state.Hint // that were used
	failing bool
	lost    buffer.Stats // what was lost in it is counted; of the saving goroutine
}

// firstScan is the streams of a pipeline's first scan.
type firstScan struct {
	run  *pipelineRun
	list []*stream
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

// scan stores the streams of a pipeline's first scan. The mark that it is complete
// is in the commit of the last ones, and nothing of them is read before: a crash in the
// middle of it makes the scan begin again, with some of its streams known.
func (v *saver) scan(run *pipelineRun, list []*stream) {
	v.mu.Lock()
	v.scans = append(v.scans, firstScan{run, list})
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
	scans   []firstScan
	tombs   []state.Tomb
	hints   []state.Hint
}

func (v *saver) take() *unsaved {
	v.mu.Lock()
	defer v.mu.Unlock()
	u := &unsaved{newOnes: v.newOnes, moved: v.moved, removed: v.removed, scans: v.scans, tombs: v.tombs, hints: v.hints}
	v.newOnes, v.removed, v.scans, v.tombs, v.hints = nil, nil, nil, nil, nil
	v.moved = map[*stream]struct{}{}
	return u
}

// save commits what has changed. On an error everything is kept for the next
// time; new streams wait with their files unread till then.
func (v *saver) save() {
	u := v.take()
	if err := v.write(u); err != nil {
		if errors.Is(err, state.ErrHealed) { // what it has lost is in memory still
			v.a.healed(v.store.Opened())
			for _, s := range v.a.files.of(nil) {
				v.dirty(s)
			}
		}
		v.keep(u, err)
	}
}

// write commits in parts, and takes out of u what is done. Streams that have moved go
// before new ones, as one that has ended must be stored no later than the one that follows it.
func (v *saver) write(u *unsaved) error {
	moved := slices.Collect(maps.Keys(u.moved))
	err := v.inParts(moved, func(part []*stream, last bool) error {
		c, newOnes := state.Change{}, []*stream(nil)
		if last {
			c = state.Change{Delete: u.removed, PutTombs: u.tombs, DropHints: u.hints}
			newOnes = u.newOnes
			v.lostInBuffer()
		}
		if err := v.commit(c, part, newOnes); err != nil {
			return err
		}
		for _, s := range part {
			delete(u.moved, s)
		}
		return nil
	})
	if err != nil {
		return err
	}
	v.stored(u.newOnes)
	u.newOnes, u.removed, u.tombs, u.hints = nil, nil, nil, nil
	for len(u.scans) > 0 {
		scan := u.scans[0]
		if err := v.inParts(scan.list, func(part []*stream, last bool) error {
			c := state.Change{}
			if last {
				c.Scanned = []string{scan.run.p.Name}
			}
			return v.commit(c, nil, part)
		}); err != nil {
			return err
		}
		v.stored(scan.list)
		u.scans = u.scans[1:]
	}
	return nil
}

// inParts calls do for parts of the list, in the order of the streams' ids where there
// are several, so that each part goes to other pages of the file; for the last one also
// if the list is empty.
func (v *saver) inParts(list []*stream, do func(part []*stream, last bool) error) error {
	if len(list) > saveBatch {
		ids := make(map[*stream]delivery.StreamID, len(list))
		for _, s := range list {
			s.mu.Lock()
			ids[s] = s.rec.ID
			s.mu.Unlock()
		}
		slices.SortFunc(list, func(a, b *stream) int {
			x, y := ids[a], ids[b]
			return bytes.Compare(x[:], y[:])
		})
	}
	for len(list) > saveBatch {
		if err := do(list[:saveBatch:saveBatch], false); err != nil {
			return err
		}
		v.store.Trim() // each part reads many pages of the file, which no other part needs
		list = list[saveBatch:]
	}
	return do(slices.Clip(list), true)
}

// commit stores a change with streams that have moved and new ones in it, and the
// counts that their snapshots make final: they belong to these checkpoints.
func (v *saver) commit(c state.Change, moved, newOnes []*stream) error {
	c.Put = make([]state.Stream, 0, len(moved)+len(newOnes))
	for i, list := range [...][]*stream{moved, newOnes} {
		for _, s := range list {
			if rec, ok := s.snapshot(i == 1); ok {
				c.Put = append(c.Put, rec)
			}
		}
	}
	c.Now, c.Counts = v.a.now().Unix(), v.a.ledger.Changed()
	if len(c.Put)+len(c.Delete)+len(c.Scanned)+len(c.PutTombs)+len(c.DropHints)+len(c.Counts) == 0 {
		return nil
	}
	if err := v.store.Commit(c); err != nil {
		v.a.ledger.Restore(c.Counts)
		return err
	}
	v.mu.Lock()
	failed := v.failing
	v.failing = false
	v.mu.Unlock()
	if failed {
		v.a.log.Info("the agent's state can be written again")
	}
	return nil
}

func (v *saver) stored(list []*stream) {
	for _, s := range list {
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
	v.mu.Lock()
	defer v.mu.Unlock()
	v.newOnes = append(u.newOnes, v.newOnes...)
	v.removed = append(u.removed, v.removed...)
	v.scans = append(u.scans, v.scans...)
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
			s.touched, path = false, s.rec.Path
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
