package process

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep JSON may be nested, the outermost object included: the
// limit of package encoding/json.
const maxDepth = 10_000

// jsonScanner finds the end of a JSON value and checks all of it on the way.
type jsonScanner struct {
	// object has a bit for each level that is open: 1 for an object, 0 for an array.
	object [maxDepth/64 + 1]uint64
}

func skipBlanks(s []byte, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	return i
}

// scanString returns the index of the quote that ends the string whose text
// begins at i, and whether there are escapes in it; or -1 if the string is not valid.
func scanString(s []byte, i int) (end int, escaped bool) {
	for {
		// Eight bytes at a time: is there a quote, a backslash or a control character?
		// The lowest byte that a term marks is right; above it others may be marked wrongly.
		for ; i+8 <= len(s); i += 8 {
			w := binary.LittleEndian.Uint64(s[i:])
			q, e := w^('"'*ones), w^('\\'*ones)
			if m := ((w-0x20*ones)&^w | (q-ones)&^q | (e-ones)&^e) & highs; m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				goto found
			}
		}
		for i < len(s) && s[i] >= 0x20 && s[i] != '"' && s[i] != '\\' {
			i++
		}
		if i == len(s) {
			return -1, false
		}
	found:
		if s[i] == '"' {
			return i, escaped
		}
		if s[i] != '\\' || i+1 == len(s) {
			return -1, false
		}
		escaped = true
		switch s[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if i+6 > len(s) || hex4(s[i+2:]) < 0 {
				return -1, false
			}
			i += 6
		default:
			return -1, false
		}
	}
}

// hex4 returns the value of the four hexadecimal digits with which s begins, or -1.
func hex4(s []byte) rune {
	var r rune
	for _, c := range s[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// unescape writes the text of a valid JSON string to dst, which has at least
// its length, and returns what it used of it. Text never gets longer by it.
func unescape(dst, s []byte) []byte {
	d := dst[:0]
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			from := i
			for i++; i < len(s) && s[i] != '\\'; i++ {
			}
			d = append(d, s[from:i]...)
			continue
		}
		c := s[i+1]
		i += 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(s[i:])
			i += 4
			if utf16.IsSurrogate(r) {
				second := rune(-1)
				if i+6 <= len(s) && s[i] == '\\' && s[i+1] == 'u' {
					second = hex4(s[i+2:])
				}
				if r = utf16.DecodeRune(r, second); r != utf8.RuneError {
					i += 6
				}
			}
			d = utf8.AppendRune(d, r)
			continue
		}
		d = append(d, c)
	}
	return d
}

// value returns the index behind the value other than a string that begins at
// i, which is no blank, or -1 if it is not valid.
func (j *jsonScanner) value(s []byte, i int) int {
	if s[i] == '{' || s[i] == '[' {
		return j.nested(s, i)
	}
	return scalar(s, i)
}

// scalar is value for numbers and the three words.
func scalar(s []byte, i int) int {
	var word string
	switch s[i] {
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
		word = "null"
	default:
		return number(s, i)
	}
	if len(s)-i < len(word) || string(s[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

func number(s []byte, i int) int {
	if s[i] == '-' {
		i++
	}
	switch {
	case i < len(s) && s[i] == '0':
		i++
	case i < len(s) && '1' <= s[i] && s[i] <= '9':
		i = digits(s, i)
	default:
		return -1
	}
	if i < len(s) && s[i] == '.' {
		from := i + 1
		if i = digits(s, from); i == from {
			return -1
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		from := i
		if i = digits(s, from); i == from {
			return -1
		}
	}
	return i
}

func digits(s []byte, i int) int {
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return i
}

// nested is value for objects and arrays, without recursion.
func (j *jsonScanner) nested(s []byte, i int) int {
	depth := 1 // the outermost object, which the caller is in
	for {
		// Here a value begins at i.
		switch {
		case i == len(s):
			return -1
		case s[i] == '{' || s[i] == '[':
			if depth++; depth > maxDepth {
				return -1
			}
			word, bit := depth>>6, uint64(1)<<(depth&63)
			object := s[i] == '{'
			if object {
				j.object[word] |= bit
			} else {
				j.object[word] &^= bit
			}
			if i = skipBlanks(s, i+1); i == len(s) {
				return -1
			}
			if object && s[i] != '}' {
				if i = name(s, i); i < 0 {
					return -1
				}
				continue
			}
			if !object && s[i] != ']' {
				continue
			}
			// It is empty, and its end is at i.
		case s[i] == '"':
			end, _ := scanString(s, i+1)
			if end < 0 {
				return -1
			}
			i = skipBlanks(s, end+1)
		default:
			if i = scalar(s, i); i < 0 {
				return -1
			}
			i = skipBlanks(s, i)
		}
		// Here a value was read, and i is at the first byte behind it that is no blank.
		for {
			if i == len(s) {
				return -1
			}
			object := j.object[depth>>6]>>(depth&63)&1 == 1
			c := s[i]
			i++
			if c == ',' {
				i = skipBlanks(s, i)
				if object {
					if i = name(s, i); i < 0 {
						return -1
					}
				}
				break
			}
			if object && c != '}' || !object && c != ']' {
				return -1
			}
			if depth--; depth == 1 {
				return i
			}
			i = skipBlanks(s, i)
		}
	}
}

// name returns the index of the value behind the member name that begins at i, or -1.
func name(s []byte, i int) int {
	if i == len(s) || s[i] != '"' {
		return -1
	}
	end, _ := scanString(s, i+1)
	if end < 0 {
		return -1
	}
	if i = skipBlanks(s, end+1); i == len(s) || s[i] != ':' {
		return -1
	}
	return skipBlanks(s, i+1)
}
