package segment

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"logtail/internal/server/query"
)

// A bloom filter over the words of one column of one row group: 12 bits a word
// and 6 probes let about 0.3 % of the absent words pass.
const (
	bloomBitsPerWord = 12
	bloomProbes      = 6
)

// wordHash hashes a word that is in lower case already.
func wordHash(word []byte) uint64 { return xxhash.Sum64(word) }

type bloom []uint64

func newBloom(words int) bloom {
	return make(bloom, (words*bloomBitsPerWord+63)/64)
}

// probe i of a hash falls on a bit by multiplication, which needs no division;
// the second hash is odd and mixed, so that probes do not coincide.
func (b bloom) bit(h, step uint64, i int) (word, bit uint64) {
	at, _ := bits.Mul64(h+uint64(i)*step, uint64(len(b))*64)
	return at >> 6, at & 63
}

func bloomStep(h uint64) uint64 { return (h^h>>29)*0x9e3779b97f4a7c15 | 1 }

func (b bloom) add(h uint64) {
	step := bloomStep(h)
	for i := range bloomProbes {
		w, bit := b.bit(h, step, i)
		b[w] |= 1 << bit
	}
}

// has reports false only for hashes that were not added.
func (b bloom) has(h uint64) bool {
	if len(b) == 0 {
		return false
	}
	step := bloomStep(h)
	for i := range bloomProbes {
		w, bit := b.bit(h, step, i)
		if b[w]>>bit&1 == 0 {
			return false
		}
	}
	return true
}

// wordSet gathers the hashes of the distinct words of a column; it is an open
// table that is used again for the next column.
type wordSet struct {
	slots []uint64 // 0 = free
	n     int
	zero  bool // the hash 0 is in the set
	lower []byte
}

func (s *wordSet) reset() {
	clear(s.slots)
	s.n, s.zero = 0, false
}

func (s *wordSet) len() int {
	if s.zero {
		return s.n + 1
	}
	return s.n
}

// addWords adds the words of a value.
func (s *wordSet) addWords(v []byte) {
	s.lower = query.AppendLower(s.lower[:0], v)
	for start, end := query.NextToken(s.lower, 0); start >= 0; start, end = query.NextToken(s.lower, end) {
		s.add(wordHash(s.lower[start:end]))
	}
}

func (s *wordSet) add(h uint64) {
	if h == 0 {
		s.zero = true
		return
	}
	if s.n*2 >= len(s.slots) {
		s.grow()
	}
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case 0:
			s.slots[i] = h
			s.n++
			return
		case h:
			return
		}
	}
}

func (s *wordSet) grow() {
	old := s.slots
	s.slots = make([]uint64, max(1024, 2*len(old)))
	s.n = 0
	for _, h := range old {
		if h != 0 {
			s.add(h)
		}
	}
}

// bloom makes the filter of the set.
func (s *wordSet) bloom() bloom {
	b := newBloom(s.len())
	if s.zero {
		b.add(0)
	}
	if s.n == 0 {
		return b
	}
	for _, h := range s.slots {
		if h != 0 {
			b.add(h)
		}
	}
	return b
}

// valueSet finds out which values were seen before, so that the words of a
// repeated value are hashed once. It compares values, not only hashes.
type valueSet struct {
	slots []int32 // index in values + 1; 0 = free
	seen  [][]byte
}

func (s *valueSet) reset() {
	clear(s.slots)
	s.seen = s.seen[:0]
}

// add reports whether v is new. It keeps v.
func (s *valueSet) add(v []byte) bool {
	if len(s.seen)*2 >= len(s.slots) {
		s.grow()
	}
	mask := uint64(len(s.slots) - 1)
	for i := xxhash.Sum64(v) & mask; ; i = (i + 1) & mask {
		at := s.slots[i]
		if at == 0 {
			s.seen = append(s.seen, v)
			s.slots[i] = int32(len(s.seen))
			return true
		}
		if string(s.seen[at-1]) == string(v) {
			return false
		}
	}
}

func (s *valueSet) grow() {
	s.slots = make([]int32, max(256, 2*len(s.slots)))
	mask := uint64(len(s.slots) - 1)
	for n, v := range s.seen {
		i := xxhash.Sum64(v) & mask
		for s.slots[i] != 0 {
			i = (i + 1) & mask
		}
		s.slots[i] = int32(n + 1)
	}
}
