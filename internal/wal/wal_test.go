package wal

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestRecordsComeBackAsTheyWent(t *testing.T) {
	r := newRig(t, 4<<10)
	for n := range 40 {
		r.put(n%3+1, 500)
	}
	want := r.check(500)
	r.reopen()
	if got := r.check(500); got != want || got != 79 {
		t.Errorf("%d records, before there were %d", got, want)
	}
	if first, err := r.l.Append(nil); first != 80 || err != nil {
		t.Errorf("nothing appended: %d, %v", first, err)
	}
	r.ok(r.l.Close())
	if _, err := r.l.Get(1); !errors.Is(err, ErrClosed) {
		t.Errorf("Get after Close: %v", err)
	}
	if _, err := r.l.Append([]Record{{}}); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	if err := r.l.TruncateFront(9); !errors.Is(err, ErrClosed) {
		t.Errorf("TruncateFront after Close: %v", err)
	}
	r.ok(r.l.Close())
}

func TestTruncateFrontGivesSegmentsBack(t *testing.T) {
	r := newRig(t, 4<<10)
	for range 40 {
		r.put(1, 1000)
	}
	had := len(r.segments())
	r.ok(r.l.TruncateFront(21))
	for _, seq := range []uint64{0, 1, 20, 41, 1 << 60} {
		if _, err := r.l.Get(seq); !errors.Is(err, ErrNotFound) {
			t.Errorf("record %d: %v", seq, err)
		}
	}
	if got := r.check(1000); got != 20 || len(r.segments()) > had/2+1 {
		t.Errorf("%d records in %d segments; there were %d", got, len(r.segments()), had)
	}
	r.ok(r.l.TruncateFront(5)) // nothing
	r.reopen()
	if got := r.check(1000); got != 20 {
		t.Errorf("%d records", got)
	}
	r.ok(r.l.TruncateFront(99)) // all
	if first, next := r.l.Bounds(); first != 41 || next != 41 || len(r.segments()) != 1 {
		t.Errorf("bounds %d, %d, %d segments", first, next, len(r.segments()))
	}
	r.reopen()
	r.put(1, 10)
	if first, next := r.l.Bounds(); first != 41 || next != 42 {
		t.Errorf("bounds %d, %d", first, next)
	}
}

// TestFailedAppendLeavesNothing: neither for this process nor for the next.
func TestFailedAppendLeavesNothing(t *testing.T) {
	for name, hooks := range map[string]Hooks{
		"nothing written": {Write: func(*os.File, []byte, int64) (int, error) { return 0, syscall.EIO }},
		"half written": {Write: func(f *os.File, p []byte, off int64) (int, error) {
			n, err := f.WriteAt(p[:len(p)/2], off)
			return n, errors.Join(err, syscall.EIO)
		}},
		"not synced": {Sync: func(*os.File) error { return syscall.EIO }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 4<<10)
			r.put(2, 100)
			r.opts.Faults.Set(hooks)
			if _, err := r.l.Append([]Record{rec(99, 50), rec(98, 50)}); !errors.Is(err, syscall.EIO) {
				t.Fatalf("got %v", err)
			}
			if r.l.Broken() {
				t.Error("it is not mended")
			}
			r.opts.Faults.Set(Hooks{})
			if n := r.check(100); n != 2 {
				t.Errorf("%d records", n)
			}
			r.reopen()
			r.put(1, 100)
			if n := r.check(100); n != 3 {
				t.Errorf("%d records", n)
			}
		})
	}
}

// TestFailingDiskIsNotTriedAllTheTime: after two failures there is a pause.
func TestFailingDiskIsNotTriedAllTheTime(t *testing.T) {
	r := newRig(t, 4<<10)
	tries := 0
	r.opts.Faults.Set(Hooks{Write: func(*os.File, []byte, int64) (int, error) { tries++; return 0, syscall.EIO }})
	for range 10 {
		if _, err := r.l.Append([]Record{rec(1, 1)}); !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v", err)
		}
	}
	if tries != 2 {
		t.Errorf("%d tries", tries)
	}
	r.opts.Faults.Set(Hooks{})
	if _, err := r.l.Append([]Record{rec(1, 1)}); !errors.Is(err, syscall.EIO) {
		t.Errorf("before its time: %v", err)
	}
	r.now = r.now.Add(RetryAfter)
	r.put(1, 1)
}

func TestLogThatLacksWhatWasStoredIsDamaged(t *testing.T) {
	r := newRig(t, 4<<10)
	r.put(3, 10)
	r.ok(r.l.Close())
	r.opts.Next = 5
	if _, err := Open(r.dir, r.opts); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	r.opts.Next = 4
	r.open()
}

func TestFolderIsLockedOnce(t *testing.T) {
	dir := t.TempDir()
	f, err := LockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockFolder(dir); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second time: %v", err)
	}
	f.Close()
	again, err := LockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestSegmentSizeIsChecked(t *testing.T) {
	if _, err := Open(t.TempDir(), Options{SegmentSize: MaxSegmentSize + 1}); err == nil {
		t.Error("it was accepted")
	}
}

// TestSealedSegmentsAreNotHeldOpen: a long log needs few descriptors.
func TestSealedSegmentsAreNotHeldOpen(t *testing.T) {
	r := newRig(t, 4<<10)
	for range 100 {
		r.put(1, 4<<10)
	}
	r.reopen()
	if n := r.check(4 << 10); n != 100 {
		t.Fatalf("%d records", n)
	}
	fs := r.l.handle.files
	if len(fs.sealed) > sealedHandles || len(fs.writers) != 1 {
		t.Errorf("%d segments are open for reading, %d for writing", len(fs.sealed), len(fs.writers))
	}
	if n := len(r.segments()); n < 50 {
		t.Errorf("only %d segments", n)
	}
}
