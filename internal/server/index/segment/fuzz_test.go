package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"
)

func testSidecar() *sidecar {
	w := newBloom(3)
	w.add(wordHash([]byte("a")))
	return &sidecar{
		dataSize: 40_000, blocks: []uint64{1, 2}, rows: 5, from: 3, to: 9, minTime: -1, maxTime: 1 << 60, maxReceived: 5, rawBytes: 70,
		columns: []columnInfo{{key: "n", name: []byte("n"), kind: kindInt}, {key: "\xff", name: []byte("\xff")}},
		shapes:  [][]uint32{{}, {1, 2, 0}, {2}},
		groups: []groupInfo{
			{rows: 4, minTime: 1, maxTime: 2, columns: []chunkInfo{{present: 4, words: w}, {present: 4}, {present: 1}, {present: 2, min: -5, max: 1 << 40, words: w}, {}}},
			{rows: 1, minTime: 3, maxTime: 3, columns: []chunkInfo{{present: 1}, {present: 1}, {}, {}, {present: 1}}},
		},
		byKey: map[string]int{"n": 0, "\xff": 1},
	}
}

func TestSidecarRoundTrip(t *testing.T) {
	want := testSidecar()
	got, err := decodeSidecar(want.encode())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	b := want.encode()
	b[len(sidecarMagic)-1]++
	if _, err := decodeSidecar(b); !errors.Is(err, errCorrupt) {
		t.Errorf("a later version: %v", err)
	}
}

// FuzzSidecar decodes anything, with a right checksum, so that the fuzzer gets
// behind it.
func FuzzSidecar(f *testing.F) {
	f.Add(testSidecar().encode())
	f.Add([]byte(sidecarMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 8 {
			b = b[:len(b)-8]
		}
		b = binary.LittleEndian.AppendUint64(bytes.Clone(b), xxhash.Sum64(b))
		s, err := decodeSidecar(b)
		if err != nil {
			if !errors.Is(err, errCorrupt) {
				t.Fatalf("%v is not an errCorrupt", err)
			}
			return
		}
		again, err := decodeSidecar(s.encode())
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Fatalf("%+v does not survive encoding: %+v, %v", s, again, err)
		}
	})
}

func FuzzManifest(f *testing.F) {
	m := manifest{Next: 10, NextID: 3, Segments: []segmentMeta{{ID: 1, seqRange: seqRange{1, 5}, Rows: 3, MaxTime: 4}}, Lost: []lostSegment{{seqRange{5, 7}, 1, 2}}}
	b, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeManifest(b)
		if err != nil {
			if !errors.Is(err, errCorrupt) {
				t.Fatalf("%v is not an errCorrupt", err)
			}
			return
		}
		if pos := m.position(); pos > m.Next {
			t.Fatalf("position %d is behind the end %d", pos, m.Next)
		}
		if b, err = m.encode(); err != nil {
			t.Fatal(err)
		}
		if _, err := decodeManifest(b); err != nil {
			t.Fatalf("%+v does not survive encoding: %v", m, err)
		}
	})
}

func FuzzRest(f *testing.F) {
	f.Add(appendRest(appendRest(nil, "key", []byte("value")), "", nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		whole := b
		for len(b) > 0 {
			key, v, rest, ok := nextRest(b)
			if !ok {
				return
			}
			again = appendRest(again, string(key), v)
			b = rest
		}
		// Varints have longer forms, so only the length can be compared.
		if len(again) > len(whole) {
			t.Fatalf("%x became longer: %x", whole, again)
		}
	})
}

func TestBitset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 300).Draw(t, "n")
		b, naive := newBitset(n), make([]bool, n)
		lo := rapid.IntRange(0, n).Draw(t, "lo")
		hi := rapid.IntRange(lo, n).Draw(t, "hi")
		b.setRange(lo, hi)
		for i := lo; i < hi; i++ {
			naive[i] = true
		}
		for _, i := range rapid.SliceOf(rapid.IntRange(0, n-1)).Draw(t, "more") {
			b.set(i)
			naive[i] = true
		}
		from := rapid.IntRange(0, n-1).Draw(t, "from")
		to := rapid.IntRange(from, n).Draw(t, "to")
		next, prev, count, within := -1, -1, 0, 0
		for i := n - 1; i >= 0; i-- {
			if naive[i] != b.has(i) {
				t.Fatalf("has(%d) = %v", i, b.has(i))
			}
			if !naive[i] {
				continue
			}
			count++
			if i >= from {
				next = i
			}
			if i <= from && prev < 0 {
				prev = i
			}
			if i >= from && i < to {
				within++
			}
		}
		if b.next(from) != next || b.prev(from) != prev || b.count() != count || b.countRange(from, to) != within || b.empty() != (count == 0) {
			t.Fatalf("next %d (want %d), prev %d (%d), count %d (%d), countRange %d (%d)", b.next(from), next, b.prev(from), prev, b.count(), count, b.countRange(from, to), within)
		}
	})
}

func TestBloomHasWhatWasAddedAndLittleElse(t *testing.T) {
	var s wordSet
	const n = 20_000
	for i := range n {
		s.addWords(fmt.Appendf(nil, "Word%d and", i))
	}
	s.add(0)
	if s.len() != n+2 {
		t.Errorf("%d distinct words, want %d", s.len(), n+2)
	}
	b := s.bloom()
	wrong := 0
	for i := range n {
		if !b.has(wordHash(fmt.Appendf(nil, "word%d", i))) {
			t.Fatalf("word%d is not found", i)
		}
		if b.has(wordHash(fmt.Appendf(nil, "absent%d", i))) {
			wrong++
		}
	}
	if !b.has(0) {
		t.Error("the hash 0 is not found")
	}
	if wrong > n/100 {
		t.Errorf("%d of %d absent words pass", wrong, n)
	}
	if newBloom(0).has(1) {
		t.Error("an empty filter has a word")
	}
}
