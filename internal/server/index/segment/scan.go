package segment

import (
	"slices"
	"sort"
	"strconv"

	"logtail/internal/server/query"
)

// compiled is a query as the engine evaluates it.
type compiled struct {
	*query.Matcher
	hashes [][]uint64 // by leaf: of the words that a value must hold
	topic  []byte     // only rows of this topic, if hasTopic
	hasTop bool
}

func compile(e query.Expr, topic *string) *compiled {
	c := &compiled{Matcher: query.Compile(e)}
	for _, l := range c.Leaves {
		var hs []uint64
		for _, w := range l.RequiredWords() {
			hs = append(hs, wordHash(w))
		}
		c.hashes = append(c.hashes, hs)
	}
	if topic != nil {
		c.topic, c.hasTop = []byte(*topic), true
	}
	return c
}

// all says whether every row in the range of time is wanted.
func (c *compiled) all() bool { return c.IsAll() && !c.hasTop }

// scan evaluates a query on one row group.
type scan struct {
	c     *compiled
	h     *handle
	group int
	info  *groupInfo
	cols  map[int]*columnData // by leaf of the data file
	codes []int8              // memo: what a condition says of dictionary entries
	intBf []byte
}

func newScan(c *compiled, h *handle, group int) *scan {
	return &scan{c: c, h: h, group: group, info: &h.side.groups[group], cols: map[int]*columnData{}, intBf: make([]byte, 0, 24)}
}

func (s *scan) release() {
	for _, c := range s.cols {
		c.release()
	}
	s.cols = nil
}

// data decodes a column once.
func (s *scan) data(leaf int) (*columnData, error) {
	if c, ok := s.cols[leaf]; ok {
		return c, nil
	}
	c, err := s.h.readColumn(s.group, leaf)
	if err != nil {
		return nil, err
	}
	s.cols[leaf] = c
	return c, nil
}

// ints returns a fixed integer column.
func (s *scan) ints(leaf int) ([]int64, error) {
	c, err := s.data(leaf)
	if err != nil {
		return nil, err
	}
	if c.ints == nil || c.index != nil {
		return nil, corruptf("column %d is not one of integers", leaf)
	}
	return c.ints[:c.rows], nil
}

// window returns the rows with from <= time < to, in unix nanoseconds.
func (s *scan) window(from, to int64) (lo, hi int, err error) {
	lo, hi = 0, s.info.rows
	if from <= s.info.minTime && s.info.maxTime < to {
		return lo, hi, nil
	}
	times, err := s.ints(s.h.fixed.time)
	if err != nil {
		return 0, 0, err
	}
	lo = sort.Search(hi, func(i int) bool { return times[i] >= from })
	hi = sort.Search(hi, func(i int) bool { return times[i] >= to })
	return lo, hi, nil
}

// mayMatch says whether the row group can have a row that matches, by the
// sidecar alone.
func (s *scan) mayMatch(n *query.Node) bool {
	switch n.Op {
	case query.NodeNone:
		return false
	case query.NodeAnd:
		return !slices.ContainsFunc(n.Args, func(a *query.Node) bool { return !s.mayMatch(a) })
	case query.NodeOr:
		return slices.ContainsFunc(n.Args, s.mayMatch)
	case query.NodeLeaf:
		return slices.ContainsFunc(s.columnsOf(n.Leaf), func(c int) bool { return s.mayHold(n.Leaf, c) })
	}
	return true
}

// columnsOf returns the columns of the row group that a condition concerns.
func (s *scan) columnsOf(l *query.Leaf) []int {
	cols := make([]int, 0, 4)
	switch l.Key {
	case "":
		for i := range s.info.columns {
			cols = append(cols, i)
		}
		return cols
	case query.TopicKey:
		cols = append(cols, colTopic)
	case query.SourceKey:
		cols = append(cols, colSource)
	}
	if i, ok := s.h.side.byKey[l.Key]; ok {
		cols = append(cols, colFields+i)
	}
	return append(cols, colRest) // keys that come again, or have no column
}

// mayHold says whether a column of the row group can hold a value that meets
// the condition.
func (s *scan) mayHold(l *query.Leaf, col int) bool {
	c := &s.info.columns[col]
	if c.present == 0 {
		return false
	}
	if s.h.side.kindOf(col) == kindInt && !l.MayMatchInts(c.min, c.max) {
		return false
	}
	for _, h := range s.c.hashes[l.Index] {
		if !c.words.has(h) {
			return false
		}
	}
	return true
}

// eval returns which of the rows in sel match. The result may be sel itself;
// sel is not changed.
func (s *scan) eval(n *query.Node, sel bitset) (bitset, error) {
	switch n.Op {
	case query.NodeAll:
		return sel, nil
	case query.NodeNot:
		out, err := s.eval(n.Args[0], sel)
		if err != nil {
			return nil, err
		}
		not := slices.Clone(sel)
		not.andNot(out)
		return not, nil
	case query.NodeAnd:
		for _, a := range n.Args {
			var err error
			if sel, err = s.eval(a, sel); err != nil || sel.empty() {
				return sel, err
			}
		}
		return sel, nil
	case query.NodeOr:
		out, left := newBitset(s.info.rows), slices.Clone(sel)
		for _, a := range n.Args {
			part, err := s.eval(a, left)
			if err != nil {
				return nil, err
			}
			out.or(part)
			left.andNot(part)
			if left.empty() {
				break
			}
		}
		return out, nil
	case query.NodeLeaf:
		return s.evalLeaf(n.Leaf, sel)
	}
	return newBitset(s.info.rows), nil
}

func (s *scan) evalLeaf(l *query.Leaf, sel bitset) (bitset, error) {
	out := newBitset(s.info.rows)
	left := slices.Clone(sel)
	for _, col := range s.columnsOf(l) {
		if !s.mayHold(l, col) {
			continue
		}
		if l.Kind == query.LeafExists && col >= colFields && s.info.columns[col].present == s.info.rows {
			return sel, nil
		}
		data, err := s.data(s.h.leaf(col))
		if err != nil {
			return nil, err
		}
		switch {
		case col == colRest:
			err = matchRest(l, data, left, out)
		case data.ints != nil:
			s.matchInts(l, data, left, out)
		default:
			s.matchTexts(l, data, left, out, col < colFields)
		}
		if err != nil {
			return nil, err
		}
		left.andNot(out)
		if left.empty() {
			break
		}
	}
	return out, nil
}

func (s *scan) matchInts(l *query.Leaf, c *columnData, sel, out bitset) {
	for i := sel.next(0); i >= 0; i = sel.next(i + 1) {
		if at := c.at(i); at >= 0 && l.MatchInt(c.ints[at], s.intBf) {
			out.set(i)
		}
	}
}

// matchTexts evaluates a condition on texts, on each entry of a dictionary at
// most once. For topic and source an empty text is none.
func (s *scan) matchTexts(l *query.Leaf, c *columnData, sel, out bitset, emptyIsNone bool) {
	if c.codes == nil {
		for i := sel.next(0); i >= 0; i = sel.next(i + 1) {
			at := c.at(i)
			if at < 0 {
				continue
			}
			if v := c.text(at); l.Match(v) && (len(v) > 0 || !emptyIsNone) {
				out.set(i)
			}
		}
		return
	}
	entries := len(c.offs) - 1
	s.codes = slices.Grow(s.codes[:0], entries)[:entries]
	clear(s.codes)
	for i := sel.next(0); i >= 0; i = sel.next(i + 1) {
		at := c.at(i)
		if at < 0 {
			continue
		}
		code := c.codes[at]
		if s.codes[code] == 0 {
			v := c.bytes[c.offs[code]:c.offs[code+1]]
			s.codes[code] = -1
			if l.Match(v) && (len(v) > 0 || !emptyIsNone) {
				s.codes[code] = 1
			}
		}
		if s.codes[code] > 0 {
			out.set(i)
		}
	}
}

func matchRest(l *query.Leaf, c *columnData, sel, out bitset) error {
	for i := sel.next(0); i >= 0; i = sel.next(i + 1) {
		at := c.at(i)
		if at < 0 {
			continue
		}
		for b := c.text(at); len(b) > 0; {
			key, v, rest, ok := nextRest(b)
			if !ok {
				return corruptf("a value of %s does not decode", nameRest)
			}
			b = rest
			if (l.Key == "" || l.Key == string(key)) && l.Match(v) {
				out.set(i)
				break
			}
		}
	}
	return nil
}

// selectTopic returns the rows of sel that have the topic.
func (s *scan) selectTopic(sel bitset) (bitset, error) {
	c, err := s.data(s.h.fixed.topic)
	if err != nil {
		return nil, err
	}
	out := newBitset(s.info.rows)
	for i := sel.next(0); i >= 0; i = sel.next(i + 1) {
		if at := c.at(i); at >= 0 && string(c.text(at)) == string(s.c.topic) {
			out.set(i)
		}
	}
	return out, nil
}

// matches returns the rows lo <= i < hi of the row group that match.
func (s *scan) matches(lo, hi int) (bitset, error) {
	sel := newBitset(s.info.rows)
	sel.setRange(lo, hi)
	if s.c.hasTop {
		var err error
		if sel, err = s.selectTopic(sel); err != nil || sel.empty() {
			return sel, err
		}
	}
	return s.eval(s.c.Root, sel)
}

// field is a key and value of a row.
type field struct{ key, value []byte }

// fetched is a row with all that a result shows.
type fetched struct {
	time          int64
	nsec          int32
	seq           uint64
	row           int
	topic, source string
	fields        []field
}

// fetch reads one row in full. The fields are views into the scan's columns.
func (s *scan) fetch(i int) (fetched, error) {
	var f fetched
	fixed := &s.h.fixed
	var shape int64
	for _, c := range []struct {
		leaf int
		set  func(v int64)
	}{
		{fixed.time, func(v int64) { f.time = v }},
		{fixed.nsec, func(v int64) { f.nsec = int32(v) }},
		{fixed.seq, func(v int64) { f.seq = uint64(v) }},
		{fixed.row, func(v int64) { f.row = int(v) }},
		{fixed.shape, func(v int64) { shape = v }},
	} {
		vs, err := s.ints(c.leaf)
		if err != nil {
			return f, err
		}
		c.set(vs[i])
	}
	topic, err := s.value(colTopic, i)
	if err != nil {
		return f, err
	}
	source, err := s.value(colSource, i)
	if err != nil {
		return f, err
	}
	f.topic, f.source = string(topic), string(source)
	f.fields, err = s.fields(shape, i)
	return f, err
}

func (s *scan) fields(shape int64, i int) ([]field, error) {
	if shape < 0 || shape >= int64(len(s.h.side.shapes)) {
		return nil, corruptf("a row has shape %d, which the sidecar does not know", shape)
	}
	entries := s.h.side.shapes[shape]
	var rest []byte
	if shape == 0 || slices.Contains(entries, 0) {
		var err error
		// A row without any field has shape 0 or an empty one, and no rest.
		if s.info.columns[colRest].present > 0 {
			if rest, err = s.value(colRest, i); err != nil {
				return nil, err
			}
		}
	}
	var out []field
	next := func() bool {
		key, v, more, ok := nextRest(rest)
		rest = more
		out = append(out, field{key, v})
		return ok
	}
	if shape == 0 {
		for len(rest) > 0 {
			if !next() {
				return nil, corruptf("a value of %s does not decode", nameRest)
			}
		}
		return out, nil
	}
	for _, e := range entries {
		if e == 0 {
			if !next() {
				return nil, corruptf("a value of %s does not decode", nameRest)
			}
			continue
		}
		v, err := s.value(colFields+int(e-1), i)
		if err != nil {
			return nil, err
		}
		if v == nil {
			return nil, corruptf("a row has no value for a field of its shape")
		}
		out = append(out, field{s.h.side.columns[e-1].name, v})
	}
	return out, nil
}

// value returns the value of a row in a column as text, never nil unless the
// row has none.
func (s *scan) value(col, i int) ([]byte, error) {
	c, err := s.data(s.h.leaf(col))
	if err != nil {
		return nil, err
	}
	at := c.at(i)
	switch {
	case at < 0:
		return nil, nil
	case c.ints != nil:
		return strconv.AppendInt(nil, c.ints[at], 10), nil
	}
	v := c.text(at)
	if v == nil {
		v = []byte{}
	}
	return v, nil
}
