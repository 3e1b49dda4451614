package wal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// salvaged opens what stands in the folder, with Options.Salvage, and returns the
// records that are whole, in the log and in what was put aside, and what was lost.
func salvaged(t *testing.T, r *rig, size int) (whole []uint64, lost []Loss) {
	t.Helper()
	l, err := Open(r.dir, Options{SegmentSize: r.opts.SegmentSize, Logger: r.opts.Logger, Salvage: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	note := func(seq uint64, got Record) {
		if want := rec(seq, size); bytes.Equal(got.Head, want.Head) && bytes.Equal(got.Data, want.Data) {
			whole = append(whole, seq)
		}
	}
	for _, s := range l.Segments() {
		for seq := s.First; seq < s.Next; seq++ {
			got, err := l.Get(seq)
			if err == nil {
				note(seq, got)
			} else if !errors.Is(err, ErrDamaged) {
				t.Fatalf("record %d: %v", seq, err)
			}
		}
	}
	lost = l.Lost()
	for _, x := range lost {
		if x.Path == "" {
			continue
		}
		err := Salvage(x.Path, func(seq uint64, got Record) bool {
			note(seq, got)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Append([]Record{rec(0, size)}); err != nil {
		t.Fatalf("writing to it: %v", err)
	}
	slices.Sort(whole)
	return slices.Compact(whole), lost
}

func numbers(from, to uint64) (list []uint64) {
	for ; from < to; from++ {
		list = append(list, from)
	}
	return list
}

func TestSalvageGoesOnWithoutWhatIsDamaged(t *testing.T) {
	const n = 39 // not a multiple of four, the records of a segment: the next one would be begun in the background
	list := func(r *rig) string { return filepath.Join(r.dir, segmentsName) }
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 0x40; return b }
	}
	for name, c := range map[string]struct {
		change func(r *rig, files []string)
		lost   int // records, if they cannot be read
		losses int // parts of the log
	}{
		"nothing":                {func(*rig, []string) {}, 0, 0},
		"the list is gone":       {func(r *rig, _ []string) { r.ok(os.Remove(list(r))) }, 0, -1},
		"the list is damaged":    {func(r *rig, _ []string) { r.change(list(r), flip(40)) }, 0, -1},
		"the list is empty":      {func(r *rig, _ []string) { r.change(list(r), func([]byte) []byte { return nil }) }, 0, -1},
		"a sealed file is gone":  {func(r *rig, f []string) { r.ok(os.Remove(f[1])) }, 4, 1},
		"the header of one":      {func(r *rig, f []string) { r.change(f[1], flip(9)) }, 0, 1},
		"one is cut":             {func(r *rig, f []string) { r.change(f[1], func(b []byte) []byte { return b[:len(b)-16] }) }, 0, 1},
		"one is cut to its half": {func(r *rig, f []string) { r.change(f[1], func(b []byte) []byte { return b[:len(b)/2] }) }, 2, 1},
		"one is empty":           {func(r *rig, f []string) { r.change(f[1], func([]byte) []byte { return nil }) }, 4, 1},
		"the first one is gone":  {func(r *rig, f []string) { r.ok(os.Remove(f[0])) }, 4, 1},
		"all of them are gone but the last": {func(r *rig, f []string) {
			for _, f := range f[:len(f)-1] {
				r.ok(os.Remove(f))
			}
		}, 36, -1},
		"a file of another kind":     {func(r *rig, _ []string) { r.ok(os.WriteFile(filepath.Join(r.dir, "x.wal"), nil, 0o600)) }, 0, 1},
		"the header of the last one": {func(r *rig, f []string) { r.change(f[len(f)-1], flip(17)) }, 0, 1},
		"garbage at the end of it": {func(r *rig, f []string) {
			r.change(f[len(f)-1], func(b []byte) []byte { return append(b, 1, 0, 0, 0, 9) })
		}, 0, 0},
		"the last write":                         {func(r *rig, f []string) { r.change(f[len(f)-1], func(b []byte) []byte { return b[:len(b)-8] }) }, 0, 1},
		"a byte of a sealed record":              {func(r *rig, f []string) { r.change(f[1], flip(200)) }, 1, 0},
		"the length of a sealed record":          {func(r *rig, f []string) { r.change(f[1], flip(fileHeader+4)) }, 1, 0},
		"the length of a record of the last one": {func(r *rig, f []string) { r.change(f[len(f)-1], flip(fileHeader+4)) }, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 4<<10)
			for range n {
				r.put(1, 1000)
			}
			r.ok(r.l.Close())
			files := r.segments()
			c.change(r, files)
			whole, lost := salvaged(t, r, 1000)
			if len(whole) != n-c.lost {
				t.Errorf("%d of %d records are whole: %v", len(whole), n, whole)
			}
			if c.losses >= 0 && len(lost) != c.losses {
				t.Errorf("losses %+v", lost)
			}
			if strings.Contains(name, "gone") && len(lost) > 0 && c.losses == 1 && lost[0].Next-lost[0].First != uint64(c.lost) {
				t.Errorf("losses %+v", lost)
			}
		})
	}
}

// TestEveryFlippedByteOfTheLastSegmentCostsItsRecordAtMost: also one of a length, a
// checksum or the header; and nothing is found that was not written.
func TestEveryFlippedByteOfTheLastSegmentCostsItsRecordAtMost(t *testing.T) {
	r := newRig(t, 1<<20)
	for n := range 8 {
		r.put(n%3+1, 40)
	}
	const n = 15
	r.ok(r.l.Close())
	path := r.segments()[0]
	good, err := os.ReadFile(path)
	r.ok(err)
	list, err := os.ReadFile(filepath.Join(r.dir, segmentsName))
	r.ok(err)
	dir := r.dir
	for at := range good {
		r.dir = t.TempDir()
		b := bytes.Clone(good)
		b[at] ^= 1 << (at % 8)
		r.ok(os.WriteFile(filepath.Join(r.dir, filepath.Base(path)), b, 0o600))
		r.ok(os.WriteFile(filepath.Join(r.dir, segmentsName), list, 0o600))
		if whole, lost := salvaged(t, r, 40); len(whole) < n-1 {
			t.Fatalf("byte %d of %d: only %d of %d: %v, %+v", at, len(good), len(whole), n, whole, lost)
		}
	}
	r.dir = dir
	if whole, _ := salvaged(t, r, 40); !slices.Equal(whole, numbers(1, n+1)) {
		t.Errorf("without damage: %v", whole)
	}
}

// TestPendingPartsAreReportedUntilTheyAreGone: what nobody has read is not forgotten.
func TestPendingPartsAreReportedUntilTheyAreGone(t *testing.T) {
	r := newRig(t, 4<<10)
	for range 20 {
		r.put(1, 1000)
	}
	r.ok(r.l.Close())
	r.change(r.segments()[1], func(b []byte) []byte { b[9]++; return b })
	var path string
	for range 2 {
		whole, lost := salvaged(t, r, 1000)
		if len(lost) != 1 || !slices.Contains(whole, 20) || !slices.Contains(whole, 6) {
			t.Fatalf("%+v, %v", lost, whole)
		}
		path = lost[0].Path
	}
	r.ok(os.Remove(path))
	if _, lost := salvaged(t, r, 1000); len(lost) != 0 {
		t.Errorf("%+v", lost)
	}
}

func TestNewerListIsRefusedAlsoBySalvage(t *testing.T) {
	r := newRig(t, 4<<10)
	r.put(1, 10)
	r.ok(r.l.Close())
	r.change(filepath.Join(r.dir, segmentsName), func([]byte) []byte { return []byte(`{"version":2}`) })
	var newer *VersionError
	if _, err := Open(r.dir, Options{Salvage: true}); !errors.As(err, &newer) {
		t.Errorf("got %v", err)
	}
	if len(r.segments()) != 1 {
		t.Error("the segment was put aside")
	}
}
