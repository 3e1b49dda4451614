// Package shardlog is the seam behind which accepted log groups are durable:
// an ordered append per shard with compare-and-append by lane and range, read
// by cursor. It is the truth of the Log Service; the index is derived from it.
//
// Engines live in the folders below. Every engine passes the conformance suite
// in shardlogtest.
package shardlog

import (
	"context"
	"errors"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// Key names a shard's log. Store is the logstore's incarnation id (see
// catalog.Logstore.ID): a logstore that is deleted and made again has another.
type Key struct {
	Store string
	Shard int
}

// Record is one log group in a shard, or a range without logs.
type Record struct {
	Seq      uint64 // dense from 1 in each shard; assigned by Append
	Received int64  // unix nanoseconds
	Compress sls.CompressType
	RawSize  int             // bytes of the log group before compression
	Data     []byte          // the log group as compressed; empty for a range without logs
	Logs     int             // how many logs Data holds
	Range    *delivery.Range // nil from clients that know nothing of ranges
}

// Result is what became of one record of an Append.
type Result struct {
	Action   delivery.Action   // Append for records without a range
	Seq      uint64            // of the record, where it was appended
	Progress delivery.Progress // of the lane, after the action; zero without a range or for Unknown
}

// Errors of a shard's log.
var (
	// ErrTruncated: the sequence asked for was dropped by retention.
	ErrTruncated = errors.New("shardlog: the position is older than what is kept")
	// ErrNoSpace: the disk is full. Nothing was appended; it heals by itself
	// when there is room again.
	ErrNoSpace = errors.New("shardlog: no space left on the disk")
	// ErrCorrupt: the record asked for cannot be read any more, because the disk
	// returned something else than was written. The reader counts it as lost,
	// with an alarm, and goes on behind it.
	ErrCorrupt = errors.New("shardlog: the record is damaged")
	// ErrClosed: the log or its shard was closed or dropped.
	ErrClosed = errors.New("shardlog: closed")
)

// Log opens shards. Implementations are safe for concurrent use.
type Log interface {
	// Shard opens the log of a shard, making it if it does not exist. The same
	// key gives the same Shard.
	Shard(key Key) (Shard, error)
	// Drop deletes all shards of a logstore's incarnation.
	Drop(store string) error
	// Close closes all shards; appends under way finish first.
	Close() error
}

// Shard is the ordered log of one shard.
type Shard interface {
	// Append decides each record against its lane's progress (delivery.Decide)
	// and appends what is to be appended, all in one durable write that it may
	// share with other callers. It takes over the records and sets their Seq.
	// For a Trim it stores only the logs whose end lies above the progress.
	// On an error nothing of the call was appended and no progress moved.
	Append(ctx context.Context, recs []*Record) ([]Result, error)

	// Read returns records from seq on, in order, at most maxRecords and about
	// maxBytes of Data (always at least one, if there is one). At the end of
	// the log it returns none and no error.
	Read(seq uint64, maxRecords, maxBytes int) ([]Record, error)

	// Bounds returns the first sequence that is kept and the one that the next
	// appended record will get.
	Bounds() (first, next uint64)

	// Wait blocks until the record seq exists or ctx ends.
	Wait(ctx context.Context, seq uint64) error

	// SeekTime returns the first kept sequence that was received at or after
	// the given unix nanoseconds, or the next sequence if there is none.
	SeekTime(nanos int64) (uint64, error)

	// Resume makes session the owner of the lanes and returns their progress;
	// a nil entry is a lane that is not known.
	Resume(session uint64, lanes []delivery.LaneID) ([]*delivery.Progress, error)

	// Truncate drops records below seq, as far as the engine's units allow.
	Truncate(seq uint64) error
}
