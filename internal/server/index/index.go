// Package index is the seam behind which the logs of the shard logs are
// searched. An index is derived: it can be thrown away and rebuilt from the
// shard logs as far back as they are kept.
//
// Engines live in the folders below. Every engine passes the conformance suite
// in indextest.
package index

import (
	"context"
	"errors"

	"logtail/internal/server/query"
	"logtail/internal/server/shardlog"
)

// ErrTooLarge says that the rows of a page have more bytes than the search
// allows.
var ErrTooLarge = errors.New("index: the rows are too large for one page")

// Index follows shards and answers searches. Implementations are safe for
// concurrent use, but Apply is called by one goroutine per shard.
type Index interface {
	// Position returns the sequence from which the shard has to be applied
	// (again) after a start: everything below it is durable in the index.
	Position(key shardlog.Key) (uint64, error)

	// Apply adds the records, which follow one another from where the last
	// Apply (or Position) ended. Their logs can be searched when it returns.
	// It takes over the records.
	Apply(ctx context.Context, key shardlog.Key, recs []shardlog.Record) error

	// Search returns the rows that match, in the total order (time, shard,
	// sequence, row), which does not change when rows move to other places.
	Search(ctx context.Context, store string, req SearchRequest) (SearchResult, error)

	// Histogram counts the rows that match, per interval.
	Histogram(ctx context.Context, store string, req HistogramRequest) (HistogramResult, error)

	// Drop deletes everything of a logstore's incarnation.
	Drop(store string) error

	// Close makes durable what can be and closes the index.
	Close() error
}

// SearchRequest asks for rows with From <= time < To.
type SearchRequest struct {
	From, To int64   // unix seconds
	Topic    *string // only this topic
	Where    query.Expr
	Offset   int
	Limit    int
	Reverse  bool // newest first
	// MaxBytes bounds the memory of a page (Row.Size): a page of more is
	// ErrTooLarge, unless it is a single row. 0 = no bound.
	MaxBytes int
}

// SearchResult is a page of rows.
type SearchResult struct {
	Rows      []Row
	Processed int64 // rows looked at
	Complete  bool  // false: the time or size limit was reached before all was looked at
}

// Row is one log that was found. Fields are in the order of the log, then the
// tags ("__tag__:key"); time, topic and source are apart.
type Row struct {
	Time   int64 // unix seconds
	Nsec   int32 // -1 if not known
	Shard  int
	Seq    uint64
	Row    int // number of the log within its group
	Topic  string
	Source string
	Fields []Field
}

// Size is how many bytes the texts of the row have.
func (r *Row) Size() int {
	n := len(r.Topic) + len(r.Source)
	for i := range r.Fields {
		n += len(r.Fields[i].Key) + len(r.Fields[i].Value)
	}
	return n
}

// Field is one key and value.
type Field struct{ Key, Value string }

// HistogramRequest asks for counts with From <= time < To.
type HistogramRequest struct {
	From, To int64 // unix seconds
	Interval int64 // seconds of a bucket; buckets start at multiples of it, the first and last are cut to From and To
	Topic    *string
	Where    query.Expr
}

// HistogramResult has one bucket per interval, also the empty ones.
type HistogramResult struct {
	Buckets   []Bucket
	Total     int64
	Processed int64
	Complete  bool
}

// Bucket counts the rows with From <= time < To.
type Bucket struct {
	From, To int64
	Count    int64
}
