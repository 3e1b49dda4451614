package wal

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
)

// bases are the names of the segments that have records.
func (r *rig) bases() (list []uint64) {
	for _, s := range r.l.Segments() {
		if s.First < s.Next {
			list = append(list, s.Base)
		}
	}
	return list
}

// stored are the records that the log has.
func (r *rig) stored(size int) (list []uint64) {
	r.Helper()
	for _, s := range r.l.Segments() {
		for seq := s.First; seq < s.Next; seq++ {
			got, err := r.l.Get(seq)
			r.ok(err)
			if want := rec(seq, size); string(got.Head) != string(want.Head) || len(got.Data) != size {
				r.Fatalf("record %d: %q", seq, got.Head)
			}
			list = append(list, seq)
		}
	}
	return list
}

func TestRemoveTakesAnySegment(t *testing.T) {
	for name, pick := range map[string]func(bases []uint64) []uint64{
		"the first":       func(b []uint64) []uint64 { return b[:1] },
		"in the middle":   func(b []uint64) []uint64 { return []uint64{b[2], b[4]} },
		"the last":        func(b []uint64) []uint64 { return b[len(b)-1:] },
		"first and last":  func(b []uint64) []uint64 { return []uint64{b[0], b[len(b)-1]} },
		"all but one":     func(b []uint64) []uint64 { return append(b[:3:3], b[4:]...) },
		"all":             func(b []uint64) []uint64 { return b },
		"one that is not": func([]uint64) []uint64 { return []uint64{2} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 4<<10)
			for range 30 {
				r.put(1, 1000)
			}
			bases := r.bases()
			gone := pick(slices.Clone(bases))
			var want []uint64
			for _, s := range r.l.Segments() {
				if !slices.Contains(gone, s.Base) {
					want = append(want, numbers(s.First, s.Next)...)
				}
			}
			_, next := r.l.Bounds()
			r.ok(r.l.Remove(gone...))
			check := func() {
				t.Helper()
				if got := r.stored(1000); !slices.Equal(got, want) {
					t.Fatalf("the log has %v, want %v", got, want)
				}
				if n := len(r.l.Segments()); len(r.segments()) > n {
					t.Fatalf("%d files for %d segments", len(r.segments()), n)
				}
			}
			check()
			r.reopen()
			check()
			for i := range uint64(9) {
				r.put(1, 1000)
				want = append(want, next+i)
			}
			check()
			r.reopen()
			check()
			r.ok(r.l.Remove(gone...)) // again
			check()
		})
	}
}

func TestRemoveOfAnEmptySegmentDoesNothing(t *testing.T) {
	r := newRig(t, 4<<10)
	r.ok(r.l.Remove(1))
	r.put(1, 10)
	r.ok(r.l.Remove(1))
	r.ok(r.l.Remove(2))
	r.put(1, 10)
	if got := r.stored(10); !slices.Equal(got, []uint64{2}) {
		t.Errorf("the log has %v", got)
	}
}

// TestRemoveThatFailsLosesNothingElse: whatever step of it fails, the log goes on.
func TestRemoveThatFailsLosesNothingElse(t *testing.T) {
	for fail := 0; ; fail++ {
		r := newRig(t, 4<<10)
		for range 20 {
			r.put(1, 1000)
		}
		bases := r.bases()
		step := 0
		r.opts.Faults.Set(Hooks{Step: func(op Op, path string) error {
			if step++; step == fail+1 {
				return fmt.Errorf("%s %s: %w", op, path, syscall.EIO)
			}
			return nil
		}})
		err := r.l.Remove(bases[1], bases[len(bases)-1])
		r.opts.Faults.Set(Hooks{})
		if step <= fail { // all have failed once
			if fail < 5 || err != nil {
				t.Errorf("%d steps, %v", step, err)
			}
			return
		}
		for again := range 2 {
			got := r.stored(1000)
			for _, seq := range numbers(1, 21) {
				removed := seq >= bases[1] && seq < bases[2] || seq >= bases[len(bases)-1]
				if there := slices.Contains(got, seq); !there && !removed || there && removed && err == nil {
					t.Fatalf("step %d (%v): the log has %v", fail, err, got)
				}
			}
			if again == 0 {
				r.reopen()
			}
		}
		_, next := r.l.Bounds()
		r.put(1, 1000)
		if got := r.stored(1000); got[len(got)-1] != next {
			t.Fatalf("step %d: the log has %v", fail, got)
		}
		r.ok(r.l.Close())
	}
}

func TestHeadsGoOverAllRecords(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *rig, files []string)
		lost   int
	}{
		"whole":                   {func(*rig, []string) {}, 0},
		"a length is wrong":       {func(r *rig, f []string) { r.change(f[1], func(b []byte) []byte { b[fileHeader+5] ^= 1; return b }) }, 1},
		"a frame is not an entry": {func(r *rig, f []string) { r.change(f[1], func(b []byte) []byte { b[fileHeader] = 7; return b }) }, 1},
		"zeros":                   {func(r *rig, f []string) { r.change(f[1], func(b []byte) []byte { clear(b[fileHeader:300]); return b }) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 4<<10)
			for n := range 20 {
				r.put(n%2+1, 1000)
			}
			r.ok(r.l.TruncateFront(3))
			c.change(r, r.segments())
			want, lost := uint64(3), 0
			err := r.l.Heads(func(seq uint64, head []byte, data int) error {
				if seq != want {
					t.Errorf("record %d, want %d", seq, want)
				}
				want++
				if head == nil {
					lost++
				} else if w := rec(seq, 1000); string(head) != string(w.Head) || data != 1000 {
					t.Errorf("record %d: %q, %d", seq, head, data)
				}
				return nil
			})
			if _, next := r.l.Bounds(); err != nil || want != next || lost != c.lost {
				t.Errorf("up to %d of %d, %d lost, %v", want, next, lost, err)
			}
			stop := errors.New("stop")
			if err := r.l.Heads(func(uint64, []byte, int) error { return stop }); !errors.Is(err, stop) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestReadingGoesOnWhileSegmentsAreRemoved: also while the log is opened anew.
func TestReadingGoesOnWhileSegmentsAreRemoved(t *testing.T) {
	r := newRig(t, 4<<10)
	for range 40 {
		r.put(1, 1000)
	}
	bases := r.bases()
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			for seq := bases[len(bases)-2]; seq <= 40; seq++ {
				if _, err := r.l.Get(seq); err != nil {
					done <- fmt.Errorf("record %d: %w", seq, err)
					return
				}
			}
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
		}
	}()
	for _, base := range bases[:len(bases)-2] {
		r.ok(r.l.Remove(base))
	}
	close(stop)
	r.ok(<-done)
	if _, err := os.Stat(r.segments()[0]); err != nil || len(r.segments()) > 3 {
		t.Errorf("%v, %v", r.segments(), err)
	}
}
