package buffer

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"logtail/internal/wal"
)

// disk stands between a buffer and its folder. It stops the process at one of
// the changes: from then on nothing changes any more. And it knows what would be
// left if the power went at that moment: of a file what was synced, under the names
// that the folder had when it was synced.
type disk struct {
	tb   testing.TB
	dir  string
	stop int    // at which change, counted from 1
	how  string // before, torn or after it

	mu    sync.Mutex
	count int
	what  string // the change at which it stopped
	files []*synced
	names map[string]*synced
}

// synced is a file. It is held open, so that its inode is not another one's.
type synced struct {
	f    *os.File
	info os.FileInfo
	data []byte
}

var errStopped = errors.New("the process has stopped")

func (d *disk) hooks() wal.Hooks {
	return wal.Hooks{
		Write: func(f *os.File, p []byte, off int64) (int, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			do, then := d.change("write " + f.Name())
			n := 0
			switch {
			case do:
				if n, err := f.WriteAt(p, off); err != nil {
					return n, err
				}
				n = len(p)
			case d.what != "" && d.count == d.stop && d.how == "torn":
				_, _ = f.WriteAt(p[:len(p)/2], off)
				d.count++
			}
			return n, then
		},
		Sync: func(f *os.File) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			do, then := d.change("sync " + f.Name())
			if do {
				d.sync(f.Name())
			}
			return then
		},
		Step: func(op wal.Op, path string) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			do, then := d.change(fmt.Sprint(op, " ", path))
			switch {
			case do && op == wal.OpSync:
				d.sync(path)
			case do && op == wal.OpSyncDir:
				d.syncDir()
			case do && then != nil && op == wal.OpRemove:
				_ = os.Remove(path)
			}
			return then
		},
	}
}

// change says whether a change is made, and what its caller hears.
func (d *disk) change(what string) (do bool, then error) {
	if d.count >= d.stop {
		return false, errStopped
	}
	if d.count++; d.count < d.stop {
		return true, nil
	}
	d.what = what
	if d.how == "after" {
		return true, errStopped
	}
	return false, errStopped
}

func (d *disk) stopped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count >= d.stop
}

// file returns what is known of the file that has the name now.
func (d *disk) file(path string) *synced {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		d.tb.Fatal(err)
	}
	for _, s := range d.files {
		if os.SameFile(s.info, info) {
			f.Close()
			return s
		}
	}
	s := &synced{f: f, info: info}
	d.files = append(d.files, s)
	return s
}

func (d *disk) sync(path string) {
	if s := d.file(path); s != nil {
		data, err := io.ReadAll(io.NewSectionReader(s.f, 0, 1<<30))
		if err != nil {
			d.tb.Fatal(err)
		}
		s.data = data
	}
}

func (d *disk) syncDir() {
	list, err := os.ReadDir(d.dir)
	if err != nil {
		d.tb.Fatal(err)
	}
	d.names = map[string]*synced{}
	for _, e := range list {
		if s := d.file(filepath.Join(d.dir, e.Name())); s != nil {
			d.names[e.Name()] = s
		}
	}
}

func (d *disk) close() {
	for _, s := range d.files {
		s.f.Close()
	}
}

// life is what the buffer goes through. It notes what the buffer has promised.
type life struct {
	put  map[place]Record // ever
	kept map[place]Record // of those that were acknowledged, what nobody gave up
}

func (l *life) run(o Options, d *disk) {
	b, err := Open(o)
	if err != nil {
		return
	}
	n := 0
	var items []Item
	put := func(sizes ...int) {
		var recs []Record
		for _, size := range sizes {
			recs = append(recs, rec(n%2, n, size))
			l.put[placeOf(&recs[len(recs)-1])] = recs[len(recs)-1]
			n++
		}
		list, err := b.Put(recs)
		if err != nil {
			return
		}
		items = append(items, list...)
		for i := range recs {
			l.kept[placeOf(&recs[i])] = recs[i]
		}
	}
	giveUp := func(list []Item) {
		for _, it := range list {
			delete(l.kept, place{it.Lane, it.Start})
		}
	}
	done := func(list []Item) {
		for _, it := range list {
			if d.stopped() { // else it may go while this is called
				return
			}
			giveUp([]Item{it})
			b.Done(it.Seq)
		}
	}
	put(100, 0)
	put(700)
	put(500) // the first file is full
	put(10, 20, 900)
	put(300) // and the second
	if len(items) >= 7 {
		done(items[4:7]) // the second is done
	}
	put(400)
	before := d.stopped()
	if gone := b.DropOldest(); !d.stopped() {
		giveUp(gone)
	} else if !before {
		giveUp(items[:4]) // perhaps; nobody has heard of it, but its lanes have a gap
	}
	put(800)
	_ = b.Close()
	if b, err = Open(o); err != nil {
		return
	}
	items = append(b.Take(lane(0)), b.Take(lane(1))...)
	put(50)
	done(items)
	put(600)
	_ = b.Close()
}

// TestStopAtEveryChange stops a scripted life at every change of the disk: before
// it, in the midst of a write, after it; and with the power going at that moment. What
// was acknowledged is there at the next start, as it was, in order; nothing is
// there that was never put; and the buffer works.
func TestStopAtEveryChange(t *testing.T) {
	everyStop(t, 60, func(r *rig, d *disk) *life {
		l := &life{put: map[place]Record{}, kept: map[place]Record{}}
		r.opts.Faults.Set(d.hooks())
		l.run(r.opts, d)
		return l
	})
}

// TestStopWhileDamageIsMended: a start that finds damage is stopped at each of its
// changes, and the next start still has everything.
func TestStopWhileDamageIsMended(t *testing.T) {
	for name, c := range map[string]struct {
		changes int
		damage  func(r *rig, files []string)
	}{
		"header": {8, func(r *rig, f []string) { r.change(f[1], func(b []byte) []byte { b[9]++; return b }) }},
		"end":    {8, func(r *rig, f []string) { r.change(f[3], func(b []byte) []byte { return b[:len(b)-8] }) }},
		"list":   {10, func(r *rig, _ []string) { r.ok(os.Remove(filepath.Join(r.dir, "segments.json"))) }},
	} {
		t.Run(name, func(t *testing.T) {
			everyStop(t, c.changes, func(r *rig, d *disk) *life {
				l := &life{put: map[place]Record{}, kept: map[place]Record{}}
				r.open()
				for n := range 7 { // two in a file
					x := rec(n%2, n, 400)
					r.put(x)
					l.put[placeOf(&x)], l.kept[placeOf(&x)] = x, x
				}
				r.ok(r.b.Close())
				c.damage(r, r.files("*.wal"))
				for _, path := range r.files("*") {
					d.sync(path)
				}
				d.syncDir()
				r.opts.Faults.Set(d.hooks())
				if b, err := Open(r.opts); err == nil {
					_ = b.Close()
				}
				return l
			})
		})
	}
}

// everyStop runs a life with each stop; it should have at least so many changes.
func everyStop(t *testing.T, changes int, live func(*rig, *disk) *life) {
	step := 1
	if testing.Short() {
		step = 7
	}
	for _, how := range []string{"before", "torn", "after"} {
		for _, power := range []bool{false, true} {
			if power && how == "torn" { // half a write that was not synced is as none
				continue
			}
			t.Run(fmt.Sprintf("%s, power %v", how, power), func(t *testing.T) {
				for stop := 1; ; stop += step {
					d := stopped(t, stop, how, power, live)
					if d.what == "" {
						if d.count < changes {
							t.Errorf("the life has only %d changes", d.count)
						}
						return
					}
				}
			})
		}
	}
}

func stopped(t *testing.T, stop int, how string, power bool, live func(*rig, *disk) *life) *disk {
	t.Helper()
	r := rigIn(t, t.TempDir())
	r.opts.FileBytes, r.opts.Files = 1<<10, 8
	d := &disk{tb: t, dir: r.dir, stop: stop, how: how, names: map[string]*synced{}}
	defer d.close()
	l := live(r, d)
	r.opts.Faults.Set(wal.Hooks{})
	r.alarms = nil
	if power {
		r.dir = t.TempDir()
		r.opts.Dir = r.dir
		for name, s := range d.names {
			r.ok(os.WriteFile(filepath.Join(r.dir, name), s.data, 0o600))
		}
	}
	b, err := Open(r.opts)
	if err != nil {
		t.Fatalf("stopped %s change %d, %s: %v", how, stop, d.what, err)
	}
	r.b = b
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("stopped %s change %d, %s: %s (%q)", how, stop, d.what, fmt.Sprintf(format, args...), r.alarms)
	}
	missing := maps.Clone(l.kept)
	for n := range 2 {
		items := r.b.Take(lane(n))
		if !slices.IsSortedFunc(items, func(a, b Item) int { return int(a.Start) - int(b.Start) }) {
			fail("out of order: %+v", items)
		}
		for _, it := range items {
			want, ok := l.put[place{it.Lane, it.Start}]
			if !ok {
				fail("nobody put %+v", it)
			}
			r.same(it, want)
			delete(missing, place{it.Lane, it.Start})
		}
	}
	if s := r.b.Stats(); len(missing) > 0 || s.LostRecords > 0 || len(r.alarms) > 0 {
		fail("%d of %d records are lost; %+v", len(missing), len(l.kept), s)
	}
	r.wait(time.Second)
	it := r.put(rec(3, 1, 500))[0]
	r.reopen()
	if left := r.b.Take(lane(3)); len(left) != 1 {
		fail("what was put then is not there")
	} else {
		it.Seq = left[0].Seq
		r.same(it, rec(3, 1, 500))
	}
	r.ok(r.b.Close())
	return d
}
