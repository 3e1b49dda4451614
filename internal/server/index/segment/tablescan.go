package segment

import (
	"logtail/internal/server/index"
	"logtail/internal/server/query"
)

// maxPlaces bounds what a matcher remembers of where the keys of a query stand in
// the shapes of a table. Rows that all have other keys make many shapes.
const maxPlaces = 1 << 20

// tableMatcher evaluates a query on the rows of a table.
type tableMatcher struct {
	c      *compiled
	v      *tableView
	places [][][]int32 // by leaf and shape: which fields of the row have its key; nil = not known yet; empty when it would be too large
	found  []int32     // scratch of fieldsOf then
	keyIDs []int32     // by leaf: the number of its key in the table, -1 if no row has it
	common []bool      // by leaf: whether topic, source or tags of the group match
	g      *group
	r      rowReader
	shape  uint32
}

func newTableMatcher(c *compiled, v *tableView) *tableMatcher {
	m := &tableMatcher{
		c: c, v: v, keyIDs: make([]int32, len(c.Leaves)),
		common: make([]bool, len(c.Leaves)),
	}
	if len(c.Leaves)*len(v.shapes) <= maxPlaces {
		m.places = make([][][]int32, len(c.Leaves))
	}
	for i, l := range c.Leaves {
		m.keyIDs[i] = -1
		for id, key := range v.keys {
			if key == l.Key {
				m.keyIDs[i] = int32(id)
			}
		}
		if len(m.places) > 0 {
			m.places[i] = make([][]int32, len(v.shapes))
		}
	}
	return m
}

// startGroup prepares for the rows of a group; it reports false when none can
// match.
func (m *tableMatcher) startGroup(g *group) bool {
	m.g = g
	if m.c.hasTop && string(g.topic) != string(m.c.topic) {
		return false
	}
	row := query.Row{Topic: g.topic, Source: g.source, Tags: g.tags}
	for i, l := range m.c.Leaves {
		m.common[i] = row.MatchLeaf(l)
	}
	return m.c.Root.Op != query.NodeNone
}

func (m *tableMatcher) match(r *tableRow) bool {
	if m.c.Root.Op == query.NodeAll {
		return true
	}
	m.shape = r.shape
	m.r.open(m.g, r, len(m.v.shapes[r.shape]))
	return m.c.Root.Eval(m)
}

// MatchLeaf implements query.LeafSource for the row that is open.
func (m *tableMatcher) MatchLeaf(l *query.Leaf) bool {
	if m.common[l.Index] {
		return true
	}
	if l.Key == "" {
		if match, known := l.MatchJoined(m.r.joined); known {
			return match
		}
		for i := range m.r.ends {
			if l.Match(m.r.value(i)) {
				return true
			}
		}
		return false
	}
	if m.keyIDs[l.Index] < 0 {
		return false
	}
	for _, i := range m.fieldsOf(l) {
		if l.Match(m.r.value(int(i))) {
			return true
		}
	}
	return false
}

// fieldsOf returns the fields of the open row's shape that have the key of the
// condition.
func (m *tableMatcher) fieldsOf(l *query.Leaf) []int32 {
	if len(m.places) == 0 {
		m.found = m.appendFields(m.found[:0], l)
		return m.found
	}
	places := m.places[l.Index][m.shape]
	if places == nil {
		places = m.appendFields([]int32{}, l)
		m.places[l.Index][m.shape] = places
	}
	return places
}

func (m *tableMatcher) appendFields(dst []int32, l *query.Leaf) []int32 {
	for i, id := range m.v.shapes[m.shape] {
		if int32(id) == m.keyIDs[l.Index] {
			dst = append(dst, int32(i))
		}
	}
	return dst
}

// row makes the full row of a result.
func (v *tableView) row(shard, group, at int) index.Row {
	g := v.groups[group]
	r := &g.rows[at]
	shape := v.shapes[r.shape]
	var d rowReader
	d.open(g, r, len(shape))
	out := index.Row{
		Time: int64(r.sec), Nsec: r.nsec, Shard: shard, Seq: g.seq, Row: int(r.row),
		Topic: string(g.topic), Source: string(g.source), Fields: make([]index.Field, 0, len(shape)+len(g.tags)),
	}
	for i, id := range shape {
		out.Fields = append(out.Fields, index.Field{Key: v.keys[id], Value: string(d.value(i))})
	}
	for _, tag := range g.tags {
		out.Fields = append(out.Fields, index.Field{Key: string(tag.Key), Value: string(tag.Value)})
	}
	return out
}
