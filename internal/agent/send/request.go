package send

import (
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"logtail/internal/agent/buffer"
	"logtail/internal/delivery"
)

// request is the packages of some lanes, in order. It has copies of them, with
// references of its own to the buffers, so that the lanes may do with theirs
// what they like meanwhile.
type request struct {
	pkgs   []*Package
	parts  []part
	raw    int64 // bytes of the log groups
	bytes  int64 // of the body, about
	replay bool  // from the disk buffer
}

// part is what a request has of one lane: n packages from pkgs[at] on. abandoned
// says that before them goes a range that was dropped earlier.
type part struct {
	lane      *Lane
	epoch     uint32
	at, n     int
	abandoned bool
	lost      error // why the next package could not be loaded from the disk buffer
	lostSeq   uint64
}

// size is how many packages of the request the part takes.
func (p *part) size() int {
	if p.abandoned {
		return p.n + 1
	}
	return p.n
}

// last returns the range of the part's k-th package, counted from 1.
func (r *request) last(p *part, k int) *delivery.Range {
	return &r.pkgs[p.at+p.size()-p.n+k-1].Range
}

// overhead is what a package takes in a request besides its log group, about.
const overhead = 160

// take gathers the next request; nil if there is none now, with the time to
// wait (negative: until a signal).
func (d *Dest) take() (*request, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.opt.Now()
	if left := d.pause.Sub(now); left > 0 {
		return nil, left
	}
	wait := d.undelay(now)
	if !d.known || len(d.ready)+len(d.replay) == 0 {
		return nil, wait
	}
	limit, until := d.opt.Shared.allowed(d.member)
	if left := until.Sub(now); left > 0 {
		return nil, left
	}
	if d.requests >= min(destRequests, limit) || d.failing && d.requests > 0 {
		return nil, wait
	}
	most := d.opt.Shared.requestBytes()
	if d.failing {
		most = min(most, probeBytes)
	}
	req := &request{}
	replays := destReplays
	if d.replayRate != nil {
		replays = 1
	}
	if len(d.replay) > 0 && d.replays < replays && (!d.replayed || len(d.ready) == 0) {
		req.replay = true
		d.replay = d.gatherAll(req, d.replay, most)
	} else {
		d.ready = d.gatherAll(req, d.ready, most)
	}
	if len(req.pkgs) == 0 {
		if len(d.ready)+len(d.replay) > 0 && d.replays < replays {
			return nil, 0
		}
		return nil, wait
	}
	d.requests++
	if d.replayed = req.replay; req.replay {
		d.replays++
	}
	return req, 0
}

// undelay puts the lanes in line whose delay is over, and says when the next one
// will be (negative: there is none).
func (d *Dest) undelay(now time.Time) time.Duration {
	wait := time.Duration(-1)
	kept := d.delayed[:0]
	for _, l := range d.delayed {
		if left := l.notBefore - d.age(now); left > 0 && l.state == laneActive {
			kept = append(kept, l)
			if wait < 0 || left < wait {
				wait = left
			}
			continue
		}
		l.queued, l.notBefore = false, 0
		d.enqueue(l)
	}
	clear(d.delayed[len(kept):])
	d.delayed = kept
	return wait
}

// gatherAll adds packages of the lanes in line to the request, up to about most
// bytes, and returns the rest of the line.
func (d *Dest) gatherAll(req *request, line []*Lane, most int) []*Lane {
	used := 0
	for _, l := range line {
		sends := l.state == laneActive && !l.busy && l.waiting() > 0 && !l.headGone()
		if len(req.pkgs) > 0 && (req.bytes >= int64(most) || len(req.pkgs) >= requestPackages || sends && l.tried(0).alone) {
			break
		}
		used++
		l.queued = false
		if !sends {
			continue
		}
		if req.replay != (len(l.disk) > 0) {
			d.enqueue(l) // into the other line
			continue
		}
		d.gather(req, l, most)
		if l.tried(0).alone {
			break
		}
	}
	rest := copy(line, line[used:])
	clear(line[rest:])
	return line[:rest]
}

// gather adds the lane's first packages to the request.
func (d *Dest) gather(req *request, l *Lane, most int) {
	p := part{lane: l, epoch: l.epoch, at: len(req.pkgs)}
	if c := &l.checkpoint; c.AbandonedFrom < c.End {
		if d.ranges {
			p.abandoned = true
			req.add(&Package{Range: delivery.Range{
				Lane: l.ID, Session: l.session, Start: c.AbandonedFrom, End: c.End, EndHash: c.Hash, State: c.State,
				Flags: delivery.Abandoned | d.claim(l), Reason: c.AbandonedReason,
			}}, 0)
		} else {
			c.AbandonedFrom = c.End
		}
	}
	k := len(l.queue)
	if req.replay {
		k = len(l.disk)
	}
	for i := range k {
		if req.replay && l.disk[i].gone != delivery.ReasonNone {
			break
		}
		if p.n > 0 && (req.bytes >= int64(most) || len(req.pkgs) >= requestPackages || l.tried(i).alone) {
			break
		}
		pkg := &Package{}
		var size int
		if req.replay {
			s := &l.disk[i]
			pkg.seq, pkg.Logs, pkg.Range.Start, pkg.Range.End = s.seq, int(s.logs), s.start, s.end
			size = 2 * int(s.size) // as it is loaded, and in the body
			if s.size > 0 {
				pkg.RawSize = int(s.end - s.start) // about; it is not known before it is loaded
			}
		} else {
			*pkg = *l.queue[i]
			if pkg.Buf != nil {
				pkg.Buf.Share()
			}
			size = len(pkg.Data()) + len(pkg.Range.Ends)
		}
		pkg.Range.Lane, pkg.Range.Session = l.ID, l.session
		pkg.Range.Flags &^= delivery.Claim
		if p.n == 0 && !p.abandoned {
			pkg.Range.Flags |= d.claim(l)
		}
		req.add(pkg, size)
		p.n++
		if l.tried(i).alone {
			break
		}
	}
	l.busy, l.inFlight = true, int32(p.n)
	req.parts = append(req.parts, p)
}

func (r *request) add(p *Package, size int) {
	r.pkgs = append(r.pkgs, p)
	r.raw += int64(p.RawSize)
	r.bytes += int64(size) + overhead
}

func (d *Dest) claim(l *Lane) delivery.Flags {
	if l.claim {
		return delivery.Claim
	}
	return 0
}

// carry brings a request to the destination and takes over what became of it.
func (d *Dest) carry(ctx context.Context, req *request) {
	out, err := d.attempt(ctx, req)
	for _, p := range req.pkgs {
		if p.seq == 0 {
			p.Buf.Release()
		}
	}
	if err != nil && ctx.Err() != nil {
		d.giveBack(req)
		return
	}
	d.finish(req, out, err)
}

// attempt waits until the request may go, under the limits of bandwidth and then
// those of concurrency, and sends it.
func (d *Dest) attempt(ctx context.Context, req *request) (out []Outcome, err error) {
	if req.replay {
		d.mu.Lock()
		limit := d.replayRate
		d.mu.Unlock()
		if limit != nil {
			if err := wait(ctx, limit, req.bytes/2); err != nil {
				return nil, err
			}
		}
	}
	for _, r := range d.opt.Rates {
		if err := wait(ctx, r, req.raw); err != nil {
			return nil, err
		}
	}
	width := 1
	many, ok := d.tr.(wide)
	if ok {
		width = min(many.Width(), len(req.parts))
	}
	t, err := d.opt.Shared.acquire(ctx, d.member, req.bytes, width, d.opt.Now)
	if err != nil {
		return nil, err
	}
	known := false
	defer func() { d.opt.Shared.release(t, known && ctx.Err() == nil, blameAll(out, err), d.opt.Now()) }()
	if req.replay {
		if d.load(req); len(req.pkgs) == 0 {
			return nil, nil
		}
	}
	known = true
	if ok {
		return many.SendWide(ctx, req.pkgs, t.width)
	}
	return d.tr.Send(ctx, req.pkgs)
}

// blameAll is blame for a request of which single packages may have been refused.
func blameAll(out []Outcome, err error) (b [3]bool) {
	b = blame(err)
	for i := range out {
		for k, x := range blame(out[i].Err) {
			b[k] = b[k] || x
		}
	}
	return b
}

// wait waits until so many bytes may be sent.
func wait(ctx context.Context, r *rate.Limiter, bytes int64) error {
	for left := int(bytes); left > 0; {
		n := min(left, r.Burst())
		if err := r.WaitN(ctx, n); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// load reads the request's packages from the disk buffer. What cannot be read is
// taken out, with what follows it in its lane.
func (d *Dest) load(req *request) {
	var kept []*Package
	for i := range req.parts {
		p := &req.parts[i]
		at := len(kept)
		list := req.pkgs[p.at : p.at+p.size()]
		p.n = 0
		for _, pkg := range list {
			if pkg.seq == 0 { // the range that was dropped earlier
				kept = append(kept, pkg)
				continue
			}
			rec, err := d.opt.Buffer.Load(pkg.seq)
			if err != nil {
				p.lost, p.lostSeq = err, pkg.seq
				break
			}
			r := pkg.Range
			pkg.Range = rec.Range
			pkg.Range.Lane, pkg.Range.Session = r.Lane, r.Session
			pkg.Range.Flags = pkg.Range.Flags&^delivery.Claim | r.Flags
			pkg.RawSize, pkg.Compress = rec.RawSize, rec.Compress
			if len(rec.Data) > 0 {
				pkg.Buf = &Buffer{B: rec.Data}
			}
			kept = append(kept, pkg)
			p.n++
		}
		p.at = at
	}
	req.pkgs = kept
}

// giveBack undoes take.
func (d *Dest) giveBack(req *request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.landed(req)
	for i := range req.parts {
		l := req.parts[i].lane
		l.busy, l.inFlight = false, 0
		d.enqueue(l)
	}
}

func (d *Dest) landed(req *request) {
	d.requests--
	if req.replay {
		d.replays--
	}
}

// gone says that a record will not be found in the disk buffer, however often it is looked for.
func gone(err error, tries int) bool { return errors.Is(err, buffer.ErrGone) || tries >= TerminalTries }
