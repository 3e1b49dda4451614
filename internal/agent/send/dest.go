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

	// laneBytes bounds what one lane may have queued, so that one hot file
	// does not take the whole budget of its destination.
	laneBytes = 4 << 20
	// requestBytes and requestPackages bound a request (a request holds at
	// least one package, whatever its size).
	requestBytes    = 2 << 20
	requestPackages = 256
	// destRequests is how many requests a destination may have in flight, so
	// that one that hangs does not use up the concurrency of all.
	destRequests = 4
	// resumeLanes is how many lanes one resume call may name.
	resumeLanes = 10000
)

// Options of a destination. Zero durations and counts mean the defaults.
type Options struct {
	Name          string // for messages: "project/logstore at endpoint"
	Bytes         int64  // budget of queued packages in bytes
	RetryWait     time.Duration
	AuthRetry     time.Duration
	TerminalTries int
	// Shared is what this destination shares with the others; nil: nothing.
	Shared *Shared
	// Target tells which limits of concurrency it shares with them.
	Target Target
	// Buffer is the disk buffer of the agent; nil: there is none, and Spill does nothing.
	Buffer Store
	// BufferRate limits what is sent again from the disk buffer, in bytes as they
	// are sent. Nil: no limit, but ReplayRate towards an SLS that knows no ranges.
	BufferRate *rate.Limiter
	// Count is told of all that is given up by rule: logs (0: not known) and bytes
	// of the stream. The lane is nil where nobody owns it any more. Like the methods
	// of Owner it is called by the destination's goroutines, which hold no lock.
	Count func(lane *Lane, reason delivery.Reason, logs int, bytes int64)
	// Slots is shared by all destinations of the agent; its capacity is
	// send_request_concurrency.
	Slots chan struct{}
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
// lanes that have packages, and one goroutine per request in flight.
type Dest struct {
	opt   Options
	tr    Transport
	Stats Stats

	wake chan struct{} // capacity 1: "look again"

	mu       sync.Mutex
	lanes    map[*Lane]struct{}
	ready    []*Lane // have packages and no request in flight, first come first served
	delayed  []*Lane // wait for notBefore
	parked   []*Lane // their owners wait for space
	asking   []*Lane // wait for a resume
	held     int64
	requests int
	known    bool // the first resume was answered
	ranges   bool
	session  uint64
	incarn   string
	failing  bool // the last request failed: one at a time until one succeeds
	pause    time.Time
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
	if opt.Slots == nil {
		opt.Slots = make(chan struct{}, DefaultConcurrency)
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
	return &Dest{opt: opt, tr: tr, wake: make(chan struct{}, 1), lanes: map[*Lane]struct{}{}}
}

// Lane adds a lane that goes on from the checkpoint c. fresh says that its
// stream is new, so that the destination cannot know it. LaneReady follows,
// always from another goroutine. What the disk buffer has of the lane goes first,
// and before that what it has of the former lanes: those that the stream had
// before it got a new id, oldest first.
func (d *Dest) Lane(id delivery.LaneID, owner Owner, c delivery.Checkpoint, fresh bool, former ...delivery.LaneID) *Lane {
	l := &Lane{ID: id, dest: d, owner: owner, checkpoint: c, fresh: fresh}
	d.mu.Lock()
	d.lanes[l] = struct{}{}
	d.asking = append(d.asking, l)
	d.mu.Unlock()
	d.signal()
	return l
}

// Pending says how many packages are not acknowledged.
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
func (d *Dest) Close() error { return d.tr.Close() }

// Run works until ctx ends, and returns when no request is in flight any more.
func (d *Dest) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for ctx.Err() == nil {
		if asked := d.takeAsking(); len(asked) > 0 {
			d.resume(ctx, asked)
			continue
		}
		req, wait := d.take()
		if req == nil {
			d.sleep(ctx, wait)
			continue
		}
		select {
		case d.opt.Slots <- struct{}{}:
		case <-ctx.Done():
			d.giveBack(req)
			return
		}
		wg.Go(func() {
			defer d.signal()
			err := d.throttle(ctx, req)
			var out []Outcome
			if err == nil {
				out, err = d.tr.Send(ctx, req.pkgs)
			}
			<-d.opt.Slots
			if err != nil && ctx.Err() != nil {
				d.giveBack(req)
				return
			}
			d.finish(req, out, err)
		})
	}
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

// enqueue puts the lane in line, if it has something to send and may.
func (d *Dest) enqueue(l *Lane) {
	if l.state != laneActive || l.inFlight > 0 || l.queued || len(l.queue) == 0 {
		return
	}
	l.queued = true
	if l.notBefore.After(d.opt.Now()) {
		d.delayed = append(d.delayed, l)
	} else {
		d.ready = append(d.ready, l)
	}
}

// request is the packages of some lanes, in order.
type request struct {
	pkgs  []*Package
	parts []part
	raw   int64
}

// part is how many packages of a request belong to a lane; abandoned says that
// before them goes a range that was dropped earlier.
type part struct {
	lane      *Lane
	n         int
	abandoned bool
}

// take gathers the next request; nil if there is none now, with the time to
// wait (negative: until a signal).
func (d *Dest) take() (*request, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.opt.Now()
	wait := time.Duration(-1)
	if left := d.pause.Sub(now); left > 0 {
		return nil, left
	}
	kept := d.delayed[:0]
	for _, l := range d.delayed {
		if left := l.notBefore.Sub(now); left > 0 && l.state == laneActive {
			kept = append(kept, l)
			if wait < 0 || left < wait {
				wait = left
			}
			continue
		}
		d.ready = append(d.ready, l)
	}
	clear(d.delayed[len(kept):])
	d.delayed = kept
	if !d.known || d.requests >= destRequests || d.failing && d.requests > 0 {
		return nil, wait
	}
	req := &request{}
	bytes, used := 0, 0
	for _, l := range d.ready {
		if len(req.pkgs) > 0 && (bytes >= requestBytes || len(req.pkgs) >= requestPackages || l.state == laneActive && len(l.queue) > 0 && l.queue[0].alone) {
			break
		}
		used++
		l.queued = false
		if l.state != laneActive || len(l.queue) == 0 {
			continue
		}
		bytes += d.gather(req, l, requestBytes-bytes)
		if req.pkgs[len(req.pkgs)-1].alone {
			break
		}
	}
	rest := copy(d.ready, d.ready[used:])
	clear(d.ready[rest:])
	d.ready = d.ready[:rest]
	if len(req.pkgs) == 0 {
		return nil, wait
	}
	d.requests++
	return req, 0
}

// gather adds the lane's first packages, up to about max bytes, to the request.
func (d *Dest) gather(req *request, l *Lane, limit int) (bytes int) {
	p := part{lane: l}
	if c := &l.checkpoint; c.AbandonedFrom < c.End {
		if d.ranges {
			p.abandoned = true
			req.pkgs = append(req.pkgs, &Package{Range: delivery.Range{
				Lane: l.ID, Session: l.session, Start: c.AbandonedFrom, End: c.End, EndHash: c.Hash, State: c.State,
				Flags: delivery.Abandoned | d.claim(l), Reason: c.AbandonedReason,
			}})
		} else {
			c.AbandonedFrom = c.End
		}
	}
	for _, pkg := range l.queue {
		if p.n > 0 && (bytes >= limit || pkg.alone || len(req.pkgs) >= requestPackages) {
			break
		}
		pkg.Range.Lane, pkg.Range.Session = l.ID, l.session
		pkg.Range.Flags &^= delivery.Claim
		if p.n == 0 && !p.abandoned {
			pkg.Range.Flags |= d.claim(l)
		}
		req.pkgs = append(req.pkgs, pkg)
		req.raw += int64(pkg.RawSize)
		bytes += len(pkg.Data())
		p.n++
		if pkg.alone {
			break
		}
	}
	l.inFlight = p.n
	req.parts = append(req.parts, p)
	return bytes
}

func (d *Dest) claim(l *Lane) delivery.Flags {
	if l.claim {
		return delivery.Claim
	}
	return 0
}

// throttle waits until the request may be sent under the limits of bandwidth.
func (d *Dest) throttle(ctx context.Context, req *request) error {
	for _, r := range d.opt.Rates {
		for left := int(req.raw); left > 0; {
			n := min(left, r.Burst())
			if err := r.WaitN(ctx, n); err != nil {
				return err
			}
			left -= n
		}
	}
	return nil
}

// giveBack undoes take.
func (d *Dest) giveBack(req *request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests--
	for _, p := range req.parts {
		p.lane.inFlight = 0
		d.enqueue(p.lane)
	}
}

// clear forgets all that is queued in the lane. Packages that are in flight
// keep their buffers until the garbage collector finds them.
func (d *Dest) clear(l *Lane) {
	for i, p := range l.queue {
		l.held -= p.bytes()
		d.held -= p.bytes()
		if i >= l.inFlight {
			p.Buf.Release()
			p.Buf = nil
		}
	}
	l.queue = nil
}

// Snapshot returns what the destination does now.
func (d *Dest) Snapshot() Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Snapshot{Name: d.opt.Name, State: StateOK}
}

func (d *Dest) alarm(kind, format string, args ...any) {
	d.opt.Alarm(kind, fmt.Sprintf(format, args...))
}
