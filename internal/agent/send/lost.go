package send

import (
	"time"

	"logtail/internal/agent/buffer"
	"logtail/internal/delivery"
)

// What the disk buffer loses, because it is full, damaged or too old, leaves a gap in
// a lane. Where the owner can read the content again it does so from there. Else
// the gap is abandoned: counted, alarmed, and told to the destination in its place.

// notLoaded notes that the package at the head of the lane could not be read from the
// disk buffer.
func (d *Dest) notLoaded(p *part, n *notices) {
	l := p.lane
	if len(l.disk) == 0 || l.disk[0].seq != p.lostSeq {
		return
	}
	s := &l.disk[0]
	if s.tries++; gone(p.lost, int(s.tries)) {
		d.unstore(s, n)
		s.gone = delivery.ReasonBuffer
		d.opt.Log.Warn("a record of the disk buffer cannot be read", "destination", d.opt.Name, "lane", l.ID.String(), "error", p.lost)
		return
	}
	l.notBefore = d.age(d.opt.Now()) + d.opt.RetryWait
}

// loss is a lane of which the disk buffer has given up records.
type loss struct {
	dest *Dest
	lane *Lane
}

// lose marks the records that the disk buffer has given up, and takes those of
// its lanes out of the list.
func (d *Dest) lose(gone map[uint64]buffer.Item) (list []loss) {
	d.mu.Lock()
	defer d.mu.Unlock()
	most := uint64(0)
	for seq := range gone {
		most = max(most, seq)
	}
	mark := func(l *Lane) {
		hit := false
		for i := range l.disk {
			s := &l.disk[i]
			if s.seq > most || s.gone != delivery.ReasonNone {
				continue
			}
			if _, ok := gone[s.seq]; !ok {
				continue
			}
			delete(gone, s.seq)
			d.storedCount--
			d.storedBytes -= int64(s.size)
			s.gone, s.evicted, hit = delivery.ReasonBuffer, true, true
		}
		if hit {
			list = append(list, loss{d, l})
		}
	}
	for l := range d.lanes {
		mark(l)
	}
	for _, l := range d.left {
		if _, open := d.lanes[l]; !open {
			mark(l)
		}
	}
	return list
}

// lost goes on behind a lane's records that were given up. What is in flight may still
// arrive, and where the lane is not agreed on its destination may have more than is
// known: what is lost for good is counted when that is decided, so that it is counted
// once, also over a restart.
func (d *Dest) lost(l *Lane) {
	d.mu.Lock()
	l = l.current()
	open := l.state < laneActive
	d.mu.Unlock()
	if open {
		d.alarm(AlarmSecondary, "the disk buffer is full: the oldest logs in it for %s are given up; what the destination lacks of them is read again as far as their files are there, and counted, when it answers", d.opt.Name)
	}
	d.heal(l)
}

// headGone says whether the disk buffer has lost the lane's first package.
func (l *Lane) headGone() bool { return len(l.disk) > 0 && l.disk[0].gone != delivery.ReasonNone }

// heal goes on behind the records at the head of a lane that are gone.
func (d *Dest) heal(l *Lane) {
	agreed := func() bool { return !l.busy && l.headGone() && (l.state == laneActive || l.state == laneAgreed) }
	d.mu.Lock()
	if !agreed() { // of a lane that is being asked for, the answer decides
		d.mu.Unlock()
		return
	}
	from, ask, again := l.checkpoint.End, !l.disk[0].counted, !l.disk[0].evicted || !l.must
	d.mu.Unlock()
	readable := ask && again && l.owner.Readable(from)
	var n notices
	var plan *delivery.Plan
	d.mu.Lock()
	switch {
	case !agreed():
	case readable:
		d.clear(l, &n)
		l.tail, l.state = l.checkpoint.Point, laneAgreed
		plan = &delivery.Plan{Point: l.checkpoint.Point, AbandonFrom: l.checkpoint.AbandonedFrom, Claim: l.claim}
	default:
		evicted := l.disk[0].evicted
		logs, bytes := d.skip(l, &n)
		switch {
		case ask && evicted:
			d.alarm(AlarmSecondary, "the disk buffer is full: %d logs (%d bytes of a file) for %s are given up, as they are the oldest", logs, bytes, d.opt.Name)
		case ask:
			d.alarm(AlarmSecondary, "%d logs (%d bytes of a file) for %s are gone from the disk buffer, and their file cannot be read again; they are given up", logs, bytes, d.opt.Name)
		}
		d.enqueue(l)
	}
	d.unpark(&n)
	d.mu.Unlock()
	d.give(&n)
	if plan != nil {
		l.owner.LaneReady(l, *plan)
	}
	d.signal()
}

// The documented limits of time towards an SLS that knows no ranges. Towards our
// own server there are none.
const (
	// FailingLimit is how long a package is offered in vain before it is dropped.
	FailingLimit = 6 * time.Hour
	// BufferLimit is how long a package stays in the disk buffer.
	BufferLimit = 24 * time.Hour

	expireInterval = time.Minute
)

// expires says whether the documented limits of time hold.
func (d *Dest) expires() bool { return d.opt.Target.Logstore != "" && d.known && d.limits }

// expire gives up what has been in the disk buffer for too long.
func (d *Dest) expire(now time.Time, n *notices) {
	if !d.expires() || d.storedCount == 0 || now.Sub(d.expired) < expireInterval {
		return
	}
	d.expired = now
	logs, bytes := 0, int64(0)
	old := func(l *Lane) bool {
		return !l.busy && len(l.disk) > 0 && !l.headGone() && d.age(now)-time.Duration(l.disk[0].time)*time.Second >= BufferLimit
	}
	give := func(l *Lane, lg int, b int64) {
		d.drop(l, delivery.ReasonTooOld, lg, b, n)
		logs += lg
		bytes += b
	}
	for l := range d.lanes {
		for old(l) {
			lg, b := d.abandon(l, 1, l.place(1), delivery.ReasonTooOld, n)
			give(l, lg, b)
		}
	}
	for id, l := range d.left {
		for _, open := d.lanes[l]; !open && old(l); {
			lg, b := d.forget(l, 1, n)
			give(nil, lg, b)
		}
		if l.waiting() == 0 {
			delete(d.left, id)
		}
	}
	if bytes > 0 {
		d.alarm(AlarmDiscard, "%d logs (%d bytes of their files) for %s are dropped, as they have been in the disk buffer for %v", logs, bytes, d.opt.Name, BufferLimit)
	}
}
