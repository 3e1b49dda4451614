package wal

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft-wal/types"
)

// mend mends a copy of the bytes and returns what the segment is then.
func mend(b []byte, info *types.SegmentInfo, sure uint64, exactly bool) (fixed []byte, end commit, patches []patch) {
	m := newMender(bytes.Clone(b), info)
	end, patches = m.keep(sure, exactly)
	out := append(bytes.Clone(b), make([]byte, max(0, int(end.end())-len(b)))...)
	for _, p := range patches {
		copy(out[p.from:], m.b[p.from:p.to])
	}
	return out[:end.end()], end, patches
}

// aSegment is a segment with some writes, and how many records it has.
func aSegment(tb testing.TB, size int) ([]byte, *types.SegmentInfo, uint64) {
	tb.Helper()
	r := newRig(tb, size)
	for n := range 5 {
		r.put(n%3+1, 40*n)
	}
	info := r.l.handle.list.current().Segments[0]
	r.ok(r.l.Close())
	b, err := os.ReadFile(r.segments()[0])
	r.ok(err)
	n := uint64(9)
	if !info.SealTime.IsZero() {
		n = info.MaxIndex
	}
	return b, &info, n
}

func TestWholeSegmentIsLeftAsItIs(t *testing.T) {
	for _, size := range []int{1 << 20, 600} {
		b, info, n := aSegment(t, size)
		for _, sure := range []uint64{0, 1, n} {
			got, end, patches := mend(b, info, sure, false)
			if !bytes.Equal(got, b) || len(patches) != 0 || end.entries != n || (end.index > 0) != (size == 600) {
				t.Errorf("%d bytes of %d, %+v, patches %v", len(got), len(b), end, patches)
			}
		}
	}
}

// TestEveryFlippedHeaderIsMended: byte for byte, also in the index, wherever the
// checksum of the write is left to say so.
func TestEveryFlippedHeaderIsMended(t *testing.T) {
	for _, size := range []int{1 << 20, 600} {
		b, info, n := aSegment(t, size)
		mended := 0
		for at := range b {
			x := bytes.Clone(b)
			x[at] ^= 0x41
			got, end, _ := mend(x, info, n, false)
			if len(got) != len(b) || end.entries != n || end.index > 0 != (size == 600) {
				t.Fatalf("byte %d of %d: %d bytes are left, %+v", at, len(b), len(got), end)
			}
			if bytes.Equal(got, b) {
				mended++
			}
		}
		if mended < fileHeader+5*frameHeader {
			t.Errorf("%d of %d bytes were mended", mended, len(b))
		}
	}
}

// TestOnlyWhatWasStoredIsKept: a write that failed, and whose bytes are there all the
// same, does not come back.
func TestOnlyWhatWasStoredIsKept(t *testing.T) {
	b, info, n := aSegment(t, 1<<20)
	for _, sure := range []uint64{0, 1, 3, 6, 7} { // the ends of the writes
		x := bytes.Clone(b)
		x[len(x)/3] ^= 1
		if _, end, _ := mend(x, info, sure, true); end.entries != sure {
			t.Errorf("%d records are left, %d of %d were stored", end.entries, sure, n)
		}
	}
}

// FuzzMend mends anything. What comes out is a segment that needs no mending.
func FuzzMend(f *testing.F) {
	b, info, n := aSegment(f, 1<<20)
	f.Add(b, n)
	f.Add(b[:len(b)-5], n)
	full, _, n := aSegment(f, 600)
	f.Add(full, n)
	holed := bytes.Clone(b)
	clear(holed[100:200])
	f.Add(holed, uint64(0))
	f.Add(holed, uint64(9))
	f.Fuzz(func(t *testing.T, b []byte, sure uint64) {
		if len(b) < fileHeader {
			return
		}
		got, end, _ := mend(b, info, sure, false)
		if int64(len(got)) != end.end() {
			t.Fatalf("%d bytes, %+v", len(got), end)
		}
		if len(got) == 0 {
			return
		}
		again, end2, patches := mend(got, info, end.entries, false)
		if !bytes.Equal(again, got) || len(patches) > 0 || end2 != end {
			t.Fatalf("it was mended again: %+v, %+v, patches %v", end, end2, patches)
		}
	})
}

// TestMendedLogOpens: raft-wal reads what was mended.
func TestMendedLogOpens(t *testing.T) {
	r := newRig(t, 1<<20)
	for n := range 6 {
		r.put(n%3+1, 50)
	}
	r.ok(r.l.Close())
	path := r.segments()[0]
	b, err := os.ReadFile(path)
	r.ok(err)
	r.opts.Durable = 12
	for at := fileHeader; at < len(b); at += frameHeader {
		x := bytes.Clone(b)
		x[at] ^= 7
		r.ok(os.WriteFile(path, x, 0o600))
		r.open()
		if first, next := r.l.Bounds(); first != 1 || next != 13 {
			t.Fatalf("byte %d: records %d to %d", at, first, next-1)
		}
		r.ok(r.l.Close())
		copies, err := filepath.Glob(path + ".*")
		r.ok(err)
		for _, c := range copies {
			r.ok(os.Remove(c))
		}
	}
}
