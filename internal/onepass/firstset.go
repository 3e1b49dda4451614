package onepass

import (
	"regexp/syntax"
	"unicode/utf8"
)

// byteSet is a set of bytes.
type byteSet [4]uint64

func (s *byteSet) add(b byte) { s[b>>6] |= 1 << (b & 63) }

func (s *byteSet) has(b byte) bool { return s[b>>6]>>(b&63)&1 != 0 }

func (s *byteSet) union(o byteSet) {
	for i := range s {
		s[i] |= o[i]
	}
}

func (s *byteSet) remove(o byteSet) {
	for i := range s {
		s[i] &^= o[i]
	}
}

func (s *byteSet) meets(o byteSet) bool {
	return s[0]&o[0]|s[1]&o[1]|s[2]&o[2]|s[3]&o[3] != 0
}

// table returns the set with one bool a byte, which is quicker to ask.
func (s *byteSet) table() *[256]bool {
	t := new([256]bool)
	for b := range t {
		t[b] = s.has(byte(b))
	}
	return t
}

// firstSet says how the text may go on at some place of the expression. It is a
// superset: what it excludes cannot match from there, what it allows may still fail.
type firstSet struct {
	bytes byteSet
	end   bool // the text may end here
	// accepts: from here the whole expression certainly matches without
	// consuming or asserting anything more, so no choice made before can fail.
	accepts bool
}

// anything is the first set behind the last part of an expression.
func anything() firstSet {
	return firstSet{bytes: byteSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}, end: true, accepts: true}
}

// or adds what o allows; whether s accepts stays as it is.
func (s firstSet) or(o firstSet) firstSet {
	s.bytes.union(o.bytes)
	s.end = s.end || o.end
	return s
}

// never returns s for a place where more must follow.
func (s firstSet) never() firstSet {
	s.accepts = false
	return s
}

func (s firstSet) disjoint(o firstSet) bool {
	return !s.bytes.meets(o.bytes) && (!s.end || !o.end)
}

// firstKey and firstValue are the question and the answer of compiler.first.
type firstKey struct {
	re   *syntax.Regexp
	next firstSet
}

type firstValue struct {
	firstSet
	empty bool
}

// first returns the first set of re followed by next, and whether re can match the empty text
// (assertions count as if they could). It is asked again at every level above re, so
// the answers are kept.
func (c *compiler) first(re *syntax.Regexp, next firstSet) (s firstSet, empty bool) {
	if c.step(); c.reason != "" {
		return anything().never(), true
	}
	key := firstKey{re, next}
	v, known := c.firsts[key]
	if !known {
		v.firstSet, v.empty = c.computeFirst(re, next)
		c.firsts[key] = v
	}
	return v.firstSet, v.empty
}

func (c *compiler) computeFirst(re *syntax.Regexp, next firstSet) (s firstSet, empty bool) {
	switch re.Op {
	case syntax.OpNoMatch:
		return firstSet{}, false
	case syntax.OpEmptyMatch:
		return next, true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return firstSet{bytes: c.class(orbit(re.Rune[0], true)).set}, false
		}
		text, ok := literalBytes(re.Rune[:1])
		if !ok {
			c.refuse(reasonReplacement)
			return anything().never(), true
		}
		s.bytes.add(text[0])
		return s, false
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return firstSet{bytes: c.classOf(re).set}, false
	case syntax.OpBeginText, syntax.OpBeginLine, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return next.never(), true
	case syntax.OpEndText:
		return firstSet{end: next.end}, true
	case syntax.OpEndLine:
		s.end = next.end
		if next.bytes.has('\n') {
			s.bytes.add('\n')
		}
		return s, true
	case syntax.OpCapture:
		return c.first(re.Sub[0], next)
	case syntax.OpConcat:
		empty = true
		for i := len(re.Sub) - 1; i >= 0; i-- {
			var e bool
			next, e = c.first(re.Sub[i], next)
			empty = empty && e
		}
		return next, empty
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			f, e := c.first(sub, next)
			s = s.or(f)
			empty = empty || e
		}
		return s, empty
	}
	least, most, ok := repeatBounds(re)
	if !ok {
		c.refuse("the operation " + re.Op.String())
		return anything().never(), true
	}
	if most == 0 {
		return next, true
	}
	f, e := c.first(re.Sub[0], next)
	if least > 0 && !e {
		return f.never(), false
	}
	return next.or(f), true
}

// repeatBounds returns how often re repeats its only part; most is -1 if there is no bound.
func repeatBounds(re *syntax.Regexp) (least, most int, ok bool) {
	switch re.Op {
	case syntax.OpStar:
		return 0, -1, true
	case syntax.OpPlus:
		return 1, -1, true
	case syntax.OpQuest:
		return 0, 1, true
	case syntax.OpRepeat:
		return re.Min, re.Max, true
	}
	return 0, 0, false
}

// literalBytes returns the text a literal stands for. ok is false if it cannot be searched for as
// bytes: package regexp lets U+FFFD match invalid bytes, and surrogates match nothing.
func literalBytes(runes []rune) (text []byte, ok bool) {
	for _, r := range runes {
		if r == utf8.RuneError || !utf8.ValidRune(r) {
			return nil, false
		}
		text = utf8.AppendRune(text, r)
	}
	return text, true
}
