package send

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"logtail/internal/delivery"
)

// Defaults of a destination.
const (
	// RetryWait is how long to wait after a failure, as documented.
	RetryWait = 3 * time.Second
	// AuthRetry is how long a refused key is tried again before packages are dropped.
	AuthRetry = 15 * time.Minute
	// TerminalTries is how often a package is offered that is refused for good.
	TerminalTries = 5
	// DefaultConcurrency is send_request_concurrency.
	DefaultConcurrency = 20
	// ReplayRate is how much a second is sent again from the disk buffer to an SLS
	// that knows no ranges, in bytes: default_send_byte_per_sec. Our own server has
	// no such limit, as 500 MB would take four minutes.
	ReplayRate = 2 << 20

	// laneBytes bounds what one lane may have queued, so that one hot file
	// does not take the whole budget of its destination.
	laneBytes = 4 << 20
	// requestBytes and requestPackages bound a request (a request holds at
	// least one package, whatever its size). While a destination fails, a request
	// is a probe, which need not be large.
	requestBytes    = 2 << 20
	requestPackages = 256
	probeBytes      = 64 << 10
	// destRequests is how many requests a destination may have in flight: more
	// would only be smaller.
	destRequests = 4
	// destReplays is how many of them may be from the disk buffer, so that what is
	// new in other lanes goes on too.
	destReplays = 2
	// resumeLanes is how many lanes one resume call may name.
	resumeLanes = 10000
)

// Options of a destination. Zero durations and counts mean the defaults.
type Options struct {
	Name          string // for messages: "project/logstore at endpoint"
	Bytes         int64  // bound of queued packages in bytes; 0: only that of Shared
	RetryWait     time.Duration
	AuthRetry     time.Duration
	TerminalTries int
	// Shared is what this destination shares with the others; nil: nothing.
	Shared *Shared
	// Target tells which limits of concurrency it shares with them. With a
	// logstore in it, the documented limits of time of SLS hold too, as long as
	// the destination knows no ranges.
	Target Target
	// Buffer is the disk buffer of the agent, the same for all destinations of Shared;
	// nil: there is none, and Spill does nothing. It is closed after Run has ended.
	Buffer Store
	// BufferRate limits what is sent again from the disk buffer, in bytes as they
	// are sent. Nil: no limit, but ReplayRate towards an SLS that knows no ranges.
	BufferRate *rate.Limiter
	// Count is told of all that is given up by rule: logs (0: not known) and bytes
	// of the stream. The lane is nil where nobody owns it any more. Like the methods
	// of Owner it is called by the destination's goroutines, which hold no lock.
	Count func(lane *Lane, reason delivery.Reason, logs int, bytes int64)
	// Rates are asked for the raw bytes of each request: max_bytes_per_sec of
	// the agent and MaxSendRate of the flusher.
	Rates []*rate.Limiter
	// Alarm raises an alarm of a documented type.
	Alarm func(kind, message string)
	Log   *slog.Logger
	Now   func() time.Time
}

// The alarm types that sending raises.
const (
	AlarmSendFail  = "SEND_DATA_FAIL_ALARM"
	AlarmQuota     = "SEND_QUOTA_EXCEED_ALARM"
	AlarmDiscard   = "DISCARD_DATA_ALARM"
	AlarmSecondary = "DISCARD_SECONDARY_ALARM" // of the disk buffer
	AlarmDropData  = "DROP_DATA_ALARM"
	AlarmDelivery  = "EXACTLY_ONCE_ALARM"
	alarmPartLimit = 300 // characters of a foreign error that an alarm repeats
)

// Stats counts what became of the packages of a destination.
type Stats struct {
	Packages, Logs, Bytes atomic.Int64 // acknowledged; bytes of the streams
	Requests, Failures    atomic.Int64
	DroppedLogs           atomic.Int64 // given up by rule
	DroppedBytes          atomic.Int64
}

// Dest is one destination: it owns a goroutine that gathers requests from the
// lanes that have packages, one goroutine per request in flight, and one that
// writes to the disk buffer.
type Dest struct {
	opt    Options
	tr     Transport
	Stats  Stats
	member *member // in opt.Shared
	born   time.Time

	wake      chan struct{} // capacity 1: "look again"
	wakeSpill chan struct{} // capacity 1: the same for the spiller

	mu       sync.Mutex
	account  *account // in the budget of opt.Shared; nil: there is none
	lanes    map[*Lane]struct{}
	left     map[delivery.LaneID]*Lane // closed, with packages that another lane may take over
	ready    []*Lane                   // have packages and no request in flight, first come first served
	replay   []*Lane                   // the same, but the first package is in the disk buffer
	delayed  []*Lane                   // wait for notBefore
	parked   []*Lane                   // their owners wait for space
	asking   []*Lane                   // wait for a resume
	spilling map[*Lane]struct{}        // have Spill on
	fenced   map[*Lane]fence           // were fenced, and taken back
	due      []*Lane                   // have packages that are to be written to the disk buffer now
	held     int64
	requests int
	replays  int  // of the requests, those from the disk buffer
	replayed bool // the last request was one
	known    bool // the first resume was answered
	ranges   bool
	limits   bool // the documented ones of SLS hold
	session  uint64
	incarn   string
	pause    time.Time

	failing bool // the last request failed: one at a time until one succeeds
	class   Class
	since   time.Time // it is failing
	problem string    // what it said
	// refusing is since when it has refused the key, without any other answer.
	refusing time.Time

	storedCount int // packages in the disk buffer
	storedBytes int64
	replayRate  *rate.Limiter
	scanned     time.Time // it was looked for packages that have waited long enough
	spillPause  time.Time // no writing to the disk buffer before
	spillFailed bool      // since the last success
	spillFull   bool      // because there is no room; owners that cannot wait make some
	expired     time.Time // it was looked for what is too old
}

// NewDest returns a destination; Run makes it work.
func NewDest(tr Transport, opt Options) *Dest {
	if opt.RetryWait == 0 {
		opt.RetryWait = RetryWait
	}
	if opt.AuthRetry == 0 {
		opt.AuthRetry = AuthRetry
	}
	if opt.TerminalTries == 0 {
		opt.TerminalTries = TerminalTries
	}
	if opt.Shared == nil {
		opt.Shared = NewShared(0, nil)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if opt.Alarm == nil {
		opt.Alarm = func(kind, message string) { opt.Log.Warn(message, "alarm", kind) }
	}
	d := &Dest{
		opt: opt, tr: tr, born: opt.Now(), wake: make(chan struct{}, 1), wakeSpill: make(chan struct{}, 1), replayRate: opt.BufferRate,
		lanes: map[*Lane]struct{}{}, left: map[delivery.LaneID]*Lane{}, spilling: map[*Lane]struct{}{}, fenced: map[*Lane]fence{},
	}
	d.member, d.account = opt.Shared.join(d, opt.Target, opt.Now())
	return d
}

// Pending says how many packages are neither acknowledged nor in the disk buffer.
func (d *Dest) Pending() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for l := range d.lanes {
		n += len(l.queue)
	}
	return n
}

// Close closes the way to the destination; Run must have ended.
func (d *Dest) Close() error {
	d.opt.Shared.leave(d.member)
	d.account.leave()
	return d.tr.Close()
}

// Run works until ctx ends, and returns when no request is in flight any more and
// the lanes that spill are in the disk buffer, for a few seconds at most.
func (d *Dest) Run(ctx context.Context) {
	var requests, spilling sync.WaitGroup
	if d.opt.Buffer != nil {
		spilling.Go(func() { d.spill(ctx) })
	}
	for ctx.Err() == nil {
		d.letIn()
		if asked := d.takeAsking(); len(asked) > 0 {
			d.resume(ctx, asked)
			continue
		}
		req, wait := d.take()
		if req == nil {
			d.sleep(ctx, wait)
			continue
		}
		requests.Go(func() {
			d.carry(ctx, req)
			d.signal()
		})
	}
	requests.Wait()
	d.spillRest(spilling.Wait)
}

// sleep waits until there is something to do, or for the duration (negative: no limit).
func (d *Dest) sleep(ctx context.Context, wait time.Duration) {
	var timer <-chan time.Time
	if wait >= 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
	case <-d.wake:
	case <-timer:
	}
}

func (d *Dest) signal() {
	select {
	case d.wake <- struct{}{}:
	default: // a signal is already waiting
	}
}

// letIn wakes an owner that waits for space, if there is some: others may have
// given memory back.
func (d *Dest) letIn() {
	var n notices
	d.mu.Lock()
	d.unpark(&n)
	d.mu.Unlock()
	d.give(&n)
}

// enqueue puts the lane in line, if it has something to send and may.
func (d *Dest) enqueue(l *Lane) {
	if l.state != laneActive || l.busy || l.queued || l.waiting() == 0 || l.headGone() {
		return
	}
	l.queued = true
	switch {
	case l.notBefore > d.age(d.opt.Now()):
		d.delayed = append(d.delayed, l)
	case len(l.disk) > 0:
		d.replay = append(d.replay, l)
	default:
		d.ready = append(d.ready, l)
	}
}

// room says whether there is memory for more packages.
func (d *Dest) room() bool {
	return (d.opt.Bytes == 0 || d.held < d.opt.Bytes) && d.account.room(d.failing)
}

func (d *Dest) alarm(kind, format string, args ...any) {
	d.opt.Alarm(kind, fmt.Sprintf(format, args...))
}
