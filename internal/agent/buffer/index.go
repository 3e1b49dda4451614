package buffer

import (
	"cmp"
	"math"
	"slices"

	"logtail/internal/delivery"
)

// index is what is known in memory of the records that are not done.
type index struct {
	files []*file // in the order of their records
	live  int     // records that are not done
	logs  int     // in those

	lanes map[delivery.LaneID]uint32 // where a lane stands in slots
	slots []slot
	free  []uint32

	// What the last run left, by lane and start: order holds the records, and
	// left which of them are a lane's that nobody took yet.
	order   []uint64
	left    map[delivery.LaneID]span
	waiting []delivery.LaneID // the lanes of left, those with the oldest records first, and some that were taken
}

// slot is a lane that has records.
type slot struct {
	id   delivery.LaneID
	refs uint32
}

// span is a part of order.
type span struct{ from, to uint32 }

// file is a segment of the log.
type file struct {
	base    uint64 // of the segment
	seq     uint64 // of its first record
	entries []entry
	live    int
	size    int64
	gone    bool // it is not on the disk
	begun   int  // entries before this one are done
}

// entry is a record. It is small, as there may be a million of them.
type entry struct {
	start, end uint64
	lane       uint32 // its slot; none when it is done
	logs       uint32
	size       uint32
	time       uint32
}

const none = math.MaxUint32

func newIndex() index {
	return index{lanes: map[delivery.LaneID]uint32{}, left: map[delivery.LaneID]span{}}
}

// oldest is the time of the first record that is not done.
func (f *file) oldest() int64 {
	for f.begun < len(f.entries) && f.entries[f.begun].lane == none {
		f.begun++
	}
	if f.begun == len(f.entries) {
		return 0
	}
	return int64(f.entries[f.begun].time)
}

// add notes the next record of the file; nil is one that cannot be read.
func (x *index) add(f *file, it *Item) (seq uint64) {
	seq = f.seq + uint64(len(f.entries))
	if it == nil {
		f.entries = append(f.entries, entry{lane: none})
		return seq
	}
	n, ok := x.lanes[it.Lane]
	if !ok {
		if k := len(x.free); k > 0 {
			n = x.free[k-1]
			x.free = x.free[:k-1]
		} else {
			n = uint32(len(x.slots))
			x.slots = append(x.slots, slot{})
		}
		x.lanes[it.Lane] = n
		x.slots[n] = slot{id: it.Lane}
	}
	x.slots[n].refs++
	f.entries = append(f.entries, entry{start: it.Start, end: it.End, lane: n, logs: uint32(it.Logs), size: uint32(it.Size), time: uint32(it.Time)})
	f.live++
	x.live++
	x.logs += it.Logs
	return seq
}

// find returns a record that is not done; nil if there is none.
func (x *index) find(seq uint64) (*file, *entry) {
	i, exact := slices.BinarySearchFunc(x.files, seq, func(f *file, seq uint64) int { return cmp.Compare(f.seq, seq) })
	if !exact {
		i--
	}
	if i < 0 {
		return nil, nil
	}
	f := x.files[i]
	if seq-f.seq >= uint64(len(f.entries)) || f.entries[seq-f.seq].lane == none {
		return nil, nil
	}
	return f, &f.entries[seq-f.seq]
}

func (x *index) item(seq uint64, e *entry) Item {
	return Item{Seq: seq, Lane: x.slots[e.lane].id, Start: e.start, End: e.end, Logs: int(e.logs), Size: int(e.size), Time: int64(e.time)}
}

// done marks a record.
func (x *index) done(f *file, e *entry) {
	s := &x.slots[e.lane]
	if s.refs--; s.refs == 0 {
		delete(x.lanes, s.id)
		delete(x.left, s.id) // there is nothing left to take
		x.free = append(x.free, e.lane)
	}
	e.lane = none
	f.live--
	x.live--
	x.logs -= int(e.logs)
}

// drop marks those records of the files that a rule hits, and returns them.
func (x *index) drop(files []*file, hit func(*entry) bool) []Item {
	var list []Item
	for _, f := range files {
		for i := range f.entries {
			if e := &f.entries[i]; e.lane != none && hit(e) {
				list = append(list, x.item(f.seq+uint64(i), e))
				x.done(f, e)
			}
		}
	}
	return list
}

// bytes is what the files take of the disk.
func (x *index) bytes() (n int64) {
	for _, f := range x.files {
		n += f.size
	}
	return n
}

// entries is how many records the files have, those that are done too.
func (x *index) entries() (n int) {
	for _, f := range x.files {
		n += len(f.entries)
	}
	return n
}

// leave makes what the index has what the last run left. A record that is there
// twice, because taking over a damaged file was cut off, is done but for the first.
func (x *index) leave() {
	x.order = make([]uint64, 0, x.live)
	for _, f := range x.files {
		for i, e := range f.entries {
			if e.lane == none {
				continue
			}
			x.order = append(x.order, f.seq+uint64(i))
			id := x.slots[e.lane].id
			if _, ok := x.left[id]; !ok {
				x.left[id] = span{}
				x.waiting = append(x.waiting, id)
			}
		}
	}
	slices.SortFunc(x.order, func(a, b uint64) int {
		_, p := x.find(a)
		_, q := x.find(b)
		return cmp.Or(cmp.Compare(p.lane, q.lane), cmp.Compare(p.start, q.start), cmp.Compare(a, b))
	})
	var twice []uint64
	for i := 0; i < len(x.order); {
		_, first := x.find(x.order[i])
		from := i
		for last := first; i < len(x.order); i++ {
			_, e := x.find(x.order[i])
			if e.lane != first.lane {
				break
			}
			if i > from && *e == *last {
				twice = append(twice, x.order[i])
			}
			last = e
		}
		x.left[x.slots[first.lane].id] = span{uint32(from), uint32(i)}
	}
	for _, seq := range twice {
		x.done(x.find(seq))
	}
}

// take returns what the last run left of a lane, and that it is taken.
func (x *index) take(id delivery.LaneID) []Item {
	s, ok := x.left[id]
	if !ok {
		return nil
	}
	delete(x.left, id)
	list := make([]Item, 0, s.to-s.from)
	for _, seq := range x.order[s.from:s.to] {
		if _, e := x.find(seq); e != nil {
			list = append(list, x.item(seq, e))
		}
	}
	if len(x.left) == 0 {
		x.order, x.waiting = nil, nil
	}
	return list
}

// remaining returns the lanes of the last run that nobody took.
func (x *index) remaining() []delivery.LaneID {
	x.waiting = slices.DeleteFunc(x.waiting, func(id delivery.LaneID) bool {
		_, ok := x.left[id]
		return !ok
	})
	return slices.Clone(x.waiting)
}
