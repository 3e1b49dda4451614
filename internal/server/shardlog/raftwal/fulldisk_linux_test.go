package raftwal

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"logtail/internal/server/shardlog"
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

// TestFullDisk fills a real one: appends fail with ErrNoSpace and change
// nothing, old records can be deleted, and then it goes on, by itself.
func TestFullDisk(t *testing.T) {
	r := newRig(t, filepath.Join(smallDisk(t, "6m"), "data"), 256<<10)
	var end uint64
	fill := func() {
		t.Helper()
		for failed := 0; failed < 5; {
			if end > 1_000_000 {
				t.Fatal("the disk does not get full")
			}
			_, err := r.shard().Append(t.Context(), []*shardlog.Record{bulk(10_000), lines(end, 3)})
			r.clock.Move(wal.RetryAfter)
			switch {
			case err == nil:
				end += 30
			case errors.Is(err, shardlog.ErrNoSpace):
				failed++
			default:
				t.Fatal(err)
			}
			if p := r.progress(); p != end {
				t.Fatalf("acknowledged up to %d, progress %d: %v", end, p, err)
			}
		}
	}
	fill()
	if got, _ := r.ends(); got != end {
		t.Fatalf("found up to %d, want %d", got, end)
	}
	for range 3 {
		_, next := r.shard().Bounds()
		if err := r.shard().Truncate(next - 100); err != nil {
			t.Fatalf("deleting on a full disk: %v", err)
		}
		r.maintain()
		before := end
		fill()
		if end == before {
			t.Fatal("nothing could be written after deleting")
		}
	}
	// A start on the full disk, and one on a disk with room.
	if err := r.e.Close(); err != nil && !errors.Is(err, shardlog.ErrNoSpace) {
		t.Fatal(err)
	}
	r.open()
	if p := r.progress(); p != end {
		t.Fatalf("after a start on the full disk: progress %d, want %d", p, end)
	}
	_, next := r.shard().Bounds()
	if err := r.shard().Truncate(next); err != nil {
		t.Fatal(err)
	}
	r.put(lines(end, 1))
	r.reopen()
	if p := r.progress(); p != end+10 {
		t.Fatalf("progress %d, want %d", p, end+10)
	}
}
