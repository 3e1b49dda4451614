package send

import (
	"errors"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// Store is the disk buffer as sending uses it. Its methods are safe for
// concurrent use, and are never called while a destination is locked.
type Store interface {
	// Take returns what the last run left of a lane, in order; once.
	Take(lane delivery.LaneID) []Item
	// Waiting returns the lanes of the last run that nobody took.
	Waiting() []delivery.LaneID
	// Put makes the records durable, all or none of them; ErrFull if there is no room.
	Put(recs []Record) ([]Item, error)
	// Load returns a record; ErrGone if it is not there any more.
	Load(seq uint64) (Record, error)
	// Done says that records are not needed any more.
	Done(seqs ...uint64)
	// DropOldest gives up the oldest file's records that are not done.
	DropOldest() []Item
}

// Record is a package as it stands in the disk buffer.
type Record struct {
	Dest     string
	Range    delivery.Range
	Data     []byte
	RawSize  int // bytes of the log group before compression
	Logs     int
	Compress sls.CompressType
	Time     int64 // when it was buffered, unix seconds
}

// Item names a record of the disk buffer.
type Item struct {
	Seq        uint64
	Lane       delivery.LaneID
	Start, End uint64
	Logs, Size int
	Time       int64
}

// Errors of a Store.
var (
	ErrFull = errors.New("send: the disk buffer is full")
	ErrGone = errors.New("send: the record is not in the disk buffer any more")
)
