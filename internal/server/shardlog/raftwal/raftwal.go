// Package raftwal is the embedded engine of the shard log: one append-only log
// of hashicorp/raft-wal for each shard, in the folder <dir>/<store>/<shard>.
//
// An append is decided, written and synced together with whatever other appends
// to the shard wait at that moment: one sync for many requests. A record holds
// lane and range, so the progress of the lanes needs no second store: it is in
// memory, in a snapshot that is written every few seconds, and in the tail of
// the log behind the snapshot.
//
// A shard that nobody writes to or reads from for a while gives its memory and
// descriptors back; the next use opens it again.
package raftwal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"logtail/internal/server/shardlog"
	"logtail/internal/wal"
)

// Defaults of Options.
const (
	// DefaultSegmentSize is the unit in which Truncate gives disk space back.
	// Smaller ones mean more files and more rotations (three syncs each), larger
	// ones that more is kept than asked for.
	DefaultSegmentSize = 64 << 20
	// DefaultSnapshotEvery bounds how much of a log is read at the next open.
	DefaultSnapshotEvery = 5 * time.Second
	// DefaultIdleAfter is when an unused shard gives back what it holds: 200 KB
	// of memory and more behind large batches, and the progress of its lanes.
	DefaultIdleAfter = 5 * time.Minute
)

// Options of Open; the zero value means the defaults.
type Options struct {
	// SegmentSize is the size in bytes at which a new segment is begun, up to 1 GiB.
	SegmentSize int
	// SnapshotEvery is the time between snapshots of a shard that is written
	// to; it grows by itself so that snapshots take 1% of the time at most.
	SnapshotEvery time.Duration
	// IdleAfter is how long a shard has to be unused to be closed until its next use.
	IdleAfter time.Duration
	// Now is the clock of receipt and of forgetting lanes; time.Now if nil.
	Now func() time.Time
	// Logger is slog.Default if nil.
	Logger *slog.Logger

	// For tests: faults of the disk, maintenance only when it is asked for, and a
	// small reserve.
	faults  *wal.Faults
	still   bool
	reserve int64 // bytes; 0 is reserveSize
}

const (
	reserveName = "reserve"
	// reserveSize is room for the snapshots and segment lists that have to be
	// written before segments can be deleted.
	reserveSize = 1 << 20
)

// janitorEvery is how often shards are looked at for snapshots and idleness.
const janitorEvery = time.Second

var storeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

// engine implements shardlog.Log.
type engine struct {
	dir     string
	opts    Options
	log     *slog.Logger
	now     func() time.Time
	lock    *os.File
	reserve *wal.Reserve
	stop    context.CancelFunc
	stopped chan struct{} // closed when the janitor has ended

	mu      sync.Mutex
	closed  bool
	shards  map[shardlog.Key]*shard
	dropped map[string]struct{} // incarnations that were deleted; their ids never come again
}

// Open opens the shard logs under dir, making the folder if need be, and takes
// the folder for this process alone.
func Open(dir string, opts Options) (shardlog.Log, error) {
	return open(dir, opts)
}

func open(dir string, opts Options) (*engine, error) {
	if opts.SegmentSize <= 0 {
		opts.SegmentSize = DefaultSegmentSize
	}
	if opts.SegmentSize > wal.MaxSegmentSize {
		return nil, fmt.Errorf("shardlog: a segment size of %d bytes; at most 1 GiB is possible", opts.SegmentSize)
	}
	if opts.SnapshotEvery <= 0 {
		opts.SnapshotEvery = DefaultSnapshotEvery
	}
	if opts.IdleAfter <= 0 {
		opts.IdleAfter = DefaultIdleAfter
	}
	if opts.reserve == 0 {
		opts.reserve = reserveSize
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("shardlog: making the folder: %w", err)
	}
	lock, err := takeFolder(dir)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	e := &engine{
		dir: dir, opts: opts, log: opts.Logger, now: opts.Now, lock: lock, stop: stop,
		reserve: wal.NewReserve(filepath.Join(dir, reserveName), opts.reserve, opts.Logger),
		stopped: make(chan struct{}),
		shards:  map[shardlog.Key]*shard{}, dropped: map[string]struct{}{},
	}
	e.reserve.Fill()
	go e.janitor(ctx)
	return e, nil
}

// takeFolder locks dir against a second process.
func takeFolder(dir string) (*os.File, error) {
	f, err := wal.LockFolder(dir)
	if errors.Is(err, wal.ErrInUse) {
		return nil, fmt.Errorf("shardlog: the folder %s is in use by another logtail process; stop that one, or give this one another folder", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("shardlog: %w", err)
	}
	return f, nil
}

// Shard implements shardlog.Log.
func (e *engine) Shard(key shardlog.Key) (shardlog.Shard, error) {
	if !storeName.MatchString(key.Store) || key.Shard < 0 {
		return nil, fmt.Errorf("shardlog: %q, shard %d, is not the name of a shard", key.Store, key.Shard)
	}
	e.mu.Lock()
	_, dropped := e.dropped[key.Store]
	if e.closed || dropped {
		e.mu.Unlock()
		return nil, fmt.Errorf("%w: %s/%d", shardlog.ErrClosed, key.Store, key.Shard)
	}
	s := e.shards[key]
	if s == nil {
		s = newShard(e, key)
		e.shards[key] = s
	}
	e.mu.Unlock()
	// What was opened once opens itself with its next use: requests that ask
	// for the shard must not wait for the write that is under way.
	if s.next.Load() == 0 {
		if err := s.prepare(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Drop implements shardlog.Log.
func (e *engine) Drop(store string) error {
	if !storeName.MatchString(store) {
		return fmt.Errorf("shardlog: %q is not the id of a logstore", store)
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return shardlog.ErrClosed
	}
	e.dropped[store] = struct{}{}
	var mine []*shard
	for key, s := range e.shards {
		if key.Store == store {
			mine = append(mine, s)
			delete(e.shards, key)
		}
	}
	e.mu.Unlock()
	for _, s := range mine {
		s.shut(false) //nolint:errcheck // without a snapshot there is nothing to fail, and the files go
	}
	if err := os.RemoveAll(filepath.Join(e.dir, store)); err != nil {
		return fmt.Errorf("shardlog: deleting the records of logstore %s: %w", store, err)
	}
	return wal.SyncDir(e.dir)
}

// Close implements shardlog.Log.
func (e *engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	shards := e.shards
	e.shards = map[shardlog.Key]*shard{}
	e.mu.Unlock()
	e.stop()
	<-e.stopped
	var errs []error
	for _, s := range shards {
		errs = append(errs, s.shut(true))
	}
	return errors.Join(append(errs, e.lock.Close())...)
}

// janitor writes snapshots and closes idle shards.
func (e *engine) janitor(ctx context.Context) {
	defer close(e.stopped)
	tick := time.NewTicker(janitorEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if !e.opts.still {
				e.maintain()
			}
		}
	}
}

// maintain is one round of the janitor.
func (e *engine) maintain() {
	e.mu.Lock()
	shards := make([]*shard, 0, len(e.shards))
	for _, s := range e.shards {
		shards = append(shards, s)
	}
	e.mu.Unlock()
	for _, s := range shards {
		s.maintain()
	}
	e.reserve.Fill()
}

// folder makes the folder of a shard durably.
func (e *engine) folder(key shardlog.Key) (string, error) {
	store := filepath.Join(e.dir, key.Store)
	dir := filepath.Join(store, strconv.Itoa(key.Shard))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := wal.SyncDir(store); err != nil {
		return "", err
	}
	return dir, wal.SyncDir(e.dir)
}
