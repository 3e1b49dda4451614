package raftwal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
)

// retryAfter is the pause between attempts to write to a disk that failed
// twice in a row: each attempt reads the end of the last segment.
const retryAfter = 250 * time.Millisecond

// shard implements shardlog.Shard.
type shard struct {
	e    *engine
	key  shardlog.Key
	path string // for messages

	first, next atomic.Uint64 // next is 0 until the shard was opened once
	used        atomic.Int64  // when it was used last, unix nanoseconds

	// commit is held by whoever changes the log or the lanes: a batch from its
	// decisions until it is durable, a resume, a truncation, a snapshot.
	commit   sync.Mutex
	gone     error  // ErrClosed after close or drop
	broken   error  // not nil if the log has to be opened anew before the next write
	failed   error  // of the last write
	failures int    // writes that failed in a row
	retryAt  int64  // after two failures, when to write again, unix nanoseconds
	lanes    *lanes // nil while the shard is idle
	received int64  // of the last record
	snapped  uint64 // the record up to which the snapshot on disk goes
	sessions bool   // sessions were raised since the snapshot
	snapAt   int64  // when the next snapshot is due, unix nanoseconds
	heads    []byte // scratch of a batch

	// handle is replaced under commit and handleMu; readers hold handleMu.
	handleMu sync.RWMutex
	handle   *handle

	mu      sync.Mutex
	queue   []*request
	running bool // a committer is at work
	closing bool
	changed chan struct{} // closed when next rises; nil while nobody waits
	loops   sync.WaitGroup
}

// handle is an open log with what it stands on.
type handle struct {
	w     *wal.WAL
	files *files
	list  *segmentList
}

func (h *handle) close() {
	h.w.Close() //nolint:errcheck // it always returns nil
	h.files.close()
}

func newShard(e *engine, key shardlog.Key) *shard {
	return &shard{e: e, key: key, path: fmt.Sprintf("%s/%d", key.Store, key.Shard)}
}

// fail wraps an error with the shard's name, and full disks in ErrNoSpace.
func (s *shard) fail(err error) error {
	switch {
	case err == nil, errors.Is(err, shardlog.ErrClosed):
		return err
	case isNoSpace(err):
		return fmt.Errorf("%w: shard %s: %w", shardlog.ErrNoSpace, s.path, err)
	}
	return fmt.Errorf("shardlog: shard %s: %w", s.path, err)
}

// prepare opens the shard if it is not open.
func (s *shard) prepare() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	return s.fail(s.openLocked())
}

// openLocked makes the log and the lanes ready for reading, and for writing if
// the shard is not broken. The caller holds commit.
func (s *shard) openLocked() error {
	s.used.Store(s.e.now().UnixNano())
	if s.gone != nil || s.handle != nil {
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
	h, first, next, err := s.openLog(dir, snap.seq)
	if err != nil {
		return err
	}
	if err := s.replay(h, snap, first, next); err != nil {
		h.close()
		return err
	}
	s.snapAt = s.e.now().Add(s.e.opts.SnapshotEvery).UnixNano()
	s.install(h, first, next)
	return nil
}

// openLog opens the log and returns its bounds. durable is a record up to
// which the log is known to have been durable once.
func (s *shard) openLog(dir string, durable uint64) (h *handle, first, next uint64, err error) {
	known := s.next.Load()
	h = &handle{files: newFiles(s.e.opts.faults), list: &segmentList{log: s.e.log, faults: s.e.opts.faults, dir: dir, durable: durable}}
	if known > 0 {
		h.list.known, h.list.acked = true, known-1
	}
	h.w, err = wal.Open(dir, wal.WithMetaStore(h.list), wal.WithSegmentFiler(segment.NewFiler(dir, h.files)),
		wal.WithSegmentSize(s.e.opts.SegmentSize), wal.WithLogger(s.e.walLogger(s.key)))
	if err != nil {
		h.files.close()
		return nil, 0, 0, err
	}
	first, err1 := h.w.FirstIndex()
	last, err2 := h.w.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		h.close()
		return nil, 0, 0, err
	}
	next = last + 1
	if last == 0 { // no records: raft-wal does not say where it will go on
		first, next = h.list.base, h.list.base
	}
	if known > 0 && next != known {
		h.close()
		return nil, 0, 0, fmt.Errorf("the log ends at record %d and not at %d, which was stored: %w", next-1, known-1, errDamaged)
	}
	return h, first, next, nil
}

// replay makes the lanes of the shard from the snapshot and the log behind it.
func (s *shard) replay(h *handle, snap *snapshot, first, next uint64) error {
	ls := &lanes{m: snap.lanes}
	from := max(snap.seq+1, first)
	snapped, received := snap.seq, snap.received
	switch {
	case snap.seq >= next:
		// The log is older than the snapshot: it was restored from a copy or
		// the disk lost something. Lanes whose last record is gone are known
		// as far as the log goes.
		s.e.log.Error("the shard log ends before its snapshot; the progress of the lanes is taken back to the log",
			"shard", s.path, "log_ends_at", next-1, "snapshot_at", snap.seq)
		for id, l := range ls.m {
			if l.seq >= next {
				delete(ls.m, id)
			}
		}
		from, snapped, received = first, 0, 0
	case snap.seq+1 < first:
		s.e.log.Error("records that the snapshot of the lanes lacks were dropped; lanes may be unknown", "shard", s.path, "snapshot_at", snap.seq, "first_kept", first)
	}
	for seq := from; seq < next; seq++ {
		r, err := h.record(seq)
		if errors.Is(err, errDamaged) {
			// Its lane stays where it was, so the agent sends the range again.
			s.e.log.Error("a record of the shard log is damaged and counts as not stored", "shard", s.path, "record", seq)
			continue
		}
		if err != nil {
			return err
		}
		received = max(received, r.Received)
		if r.Range == nil {
			continue
		}
		ls.set(r.Range.Lane, lane{Progress: delivery.Advance(r.Range, r.Received/int64(time.Second)), seq: seq})
		ls.settle()
	}
	ls.forget(s.e.now().Unix())
	s.lanes, s.snapped, s.received, s.sessions = ls, snapped, received, false
	return nil
}

// install makes h the log of the shard.
func (s *shard) install(h *handle, first, next uint64) {
	s.handleMu.Lock()
	old := s.handle
	s.handle = h
	s.handleMu.Unlock()
	if old != nil {
		old.close()
	}
	s.first.Store(first)
	s.next.Store(next)
}

// uninstall gives back what the open shard holds.
func (s *shard) uninstall() {
	s.handleMu.Lock()
	old := s.handle
	s.handle = nil
	s.handleMu.Unlock()
	if old != nil {
		old.close()
	}
	s.lanes, s.heads, s.broken = nil, nil, nil
}

// heal makes a log whose last write failed ready for the next one.
func (s *shard) heal() error {
	if s.broken == nil {
		return nil
	}
	return s.reopen()
}

// reopen puts a newly opened log, which is cut behind the last record that was
// stored, in the place of the open one. Reading goes on meanwhile.
func (s *shard) reopen() error {
	s.handle.list.freeze()
	h, first, next, err := s.openLog(filepath.Join(s.e.dir, s.path), 0)
	if err != nil {
		s.broken = err
		return err
	}
	s.install(h, first, next)
	s.broken = nil
	return nil
}

// record reads one record; its bytes are the caller's.
func (h *handle) record(seq uint64) (r shardlog.Record, err error) {
	// raft-wal's decoder trusts the disk: a damaged length makes it panic.
	defer func() {
		if p := recover(); p != nil {
			r, err = shardlog.Record{}, errDamaged
		}
	}()
	var l raft.Log
	if err := h.w.GetLog(seq, &l); err != nil {
		if isDamage(err) {
			return r, fmt.Errorf("%w: %w", errDamaged, err)
		}
		return r, err
	}
	if l.Index != seq {
		return r, errDamaged
	}
	r, err = decodeRecord(l.Data, l.Extensions)
	r.Seq = seq
	return r, err
}

// isDamage says whether an error of raft-wal comes from what stands on the disk
// and not from reading it. Besides ErrCorrupt that is whatever its decoders
// stumble over, and the end of the file, to which a damaged length leads.
func isDamage(err error) bool {
	var failed *fs.PathError
	return !errors.As(err, &failed) && !errors.Is(err, wal.ErrClosed)
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
	return s.fail(s.e.reserve.spend(func() error { return s.truncateLocked(seq) }))
}

func (s *shard) truncateLocked(seq uint64) error {
	if s.snapped < seq-1 { // what is dropped is in the snapshot first
		if err := s.snapshotLocked(); err != nil {
			return err
		}
	}
	if err := s.heal(); err != nil {
		return err
	}
	first, next := s.Bounds()
	if seq == next {
		// raft-wal mixes up its segments if all of them are dropped while it
		// is about to begin a new one, which it does in the background. A log
		// that was just opened is not.
		if err := s.reopen(); err != nil {
			return err
		}
	}
	s.first.Store(seq) // readers must not look for what is being deleted
	if err := s.handle.w.DeleteRange(first, seq-1); err != nil {
		s.broken = err
		return errors.Join(err, s.heal())
	}
	return nil
}

// snapshotLocked writes the snapshot. The caller holds commit.
func (s *shard) snapshotLocked() error {
	began := time.Now() // not the injected clock: this measures work
	now := s.e.now()
	s.lanes.forget(now.Unix())
	snap := &snapshot{seq: s.next.Load() - 1, received: s.received, lanes: s.lanes.m}
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
	if s.gone != nil || s.handle == nil {
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
	if idle && s.broken == nil {
		s.uninstall()
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
	if keep && s.handle != nil {
		err = s.fail(s.heal()) // so that a write that failed does not come back
	}
	if keep && s.handle != nil && s.behind() {
		err = errors.Join(err, s.fail(s.snapshotLocked()))
	}
	s.gone = fmt.Errorf("%w: shard %s", shardlog.ErrClosed, s.path)
	s.uninstall()
	return err
}
