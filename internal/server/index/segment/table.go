package segment

import (
	"encoding/binary"
	"time"

	"logtail/internal/server/query"
	"logtail/internal/sls"
)

// table holds the newest rows of a shard, or the rows that a merge brings
// together. Rows stay as bytes: keys are numbered, rows with the same keys in
// the same order share a shape, and a row is the lengths of its values followed
// by the values, each with a newline behind it. So a row costs its values, two
// bytes a field and 20 bytes; and a word can be looked for in all values of a
// row at once, since a newline ends a word.
//
// The owner adds groups under the lock of the shard; what a view shows does
// not change any more.
type table struct {
	keys     []string
	keyIDs   map[string]uint32
	shapes   [][]uint32 // key numbers in order
	shapeIDs map[string]uint32
	counts   []int // rows by shape
	groups   []*group
	rows     int
	bytes    int64 // about the memory that it takes
	minTime  int64
	maxTime  int64

	from, to    uint64 // the sequences that it is complete for
	maxReceived int64  // unix nanoseconds
	born        time.Time
	counted     int64      // bytes of the budget that a merge took for it
	givenUp     []seqRange // lost ranges that the shard log no longer had

	lastShape  uint32
	idScratch  []uint32
	keyScratch []byte
}

// group is the rows of one record.
type group struct {
	seq           uint64
	topic, source []byte
	tags          []sls.Content // keys with query.TagPrefix
	tagShape      uint32
	data          []byte
	rows          []tableRow
	minTime       int64
	maxTime       int64
}

// tableRow places a row in its group's data.
type tableRow struct {
	off   uint32
	shape uint32
	sec   uint32
	nsec  int32
	row   uint32 // number of the log in its record
}

// rowTime is the time of a row in unix nanoseconds, by which rows are ordered.
// A time without nanoseconds stands at the beginning of its second.
func rowTime(sec uint32, nsec int32) int64 {
	return int64(sec)*nanos + min(max(int64(nsec), 0), nanos-1)
}

const nanos = int64(time.Second)

func (r *tableRow) time() int64 { return rowTime(r.sec, r.nsec) }

func newTable(from uint64) *table {
	return &table{
		keyIDs: map[string]uint32{}, shapeIDs: map[string]uint32{},
		from: from, to: from, minTime: 1<<63 - 1, maxTime: -1 << 63,
	}
}

// add appends the rows of a record. It copies what it keeps.
func (t *table) add(seq uint64, lg *sls.LogGroup) {
	g := &group{seq: seq, topic: []byte(lg.Topic), source: []byte(lg.Source)}
	t.startGroup(g, tagContents(lg.Tags))
	size := 0
	for i := range lg.Logs {
		for j := range lg.Logs[i].Contents {
			size += len(lg.Logs[i].Contents[j].Value) + 3
		}
	}
	g.data = make([]byte, 0, size)
	g.rows = make([]tableRow, 0, len(lg.Logs))
	for i := range lg.Logs {
		l := &lg.Logs[i]
		t.addRow(g, l.Sec, l.Nsec, uint32(i), l.Contents)
	}
	t.endGroup(g)
}

// tagContents turns tags into fields.
func tagContents(tags []sls.Tag) []sls.Content {
	if len(tags) == 0 {
		return nil
	}
	out := make([]sls.Content, len(tags))
	for i, tag := range tags {
		out[i] = sls.Content{Key: []byte(query.TagPrefix + tag.Key), Value: []byte(tag.Value)}
	}
	return out
}

func (t *table) startGroup(g *group, tags []sls.Content) {
	g.tags, g.tagShape = tags, t.shape(tags)
	g.minTime, g.maxTime = 1<<63-1, -1<<63
}

func (t *table) addRow(g *group, sec uint32, nsec int32, row uint32, contents []sls.Content) {
	r := tableRow{off: uint32(len(g.data)), sec: sec, nsec: nsec, row: row, shape: t.shape(contents)}
	t.counts[r.shape]++
	for i := range contents {
		g.data = binary.AppendUvarint(g.data, uint64(len(contents[i].Value)))
	}
	for i := range contents {
		g.data = append(g.data, contents[i].Value...)
		g.data = append(g.data, '\n')
	}
	g.rows = append(g.rows, r)
	g.minTime, g.maxTime = min(g.minTime, r.time()), max(g.maxTime, r.time())
}

func (t *table) endGroup(g *group) {
	t.groups = append(t.groups, g)
	t.rows += len(g.rows)
	t.minTime, t.maxTime = min(t.minTime, g.minTime), max(t.maxTime, g.maxTime)
	t.bytes += groupSize(g)
}

// groupSize is about what a group takes in memory.
func groupSize(g *group) int64 {
	size := 200 + cap(g.data) + len(g.topic) + len(g.source) + 20*cap(g.rows)
	for _, tag := range g.tags {
		size += 48 + len(tag.Key) + len(tag.Value)
	}
	return int64(size)
}

// shape returns the number of the list of keys. Neighbouring rows mostly have
// the same keys, so the shape before is tried first.
func (t *table) shape(contents []sls.Content) uint32 {
	if t.sameKeys(t.lastShape, contents) {
		return t.lastShape
	}
	ids := t.idScratch[:0]
	for i := range contents {
		id, ok := t.keyIDs[string(contents[i].Key)]
		if !ok {
			id = uint32(len(t.keys))
			key := string(contents[i].Key)
			t.keys = append(t.keys, key)
			t.keyIDs[key] = id
			t.bytes += int64(len(key)) + 80
		}
		ids = append(ids, id)
	}
	t.idScratch = ids
	name := t.keyScratch[:0]
	for _, id := range ids {
		name = binary.AppendUvarint(name, uint64(id))
	}
	t.keyScratch = name
	s, ok := t.shapeIDs[string(name)]
	if ok {
		t.lastShape = s
		return s
	}
	s = uint32(len(t.shapes))
	t.lastShape = s
	t.shapes = append(t.shapes, append([]uint32(nil), ids...))
	t.counts = append(t.counts, 0)
	t.shapeIDs[string(name)] = s
	t.bytes += int64(4*len(ids) + len(name) + 100)
	return s
}

func (t *table) sameKeys(shape uint32, contents []sls.Content) bool {
	if int(shape) >= len(t.shapes) || len(t.shapes[shape]) != len(contents) {
		return false
	}
	for i, id := range t.shapes[shape] {
		if t.keys[id] != string(contents[i].Key) {
			return false
		}
	}
	return true
}

// tableView is what a table showed at one moment; it can be read without a
// lock.
type tableView struct {
	keys    []string
	shapes  [][]uint32
	groups  []*group
	rows    int
	minTime int64
	maxTime int64
}

func (t *table) view() *tableView {
	return &tableView{keys: t.keys, shapes: t.shapes, groups: t.groups, rows: t.rows, minTime: t.minTime, maxTime: t.maxTime}
}

// rowReader takes rows of a table apart. Its slices are used again for the
// next row.
type rowReader struct {
	ends   []uint32 // of the values in joined
	joined []byte   // all values, each with a newline behind it
}

// open reads row r of the group; fields is the number of keys of its shape.
func (d *rowReader) open(g *group, r *tableRow, fields int) {
	b := g.data[r.off:]
	d.ends = d.ends[:0]
	end := uint32(0)
	for range fields {
		size := uint64(b[0])
		n := 1
		if size >= 0x80 {
			size, n = binary.Uvarint(b)
		}
		b = b[n:]
		end += uint32(size) + 1
		d.ends = append(d.ends, end)
	}
	d.joined = b[:end]
}

// value returns the value of field i.
func (d *rowReader) value(i int) []byte {
	start := uint32(0)
	if i > 0 {
		start = d.ends[i-1]
	}
	return d.joined[start : d.ends[i]-1]
}
