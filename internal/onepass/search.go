package onepass

import (
	"bytes"
	"unicode/utf8"
)

// search looks for the leftmost match in b. caps has prog.slots elements; they are the captures if it
// returns matched and worthless otherwise.
func (m *machine) search(prog *program, b []byte, caps []int) outcome {
	m.start(len(b))
	if prog.anchored {
		return m.try(prog, b, 0, caps)
	}
	for start := 0; ; {
		start = prog.nextStart(b, start)
		if start < 0 {
			return noMatch
		}
		if o := m.try(prog, b, start, caps); o != noMatch {
			return o
		}
		if start >= len(b) {
			return noMatch
		}
		if m.budget < 0 {
			return gaveUp
		}
		if prog.lead != nil {
			start = max(start+1, prog.lead.run(b, start, len(b)))
		} else {
			start++
		}
	}
}

// try matches b at start.
func (m *machine) try(prog *program, b []byte, start int, caps []int) outcome {
	if !prog.allSet {
		for i := range caps {
			caps[i] = -1
		}
	}
	return m.exec(prog, b, start, caps)
}

// nextStart returns the first place from start on where a match can begin, -1 if there is none.
func (p *program) nextStart(b []byte, start int) int {
	if len(p.prefix) > 0 {
		var i int
		if len(p.prefix) == 1 {
			i = bytes.IndexByte(b[start:], p.prefix[0])
		} else {
			i = bytes.Index(b[start:], p.prefix)
		}
		if i < 0 {
			return -1
		}
		return start + i
	}
	for ; start < len(b); start++ {
		x := b[start]
		if p.starts[x] && (x < utf8.RuneSelf || beginsRune(b, start)) {
			return start
		}
	}
	if p.begin.end {
		return len(b)
	}
	return -1
}

// beginsWith tells whether b may match from its beginning, by its first byte alone.
func (p *program) beginsWith(b []byte) bool {
	if len(b) == 0 {
		return p.begin.end
	}
	return p.starts[b[0]]
}
