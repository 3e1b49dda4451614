package onepass

import "bytes"

// outcome is what became of a try.
type outcome uint8

const (
	noMatch outcome = iota
	matched
	gaveUp // package regexp has to do it
)

const (
	// maxStack bounds the choice points that are open at the same time.
	maxStack = 4096
	// memoAfter is the number of failed paths after which places already tried are remembered.
	// Most texts match, or fail, before; they do not pay for it.
	memoAfter = 16
	// maxVisited bounds the bits of machine.visited, as package regexp does for its backtracker.
	maxVisited = 256 << 10
	// maxTrailKept bounds the trail kept for the next text: a loop with groups over one very long text
	// would else hold memory for ever.
	maxTrailKept = 16 << 10
	// budgetPerByte and budgetBase bound the work for a text: failed paths, and 32 bytes scanned
	// in vain count as one. It keeps the promise of package regexp that time is linear in the length
	// of the text; what takes more is handed to it.
	budgetPerByte, budgetBase = 4, 128
	bytesPerCostShift         = 5
)

// frame is a choice point with the alternatives that are left.
type frame struct {
	pc     int // of the opChoose; of a split the place to go on at
	lo, hi int // the run may still end in [lo, hi]; lo is -1 for a split, with hi the place in the text
	trail  int // len of the trail when it was made
}

// undo restores a capture slot.
type undo struct{ slot, value int }

// memory is what is known about an opChoose for a text.
type memory struct {
	// Where the rest behind the run was tried: the interval [lo, hi], empty if lo > hi.
	// Whether the rest matches depends on the place alone, not on the way there.
	lo, hi int
	// All of b[from:to] are members of the class, nothing is known if from > to. If the
	// longest run is tried first, to is where it ends.
	from, to int
}

// machine is the scratch of an execution. It is not safe for concurrent use.
type machine struct {
	stack  []frame
	trail  []undo
	budget int // work left for this text

	failures int
	memo     bool     // places are being remembered
	memories []memory // by inst.memo
	// visited has the bit inst.memo*(len(b)+1)+place for each opSplit begun at a place and each opChoose
	// whose rest was begun there. It is empty if it would be too large.
	visited []uint64
}

// start prepares m for a text of n bytes.
func (m *machine) start(n int) {
	m.budget = budgetPerByte*n + budgetBase
	m.failures, m.memo = 0, false
	if cap(m.trail) > maxTrailKept {
		m.trail = nil
	}
}

// remember begins to remember places tried. That may begin at any time: a place noted once comes up
// again only after everything behind it has failed, since paths are tried depth first
// and no loop comes round without consuming something.
func (m *machine) remember(prog *program, n int) {
	m.memo = true
	if cap(m.memories) < prog.choices {
		m.memories = make([]memory, prog.choices)
	}
	m.memories = m.memories[:prog.choices]
	for i := range m.memories {
		m.memories[i] = memory{lo: 0, hi: -1, from: 0, to: -1}
	}
	m.visited = m.visited[:0]
	if want := prog.choices * (n + 1); want <= maxVisited {
		words := (want + 63) / 64
		if cap(m.visited) < words {
			m.visited = make([]uint64, words)
		}
		m.visited = m.visited[:words]
		clear(m.visited)
	}
}

// visit notes that place p was reached for in and tells whether it was before.
func (m *machine) visit(in *inst, p, n int) (before bool) {
	if len(m.visited) == 0 {
		return false
	}
	i := in.memo*(n+1) + p
	before = m.visited[i>>6]>>(i&63)&1 != 0
	m.visited[i>>6] |= 1 << (i & 63)
	return before
}

// set stores a capture slot; while a choice point is open it notes the old value.
func (m *machine) set(caps []int, slot, value int) {
	if len(m.stack) > 0 {
		m.trail = append(m.trail, undo{slot, caps[slot]})
	}
	caps[slot] = value
}

// exec tries to match b at start, which begins a rune. It writes to caps even if there is no match.
// It is one function, if a long one, because the place in the text and in the code are to stay in registers.
func (m *machine) exec(prog *program, b []byte, start int, caps []int) outcome {
	m.stack, m.trail = m.stack[:0], m.trail[:0]
	code := prog.code
	p, pc, resumed := start, 0, start
	for {
		in := &code[pc]
		switch in.op {
		case opByte:
			if p < len(b) && b[p] == in.char {
				p++
				pc++
				continue
			}
		case opText:
			if n := len(in.text); len(b)-p >= n && string(b[p:p+n]) == string(in.text) {
				p += n
				pc++
				continue
			}
		case opOne:
			if p < len(b) && in.class.first[b[p]] {
				if n := in.class.width(b, p); n > 0 {
					p += n
					pc++
					continue
				}
			}
		case opSet:
			if in.open >= 0 {
				m.set(caps, in.open, p)
			} else {
				m.set(caps, in.close, p)
			}
			pc++
			continue
		case opRun, opSpan:
			var end int
			var ok bool
			if in.op == opRun {
				end = in.class.run(b, p, len(b))
				ok = end-p >= in.min
			} else {
				_, end, ok = in.class.span(b, p, in.min, in.max)
			}
			if !ok {
				break
			}
			if in.open >= 0 {
				m.set(caps, in.open, p)
				m.set(caps, in.close, end)
			}
			p = end
			pc++
			continue
		case opChoose:
			q, ok := m.choose(in, b, p, pc, caps)
			if !ok {
				break
			}
			if len(m.stack) > maxStack {
				return gaveUp
			}
			resumed += q - p // choose counts its work itself
			p = q
			pc++
			continue
		case opSplit:
			next := 256
			if p < len(b) {
				next = int(b[p])
			}
			switch in.branch[next] {
			case branchX:
				pc = in.x
				continue
			case branchY:
				pc = in.y
				continue
			case branchX | branchY:
				if m.memo && m.visit(in, p, len(b)) {
					break
				}
				if len(m.stack) >= maxStack {
					return gaveUp
				}
				m.stack = append(m.stack, frame{in.y, -1, p, len(m.trail)})
				pc = in.x
				continue
			}
		case opJump:
			pc = in.x
			continue
		case opMatch:
			if len(caps) > 0 {
				caps[0], caps[1] = start, p
			}
			return matched
		default:
			if holds(in.op, b, p) {
				pc++
				continue
			}
		}

		// This path failed.
		m.budget -= 1 + (p-resumed)>>bytesPerCostShift
		if m.failures++; m.failures == memoAfter {
			m.remember(prog, len(b))
		}
		p, pc = m.resume(code, b, caps)
		if pc < 0 {
			return noMatch
		}
		if m.budget < 0 {
			return gaveUp
		}
		resumed = p
	}
}

// holds tells whether an assertion holds at p.
func holds(op opcode, b []byte, p int) bool {
	switch op {
	case opBeginText:
		return p == 0
	case opEndText:
		return p == len(b)
	case opBeginLine:
		return p == 0 || b[p-1] == '\n'
	case opEndLine:
		return p == len(b) || b[p] == '\n'
	case opWordBoundary:
		return isWord(b, p-1) != isWord(b, p)
	case opNotWordBoundary:
		return isWord(b, p-1) == isWord(b, p)
	}
	return false // opFail
}

func isWord(b []byte, p int) bool {
	if p < 0 || p >= len(b) {
		return false
	}
	c := b[p]
	return c == '_' || c-'0' < 10 || (c|0x20)-'a' < 26
}

// choose starts the run of an opChoose at p: it returns the end preferred and leaves a choice point if
// there may be others.
func (m *machine) choose(in *inst, b []byte, p, pc int, caps []int) (end int, ok bool) {
	lo, hi := p+in.min, len(b)
	switch {
	case !in.plainSpan:
		if lo, hi, ok = in.class.span(b, p, in.min, in.max); !ok {
			return 0, false
		}
	case in.min == 1:
		if p >= len(b) {
			return 0, false
		}
		n := in.class.width(b, p)
		if n == 0 {
			return 0, false
		}
		lo = p + n
	}
	if in.lazy {
		end = m.shortest(in, b, lo, lo, hi)
	} else {
		if in.plainSpan {
			hi = m.runEnd(in, b, lo)
		}
		end = m.longest(in, b, lo, hi)
	}
	if end < 0 {
		return 0, false
	}
	if in.open >= 0 {
		m.set(caps, in.open, p)
	}
	switch {
	case in.lazy && end < hi:
		m.stack = append(m.stack, frame{pc, end + 1, hi, len(m.trail)})
	case !in.lazy && lo < end:
		m.stack = append(m.stack, frame{pc, lo, end - 1, len(m.trail)})
	}
	if in.open >= 0 {
		m.set(caps, in.close, end)
	}
	return end, true
}

// resume takes up the newest choice point with its next alternative. It returns pc -1 if none is left.
func (m *machine) resume(code []inst, b []byte, caps []int) (p, pc int) {
	for len(m.stack) > 0 {
		top := len(m.stack) - 1
		f := &m.stack[top]
		for len(m.trail) > f.trail {
			u := m.trail[len(m.trail)-1]
			m.trail = m.trail[:len(m.trail)-1]
			caps[u.slot] = u.value
		}
		if f.lo < 0 {
			p, pc = f.hi, f.pc
			m.stack = m.stack[:top]
			return p, pc
		}
		pc = f.pc
		in := &code[pc]
		var end int
		if in.lazy {
			end = m.shortest(in, b, f.lo-1, f.lo, f.hi)
			f.lo = end + 1
		} else {
			end = m.longest(in, b, f.lo, f.hi)
			f.hi = end - 1
		}
		if end < 0 || f.lo > f.hi {
			m.stack = m.stack[:top]
		}
		if end < 0 {
			continue
		}
		if in.open >= 0 {
			m.set(caps, in.close, end)
		}
		return end, pc + 1
	}
	return 0, -1
}

// runEnd returns where the longest run of in from p, which has no bounds, ends.
func (m *machine) runEnd(in *inst, b []byte, p int) int {
	if !m.memo {
		end := in.class.run(b, p, len(b))
		m.budget -= (end - p) >> bytesPerCostShift
		return end
	}
	k := &m.memories[in.memo]
	if k.from <= p && p <= k.to {
		return k.to
	}
	stop := len(b)
	if p < k.from && k.from <= k.to {
		stop = k.from
	}
	end := in.class.run(b, p, stop)
	m.budget -= (end - p) >> bytesPerCostShift
	if end == stop && stop < len(b) { // it reaches the known one
		k.from = p
		return k.to
	}
	k.from, k.to = p, end
	return end
}

// reaches tells whether the run of in goes on from one place to another. Both begin runes.
func (m *machine) reaches(in *inst, b []byte, from, to int) bool {
	if !m.memo {
		return in.class.run(b, from, to) == to
	}
	k := &m.memories[in.memo]
	known := from
	if k.from <= from && from <= k.to {
		if to <= k.to {
			return true
		}
		known = k.to
	}
	m.budget -= (to - known) >> bytesPerCostShift
	if in.class.run(b, known, to) != to {
		return false
	}
	if known == from {
		k.from = from
	}
	k.to = to
	return true
}

// shortest returns the first place in [lo, hi] where the run of in may end that was not tried before,
// -1 if there is none. The run is known to reach from, which begins a rune and is lo or
// the last rune before; that it goes on from there is checked.
func (m *machine) shortest(in *inst, b []byte, from, lo, hi int) int {
	if !m.memo {
		end := in.firstEnd(b, lo, hi)
		if end < 0 {
			m.budget -= (hi - lo) >> bytesPerCostShift
			return -1
		}
		if !m.reaches(in, b, from, end) {
			return -1
		}
		return end
	}
	k := &m.memories[in.memo]
	for end := lo; ; end++ {
		if k.lo <= end && end <= k.hi {
			end = k.hi + 1
		}
		if end > hi {
			return -1
		}
		begin := end
		if end = in.firstEnd(b, end, hi); end < 0 {
			m.budget -= (hi - begin) >> bytesPerCostShift
			return -1
		}
		if k.lo <= end && end <= k.hi {
			continue
		}
		if !m.reaches(in, b, from, end) {
			return -1 // not noted: it may well be reached from elsewhere
		}
		k.note(lo, end)
		if !m.visit(in, end, len(b)) {
			return end
		}
		m.budget--
	}
}

// longest returns the last place in [lo, hi] where the run of in may end that was not tried
// before, -1 if there is none. All of [lo, hi] is known to be in the run.
func (m *machine) longest(in *inst, b []byte, lo, hi int) int {
	if !m.memo {
		return in.lastEnd(b, lo, hi)
	}
	k := &m.memories[in.memo]
	for end := hi; ; end-- {
		if k.lo <= end && end <= k.hi {
			end = k.lo - 1
		}
		if end < lo {
			break
		}
		begin := end
		if end = in.lastEnd(b, lo, end); end < 0 {
			m.budget -= (begin - lo) >> bytesPerCostShift
			break
		}
		if k.lo <= end && end <= k.hi {
			continue
		}
		k.note(end, hi)
		if !m.visit(in, end, len(b)) {
			return end
		}
		m.budget--
	}
	k.note(lo, hi)
	return -1
}

// note adds [lo, hi] to the places tried, or replaces them if they do not touch.
func (k *memory) note(lo, hi int) {
	if k.lo > k.hi || hi < k.lo-1 || lo > k.hi+1 {
		k.lo, k.hi = lo, hi
		return
	}
	k.lo, k.hi = min(k.lo, lo), max(k.hi, hi)
}

// firstEnd returns the first place in [lo, hi] where what follows in can begin, -1 if there is none.
func (in *inst) firstEnd(b []byte, lo, hi int) int {
	if n := len(in.text); n > 0 {
		stop := min(hi+n, len(b))
		if stop-lo < n {
			return -1
		}
		var i int
		if n == 1 {
			i = bytes.IndexByte(b[lo:stop], in.text[0])
		} else {
			i = bytes.Index(b[lo:stop], in.text)
		}
		if i < 0 {
			return -1
		}
		return lo + i
	}
	for p := lo; p <= hi; p++ {
		if in.canEnd(b, p) {
			return p
		}
	}
	return -1
}

// lastEnd returns the last place in [lo, hi] where what follows in can begin, -1 if there is none.
func (in *inst) lastEnd(b []byte, lo, hi int) int {
	if n := len(in.text); n > 0 {
		for hi = min(hi, len(b)-n); lo <= hi; hi-- {
			i := bytes.LastIndexByte(b[lo:hi+1], in.text[0])
			if i < 0 {
				return -1
			}
			hi = lo + i
			if n == 1 || string(b[hi:hi+n]) == string(in.text) {
				return hi
			}
		}
		return -1
	}
	for p := hi; p >= lo; p-- {
		if in.canEnd(b, p) {
			return p
		}
	}
	return -1
}

// canEnd tells whether what follows in can begin at p.
func (in *inst) canEnd(b []byte, p int) bool {
	if p == len(b) {
		return in.nextEnd
	}
	return in.next[b[p]] && beginsRune(b, p)
}
