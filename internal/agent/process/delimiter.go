package process

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

// maxSeparator is the longest separator, as in LoongCollector.
const maxSeparator = 4

// droppedColumn is the key of a column that nobody wants.
const droppedColumn = "_"

// overflow is what becomes of columns that have no key.
type overflow uint8

const (
	extend  overflow = iota // __column0__, __column1__, ... counted from the first without a key
	keep                    // all of them, with their separators and quotes as written, as __column0__
	discard                 // left out
)

// delimiterParser is processor_parse_delimiter_native: a text of columns. With a
// separator of one character, a column may be quoted: the quotes surround it whole, and one
// inside is doubled. Longer separators know no quotes. Blanks around the
// whole text are not part of it. A column whose key is _ is left out; columns that are
// missing make no field, and no failure unless AllowingShortenedFields is off.
type delimiterParser struct {
	parser
	sep      []byte
	quote    byte
	quoting  bool
	keys     [][]byte // nil: left out
	distinct bool
	short    bool // fewer columns than keys will do
	overflow overflow
	extra    [][]byte // keys of columns without a key, as many as were needed so far
}

func newDelimiter(c *pipeline.ParseDelimiter, e *env) (processor, error) {
	base, err := newParser(&c.ParseOptions, e, alarm.ParseLogFail,
		"the log is not in the configured delimiter format; check Separator, Quote and the number of Keys against the sample")
	if err != nil {
		return nil, err
	}
	p := &delimiterParser{parser: base, sep: []byte(c.Separator), short: c.AllowingShortenedFields}
	if c.Separator == `\t` { // the two characters, as LoongCollector takes them
		p.sep = []byte("\t")
	}
	if n := len([]rune(c.Separator)); n == 0 || n > maxSeparator {
		return nil, fmt.Errorf("the Separator is %q; it must have 1 to %d characters", c.Separator, maxSeparator)
	}
	if len(c.Quote) > 1 {
		return nil, fmt.Errorf("the Quote is %q; it must be one ASCII character", c.Quote)
	}
	if len(p.sep) == 1 && c.Quote != "" && c.Quote[0] != p.sep[0] {
		p.quote, p.quoting = c.Quote[0], true
	}
	switch c.OverflowedFieldsTreatment {
	case "", "extend":
		p.overflow = extend
	case "keep":
		p.overflow = keep
	case "discard":
		p.overflow = discard
	default:
		return nil, fmt.Errorf("OverflowedFieldsTreatment is %q; it must be \"extend\", \"keep\" or \"discard\"", c.OverflowedFieldsTreatment)
	}
	if p.keys, err = keyList(c.Keys); err != nil {
		return nil, err
	}
	named := make([][]byte, 0, len(p.keys))
	for i, k := range p.keys {
		if string(k) == droppedColumn {
			p.keys[i] = nil
		} else {
			named = append(named, k)
		}
	}
	p.distinct = distinct(named)
	p.extraKey(0)
	return p, nil
}

func (p *delimiterParser) clone() processor {
	c := *p
	c.parser, c.extra = p.fork(), nil
	c.extraKey(0)
	return &c
}

// extraKey returns the key of the column that is the i-th without one.
func (p *delimiterParser) extraKey(i int) []byte {
	for len(p.extra) <= i {
		p.extra = append(p.extra, []byte("__column"+strconv.Itoa(len(p.extra))+"__"))
	}
	return p.extra[i]
}

// Run parses the records of b.
func (p *delimiterParser) Run(b *event.Batch) {
	for n := range b.Records {
		r := &b.Records[n]
		if r.Drop != event.Kept {
			continue
		}
		i := p.find(r)
		if i < 0 {
			continue
		}
		if p.parse(b, r.Fields[i].Value) {
			p.succeed(r, i)
		} else {
			p.fail(r, i)
		}
	}
	p.done()
}

// parse takes text apart into p.out.
func (p *delimiterParser) parse(b *event.Batch, text []byte) bool {
	p.out = p.out[:0]
	text = trimBlanks(text)
	if len(text) == 0 {
		return false
	}
	var columns int
	if p.quoting {
		columns = p.quoted(b, text)
	} else {
		columns = p.plain(text)
	}
	return columns >= len(p.keys) || columns > 0 && p.short
}

// trimBlanks takes the blanks off both ends, and a \r before those at the right.
func trimBlanks(t []byte) []byte {
	for len(t) > 0 && (t[len(t)-1] == ' ' || t[len(t)-1] == '\r') {
		t = t[:len(t)-1]
	}
	for len(t) > 0 && t[0] == ' ' {
		t = t[1:]
	}
	return t
}

// plain splits at each separator and returns the number of columns.
func (p *delimiterParser) plain(text []byte) int {
	for col, from := 0, 0; ; col++ {
		n := -1
		if col < len(p.keys) || p.overflow != keep {
			if len(p.sep) == 1 {
				n = bytes.IndexByte(text[from:], p.sep[0])
			} else {
				n = bytes.Index(text[from:], p.sep)
			}
		}
		if n < 0 {
			p.column(col, text[from:])
			return col + 1
		}
		p.column(col, text[from:from+n])
		from += n + len(p.sep)
	}
}

// quoted splits at the separators that are not within quotes and returns the
// number of columns, or -1 if the quotes are not right.
func (p *delimiterParser) quoted(b *event.Batch, text []byte) int {
	sep, quote := p.sep[0], p.quote
	rest := -1 // where the columns without a key begin that are kept as one
	for col, from := 0, 0; ; col++ {
		if col == len(p.keys) && p.overflow == keep {
			rest = from
		}
		var value []byte
		var end int
		if from < len(text) && text[from] == quote {
			var doubled int
			if end, doubled = closingQuote(text, from+1, quote); end < 0 {
				return -1
			}
			value = text[from+1 : end]
			if doubled > 0 && rest < 0 {
				value = undouble(b.Alloc(len(value)-doubled), value, quote)
			}
			if end++; end < len(text) && text[end] != sep {
				return -1
			}
		} else {
			end = indexEither(text, from, sep, quote)
			if end < len(text) && text[end] == quote {
				return -1
			}
			value = text[from:end]
		}
		if rest < 0 {
			p.column(col, value)
		}
		if end == len(text) {
			if rest >= 0 {
				p.column(len(p.keys), text[rest:])
			}
			return col + 1
		}
		from = end + 1
	}
}

// closingQuote returns where the quote is that ends the column which begins at
// from, and how many doubled quotes are before it, or -1.
func closingQuote(text []byte, from int, quote byte) (end, doubled int) {
	for {
		n := bytes.IndexByte(text[from:], quote)
		if n < 0 {
			return -1, 0
		}
		from += n
		if from+1 == len(text) || text[from+1] != quote {
			return from, doubled
		}
		doubled++
		from += 2
	}
}

// undouble copies value to dst with one quote for each two.
func undouble(dst, value []byte, quote byte) []byte {
	d := dst[:0]
	for {
		n := bytes.IndexByte(value, quote)
		if n < 0 {
			return append(d, value...)
		}
		d = append(d, value[:n+1]...)
		value = value[n+2:]
	}
}

// column adds the value of column number col.
func (p *delimiterParser) column(col int, value []byte) {
	var key []byte
	switch {
	case col < len(p.keys):
		key = p.keys[col]
	case p.overflow != discard:
		key = p.extraKey(col - len(p.keys))
	}
	if key == nil {
		return
	}
	if p.distinct || col >= len(p.keys) {
		p.out = append(p.out, event.Field{Key: key, Value: value})
	} else {
		p.out = setField(p.out, key, value)
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// indexEither returns the index of the first a or c in text from i on, or
// len(text). It looks at eight bytes at a time: columns are short, and two
// searches that each start anew would cost more than they find.
func indexEither(text []byte, i int, a, c byte) int {
	pa, pc := uint64(a)*ones, uint64(c)*ones
	for ; i+8 <= len(text); i += 8 {
		w := binary.LittleEndian.Uint64(text[i:])
		x, y := w^pa, w^pc
		// The lowest byte marked is one that is zero in x or y; above it others may be marked wrongly.
		if m := ((x-ones)&^x | (y-ones)&^y) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(text); i++ {
		if text[i] == a || text[i] == c {
			return i
		}
	}
	return i
}
