package process

import (
	"bytes"

	"logtail/internal/agent/event"
	"logtail/internal/onepass"
)

// multilineSplitter joins lines to records. The patterns are asked about the
// beginning of a line, as LoongCollector asks them; those that are given decide:
//
//	start           a record goes from a start line to the next
//	start+continue  from a start line on, as long as lines continue it
//	start+end       from a start line to the first end line behind it
//	continue+end    lines that continue, and the end line behind them
//	end             all lines up to an end line
//
// Other lines are unmatched: a record each, or dropped and counted. What is open when
// no more comes (Final) is a record, whatever the patterns: better an
// unfinished record than a lost one. The rest of a record (Mid) goes on as the
// open record that it is; its first line begins no other, since it may begin inside a line.
type multilineSplitter struct {
	start, cont, end *onepass.Regexp // nil: not given
	discard          bool
	max              int // longest record in bytes
}

func (s *multilineSplitter) Clone() Splitter {
	c := *s
	for _, re := range []**onepass.Regexp{&c.start, &c.cont, &c.end} {
		if *re != nil {
			*re = (*re).Clone()
		}
	}
	return &c
}

// scan is the state of one Split.
type scan struct {
	s     *multilineSplitter
	b     *event.Batch
	chunk []byte
	base  uint64
	done  int  // up to here chunk has become records
	open  bool // a record is open; it began at done
	mid   bool // a part of the record at done was taken before
}

// verdict is what a line means for the open record.
type verdict uint8

const (
	goesOn  verdict = iota // the line belongs to it
	endsIt                 // the line is its last
	behind                 // the line lies behind it and is looked at anew
	starts                 // the line lies behind it and begins the next one
	breaks                 // the line belongs to it, which makes all of it unmatched
	outside                // no record is open, and the line is unmatched
	single                 // no record is open, and the line is one
	begins                 // no record is open, and the line begins one
)

func (s *multilineSplitter) Split(b *event.Batch, chunk []byte, base uint64, mode Mode) (int, bool) {
	if b.Full() {
		return 0, mode&Mid != 0
	}
	c := scan{s: s, b: b, chunk: chunk, base: base, mid: mode&Mid != 0}
	c.open = c.mid
	inLine := c.mid // the next line may lack its beginning
	if inLine {
		if n := lineEnd(chunk); n > 0 {
			c.done, inLine = n, false
		}
	}
	for pos := c.done; pos < len(chunk); inLine = false {
		n := bytes.IndexByte(chunk[pos:], '\n')
		if n < 0 {
			return c.tail(pos, inLine, mode)
		}
		eol := pos + n
		if !c.line(pos, eol, eol+1, inLine) {
			return c.done, c.mid
		}
		pos = eol + 1
	}
	return c.tail(len(chunk), false, mode)
}

// lineEnd returns the length of the line end with which chunk begins, or 0.
func lineEnd(chunk []byte) int {
	if len(chunk) > 0 && chunk[0] == '\n' {
		return 1
	}
	if len(chunk) > 1 && chunk[0] == '\r' && chunk[1] == '\n' {
		return 2
	}
	return 0
}

// line works on the line chunk[from:eol], behind which the next begins at next.
// It returns false if this was all for this call.
func (c *scan) line(from, eol, next int, inLine bool) bool {
	for {
		switch v := c.s.judge(text(c.chunk, from, eol), c.open, inLine, c.mid && from == c.done); v {
		case goesOn:
			return c.limit(eol)
		case endsIt:
			return c.record(eol, next)
		case behind, starts:
			// The lines before end right before this one.
			if from > c.done && !c.record(from-1, from) {
				return false
			}
			c.open, c.mid = v == starts, false
			if c.open {
				return c.limit(eol)
			}
		case breaks:
			return c.unmatched(next)
		case outside:
			c.open = false
			return c.unmatched(next)
		case single:
			return c.record(eol, next)
		case begins:
			c.open = true
			return c.limit(eol)
		}
	}
}

// judge decides what a line means. inLine: the line may lack its beginning;
// fresh: it is the first behind a record's part that was taken before.
func (s *multilineSplitter) judge(line []byte, open, inLine, fresh bool) verdict {
	switch {
	case !open && s.start != nil:
		if s.start.MatchPrefix(line) {
			return begins
		}
		return outside
	case !open && s.cont != nil:
		if s.cont.MatchPrefix(line) {
			return begins
		}
		if s.end.MatchPrefix(line) {
			return single
		}
		return outside
	case !open:
		if s.end.MatchPrefix(line) {
			return single
		}
		return begins
	case s.cont != nil && s.cont.MatchPrefix(line):
		return goesOn
	case s.end != nil:
		if s.end.MatchPrefix(line) {
			return endsIt
		}
		if s.cont != nil && !inLine {
			if fresh {
				return behind
			}
			return breaks
		}
		return goesOn
	case inLine:
		return goesOn
	case s.cont != nil:
		return behind
	case s.start.MatchPrefix(line):
		return starts
	}
	return goesOn
}

// record closes the open record at eol, behind which the next begins at next.
// It returns false if the batch is full or a part was taken.
func (c *scan) record(eol, next int) bool {
	if !c.limit(eol) {
		return false
	}
	t := text(c.chunk, c.done, eol)
	if len(t) > 0 || !c.mid {
		c.b.Next(t, c.base+uint64(next))
	}
	c.done, c.open, c.mid = next, false, false
	return !c.b.Full()
}

// limit takes a part off the open record if it would be too long with a line
// that ends at eol. It returns false if it did: a part is the last of its call.
func (c *scan) limit(eol int) bool {
	if eol-c.done <= c.s.max {
		return true
	}
	c.part(cut(c.chunk, c.done, c.done+c.s.max))
	return false
}

// part takes the open record up to offset to, where it does not end.
func (c *scan) part(to int) {
	c.b.Splits++
	c.unfinished(to)
}

// unfinished takes what is open up to offset to as a record; what follows is its rest.
func (c *scan) unfinished(to int) {
	eol := to
	if c.chunk[eol-1] == '\n' {
		eol--
	}
	if t := text(c.chunk, c.done, eol); len(t) > 0 || !c.mid {
		c.b.Next(t, c.base+uint64(to))
	}
	c.done, c.open, c.mid = to, true, true
}

// unmatched makes each line of chunk[done:to] a record of its own or drops it.
// It returns false if the batch is full or a part was taken.
func (c *scan) unmatched(to int) bool {
	for c.done < to {
		if c.b.Full() {
			return false
		}
		eol, next, part := to, to, false
		if n := bytes.IndexByte(c.chunk[c.done:to], '\n'); n >= 0 {
			eol = c.done + n
			next = eol + 1
		}
		if eol-c.done > c.s.max {
			eol = cut(c.chunk, c.done, c.done+c.s.max)
			next, part = eol, true
			c.b.Splits++
		}
		if !c.mid {
			c.b.Unmatched++
		}
		if t := text(c.chunk, c.done, eol); len(t) > 0 || !c.mid {
			r := c.b.Next(t, c.base+uint64(next))
			if c.s.discard {
				r.Drop = event.Unmatched
			}
		}
		if c.done, c.mid = next, part; part {
			return false
		}
	}
	c.open = false
	return !c.b.Full()
}

// tail decides about what is left: an open record and, from pos on, a line without an end.
func (c *scan) tail(pos int, inLine bool, mode Mode) (int, bool) {
	n := len(c.chunk)
	switch {
	case mode&Final != 0:
		if pos < n && !c.line(pos, n, n, inLine) {
			// The rest comes with the next call. If all was taken, it ended
			// without a line end.
			if c.done == n {
				c.mid = true
			}
			return c.done, c.mid
		}
		if c.done < n {
			c.unfinished(n)
		}
		if pos < n {
			c.mid = true
		}
	case mode&Full != 0 && c.done == 0 && n > 0:
		// The line without an end may begin the next record. That it does is not
		// certain before all of it is there; but that will not be.
		if pos > 0 && pos < n {
			t := text(c.chunk, pos, n)
			if v := c.s.judge(t, c.open, inLine, false); v == starts || v == behind && c.s.start != nil && c.s.start.MatchPrefix(t) {
				c.record(pos-1, pos)
				return c.done, c.mid
			}
		}
		c.part(cut(c.chunk, 0, min(n, c.s.max)))
	}
	return c.done, c.mid
}
