package send

import (
	"context"
	"errors"
	"slices"
	"time"

	"logtail/internal/agent/buffer"
	"logtail/internal/delivery"
)

const (
	// spillAfter is how long a package of a lane that spills may wait for the
	// destination before it goes to the disk buffer, if all is well.
	spillAfter = 500 * time.Millisecond
	// scanInterval is how often the lanes are looked at for such packages.
	scanInterval = 100 * time.Millisecond
	// spillBytes and spillRecords bound what is written to the disk buffer at once.
	spillBytes   = 4 << 20
	spillRecords = 1024
	// spillTime is how long a stopping destination writes to the disk buffer.
	spillTime = 3 * time.Second
)

// Spill says that what the lane cannot send now goes to the disk buffer, so that
// it takes packages as long as there is room, and its owner need not be able to
// read again what it has Put. It does nothing where there is no disk buffer.
func (l *Lane) Spill(on bool) {
	d := l.dest
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setSpill(l, on)
}

// MustSpill says that the owner's content is lost if it cannot go on: for it, a full
// disk buffer makes room by the documented rule, which gives up the oldest file of the
// buffer, whosever it is; what is this lane's of that is not read again.
// MustSpill(true) implies Spill(true).
func (l *Lane) MustSpill(on bool) {
	d := l.dest
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.must = on; on {
		d.setSpill(l, true)
	}
}

func (d *Dest) setSpill(l *Lane, on bool) {
	if d.opt.Buffer == nil || l.state == laneStopped {
		return
	}
	l.spill = on
	if !on {
		l.must = false
		delete(d.spilling, l)
		return
	}
	d.spilling[l] = struct{}{}
	if d.pressing(l) {
		d.spillSoon(l)
	}
	d.signalSpill() // it looks at the time
}

// Safe says whether everything that was Put is acknowledged or durable in the
// disk buffer, so that the owner's content may go. When it becomes true because
// of the disk buffer, the owner gets LaneSpace.
func (l *Lane) Safe() bool {
	l.dest.mu.Lock()
	defer l.dest.mu.Unlock()
	return len(l.queue) == 0 && l.takes()
}

// Kept returns the checkpoint, and how far the lane's content is acknowledged or durable
// in the disk buffer, so that the owner need not make it again after a crash either.
func (l *Lane) Kept() (c delivery.Checkpoint, end uint64) {
	l.dest.mu.Lock()
	defer l.dest.mu.Unlock()
	c, end = l.checkpoint, l.checkpoint.End
	if n := len(l.disk); n > 0 && !l.headGone() {
		end = max(end, l.disk[n-1].end)
	}
	return c, end
}

// BeginLocal lets the owner go on while the destination gives no answer to the
// first resume: from the point that it returns, with spilling on. It is false if
// the lane is agreed on, so that LaneReady came or comes, and where there is no
// disk buffer. When the answer comes, LaneReady follows only if the owner must go
// on elsewhere; what it Put and the destination has is not sent again.
func (l *Lane) BeginLocal() (delivery.Point, bool) {
	d := l.dest
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opt.Buffer == nil || l.state != laneAsking {
		return delivery.Point{}, false
	}
	l.local = true
	d.setSpill(l, true)
	return l.tail, true
}

// unwritten is how many packages in memory are not being written to the disk buffer.
func (l *Lane) unwritten() int { return len(l.queue) - int(l.writing) }

// pressing says whether the lane's packages go to the disk buffer at once.
func (d *Dest) pressing(l *Lane) bool {
	return d.failing || !d.known || l.state != laneActive || len(l.disk) > 0 || l.held > laneBytes/2 ||
		d.opt.Bytes > 0 && d.held > d.opt.Bytes/2 || d.account.tight()
}

// spillSoon puts the lane in line for the disk buffer.
func (d *Dest) spillSoon(l *Lane) {
	if !l.due && l.unwritten() > 0 {
		l.due = true
		d.due = append(d.due, l)
		d.signalSpill()
	}
}

func (d *Dest) signalSpill() {
	select {
	case d.wakeSpill <- struct{}{}:
	default:
	}
}

// spilled is a package that is being written to the disk buffer.
type spilled struct {
	lane *Lane
	pkg  *Package
	buf  *Buffer // with a reference of its own
}

// spill writes to the disk buffer what is due, until ctx ends.
func (d *Dest) spill(ctx context.Context) {
	for ctx.Err() == nil {
		list, recs := d.collect()
		if len(list) > 0 {
			d.write(list, recs)
			continue
		}
		wait := d.overdue()
		var timer <-chan time.Time
		if wait == 0 {
			continue
		} else if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
		case <-d.wakeSpill:
		case <-timer:
		}
	}
}

// overdue puts the lanes in line that have waited long enough for the destination,
// gives up what is too old, and says when to look again: 0 is at once, negative is
// not before something happens.
func (d *Dest) overdue() time.Duration {
	var n notices
	defer func() { d.give(&n) }()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.opt.Now()
	d.expire(now, &n)
	wait := time.Duration(-1)
	if left := d.scanned.Add(scanInterval).Sub(now); left > 0 && len(d.spilling) > 0 {
		return d.dueIn(left, now)
	}
	d.scanned = now
	for l := range d.spilling {
		if l.unwritten() == 0 {
			if l.state == laneStopped {
				delete(d.spilling, l)
			}
			continue
		}
		if left := l.queue[l.writing].at.Add(spillAfter).Sub(now); left <= 0 || d.pressing(l) {
			d.spillSoon(l)
		} else if wait < 0 || left < wait {
			wait = left
		}
	}
	if wait < 0 && d.expires() && d.storedCount > 0 {
		wait = expireInterval
	}
	return d.dueIn(wait, now)
}

// dueIn shortens the time to wait if lanes are in line for the disk buffer.
func (d *Dest) dueIn(wait time.Duration, now time.Time) time.Duration {
	switch {
	case len(d.due) == 0:
		return wait
	case d.spillFull && d.mustAny():
		return 0
	}
	return max(0, d.spillPause.Sub(now))
}

// collect takes the next packages to be written to the disk buffer, in the order
// of their lanes.
func (d *Dest) collect() (list []spilled, recs []buffer.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.opt.Now()
	paused := d.spillPause.After(now)
	if paused && !d.spillFull {
		return nil, nil
	}
	size := 0
	kept := d.due[:0]
	for _, l := range d.due {
		if size >= spillBytes || len(recs) >= spillRecords || paused && !l.must && l.unwritten() > 0 {
			kept = append(kept, l)
			continue
		}
		for _, p := range l.queue[l.writing:] {
			if size >= spillBytes || len(recs) >= spillRecords {
				break
			}
			rec := buffer.Record{Dest: d.opt.Name, Range: p.Range, Data: p.Data(), RawSize: p.RawSize, Logs: p.Logs, Compress: p.Compress, Time: now.Unix()}
			rec.Range.Lane = l.ID
			rec.Range.Flags &^= delivery.Claim
			s := spilled{lane: l, pkg: p}
			if p.Buf != nil {
				s.buf = p.Buf.Share()
			}
			list, recs = append(list, s), append(recs, rec)
			size += len(rec.Data)
			l.writing++
		}
		if l.due = l.unwritten() > 0; l.due {
			kept = append(kept, l)
		}
	}
	clear(d.due[len(kept):])
	d.due = kept
	return list, recs
}

// write writes packages to the disk buffer, which then take no memory any more.
func (d *Dest) write(list []spilled, recs []buffer.Record) {
	defer func() {
		for _, s := range list {
			s.buf.Release()
		}
	}()
	sh := d.opt.Shared
	sh.handover.RLock()
	items, err := d.opt.Buffer.Put(recs)
	var n notices
	if err == nil {
		d.written(list, items, &n)
	}
	sh.handover.RUnlock()
	if err == nil {
		d.give(&n)
		return
	}
	must := d.unwrite(list)
	if errors.Is(err, buffer.ErrFull) && d.makeRoom(must) {
		return
	}
	d.mu.Lock()
	first := !d.spillFailed
	d.spillFailed, d.spillFull = true, errors.Is(err, buffer.ErrFull) && !must
	d.spillPause = d.opt.Now().Add(d.opt.RetryWait)
	d.mu.Unlock()
	if first {
		d.alarm(AlarmSendFail, "what cannot be sent to %s now cannot be written to the disk buffer either (%s); it waits in memory and in its files, and is tried again every %v", d.opt.Name, short(err), d.opt.RetryWait)
	}
}

// written replaces packages in memory by what the disk buffer has of them.
func (d *Dest) written(list []spilled, items []buffer.Item, n *notices) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spillFailed, d.spillFull, d.spillPause = false, false, time.Time{}
	for i := 0; i < len(list); {
		l := list[i].lane.current()
		k := 0 // live packages of the lane; the dead ones are before them
		for ; i < len(list) && list[i].lane.current() == l; i++ {
			p := list[i].pkg
			if p.dead {
				n.done = append(n.done, items[i].Seq)
				continue
			}
			s := d.storedOf(items[i])
			s.tried = p.tried
			l.disk = append(l.disk, s)
			d.storedCount++
			d.storedBytes += int64(s.size)
			d.hold(l, -p.bytes())
			p.Buf.Release()
			p.Buf, p.dead = nil, true
			k++
		}
		l.queue = cut(l.queue, k)
		l.writing = max(0, l.writing-int32(k))
		if k > 0 && len(l.queue) == 0 && l.state != laneStopped && !l.parked {
			n.space = append(n.space, l)
		}
	}
	d.unpark(n)
}

// current returns the lane that has the packages now.
func (l *Lane) current() *Lane {
	for l.heir != nil {
		l = l.heir
	}
	return l
}

// unwrite puts the lanes in line again whose packages could not be written. It
// says whether all of them are of owners that cannot wait.
func (d *Dest) unwrite(list []spilled) (must bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	must = true
	for _, s := range list {
		l := s.lane.current()
		must = must && l.must
		l.writing = 0
		if !l.due && len(l.queue) > 0 {
			l.due = true
			d.due = append(d.due, l)
		}
	}
	return must
}

// mustAny says whether a lane is due whose owner cannot wait.
func (d *Dest) mustAny() bool {
	return slices.ContainsFunc(d.due, func(l *Lane) bool { return l.must })
}

// makeRoom gives up what nobody will send any more, and, for owners that cannot
// wait, the oldest file. It says whether there may be room now.
func (d *Dest) makeRoom(must bool) bool {
	b, sh := d.opt.Buffer, d.opt.Shared
	if id, ok := sh.forsaken(b); ok {
		list := b.Take(id)
		for _, it := range list {
			b.Done(it.Seq)
		}
		d.gaveUp(list, "they belong to files that are not collected any more")
		return true
	}
	if !must {
		return false
	}
	sh.handover.Lock()
	list := b.DropOldest()
	lanes, nobody := sh.lose(list)
	sh.handover.Unlock()
	for _, x := range lanes {
		x.dest.lost(x.lane)
	}
	d.gaveUp(nobody, "they are the oldest")
	return len(list) > 0
}

// gaveUp counts records of no lane that were given up as the disk buffer was full.
func (d *Dest) gaveUp(list []buffer.Item, why string) {
	if len(list) == 0 {
		return
	}
	var n notices
	logs, bytes := 0, int64(0)
	for _, it := range list {
		logs += it.Logs
		bytes += int64(it.End - it.Start)
	}
	d.drop(nil, delivery.ReasonBuffer, logs, bytes, &n)
	d.give(&n)
	d.alarm(AlarmSecondary, "the disk buffer is full: %d logs (%d bytes of their files) are given up, as %s", logs, bytes, why)
}

// spillRest writes what is left in memory of the lanes that spill, when the
// destination stops, after what is being written. It does not wait longer than
// spillTime for the disk.
func (d *Dest) spillRest(before func()) {
	if d.opt.Buffer == nil {
		return
	}
	d.mu.Lock()
	for l := range d.spilling {
		d.spillSoon(l)
	}
	d.spillPause = time.Time{}
	d.mu.Unlock()
	deadline := time.NewTimer(spillTime)
	defer deadline.Stop()
	done := make(chan struct{})
	// If the disk hangs, this goroutine is left behind by a process that ends.
	go func() {
		defer close(done)
		before()
		for {
			list, recs := d.collect()
			if len(list) == 0 {
				return
			}
			d.write(list, recs)
		}
	}()
	select {
	case <-done:
	case <-deadline.C:
	}
	d.mu.Lock()
	logs, packages := 0, 0
	for l := range d.spilling {
		for _, p := range l.queue {
			packages++
			logs += p.Logs
		}
	}
	d.mu.Unlock()
	if packages > 0 {
		d.alarm(AlarmDropData, "stopping with %d logs for %s that could not be written to the disk buffer; they are read again after the next start as far as their files have them then", logs, d.opt.Name)
	}
}
