package send

import (
	"logtail/internal/agent/buffer"
	"logtail/internal/delivery"
)

// A lane keeps what its owner may not be able to make again: over a new agreement
// with its destination, over a restart of the agent, and over a change of its id.

// inherit gives the lane what the disk buffer has for the ids, and what the lanes
// had when they were closed.
func (d *Dest) inherit(l *Lane, ids []delivery.LaneID, n *notices) {
	sh := d.opt.Shared
	sh.handover.RLock()
	for _, id := range ids {
		items := d.opt.Buffer.Take(id)
		d.mu.Lock()
		for _, it := range items {
			s := d.storedOf(it)
			l.disk = append(l.disk, s)
			d.storedCount++
			d.storedBytes += int64(s.size)
		}
		if old := d.left[id]; old != nil {
			d.adopt(l, old)
		}
		last := len(l.queue) > 0 // nothing can follow from the disk buffer
		d.mu.Unlock()
		if last {
			break
		}
	}
	sh.handover.RUnlock()
	d.mu.Lock()
	d.trim(l, n)
	d.mu.Unlock()
	d.findTail(l)
}

// adopt makes over the packages of a closed lane.
func (d *Dest) adopt(l, old *Lane) {
	delete(d.left, old.ID)
	delete(d.spilling, old)
	l.disk = append(l.disk, old.disk...)
	l.queue, l.writing, l.held = old.queue, old.writing, old.held
	old.disk, old.queue, old.writing, old.held, old.heir = nil, nil, 0, 0, l
	if len(l.queue) > 0 {
		l.spill = true
		d.spilling[l] = struct{}{}
		d.spillSoon(l)
	}
}

// trim drops the packages that end at or below the checkpoint or the packages
// before them, and returns what they covered. What only says that the stream is closed
// covers nothing, and is kept.
func (d *Dest) trim(l *Lane, n *notices) (logs int, bytes int64) {
	k, end := 0, l.checkpoint.End
	for ; k < l.waiting(); k++ {
		if start, e := l.bounds(k); e > end || start == e && e == end {
			break
		}
	}
	logs, bytes = d.forget(l, k, n)
	kept := l.disk[:0]
	for i, s := range l.disk {
		if i > 0 && s.end <= end && s.start < s.end {
			d.unstore(&s, n)
			continue
		}
		end = max(end, s.end)
		kept = append(kept, s)
	}
	clear(l.disk[len(kept):])
	l.disk = kept
	return logs, bytes
}

// bounds returns where the lane's i-th package begins and ends.
func (l *Lane) bounds(i int) (start, end uint64) {
	if i < len(l.disk) {
		return l.disk[i].start, l.disk[i].end
	}
	r := &l.queue[i-len(l.disk)].Range
	return r.Start, r.End
}

// gap returns where the lane's packages do not follow on the checkpoint or on
// one another, if they do not; except where that has been counted.
func (l *Lane) gap() (from uint64, ok bool) {
	end := l.checkpoint.End
	for i := range l.waiting() {
		start, e := l.bounds(i)
		if start > end || i < len(l.disk) && l.disk[i].gone != delivery.ReasonNone && !l.disk[i].counted {
			return end, true
		}
		end = max(end, e)
	}
	return 0, false
}

// cutAt drops the packages that are not before the offset.
func (d *Dest) cutAt(l *Lane, from uint64, n *notices) {
	keep := 0
	if from > l.checkpoint.End {
		for ; keep < l.waiting(); keep++ {
			if _, end := l.bounds(keep); end > from {
				break
			}
		}
	}
	if keep == 0 {
		d.clear(l, n)
		return
	}
	for i := keep; i < len(l.disk); i++ {
		d.unstore(&l.disk[i], n)
	}
	inMemory := max(0, keep-len(l.disk))
	l.disk = l.disk[:min(keep, len(l.disk))]
	for _, p := range l.queue[inMemory:] {
		d.hold(l, -p.bytes())
		p.Buf.Release()
		p.Buf, p.dead = nil, true
	}
	clear(l.queue[inMemory:])
	l.queue = l.queue[:inMemory]
	l.writing = min(l.writing, int32(inMemory))
}

// fill puts abandoned ranges where the lane's packages have gaps, and counts them.
func (d *Dest) fill(l *Lane, n *notices) {
	end, logs, bytes := l.checkpoint.End, 0, int64(0)
	lose := func(start, end uint64, k int) {
		logs += k
		bytes += int64(end - start)
	}
	var disk []stored
	for _, s := range l.disk {
		if s.start > end {
			lose(end, s.start, 0)
			disk = append(disk, stored{start: end, end: s.start, gone: delivery.ReasonBuffer, counted: true})
		}
		if s.gone != delivery.ReasonNone && !s.counted {
			lose(s.start, s.end, int(s.logs))
			s.counted = true
		}
		end = max(end, s.end)
		disk = append(disk, s)
	}
	l.disk = disk
	if len(l.queue) > 0 && l.queue[0].Range.Start > end { // else they follow one another
		start := l.queue[0].Range.Start
		lose(end, start, 0)
		l.disk = append(l.disk, stored{start: end, end: start, gone: delivery.ReasonBuffer, counted: true})
	}
	d.drop(l, delivery.ReasonBuffer, logs, bytes, n)
	d.alarm(AlarmSecondary, "%d bytes of a file for %s are neither in the disk buffer nor in the file any more; they are given up", bytes, d.opt.Name)
}

// pointAt returns the place at the end of the package that ends there.
func (d *Dest) pointAt(l *Lane, end uint64) delivery.Point {
	p := delivery.Point{End: end}
	d.mu.Lock()
	var seq uint64
	for i := range l.waiting() {
		if _, e := l.bounds(i); e != end {
			continue
		}
		if i < len(l.disk) {
			seq = l.disk[i].seq
		} else {
			r := &l.queue[i-len(l.disk)].Range
			p.Hash, p.State = r.EndHash, r.State
		}
	}
	d.mu.Unlock()
	if seq != 0 {
		if rec, err := d.opt.Buffer.Load(seq); err == nil {
			p.Hash, p.State = rec.Range.EndHash, rec.Range.State
		}
	}
	return p
}

// findTail finds the place behind what a new lane has inherited. Records at its end
// that cannot be read do not count: its owner makes them again, or gives them up.
func (d *Dest) findTail(l *Lane) {
	for {
		d.mu.Lock()
		if len(l.queue) > 0 {
			r := &l.queue[len(l.queue)-1].Range
			l.tail = delivery.Point{End: r.End, Hash: r.EndHash, State: r.State}
		}
		if len(l.queue) > 0 || len(l.disk) == 0 {
			d.mu.Unlock()
			return
		}
		last := l.disk[len(l.disk)-1]
		d.mu.Unlock()
		err := buffer.ErrGone
		var rec buffer.Record
		if last.gone == delivery.ReasonNone {
			rec, err = d.opt.Buffer.Load(last.seq)
		}
		d.mu.Lock()
		if err == nil {
			l.tail = delivery.Point{End: rec.Range.End, Hash: rec.Range.EndHash, State: rec.Range.State}
			d.mu.Unlock()
			return
		}
		if l.disk = l.disk[:len(l.disk)-1]; last.gone == delivery.ReasonNone {
			d.storedCount--
			d.storedBytes -= int64(last.size)
		}
		d.mu.Unlock()
		d.opt.Log.Warn("the last record of a file in the disk buffer cannot be read", "destination", d.opt.Name, "lane", l.ID.String(), "error", err)
	}
}
