package segment

import "math/bits"

// bitset is a set of rows of one row group.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

// setRange adds lo <= i < hi.
func (b bitset) setRange(lo, hi int) {
	for ; lo < hi && lo&63 != 0; lo++ {
		b[lo>>6] |= 1 << (lo & 63)
	}
	for ; lo+64 <= hi; lo += 64 {
		b[lo>>6] = ^uint64(0)
	}
	for ; lo < hi; lo++ {
		b[lo>>6] |= 1 << (lo & 63)
	}
}

func (b bitset) set(i int)      { b[i>>6] |= 1 << (i & 63) }
func (b bitset) has(i int) bool { return b[i>>6]>>(i&63)&1 != 0 }

func (b bitset) or(c bitset) {
	for i := range b {
		b[i] |= c[i]
	}
}

func (b bitset) andNot(c bitset) {
	for i := range b {
		b[i] &^= c[i]
	}
}

func (b bitset) empty() bool {
	for _, w := range b {
		if w != 0 {
			return false
		}
	}
	return true
}

func (b bitset) count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// countRange counts the members lo <= i < hi.
func (b bitset) countRange(lo, hi int) int {
	if lo >= hi {
		return 0
	}
	first, last := lo>>6, (hi-1)>>6
	head := ^uint64(0) << (lo & 63)
	tail := ^uint64(0) >> (63 - (hi-1)&63)
	if first == last {
		return bits.OnesCount64(b[first] & head & tail)
	}
	n := bits.OnesCount64(b[first]&head) + bits.OnesCount64(b[last]&tail)
	for _, w := range b[first+1 : last] {
		n += bits.OnesCount64(w)
	}
	return n
}

// next returns the first member at or after i, or -1.
func (b bitset) next(i int) int {
	for k := i >> 6; k < len(b); k++ {
		w := b[k]
		if k == i>>6 {
			w &= ^uint64(0) << (i & 63)
		}
		if w != 0 {
			return k<<6 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// prev returns the last member at or before i, or -1.
func (b bitset) prev(i int) int {
	for k := i >> 6; i >= 0 && k >= 0; k-- {
		w := b[k]
		if k == i>>6 {
			w &= ^uint64(0) >> (63 - i&63)
		}
		if w != 0 {
			return k<<6 + 63 - bits.LeadingZeros64(w)
		}
	}
	return -1
}
