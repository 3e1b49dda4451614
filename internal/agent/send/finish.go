package send

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// notices are the owners' calls that follow from an outcome; they are made
// when the destination is not locked any more.
type notices struct {
	acked, space, stopped []*Lane
}

func (n *notices) give() {
	for _, l := range n.acked {
		l.owner.LaneAcked(l)
	}
	for _, l := range n.stopped {
		l.owner.LaneStopped(l)
	}
	for _, l := range n.space {
		l.owner.LaneSpace(l)
	}
}

// finish takes over the outcome of a request.
func (d *Dest) finish(req *request, out []Outcome, err error) {
	d.Stats.Requests.Add(1)
	var n notices
	d.mu.Lock()
	d.requests--
	if err != nil {
		d.failed(req, err, &n)
	} else {
		d.failing = false
		i := 0
		for _, p := range req.parts {
			k := p.n
			if p.abandoned {
				k++
			}
			d.settle(p, out[i:i+k], &n)
			i += k
		}
	}
	d.unpark(&n)
	d.mu.Unlock()
	n.give()
}

// settle takes over the outcomes of one lane's packages.
func (d *Dest) settle(p part, out []Outcome, n *notices) {
	l := p.lane
	l.inFlight = 0
	if len(l.queue) < p.n || l.state != laneActive {
		return // closed meanwhile
	}
	accepted := 0
	for i, o := range out {
		if p.abandoned && i == 0 {
			if o.Err == nil && o.Action.Accepted() {
				l.checkpoint.AbandonedFrom, l.claim = l.checkpoint.End, false
				continue
			}
		} else if o.Err == nil && o.Action.Accepted() {
			accepted++
			continue
		}
		d.accept(l, accepted, n)
		d.refuse(l, o, n)
		return
	}
	d.accept(l, accepted, n)
	d.enqueue(l)
}

// accept acknowledges the first k packages.
func (d *Dest) accept(l *Lane, k int, n *notices) {
	if k == 0 {
		return
	}
	l.claim = false
	logs, bytes := l.advance(k)
	l.checkpoint.AbandonedFrom = l.checkpoint.End
	l.checkpoint.Incarnation = d.incarn
	d.Stats.Packages.Add(int64(k))
	d.Stats.Logs.Add(int64(logs))
	d.Stats.Bytes.Add(bytes)
	n.acked = append(n.acked, l)
}

// refuse reacts to the refusal of the lane's first package.
func (d *Dest) refuse(l *Lane, o Outcome, n *notices) {
	if o.Err != nil {
		d.Stats.Failures.Add(1)
		d.punish(l, 1, o.Err, n)
		d.enqueue(l)
		return
	}
	switch delivery.React(o.Action) {
	case delivery.Stop:
		d.alarm(AlarmDelivery, "another agent with the same state writes to %s; this one stops sending the file (was the machine cloned together with the agent's data folder?)", d.opt.Name)
		d.clear(l)
		l.state = laneStopped
		n.stopped = append(n.stopped, l)
	default: // hole, unknown lane, foreign content: agree anew
		d.opt.Log.Info("a lane is agreed on anew", "destination", d.opt.Name, "lane", l.ID.String(), "answer", o.Action.String())
		d.ask(l)
	}
}

// ask sends the lane back to the first contact.
func (d *Dest) ask(l *Lane) {
	d.clear(l)
	l.state, l.fresh = laneAsking, false
	d.asking = append(d.asking, l)
}

// failed reacts to a request that failed as a whole.
func (d *Dest) failed(req *request, err error, n *notices) {
	d.Stats.Failures.Add(1)
	now := d.opt.Now()
	class := Classify(err)
	switch class {
	case Clock: // the client has learnt the server's time from the answer
		if !d.failing {
			break
		}
		fallthrough
	case Network, Server, Quota, Auth:
		d.pause = now.Add(d.opt.RetryWait)
	case Terminal:
		if missing(err) {
			d.pause = now.Add(d.opt.RetryWait)
		}
	}
	if !d.failing {
		kind := AlarmSendFail
		if class == Quota {
			kind = AlarmQuota
		}
		d.alarm(kind, "sending to %s failed (%s): %s; trying again every %v", d.opt.Name, class, short(err), d.opt.RetryWait)
	}
	d.failing = true
	offered := 0 // without the ranges that only tell what was dropped
	for _, p := range req.parts {
		offered += p.n
	}
	for _, p := range req.parts {
		l := p.lane
		l.inFlight = 0
		if len(l.queue) < p.n || l.state != laneActive {
			continue
		}
		if class == Auth || class == Terminal {
			if offered > 1 && class == Terminal && !missing(err) {
				// One bad package must not cost its companions.
				for _, pkg := range l.queue[:p.n] {
					pkg.alone = true
				}
			} else {
				d.punish(l, p.n, err, n)
			}
		}
		d.enqueue(l)
	}
}

// missing says that the project or logstore is not there: the fault is not in
// the packages, so there is no use in trying them one by one.
func missing(err error) bool {
	var e *sls.Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// punish counts a refusal against the lane's first k packages, and gives up
// those for which the rule says so.
func (d *Dest) punish(l *Lane, k int, err error, n *notices) {
	now := d.opt.Now()
	class := Classify(err)
	drop := 0
	for i, pkg := range l.queue[:k] {
		switch class {
		case Auth:
			if pkg.failed.IsZero() {
				pkg.failed = now
			}
			if now.Sub(pkg.failed) >= d.opt.AuthRetry {
				drop = i + 1
			}
		case Terminal:
			pkg.tries++
			if pkg.tries >= d.opt.TerminalTries {
				drop = i + 1
			}
		default:
		}
	}
	if class != Clock {
		l.notBefore = now.Add(d.opt.RetryWait)
	}
	if drop == 0 {
		return
	}
	c := &l.checkpoint
	if c.AbandonedFrom == c.End {
		c.AbandonedReason = delivery.ReasonRefused
	}
	from := c.AbandonedFrom
	logs, bytes := l.advance(drop)
	c.AbandonedFrom = from
	d.Stats.DroppedLogs.Add(int64(logs))
	d.Stats.DroppedBytes.Add(bytes)
	d.alarm(AlarmDiscard, "%d logs (%d bytes of the file) for %s are dropped, as the destination refuses them: %s", logs, bytes, d.opt.Name, short(err))
	n.acked = append(n.acked, l)
}

// unpark lets one owner go on for which there is space again; its call of
// Accepts wakes the next one, so that 20,000 waiting streams do not all run for
// the space of one package.
func (d *Dest) unpark(n *notices) {
	if d.held >= d.opt.Bytes {
		return
	}
	for range len(d.parked) {
		l := d.parked[0]
		d.parked[0] = nil
		d.parked = d.parked[1:]
		if l.state != laneStopped && l.held >= laneBytes {
			d.parked = append(d.parked, l) // its own queue is full still
			continue
		}
		l.parked = false
		if l.state == laneStopped {
			continue
		}
		n.space = append(n.space, l)
		return
	}
}

// takeAsking returns the lanes to ask for, or, before the first contact, an
// empty call if there is no lane yet that needs an answer.
func (d *Dest) takeAsking() []*Lane {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asking) == 0 || d.pause.After(d.opt.Now()) {
		return nil
	}
	k := min(len(d.asking), resumeLanes)
	asked := append([]*Lane(nil), d.asking[:k]...)
	rest := copy(d.asking, d.asking[k:])
	clear(d.asking[rest:])
	d.asking = d.asking[:rest]
	return asked
}

// resume agrees with the destination where the lanes go on.
func (d *Dest) resume(ctx context.Context, lanes []*Lane) {
	d.mu.Lock()
	known, session, ranges := d.known, d.session, d.ranges
	d.mu.Unlock()
	var ids []delivery.LaneID
	var index []int
	for _, l := range lanes {
		index = append(index, len(ids))
		if !l.fresh {
			ids = append(ids, l.ID)
		}
	}
	r := &Resumed{Ranges: ranges, Session: session, Incarnation: d.incarn}
	if !known || len(ids) > 0 && ranges {
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
	type ready struct {
		lane *Lane
		plan delivery.Plan
	}
	var out []ready
	for i, l := range lanes {
		var p *delivery.Progress
		if r.Ranges && !l.fresh {
			p = r.Progress[index[i]]
		}
		c := l.Checkpoint()
		out = append(out, ready{l, delivery.Resume(c, p, r.Incarnation, l.owner.Holds)})
		d.report(l, &out[i].plan, r.Ranges)
	}
	d.mu.Lock()
	if !d.known || r.Session > d.session {
		d.known, d.ranges, d.session, d.incarn = true, r.Ranges, r.Session, r.Incarnation
	}
	d.failing = false
	for _, x := range out {
		l := x.lane
		if l.state == laneStopped {
			continue
		}
		l.state, l.session, l.claim = laneAgreed, r.Session, x.plan.Claim
		if l.fresh {
			l.session = d.session
		}
		l.checkpoint.Point, l.checkpoint.AbandonedFrom = x.plan.Point, x.plan.AbandonFrom
		l.checkpoint.Incarnation = r.Incarnation
	}
	var n notices
	d.unpark(&n) // what the lanes had queued is gone
	d.mu.Unlock()
	n.give()
	for _, x := range out {
		x.lane.owner.LaneReady(x.lane, x.plan)
	}
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
	d.mu.Lock()
	if !d.failing {
		d.alarm(AlarmSendFail, "no contact with %s (%s): %s; trying again every %v", d.opt.Name, Classify(err), short(err), d.opt.RetryWait)
	}
	d.failing = true
	d.pause = d.opt.Now().Add(d.opt.RetryWait)
	d.asking = append(d.asking, lanes...)
	d.mu.Unlock()
}

// short cuts a foreign text to what an alarm may repeat.
func short(err error) string {
	s := err.Error()
	if len(s) > alarmPartLimit {
		s = s[:alarmPartLimit] + "..."
	}
	return s
}
