package process

import (
	"fmt"
	"unicode"
)

// timeFormat is a format of strptime, compiled to one operation for each
// directive. Like strptime, it reads as far as the format goes and
// leaves what follows unread; a blank in the format stands for any number of them, none included.
//
// Besides the directives of POSIX there are %f, a fraction of a second of up to 9 digits (further ones are
// read and have no meaning), %s, seconds since 1970 or, with 13, 16 or 19 digits, its thousandth, millionth or
// billionth parts, %z, an offset from UTC (Z, +08, +0800, +08:00), which has precedence over the configured
// zone, %Z, the letters of a zone, of which only UTC and GMT have a meaning, and %F.
// Weekdays and week numbers are read and have no meaning.
type timeFormat struct {
	ops []timeOp
	// resume is the operation from which on a text has to be read anew if its
	// beginning, up to that operation, is known: the first %f that has a literal
	// before it, or the end.
	resume int
}

type timeOp struct {
	kind opKind
	lit  byte // opLiteral
	max  uint8
	lo   int // opNumber: allowed values
	hi   int
	set  field
}

type opKind uint8

const (
	opLiteral opKind = iota
	opBlank
	opNumber
	opMonthName
	opWeekday
	opAMPM
	opFraction
	opUnix
	opOffset
	opZoneName
)

// field is where the value of an operation goes.
type field uint8

const (
	fNone field = iota
	fYear
	fYear2
	fCentury
	fMonth
	fDay
	fYearDay
	fHour
	fHour12
	fMinute
	fSecond
)

// clock is what was read so far. Fields are -1 or false if they were not there.
type clock struct {
	year, year2, century    int
	month, day, yearDay     int
	hour, hour12            int
	minute, second          int
	nsec                    int32 // -1: no fraction
	afternoon, hasAfternoon bool
	offset                  int // seconds east of UTC
	hasOffset               bool
	unix                    int64
	hasUnix                 bool
}

var noClock = clock{year: -1, year2: -1, century: -1, month: -1, day: -1, yearDay: -1, hour: -1, hour12: -1, minute: -1, second: -1, nsec: -1}

// composites are directives that stand for others.
var composites = map[byte]string{
	'r': "%I:%M:%S %p", 'R': "%H:%M", 'T': "%H:%M:%S", 'D': "%m/%d/%y", 'F': "%Y-%m-%d",
	'c': "%a %b %e %H:%M:%S %Y", 'x': "%m/%d/%y", 'X': "%H:%M:%S",
}

var directives = map[byte]timeOp{
	'a': {kind: opWeekday}, 'A': {kind: opWeekday},
	'b': {kind: opMonthName}, 'B': {kind: opMonthName}, 'h': {kind: opMonthName},
	'C': {kind: opNumber, max: 2, lo: 0, hi: 99, set: fCentury},
	'd': {kind: opNumber, max: 2, lo: 1, hi: 31, set: fDay},
	'e': {kind: opNumber, max: 2, lo: 1, hi: 31, set: fDay},
	'f': {kind: opFraction},
	'H': {kind: opNumber, max: 2, lo: 0, hi: 23, set: fHour},
	'k': {kind: opNumber, max: 2, lo: 0, hi: 23, set: fHour},
	'I': {kind: opNumber, max: 2, lo: 1, hi: 12, set: fHour12},
	'l': {kind: opNumber, max: 2, lo: 1, hi: 12, set: fHour12},
	'j': {kind: opNumber, max: 3, lo: 1, hi: 366, set: fYearDay},
	'm': {kind: opNumber, max: 2, lo: 1, hi: 12, set: fMonth},
	'M': {kind: opNumber, max: 2, lo: 0, hi: 59, set: fMinute},
	'p': {kind: opAMPM}, 'P': {kind: opAMPM},
	's': {kind: opUnix},
	'S': {kind: opNumber, max: 2, lo: 0, hi: 60, set: fSecond}, // 60: a leap second
	'u': {kind: opNumber, max: 1, lo: 1, hi: 7},
	'w': {kind: opNumber, max: 1, lo: 0, hi: 6},
	'U': {kind: opNumber, max: 2, lo: 0, hi: 53},
	'V': {kind: opNumber, max: 2, lo: 1, hi: 53},
	'W': {kind: opNumber, max: 2, lo: 0, hi: 53},
	'g': {kind: opNumber, max: 2, lo: 0, hi: 99},
	'G': {kind: opNumber, max: 4, lo: 0, hi: 9999},
	'y': {kind: opNumber, max: 2, lo: 0, hi: 99, set: fYear2},
	'Y': {kind: opNumber, max: 4, lo: 0, hi: 9999, set: fYear},
	'z': {kind: opOffset}, 'Z': {kind: opZoneName},
}

// compileTime compiles a format. The error names the directive that is not known.
func compileTime(format string) (*timeFormat, error) {
	f := &timeFormat{}
	if err := f.compile(format); err != nil {
		return nil, err
	}
	if len(f.ops) == 0 {
		return nil, fmt.Errorf("SourceFormat is empty; write it as for strptime, for example \"%%Y-%%m-%%d %%H:%%M:%%S\"")
	}
	f.resume = len(f.ops)
	for i, op := range f.ops {
		if op.kind == opFraction && i > 0 && f.ops[i-1].kind == opLiteral && f.resume == len(f.ops) {
			f.resume = i
		}
	}
	return f, nil
}

func (f *timeFormat) compile(format string) error {
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c != '%' {
			f.literal(c)
			continue
		}
		i++
		if i < len(format) && (format[i] == 'E' || format[i] == 'O') && i+1 < len(format) {
			i++ // other digits or eras of a locale: there are none here
		}
		if i == len(format) {
			return fmt.Errorf("SourceFormat %q ends with a lone %%; write %%%% for the character", format)
		}
		c = format[i]
		if c == '%' {
			f.ops = append(f.ops, timeOp{kind: opLiteral, lit: '%'})
			continue
		}
		if c == 'n' || c == 't' {
			f.literal(' ')
			continue
		}
		if more, ok := composites[c]; ok {
			if err := f.compile(more); err != nil {
				return err
			}
			continue
		}
		op, ok := directives[c]
		if !ok {
			return fmt.Errorf("SourceFormat %q contains %%%c, which is no directive of strptime", format, c)
		}
		f.ops = append(f.ops, op)
	}
	return nil
}

func (f *timeFormat) literal(c byte) {
	if !unicode.IsSpace(rune(c)) || c >= 0x80 {
		f.ops = append(f.ops, timeOp{kind: opLiteral, lit: c})
		return
	}
	if n := len(f.ops); n == 0 || f.ops[n-1].kind != opBlank {
		f.ops = append(f.ops, timeOp{kind: opBlank})
	}
}

// read reads text from offset i on by the operations from to to, and returns
// the offset behind what it read, or -1. exact says that what was read would
// mean the same whatever followed it.
func (f *timeFormat) read(c *clock, text []byte, i, from, to int) (end int, exact bool) {
	for k := from; k < to; k++ {
		op := &f.ops[k]
		if op.kind != opLiteral && op.kind != opBlank {
			for i < len(text) && text[i] == ' ' { // as strptime does before numbers and names
				i++
			}
		}
		start := i
		exact = false
		switch op.kind {
		case opLiteral:
			if i == len(text) || text[i] != op.lit {
				return -1, false
			}
			i++
			exact = true
		case opBlank:
			for i < len(text) && (text[i] == ' ' || '\t' <= text[i] && text[i] <= '\r') {
				i++
			}
		case opNumber:
			v := 0
			for i < len(text) && i-start < int(op.max) && text[i]-'0' <= 9 {
				v = 10*v + int(text[i]-'0')
				i++
			}
			if i == start || v < op.lo || v > op.hi {
				return -1, false
			}
			c.put(op.set, v)
			exact = i-start == int(op.max)
		case opMonthName:
			var m int
			if m, i = matchName(text, i, months[:]); m < 0 {
				return -1, false
			}
			c.month = m + 1
		case opWeekday:
			var d int
			if d, i = matchName(text, i, weekdays[:]); d < 0 {
				return -1, false
			}
		default:
			if i = op.special(c, text, i); i < 0 {
				return -1, false
			}
		}
	}
	return i, exact
}

// special reads what is neither number nor name.
func (op *timeOp) special(c *clock, text []byte, i int) int {
	switch op.kind {
	case opAMPM:
		if i+2 > len(text) || text[i+1]|0x20 != 'm' || text[i]|0x20 != 'a' && text[i]|0x20 != 'p' {
			return -1
		}
		c.afternoon, c.hasAfternoon = text[i]|0x20 == 'p', true
		return i + 2
	case opFraction:
		return readFraction(c, text, i)
	case opUnix:
		return readUnix(c, text, i)
	case opOffset:
		return readOffset(c, text, i)
	case opZoneName:
		from := i
		for i < len(text) && ('a' <= text[i]|0x20 && text[i]|0x20 <= 'z') {
			i++
		}
		if z := text[from:i]; string(z) == "UTC" || string(z) == "GMT" || string(z) == "Z" {
			c.offset, c.hasOffset = 0, true
		}
		if i == from {
			return -1
		}
	}
	return i
}

func readFraction(c *clock, text []byte, i int) int {
	from, v := i, int32(0)
	for ; i < len(text) && text[i]-'0' <= 9; i++ {
		if i-from < 9 {
			v = 10*v + int32(text[i]-'0')
		}
	}
	if i == from {
		return -1
	}
	for n := i - from; n < 9; n++ {
		v *= 10
	}
	c.nsec = v
	return i
}

// readUnix reads seconds, or milli-, micro- or nanoseconds, which their number of digits tells apart until the year 5138.
func readUnix(c *clock, text []byte, i int) int {
	from, v := i, int64(0)
	for ; i < len(text) && text[i]-'0' <= 9; i++ {
		if i-from == 19 {
			return -1
		}
		v = 10*v + int64(text[i]-'0')
	}
	unit := int64(1)
	switch n := i - from; {
	case n == 0 || v < 0:
		return -1
	case n > 17:
		unit = 1e9
	case n > 14:
		unit = 1e6
	case n > 11:
		unit = 1e3
	}
	c.unix, c.hasUnix = v/unit, true
	if unit > 1 {
		c.nsec = int32(v % unit * (1e9 / unit))
	}
	return i
}

func readOffset(c *clock, text []byte, i int) int {
	if i == len(text) {
		return -1
	}
	sign := 1
	switch text[i] {
	case 'Z', 'z':
		c.offset, c.hasOffset = 0, true
		return i + 1
	case '-':
		sign = -1
	case '+':
	default:
		return -1
	}
	h, j := twoDigits(text, i+1)
	if j < 0 {
		return -1
	}
	at := j
	if at < len(text) && text[at] == ':' {
		at++
	}
	m, k := twoDigits(text, at)
	if k < 0 {
		m, k = 0, j
	}
	if h > 23 || m > 59 {
		return -1
	}
	c.offset, c.hasOffset = sign*(h*3600+m*60), true
	return k
}

func twoDigits(text []byte, i int) (v, end int) {
	if i+2 > len(text) || text[i]-'0' > 9 || text[i+1]-'0' > 9 {
		return 0, -1
	}
	return int(text[i]-'0')*10 + int(text[i+1]-'0'), i + 2
}

func (c *clock) put(f field, v int) {
	switch f {
	case fYear:
		c.year = v
	case fYear2:
		c.year2 = v
	case fCentury:
		c.century = v
	case fMonth:
		c.month = v
	case fDay:
		c.day = v
	case fYearDay:
		c.yearDay = v
	case fHour:
		c.hour = v
	case fHour12:
		c.hour12 = v
	case fMinute:
		c.minute = v
	case fSecond:
		c.second = v
	}
}

var (
	months   = [...]string{"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}
	weekdays = [...]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
)

// matchName finds the name, in full or its first three letters, in any case,
// that text has at i, and returns its number and the offset behind it, or -1.
func matchName(text []byte, i int, names []string) (n, end int) {
	if i+3 > len(text) {
		return -1, i
	}
	a, b, c := text[i]|0x20, text[i+1]|0x20, text[i+2]|0x20
	for n, name := range names {
		if a != name[0] || b != name[1] || c != name[2] {
			continue
		}
		end := i + 3
		for end < len(text) && end-i < len(name) && text[end]|0x20 == name[end-i] {
			end++
		}
		if end-i < len(name) {
			end = i + 3
		}
		return n, end
	}
	return -1, i
}
