// Package onepass runs regular expressions as logs need them, ten to twenty times as fast as package
// regexp and with exactly its results: the leftmost match, and among those the one that a
// backtracking search would find first.
//
// The idea. The expressions with which log lines are taken apart are nearly all of one shape: a run of a
// class of characters, the separator that ends it, the next run. `(\S+) \[([^\]]+)\] "` needs no search at all,
// since what follows a run cannot be part of it: where the run ends is decided. For every
// place of an expression the compiler computes, from right to left, with which bytes the rest can begin
// (firstSet). Wherever that set and the class of a run are disjoint, the run becomes one
// instruction that scans to its end, greedy or not; an alternation or optional group whose branches
// begin differently becomes one look-up. The result is straight-line code that passes once over the line.
//
// Where the end of a run is not decided (`(.*) - `) it becomes a choice point: the places where
// the rest can begin, tried longest or shortest first, which is the order of preference that
// package regexp defines. Places tried in vain are remembered, so that many such runs in one expression do not
// multiply.
//
// What is left over goes to package regexp itself: when compiling, an expression that contains what is not
// handled here (a repetition of something that can match the empty text, a literal U+FFFD) or that
// is too large; when running, a text that takes more work than a budget linear in its length. If that
// happens with many texts the budget is not even tried.
package onepass

import (
	"fmt"
	"regexp"
)

// Regexp is a compiled regular expression. It has scratch memory and so
// must not be used by several goroutines at a time; give each its Clone.
type Regexp struct {
	shared *compiled
	m      machine

	findGauge, wholeGauge, prefixGauge, matchGauge gauge
}

// compiled is what clones share. It is never changed.
type compiled struct {
	expr   string
	find   plan // leftmost match
	whole  plan // match of the whole text
	prefix plan // is there a match that begins at 0
	match  plan // is there a match
}

// plan is how one question is answered.
type plan struct {
	*program
	std *regexp.Regexp // answers the same question for what the program does not
}

// Compile prepares an expression in the syntax of package regexp. Its error is that of
// regexp.Compile: it names the expression and the part of it that is wrong.
func Compile(expr string) (*Regexp, error) {
	std, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	stdPrefix, err := compileWrapped(`\A(?:`, expr, `)`)
	if err != nil {
		return nil, err
	}
	stdWhole, err := compileWrapped(`\A(?:`, expr, `)\z`)
	if err != nil {
		return nil, err
	}
	progs := compileAll(expr)
	return &Regexp{shared: &compiled{
		expr:   expr,
		find:   plan{progs[modeFind], std},
		whole:  plan{progs[modeWhole], stdWhole},
		prefix: plan{progs[modeExists], stdPrefix},
		match:  plan{progs[modeExists], std},
	}}, nil
}

// compileWrapped compiles expr between before and after. An expression that
// ends within \Q would quote after as well; there \E has to go between.
func compileWrapped(before, expr, after string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(before + expr + after)
	if err != nil {
		if quoted, err := regexp.Compile(before + expr + `\E` + after); err == nil {
			return quoted, nil
		}
		return nil, fmt.Errorf("the expression is valid only by itself, not anchored to the text: %w; simplify it", err)
	}
	return re, nil
}

// Clone returns a Regexp of the same expression, to be used beside r by another
// goroutine. It shares everything but the scratch memory.
func (r *Regexp) Clone() *Regexp {
	return &Regexp{shared: r.shared}
}

// FindSubmatchIndex returns what the method of regexp.Regexp with this name returns: the offsets of the leftmost
// match and of its groups in b, two for each and -1 for a group that took no part, or nil if
// there is no match. The result overwrites dst if that has room for it, so that nothing is allocated.
func (r *Regexp) FindSubmatchIndex(dst []int, b []byte) []int {
	return r.submatches(&r.shared.find, &r.findGauge, dst, b)
}

// FullMatch returns what FindSubmatchIndex would return for \A(?:expr)\z: the whole text has to match,
// and of the ways in which it does the preferred one is taken. That is how SLS applies the
// expressions of its parsing and filtering plug-ins.
func (r *Regexp) FullMatch(dst []int, b []byte) []int {
	return r.submatches(&r.shared.whole, &r.wholeGauge, dst, b)
}

// Match tells whether there is a match anywhere in b.
func (r *Regexp) Match(b []byte) bool {
	p := &r.shared.match
	if p.refused == "" && r.matchGauge.trusts() {
		o := r.m.search(p.program, b, nil)
		r.matchGauge.note(o == gaveUp)
		if o != gaveUp {
			return o == matched
		}
	}
	return p.std.Match(b)
}

// MatchPrefix tells whether there is a match that begins where b begins, as \A(?:expr) would: the
// question whether a line begins a log of several lines. How far the match
// reaches does not matter, so a `.*` at the end of the expression costs nothing, and most lines
// that do not match are told by their first byte.
func (r *Regexp) MatchPrefix(b []byte) bool {
	p := &r.shared.prefix
	if p.refused == "" {
		if !p.beginsWith(b) {
			return false
		}
		if r.prefixGauge.trusts() {
			r.m.start(len(b))
			o := r.m.exec(p.program, b, 0, nil)
			r.prefixGauge.note(o == gaveUp)
			if o != gaveUp {
				return o == matched
			}
		}
	}
	return p.std.Match(b)
}

func (r *Regexp) submatches(p *plan, g *gauge, dst []int, b []byte) []int {
	if p.refused == "" && g.trusts() {
		n := p.slots
		if cap(dst) < n {
			dst = make([]int, n)
		}
		dst = dst[:n]
		o := r.m.search(p.program, b, dst)
		g.note(o == gaveUp)
		switch o {
		case matched:
			return dst
		case noMatch:
			return nil
		}
	}
	found := p.std.FindSubmatchIndex(b)
	if found == nil {
		return nil
	}
	return append(dst[:0], found...)
}

// NumSubexp returns the number of groups of the expression.
func (r *Regexp) NumSubexp() int { return r.shared.find.std.NumSubexp() }

// String returns the expression as it was given to Compile.
func (r *Regexp) String() string { return r.shared.expr }

// Explain says in a sentence how the expression is executed: as a straight line, with choice points, or
// by package regexp and why.
func (r *Regexp) Explain() string {
	find, whole := r.shared.find.explain(), r.shared.whole.explain()
	if find == whole {
		return find
	}
	return find + "; for a match of the whole text: " + whole
}

func (p *plan) explain() string {
	if p.refused != "" {
		return "standard library: " + p.refused
	}
	n := p.choicePoints()
	if n == 0 {
		return fmt.Sprintf("straight line of %d instructions", len(p.code))
	}
	return fmt.Sprintf("choice points at %d of %d instructions", n, len(p.code))
}

const (
	// gaugeWindow is the number of texts after which it is judged whether the budget is worth trying.
	gaugeWindow = 256
	// gaugeRest is the number of texts that go directly to package regexp if it is not. After
	// them it is tried again: logs change.
	gaugeRest = 64 * gaugeWindow
)

// gauge counts how often a program gives up. If it does for more than a tenth of the texts, the work spent before
// giving up is not made good by the others.
type gauge struct {
	texts, gaveUp int // of the current window
	rest          int // texts still to go directly to package regexp
}

// trusts tells whether the next text is to be tried.
func (g *gauge) trusts() bool {
	if g.rest > 0 {
		g.rest--
		return false
	}
	return true
}

// note counts a text that was tried.
func (g *gauge) note(gaveUp bool) {
	if gaveUp {
		g.gaveUp++
	}
	if g.texts++; g.texts < gaugeWindow {
		return
	}
	if 10*g.gaveUp > g.texts {
		g.rest = gaugeRest
	}
	g.texts, g.gaveUp = 0, 0
}
