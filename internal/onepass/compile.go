package onepass

import (
	"fmt"
	"regexp/syntax"
)

// Limits of what is compiled; anything beyond goes to package regexp.
const (
	// maxExpression is the longest expression in bytes. The longest of the field (one
	// group for each of 60 columns) have about 1,500.
	maxExpression = 8 << 10
	// maxInstructions bounds a program; counted groups are copied, so short expressions can
	// grow long programs. At about 100 bytes each (a split has a table of 257 more)
	// a program stays below 1 MB.
	maxInstructions = 2000
	// maxCompileSteps bounds the visits of parts, for copies of parts without any instruction.
	maxCompileSteps = 200_000
)

const reasonReplacement = "a literal U+FFFD or surrogate, which has rules of its own for invalid bytes"

// compiler turns a syntax tree into code. Once reason is set the result is worthless.
type compiler struct {
	code   []inst
	exists bool // only whether there is a match matters: no captures, no preferences
	steps  int
	reason string // why package regexp has to do this expression

	classes map[string]*runeClass         // by their ranges: equal ones share a table, which saves cache
	nodes   map[*syntax.Regexp]*runeClass // the same by node; nil for a node that is no class
	firsts  map[firstKey]firstValue
}

// mode is a way to use an expression.
type mode uint8

const (
	modeFind   mode = iota // leftmost match with captures
	modeWhole              // match of the whole text with captures
	modeExists             // is there a match
	modeCount
)

// compileAll returns the programs of expr, which is valid, by mode.
func compileAll(expr string) (progs [modeCount]*program) {
	var re *syntax.Regexp
	refused := ""
	if len(expr) > maxExpression {
		refused = fmt.Sprintf("longer than %d bytes", maxExpression)
	} else if parsed, err := syntax.Parse(expr, syntax.Perl); err != nil {
		refused = err.Error()
	} else {
		re = parsed
	}
	for m := range progs {
		if refused != "" {
			progs[m] = &program{refused: refused}
		} else {
			progs[m] = compile(re, mode(m))
		}
	}
	return progs
}

// compile returns the program for re.
func compile(re *syntax.Regexp, m mode) *program {
	if m == modeWhole {
		re = &syntax.Regexp{Op: syntax.OpConcat, Sub: []*syntax.Regexp{
			{Op: syntax.OpBeginText}, re, {Op: syntax.OpEndText},
		}}
	}
	c := &compiler{
		exists:  m == modeExists,
		classes: map[string]*runeClass{},
		nodes:   map[*syntax.Regexp]*runeClass{},
		firsts:  map[firstKey]firstValue{},
	}
	begin, _ := c.first(re, anything())
	c.emit(re, anything())
	c.add(inst{op: opMatch})
	if c.reason != "" {
		return &program{refused: c.reason}
	}
	p := &program{code: c.code, anchored: beginsAtZero(re), begin: begin, starts: begin.bytes.table(), allSet: true}
	if m != modeExists {
		p.slots = 2 * (re.MaxCap() + 1)
	}
	for i := range p.code {
		switch in := &p.code[i]; in.op {
		case opChoose:
			in.memo = p.choices
			p.choices++
			in.text = textAt(p.code, i+1)
		case opSplit:
			in.memo = p.choices
			p.choices++
			p.allSet = false
		}
	}
	p.allSet = p.allSet && setsAll(p.code, p.slots)
	p.prefix = textAt(p.code, 0)
	p.lead = leadingRun(p.code)
	return p
}

// beginsAtZero tells whether re matches nowhere but at the beginning of the text.
func beginsAtZero(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpBeginText:
		return true
	case syntax.OpConcat, syntax.OpCapture, syntax.OpPlus:
		return beginsAtZero(re.Sub[0])
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if !beginsAtZero(sub) {
				return false
			}
		}
		return true
	}
	return false
}

// refuse leaves the expression to package regexp.
func (c *compiler) refuse(reason string) {
	if c.reason == "" {
		c.reason = reason
	}
}

func (c *compiler) step() {
	if c.steps++; c.steps > maxCompileSteps {
		c.refuse("too intricate")
	}
}

func (c *compiler) add(in inst) int {
	if len(c.code) >= maxInstructions {
		c.refuse(fmt.Sprintf("more than %d instructions", maxInstructions))
		return len(c.code) - 1
	}
	if in.op != opRun && in.op != opSpan && in.op != opChoose && in.op != opSet {
		in.open, in.close = slotNone, slotNone
	}
	c.code = append(c.code, in)
	return len(c.code) - 1
}

// classOf returns the class re matches exactly one rune of, or nil if re is no such expression.
func (c *compiler) classOf(re *syntax.Regexp) *runeClass {
	class, known := c.nodes[re]
	if !known {
		if ranges, ok := classRanges(re); ok {
			class = c.class(ranges)
		}
		c.nodes[re] = class
	}
	return class
}

// class returns the class of sorted pairs low, high.
func (c *compiler) class(ranges []rune) *runeClass {
	key := fmt.Sprint(ranges)
	class := c.classes[key]
	if class == nil {
		class = newClass(ranges)
		c.classes[key] = class
	}
	return class
}

// emit adds the code of re; next is the first set of what follows it.
func (c *compiler) emit(re *syntax.Regexp, next firstSet) {
	if c.step(); c.reason != "" {
		return
	}
	if least, most, ok := repeatBounds(re); ok {
		lazy := re.Flags&syntax.NonGreedy != 0
		switch class := c.classOf(re.Sub[0]); {
		case most == 0:
		case class != nil:
			c.emitRun(class, least, most, lazy, next)
		case least == 0 && most == 1:
			c.emitOptional(re.Sub[0], lazy, next)
		default:
			c.emitGroup(re.Sub[0], least, most, lazy, next)
		}
		return
	}
	switch re.Op {
	case syntax.OpEmptyMatch:
	case syntax.OpNoMatch:
		c.add(inst{op: opFail})
	case syntax.OpLiteral:
		c.emitLiteral(re)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		c.add(inst{op: opOne, class: c.classOf(re)})
	case syntax.OpBeginText:
		c.add(inst{op: opBeginText})
	case syntax.OpEndText:
		c.add(inst{op: opEndText})
	case syntax.OpBeginLine:
		c.add(inst{op: opBeginLine})
	case syntax.OpEndLine:
		c.add(inst{op: opEndLine})
	case syntax.OpWordBoundary:
		c.add(inst{op: opWordBoundary})
	case syntax.OpNoWordBoundary:
		c.add(inst{op: opNotWordBoundary})
	case syntax.OpCapture:
		c.emitCapture(re, next)
	case syntax.OpConcat:
		c.emitConcat(re.Sub, next)
	case syntax.OpAlternate:
		c.emitAlternate(re.Sub, next)
	default:
		c.refuse("the operation " + re.Op.String())
	}
}

func (c *compiler) emitLiteral(re *syntax.Regexp) {
	if re.Flags&syntax.FoldCase != 0 {
		for _, r := range re.Rune {
			c.add(inst{op: opOne, class: c.class(orbit(r, true))})
		}
		return
	}
	switch text, ok := literalBytes(re.Rune); {
	case !ok:
		c.refuse(reasonReplacement)
	case len(text) == 1:
		c.add(inst{op: opByte, char: text[0]})
	default:
		c.add(inst{op: opText, text: text})
	}
}

// emitCapture adds a group. A group around a single run is folded into its instruction.
func (c *compiler) emitCapture(re *syntax.Regexp, next firstSet) {
	if c.exists {
		c.emit(re.Sub[0], next)
		return
	}
	at := c.add(inst{op: opSet, open: 2 * re.Cap, close: slotNone})
	c.emit(re.Sub[0], next)
	if c.reason != "" {
		return
	}
	if len(c.code) == at+2 {
		switch in := c.code[at+1]; in.op {
		case opRun, opSpan, opChoose:
			if in.open == slotNone {
				in.open, in.close = 2*re.Cap, 2*re.Cap+1
				c.code[at] = in
				c.code = c.code[:at+1]
				return
			}
		}
	}
	c.add(inst{op: opSet, open: slotNone, close: 2*re.Cap + 1})
}

func (c *compiler) emitConcat(subs []*syntax.Regexp, next firstSet) {
	follow := make([]firstSet, len(subs))
	for i := len(subs) - 1; i >= 0; i-- {
		follow[i] = next
		next, _ = c.first(subs[i], next)
	}
	for i, sub := range subs {
		c.emit(sub, follow[i])
	}
}

// emitRun adds a repetition of a class. Where it ends is decided, so that no choice point is needed,
//   - if what follows cannot begin with a member: then only the longest run can be followed by it;
//   - if the number of members is fixed;
//   - if what follows certainly accepts: then the preferred run is the one taken.
func (c *compiler) emitRun(class *runeClass, least, most int, lazy bool, next firstSet) {
	if next.accepts && (lazy || c.exists) {
		most = least
	}
	in := inst{op: opSpan, class: class, min: least, max: most, lazy: lazy, open: slotNone, close: slotNone}
	decided := least == most || next.accepts || next.disjoint(firstSet{bytes: class.set})
	switch {
	case most == 0 && c.exists:
		return
	case least == 1 && most == 1:
		in = inst{op: opOne, class: class}
	case !decided:
		in.op = opChoose
		in.next, in.nextEnd = next.bytes.table(), next.end
		in.plainSpan = least <= 1 && most < 0 && class.wide != wideSome
	case least <= 1 && most < 0:
		in.op = opRun
	}
	c.add(in)
}

// split adds an opSplit between preferred and other, or with lazy the other way round.
// The caller sets x and y: preferred is x unless lazy.
func (c *compiler) split(preferred, other firstSet, lazy bool) int {
	if lazy {
		preferred, other = other, preferred
	}
	table := new([257]uint8)
	mark := func(f firstSet, bit uint8) {
		for b := range 256 {
			if f.bytes.has(byte(b)) {
				table[b] |= bit
			}
		}
		if f.end {
			table[256] |= bit
		}
	}
	mark(preferred, branchX)
	mark(other, branchY)
	return c.add(inst{op: opSplit, branch: table, lazy: lazy})
}

// land lets the split at go to body and exit, the preferred one of which is body unless it is lazy.
func (c *compiler) land(at, body, exit int) {
	if in := &c.code[at]; in.lazy {
		in.x, in.y = exit, body
	} else {
		in.x, in.y = body, exit
	}
}

func (c *compiler) emitAlternate(subs []*syntax.Regexp, next firstSet) {
	rest := make([]firstSet, len(subs)) // rest[i]: any of subs[i:]
	own := make([]firstSet, len(subs))
	for i := len(subs) - 1; i >= 0; i-- {
		own[i], _ = c.first(subs[i], next)
		rest[i] = own[i]
		if i+1 < len(subs) {
			rest[i] = rest[i].or(rest[i+1])
		}
	}
	var jumps []int
	for i, sub := range subs {
		if i == len(subs)-1 {
			c.emit(sub, next)
			break
		}
		at := c.split(own[i], rest[i+1], false)
		c.emit(sub, next)
		jumps = append(jumps, c.add(inst{op: opJump}))
		if c.reason != "" {
			return
		}
		c.land(at, at+1, len(c.code))
	}
	for _, at := range jumps {
		c.code[at].x = len(c.code)
	}
}

// emitOptional adds sub? or sub??. Unlike in a loop sub may match the empty text.
func (c *compiler) emitOptional(sub *syntax.Regexp, lazy bool, next firstSet) {
	if c.exists && next.accepts {
		return
	}
	f, _ := c.first(sub, next)
	at := c.split(f, next, lazy)
	c.emit(sub, next)
	if c.reason == "" {
		c.land(at, at+1, len(c.code))
	}
}

// emitGroup adds a repetition of something longer than a class: copies, and a loop if there is no bound.
func (c *compiler) emitGroup(sub *syntax.Regexp, least, most int, lazy bool, next firstSet) {
	f, empty := c.first(sub, next)
	if empty {
		c.refuse("a repetition of something that can match the empty text")
	}
	again := next.or(f) // behind a copy that may be the last one
	must := f.never()   // behind a copy that another one has to follow
	optional := most - least
	if c.exists && next.accepts {
		optional = 0
	}
	for i := range least {
		switch {
		case i < least-1:
			c.emit(sub, must)
		case optional == 0:
			c.emit(sub, next)
		default:
			c.emit(sub, again)
		}
		if c.reason != "" {
			return
		}
	}
	if most < 0 {
		if !c.exists || !next.accepts {
			c.emitLoop(sub, f, lazy, next)
		}
		return
	}
	var splits []int
	for i := range optional {
		splits = append(splits, c.split(f, next, lazy))
		if i < optional-1 {
			c.emit(sub, again)
		} else {
			c.emit(sub, next)
		}
		if c.reason != "" {
			return
		}
	}
	for _, at := range splits {
		c.land(at, at+1, len(c.code))
	}
}

// emitLoop adds sub* or sub*?, where f is the first set of sub.
func (c *compiler) emitLoop(sub *syntax.Regexp, f firstSet, lazy bool, next firstSet) {
	head := len(c.code)
	if class := c.forced(sub, next); class != nil {
		c.add(inst{op: opRun, class: class, max: -1, open: slotNone, close: slotNone})
	}
	at := c.split(f, next, lazy)
	c.emit(sub, next.or(f))
	c.add(inst{op: opJump, x: head})
	if c.reason == "" {
		c.land(at, at+1, len(c.code))
	}
}

// forced returns the class of runes with which a loop over sub has only one way to go on: a
// branch of an alternation that is one rune. For (?:[^"]|\\.)*" that is [^"\\]. Such runes can be
// scanned at once. It returns nil if there are none.
func (c *compiler) forced(sub *syntax.Regexp, next firstSet) *runeClass {
	if sub.Op != syntax.OpAlternate {
		return nil
	}
	for i, branch := range sub.Sub {
		class := c.classOf(branch)
		if class == nil || class.wide == wideSome {
			continue
		}
		only := class.set
		only.remove(next.bytes)
		for j, other := range sub.Sub {
			if j != i {
				f, _ := c.first(other, next)
				only.remove(f.bytes)
			}
		}
		var pairs []rune
		for r := range rune(0x80) {
			if only.has(byte(r)) {
				pairs = append(pairs, r, r)
			}
		}
		if only[2]&only[3] == ^uint64(0) {
			pairs = append(pairs, 0x80, 0x10FFFF)
		}
		if len(pairs) > 0 {
			return c.class(pairs)
		}
	}
	return nil
}
