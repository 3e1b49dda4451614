// Package event is the batch that the six steps of the agent share: records
// that are views into the chunk that was read, worked on in place, reused.
package event

import "logtail/internal/sls"

// BatchSize is the most records of a batch: few enough that they and the part
// of the chunk that they view stay in the first caches from split to encode.
const BatchSize = 64

// Field is one key and value of a record; both are views that live as long as
// the chunk or the batch's arena, that is until the next Reset.
type Field = sls.Content

// Reason says why a record was taken out of the stream by rule.
type Reason uint8

// The reasons for which a record does not reach the flusher.
const (
	Kept      Reason = iota
	Filtered         // the filter did not match
	Unparsed         // parsing failed and discarding is on
	TooOld           // the 12-hour rule
	Unmatched        // multi-line: belongs to no record, and such lines are discarded
	NumReasons
)

func (r Reason) String() string {
	return [...]string{"kept", "filtered", "unparsed", "too_old", "unmatched"}[r]
}

// Record is one log on its way. Fields keeps its capacity between batches.
type Record struct {
	Fields []Field
	Raw    []byte // the record's text as it was read, without its line end
	End    uint64 // offset in the stream right behind the record, its line end included
	Sec    uint32 // log time, unix seconds
	Nsec   int32  // nanoseconds within Sec, or -1 if not known
	Drop   Reason // not Kept: the record is skipped by all later steps
}

// Batch is up to BatchSize records. A worker owns one and reuses it.
type Batch struct {
	Records []Record // valid ones; add with Next
	arena   []byte
	// Now is the time of reading, the log time of records that name none.
	NowSec  uint32
	NowNsec int32
	// Splits counts the records that are parts of one over the size limit;
	// Unmatched the lines that belong to no multi-line record, kept or not.
	Splits, Unmatched int
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.Records = b.Records[:0]
	b.arena = b.arena[:0]
	b.Splits, b.Unmatched = 0, 0
}

// Full says whether Next would exceed BatchSize.
func (b *Batch) Full() bool { return len(b.Records) >= BatchSize }

// Next adds a record with the text raw that ends at offset end, with no
// fields, and the time of reading; the pointer is valid until the next Reset.
func (b *Batch) Next(raw []byte, end uint64) *Record {
	n := len(b.Records)
	if n < cap(b.Records) {
		b.Records = b.Records[:n+1]
	} else {
		b.Records = append(b.Records, Record{})
	}
	r := &b.Records[n]
	r.Fields = r.Fields[:0]
	r.Raw, r.End, r.Sec, r.Nsec, r.Drop = raw, end, b.NowSec, b.NowNsec, Kept
	return r
}

// Alloc returns n bytes that live until the next Reset, for values that had to
// be rewritten (unescaped, joined). Earlier slices stay valid when the arena grows.
func (b *Batch) Alloc(n int) []byte {
	if len(b.arena)+n > cap(b.arena) {
		b.arena = make([]byte, 0, max(2*cap(b.arena), n, 16<<10))
	}
	l := len(b.arena)
	b.arena = b.arena[:l+n]
	return b.arena[l : l+n : l+n]
}
