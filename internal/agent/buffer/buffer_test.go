package buffer

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/wal"
)

func TestRecordsWaitOverARestart(t *testing.T) {
	r := newRig(t)
	for n := range 6 {
		r.put(rec(1, n, 500), rec(2, n, 0), rec(3, 9-n, 40)) // what lane 3 has was written in another order
	}
	r.reopen()
	if list := r.b.Waiting(); !slices.Equal(list, []delivery.LaneID{lane(1), lane(2), lane(3)}) {
		t.Errorf("waiting: %v", list)
	}
	for l, first := range map[int]int{1: 0, 2: 0, 3: 4} {
		items := r.b.Take(lane(l))
		if len(items) != 6 {
			t.Fatalf("lane %d: %+v", l, items)
		}
		for n, it := range items {
			r.same(it, rec(l, first+n, []int{500, 0, 40}[l-1]))
		}
		if again := r.b.Take(lane(l)); again != nil {
			t.Errorf("lane %d a second time: %+v", l, again)
		}
	}
	if list := r.b.Waiting(); len(list) != 0 {
		t.Errorf("waiting: %v", list)
	}
	it := r.put(rec(1, 20, 10))[0]
	if items := r.b.Take(lane(1)); items != nil {
		t.Errorf("what was put now: %+v", items)
	}
	r.same(it, rec(1, 20, 10))
	if s := r.b.Stats(); s.Records != 19 || s.Oldest != r.now.Unix() || s.Files < 1 || s.Bytes != r.usage() || s.LostRecords != 0 {
		t.Errorf("%+v", s)
	}
	r.quiet()
}

func TestContentIsNotOnTheDisk(t *testing.T) {
	r := newRig(t)
	x := rec(1, 1, 10)
	x.Data = []byte("a secret line")
	r.put(x)
	for _, path := range r.files("*.wal") {
		b, err := os.ReadFile(path)
		r.ok(err)
		for _, word := range []string{"secret", "destination", "state"} {
			if bytes.Contains(b, []byte(word)) {
				t.Errorf("%s has %q", path, word)
			}
		}
	}
}

func TestDoneGivesFilesBackWhicheverIsFirst(t *testing.T) {
	r := newRig(t)
	var items []Item
	for n := range 30 { // 8 in a file
		items = append(items, r.put(rec(n%3, n, 1000))...)
	}
	had := len(r.files("*.wal"))
	if had != 4 {
		t.Fatalf("%d files", had)
	}
	for i, it := range items[8:16] {
		if len(r.files("*.wal")) != had {
			t.Fatalf("a file went after %d records", i)
		}
		r.b.Done(it.Seq, it.Seq) // twice does no harm
	}
	if n := len(r.files("*.wal")); n != had-1 {
		t.Errorf("%d files", n)
	}
	if _, err := r.b.Load(items[9].Seq); !errors.Is(err, ErrGone) {
		t.Errorf("got %v", err)
	}
	r.b.Done(9999)
	for i, it := range items {
		if i < 8 || i >= 16 {
			r.same(it, rec(i%3, i, 1000))
		}
	}
	r.reopen()
	if s := r.b.Stats(); s.Records != 22 || s.Files != 3 {
		t.Errorf("%+v", s)
	}
	for l := range 3 {
		for _, it := range r.b.Take(lane(l)) {
			r.b.Done(it.Seq)
		}
	}
	if s := r.b.Stats(); s.Records != 0 || s.Files != 0 || s.Oldest != 0 || s.Logs != 0 {
		t.Errorf("%+v", s)
	}
	r.ok(r.b.Close())
	if n := r.usage(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	r.quiet()
}

func TestLanesWithoutRecordsAreForgotten(t *testing.T) {
	r := newRig(t)
	for n := range 200 {
		it := r.put(rec(n, n, 10))[0]
		r.b.Done(it.Seq)
	}
	if n := len(r.b.slots); n != 1 || len(r.b.lanes) != 0 {
		t.Errorf("%d lanes in memory, %d in the map", n, len(r.b.lanes))
	}
}

func TestFullBufferDropsTheOldestFile(t *testing.T) {
	r := newRig(t)
	var items []Item
	var full error
	for n := 0; full == nil; n++ {
		var list []Item
		if list, full = r.b.Put([]Record{rec(1, n, 1000)}); full == nil {
			items = append(items, list...)
		}
	}
	if !errors.Is(full, ErrFull) || !strings.Contains(full.Error(), r.dir) {
		t.Fatalf("got %v", full)
	}
	if s := r.b.Stats(); s.Bytes > s.Limit || s.Limit != testFile*testFiles || s.Bytes < s.Limit-1500 || r.usage() != s.Bytes || s.Files > testFiles {
		t.Errorf("%+v, %d on the disk", s, r.usage())
	}
	r.b.Done(items[2].Seq)
	gone := r.b.DropOldest()
	if len(gone) != 7 || gone[0] != items[0] || gone[6] != items[7] {
		t.Errorf("%+v", gone)
	}
	for _, it := range gone {
		if _, err := r.b.Load(it.Seq); !errors.Is(err, ErrGone) {
			t.Errorf("record %d: %v", it.Seq, err)
		}
	}
	items = append(items, r.put(rec(1, len(items), 1000))...)
	r.reopen()
	left := r.b.Take(lane(1))
	if len(left) != len(items)-8 {
		t.Errorf("%d records are left of %d", len(left), len(items))
	}
	for i, it := range left {
		r.same(it, rec(1, i+8, 1000))
	}
	for range testFiles {
		r.b.DropOldest()
	}
	if gone := r.b.DropOldest(); gone != nil || r.b.Stats().Records != 0 {
		t.Errorf("%+v", gone)
	}
	r.put(rec(1, 1, 1000))
	r.quiet()
}

func TestPutThatNeverFits(t *testing.T) {
	r := newRig(t)
	if _, err := r.b.Put([]Record{rec(1, 1, testFile*testFiles)}); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
	r.put(rec(1, 1, testFile*2))
	if _, err := r.b.Put([]Record{rec(1, 1, testFile*4)}); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
	r.b.Done(1)
	r.put(rec(1, 1, testFile*4)) // there is room, as the file that is written has nothing left
	if n := r.b.Stats().Records; n != 1 {
		t.Errorf("%d records", n)
	}
}

func TestRecordsAreBoundedInNumber(t *testing.T) {
	r := newRig(t)
	r.ok(r.b.Close())
	r.opts.Records = 10
	r.open()
	r.put(rec(1, 0, 1), rec(1, 1, 1))
	many := make([]Record, 9)
	if _, err := r.b.Put(many); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
	r.put(many[:8]...)
	if _, err := r.b.Put(many[:1]); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
	r.b.DropOldest()
	r.put(many...)
}

func TestExpireGivesUpWhatIsOld(t *testing.T) {
	r := newRig(t)
	old := r.put(rec(1, 1, 100), rec(2, 1, 100))
	r.wait(time.Hour)
	young := r.put(rec(1, 2, 100))
	if list := r.b.Expire(r.now.Add(-2 * time.Hour)); list != nil {
		t.Errorf("%+v", list)
	}
	if list := r.b.Expire(r.now); !slices.Equal(list, old) {
		t.Errorf("%+v", list)
	}
	if s := r.b.Stats(); s.Records != 1 || s.Oldest != r.now.Unix() {
		t.Errorf("%+v", s)
	}
	r.same(young[0], rec(1, 2, 100))
}

// TestConcurrentPutsShareASync: while one is under way, the others gather.
func TestConcurrentPutsShareASync(t *testing.T) {
	r := newRig(t)
	r.put(rec(0, 0, 10))
	const callers = 20
	var syncs atomic.Int32
	began, finish := make(chan struct{}), make(chan struct{})
	r.opts.Faults.Set(wal.Hooks{Sync: func(f *os.File) error {
		if syncs.Add(1) == 1 {
			close(began)
			<-finish
		}
		return f.Sync()
	}})
	var wg sync.WaitGroup
	put := func(n int) {
		wg.Go(func() {
			items, err := r.b.Put([]Record{rec(n, n, 10)})
			if err != nil || len(items) != 1 || items[0].Lane != lane(n) {
				t.Errorf("%+v, %v", items, err)
			}
		})
	}
	put(1)
	<-began
	for n := range callers {
		put(n + 2)
	}
	for { // until all of them wait
		r.b.mu.Lock()
		n := len(r.b.queue)
		r.b.mu.Unlock()
		if n == callers {
			break
		}
		runtime.Gosched()
	}
	close(finish)
	wg.Wait()
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d syncs", n)
	}
	if n := r.b.Stats().Records; n != callers+2 {
		t.Errorf("%d records", n)
	}
}

func TestFailedPutLeavesNothing(t *testing.T) {
	r := newRig(t)
	kept := r.put(rec(1, 0, 100))
	r.opts.Faults.Set(wal.Hooks{Sync: func(*os.File) error { return syscall.EIO }})
	for range 5 {
		if _, err := r.b.Put([]Record{rec(1, 1, 100)}); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), r.dir) {
			t.Fatalf("got %v", err)
		}
		r.same(kept[0], rec(1, 0, 100))
	}
	r.opts.Faults.Set(wal.Hooks{})
	r.wait(wal.RetryAfter)
	r.put(rec(1, 2, 100))
	r.reopen()
	if list := r.b.Take(lane(1)); len(list) != 2 || list[1].Start != 2000 {
		t.Errorf("%+v", list)
	}
	r.quiet()
}

// TestReadOnlyDisk: nothing can be written or removed for a while. What is there can be
// read, nothing is given up, and it heals.
func TestReadOnlyDisk(t *testing.T) {
	r := newRig(t)
	var items []Item
	for n := range 20 {
		items = append(items, r.put(rec(1, n, 1000))...)
	}
	refuse := func(string) error { return syscall.EROFS }
	r.opts.Faults.Set(wal.Hooks{
		Write: func(*os.File, []byte, int64) (int, error) { return 0, refuse("") },
		Step:  func(_ wal.Op, path string) error { return refuse(path) },
	})
	for range 3 {
		if _, err := r.b.Put([]Record{rec(1, 99, 1000)}); !errors.Is(err, syscall.EROFS) {
			t.Fatalf("got %v", err)
		}
	}
	for _, it := range items[:8] {
		r.b.Done(it.Seq)
	}
	if !r.told("cannot be removed", AlarmReadWrite) {
		t.Error("it was not told")
	}
	if gone := r.b.DropOldest(); gone != nil {
		t.Errorf("given up: %+v", gone)
	}
	r.quiet()
	for n, it := range items[8:] {
		r.same(it, rec(1, n+8, 1000))
	}
	r.opts.Faults.Set(wal.Hooks{})
	r.wait(time.Second)
	items = append(items, r.put(rec(1, 20, 1000))...)
	if n := len(r.files("*.wal")); n != 2 {
		t.Errorf("%d files", n)
	}
	r.reopen()
	if list := r.b.Take(lane(1)); len(list) != len(items)-8 {
		t.Errorf("%d records of %d", len(list), len(items)-8)
	}
	r.quiet()
}

func TestFolderIsForOneProcess(t *testing.T) {
	r := newRig(t)
	if _, err := Open(r.opts); !errors.Is(err, wal.ErrInUse) || !strings.Contains(err.Error(), r.dir) {
		t.Errorf("got %v", err)
	}
}

func TestClosedBuffer(t *testing.T) {
	r := newRig(t)
	it := r.put(rec(1, 1, 10))[0]
	r.ok(r.b.Close())
	r.ok(r.b.Close())
	if _, err := r.b.Put([]Record{rec(1, 2, 10)}); !errors.Is(err, ErrClosed) {
		t.Errorf("Put: %v", err)
	}
	if _, err := r.b.Load(it.Seq); !errors.Is(err, ErrClosed) {
		t.Errorf("Load: %v", err)
	}
	if gone := r.b.DropOldest(); gone != nil {
		t.Errorf("DropOldest: %v", gone)
	}
	for n := range 30 {
		r.b.Done(uint64(n))
	}
	if r.usage() == 0 {
		t.Error("the record is gone")
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	if _, err := Open(Options{Dir: t.TempDir(), FileBytes: 2 << 30}); err == nil {
		t.Error("files of 2 GiB")
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: path}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file as the folder: %v", err)
	}
}

// TestMemoryOfARecord is what the package's comment says.
func TestMemoryOfARecord(t *testing.T) {
	if n := reflect.TypeFor[entry]().Size(); n != 32 {
		t.Errorf("%d bytes", n)
	}
}
