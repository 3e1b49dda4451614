package buffer

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"logtail/internal/delivery"
	"logtail/internal/wal"
)

// model is what a buffer must have: the records that were put and are not done.
type model struct {
	*rig
	t       *rapid.T
	records map[uint64]Record // by number in this run
	next    map[int]int       // of each lane
	// done are records that are done, in files that may still be there: they may
	// come again with the next start. By lane and start.
	done map[place]Record
	// failed are records that were refused: they may come too, but only if what
	// they left on the disk could not be cut off before a crash.
	failed map[place]Record
	whole  bool // something was written since the disk failed
	// untaken is what the last run left, by lane.
	untaken map[delivery.LaneID][]Record
}

type place struct {
	lane  delivery.LaneID
	start uint64
}

func placeOf(r *Record) place { return place{r.Range.Lane, r.Range.Start} }

// TestModel does at random what an agent and its disk may do, and compares.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rigIn(t, filepath.Join(t.TempDir(), "buffer"))
		r.opts.FileBytes = int64(rapid.IntRange(1, 8).Draw(rt, "file")) << 10
		r.opts.Files = rapid.IntRange(1, 6).Draw(rt, "files")
		r.open()
		defer func() { _ = r.b.Close() }()
		m := &model{rig: r, t: rt, records: map[uint64]Record{}, next: map[int]int{}, done: map[place]Record{}, failed: map[place]Record{}, untaken: map[delivery.LaneID][]Record{}}
		rt.Repeat(map[string]func(*rapid.T){
			"put":     m.put,
			"done":    m.finish,
			"take":    m.take,
			"drop":    m.drop,
			"expire":  m.expire,
			"trouble": m.trouble,
			"restart": func(*rapid.T) { m.restart(m.b.Close) },
			"crash":   func(*rapid.T) { m.restart(m.crash) },
			"":        m.check,
		})
	})
}

func (m *model) put(t *rapid.T) {
	recs := m.draw(t)
	items, err := m.b.Put(recs)
	if errors.Is(err, ErrFull) {
		if s := m.b.Stats(); s.Bytes+8<<10 < s.Limit {
			t.Fatalf("it is full: %v, %+v", err, s)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.stored(items, recs)
	m.whole = true
}

// draw makes the next records of some lanes.
func (m *model) draw(t *rapid.T) (recs []Record) {
	for range rapid.IntRange(1, 4).Draw(t, "records") {
		l := rapid.IntRange(0, 3).Draw(t, "lane")
		r := rec(l, m.next[l], rapid.SampledFrom([]int{0, 10, 300, 1500}).Draw(t, "size"))
		r.Time = m.opts.Now().Unix()
		if len(r.Data) == 0 {
			r.Data = nil
		}
		m.next[l]++
		recs = append(recs, r)
	}
	return recs
}

func (m *model) stored(items []Item, recs []Record) {
	for i, it := range items {
		if _, ok := m.records[it.Seq]; ok {
			m.t.Fatalf("the number %d was given twice", it.Seq)
		}
		m.records[it.Seq] = recs[i]
	}
}

func (m *model) finish(t *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(t, "records") {
		seqs := m.seqs()
		if len(seqs) == 0 {
			return
		}
		seq := seqs[min(len(seqs)-1, rapid.IntRange(0, 30).Draw(t, "which"))]
		m.b.Done(seq)
		m.forget(seq)
	}
}

func (m *model) forget(seq uint64) {
	r := m.records[seq]
	m.done[placeOf(&r)] = r
	delete(m.records, seq)
}

func (m *model) seqs() (list []uint64) {
	for seq := range m.records {
		list = append(list, seq)
	}
	slices.Sort(list)
	return list
}

func (m *model) take(t *rapid.T) {
	m.takeLane(lane(rapid.IntRange(0, 3).Draw(t, "lane")))
}

// takeLane takes what the last run left of a lane: all that was put and not done,
// and perhaps more that was, in the order of the ranges.
func (m *model) takeLane(id delivery.LaneID) {
	items := m.b.Take(id)
	want := m.untaken[id]
	delete(m.untaken, id)
	last := uint64(0)
	for _, it := range items {
		if it.Start < last {
			m.t.Fatalf("lane %v is out of order: %+v", id, items)
		}
		last = it.Start
		r, err := m.b.Load(it.Seq)
		if err != nil {
			m.t.Fatal(err)
		}
		if len(want) > 0 && placeOf(&want[0]) == placeOf(&r) {
			m.same(it, want[0])
			m.records[it.Seq], want = want[0], want[1:]
		} else if old, ok := m.done[placeOf(&r)]; ok {
			m.same(it, old)
			m.b.Done(it.Seq)
		} else {
			m.t.Fatalf("nobody put record %+v", r)
		}
	}
	if len(want) > 0 {
		m.t.Fatalf("lane %v: %d records are lost, the first is %+v", id, len(want), want[0])
	}
}

func (m *model) drop(*rapid.T) {
	m.takeAll()
	var oldest []uint64
	for _, f := range m.b.files {
		if f.live > 0 {
			for i, e := range f.entries {
				if e.lane != none {
					oldest = append(oldest, f.seq+uint64(i))
				}
			}
			break
		}
	}
	var got []uint64
	for _, it := range m.b.DropOldest() {
		got = append(got, it.Seq)
		m.forget(it.Seq)
	}
	if !slices.Equal(got, oldest) {
		m.t.Fatalf("dropped %v, the oldest are %v", got, oldest)
	}
}

func (m *model) expire(t *rapid.T) {
	m.takeAll()
	m.wait(time.Duration(rapid.IntRange(1, 5).Draw(t, "seconds")) * time.Second)
	before := m.now.Add(-10 * time.Second)
	for _, it := range m.b.Expire(before) {
		if m.records[it.Seq].Time >= before.Unix() {
			m.t.Fatalf("%+v is not old", it)
		}
		m.forget(it.Seq)
	}
	for seq, r := range m.records {
		if r.Time < before.Unix() {
			m.t.Fatalf("record %d is old", seq)
		}
	}
}

func (m *model) takeAll() {
	for l := range 4 {
		m.takeLane(lane(l))
	}
}

// trouble is a disk that fails somewhere while something is put and done.
func (m *model) trouble(t *rapid.T) {
	m.whole = false
	after := rapid.IntRange(0, 12).Draw(t, "after")
	torn := rapid.Bool().Draw(t, "torn")
	fail := func() error {
		if after--; after < 0 {
			return syscall.EIO
		}
		return nil
	}
	m.opts.Faults.Set(wal.Hooks{
		Write: func(f *os.File, p []byte, off int64) (int, error) {
			if err := fail(); err != nil {
				n := 0
				if torn {
					n, _ = f.WriteAt(p[:len(p)/2], off)
				}
				return n, err
			}
			return f.WriteAt(p, off)
		},
		Sync: func(f *os.File) error { return errors.Join(f.Sync(), fail()) },
		Step: func(wal.Op, string) error { return fail() },
	})
	for range 3 {
		recs := m.draw(t)
		if items, err := m.b.Put(recs); err == nil {
			m.stored(items, recs)
			m.finish(t)
			continue
		} else if !errors.Is(err, syscall.EIO) && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		for _, r := range recs {
			m.failed[placeOf(&r)] = r
		}
		m.finish(t)
	}
	m.opts.Faults.Set(wal.Hooks{})
	m.wait(time.Second)
}

// restart ends the run and begins the next.
func (m *model) restart(end func() error) {
	m.takeAll()
	if err := end(); err != nil {
		m.t.Fatal(err)
	}
	for _, r := range m.records {
		m.untaken[r.Range.Lane] = append(m.untaken[r.Range.Lane], r)
	}
	for _, list := range m.untaken {
		slices.SortFunc(list, func(a, b Record) int { return int(a.Range.Start) - int(b.Range.Start) })
	}
	clear(m.records)
	clear(m.failed)
	b, err := Open(m.opts)
	if err != nil {
		m.t.Fatal(err)
	}
	m.b = b
	if s := b.Stats(); s.LostRecords > 0 {
		m.t.Fatalf("%+v, %q", s, m.alarms)
	}
	m.alarms = nil
}

// crash ends the run without another change of the disk.
func (m *model) crash() error {
	if m.b.log.Broken() {
		maps.Copy(m.done, m.failed)
	}
	dead := errors.New("the process is gone")
	m.opts.Faults.Set(wal.Hooks{
		Write: func(*os.File, []byte, int64) (int, error) { return 0, dead },
		Sync:  func(*os.File) error { return dead },
		Step:  func(wal.Op, string) error { return dead },
	})
	_ = m.b.Close()
	m.opts.Faults.Set(wal.Hooks{})
	return nil
}

func (m *model) check(t *rapid.T) {
	for seq, want := range m.records {
		r, err := m.b.Load(seq)
		if err != nil {
			t.Fatalf("record %d: %v", seq, err)
		}
		if placeOf(&r) != placeOf(&want) || string(r.Data) != string(want.Data) {
			t.Fatalf("record %d is %+v, want %+v", seq, r, want)
		}
	}
	s := m.b.Stats()
	// A write that failed leaves something until the next one, or a removal, works.
	if s.Bytes > s.Limit || s.LostRecords > 0 || m.usage() != s.Bytes && m.whole {
		t.Fatalf("%+v, and %d bytes on the disk", s, m.usage())
	}
	left := 0
	for _, list := range m.untaken {
		left += len(list)
	}
	if s.Records < len(m.records)+left {
		t.Fatalf("%+v, want %d and %d", s, len(m.records), left)
	}
}
