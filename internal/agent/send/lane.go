package send

import (
	"time"

	"logtail/internal/delivery"
)

// Owner is the stream that a lane belongs to. Its methods are called by the
// destination's goroutines, never while the destination is locked.
type Owner interface {
	// LaneReady says where the lane goes on, after the first contact and after
	// every disagreement; what was queued before is forgotten, unless it goes on
	// behind that. The owner calls Begin when it has taken that up: till then, what
	// it Puts belongs to the time before and is dropped. If the plan says NewStream,
	// the owner closes the lane and makes one with another id instead.
	LaneReady(l *Lane, plan delivery.Plan)
	// LaneAcked says that the lane's checkpoint moved.
	LaneAcked(l *Lane)
	// LaneSpace says that the lane takes packages again, or that all it has is safe.
	LaneSpace(l *Lane)
	// LaneStopped says that another agent owns the lane now.
	LaneStopped(l *Lane)
	// Holds says whether the stream's content has the tail hash before end; where there is
	// nothing to compare with, it says what believe says.
	Holds(end, hash uint64, believe bool) bool
	// Readable says whether the stream's content from there on can still be read.
	Readable(from uint64) bool
}

type laneState uint8

const (
	laneAsking  laneState = iota // waits for the destination's answer to a resume
	laneAgreed                   // the owner has not taken up yet where it goes on
	laneActive                   // may send
	laneForeign                  // the destination has other content for it; its owner closes it
	laneStopped                  // fenced, or closed by its owner
)

// Lane is a stream's way to one destination: packages in order, at most one
// request in flight. All fields below owner are guarded by the destination. There
// may be 100,000 lanes without packages, so that small fields stand together.
type Lane struct {
	ID    delivery.LaneID
	dest  *Dest
	owner Owner

	session    uint64 // of the last resume
	checkpoint delivery.Checkpoint
	tail       delivery.Point // behind the last package

	disk      []stored      // packages in the disk buffer; they go before
	queue     []*Package    // those in memory
	heir      *Lane         // has taken over the packages
	notBefore time.Duration // after a refusal, by Dest.age; 0: at once

	cut      int32  // elements before disk in its array
	inFlight int32  // packages at the head that are in a request
	writing  int32  // packages at the head of queue that are being written to the disk buffer
	held     int32  // bytes of memory of queue
	epoch    uint32 // of the packages: one up when all are forgotten

	state  laneState
	fresh  bool // of a new stream, so the destination cannot know it
	claim  bool // the next range sent must claim its place
	busy   bool // has a request in flight
	spill  bool // what cannot be sent now goes to the disk buffer
	must   bool // the owner cannot wait when that is full
	local  bool // the owner goes on while the lane is being asked for
	due    bool // in dest.due
	queued bool // in dest.ready, replay or delayed
	parked bool // in dest.parked
}

// Owner returns the stream that the lane belongs to.
func (l *Lane) Owner() Owner { return l.owner }

// Checkpoint returns how far the lane is delivered.
func (l *Lane) Checkpoint() delivery.Checkpoint {
	l.dest.mu.Lock()
	defer l.dest.mu.Unlock()
	return l.checkpoint
}

// Begin opens the lane for what follows the plan of LaneReady.
func (l *Lane) Begin() {
	d := l.dest
	d.mu.Lock()
	if l.state == laneAgreed {
		l.state = laneActive
		d.enqueue(l) // what the disk buffer has
	}
	d.mu.Unlock()
	d.signal()
}

// Pending says whether the lane has packages that are not acknowledged, or is
// being agreed on anew, so that it is not known what is.
func (l *Lane) Pending() bool {
	l.dest.mu.Lock()
	defer l.dest.mu.Unlock()
	return l.waiting() > 0 || l.state < laneActive || l.state == laneForeign
}

// takes says whether what is Put now is kept.
func (l *Lane) takes() bool {
	return l.state == laneActive || l.state == laneAsking && l.local
}

// Accepts says whether the lane takes a package now. If it does not, the owner
// will get LaneSpace, or LaneReady where the lane is being agreed on, and must
// then ask again even if it has nothing to send: that passes the space on. A
// stopped lane never accepts. Other owners may get LaneSpace before Accepts returns.
func (l *Lane) Accepts() bool {
	d := l.dest
	var n notices
	d.mu.Lock()
	ok := l.takes() && l.held < laneBytes && d.room()
	switch {
	case ok, !l.takes():
		d.unpark(&n)
	case !l.parked:
		l.parked = true
		d.parked = append(d.parked, l)
	}
	d.mu.Unlock()
	d.give(&n)
	return ok
}

// Put queues a package. Packages of a lane must follow one another. Put never
// blocks; the caller asks Accepts before it makes more. While the lane is being
// agreed on the package is dropped, as its place may be behind a hole: LaneReady
// says from where on the owner makes packages again. A lane that spills keeps it.
func (l *Lane) Put(p *Package) {
	d := l.dest
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &l.checkpoint
	if !l.takes() || p.Range.Start < c.End && p.Range.End <= c.End { // or the destination has it already
		p.Buf.Release()
		return
	}
	p.at = d.opt.Now()
	l.queue = append(l.queue, p)
	l.tail = delivery.Point{End: p.Range.End, Hash: p.Range.EndHash, State: p.Range.State}
	d.hold(l, p.bytes())
	d.enqueue(l)
	if l.spill && d.pressing(l) {
		d.spillSoon(l)
	}
	d.signal()
}

// Idle says whether nothing waits for the lane's destination, so that a group
// need not be held for company.
func (l *Lane) Idle() bool {
	d := l.dest
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known && d.requests == 0 && len(d.ready) == 0 && len(d.replay) == 0 && l.waiting() == 0 && !d.failing
}

// Name is the destination's name, for messages.
func (l *Lane) Name() string { return l.dest.opt.Name }

// Close forgets the lane; its packages are not sent any more. If it spills or has
// packages in the disk buffer, they wait for a lane that names this one as its
// former, in this run of the agent or in the next. Owners of other lanes may get
// LaneSpace before Close returns.
func (l *Lane) Close() {
	d := l.dest
	var n notices
	d.mu.Lock()
	d.leave(l, &n)
	delete(d.lanes, l)
	delete(d.fenced, l)
	d.unpark(&n)
	d.mu.Unlock()
	d.give(&n)
}

// leave stops the lane. What is in the disk buffer, or should be, stays there.
func (d *Dest) leave(l *Lane, n *notices) {
	l.state, l.local = laneStopped, false
	if !l.spill && len(l.disk) == 0 || l.waiting() == 0 {
		d.clear(l, n)
		delete(d.spilling, l)
		if d.left[l.ID] == l {
			delete(d.left, l.ID)
		}
		return
	}
	l.epoch++ // a request in flight is not heard of any more
	l.inFlight = 0
	d.left[l.ID] = l
	if l.unwritten() > 0 && d.opt.Buffer != nil {
		l.spill = true
		d.spilling[l] = struct{}{}
		d.spillSoon(l)
	}
}

// Lane adds a lane that goes on from the checkpoint c. fresh says that its
// stream is new, so that the destination cannot know it. LaneReady follows,
// always from another goroutine. What the disk buffer has of the lane goes first,
// and before that what it has of the former lanes: those that the stream had
// before it got a new id, oldest first.
func (d *Dest) Lane(id delivery.LaneID, owner Owner, c delivery.Checkpoint, fresh bool, former ...delivery.LaneID) *Lane {
	l := &Lane{ID: id, dest: d, owner: owner, checkpoint: c, fresh: fresh, tail: c.Point}
	var n notices
	if d.opt.Buffer != nil {
		ids := append(append([]delivery.LaneID(nil), former...), id)
		d.inherit(l, ids, &n)
	}
	d.mu.Lock()
	d.lanes[l] = struct{}{}
	d.asking = append(d.asking, l)
	d.mu.Unlock()
	d.give(&n)
	d.signal()
	return l
}
