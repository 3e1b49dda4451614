package segment

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"logtail/internal/server/query"
)

// The columns of a data file besides those of the fields. Readers of other
// make see them under these names.
const (
	nameTime   = "_time"
	nameNsec   = "_nsec"
	nameSeq    = "_seq"
	nameRow    = "_row"
	nameShape  = "_shape"
	nameRest   = "_rest"
	nameTopic  = query.TopicKey
	nameSource = query.SourceKey
)

func reservedName(s string) bool {
	switch s {
	case nameTime, nameNsec, nameSeq, nameRow, nameShape, nameRest, nameTopic, nameSource:
		return true
	}
	return false
}

// rowRef is a row of a table, in the order of the segment.
type rowRef struct {
	time  int64
	group uint32
	row   uint32
}

// plannedColumn is a field that gets a column of its own.
type plannedColumn struct {
	key    string
	kind   kind
	dict   bool // values repeat: stored as a dictionary
	utf8   bool
	gaps   bool // some rows have no value
	leaf   int  // number of the column in the data file
	rows   int  // rows that have the key
	keyID  uint32
	sample map[uint64]struct{}
	seen   int
}

// plan says how the rows of a table become a data file. A file has one schema,
// so what it needs to know of the values it learns from all rows beforehand.
type plan struct {
	t       *table
	refs    []rowRef
	columns []plannedColumn
	byID    []int // index in columns by key number of the table; -1 = none
	shapes  [][]uint32
	shapeOf map[[2]uint32]int // (shape, shape of the tags) of the table -> shapes
	hasRest bool
	restGap bool
	opts    *Options

	lastPair  [2]uint32 // the shape that was asked for last
	lastShape int
	asked     bool
}

// sampleRows is how many values of a column decide whether it gets a
// dictionary; with fewer than a quarter of them distinct it does.
const sampleRows = 4096

func newPlan(t *table, opts *Options) *plan {
	p := &plan{t: t, shapeOf: map[[2]uint32]int{}, shapes: [][]uint32{nil}, opts: opts}
	p.order()
	p.choose(opts.MaxColumns)
	p.inspect()
	for i := range p.columns {
		c := &p.columns[i]
		c.dict = len(c.sample)*4 < c.seen
		c.sample = nil
	}
	p.layOut()
	return p
}

// order sorts the rows by time, sequence and number; groups are in the order
// of their sequences.
func (p *plan) order() {
	p.refs = make([]rowRef, 0, p.t.rows)
	for gi, g := range p.t.groups {
		for ri := range g.rows {
			p.refs = append(p.refs, rowRef{g.rows[ri].time(), uint32(gi), uint32(ri)})
		}
	}
	slices.SortFunc(p.refs, func(a, b rowRef) int {
		if a.time != b.time {
			return cmp.Compare(a.time, b.time)
		}
		ga, gb := p.t.groups[a.group], p.t.groups[b.group]
		if ga.seq != gb.seq {
			return cmp.Compare(ga.seq, gb.seq)
		}
		return cmp.Compare(ga.rows[a.row].row, gb.rows[b.row].row)
	})
}

// choose gives columns to the keys that most rows have. A key that cannot name
// a column has none.
func (p *plan) choose(most int) {
	counts := make([]int, len(p.t.keys))
	seen := make([]int, len(p.t.keys)) // the pair of shapes that had the key last
	pairs := map[[2]uint32]int{}
	for _, g := range p.t.groups {
		for i := range g.rows {
			pairs[[2]uint32{g.rows[i].shape, g.tagShape}]++
		}
	}
	n := 0
	for pair, rows := range pairs {
		n++
		for _, shape := range pair {
			for _, id := range p.t.shapes[shape] {
				if seen[id] != n { // a key counts once a row
					seen[id] = n
					counts[id] += rows
				}
			}
		}
	}
	for id, key := range p.t.keys {
		if key != "" && counts[id] > 0 && utf8.ValidString(key) && !reservedName(key) && !strings.ContainsRune(key, 0) {
			p.columns = append(p.columns, plannedColumn{key: key, keyID: uint32(id), rows: counts[id], kind: kindInt, utf8: true, sample: map[uint64]struct{}{}})
		}
	}
	if len(p.columns) > most {
		slices.SortStableFunc(p.columns, func(a, b plannedColumn) int { return cmp.Compare(b.rows, a.rows) })
		p.columns = p.columns[:most]
	}
	p.byID = make([]int, len(p.t.keys))
	for i := range p.byID {
		p.byID[i] = -1
	}
	for i := range p.columns {
		p.byID[p.columns[i].keyID] = i
	}
}

// inspect looks at all values to find out kinds.
func (p *plan) inspect() {
	var d rowReader
	every := max(1, p.t.rows/sampleRows)
	n := 0
	for _, g := range p.t.groups {
		tags := p.t.shapes[g.tagShape]
		for i := range g.tags {
			p.inspectValue(tags[i], g.tags[i].Value, false)
		}
		for ri := range g.rows {
			shape := p.t.shapes[g.rows[ri].shape]
			d.open(g, &g.rows[ri], len(shape))
			sample := n%every == 0
			n++
			for i, id := range shape {
				p.inspectValue(id, d.value(i), sample)
			}
			if sample {
				for i := range g.tags {
					p.inspectValue(tags[i], g.tags[i].Value, true)
				}
			}
		}
	}
}

func (p *plan) inspectValue(id uint32, v []byte, sample bool) {
	at := p.byID[id]
	if at < 0 {
		return
	}
	c := &p.columns[at]
	if c.kind == kindInt {
		if _, ok := query.ParseCanonicalInt(v); ok {
			return
		}
		c.kind = kindText
	}
	if c.utf8 && !utf8.Valid(v) {
		c.utf8 = false
	}
	if sample {
		c.seen++
		c.sample[xxhash.Sum64(v)] = struct{}{}
	}
}

// layOut makes the shapes of the segment from those of the table.
func (p *plan) layOut() {
	withRest, bare := 0, false
	for _, g := range p.t.groups {
		for i := range g.rows {
			s := p.shape(g.rows[i].shape, g.tagShape)
			if s == 0 || slices.Contains(p.shapes[s], 0) {
				withRest++
			}
			bare = bare || s == 0
		}
	}
	// Rows of shape 0 have no value in any column, and no rest if they have no
	// fields at all.
	p.hasRest, p.restGap = withRest > 0, bare || withRest < len(p.refs)
	for i := range p.columns {
		p.columns[i].gaps = bare || p.columns[i].rows < len(p.refs)
	}
}

// shape returns the number of the shape of a row. When there are too many, rows
// get shape 0: all their fields go to _rest.
func (p *plan) shape(contents, tags uint32) int {
	pair := [2]uint32{contents, tags}
	if p.asked && pair == p.lastPair {
		return p.lastShape
	}
	s, ok := p.shapeOf[pair]
	if !ok {
		s = p.newShape(contents, tags)
		p.shapeOf[pair] = s
	}
	p.asked, p.lastPair, p.lastShape = true, pair, s
	return s
}

func (p *plan) newShape(contents, tags uint32) int {
	if len(p.shapes) >= p.opts.MaxShapes {
		return 0
	}
	var shape []uint32
	has := make([]bool, len(p.columns)+1)
	for _, ids := range [][]uint32{p.t.shapes[contents], p.t.shapes[tags]} {
		for _, id := range ids {
			entry := uint32(p.byID[id] + 1)
			if has[entry] {
				entry = 0 // a key again
			}
			has[entry] = true
			shape = append(shape, entry)
		}
	}
	p.shapes = append(p.shapes, shape)
	return len(p.shapes) - 1
}

// appendRest adds a field to the value of _rest.
func appendRest(dst []byte, key string, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// nextRest reads the first field of a value of _rest; ok is false at its end
// and on damage.
func nextRest(b []byte) (key, value, rest []byte, ok bool) {
	part := func() []byte {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			ok = false
			return nil
		}
		v := b[w : w+int(n)]
		b = b[w+int(n):]
		return v
	}
	ok = true
	if key = part(); !ok {
		return nil, nil, nil, false
	}
	if value = part(); !ok {
		return nil, nil, nil, false
	}
	return key, value, b, true
}
