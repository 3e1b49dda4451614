package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"logtail/internal/server/catalog"
	"logtail/internal/server/index"
	"logtail/internal/server/shardlog"
)

const (
	// indexRecords and indexBytes bound what an indexer takes at a time.
	indexRecords = 256
	indexBytes   = 4 << 20
	// indexSlots is how many shards are indexed at the same moment: it bounds
	// memory when a service with many logstores catches up after a start.
	indexSlots = 4
	// retryFirst and retryMost are the waits after an error.
	retryFirst = 100 * time.Millisecond
	retryMost  = 30 * time.Second
	// careInterval is how often old records are dropped from the shard log, and
	// the data of deleted logstores is tried again to be deleted.
	careInterval = 5 * time.Minute
)

// indexers follow every shard: what is appended to the shard log goes to the
// index. There is one follower, a goroutine that mostly waits, per shard. They
// also look after the shard log: what is old and indexed is dropped from it,
// and what deleted logstores leave behind is deleted.
type indexers struct {
	catalog catalog.Catalog
	shards  shardlog.Log
	index   index.Index
	logger  *slog.Logger
	now     func() time.Time
	keep    time.Duration

	ctx    context.Context // ends with stop
	cancel context.CancelFunc
	wg     sync.WaitGroup
	slots  chan struct{}
	care   chan struct{} // wakes the care loop; one wake is enough for all reasons

	mu     sync.Mutex
	stores map[string]*followed // by incarnation
	closed bool

	// due is when a shard has to be looked at for old records; only the care
	// loop uses it.
	due map[shardlog.Key]time.Time

	// gate keeps a shard from being opened while, or after, its logstore's data
	// is deleted: it would come back as an empty folder that nobody deletes.
	gate    sync.RWMutex
	deleted map[string]bool
}

// followed is one logstore whose shards are followed.
type followed struct {
	name   string // for messages
	shards []int
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newIndexers(e engines, o Options) *indexers {
	x := &indexers{
		catalog: e.catalog, shards: e.log, index: e.index, logger: o.Logger, now: o.Clock, keep: o.KeepLog,
		slots: make(chan struct{}, indexSlots), care: make(chan struct{}, 1),
		stores: make(map[string]*followed), due: make(map[shardlog.Key]time.Time), deleted: make(map[string]bool),
	}
	x.ctx, x.cancel = context.WithCancel(context.Background())
	return x
}

// start follows all logstores and deletes what deleted ones left behind.
func (x *indexers) start(ctx context.Context) error {
	if err := x.followAll(ctx); err != nil {
		return err
	}
	x.wg.Go(x.careLoop)
	return nil
}

// followAll follows the logstores that are not followed yet: all of them at the
// start, and later one of which nobody told because its making failed half-way.
func (x *indexers) followAll(ctx context.Context) error {
	all, err := x.catalog.AllLogstores(ctx)
	if err != nil {
		return fmt.Errorf("list the logstores: %w", err)
	}
	for _, l := range all {
		x.mu.Lock()
		known := x.stores[l.ID] != nil
		x.mu.Unlock()
		if known {
			continue
		}
		shards, err := x.catalog.Shards(ctx, l.Project, l.Name)
		if errors.Is(err, catalog.ErrNotFound) { // deleted meanwhile
			continue
		}
		if err != nil {
			return fmt.Errorf("list the shards of %s/%s: %w", l.Project, l.Name, err)
		}
		x.Created(l, shards)
	}
	return nil
}

// stop ends all followers and waits for them.
func (x *indexers) stop() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.cancel()
	x.wg.Wait()
}

// Created follows the shards of a logstore.
func (x *indexers) Created(l catalog.Logstore, shards []catalog.Shard) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed || x.stores[l.ID] != nil || x.isDeleted(l.ID) {
		return
	}
	ctx, cancel := context.WithCancel(x.ctx)
	f := &followed{name: l.Project + "/" + l.Name, cancel: cancel}
	x.stores[l.ID] = f
	for _, s := range shards {
		f.shards = append(f.shards, s.ID)
		key := shardlog.Key{Store: l.ID, Shard: s.ID}
		f.wg.Add(1)
		x.wg.Go(func() {
			defer f.wg.Done()
			x.follow(ctx, f.name, key)
		})
	}
}

// Deleted has the data of a logstore deleted in the background.
func (x *indexers) Deleted(l catalog.Logstore) {
	x.mu.Lock()
	if f := x.stores[l.ID]; f != nil {
		f.cancel()
	}
	x.mu.Unlock()
	x.wake()
}

func (x *indexers) wake() {
	select {
	case x.care <- struct{}{}:
	default: // one is waiting already
	}
}

// follow indexes a shard until ctx ends. After an error it goes on where it
// was: the index holds what it took, also what is not durable yet.
func (x *indexers) follow(ctx context.Context, name string, key shardlog.Key) {
	var p *place
	wait := retryFirst
	for ctx.Err() == nil {
		err := x.inSlot(ctx, func() (err error) {
			if p == nil {
				p, err = x.open(name, key)
			}
			return err
		})
		for err == nil && ctx.Err() == nil {
			if err = p.shard.Wait(ctx, p.next); err == nil {
				err = x.inSlot(ctx, func() error { return x.step(ctx, p) })
			}
			if err == nil {
				wait = retryFirst
			}
		}
		if ctx.Err() != nil {
			return
		}
		x.logger.Error("indexing a shard failed; its newest logs are not searchable until it succeeds",
			"logstore", name, "shard", key.Shard, "retry_in", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, retryMost)
	}
}

// place is where a follower is in its shard.
type place struct {
	name  string
	key   shardlog.Key
	shard shardlog.Shard
	next  uint64 // sequence of the next record to index
}

// inSlot runs do when one of the slots is free.
func (x *indexers) inSlot(ctx context.Context, do func() error) error {
	select {
	case x.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-x.slots }()
	return do()
}

// open finds where the index stands.
func (x *indexers) open(name string, key shardlog.Key) (*place, error) {
	shard, err := x.shard(key)
	if err != nil {
		return nil, fmt.Errorf("open the shard log: %w", err)
	}
	at, err := x.index.Position(key)
	if err != nil {
		return nil, fmt.Errorf("ask the index for its position: %w", err)
	}
	if _, next := shard.Bounds(); at > next {
		return nil, fmt.Errorf("the index holds records up to %d, the shard log ends at %d: the two are not of the same time; restore both from one backup, or delete the index of this logstore to have it built anew", at, next)
	}
	return &place{name: name, key: key, shard: shard, next: at}, nil
}

// step indexes the next records.
func (x *indexers) step(ctx context.Context, p *place) error {
	recs, err := p.shard.Read(p.next, indexRecords, indexBytes)
	if errors.Is(err, shardlog.ErrTruncated) {
		first, _ := p.shard.Bounds()
		if first <= p.next {
			return fmt.Errorf("read from record %d: %w", p.next, err)
		}
		x.logger.Error("records were dropped from the shard log before they were indexed; they cannot be searched",
			"logstore", p.name, "shard", p.key.Shard, "from", p.next, "to", first-1)
		p.next = first
		return nil
	}
	if errors.Is(err, shardlog.ErrCorrupt) {
		// It will not get better, and what follows it must not wait for it.
		x.logger.Error("a record of the shard log is damaged; its logs cannot be searched or pulled any more",
			"logstore", p.name, "store", p.key.Store, "shard", p.key.Shard, "sequence", p.next, "error", err)
		recs, err = []shardlog.Record{{Seq: p.next}}, nil // nothing in its place
	}
	if err != nil {
		return fmt.Errorf("read from record %d: %w", p.next, err)
	}
	if len(recs) == 0 {
		return nil
	}
	last := recs[len(recs)-1].Seq // Apply takes the records over
	if err := x.index.Apply(ctx, p.key, recs); err != nil {
		return fmt.Errorf("index records %d to %d: %w", p.next, last, err)
	}
	p.next = last + 1
	return nil
}

// careLoop deletes what is left of deleted logstores and drops old records.
func (x *indexers) careLoop() {
	ticker := time.NewTicker(careInterval)
	defer ticker.Stop()
	for {
		x.finishDeletions()
		if err := x.followAll(x.ctx); err != nil && x.ctx.Err() == nil {
			x.logger.Error("cannot look for logstores that are not indexed; it is tried again", "error", err)
		}
		x.truncate()
		select {
		case <-x.ctx.Done():
			return
		case <-ticker.C:
		case <-x.care:
		}
	}
}

// finishDeletions deletes the data of the logstores that the catalog notes as
// deleted. What fails is tried again later.
func (x *indexers) finishDeletions() {
	ids, err := x.catalog.Dropped(x.ctx)
	if err != nil {
		if x.ctx.Err() == nil {
			x.logger.Error("cannot list the deleted logstores; their data stays on the disk until that succeeds", "error", err)
		}
		return
	}
	for _, id := range ids {
		if x.ctx.Err() != nil {
			return
		}
		if err := x.deleteData(id); err != nil && x.ctx.Err() == nil {
			x.logger.Error("cannot delete the data of a deleted logstore; it is tried again", "incarnation", id, "error", err)
		}
	}
}

func (x *indexers) deleteData(id string) error {
	x.gate.Lock()
	x.deleted[id] = true
	x.gate.Unlock()
	x.mu.Lock()
	f := x.stores[id]
	x.mu.Unlock()
	if f != nil {
		f.cancel()
		f.wg.Wait()
	}
	if err := x.shards.Drop(id); err != nil {
		return fmt.Errorf("shard log: %w", err)
	}
	if err := x.index.Drop(id); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	if err := x.catalog.ForgetDropped(x.ctx, id); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	x.mu.Lock()
	delete(x.stores, id)
	x.mu.Unlock()
	return nil
}

// truncate drops records that are older than keep and durable in the index.
func (x *indexers) truncate() {
	now := x.now()
	names := make(map[shardlog.Key]string)
	x.mu.Lock()
	for id, f := range x.stores {
		for _, s := range f.shards {
			names[shardlog.Key{Store: id, Shard: s}] = f.name
		}
	}
	x.mu.Unlock()
	for key := range x.due {
		if _, ok := names[key]; !ok {
			delete(x.due, key)
		}
	}
	for key, name := range names {
		if x.ctx.Err() != nil {
			return
		}
		if now.Before(x.due[key]) {
			continue
		}
		due, err := x.truncateShard(key, now)
		if err != nil && !errors.Is(err, shardlog.ErrClosed) {
			x.logger.Error("cannot drop old records from the shard log; it grows until that succeeds", "logstore", name, "shard", key.Shard, "error", err)
		}
		x.due[key] = due
	}
}

// truncateShard drops what is old and durable in the index, and returns when
// to look again: not before the oldest record that is left gets old, for
// looking may open the files of an idle shard.
func (x *indexers) truncateShard(key shardlog.Key, now time.Time) (due time.Time, err error) {
	shard, err := x.shard(key)
	if err != nil {
		return now, err
	}
	first, next := shard.Bounds()
	if first == next {
		return now.Add(x.keep), nil
	}
	old, err := shard.SeekTime(now.Add(-x.keep).UnixNano())
	if err != nil {
		return now, err
	}
	indexed, err := x.index.Position(key)
	if err != nil {
		return now, err
	}
	if cut := min(old, indexed); cut > first {
		if err := shard.Truncate(cut); err != nil {
			return now, err
		}
		first, _ = shard.Bounds()
	}
	if indexed < old { // the index is behind; it will not be for long
		return now, nil
	}
	oldest, err := shard.Read(first, 1, 1)
	if errors.Is(err, shardlog.ErrCorrupt) { // the indexer has said so
		err = nil
	}
	if err != nil || len(oldest) == 0 {
		return now.Add(x.keep), err
	}
	// An engine drops whole units only: what is left may be old already.
	due, soonest := time.Unix(0, oldest[0].Received).Add(x.keep), now.Add(x.keep/24)
	if due.Before(soonest) {
		due = soonest
	}
	return due, nil
}

// shard opens a shard unless its logstore was deleted.
func (x *indexers) shard(key shardlog.Key) (shardlog.Shard, error) {
	x.gate.RLock()
	defer x.gate.RUnlock()
	if x.deleted[key.Store] {
		return nil, shardlog.ErrClosed
	}
	return x.shards.Shard(key)
}

func (x *indexers) isDeleted(id string) bool {
	x.gate.RLock()
	defer x.gate.RUnlock()
	return x.deleted[id]
}

// gatedLog is the shard log as the API sees it.
type gatedLog struct {
	shardlog.Log
	x *indexers
}

// log returns the shard log for others to use.
func (x *indexers) log() shardlog.Log { return gatedLog{x.shards, x} }

// Shard opens a shard unless its logstore was deleted; then it is ErrClosed.
func (g gatedLog) Shard(key shardlog.Key) (shardlog.Shard, error) { return g.x.shard(key) }
