package process

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"logtail/internal/agent/event"
	"logtail/internal/onepass"
	"logtail/internal/pipeline"
)

// Mode tells a Splitter where in the stream its chunk lies.
type Mode uint8

// The flags of a Mode.
const (
	// Mid: the chunk begins inside a record whose first part was already
	// taken. The rest of that record is a record of its own; a line end right
	// at the start only ends what was taken and makes no empty record.
	Mid Mode = 1 << iota
	// Final: nothing more comes, or the time to wait for more is over. What is
	// left at the end is a record, terminated or not.
	Final
	// Full: the chunk is as long as a read may be. If no whole record is in
	// it, all of it is taken as a part of one.
	Full
)

// Splitter finds records in a chunk. It keeps nothing between calls: what it
// did not consume is to be given to it again, with more behind it.
type Splitter interface {
	// Split adds the records of chunk to b until b is full or no further whole
	// record is there. Records are views into chunk; base is the offset of
	// chunk[0] in the stream, and each record's End the offset behind its line
	// end. consumed is the number of bytes that became records or are none (a
	// swallowed line end); mid says whether they end inside a record, that is,
	// whether the next call needs Mid. Only the last record of a call is ever a
	// part: behind all others a new one begins. A caller repeats with
	// chunk[consumed:], without Full, until nothing is consumed.
	Split(b *event.Batch, chunk []byte, base uint64, mode Mode) (consumed int, mid bool)
	// Clone returns a Splitter of the same settings for another goroutine.
	Clone() Splitter
}

// NewSplitter returns the splitter for m. Without patterns a line is a record,
// an empty one too; the line end is \n, and one \r before it belongs to it, so
// that files written on Windows give the same text as elsewhere. NUL bytes at the ends of
// a record, left behind by truncation or a crash, are not part of it.
// A record longer than maxRecord bytes is split into parts of that size at most, at a
// character's boundary; 0 means no limit but that of Full. The error names the pattern that is wrong.
func NewSplitter(m pipeline.Multiline, maxRecord int) (Splitter, error) {
	if maxRecord <= 0 {
		maxRecord = int(^uint(0) >> 1)
	}
	if m.Mode != "" && m.Mode != "custom" {
		return nil, fmt.Errorf("the Multiline.Mode %q is not supported; use \"custom\" with patterns", m.Mode)
	}
	s := &multilineSplitter{max: maxRecord}
	switch m.UnmatchedContentTreatment {
	case "", "single_line":
	case "discard":
		s.discard = true
	default:
		return nil, fmt.Errorf("the Multiline.UnmatchedContentTreatment is %q; it must be \"single_line\" or \"discard\"", m.UnmatchedContentTreatment)
	}
	for _, p := range [...]struct {
		name, pattern string
		re            **onepass.Regexp
	}{{"StartPattern", m.StartPattern, &s.start}, {"ContinuePattern", m.ContinuePattern, &s.cont}, {"EndPattern", m.EndPattern, &s.end}} {
		if p.pattern == "" {
			continue
		}
		re, err := onepass.Compile(p.pattern)
		if err != nil {
			return nil, fmt.Errorf("the Multiline.%s cannot be used: %w", p.name, err)
		}
		*p.re = re
	}
	switch {
	case s.cont != nil && s.start == nil && s.end == nil:
		return nil, fmt.Errorf("the Multiline.ContinuePattern is given alone; add StartPattern or EndPattern")
	case s.cont != nil && s.start != nil && s.end != nil:
		return nil, fmt.Errorf("the Multiline block has all three patterns; remove ContinuePattern or EndPattern")
	case s.start == nil && s.end == nil, s.cont == nil && s.end == nil && everyLine(m.StartPattern):
		return lineSplitter{max: maxRecord}, nil
	}
	return s, nil
}

// everyLine says whether a start pattern is a way to write "each line is a
// record", which is what Logtail's console puts into logBeginRegex by default.
func everyLine(start string) bool {
	return start == ".*" || start == "^.*$" || start == ".*$" || start == "^.*"
}

// text is a record's or line's text without its line end: chunk[from:to], less
// one \r at the end, less the NULs at both ends.
func text(chunk []byte, from, to int) []byte {
	t := chunk[from:to]
	if n := len(t); n > 0 && t[n-1] == '\r' {
		t = t[:n-1]
	}
	if n := len(t); n > 0 && (t[n-1] == 0 || t[0] == 0) {
		t = bytes.Trim(t, "\x00")
	}
	return t
}

// cut returns where to cut chunk at offset to or a little before it, above
// from, so that neither a character of UTF-8 nor a \r\n is torn.
func cut(chunk []byte, from, to int) int {
	c := to
	for i := c - 1; i > from && i > to-utf8.UTFMax; i-- {
		if utf8.RuneStart(chunk[i]) {
			// The last character begins at i: does it end by to?
			if end := min(i+utf8.UTFMax, len(chunk)); to < len(chunk) {
				if _, n := utf8.DecodeRune(chunk[i:end]); n > 1 && i+n > to {
					c = i
				}
			} else if !utf8.FullRune(chunk[i:to]) {
				c = i
			}
			break
		}
	}
	if c-1 > from && chunk[c-1] == '\r' {
		c--
	}
	return c
}
