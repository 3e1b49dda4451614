package query

import "bytes"

// delimiters are the default separators of SLS, and space.
const delimiters = ", '\";=()[]{}?@&<>/:\n\t\r"

var (
	delimTable [256]bool
	lowerTable [256]byte
)

func init() {
	for i := range lowerTable {
		lowerTable[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			lowerTable[i] += 'a' - 'A'
		}
	}
	for i := range len(delimiters) {
		delimTable[delimiters[i]] = true
	}
}

// IsDelimiter says whether the byte separates words: , ' " ; = ( ) [ ] { } ? @
// & < > / : newline, tab, carriage return and space, the default of SLS. All
// are ASCII, so text that is not UTF-8 splits in the same way.
func IsDelimiter(c byte) bool { return delimTable[c] }

// NextToken returns where the first word of v at or after i lies; start is -1
// when there is none. i must be 0 or the end of a word.
func NextToken(v []byte, i int) (start, end int) {
	for i < len(v) && delimTable[v[i]] {
		i++
	}
	if i == len(v) {
		return -1, len(v)
	}
	start = i
	for i < len(v) && !delimTable[v[i]] {
		i++
	}
	return start, i
}

// AppendLower appends b with ASCII letters in lower case: the form in which
// words are compared and hashed.
func AppendLower(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, lowerTable[c])
	}
	return dst
}

// tokens returns the words of s in lower case.
func tokens(s string) [][]byte {
	v := AppendLower(make([]byte, 0, len(s)), []byte(s))
	var all [][]byte
	for start, end := NextToken(v, 0); start >= 0; start, end = NextToken(v, end) {
		all = append(all, v[start:end:end])
	}
	return all
}

// needle is a word in lower case, prepared for searching.
type needle struct {
	word   []byte
	anchor int // index of the byte of the word that is looked for first
	lower  byte
	upper  byte
}

// commonness ranks bytes by how often logs hold them; a word is looked for by
// its rarest byte.
const commonBytes = "qzjxkvwbgyfpmuhdclrnsitaoe9876543201.-_"

func newNeedle(word []byte) needle {
	n := needle{word: word}
	best := len(commonBytes) + 1
	for i, c := range word {
		rank := bytes.IndexByte([]byte(commonBytes), c)
		if rank < best {
			best, n.anchor = rank, i
		}
	}
	if len(word) > 0 {
		n.lower = word[n.anchor]
		n.upper = n.lower
		if 'a' <= n.lower && n.lower <= 'z' {
			n.upper -= 'a' - 'A'
		}
	}
	return n
}

// index returns where the word begins at or after i as a whole token of v, or
// with prefix as the beginning of a token; -1 if nowhere. It jumps from one
// occurrence of the anchor byte to the next, in both cases of a letter.
func (n *needle) index(v []byte, i int, prefix bool) int {
	// Positions of the next anchor bytes; those before the word's own anchor
	// could not begin within v.
	lo, up := -1, -1
	at := i + n.anchor
	for {
		if at > len(v) {
			return -1
		}
		if lo < at {
			lo = nextByte(v, at, n.lower)
		}
		if n.upper == n.lower {
			up = len(v)
		} else if up < at {
			up = nextByte(v, at, n.upper)
		}
		hit := min(lo, up)
		if hit == len(v) {
			return -1
		}
		if start := hit - n.anchor; n.at(v, start, prefix) {
			return start
		}
		at = hit + 1
	}
}

func nextByte(v []byte, from int, c byte) int {
	if i := bytes.IndexByte(v[from:], c); i >= 0 {
		return from + i
	}
	return len(v)
}

// at says whether the word stands at start of v within token bounds.
func (n *needle) at(v []byte, start int, prefix bool) bool {
	end := start + len(n.word)
	if end > len(v) || start > 0 && !delimTable[v[start-1]] || !prefix && end < len(v) && !delimTable[v[end]] {
		return false
	}
	for j, c := range n.word {
		if lowerTable[v[start+j]] != c {
			return false
		}
	}
	return true
}
