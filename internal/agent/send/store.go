package send

import (
	"logtail/internal/agent/buffer"
	"logtail/internal/delivery"
)

// Store is the disk buffer as sending uses it; buffer.Buffer is one. Its methods are
// safe for concurrent use, and are never called while a destination is locked.
type Store interface {
	// Take returns what the last run left of a lane, in order; once.
	Take(lane delivery.LaneID) []buffer.Item
	// Waiting returns the lanes of the last run that nobody took.
	Waiting() []delivery.LaneID
	// Put makes the records durable, all or none of them; buffer.ErrFull if there is no room.
	Put(recs []buffer.Record) ([]buffer.Item, error)
	// Load returns a record; buffer.ErrGone if it is not there any more.
	Load(seq uint64) (buffer.Record, error)
	// Done says that records are not needed any more.
	Done(seqs ...uint64)
	// DropOldest gives up the oldest file's records that are not done.
	DropOldest() []buffer.Item
}
