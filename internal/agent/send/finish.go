package send

import (
	"errors"
	"net/http"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// finish takes over the outcome of a request.
func (d *Dest) finish(req *request, out []Outcome, err error) {
	var n notices
	now := d.opt.Now()
	d.mu.Lock()
	d.landed(req)
	if len(req.pkgs) > 0 {
		d.Stats.Requests.Add(1)
		if err == nil {
			d.well(now)
		}
	}
	if err != nil {
		d.failed(req, err, now, &n)
	} else {
		for i := range req.parts {
			p := &req.parts[i]
			d.settle(req, p, out[p.at:p.at+p.size()], &n)
		}
	}
	d.unpark(&n)
	d.mu.Unlock()
	d.give(&n)
}

// back ends a lane's part in a request; it is false if the lane has forgotten the
// packages meanwhile.
func (d *Dest) back(p *part) bool {
	l := p.lane
	l.busy, l.inFlight = false, 0
	if p.epoch != l.epoch || l.state != laneActive {
		d.enqueue(l)
		return false
	}
	return true
}

// settle takes over the outcomes of one lane's packages.
func (d *Dest) settle(req *request, p *part, out []Outcome, n *notices) {
	l := p.lane
	if !d.back(p) {
		return
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
		d.accept(req, p, accepted, n)
		d.refuse(l, o, n)
		return
	}
	d.accept(req, p, accepted, n)
	if p.lost != nil {
		d.notLoaded(p, n)
	}
	d.goOn(l, n)
}

// goOn puts the lane in line, or has it deal first with what the disk buffer has lost.
func (d *Dest) goOn(l *Lane, n *notices) {
	if l.headGone() {
		n.heal = append(n.heal, l)
		return
	}
	d.enqueue(l)
}

// accept acknowledges the part's first k packages.
func (d *Dest) accept(req *request, p *part, k int, n *notices) {
	if k == 0 {
		return
	}
	l := p.lane
	l.claim = false
	logs, bytes := d.advance(l, k, req.last(p, k), n)
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
		d.goOn(l, n)
		return
	}
	switch delivery.React(o.Action) {
	case delivery.Stop:
		if d.contest(l) {
			d.ask(l, o)
			return
		}
		d.alarm(AlarmDelivery, "another agent with the same state writes to %s; this one stops sending the file (was the machine cloned together with the agent's data folder?)", d.opt.Name)
		d.leave(l, n)
		n.stopped = append(n.stopped, l)
	case delivery.NewStream:
		// A resume may find nothing wrong, where the hash before the checkpoint is not
		// known: the package knew more, and would be refused again for ever.
		n.foreign = append(n.foreign, l)
		l.state, l.local = laneForeign, false
	default: // hole, unknown lane: agree anew
		d.ask(l, o)
	}
}

// ask agrees anew where the lane goes on.
func (d *Dest) ask(l *Lane, o Outcome) {
	d.opt.Log.Info("a lane is agreed on anew", "destination", d.opt.Name, "lane", l.ID.String(), "answer", o.Action.String())
	l.state, l.fresh, l.local = laneAsking, false, l.spill
	d.asking = append(d.asking, l)
}

const (
	// contestTries is how often in contestTime a lane that was fenced is taken back. What
	// fenced it may be a resume of this agent's own that something on the way has repeated
	// or delivered late. Where it is another agent with the same state, both take it
	// from each other in turn, which costs requests but no log, until one has done so as often.
	contestTries = 3
	contestTime  = time.Hour
)

// fence is how often a lane was fenced since a time, by Dest.age.
type fence struct {
	since time.Duration
	times int
}

// contest says whether a fenced lane is to be taken back.
func (d *Dest) contest(l *Lane) bool {
	now := d.age(d.opt.Now())
	f, ok := d.fenced[l]
	if !ok || (now-f.since).Abs() > contestTime {
		f = fence{since: now}
	}
	f.times++
	d.fenced[l] = f
	return f.times <= contestTries
}

// failed reacts to a request that failed as a whole.
func (d *Dest) failed(req *request, err error, now time.Time, n *notices) {
	d.Stats.Failures.Add(1)
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
	d.ill(class, err, now)
	offered := 0 // without the ranges that only tell what was dropped
	for i := range req.parts {
		offered += req.parts[i].n
	}
	for i := range req.parts {
		p := &req.parts[i]
		if !d.back(p) {
			continue
		}
		l := p.lane
		if p.lost != nil {
			d.notLoaded(p, n)
		}
		if offered > 1 && class == Terminal && !missing(err) {
			// One bad package must not cost its companions.
			for k := range p.n {
				l.tried(k).alone = true
			}
		} else {
			d.punish(l, p.n, err, n)
		}
		d.goOn(l, n)
	}
}

// missing says that the project or logstore is not there: the fault is not in
// the packages, so there is no use in trying them one by one.
func missing(err error) bool {
	var e *sls.Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// punish counts a failure against the lane's first k packages, and gives up
// those for which the rule says so.
func (d *Dest) punish(l *Lane, k int, err error, n *notices) {
	now := d.opt.Now()
	class := Classify(err)
	drop, why := 0, delivery.ReasonRefused
	for i := range k {
		t := l.tried(i)
		if d.elapsed(&t.failed, now) >= FailingLimit && d.expires() {
			drop, why = i+1, delivery.ReasonTooOld
		}
		switch class {
		case Auth:
			// An outage in between tells nothing of the key.
			if d.elapsed(&t.refused, now) >= d.opt.AuthRetry && now.Sub(d.refusing) >= d.opt.AuthRetry {
				drop = i + 1
			}
		case Terminal:
			if t.tries++; int(t.tries) >= d.opt.TerminalTries {
				drop = i + 1
			}
		default:
		}
	}
	if class != Clock {
		l.notBefore = d.age(now) + d.opt.RetryWait
	}
	if drop == 0 {
		return
	}
	logs, bytes := d.abandon(l, drop, l.place(drop), why, n)
	d.drop(l, why, logs, bytes, n)
	d.alarm(AlarmDiscard, "%d logs (%d bytes of the file) for %s are dropped (%s): %s", logs, bytes, d.opt.Name, why, short(err))
}

// place returns the range of the lane's k-th package, counted from 1, as far as
// it is known without the disk buffer.
func (l *Lane) place(k int) *delivery.Range {
	if k <= len(l.disk) {
		return &delivery.Range{End: l.disk[k-1].end}
	}
	r := l.queue[k-1-len(l.disk)].Range
	return &r
}

// unpark lets one owner go on for which there is space again; its call of
// Accepts wakes the next one, so that 20,000 waiting streams do not all run for
// the space of one package.
func (d *Dest) unpark(n *notices) {
	if len(d.parked) == 0 || !d.room() {
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
