package onepass

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// wide tells which runes from U+0080 up a class holds. An invalid byte counts as
// U+FFFD, as everywhere in package regexp.
type wide uint8

const (
	wideNone wide = iota // no rune from U+0080 up: every member is one byte
	wideAll              // every rune from U+0080 up
	wideSome             // those in runeClass.ranges
)

// scan is the way runeClass.run looks for the end of a run.
type scan uint8

const (
	scanTable   scan = iota // byte by byte through the table
	scanAll                 // the class holds everything
	scanStop                // everything but one byte: bytes.IndexByte
	scanControl             // everything but bytes below 0x21 (not all, maybe) and one other: eight bytes at a time
	scanRunes               // wideSome: decode
)

// runeClass is a set of runes made ready for scanning.
type runeClass struct {
	// first holds the ASCII members and, for longer runes, every byte with which
	// a member may begin (so it is exact below 0x80 and a superset above).
	first  [256]bool
	set    byteSet // the same bytes
	scan   scan
	wide   wide
	stop   byte   // scanStop: the byte that is no member; scanControl: the one from 0x21 up
	ranges []rune // wideSome: the members from U+0080 up as sorted pairs low, high
}

// newClass makes a class of sorted pairs low, high, as syntax.OpCharClass has them.
func newClass(ranges []rune) *runeClass {
	c := &runeClass{}
	covered := rune(utf8.RuneSelf) // every rune from U+0080 up to here is a member
	for i := 0; i+1 < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		for r := lo; r <= hi && r < utf8.RuneSelf; r++ {
			c.first[r] = true
		}
		if hi < utf8.RuneSelf {
			continue
		}
		lo = max(lo, utf8.RuneSelf)
		c.ranges = append(c.ranges, lo, hi)
		if lo <= covered {
			covered = max(covered, hi+1)
		}
		for lead := leadByte(lo); lead <= leadByte(hi); lead++ {
			c.first[lead] = true
		}
		if lo <= utf8.RuneError && utf8.RuneError <= hi { // an invalid byte is a member
			for b := utf8.RuneSelf; b < 256; b++ {
				c.first[b] = true
			}
		}
	}
	switch {
	case len(c.ranges) == 0:
		c.wide = wideNone
	case covered > unicode.MaxRune:
		c.wide, c.ranges = wideAll, nil
		for b := utf8.RuneSelf; b < 256; b++ {
			c.first[b] = true
		}
	default:
		c.wide = wideSome
	}
	for b, ok := range c.first {
		if ok {
			c.set.add(byte(b))
		}
	}
	c.chooseScan()
	return c
}

// leadByte returns the first byte of r in UTF-8, also for surrogates, which no text decodes to.
func leadByte(r rune) int {
	switch {
	case r < 0x800:
		return int(0xC0 | r>>6)
	case r < 0x10000:
		return int(0xE0 | r>>12)
	default:
		return int(0xF0 | r>>18)
	}
}

func (c *runeClass) chooseScan() {
	var missing, missingPrintable int
	for b := range utf8.RuneSelf {
		if c.first[b] {
			continue
		}
		missing++
		if missing == 1 || b >= 0x21 {
			c.stop = byte(b)
		}
		if b >= 0x21 {
			missingPrintable++
		}
	}
	switch {
	case c.wide == wideSome:
		c.scan = scanRunes
	case c.wide == wideNone:
		c.scan = scanTable
	case missing == 0:
		c.scan = scanAll
	case missing == 1:
		c.scan = scanStop
	case missingPrintable == 0:
		c.scan, c.stop = scanControl, ' '
	case missingPrintable == 1:
		c.scan = scanControl
	default:
		c.scan = scanTable
	}
}

// classRanges returns the sorted pairs of the class re matches exactly one rune of; ok is
// false if re is no such expression.
func classRanges(re *syntax.Regexp) (ranges []rune, ok bool) {
	switch re.Op {
	case syntax.OpAnyChar:
		return []rune{0, unicode.MaxRune}, true
	case syntax.OpAnyCharNotNL:
		return []rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune}, true
	case syntax.OpCharClass:
		return re.Rune, true
	case syntax.OpLiteral:
		if len(re.Rune) == 1 {
			return orbit(re.Rune[0], re.Flags&syntax.FoldCase != 0), true
		}
	}
	return nil, false
}

// orbit returns the pairs of the class of r and, if fold is set, of every rune
// that differs from it in case alone (for k that is k, K and U+212A).
func orbit(r rune, fold bool) []rune {
	members := []rune{r}
	if fold {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			members = append(members, f)
		}
	}
	var pairs []rune
	for len(members) > 0 { // at most four: take the smallest each time
		least := 0
		for i, m := range members {
			if m < members[least] {
				least = i
			}
		}
		pairs = append(pairs, members[least], members[least])
		members = append(members[:least], members[least+1:]...)
	}
	return pairs
}

// width returns how many bytes the member at b[p] takes, 0 if there is none.
// p is less than len(b) and begins a rune.
func (c *runeClass) width(b []byte, p int) int {
	x := b[p]
	if !c.first[x] {
		return 0
	}
	if x < utf8.RuneSelf {
		return 1
	}
	r, n := utf8.DecodeRune(b[p:])
	if c.wide == wideAll || c.holdsWide(r) {
		return n
	}
	return 0
}

// holdsWide tells whether a wideSome class holds r, which is U+0080 or more.
func (c *runeClass) holdsWide(r rune) bool {
	lo, hi := 0, len(c.ranges)/2
	for lo < hi {
		mid := (lo + hi) / 2
		switch {
		case r < c.ranges[2*mid]:
			hi = mid
		case r > c.ranges[2*mid+1]:
			lo = mid + 1
		default:
			return true
		}
	}
	return false
}

const (
	everyByte = 0x0101010101010101
	everyHigh = 0x8080808080808080
)

// run returns the end of the longest run of members from p, not past end.
// p begins a rune; end is len(b) or begins a rune.
func (c *runeClass) run(b []byte, p, end int) int {
	switch c.scan {
	case scanAll:
		return end
	case scanStop:
		if i := bytes.IndexByte(b[p:end], c.stop); i >= 0 {
			return p + i
		}
		return end
	case scanRunes:
		for p < end {
			n := c.width(b, p)
			if n == 0 {
				break
			}
			p += n
		}
		return p
	case scanControl:
		// Eight bytes at a time: a high bit is set for every byte below 0x21 or equal
		// to stop. A borrow can set further ones, but only above a true one, so the
		// lowest is true. It may still be a member (a control byte that is in the class).
		stops := uint64(c.stop) * everyByte
		for p+8 <= end {
			x := binary.LittleEndian.Uint64(b[p:])
			y := x ^ stops
			t := ((x - 0x21*everyByte) & ^x & everyHigh) | ((y - everyByte) & ^y & everyHigh)
			if t == 0 {
				p += 8
				continue
			}
			p += bits.TrailingZeros64(t) >> 3
			if !c.first[b[p]] {
				return p
			}
			p++
		}
	}
	for i, x := range b[p:end] {
		if !c.first[x] {
			return p + i
		}
	}
	return end
}

// span returns the ends of the shortest and of the longest run of members from p with at
// least least and (most >= 0) at most most runes; ok is false if even the shortest is not there.
func (c *runeClass) span(b []byte, p, least, most int) (shortest, longest int, ok bool) {
	if c.wide == wideNone {
		end := len(b)
		if most >= 0 {
			end = min(end, p+most)
		}
		longest = c.run(b, p, end)
		return p + least, longest, longest-p >= least
	}
	shortest = p
	for range least {
		if shortest >= len(b) {
			return 0, 0, false
		}
		n := c.width(b, shortest)
		if n == 0 {
			return 0, 0, false
		}
		shortest += n
	}
	longest = shortest
	if most < 0 {
		return shortest, c.run(b, longest, len(b)), true
	}
	for k := least; k < most && longest < len(b); k++ {
		n := c.width(b, longest)
		if n == 0 {
			break
		}
		longest += n
	}
	return shortest, longest, true
}

// beginsRune tells whether stepping through b rune by rune, as package regexp does, stops at p.
// Any byte but a continuation byte always begins a rune; a continuation byte does unless a
// valid rune that starts up to three bytes before covers it.
func beginsRune(b []byte, p int) bool {
	if p >= len(b) || utf8.RuneStart(b[p]) {
		return true
	}
	for q := p - 1; q >= 0 && q > p-utf8.UTFMax; q-- {
		if utf8.RuneStart(b[q]) {
			_, n := utf8.DecodeRune(b[q:])
			return q+n <= p
		}
	}
	return true
}
