package raftwal

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/wal"
)

// shard implements shardlog.Shard.
type shard struct {
	e    *engine
	key  shardlog.Key
	path string // for messages
	bad  wal.BadSectors

	first, next atomic.Uint64 // next is 0 until the shard was opened once
	used        atomic.Int64  // when it was used last, unix nanoseconds

	// commit is held by whoever changes the log or the lanes: a batch from its
	// decisions until it is durable, a resume, a truncation, a snapshot.
	commit   sync.Mutex
	gone     error  // ErrClosed after close or drop
	lanes    *lanes // nil while the shard is idle
	received int64  // of the last record
	sum      uint32 // the checksum of the last record, 0 if it is not known
	snapped  uint64 // the record up to which the snapshot on disk goes
	sessions bool   // sessions were raised since the snapshot
	snapAt   int64  // when the next snapshot is due, unix nanoseconds
	heads    []byte // scratch of a batch

	// log is replaced under commit and logMu; readers hold logMu.
	logMu sync.RWMutex
	log   *wal.Log // nil while the shard is idle

	mu      sync.Mutex
	queue   []*request
	running bool // a committer is at work
	closing bool
	changed chan struct{} // closed when next rises; nil while nobody waits
	loops   sync.WaitGroup
}

func newShard(e *engine, key shardlog.Key) *shard {
	return &shard{e: e, key: key, path: fmt.Sprintf("%s/%d", key.Store, key.Shard)}
}

// fail wraps an error with the shard's name, and full disks in ErrNoSpace.
func (s *shard) fail(err error) error {
	switch {
	case err == nil, errors.Is(err, shardlog.ErrClosed):
		return err
	case wal.IsNoSpace(err):
		return fmt.Errorf("%w: shard %s: %w", shardlog.ErrNoSpace, s.path, err)
	case wal.IsReadOnly(err):
		return fmt.Errorf("shardlog: shard %s: the disk takes no changes; it goes on by itself when the disk can be written again (is it mounted read-only?): %w", s.path, err)
	}
	return fmt.Errorf("shardlog: shard %s: %w", s.path, err)
}

// prepare opens the shard if it is not open.
func (s *shard) prepare() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	return s.fail(s.openLocked())
}

// openLocked makes the log and the lanes ready. The caller holds commit.
func (s *shard) openLocked() error {
	s.used.Store(s.e.now().UnixNano())
	if s.gone != nil || s.log != nil {
		return s.gone
	}
	dir, err := s.e.folder(s.key)
	if err != nil {
		return err
	}
	snap, err := readSnapshot(s.e.log, filepath.Join(dir, snapshotName))
	if err != nil {
		return err
	}
	l, err := s.openLog(dir, snap.seq)
	if err != nil {
		return err
	}
	first, next := l.Bounds()
	if err := s.replay(l, snap, first, next); err != nil {
		return errors.Join(err, l.Close())
	}
	s.snapAt = s.e.now().Add(s.e.opts.SnapshotEvery).UnixNano()
	s.logMu.Lock()
	s.log = l
	s.logMu.Unlock()
	s.first.Store(first)
	s.next.Store(next)
	return nil
}

// uninstall gives back what the open shard holds. The error is that of a write
// that failed and could not be cut off.
func (s *shard) uninstall() error {
	s.logMu.Lock()
	old := s.log
	s.log = nil
	s.logMu.Unlock()
	s.lanes, s.heads = nil, nil
	if old == nil {
		return nil
	}
	return old.Close()
}

// record reads one record; its bytes are the caller's.
func record(l *wal.Log, seq uint64) (shardlog.Record, error) {
	_, r, err := both(l, seq)
	return r, err
}

// both reads a record as it is stored and as what it means.
func both(l *wal.Log, seq uint64) (b wal.Record, r shardlog.Record, err error) {
	if b, err = l.Get(seq); err != nil {
		return b, r, err
	}
	r, err = decodeRecord(b.Head, b.Data)
	r.Seq = seq
	return b, r, err
}

// Bounds implements shardlog.Shard.
func (s *shard) Bounds() (first, next uint64) {
	first = s.first.Load() // before next, so that first <= next
	return first, s.next.Load()
}

// Wait implements shardlog.Shard.
func (s *shard) Wait(ctx context.Context, seq uint64) error {
	for {
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			return shardlog.ErrClosed
		}
		if seq < s.next.Load() {
			s.mu.Unlock()
			return nil
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// advance raises next and wakes who waits for it.
func (s *shard) advance(next uint64) {
	s.mu.Lock()
	s.next.Store(next)
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	s.mu.Unlock()
}

// Resume implements shardlog.Shard.
func (s *shard) Resume(session uint64, ids []delivery.LaneID) ([]*delivery.Progress, error) {
	s.commit.Lock()
	defer s.commit.Unlock()
	if err := s.openLocked(); err != nil {
		return nil, s.fail(err)
	}
	now := s.e.now().Unix()
	out := make([]*delivery.Progress, len(ids))
	for i, id := range ids {
		l := s.lanes.get(id, now)
		if l == nil {
			continue
		}
		if session > l.Session {
			l.Session = session
			s.lanes.set(id, *l)
			s.sessions = true
		}
		p := l.Progress
		p.State = append([]byte(nil), p.State...)
		out[i] = &p
	}
	s.lanes.settle()
	return out, nil
}

// Truncate implements shardlog.Shard. The records are gone for readers at
// once; the disk gets back the segments that hold no other ones.
func (s *shard) Truncate(seq uint64) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	if err := s.openLocked(); err != nil {
		return s.fail(err)
	}
	first, next := s.Bounds()
	if seq = min(seq, next); seq <= first {
		return nil
	}
	return s.fail(s.e.reserve.Spend(func() error { return s.truncateLocked(seq) }))
}

func (s *shard) truncateLocked(seq uint64) error {
	if s.snapped < seq-1 { // what is dropped is in the snapshot first
		if err := s.snapshotLocked(); err != nil {
			return err
		}
	}
	if err := s.log.Heal(); err != nil {
		return err
	}
	s.first.Store(seq) // readers must not look for what is being deleted
	err := s.log.TruncateFront(seq)
	if err != nil {
		first, _ := s.log.Bounds() // they may still be there
		s.first.Store(first)
	}
	return err
}

// snapshotLocked writes the snapshot. The caller holds commit.
func (s *shard) snapshotLocked() error {
	began := time.Now() // not the injected clock: this measures work
	now := s.e.now()
	s.lanes.forget(now.Unix())
	snap := &snapshot{seq: s.next.Load() - 1, received: s.received, sum: s.sum, lanes: s.lanes.m}
	err := writeSnapshot(s.e.opts.faults, filepath.Join(s.e.dir, s.path, snapshotName), snap)
	s.snapAt = now.Add(max(s.e.opts.SnapshotEvery, 100*time.Since(began))).UnixNano()
	if err == nil {
		s.snapped, s.sessions = snap.seq, false
	}
	return err
}

// behind says whether the snapshot on disk lacks something.
func (s *shard) behind() bool { return s.sessions || s.snapped != s.next.Load()-1 }

// maintain writes the snapshot if it is due, and closes the shard if it is
// idle. A shard that is busy does the first by itself.
func (s *shard) maintain() {
	if !s.commit.TryLock() {
		return
	}
	defer s.commit.Unlock()
	s.maintainLocked()
}

func (s *shard) maintainLocked() {
	if s.gone != nil || s.log == nil {
		return
	}
	now := s.e.now().UnixNano()
	idle := now-s.used.Load() > int64(s.e.opts.IdleAfter)
	if s.behind() && (idle || now >= s.snapAt) {
		if err := s.snapshotLocked(); err != nil {
			s.e.log.Warn("the snapshot of a shard's lanes could not be written; it is tried again", "shard", s.path, "err", err)
			return
		}
	}
	if idle && !s.log.Broken() {
		s.uninstall() //nolint:errcheck // there is nothing to cut off
	}
}

// shut ends the shard: appends under way finish, everything later is ErrClosed.
func (s *shard) shut(keep bool) error {
	s.mu.Lock()
	s.closing = true
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	s.mu.Unlock()
	s.loops.Wait()
	s.commit.Lock()
	defer s.commit.Unlock()
	var err error
	if keep && s.log != nil {
		err = s.fail(s.log.Heal()) // so that a write that failed does not come back
	}
	if keep && s.log != nil && s.behind() {
		err = errors.Join(err, s.fail(s.snapshotLocked()))
	}
	s.gone = fmt.Errorf("%w: shard %s", shardlog.ErrClosed, s.path)
	s.uninstall() //nolint:errcheck // Heal has said it
	return err
}
