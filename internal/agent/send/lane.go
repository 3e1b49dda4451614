package send

import (
	"time"

	"logtail/internal/delivery"
)

// Owner is the stream that a lane belongs to. Its methods are called by the
// destination's goroutines, never while the destination is locked.
type Owner interface {
	// LaneReady says where the lane goes on, after the first contact and after
	// every disagreement; what was queued before is forgotten. The owner calls
	// Begin when it has taken that up: till then, what it Puts belongs to the
	// time before and is dropped.
	LaneReady(l *Lane, plan delivery.Plan)
	// LaneAcked says that the lane's checkpoint moved.
	LaneAcked(l *Lane)
	// LaneSpace says that the lane takes packages again.
	LaneSpace(l *Lane)
	// LaneStopped says that another agent owns the lane now.
	LaneStopped(l *Lane)
	// Holds says whether the stream's content has the tail hash before end.
	Holds(end, hash uint64) bool
	// Readable says whether the stream's content from there on can still be read.
	Readable(from uint64) bool
}

type laneState uint8

const (
	laneAsking  laneState = iota // waits for the destination's answer to a resume
	laneAgreed                   // the owner has not taken up yet where it goes on
	laneActive                   // may send
	laneStopped                  // fenced, or closed by its owner
)

// Lane is a stream's way to one destination: packages in order, at most one
// request in flight. All fields below owner are guarded by the destination.
type Lane struct {
	ID    delivery.LaneID
	dest  *Dest
	owner Owner

	state      laneState
	fresh      bool   // of a new stream, so the destination cannot know it
	session    uint64 // of the last resume
	claim      bool   // the next range sent must claim its place
	queue      []*Package
	inFlight   int // packages at the head of queue that are in a request
	held       int64
	spill      bool      // what cannot be sent now goes to the disk buffer
	must       bool      // the owner cannot wait when that is full
	queued     bool      // in dest.ready
	parked     bool      // in dest.parked
	notBefore  time.Time // after a refusal
	checkpoint delivery.Checkpoint
}

// Checkpoint returns how far the lane is delivered.
func (l *Lane) Checkpoint() delivery.Checkpoint {
	l.dest.mu.Lock()
	defer l.dest.mu.Unlock()
	return l.checkpoint
}

// Begin opens the lane for what follows the plan of LaneReady.
func (l *Lane) Begin() {
	l.dest.mu.Lock()
	defer l.dest.mu.Unlock()
	if l.state == laneAgreed {
		l.state = laneActive
	}
}

// Pending says whether the lane has packages that are not acknowledged, or is
// being agreed on anew, so that it is not known what is.
func (l *Lane) Pending() bool {
	l.dest.mu.Lock()
	defer l.dest.mu.Unlock()
	return len(l.queue) > 0 || l.state == laneAsking || l.state == laneAgreed
}

// Accepts says whether the lane takes a package now. If it does not, the owner
// will get LaneSpace, or LaneReady where the lane is being agreed on, and must
// then ask again even if it has nothing to send: that passes the space on. A
// stopped lane never accepts. Other owners may get LaneSpace before Accepts returns.
func (l *Lane) Accepts() bool {
	d := l.dest
	var n notices
	d.mu.Lock()
	ok := l.state == laneActive && l.held < laneBytes && d.held < d.opt.Bytes
	switch {
	case ok, l.state != laneActive:
		d.unpark(&n)
	case !l.parked:
		l.parked = true
		d.parked = append(d.parked, l)
	}
	d.mu.Unlock()
	n.give()
	return ok
}

// Put queues a package. Packages of a lane must follow one another. Put never
// blocks; the caller asks Accepts before it makes more. While the lane is being
// agreed on the package is dropped, as its place may be behind a hole: LaneReady
// says from where on the owner makes packages again.
func (l *Lane) Put(p *Package) {
	d := l.dest
	d.mu.Lock()
	if l.state != laneActive {
		d.mu.Unlock()
		p.Buf.Release()
		return
	}
	l.queue = append(l.queue, p)
	l.held += p.bytes()
	d.held += p.bytes()
	d.enqueue(l)
	d.mu.Unlock()
	d.signal()
}

// Idle says whether nothing waits for the lane's destination, so that a group
// need not be held for company.
func (l *Lane) Idle() bool {
	d := l.dest
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known && d.requests == 0 && len(d.ready) == 0 && len(l.queue) == 0 && !d.failing
}

// Name is the destination's name, for messages.
func (l *Lane) Name() string { return l.dest.opt.Name }

// Close forgets the lane; its packages are not sent any more. Owners of other
// lanes may get LaneSpace before Close returns.
func (l *Lane) Close() {
	d := l.dest
	var n notices
	d.mu.Lock()
	d.clear(l)
	l.state = laneStopped
	delete(d.lanes, l)
	d.unpark(&n)
	d.mu.Unlock()
	n.give()
}

// forget drops the first n packages and returns what they covered.
func (l *Lane) forget(n int) (logs int, bytes int64) {
	for _, p := range l.queue[:n] {
		logs += p.Logs
		bytes += int64(p.Range.End - p.Range.Start)
		l.held -= p.bytes()
		l.dest.held -= p.bytes()
		p.Buf.Release()
		p.Buf = nil
	}
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	if rest == 0 && cap(l.queue) > 16 {
		l.queue = nil
	}
	return logs, bytes
}

// advance moves the checkpoint over the first n packages.
func (l *Lane) advance(n int) (logs int, bytes int64) {
	last := &l.queue[n-1].Range
	l.checkpoint.Point = delivery.Point{End: last.End, Hash: last.EndHash, State: last.State}
	return l.forget(n)
}

// Owner returns the stream that the lane belongs to.
func (l *Lane) Owner() Owner { return l.owner }

// Spill says that what the lane cannot send now goes to the disk buffer, so that
// it takes packages as long as there is room, and its owner need not be able to
// read again what it has Put.
func (l *Lane) Spill(on bool) {
	l.dest.mu.Lock()
	defer l.dest.mu.Unlock()
	l.spill = on
}

// MustSpill says that the owner's content is lost if it cannot go on: a full disk
// buffer makes room by the documented rule, which is to give up its oldest file.
// It implies Spill(true).
func (l *Lane) MustSpill(on bool) {
	l.dest.mu.Lock()
	defer l.dest.mu.Unlock()
	l.must = on
	l.spill = l.spill || on
}

// Safe says whether everything that was Put is acknowledged or durable in the
// disk buffer, so that the owner's content may go.
func (l *Lane) Safe() bool {
	l.dest.mu.Lock()
	defer l.dest.mu.Unlock()
	return len(l.queue) == 0 && l.state == laneActive
}

// BeginLocal lets the owner go on while the destination gives no answer to the
// first resume: from the point that it returns, with spilling. It is false if the
// lane is agreed on (LaneReady comes or came) or there is no disk buffer. When the
// answer comes, LaneReady follows only if the owner must go on elsewhere.
func (l *Lane) BeginLocal() (delivery.Point, bool) {
	return delivery.Point{}, false
}
