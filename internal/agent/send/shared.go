package send

import "time"

// Target tells destinations apart for the limits of concurrency. Destinations
// without a logstore, such as files, have no such limits.
type Target struct {
	Region   string // the endpoint, or the region where that is known
	Project  string
	Logstore string
}

// Shared is what the destinations of an agent share. It is safe for concurrent use.
type Shared struct {
	concurrency int
	budget      *Budget
}

// NewShared returns what destinations share: at most concurrency requests are in
// flight (0 means DefaultConcurrency), in the memory of budget (nil: unbounded).
func NewShared(concurrency int, budget *Budget) *Shared {
	if concurrency == 0 {
		concurrency = DefaultConcurrency
	}
	return &Shared{concurrency: concurrency, budget: budget}
}

// Budget bounds the memory of all packages that wait and of all requests in flight.
type Budget struct{ total int64 }

// NewBudget returns a budget of total bytes.
func NewBudget(total int64) *Budget { return &Budget{total: total} }

// Snapshot is what a destination does at one time, for people and scripts.
type Snapshot struct {
	Name             string
	State            string // one of the State words
	Error            string // of the last failure while State is not StateOK, shortened and without secrets
	Since            time.Time
	Lanes, Fenced    int   // lanes that are open; lanes that another agent took over
	QueuedPackages   int   // in memory
	QueuedBytes      int64 // memory of them
	BufferedPackages int   // in the disk buffer
	BufferedBytes    int64
	DeliveredLogs    int64
	DeliveredBytes   int64 // of the streams
	DroppedLogs      int64
	DroppedBytes     int64
	Requests         int64
	Failures         int64
	InFlight         int
	Concurrency      int // requests that may be in flight now
}

// The states of a destination.
const (
	StateOK        = "ok"
	StateRetrying  = "retrying"
	StateQuota     = "waiting for quota"
	StateNoContact = "no contact"   // nobody answers, or not as SLS does
	StateFenced    = "fenced lanes" // ok, but other agents took lanes over
)
