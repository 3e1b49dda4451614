package onepass

type opcode uint8

const (
	opByte   opcode = iota // one given byte
	opText                 // several given bytes
	opOne                  // one member of a class
	opSet                  // set one capture slot
	opRun                  // members of a class, as many as there are; at least one or none
	opSpan                 // the same with other bounds
	opChoose               // members of a class; where the run ends is a choice point
	opSplit                // x or else y, by what the next byte allows; a choice point only if it allows both
	opJump                 // go on at x
	opBeginText
	opEndText
	opBeginLine
	opEndLine
	opWordBoundary
	opNotWordBoundary
	opFail  // matches nothing
	opMatch // the end
)

// slotNone is a capture slot that is not there.
const slotNone = -1

// Bits of inst.branch.
const (
	branchX = 1 << iota
	branchY
)

// inst is one instruction; which fields have a meaning depends on op.
type inst struct {
	op        opcode
	char      byte // opByte
	lazy      bool // opChoose: shortest first
	nextEnd   bool // opChoose: the rest can begin at the end of the text
	open      int  // opRun, opSpan, opChoose, opSet: capture slot set to the place where it begins
	close     int  // the same for the place where it ends
	min, max  int  // runs: bounds in runes, max is -1 for none
	x, y      int  // opSplit, opJump: where to go on
	memo      int  // opChoose, opSplit: its number among both kinds
	class     *runeClass
	next      *[256]bool  // opChoose: bytes the rest can begin with
	branch    *[257]uint8 // opSplit: by the next byte (256: end of text) which of x and y are possible
	text      []byte      // opText; opChoose: the rest begins with this text, if it is known
	plainSpan bool        // opChoose: min is 0 or 1, no max, no table of runes: the bounds need no walk
}

// program is the code of one way to use an expression. It is never changed once compiled.
type program struct {
	refused  string // why there is no program: package regexp has to do it; "" if there is one
	code     []inst
	anchored bool       // only a match that begins at 0 is asked for, or possible
	begin    firstSet   // what a match can begin with
	starts   *[256]bool // its bytes
	prefix   []byte     // what every match begins with, if it is known
	lead     *runeClass // the class of the unbounded run it begins with, if it does; see leadingRun
	slots    int        // len of the captures: 0 if only existence is asked for
	allSet   bool       // every way to a match sets every slot: they need no -1 before
	choices  int        // number of opChoose and opSplit
}

// choicePoints returns how many instructions may leave a choice point.
func (p *program) choicePoints() (n int) {
	for i := range p.code {
		switch in := &p.code[i]; in.op {
		case opChoose:
			n++
		case opSplit:
			for _, b := range in.branch {
				if b == branchX|branchY {
					n++
					break
				}
			}
		}
	}
	return n
}

// textAt returns the literal text with which everything that matches from pc on begins, if it is known.
func textAt(code []inst, pc int) []byte {
	for {
		switch in := &code[pc]; in.op {
		case opSet:
			pc++
		case opJump:
			pc = in.x
		case opByte:
			return []byte{in.char}
		case opText:
			return in.text
		default:
			return nil
		}
	}
}

// setsAll tells whether code has an instruction for every capture slot but the first two.
func setsAll(code []inst, slots int) bool {
	set := make([]bool, slots)
	for i := range code {
		for _, slot := range []int{code[i].open, code[i].close} {
			if slot != slotNone {
				set[slot] = true
			}
		}
	}
	for slot := 2; slot < slots; slot++ {
		if !set[slot] {
			return false
		}
	}
	return true
}

// leadingRun returns the class of the unbounded run that a program begins with: if a try at s
// fails, every other try within the same run fails too, because it ends in the same places.
func leadingRun(code []inst) *runeClass {
	pc := 0
	for code[pc].op == opSet {
		pc++
	}
	if in := &code[pc]; (in.op == opRun || in.op == opSpan || in.op == opChoose) && in.max < 0 {
		return in.class
	}
	return nil
}
