package send

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"

	"logtail/internal/delivery"
)

// takeAsking returns the lanes to ask for.
func (d *Dest) takeAsking() []*Lane {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asking) == 0 || d.pause.After(d.opt.Now()) {
		return nil
	}
	k := min(len(d.asking), resumeLanes)
	asked := append([]*Lane(nil), d.asking[:k]...)
	d.asking = cut(d.asking, k)
	return asked
}

// resume agrees with the destination where the lanes go on.
func (d *Dest) resume(ctx context.Context, lanes []*Lane) {
	d.mu.Lock()
	known := d.known
	r := &Resumed{Ranges: d.ranges, Session: d.session, Incarnation: d.incarn}
	d.mu.Unlock()
	var ids []delivery.LaneID
	var index []int
	places, _ := d.tr.(placed)
	for _, l := range lanes {
		index = append(index, len(ids))
		if !l.fresh {
			if places != nil {
				c := l.Checkpoint()
				places.Place(l.ID, min(c.AbandonedFrom, c.End))
			}
			ids = append(ids, l.ID)
		}
	}
	ask := !known || len(ids) > 0 && r.Ranges
	if ask {
		var err error
		if r, err = d.tr.Resume(ctx, ids); err != nil {
			d.resumeFailed(ctx, lanes, err)
			return
		}
		if r.Ranges && len(r.Progress) != len(ids) {
			d.resumeFailed(ctx, lanes, fmt.Errorf("the destination answered for %d lanes of %d", len(r.Progress), len(ids)))
			return
		}
	}
	d.mu.Lock()
	if !d.known || r.Session > d.session {
		d.known, d.ranges, d.session, d.incarn = true, r.Ranges, r.Session, r.Incarnation
		d.limits = !r.Ranges || r.Limits
	}
	if d.limits && d.opt.Target.Logstore != "" && d.replayRate == nil {
		d.replayRate = rate.NewLimiter(ReplayRate, ReplayRate)
	}
	if ask { // else nobody has answered
		d.well(d.opt.Now())
	}
	d.mu.Unlock()
	for i, l := range lanes {
		var p *delivery.Progress
		if r.Ranges && !l.fresh {
			p = r.Progress[index[i]]
		}
		d.agree(l, p, r)
	}
	d.letIn() // what the lanes had queued may be gone
	d.signal()
}

// agree decides where a lane goes on, now that it is known what the destination
// has of it. What the lane has is kept where its owner may not be able to make it again.
func (d *Dest) agree(l *Lane, p *delivery.Progress, r *Resumed) {
	c := l.Checkpoint()
	plan := delivery.Resume(c, p, r.Incarnation, l.holds)
	if p == nil { // it has not been told yet what was dropped before
		plan.AbandonFrom = c.AbandonedFrom
	}
	d.report(l, &plan, r.Ranges)
	var n notices
	defer func() { d.give(&n) }()
	d.mu.Lock()
	if l.state == laneStopped {
		d.mu.Unlock()
		return
	}
	l.session, l.claim = r.Session, plan.Claim
	if l.fresh {
		l.session = d.session
	}
	l.checkpoint.Incarnation = r.Incarnation
	if plan.NewStream { // what the lane has goes to the one that names it as its former
		l.state, l.local = laneForeign, false
		d.mu.Unlock()
		l.owner.LaneReady(l, plan)
		return
	}
	l.checkpoint.Point, l.checkpoint.AbandonedFrom = plan.Point, plan.AbandonFrom
	logs, bytes := d.trim(l, &n)
	d.Stats.Logs.Add(int64(logs))
	d.Stats.Bytes.Add(bytes)
	from, gap := l.gap()
	again := gap // ask the owner whether it can make it again
	if !gap && !l.spill && len(l.disk) == 0 {
		from, again = plan.End, len(l.queue) > 0
	}
	d.mu.Unlock()

	point := plan.Point
	if again = again && l.owner.Readable(from); again && from != plan.End {
		point = d.pointAt(l, from)
	}
	d.mu.Lock()
	if l.state == laneStopped {
		d.mu.Unlock()
		return
	}
	switch {
	case again:
		d.cutAt(l, from, &n)
		l.tail = point
	case gap:
		d.fill(l, &n)
	case l.waiting() == 0 && (plan.Behind || !l.local):
		l.tail, again = plan.Point, plan.Behind
	}
	if d.skip(l, &n); l.local && !again {
		l.state, l.local = laneActive, false // its owner has gone on already
		d.enqueue(l)
		d.unpark(&n)
		n.acked = append(n.acked, l)
		d.mu.Unlock()
		return
	}
	l.state, l.local = laneAgreed, false
	plan.Point = l.tail
	d.mu.Unlock()
	l.owner.LaneReady(l, plan)
}

// holds says whether the destination's content before end is this agent's. Where the stream
// cannot tell any more, the destination is believed; but not where another agent
// may have written to a lane that was fenced, and what this one has sent ends elsewhere.
func (l *Lane) holds(end, hash uint64) bool {
	l.dest.mu.Lock()
	_, fenced := l.dest.fenced[l]
	believe := !fenced || l.waiting() == 0
	for i := range l.waiting() {
		if _, e := l.bounds(i); e != end {
			continue
		}
		believe = true
		if i >= len(l.disk) {
			h := l.queue[i-len(l.disk)].Range.EndHash
			believe = h == 0 || hash == 0 || h == hash
		}
	}
	l.dest.mu.Unlock()
	return l.owner.Holds(end, hash, believe)
}

// report says what a resume found out.
func (d *Dest) report(l *Lane, plan *delivery.Plan, ranges bool) {
	switch {
	case !ranges:
	case plan.NewStream:
		d.alarm(AlarmDelivery, "%s has other content for a file than this agent; the file goes on as a new stream (was the machine cloned or rolled back?)", d.opt.Name)
	case plan.MadeAgain:
		d.alarm(AlarmDelivery, "the logstore of %s was deleted and made again; files go on where they stand", d.opt.Name)
	case plan.Forgotten:
		d.alarm(AlarmDelivery, "%s has forgotten a file; it goes on where it stands", d.opt.Name)
	case plan.Behind:
		d.alarm(AlarmDelivery, "%s lost acknowledged logs; they are sent again from the file as far as it has them", d.opt.Name)
	}
}

// resumeFailed puts the lanes back and waits.
func (d *Dest) resumeFailed(ctx context.Context, lanes []*Lane, err error) {
	if ctx.Err() != nil {
		return
	}
	d.Stats.Failures.Add(1)
	now := d.opt.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.failing {
		d.alarm(AlarmSendFail, "no contact with %s (%s): %s; trying again every %v", d.opt.Name, Classify(err), short(err), d.opt.RetryWait)
	}
	d.ill(Classify(err), err, now)
	d.pause = now.Add(d.opt.RetryWait)
	d.asking = append(d.asking, lanes...)
}
