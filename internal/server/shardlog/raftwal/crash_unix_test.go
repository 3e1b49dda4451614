//go:build !windows

package raftwal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"syscall"
	"testing"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/wal"
)

var errCrash = errors.New("the machine is off")

// crashDisk counts what is done to the disk, and stops the machine at one such event. It
// keeps what would be there after that if only what was synced came through.
type crashDisk struct {
	dir string // of the shard

	mu   sync.Mutex // segments are begun in the background
	at   int        // the event at which the machine stops; 0: never
	torn bool       // half of it is done then, if it is a write
	n    int
	dead bool
	// writes are the events that can be torn.
	writes map[int]bool
	// refuse makes the next write fail as on a full disk, with half of it or all done.
	refuse func(n int) int

	inodes map[uint64]*node
	names  map[string]*node // in dir, as they were synced
}

// node is the content of a file as it was synced.
type node struct{ content []byte }

func (d *crashDisk) event() bool {
	if d.n++; d.n == d.at {
		d.dead = true
	}
	return d.dead
}

// off says whether the machine has stopped.
func (d *crashDisk) off() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

func inode(path string) uint64 {
	var s syscall.Stat_t
	if syscall.Stat(path, &s) != nil {
		return 0
	}
	return s.Ino
}

func (d *crashDisk) node(path string) *node {
	i := inode(path)
	if d.inodes[i] == nil {
		d.inodes[i] = &node{}
	}
	return d.inodes[i]
}

func (d *crashDisk) synced(path string) error {
	b, err := os.ReadFile(path)
	if err == nil {
		d.node(path).content = b
	}
	return err
}

func (d *crashDisk) hooks() wal.Hooks {
	return wal.Hooks{
		Write: func(f *os.File, p []byte, off int64) (int, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			was := d.dead
			if d.writes != nil {
				d.writes[d.n+1] = true
			}
			if d.event() {
				if !was && d.torn {
					_, _ = f.WriteAt(p[:len(p)/2], off)
				}
				return 0, errCrash
			}
			if d.refuse != nil {
				n, err := f.WriteAt(p[:d.refuse(len(p))], off)
				d.refuse = nil
				return n, errors.Join(err, errFull)
			}
			return f.WriteAt(p, off)
		},
		Sync: func(f *os.File) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.event() {
				return errCrash
			}
			return d.synced(f.Name())
		},
		Step: func(op wal.Op, path string) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.event() {
				return errCrash
			}
			switch op {
			case wal.OpSync:
				return d.synced(path)
			case wal.OpRename, wal.OpRemove: // the number of the file may come again
				delete(d.inodes, inode(path))
			case wal.OpSyncDir:
				if path != d.dir {
					return nil
				}
				entries, err := os.ReadDir(path)
				if err != nil {
					return err
				}
				clear(d.names)
				for _, e := range entries {
					d.names[e.Name()] = d.node(filepath.Join(path, e.Name()))
				}
			}
			return nil
		},
	}
}

// onlySynced makes the shard's folder in dir what was synced of it.
func (d *crashDisk) onlySynced(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range old {
		err = errors.Join(err, os.Remove(path))
	}
	for name, n := range d.names {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), n.content, 0o600))
	}
	return err
}

// script is the life of a shard, with what was told to those who use it.
type script struct {
	*rig
	disk    *crashDisk
	acked   map[uint64]shardlog.Record
	next    uint64
	ends    [2]uint64
	open    []*shardlog.Record // of the append without an answer
	refused []*shardlog.Record
	dropped uint64 // records below it may be dropped
	count   int
}

// records are those of one append: a range of each lane, and something without one.
func (s *script) records() []*shardlog.Record {
	s.count++
	a, b := lines(s.ends[0], 1+s.count%3), lines(s.ends[1], 2)
	b.Range.Lane[15] = 2
	c := bulk(16 * (s.count%5 + 1))
	for _, r := range []*shardlog.Record{a, b, c} {
		r.Received = s.clock.Now().UnixNano() + int64(s.count) // tells the appends apart
	}
	return []*shardlog.Record{a, c, b}[:1+s.count%3]
}

// append is false when the machine has stopped.
func (s *script) append() bool {
	recs := s.records()
	s.open = recs
	res, err := s.shard0().Append(s.Context(), recs)
	if s.disk.off() {
		return false
	}
	s.open = nil
	if err != nil {
		s.refused = append(s.refused, recs...)
		s.clock.Move(wal.RetryAfter)
		return true
	}
	for i, r := range recs {
		if res[i].Action != delivery.Append {
			s.Fatalf("append %d: %+v of %+v", s.count, res[i], r.Range)
		}
		s.acked[res[i].Seq] = *r
		s.next = res[i].Seq + 1
		if r.Range != nil {
			s.ends[r.Range.Lane[15]-1] = r.Range.End
		}
	}
	return true
}

// shard0 is the shard also while the machine is off.
func (s *script) shard0() shardlog.Shard {
	sh, err := s.e.Shard(key)
	if err != nil {
		return offShard{err: err}
	}
	return sh
}

// live goes through the script until the machine stops.
func (s *script) live() {
	half, all := func(n int) int { return n / 2 }, func(n int) int { return n }
	for round := range 3 {
		for i := range 6 {
			if i == 3 {
				s.disk.mu.Lock()
				s.disk.refuse = []func(int) int{half, all}[round%2]
				s.disk.mu.Unlock()
			}
			if !s.append() {
				return
			}
		}
		s.clock.Move(DefaultSnapshotEvery)
		s.maintain()
		if !s.append() || s.disk.off() {
			return
		}
		to := s.next - 3
		s.dropped = to
		if _ = s.shard0().Truncate(to); s.disk.off() {
			return
		}
		if !s.append() {
			return
		}
		switch round {
		case 0:
			s.clock.Move(2 * DefaultIdleAfter)
			s.maintain()
		case 1:
			if err := s.e.Close(); err == nil {
				s.rig.open()
			}
		}
		if s.disk.off() || !s.append() {
			return
		}
	}
}

// check opens what the crash left, and compares it with what was told.
func (s *script) check(what string, c *rig) {
	s.Helper()
	sh, err := c.e.Shard(key)
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
	first, next := sh.Bounds()
	if first > max(s.dropped, 1) || next < s.next || next > s.next+uint64(len(s.open)) || next > s.next && next != s.next+uint64(len(s.open)) {
		s.Fatalf("%s: records %d to %d; acknowledged up to %d, dropped below %d, %d without an answer", what, first, next-1, s.next-1, s.dropped, len(s.open))
	}
	ends := s.ends
	for seq := first; seq < next; seq++ {
		recs, err := sh.Read(seq, 1, 1)
		if err != nil {
			s.Fatalf("%s: record %d: %v", what, seq, err)
		}
		want, ok := s.acked[seq]
		if !ok {
			want = *s.open[seq-s.next]
			want.Seq = seq
			if want.Range != nil {
				ends[want.Range.Lane[15]-1] = want.Range.End
			}
		}
		if !reflect.DeepEqual(recs[0], want) {
			s.Fatalf("%s: record %d: got %+v, want %+v", what, seq, recs[0], want)
		}
	}
	p, err := sh.Resume(9, []delivery.LaneID{{15: 1}, {15: 2}})
	s.ok(err)
	for i, end := range ends {
		got := uint64(0)
		if p[i] != nil {
			got = p[i].End
		}
		if got != end {
			s.Fatalf("%s: lane %d is at %d, want %d", what, i+1, got, end)
		}
	}
	for _, r := range s.refused { // each was told to have failed
		for seq := first; seq < next; seq++ {
			if recs, err := sh.Read(seq, 1, 1); err == nil && recs[0].Received == r.Received {
				s.Fatalf("%s: record %d was refused", what, seq)
			}
		}
	}
	more := lines(ends[0], 1)
	more.Range.Session = 9
	res, err := sh.Append(s.Context(), []*shardlog.Record{more})
	if err != nil || res[0].Action != delivery.Append || res[0].Seq != next {
		s.Fatalf("%s: going on: %+v, %v", what, res, err)
	}
	s.ok(c.e.Close())
}

// offShard is a shard that cannot be opened.
type offShard struct {
	shardlog.Shard
	err error
}

func (o offShard) Append(context.Context, []*shardlog.Record) ([]shardlog.Result, error) {
	return nil, o.err
}

func (o offShard) Truncate(uint64) error { return o.err }

// quick is a disk that need not sync, as nobody looks at what stays of it.
func quick() *wal.Faults {
	f := &wal.Faults{}
	f.Set(wal.Hooks{Sync: func(*os.File) error { return nil }})
	return f
}

// TestCrashAtEveryChangeOfTheDisk stops a shard's life at each write, sync, making,
// renaming, cutting and removing of a file, before it or in the middle of it; and then
// looks at the disk with all that had been done to it, or only with what had been synced.
func TestCrashAtEveryChangeOfTheDisk(t *testing.T) {
	total, writes := 0, map[int]bool{}
	for at := 0; at <= total; at++ {
		for _, torn := range []bool{false, true} {
			if torn && !writes[at] {
				continue
			}
			s := &script{rig: newRig(t, t.TempDir(), 900), acked: map[uint64]shardlog.Record{}, next: 1}
			s.disk = &crashDisk{dir: filepath.Dir(s.path("x")), at: at, torn: torn, inodes: map[uint64]*node{}, names: map[string]*node{}}
			s.opts.reserve = 1
			s.shard() // its folder, so far empty, is there
			s.ok(s.e.Close())
			entries, err := os.ReadDir(s.disk.dir)
			s.ok(err)
			for _, e := range entries {
				s.ok(s.disk.synced(filepath.Join(s.disk.dir, e.Name())))
				s.disk.names[e.Name()] = s.disk.node(filepath.Join(s.disk.dir, e.Name()))
			}
			if at == 0 {
				s.disk.writes = writes
			}
			s.opts.faults.Set(s.disk.hooks())
			s.rig.open()
			s.live()
			if at == 0 {
				if s.disk.off() || len(s.refused) == 0 || s.dropped < 10 {
					t.Fatalf("the life without a crash: %d events, %d refused, dropped below %d", s.disk.n, len(s.refused), s.dropped)
				}
				s.ok(s.e.Close())
				total = s.disk.n
			} else if !s.disk.off() {
				continue // the segments are begun in the background: not all lives are alike
			}
			what := fmt.Sprintf("event %d of %d, torn %v", at, total, torn)
			s.check(what+", all is there", crashed(t, s.rig, func(c *rig) { c.opts.faults = quick() }))
			s.check(what+", only what was synced", crashed(t, s.rig, func(c *rig) {
				c.opts.faults = quick()
				c.ok(s.disk.onlySynced(filepath.Dir(c.path("x"))))
			}))
			_ = s.e.Close()
			s.ok(os.RemoveAll(s.dir))
		}
	}
	if total < 80 {
		t.Errorf("only %d events", total)
	}
}
