//go:build linux

package soak

import (
	"math/rand/v2"
	"testing"
)

func TestLinesAndTheirPartsAreLocated(t *testing.T) {
	m := lineMaker{Seed: 3, Long: true}
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 3000 {
		id := lineID{file: n % 7, gen: n % 300, n: n * 17}
		text := m.add(nil, id)
		if len(text) != m.length(id) {
			t.Fatalf("%s has %d bytes, not %d", id, len(text), m.length(id))
		}
		got, from, to, err := m.locate(text)
		if err != nil || got != id || from != 0 || to != len(text) {
			t.Fatalf("%s is located as %s, %d to %d: %v", id, got, from, to, err)
		}
		if cut := cuts(len(text), r); cut > 0 {
			for _, part := range [][2]int{{0, cut}, {cut, len(text)}} {
				got, from, to, err := m.locate(text[part[0]:part[1]])
				if err != nil || got != id || from != part[0] || to != part[1] {
					t.Fatalf("bytes %v of %s are located as %s, %d to %d: %v", part, id, got, from, to, err)
				}
			}
		}
		text[r.IntN(len(text))] ^= 1
		if _, _, _, err := m.locate(text); err == nil {
			t.Fatalf("%s: a damaged line passes", id)
		}
	}
}
