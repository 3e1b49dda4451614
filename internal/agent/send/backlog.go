package send

import (
	"time"

	"logtail/internal/agent/buffer"
	"logtail/internal/delivery"
)

// stored is a package that stands in the disk buffer. There may be a million of
// them, so it is small.
type stored struct {
	tried
	seq, start, end uint64
	time            int64 // when it was buffered, in seconds by Dest.age
	logs, size      uint32
	gone            delivery.Reason // it is not in the buffer any more, or never was; else ReasonNone
	counted         bool            // that it is gone was told
	evicted         bool            // it was given up to make room
}

// tried is what failures leave on a package.
type tried struct {
	refused int64 // time of the first refusal of class Auth, by Dest.age; 0: none
	failed  int64 // of the first failure of any kind
	tries   uint8 // refusals of class Terminal
	alone   bool  // send it in a request of its own: something in its last one was refused
}

// age is a time as it is kept of packages: how old the destination was then. A clock
// that is set does not change it, so nothing is given up because of that.
func (d *Dest) age(now time.Time) time.Duration { return now.Sub(d.born) }

// elapsed notes the time at first, if that is the first time, and says how long ago it was.
func (d *Dest) elapsed(first *int64, now time.Time) time.Duration {
	age := d.age(now)
	if *first == 0 {
		*first = int64(max(age, 1))
	}
	return age - time.Duration(*first)
}

func (d *Dest) storedOf(it buffer.Item) stored {
	now := d.opt.Now()
	at := int64(d.age(now)/time.Second) - max(now.Unix()-it.Time, 0)
	return stored{seq: it.Seq, start: it.Start, end: it.End, time: at, logs: uint32(it.Logs), size: uint32(it.Size)}
}

// A lane's packages are those on disk, and behind them those in memory.

// waiting is how many packages the lane has, in the disk buffer and in memory.
func (l *Lane) waiting() int { return len(l.disk) + len(l.queue) }

func (l *Lane) tried(i int) *tried {
	if i < len(l.disk) {
		return &l.disk[i].tried
	}
	return &l.queue[i-len(l.disk)].tried
}

// hold changes what is counted for the memory of the lane's packages.
func (d *Dest) hold(l *Lane, n int64) {
	l.held += int32(n)
	d.held += n
	d.account.add(n)
}

// forget drops the first k packages and returns what they covered.
func (d *Dest) forget(l *Lane, k int, n *notices) (logs int, bytes int64) {
	onDisk := min(k, len(l.disk))
	for i := range l.disk[:onDisk] {
		s := &l.disk[i]
		logs += int(s.logs)
		bytes += int64(s.end - s.start)
		d.unstore(s, n)
	}
	l.disk = l.disk[onDisk:] // there may be a million more
	if l.cut += int32(onDisk); l.cut > 1024 && int(l.cut) > len(l.disk) || len(l.disk) == 0 {
		l.disk, l.cut = append([]stored(nil), l.disk...), 0
	}
	inMemory := k - onDisk
	for _, p := range l.queue[:inMemory] {
		logs += p.Logs
		bytes += int64(p.Range.End - p.Range.Start)
		d.hold(l, -p.bytes())
		p.Buf.Release()
		p.Buf, p.dead = nil, true
	}
	l.queue = cut(l.queue, inMemory)
	l.writing = max(0, l.writing-int32(inMemory))
	l.inFlight = max(0, l.inFlight-int32(k))
	return logs, bytes
}

// cut removes the first k elements, and gives memory back where it was much.
func cut[T any](list []T, k int) []T {
	rest := copy(list, list[k:])
	clear(list[rest:])
	if rest == 0 && cap(list) > 16 {
		return nil
	}
	return list[:rest]
}

// unstore counts a package out of the disk buffer.
func (d *Dest) unstore(s *stored, n *notices) {
	if s.gone == delivery.ReasonNone {
		d.storedCount--
		d.storedBytes -= int64(s.size)
		n.done = append(n.done, s.seq)
	}
}

// clear forgets all packages of the lane. What is in flight is not heard of any more.
func (d *Dest) clear(l *Lane, n *notices) {
	d.forget(l, l.waiting(), n)
	l.epoch++
}

// advance moves the checkpoint over the first k packages, to the end of last.
func (d *Dest) advance(l *Lane, k int, last *delivery.Range, n *notices) (logs int, bytes int64) {
	if last.End >= l.checkpoint.End {
		l.checkpoint.Point = delivery.Point{End: last.End, Hash: last.EndHash, State: last.State}
	}
	return d.forget(l, k, n)
}

// abandon gives up the first k packages: they are told to the destination as
// abandoned with what is sent next.
func (d *Dest) abandon(l *Lane, k int, last *delivery.Range, why delivery.Reason, n *notices) (logs int, bytes int64) {
	c := &l.checkpoint
	if c.AbandonedFrom == c.End {
		c.AbandonedReason = why
	}
	from := c.AbandonedFrom
	logs, bytes = d.advance(l, k, last, n)
	c.AbandonedFrom = from
	n.acked = append(n.acked, l)
	return logs, bytes
}

// skip abandons the packages at the head of the lane that are gone, unless the
// lane is busy with them, and returns what they covered.
func (d *Dest) skip(l *Lane, n *notices) (logs int, bytes int64) {
	for !l.busy && len(l.disk) > 0 && l.disk[0].gone != delivery.ReasonNone {
		s := l.disk[0]
		if !s.counted {
			d.drop(l, s.gone, int(s.logs), int64(s.end-s.start), n)
		}
		lg, b := d.abandon(l, 1, &delivery.Range{End: s.end}, s.gone, n)
		logs, bytes = logs+lg, bytes+b
	}
	return logs, bytes
}

// drop counts what is given up by rule.
func (d *Dest) drop(l *Lane, why delivery.Reason, logs int, bytes int64, n *notices) {
	d.Stats.DroppedLogs.Add(int64(logs))
	d.Stats.DroppedBytes.Add(bytes)
	n.drops = append(n.drops, dropped{l, why, logs, bytes})
}

type dropped struct {
	lane  *Lane
	why   delivery.Reason
	logs  int
	bytes int64
}

// notices are the calls that follow from what happened; they are made when the
// destination is not locked any more.
type notices struct {
	acked, space, stopped []*Lane
	done                  []uint64 // records that the disk buffer need not keep
	drops                 []dropped
	heal                  []*Lane // have lost records at their head
	foreign               []*Lane // the destination has other content for them
}

func (d *Dest) give(n *notices) {
	if len(n.done) > 0 {
		d.opt.Buffer.Done(n.done...)
	}
	if d.opt.Count != nil {
		for _, x := range n.drops {
			d.opt.Count(x.lane, x.why, x.logs, x.bytes)
		}
	}
	for _, l := range n.acked {
		l.owner.LaneAcked(l)
	}
	for _, l := range n.stopped {
		l.owner.LaneStopped(l)
	}
	for _, l := range n.space {
		l.owner.LaneSpace(l)
	}
	for _, l := range n.heal {
		d.heal(l)
	}
	for _, l := range n.foreign {
		c := l.Checkpoint()
		plan := delivery.Plan{Point: c.Point, AbandonFrom: c.AbandonedFrom, NewStream: true, Claim: c.End > 0}
		d.report(l, &plan, true)
		l.owner.LaneReady(l, plan)
	}
}
