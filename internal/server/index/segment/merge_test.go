package segment

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestSmallSegmentsAreMerged(t *testing.T) {
	dir := t.TempDir()
	x := openTest(t, dir, Options{mergeFan: 4})
	log := testRecords(1, 40)
	for i := 0; i < 40; i += 10 {
		mustApply(t, x, slices.Clone(log[i:i+10]))
		mustFlush(t, x)
	}
	want := find(t, x, nil)
	// A search under way has the old segments, and keeps them until it is done.
	st, _ := x.store("s")
	s := x.newSearch(testCtx, st, 0, 1<<32, nil, nil)
	x.sealDue()
	if got := len(st.shards[0].segments); got != 1 {
		t.Fatalf("%d segments, want one", got)
	}
	hits := &top{most: 1000}
	if err := s.collect(hits); err != nil || s.incomplete || len(hits.hits) != 120 {
		t.Errorf("the search under way finds %d rows, incomplete %v, %v", len(hits.hits), s.incomplete, err)
	}
	s.done()
	files, err := filepath.Glob(filepath.Join(dir, "s", "0", "seg-*"))
	if err != nil || len(files) != 2 {
		t.Errorf("files %q; want those of one segment", files)
	}
	for range 2 {
		if got := find(t, x, nil); !got.Complete || !reflect.DeepEqual(got.Rows, want.Rows) {
			t.Fatalf("%d rows after the merge, complete %v", len(got.Rows), got.Complete)
		}
		if pos, _ := x.Position(testKey); pos != 41 {
			t.Fatalf("Position = %d, want 41", pos)
		}
		mustClose(t, x)
		x = openTest(t, dir, Options{})
	}
}

func TestMergeLeavesSegmentsOfOtherTimesAndSizes(t *testing.T) {
	seg := func(from, to uint64, rows int, received time.Duration) *segment {
		return &segment{meta: segmentMeta{ID: from, seqRange: seqRange{from, to}, Rows: rows, RawBytes: int64(rows) * 100, MaxReceived: int64(received)}}
	}
	for _, c := range []struct {
		name string
		segs []*segment
		lost []lostSegment
		want []uint64 // ids
	}{
		{"neighbours of one size", []*segment{seg(1, 2, 100, 0), seg(2, 3, 110, 0), seg(3, 4, 90, 0)}, nil, []uint64{1, 2, 3}},
		{"in whatever order", []*segment{seg(3, 4, 100, 0), seg(1, 2, 110, 0), seg(2, 3, 90, 0)}, nil, []uint64{1, 2, 3}},
		{"too few", []*segment{seg(1, 2, 100, 0), seg(2, 3, 110, 0)}, nil, nil},
		{"a large one between", []*segment{seg(1, 2, 100, 0), seg(2, 3, 5000, 0), seg(3, 4, 90, 0)}, nil, nil},
		{"after a large one", []*segment{seg(1, 2, 5000, 0), seg(2, 3, 100, 0), seg(3, 4, 90, 0), seg(4, 5, 90, 0)}, nil, []uint64{2, 3, 4}},
		{"together too large", []*segment{seg(1, 2, 4000, 0), seg(2, 3, 4000, 0), seg(3, 4, 4000, 0)}, nil, nil},
		{"received on other days", []*segment{seg(1, 2, 100, 0), seg(2, 3, 100, 0), seg(3, 4, 90, 25*time.Hour)}, nil, nil},
		{"ranges without logs between", []*segment{seg(1, 2, 100, 0), seg(4, 5, 100, 0), seg(5, 6, 90, 0)}, nil, []uint64{1, 4, 5}},
		{"lost rows between", []*segment{seg(1, 2, 100, 0), seg(4, 5, 100, 0), seg(5, 6, 90, 0)}, []lostSegment{{seqRange{2, 4}, 0, 1}}, nil},
	} {
		sh := &shard{x: &Index{opts: Options{mergeFan: 3, SealRows: 10_000, SealBytes: 1 << 30}}, segments: c.segs, man: manifest{Lost: c.lost}}
		var got []uint64
		for _, s := range sh.pickMerge() {
			got = append(got, s.meta.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestMergeOfADamagedSegmentPutsItAside(t *testing.T) {
	dir := t.TempDir()
	x := openTest(t, dir, Options{mergeFan: 3})
	log := testRecords(1, 30)
	for i := 0; i < 20; i += 10 {
		mustApply(t, x, slices.Clone(log[i:i+10]))
		mustFlush(t, x)
	}
	name := filepath.Join(dir, "s", "0", segmentName(2)+dataSuffix)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	mustApply(t, x, slices.Clone(log[20:]))
	mustFlush(t, x)
	x.sealDue()
	if _, err := os.Stat(name + badSuffix); err != nil {
		t.Error(err)
	}
	if res := find(t, x, nil); res.Complete || len(res.Rows) != 60 {
		t.Errorf("complete %v, %d rows, want 60", res.Complete, len(res.Rows))
	}
	if pos, _ := x.Position(testKey); pos != 11 {
		t.Errorf("Position = %d, want 11", pos)
	}
}

func TestExpireDeletesWholeSegments(t *testing.T) {
	dir := t.TempDir()
	x := openTest(t, dir, Options{})
	log := testRecords(1, 30) // received at nanosecond 1, 2, ...
	for i := 0; i < 20; i += 10 {
		mustApply(t, x, slices.Clone(log[i:i+10]))
		mustFlush(t, x)
	}
	mustApply(t, x, slices.Clone(log[20:]))
	if err := x.Expire("s", time.Unix(0, 15)); err != nil {
		t.Fatal(err)
	}
	if err := x.Expire("other", time.Unix(0, 15)); err != nil {
		t.Fatal(err)
	}
	if res := find(t, x, nil); !res.Complete || len(res.Rows) != 60 || res.Rows[0].Seq != 11 {
		t.Errorf("complete %v, %d rows", res.Complete, len(res.Rows))
	}
	if _, err := os.Stat(filepath.Join(dir, "s", "0", segmentName(1)+dataSuffix)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	mustFlush(t, x)
	mustClose(t, x)
	x = openTest(t, dir, Options{})
	if res := find(t, x, nil); len(res.Rows) != 60 {
		t.Errorf("%d rows after a start, want 60", len(res.Rows))
	}
	if pos, _ := x.Position(testKey); pos != 31 {
		t.Errorf("Position = %d, want 31", pos)
	}
}
