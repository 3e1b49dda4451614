package raftwal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
)

func TestFolderIsForOneProcess(t *testing.T) {
	r := newRig(t, t.TempDir(), 0)
	_, err := Open(r.dir, Options{})
	if err == nil || !strings.Contains(err.Error(), r.dir) || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("a second one: %v", err)
	}
	r.reopen() // Close gives it back
}

// TestSlowWritesDelayOnlyWrites: who asks for the shard, reads or waits does not
// stand behind the disk.
func TestSlowWritesDelayOnlyWrites(t *testing.T) {
	r := newRig(t, t.TempDir(), 0)
	r.put(lines(0, 1))
	s := r.shard()
	began, finish := make(chan struct{}), make(chan struct{})
	r.fault(nil, func(f *os.File) error {
		close(began)
		<-finish
		return f.Sync()
	}, nil)
	done := make(chan error, 1)
	go func() {
		_, err := s.Append(t.Context(), []*shardlog.Record{lines(10, 1)})
		done <- err
	}()
	<-began
	if again, err := r.e.Shard(key); err != nil || again != s {
		t.Errorf("Shard: %v", err)
	}
	if recs, err := s.Read(1, 9, 1<<20); err != nil || len(recs) != 1 {
		t.Errorf("Read: %d records, %v", len(recs), err)
	}
	if err := s.Wait(t.Context(), 1); err != nil {
		t.Errorf("Wait: %v", err)
	}
	if seq, err := s.SeekTime(0); err != nil || seq != 1 {
		t.Errorf("SeekTime: %d, %v", seq, err)
	}
	if _, next := s.Bounds(); next != 2 {
		t.Errorf("the record is visible before it is durable")
	}
	r.e.maintain()
	close(finish)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := Open(t.TempDir(), Options{SegmentSize: 2 << 30}); err == nil {
		t.Error("segments of 2 GiB were accepted")
	}
}

// TestIdleShardsGiveBackWhatTheyHold: and know everything again with the next use.
func TestIdleShardsGiveBackWhatTheyHold(t *testing.T) {
	r := newRig(t, t.TempDir(), 0)
	s := r.shard()
	r.put(lines(0, 2))
	if _, err := s.Resume(7, []delivery.LaneID{{15: 1}}); err != nil {
		t.Fatal(err)
	}
	idle := func() {
		t.Helper()
		r.clock.Move(DefaultIdleAfter)
		r.maintain()
		if s.log == nil {
			t.Fatal("it was closed early")
		}
		r.clock.Move(time.Second)
		r.maintain()
		if s.log != nil || s.lanes != nil {
			t.Fatal("it is still open")
		}
	}
	idle()
	if first, next := s.Bounds(); first != 1 || next != 2 {
		t.Errorf("bounds %d, %d", first, next)
	}
	// Resumes are remembered: an idle close is no crash.
	if res := r.put(lines(20, 1)); res[0].Action != delivery.Fenced {
		t.Errorf("got %v", res[0].Action)
	}
	idle()
	if recs, err := s.Read(1, 9, 1<<20); err != nil || len(recs) != 1 {
		t.Errorf("%d records, %v", len(recs), err)
	}
	idle()
	waited := make(chan error, 1)
	go func() { waited <- s.Wait(t.Context(), 2) }()
	rec := lines(20, 1)
	rec.Range.Session = 7
	r.put(rec)
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

func TestSnapshotsAreWrittenOnlyWhenSomethingChanged(t *testing.T) {
	r := newRig(t, t.TempDir(), 0)
	written := 0
	r.fault(nil, nil, func(name string) error {
		if name == snapshotName {
			written++
		}
		return nil
	})
	round := func(want int) {
		t.Helper()
		// More than the interval; snapshots of this size take no time, so the
		// interval does not grow over the time that this leaves.
		r.clock.Move(DefaultIdleAfter / 2)
		r.maintain()
		if written != want {
			t.Fatalf("%d snapshots, want %d", written, want)
		}
	}
	r.put(lines(0, 1))
	r.maintain()
	if written != 0 {
		t.Fatal("a snapshot before its time")
	}
	round(1)
	round(1)
	r.put(bulk(64)) // no lane changed, but the replay would be longer
	round(2)
	if res := r.put(lines(0, 1)); res[0].Action != delivery.Duplicate {
		t.Fatal(res[0].Action)
	}
	round(2)
	if _, err := r.shard().Resume(9, []delivery.LaneID{{15: 1}}); err != nil {
		t.Fatal(err)
	}
	round(3)
	if _, err := r.shard().Resume(9, []delivery.LaneID{{15: 1}, {15: 2}}); err != nil {
		t.Fatal(err)
	}
	round(3)
}

// TestSnapshotDamaged: it is put aside, and the log knows as much as it keeps.
func TestSnapshotDamaged(t *testing.T) {
	r := newRig(t, t.TempDir(), 4<<10)
	for i := range 50 {
		r.put(lines(uint64(i)*10, 1), bulk(512))
	}
	r.ok(r.e.Close())
	resize(t, r.path(snapshotName), func(b []byte) []byte { b[len(b)/2]++; return b })
	r.open()
	if p := r.progress(); p != 500 {
		t.Errorf("progress %d", p)
	}
	if _, err := os.Stat(r.path(snapshotName) + ".damaged"); err != nil || !r.said.has("is damaged") {
		t.Errorf("not put aside, or not said: %v", err)
	}
	r.reopen()
	if p := r.progress(); p != 500 {
		t.Errorf("with the new snapshot: progress %d", p)
	}
}

// TestTruncateWritesTheSnapshotFirst: a crash right behind it must know the
// lanes whose records are gone.
func TestTruncateWritesTheSnapshotFirst(t *testing.T) {
	r := newRig(t, t.TempDir(), 4<<10)
	r.put(lines(0, 3))
	for range 20 {
		r.put(bulk(1 << 10))
	}
	r.reopen() // no segment is being begun in the background
	r.put(lines(30, 1))
	r.put(bulk(16))
	var order []string
	r.fault(nil, nil, func(name string) error {
		order = append(order, name)
		return nil
	})
	if err := r.shard().Truncate(23); err != nil {
		t.Fatal(err)
	}
	if len(order) < 2 || order[0] != snapshotName || order[len(order)-1] != segmentsName {
		t.Errorf("written: %v", order)
	}
	c := crashed(t, r, nil)
	if p := c.progress(); p != 40 {
		t.Errorf("progress %d", p)
	}

	// If it cannot be written, nothing is dropped.
	r.put(lines(40, 1))
	r.fault(nil, nil, func(name string) error {
		if name == snapshotName {
			return errors.New("no")
		}
		return nil
	})
	first, _ := r.shard().Bounds()
	if err := r.shard().Truncate(25); err == nil {
		t.Error("no error")
	}
	if f, _ := r.shard().Bounds(); f != first {
		t.Errorf("the log begins at %d, and before at %d", f, first)
	}
}

// TestTruncateOnAFullDisk: deleting has to write a little, for which there is
// the reserve.
func TestTruncateOnAFullDisk(t *testing.T) {
	r := newRig(t, t.TempDir(), 4<<10)
	reserve := filepath.Join(r.dir, reserveName)
	for i := range 20 {
		r.put(lines(uint64(i)*10, 1), bulk(1<<10))
	}
	full := func(string) error {
		if _, err := os.Stat(reserve); err == nil {
			return errFull
		}
		return nil // there is room
	}
	r.fault(func(*os.File, []byte, int64) (int, error) { return 0, errFull }, nil, full)
	if _, err := r.shard().Append(t.Context(), []*shardlog.Record{bulk(16)}); !errors.Is(err, shardlog.ErrNoSpace) {
		t.Fatalf("got %v", err)
	}
	had := len(r.segments())
	if err := r.shard().Truncate(30); err != nil {
		t.Fatal(err)
	}
	if len(r.segments()) >= had || !r.said.has("reserve") {
		t.Errorf("%d segments, before there were %d", len(r.segments()), had)
	}
	r.fault(nil, nil, nil)
	r.clock.Move(time.Second)
	r.maintain()
	if stat, err := os.Stat(reserve); err != nil || stat.Size() != reserveSize {
		t.Errorf("the reserve was not made again: %v", err)
	}
	r.put(lines(200, 1))
	r.reopen()
	if p := r.progress(); p != 210 {
		t.Errorf("progress %d", p)
	}
}

func TestNewerRecordStopsTheShard(t *testing.T) {
	r := newRig(t, t.TempDir(), 0)
	r.put(lines(0, 1))
	r.ok(r.e.Close())
	r.ok(os.Remove(r.path(snapshotName)))
	resize(t, r.segments()[0], func(b []byte) []byte {
		// file header, frame header, and of raft-wal's codec index, term, type
		// and the length of the head (two bytes): then comes our version.
		const at = fileHeader + frameHeader + 3
		i := at + 1
		if b[at] >= 0x80 {
			i++
		}
		if b[i] != recordVersion {
			t.Fatalf("no version at %d: % x", i, b[:i+4])
		}
		r := lines(0, 1)
		n := bytes.Index(b, r.Data) // before it stands its length, and before that the head
		if n < 0 {
			t.Fatal("no data")
		}
		newerHead(b[i:n-1], r.Data)
		fixCommit(b)
		return b
	})
	r.open()
	if _, err := r.e.Shard(key); err == nil || !strings.Contains(err.Error(), "newer program") || !strings.Contains(err.Error(), "store/0") {
		t.Errorf("got %v", err)
	}
}

// fixCommit makes the checksum of a segment with one batch right.
func fixCommit(b []byte) {
	putSum(b[len(b)-4:], b[:len(b)-frameHeader])
}

// TestManyShardsAreSmall: what logstores without traffic take of the disk.
func TestManyShardsAreSmall(t *testing.T) {
	r := newRig(t, t.TempDir(), 0)
	empty := usage(t, r.dir)
	const shards = 100
	for i := range shards {
		s, err := r.e.Shard(shardlog.Key{Store: fmt.Sprint("store", i)})
		r.ok(err)
		if i%2 == 0 {
			if _, err := s.Append(t.Context(), []*shardlog.Record{lines(0, 3)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.clock.Move(DefaultIdleAfter + time.Second)
	r.maintain()
	each := (usage(t, r.dir) - empty) / shards
	t.Logf("%d bytes for each of %d shards, %d without any", each, shards, empty)
	if each > 64<<10 {
		t.Errorf("an idle shard takes %d bytes", each)
	}
}
