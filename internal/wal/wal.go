// Package wal is a durable append log in a folder, over hashicorp/raft-wal. The
// shard log of the Log Service and the disk buffer of the agent stand on it.
//
// Records get numbers that rise by one. They stand in segment files, which are
// the unit in which disk space comes back. Append writes its records and syncs
// them in one go; gathering the appends of several callers is the caller's
// work. The log heals: what a write that failed left on the disk is cut off
// before the next one, and what a crash left is mended when the log is opened.
//
// A Log reads and writes byte strings and knows nothing of what they mean. It
// verifies a write when it opens the log, and not when it reads: callers put a
// checksum into their records.
package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
)

const (
	// DefaultSegmentSize is used where Options names no size.
	DefaultSegmentSize = 64 << 20
	// MaxSegmentSize is the largest that Options may name.
	MaxSegmentSize = 1 << 30
	// RetryAfter is the pause between attempts to write to a disk that failed
	// twice in a row: each attempt reads the end of the last segment.
	RetryAfter = 250 * time.Millisecond
)

// Options of Open; the zero value means the defaults.
type Options struct {
	// SegmentSize is the size in bytes at which a new segment is begun, up to
	// MaxSegmentSize. The append that passes it is the last one of its segment.
	SegmentSize int
	// Next is the number behind the last record that is known to have been
	// stored, 0 if nothing is known. Then the log must end there: what it has
	// behind it is cut off, and if it has less, Open fails with ErrDamaged, unless
	// there is Lost.
	Next uint64
	// Durable is a record up to which the log is known to have been durable
	// once; 0 if nothing is known. If the log has less, that is logged, and a
	// copy of the damaged segment is kept.
	Durable uint64
	// Lost, if it is not nil, is stored in the place of each record that the log
	// had, by Next and Durable, and has not any more, so that no number is used twice.
	Lost *Record
	// Salvage lets Open go on without what is damaged or gone; see Log.Lost.
	// Numbers may begin at 1 again if the list of the segments is damaged. It
	// does not go together with Next.
	Salvage bool
	// Bad remembers places that the disk cannot read over several Opens; nil: only
	// as long as the log is open.
	Bad *BadSectors
	// Now is the clock of the pause after failed writes; time.Now if nil.
	Now func() time.Time
	// Logger is slog.Default if nil. It should name the log.
	Logger *slog.Logger
	// Faults stands between the log and the disk in tests.
	Faults *Faults
}

// Record is what is stored under one number: two byte strings, so that callers
// need not copy a large one behind a small head of their own.
type Record struct {
	Head, Data []byte
}

// Log is an open log. Its methods are safe for concurrent use; those that
// change the log wait for one another, and reading goes on meanwhile.
type Log struct {
	dir  string
	opts Options

	lost []Loss // by the time of Open

	first, next atomic.Uint64

	// write is held by whoever changes the log.
	write    sync.Mutex
	broken   error    // not nil if the log has to be opened anew before the next write
	failed   error    // of the last write
	failures int      // writes that failed in a row
	retryAt  int64    // after two failures, when to write again, unix nanoseconds
	garbage  []string // files that Remove took off the list and that may still be there

	// handle is replaced under write and handleMu; readers hold handleMu.
	handleMu sync.RWMutex
	handle   *handle // nil when closed
}

// Open opens the log in dir, which must exist and belong to the caller alone,
// or makes an empty one there. What a crash left is mended first. The error is a
// *VersionError if a newer program wrote the log, and wraps ErrDamaged if the
// log cannot be read.
func Open(dir string, o Options) (*Log, error) {
	if o.SegmentSize <= 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	if o.SegmentSize > MaxSegmentSize {
		return nil, fmt.Errorf("wal: a segment size of %d bytes; at most %d are possible", o.SegmentSize, MaxSegmentSize)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Bad == nil {
		o.Bad = &BadSectors{}
	}
	l := &Log{dir: dir, opts: o}
	h, first, next, err := l.open(o.Next, o.Durable)
	if err != nil {
		return nil, err
	}
	l.lost = h.list.lost
	l.install(h, first, next)
	return l, nil
}

// Bounds returns the number of the first record that is kept, and the number
// that the next record will get; they are equal if there is none.
func (l *Log) Bounds() (first, next uint64) {
	first = l.first.Load() // before next, so that first <= next
	return first, l.next.Load()
}

// Append stores records under the numbers from first on, all or none of them,
// with one write and one sync; they are durable when it returns. The records'
// bytes are copied. When it fails, what reached the disk is cut off before
// Append returns; if not even that works, before the next write or with Close.
// Only a crash before that succeeds can bring such records back.
//
// After two failures in a row, Append returns the last error without trying,
// until RetryAfter has passed.
func (l *Log) Append(records []Record) (first uint64, err error) {
	l.write.Lock()
	defer l.write.Unlock()
	if l.handle == nil {
		return 0, ErrClosed
	}
	if len(records) == 0 {
		return l.next.Load(), nil
	}
	if l.failures > 1 && l.opts.Now().UnixNano() < l.retryAt {
		return 0, l.failed
	}
	if first, err = l.store(records); err == nil {
		l.failures, l.failed = 0, nil
		return first, nil
	}
	l.failed = err
	l.failures++
	l.retryAt = l.opts.Now().Add(RetryAfter).UnixNano()
	return 0, err
}

func (l *Log) store(records []Record) (first uint64, err error) {
	if err := l.heal(); err != nil {
		return 0, err
	}
	_ = l.tidy() // Remove has told it
	first = l.next.Load()
	entries := make([]raft.Log, len(records))
	logs := make([]*raft.Log, len(records))
	for i, r := range records {
		entries[i] = raft.Log{Index: first + uint64(i), Data: r.Head, Extensions: r.Data}
		logs[i] = &entries[i]
	}
	err = l.handle.w.StoreLogs(logs)
	if errors.Is(err, raftwal.ErrSealed) {
		// The segment was full and beginning the next one failed in the
		// background. Nothing was written.
		if err := l.reopen(); err != nil {
			return 0, err
		}
		err = l.handle.w.StoreLogs(logs)
	}
	if err != nil {
		l.broken = err
		return 0, errors.Join(err, l.heal())
	}
	l.next.Store(first + uint64(len(records)))
	return first, nil
}

// Get reads one record; its bytes are the caller's. The error wraps ErrNotFound
// if there is no record of that number (any more), ErrDamaged if its bytes
// cannot be understood, and ErrClosed.
func (l *Log) Get(seq uint64) (Record, error) {
	l.handleMu.RLock()
	defer l.handleMu.RUnlock()
	if l.handle == nil {
		return Record{}, ErrClosed
	}
	r, err := l.handle.record(seq)
	if err == nil {
		return r, nil
	}
	if first, next := l.Bounds(); seq < first || seq >= next {
		return Record{}, fmt.Errorf("%w: record %d; the log has %d to %d", ErrNotFound, seq, first, next)
	}
	return Record{}, err
}

// TruncateFront drops the records before seq. They are gone for readers at
// once; the disk gets back the segments that hold no other ones.
func (l *Log) TruncateFront(seq uint64) error {
	l.write.Lock()
	defer l.write.Unlock()
	if l.handle == nil {
		return ErrClosed
	}
	first, next := l.Bounds()
	if seq = min(seq, next); seq <= first {
		return nil
	}
	if err := l.heal(); err != nil {
		return err
	}
	if seq == next {
		// raft-wal mixes up its segments if all of them are dropped while it
		// is about to begin a new one, which it does in the background. A log
		// that was just opened is not.
		if err := l.reopen(); err != nil {
			return err
		}
	}
	l.first.Store(seq) // readers must not look for what is being deleted
	if err := l.handle.w.DeleteRange(first, seq-1); err != nil {
		l.broken = err
		return errors.Join(err, l.heal())
	}
	return nil
}

// Broken says whether the last change failed and what it left could not be
// mended yet.
func (l *Log) Broken() bool {
	l.write.Lock()
	defer l.write.Unlock()
	return l.broken != nil
}

// Heal makes a log whose last change failed ready for the next one, which
// otherwise does so itself.
func (l *Log) Heal() error {
	l.write.Lock()
	defer l.write.Unlock()
	if l.handle == nil {
		return ErrClosed
	}
	return l.heal()
}

func (l *Log) heal() error {
	if l.broken == nil {
		return nil
	}
	return l.reopen()
}

// Close gives back what the open log holds. It waits for changes and reads
// under way; everything later is ErrClosed. The error says that a write that
// failed could not be cut off, and may be found when the log is opened again.
func (l *Log) Close() error {
	l.write.Lock()
	defer l.write.Unlock()
	if l.handle == nil {
		return nil
	}
	err := l.heal()
	l.handleMu.Lock()
	h := l.handle
	l.handle = nil
	l.handleMu.Unlock()
	h.close()
	return err
}

// isDamage says whether an error of raft-wal comes from what stands on the disk
// and not from reading it. Besides ErrCorrupt that is whatever its decoders
// stumble over, and the end of the file, to which a damaged length leads.
func isDamage(err error) bool {
	var failed *fs.PathError
	return !errors.As(err, &failed) && !errors.Is(err, raftwal.ErrClosed)
}
