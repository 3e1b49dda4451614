package buffer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"logtail/internal/wal"
)

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all room of a file system and returns what gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "junk")
	w, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, size := range []int{64 << 10, 4 << 10, 1} {
		for {
			if _, err := w.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// TestFullDisk fills a real one, whose room others take: Put is an error and changes
// nothing, files can be dropped, and it goes on by itself when there is room again.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "3m")
	r := rigIn(t, filepath.Join(disk, "buffer"))
	r.opts.FileBytes, r.opts.Files = 128<<10, 100
	r.open()
	var items []Item
	n := 0
	full := func() {
		t.Helper()
		for failed := 0; failed < 5; {
			list, err := r.b.Put([]Record{rec(1, n, 10_000)})
			r.wait(wal.RetryAfter)
			switch {
			case err == nil:
				items = append(items, list...)
				n++
			case wal.IsNoSpace(err) && !errors.Is(err, ErrFull):
				failed++
			default:
				t.Fatal(err)
			}
			if n > 1000 {
				t.Fatal("the disk does not get full")
			}
		}
	}
	check := func(items []Item) {
		t.Helper()
		for _, it := range items {
			r.same(it, rec(1, int(it.Start/1000), 10_000))
		}
		if s := r.b.Stats(); s.Records != len(items) || s.LostRecords > 0 {
			t.Fatalf("%+v, want %d records", s, len(items))
		}
	}
	full()
	check(items)
	for range 3 {
		free := fill(t, disk)
		full()
		gone := r.b.DropOldest() // has to write a little, for which there is the reserve
		if len(gone) == 0 {
			t.Fatal("nothing can be dropped on a full disk")
		}
		items = items[len(gone):]
		check(items)
		before := n
		full()
		if n == before {
			t.Fatal("there is no room for what was dropped")
		}
		for _, it := range items[:20] { // more than a file
			r.b.Done(it.Seq)
		}
		items = items[20:]
		free()
		full()
		check(items)
	}
	// A start on the full disk.
	free := fill(t, disk)
	if err := r.b.Close(); err != nil && !wal.IsNoSpace(err) {
		t.Fatal(err)
	}
	r.open()
	left := r.b.Take(lane(1))
	if len(left) < len(items) {
		t.Fatalf("%d records of %d", len(left), len(items))
	}
	check(left)
	free()
	r.b.DropOldest()
	r.put(rec(2, 1, 10_000))
}
