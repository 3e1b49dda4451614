package send

import (
	"slices"
	"sync"
	"time"

	"logtail/internal/agent/buffer"
	"logtail/internal/delivery"
)

// disk is a disk buffer in memory: a Store.
type disk struct {
	mu      sync.Mutex
	next    uint64
	recs    map[uint64]buffer.Record
	old     map[delivery.LaneID][]buffer.Item // of the last run, not taken yet
	room    int                               // records; 0: no bound
	file    int                               // records of a file, which is what DropOldest gives up
	puts    int
	took    time.Duration // of a Put
	failPut func() error
	failGet func(seq uint64) error
}

func newDisk() *disk { return &disk{recs: map[uint64]buffer.Record{}, file: 4} }

// reopen returns the disk buffer after a restart.
func (x *disk) reopen() *disk {
	x.mu.Lock()
	defer x.mu.Unlock()
	y := &disk{next: x.next, recs: x.recs, room: x.room, file: x.file, old: map[delivery.LaneID][]buffer.Item{}}
	x.recs = nil
	for _, seq := range y.order() {
		r := y.recs[seq]
		y.old[r.Range.Lane] = append(y.old[r.Range.Lane], y.item(seq))
	}
	return y
}

func (x *disk) order() []uint64 {
	var list []uint64
	for seq := range x.recs {
		list = append(list, seq)
	}
	slices.Sort(list)
	return list
}

func (x *disk) item(seq uint64) buffer.Item {
	r := x.recs[seq]
	return buffer.Item{Seq: seq, Lane: r.Range.Lane, Start: r.Range.Start, End: r.Range.End, Logs: r.Logs, Size: len(r.Data), Time: r.Time}
}

func (x *disk) Take(l delivery.LaneID) []buffer.Item {
	x.mu.Lock()
	defer x.mu.Unlock()
	var list []buffer.Item
	for _, it := range x.old[l] {
		if _, ok := x.recs[it.Seq]; ok {
			list = append(list, it)
		}
	}
	delete(x.old, l)
	return list
}

func (x *disk) Waiting() (list []delivery.LaneID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for l := range x.old {
		list = append(list, l)
	}
	return list
}

func (x *disk) Put(recs []buffer.Record) ([]buffer.Item, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.took > 0 {
		x.mu.Unlock()
		<-time.After(x.took)
		x.mu.Lock()
	}
	if x.failPut != nil {
		if err := x.failPut(); err != nil {
			return nil, err
		}
	}
	if x.room > 0 && len(x.recs)+len(recs) > x.room {
		return nil, buffer.ErrFull
	}
	x.puts++
	var list []buffer.Item
	for _, r := range recs {
		r.Data = slices.Clone(r.Data)
		x.next++
		if x.recs != nil { // else it was killed
			x.recs[x.next] = r
			list = append(list, x.item(x.next))
		} else {
			list = append(list, buffer.Item{Seq: x.next})
		}
	}
	return list, nil
}

func (x *disk) Load(seq uint64) (buffer.Record, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failGet != nil {
		if err := x.failGet(seq); err != nil {
			return buffer.Record{}, err
		}
	}
	r, ok := x.recs[seq]
	if !ok {
		return buffer.Record{}, buffer.ErrGone
	}
	return r, nil
}

func (x *disk) Done(seqs ...uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range seqs {
		delete(x.recs, s)
	}
}

func (x *disk) DropOldest() (list []buffer.Item) {
	x.mu.Lock()
	defer x.mu.Unlock()
	order := x.order()
	for _, seq := range order {
		if (seq-1)/uint64(x.file) != (order[0]-1)/uint64(x.file) {
			break
		}
		list = append(list, x.item(seq))
		delete(x.recs, seq)
	}
	return list
}

func (x *disk) size() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.recs)
}
