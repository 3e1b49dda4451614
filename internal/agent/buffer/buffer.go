// Package buffer is the agent's disk buffer: what a destination cannot take now,
// and what nobody could read again later, waits there, over restarts too.
//
// A record is a package with its range and lane, so the destination's compare
// and append makes the repetition of one harmless. What Put has returned is on
// the disk, encrypted and checksummed. That a record is done is known in memory
// only; after a crash, those of files that were not done as a whole come again.
//
// The files are segments of a log (package wal). Space comes back by whole
// files, whichever of them is done first. Where the disk got something wrong, the
// records that it hit are given up, with an alarm and counts, and the others stay.
//
// In memory a record takes 32 bytes, and each lane that has some 100; a record
// that the last run left 8 more until its lane is taken. With DefaultRecords in as
// many lanes that is some 140 MB, with the usual thousand lanes 40 MB.
package buffer

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"logtail/internal/agent/alarm"
	"logtail/internal/delivery"
	"logtail/internal/sls"
	"logtail/internal/wal"
)

// Defaults of Options. The size and the number of files are the documented ones of
// buffer_file_size and buffer_file_num.
const (
	DefaultFileBytes = 20 << 20
	DefaultFiles     = 25
	DefaultRecords   = 1_000_000
)

// The kinds of alarms that a buffer raises.
const (
	AlarmReadWrite = string(alarm.SecondaryReadWrite) // the disk got something wrong
	AlarmDiscard   = string(alarm.DiscardSecondary)   // records were given up because of that
)

const (
	reserveName = "reserve"
	// reserveSize is room for the list of the files, which has to be written
	// before a file can be deleted.
	reserveSize = 128 << 10
	// batchBytes is when a write takes no further Put. One Put is never split.
	batchBytes = 2 << 20
)

// Options of Open.
type Options struct {
	// Dir is the folder, which belongs to the buffer alone and is made if need be.
	Dir string
	// FileBytes is the size in bytes at which a new file is begun; the Put that
	// passes it is the last one of its file. 0 means DefaultFileBytes.
	FileBytes int64
	// Files times FileBytes bounds what the files take of the disk; 0 means
	// DefaultFiles.
	Files int
	// Records bounds how many records there may be, and so the memory; 0 means
	// DefaultRecords.
	Records int
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Log is slog.Default if nil.
	Log *slog.Logger
	// Alarm is told what the operator must know: the kind is AlarmReadWrite or
	// AlarmDiscard. May be nil. It must not call the buffer.
	Alarm func(kind, message string)
	// Faults stands between the buffer and the disk in tests.
	Faults *wal.Faults
}

// Record is a package as it stands in the buffer.
type Record struct {
	Dest     string // the destination's name
	Range    delivery.Range
	Data     []byte // the log group, compressed
	RawSize  int    // bytes of the log group before compression
	Logs     int
	Compress sls.CompressType
	Time     int64 // when it was buffered, unix seconds
}

// Item names a record of the buffer.
type Item struct {
	Seq        uint64 // names it in this run of the agent, and rises with each record
	Lane       delivery.LaneID
	Start, End uint64 // of its range
	Logs       int
	Size       int   // bytes of its data
	Time       int64 // when it was buffered, unix seconds
}

// Errors of a Buffer.
var (
	// ErrFull says that the records do not fit into the bounds of Options.
	ErrFull = errors.New("buffer: the disk buffer is full")
	// ErrGone says that a record is not there any more: it is done, was given up,
	// or its bytes are damaged.
	ErrGone = errors.New("buffer: the record is not in the disk buffer any more")
	// ErrClosed is what a buffer answers after Close.
	ErrClosed = errors.New("buffer: the disk buffer is closed")
)

// Stats says what is in a buffer.
type Stats struct {
	Records, Logs int   // that are not done
	Files         int   // that have records
	Bytes, Limit  int64 // of all files on the disk, and the bound of that
	Oldest        int64 // when the oldest record was buffered, unix seconds; 0: there is none
	// What was given up since Open, in it too, because the disk got something
	// wrong. Of records whose number alone is known, the logs are not counted.
	LostRecords, LostLogs int
}

// Buffer is an open disk buffer. Its methods are safe for concurrent use.
type Buffer struct {
	o       Options
	limit   int64
	lock    *os.File
	reserve *wal.Reserve

	// commit is held by whoever changes the log.
	commit  sync.Mutex
	shift   uint64 // what is added to the log's numbers to make those of items
	retryAt time.Time
	noted   bool // that files cannot be removed was told

	mu     sync.Mutex
	closed bool
	log    *wal.Log // replaced under commit and mu
	key    *key     // nil before the first use
	queue  []*put
	index
	lostRecords, lostLogs int
}

// Open opens the buffer in o.Dir, or makes an empty one. What is damaged is put
// aside under names that end in .damaged-<unix time>, and told; only those of the
// last time are kept. The error says that another process has the folder, that a
// newer program wrote something in it (a *wal.VersionError), or that the disk
// cannot be read or written.
func Open(o Options) (*Buffer, error) {
	if o.FileBytes <= 0 {
		o.FileBytes = DefaultFileBytes
	}
	if o.FileBytes > wal.MaxSegmentSize {
		return nil, fmt.Errorf("buffer: files of %d bytes; at most %d are possible", o.FileBytes, wal.MaxSegmentSize)
	}
	if o.Files <= 0 {
		o.Files = DefaultFiles
	}
	if o.Records <= 0 {
		o.Records = DefaultRecords
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Alarm == nil {
		o.Alarm = func(string, string) {}
	}
	b := &Buffer{
		o: o, limit: int64(o.Files) * o.FileBytes, index: newIndex(),
		reserve: wal.NewReserve(filepath.Join(o.Dir, reserveName), reserveSize, o.Log),
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("buffer: making the folder of the disk buffer: %w", err)
	}
	var err error
	if b.lock, err = wal.LockFolder(o.Dir); err != nil {
		return nil, fmt.Errorf("buffer: the disk buffer in %s: %w", o.Dir, err)
	}
	if err := b.load(); err != nil {
		b.lock.Close()
		return nil, fmt.Errorf("buffer: opening the disk buffer in %s: %w", o.Dir, err)
	}
	return b, nil
}

// Close waits for what is under way and gives back what the open buffer holds.
// What it has is there at the next Open.
func (b *Buffer) Close() error {
	b.commit.Lock()
	defer b.commit.Unlock()
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	log := b.log
	bases := b.removable(true)
	b.mu.Unlock()
	if err := b.remove(bases); err != nil {
		b.o.Log.Warn("files of the disk buffer that are done cannot be removed; they are at the next start", "dir", b.o.Dir, "error", err)
	}
	err := log.Close()
	if _, next := log.Bounds(); b.key != nil && err == nil {
		err = b.writeEnd(next)
	}
	return errors.Join(err, b.lock.Close())
}

// Stats says what is in the buffer.
func (b *Buffer) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stats{Records: b.live, Logs: b.logs, Bytes: b.bytes(), Limit: b.limit, LostRecords: b.lostRecords, LostLogs: b.lostLogs}
	for _, f := range b.files {
		if f.live > 0 {
			s.Files++
			if t := f.oldest(); s.Oldest == 0 || t < s.Oldest {
				s.Oldest = t
			}
		}
	}
	return s
}

// alarm tells the operator.
func (b *Buffer) alarm(kind, format string, args ...any) {
	b.o.Alarm(kind, fmt.Sprintf(format, args...))
}
