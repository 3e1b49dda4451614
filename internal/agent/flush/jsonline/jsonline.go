// Package jsonline turns log groups into lines of JSON, one object per log.
//
// An object has, in this order: __time__ (a number, unix seconds),
// __time_ns_part__ (a number, nanoseconds within the second; only if known),
// __topic__ and __source__ (if not empty), the tags as "__tag__:key", then the
// log's contents in their order; all but the times are strings. The names are
// those under which SLS shows the same log. Contents with the same key are
// repeated as they are.
package jsonline

import (
	"strconv"
	"unicode/utf8"

	"logtail/internal/sls"
)

// Encoder turns log groups into lines. It keeps its memory between groups and
// is not for concurrent use. The zero value is ready.
type Encoder struct {
	group sls.LogGroup
	head  []byte // what all logs of the group have in common
}

// Append adds one line per log of the encoded group (LogGroup protobuf, not
// compressed) to dst. On error, which is an *sls.Error, dst is unchanged.
func (e *Encoder) Append(dst, group []byte) ([]byte, error) {
	if err := e.group.Decode(group, sls.DefaultLimits); err != nil {
		return dst, err
	}
	g := &e.group
	e.head = e.head[:0]
	if g.Topic != "" {
		e.head = appendPair(e.head, "__topic__", g.Topic)
	}
	if g.Source != "" {
		e.head = appendPair(e.head, "__source__", g.Source)
	}
	for i := range g.Tags {
		e.head = append(e.head, `,"__tag__:`...)
		e.head = appendEscaped(e.head, g.Tags[i].Key)
		e.head = append(e.head, `":"`...)
		e.head = appendEscaped(e.head, g.Tags[i].Value)
		e.head = append(e.head, '"')
	}
	for i := range g.Logs {
		l := &g.Logs[i]
		dst = append(dst, Start...)
		dst = strconv.AppendUint(dst, uint64(l.Sec), 10)
		if l.Nsec >= 0 {
			dst = append(dst, `,"__time_ns_part__":`...)
			dst = strconv.AppendInt(dst, int64(l.Nsec), 10)
		}
		dst = append(dst, e.head...)
		for k := range l.Contents {
			dst = appendPair(dst, l.Contents[k].Key, l.Contents[k].Value)
		}
		dst = append(dst, '}', '\n')
	}
	return dst, nil
}

// Start is how every line begins.
const Start = `{"__time__":`

func appendPair[T string | []byte](dst []byte, key, value T) []byte {
	dst = append(dst, ',', '"')
	dst = appendEscaped(dst, key)
	dst = append(dst, '"', ':', '"')
	dst = appendEscaped(dst, value)
	return append(dst, '"')
}

// plain marks the bytes that stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

const hex = "0123456789abcdef"

// appendEscaped writes s as the inside of a JSON string (RFC 8259 section 7).
// A byte that is no part of valid UTF-8 becomes U+FFFD, as in encoding/json.
func appendEscaped[T string | []byte](dst []byte, s T) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			size := runeLen(s, i)
			if size > 0 {
				i += size
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\ufffd"...)
			i++
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(dst, s[start:]...)
}

// runeLen is the length of the valid character at s[i], or 0.
func runeLen[T string | []byte](s T, i int) int {
	var b [utf8.UTFMax]byte
	n := copy(b[:], s[i:])
	r, size := utf8.DecodeRune(b[:n])
	if r == utf8.RuneError && size <= 1 {
		return 0
	}
	return size
}
