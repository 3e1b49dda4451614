package monitor

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

type bead struct {
	pos    int32
	number int
}

func (b *bead) slot() *int32 { return &b.pos }

// In a round every member that stays is visited exactly once, whatever comes
// and goes in between.
func TestRingVisitsEveryMemberOnceARound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ring[*bead]
		n := rapid.IntRange(1, 20).Draw(t, "members")
		for i := range n {
			r.add(&bead{number: i})
		}
		stay := make(map[*bead]int) // visits of those that were there at the start of the round
		for _, b := range r.items {
			stay[b] = 0
		}
		for r.cursor < len(r.items) {
			switch rapid.SampledFrom([]string{"visit", "visit", "remove", "add"}).Draw(t, "step") {
			case "visit":
				b := r.next()
				if _, ok := stay[b]; ok {
					stay[b]++
				}
			case "remove":
				b := rapid.SampledFrom(r.items).Draw(t, "which")
				r.remove(b)
				delete(stay, b)
			case "add":
				if len(r.items) < 40 {
					r.add(&bead{number: 100 + len(r.items)})
				}
			}
			for i, b := range r.items {
				if int(b.pos) != i {
					t.Fatalf("member %d believes to be at %d", i, b.pos)
				}
			}
		}
		for b, visits := range stay {
			if visits != 1 {
				t.Fatalf("member %d was visited %d times in a round", b.number, visits)
			}
		}
		for len(r.items) > 0 { // also at the very end of a round every member knows its place
			r.remove(rapid.SampledFrom(r.items).Draw(t, "left"))
			for i, b := range r.items {
				if int(b.pos) != i {
					t.Fatalf("at the end of a round member %d believes to be at %d", i, b.pos)
				}
			}
		}
	})
}

func TestRingSpreadsItsVisits(t *testing.T) {
	var r ring[*bead]
	for range 1000 {
		r.add(&bead{})
	}
	for _, c := range []struct {
		name           string
		passed, period time.Duration
		rate           float64
		times, want    int
	}{
		{"a tenth of the period", 100 * time.Millisecond, time.Second, 1e9, 10, 1000},
		{"not more than the rate", 100 * time.Millisecond, time.Second, 50, 20, 100},
		{"fractions add up", time.Millisecond, time.Second, 500, 10, 5},
		{"after a pause one round", time.Hour, time.Second, 1e9, 1, 1000},
	} {
		r.credit = 0
		got := 0
		for range c.times {
			got += r.due(c.passed, c.period, c.rate)
		}
		if got < c.want-1 || got > c.want {
			t.Errorf("%s: %d visits, want %d", c.name, got, c.want)
		}
	}
	var empty ring[*bead]
	if empty.due(time.Hour, time.Second, 1e9) != 0 {
		t.Error("an empty ring wants visits")
	}
}
