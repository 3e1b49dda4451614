package api

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Limits bound what one request, and all of them together, may cost. Zero
// values mean the defaults.
type Limits struct {
	BodyBytes     int64         // of a write, as sent; DefaultBodyBytes
	JSONBytes     int64         // of any other request; DefaultJSONBytes
	GroupBytes    int           // of a log group before compression; DefaultGroupBytes
	PageBytes     int           // of the rows of one reply to a search; DefaultPageBytes
	InFlightBytes int64         // of all bodies and large replies in memory; DefaultInFlightBytes
	Decoders      int           // log groups decoded at a time; processors + 2
	Queries       int           // queries running at a time; 2 * processors
	QueueTime     time.Duration // longest wait for a free place before ServerBusy; DefaultQueueTime
	QueryTime     time.Duration // longest run of a query; DefaultQueryTime
	BodyTime      time.Duration // to read a body, plus a second for every slowestRate bytes; DefaultBodyTime
}

const (
	// DefaultBodyBytes is for package lists; the largest single log group fits.
	DefaultBodyBytes = 64 << 20
	// DefaultJSONBytes fits a resume of 10,000 lanes (350 KB) and any
	// configuration.
	DefaultJSONBytes = 1 << 20
	// DefaultGroupBytes is what SLS takes as one log group, before compression.
	DefaultGroupBytes = 10 << 20
	// DefaultPageBytes fits 100 logs of 300 KB; as JSON, a reply may have several
	// times as much.
	DefaultPageBytes = 32 << 20
	// DefaultInFlightBytes is a quarter of a small server's memory.
	DefaultInFlightBytes = 256 << 20
	// DefaultQueueTime stays below the 15 s after which agents give up.
	DefaultQueueTime = 10 * time.Second
	// DefaultQueryTime stays below the 60 s after which SDKs give up.
	DefaultQueryTime = 50 * time.Second
	// DefaultBodyTime is for the first bytes; see Limits.BodyTime.
	DefaultBodyTime = 30 * time.Second

	slowestRate = 32 << 10 // bytes a second that a client must send on average
)

func (l *Limits) setDefaults() {
	setDefault(&l.BodyBytes, DefaultBodyBytes)
	setDefault(&l.JSONBytes, DefaultJSONBytes)
	setDefault(&l.GroupBytes, DefaultGroupBytes)
	setDefault(&l.PageBytes, DefaultPageBytes)
	setDefault(&l.InFlightBytes, DefaultInFlightBytes)
	setDefault(&l.Decoders, runtime.GOMAXPROCS(0)+2)
	setDefault(&l.Queries, 2*runtime.GOMAXPROCS(0))
	setDefault(&l.QueueTime, DefaultQueueTime)
	setDefault(&l.QueryTime, DefaultQueryTime)
	setDefault(&l.BodyTime, DefaultBodyTime)
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// budget counts bytes in memory. Taking never waits: requests that are half
// read would wait for one another.
type budget struct {
	used atomic.Int64
	max  int64
}

// take takes n bytes and says whether there were so many.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) <= b.max {
		return true
	}
	b.used.Add(-n)
	return false
}

func (b *budget) give(n int64) { b.used.Add(-n) }
