// Package lz4block encodes LZ4 blocks (without a frame), the compression that
// SLS calls "lz4".
//
// It is the algorithm of the reference implementation's LZ4_compress_fast with
// acceleration 1: one hash table of 4,096 positions, 16 KB, which stays in the
// first cache next to the data. Encoders with larger tables gain 5% of ratio
// and lose more than half of the speed on logs; compression is most of what it
// costs to send a log, so speed was chosen.
//
// On amd64 and arm64, which load unaligned words at no cost, bytes are read and
// written through unsafe.Pointer (mem_unsafe.go). The build tag lz4safe, and
// every other machine, takes the same algorithm over slices with bounds checks
// (mem_safe.go). Both give the same bytes.
package lz4block

import (
	"fmt"
	"math"
	"math/bits"
)

const (
	hashLog   = 12
	tableSize = 1 << hashLog

	minMatch     = 4
	lastLiterals = 5  // the format: a block ends with at least 5 literals
	matchMargin  = 12 // the format: no match starts in the last 12 bytes
	maxDistance  = 1<<16 - 1
	skipTrigger  = 6 // after 64 misses in a row every second position is tried, and so on
)

// MaxInput is the largest block that the format allows to be encoded.
const MaxInput = 0x7E000000

// Bound returns the most bytes that a block of n bytes can become: n literals
// with their length.
func Bound(n int) int { return n + n/255 + 16 }

// Compressor is the scratch of an encoder, 16 KB. The zero value is ready. It
// is not safe for concurrent use. What it writes depends on the source alone,
// not on the blocks before.
type Compressor struct {
	// table holds, by hash of five bytes, base + the position at which they
	// were last seen. Each block gets a base so much higher than the last
	// one's positions that these are out of reach and count as absent; so the
	// table is cleared once in 4 GB instead of before every block.
	table [tableSize]uint32
	base  uint32
}

// Compress encodes src into dst and returns the length of the block. dst must
// be at least Bound(len(src)) long and must not overlap src; src is at most
// MaxInput long. It panics otherwise, since both are errors of the program.
func (c *Compressor) Compress(dst, src []byte) int {
	n := len(src)
	if n > MaxInput {
		panic(fmt.Sprintf("lz4block: a block of %d bytes is larger than the %d that LZ4 allows", n, MaxInput))
	}
	if len(dst) < Bound(n) {
		panic(fmt.Sprintf("lz4block: %d bytes of room for a block of %d, which needs Bound = %d", len(dst), n, Bound(n)))
	}
	if n <= matchMargin {
		return lastRun(dst, src, 0, 0)
	}
	if c.base == 0 || uint64(c.base)+uint64(n)+maxDistance+1 > math.MaxUint32 {
		clear(c.table[:])
		c.base = maxDistance + 1
	}
	di, anchor := c.sequences(memOf(dst), memOf(src), n)
	c.base += uint32(n) + maxDistance + 1
	return lastRun(dst, src, di, anchor)
}

// sequences encodes the matches of src, which is n bytes long, and what stands
// before each. It returns how much of dst it wrote and from where on src remains
// as literals.
//
// It is one long function on purpose: it is the inner loop of sending, and
// every value in it lives in a register.
func (c *Compressor) sequences(dst, src mem, n int) (di, anchor int) {
	var (
		t         = &c.table
		base      = c.base
		lastStart = n - matchMargin  // no match starts behind this
		matchEnd  = n - lastLiterals // no match ends behind this
		ip        = 1
		dist      int
	)
	t[hash5(load64(src, 0))] = base
	next := hash5(load64(src, ip))
	for {
		// Find the next match, in steps that grow while there is none.
		for fp, step, misses := ip, 1, 1<<skipTrigger; ; {
			h := next
			ip = fp
			fp += step
			step = misses >> skipTrigger
			misses++
			if fp > lastStart {
				return di, anchor
			}
			cur := base + uint32(ip)
			dist = int(cur - t[h])
			next = hash5(load64(src, fp))
			t[h] = cur
			if uint(dist) <= maxDistance && load32(src, ip-dist) == load32(src, ip) {
				break
			}
		}
		for ip > anchor && ip > dist && load8(src, ip-1) == load8(src, ip-dist-1) {
			ip--
		}

		// Literals.
		lits := ip - anchor
		token := di
		di++
		tv := byte(lits << 4)
		if lits >= 15 {
			tv = 15 << 4
			di = putLength(dst, di, lits-15)
		}
		if lits <= 16 && anchor+16 <= n {
			copy16(dst, di, src, anchor) // fits: Bound leaves 16 bytes more than all literals need
		} else {
			copyN(dst, di, src, anchor, lits)
		}
		di += lits

		// The match, and those that follow it without literals between.
		for {
			store8(dst, di, byte(dist))
			store8(dst, di+1, byte(dist>>8))
			di += 2
			var length int // beyond minMatch; the first eight bytes decide nearly always
			if x := load64(src, ip+minMatch) ^ load64(src, ip+minMatch-dist); x != 0 {
				length = bits.TrailingZeros64(x) >> 3
			} else {
				length = 8 + matchLength(src, ip+minMatch+8, dist, matchEnd)
			}
			length = min(length, matchEnd-ip-minMatch)
			ip += minMatch + length
			if length >= 15 {
				tv |= 15
				di = putLength(dst, di, length-15)
			} else {
				tv |= byte(length)
			}
			store8(dst, token, tv)
			anchor = ip
			if ip >= lastStart {
				return di, anchor
			}
			t[hash5(load64(src, ip-2))] = base + uint32(ip-2)
			h := hash5(load64(src, ip))
			cur := base + uint32(ip)
			dist = int(cur - t[h])
			t[h] = cur
			if uint(dist) > maxDistance || load32(src, ip-dist) != load32(src, ip) {
				break
			}
			token = di
			di++
			tv = 0
		}
		ip++
		next = hash5(load64(src, ip))
	}
}

// hash5 hashes the low five bytes of v to an index of the table.
func hash5(v uint64) uint32 {
	return uint32((v<<24)*889523592379>>(64-hashLog)) % tableSize
}

// matchLength counts the bytes from i on, and before end, that equal those
// dist before them.
func matchLength(src mem, i, dist, end int) int {
	start := i
	for i+8 <= end {
		if x := load64(src, i) ^ load64(src, i-dist); x != 0 {
			return i - start + bits.TrailingZeros64(x)>>3
		}
		i += 8
	}
	for i < end && load8(src, i) == load8(src, i-dist) {
		i++
	}
	return i - start
}

// putLength writes what a length exceeds 15 by.
func putLength(dst mem, di, v int) int {
	for ; v >= 255; v -= 255 {
		store8(dst, di, 255)
		di++
	}
	store8(dst, di, byte(v))
	return di + 1
}

// lastRun writes what remains of src as literals.
func lastRun(dst, src []byte, di, anchor int) int {
	lits := len(src) - anchor
	if lits >= 15 {
		dst[di] = 15 << 4
		di = putLength(memOf(dst), di+1, lits-15)
	} else {
		dst[di] = byte(lits << 4)
		di++
	}
	return di + copy(dst[di:], src[anchor:])
}
