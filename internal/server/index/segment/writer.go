package segment

import (
	"fmt"
	"io"
	"math"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding"

	"logtail/internal/server/query"
)

// The limits of a row group. Rows are the unit of pruning; cells and bytes
// bound the memory of writing and reading one, and the size of a page.
const (
	defaultGroupRows  = 32_768
	defaultGroupCells = 1 << 21
	defaultGroupBytes = 64 << 20
)

// pageBuffer is small because it is allocated per column; a page is written in
// one call, whatever its size.
const pageBuffer = 16 << 10

// schema makes the schema of the data file and fills in the column numbers.
func (p *plan) schema() (*parquet.Schema, fixedLeaves) {
	integer := func() parquet.Node { return parquet.Encoded(parquet.Int(64), &parquet.DeltaBinaryPacked) }
	g := parquet.Group{
		nameTime:   parquet.Encoded(parquet.Timestamp(parquet.Nanosecond), &parquet.DeltaBinaryPacked),
		nameNsec:   integer(),
		nameSeq:    integer(),
		nameRow:    integer(),
		nameShape:  integer(),
		nameTopic:  parquet.Encoded(parquet.Leaf(parquet.ByteArrayType), &parquet.RLEDictionary),
		nameSource: parquet.Encoded(parquet.Leaf(parquet.ByteArrayType), &parquet.RLEDictionary),
	}
	if p.hasRest {
		n := parquet.Encoded(parquet.Leaf(parquet.ByteArrayType), &parquet.DeltaLengthByteArray)
		if p.restGap {
			n = parquet.Optional(n)
		}
		g[nameRest] = n
	}
	for i := range p.columns {
		c := &p.columns[i]
		var n parquet.Node
		if c.kind == kindInt {
			n = integer()
		} else {
			leaf := parquet.Leaf(parquet.ByteArrayType)
			if c.utf8 {
				leaf = parquet.String()
			}
			var e encoding.Encoding = &parquet.DeltaLengthByteArray
			if c.dict {
				e = &parquet.RLEDictionary
			}
			n = parquet.Encoded(leaf, e)
		}
		if c.gaps {
			n = parquet.Optional(n)
		}
		g[c.key] = n
	}
	s := parquet.NewSchema("log", g)
	leaf := func(name string) int {
		l, ok := s.Lookup(name)
		if !ok {
			return -1
		}
		return l.ColumnIndex
	}
	for i := range p.columns {
		p.columns[i].leaf = leaf(p.columns[i].key)
	}
	return s, fixedLeaves{
		time: leaf(nameTime), nsec: leaf(nameNsec), seq: leaf(nameSeq), row: leaf(nameRow), shape: leaf(nameShape),
		topic: leaf(nameTopic), source: leaf(nameSource), rest: leaf(nameRest),
	}
}

// fixedLeaves are the numbers of the columns that do not stand for a field; -1
// for one that is not there.
type fixedLeaves struct{ time, nsec, seq, row, shape, topic, source, rest int }

// cell is a value of a row in a row group.
type cell struct {
	row   int32
	value []byte
}

// segmentWriter writes one data file and gathers its sidecar.
type segmentWriter struct {
	p      *plan
	out    *blockWriter
	w      *parquet.GenericWriter[any]
	leaves fixedLeaves
	side   *sidecar

	cells  [][]cell // by column of the plan
	topic  []cell
	source []cell
	rest   []cell
	values []parquet.Value
	words  wordSet
	seen   valueSet
	reader rowReader
	arena  []byte // backs rest
}

// writeSegment writes the rows of the plan to out and returns the sidecar.
func writeSegment(out io.Writer, p *plan) (*sidecar, error) {
	schema, leaves := p.schema()
	bw := newBlockWriter(out)
	options := []parquet.WriterOption{
		schema, parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}), parquet.DataPageVersion(2),
		parquet.DataPageStatistics(false), parquet.PageBufferSize(pageBuffer), parquet.WriteBufferSize(0),
		parquet.CreatedBy("logtail", "1", ""), parquet.MaxRowsPerRowGroup(math.MaxInt64),
	}
	for _, path := range schema.Columns() {
		// Nothing reads them: bounds and filters are in the sidecar.
		options = append(options, parquet.SkipPageBounds(path...))
	}
	t := p.t
	s := &segmentWriter{
		p: p, out: bw, w: parquet.NewGenericWriter[any](bw, options...), leaves: leaves,
		side: &sidecar{
			rows: len(p.refs), from: t.from, to: t.to, minTime: t.minTime, maxTime: t.maxTime,
			maxReceived: t.maxReceived, rawBytes: t.bytes, shapes: p.shapes,
		},
		cells: make([][]cell, len(p.columns)),
	}
	for i := range p.columns {
		s.side.columns = append(s.side.columns, columnInfo{key: p.columns[i].key, kind: p.columns[i].kind})
	}
	for start := 0; start < len(p.refs); {
		end := s.gather(start)
		if err := s.writeGroup(p.refs[start:end]); err != nil {
			return nil, err
		}
		start = end
	}
	if err := s.w.Close(); err != nil {
		return nil, err
	}
	if err := bw.flush(); err != nil {
		return nil, err
	}
	s.side.dataSize, s.side.blocks = bw.size, bw.sums
	return s.side, nil
}

// gather takes the rows of the next row group apart, by columns, and returns
// where it ends.
func (s *segmentWriter) gather(start int) int {
	for i := range s.cells {
		s.cells[i] = s.cells[i][:0]
	}
	s.topic, s.source, s.rest, s.arena = s.topic[:0], s.source[:0], s.rest[:0], s.arena[:0]
	opts := s.p.opts
	cells, size := 0, 0
	i := start
	for ; i < len(s.p.refs) && i-start < opts.groupRows && cells < opts.groupCells && size < opts.groupBytes; i++ {
		g := s.p.t.groups[s.p.refs[i].group]
		r := &g.rows[s.p.refs[i].row]
		row := int32(i - start)
		s.topic = append(s.topic, cell{row, g.topic})
		s.source = append(s.source, cell{row, g.source})
		contents, tags := s.p.t.shapes[r.shape], s.p.t.shapes[g.tagShape]
		s.reader.open(g, r, len(contents))
		shape := s.p.shapes[s.p.shape(r.shape, g.tagShape)]
		allRest := len(shape) == 0
		restStart := len(s.arena)
		for k := range len(contents) + len(tags) {
			var id uint32
			var v []byte
			if k < len(contents) {
				id, v = contents[k], s.reader.value(k)
			} else {
				id, v = tags[k-len(contents)], g.tags[k-len(contents)].Value
			}
			if allRest || shape[k] == 0 {
				s.arena = appendRest(s.arena, s.p.t.keys[id], v)
			} else {
				s.cells[shape[k]-1] = append(s.cells[shape[k]-1], cell{row, v})
			}
			size += len(v) + 8
		}
		cells += len(contents) + len(tags)
		if len(s.arena) > restStart {
			s.rest = append(s.rest, cell{row, s.arena[restStart:len(s.arena):len(s.arena)]})
		}
	}
	return i
}

func (s *segmentWriter) writeGroup(refs []rowRef) error {
	n := len(refs)
	info := groupInfo{rows: n, minTime: refs[0].time, maxTime: refs[n-1].time, columns: make([]chunkInfo, colFields+len(s.cells))}
	groups := s.p.t.groups
	row := func(i int) *tableRow { return &groups[refs[i].group].rows[refs[i].row] }
	for _, c := range []struct {
		leaf int
		of   func(i int) int64
	}{
		{s.leaves.time, func(i int) int64 { return refs[i].time }},
		{s.leaves.nsec, func(i int) int64 { return int64(row(i).nsec) }},
		{s.leaves.seq, func(i int) int64 { return int64(groups[refs[i].group].seq) }},
		{s.leaves.row, func(i int) int64 { return int64(row(i).row) }},
		{s.leaves.shape, func(i int) int64 { return int64(s.p.shape(row(i).shape, groups[refs[i].group].tagShape)) }},
	} {
		s.values = s.values[:0]
		for i := range n {
			s.values = append(s.values, parquet.Int64Value(c.of(i)).Level(0, 0, c.leaf))
		}
		if err := s.write(c.leaf, n); err != nil {
			return err
		}
	}
	if err := s.writeCells(s.leaves.topic, s.topic, &chunkForm{n: n, dict: true}, &info.columns[colTopic]); err != nil {
		return err
	}
	if err := s.writeCells(s.leaves.source, s.source, &chunkForm{n: n, dict: true}, &info.columns[colSource]); err != nil {
		return err
	}
	if s.p.hasRest {
		if err := s.writeCells(s.leaves.rest, s.rest, &chunkForm{n: n, gaps: s.p.restGap, isRest: true}, &info.columns[colRest]); err != nil {
			return err
		}
	}
	for i := range s.p.columns {
		c := &s.p.columns[i]
		if err := s.writeCells(c.leaf, s.cells[i], &chunkForm{n: n, gaps: c.gaps, dict: c.dict, kind: c.kind}, &info.columns[colFields+i]); err != nil {
			return err
		}
	}
	s.side.groups = append(s.side.groups, info)
	return s.w.Flush()
}

// chunkForm says how a column chunk is written.
type chunkForm struct {
	n      int
	gaps   bool
	dict   bool
	isRest bool
	kind   kind
}

// writeCells writes a column chunk and describes it in info.
func (s *segmentWriter) writeCells(leaf int, cells []cell, c *chunkForm, info *chunkInfo) error {
	info.present = len(cells)
	if len(cells) < c.n && !c.gaps {
		return fmt.Errorf("segment: column %d has no gaps, but only %d of %d values; this is a defect of the writer", leaf, len(cells), c.n)
	}
	s.words.reset()
	if c.dict {
		s.seen.reset()
	}
	s.values = s.values[:0]
	next := 0
	def := 0
	if c.gaps {
		def = 1
	}
	for i := range cells {
		for ; next < int(cells[i].row); next++ {
			s.values = append(s.values, parquet.NullValue().Level(0, 0, leaf))
		}
		next++
		v := cells[i].value
		if c.kind == kindInt {
			// A canonical integer is one word.
			n, _ := query.ParseCanonicalInt(v)
			s.values = append(s.values, parquet.Int64Value(n).Level(0, def, leaf))
			s.words.add(wordHash(v))
			if i == 0 || n < info.min {
				info.min = n
			}
			if i == 0 || n > info.max {
				info.max = n
			}
			continue
		}
		s.values = append(s.values, parquet.ByteArrayValue(v).Level(0, def, leaf))
		switch {
		case c.isRest:
			for _, fv, rest, ok := nextRest(v); ok; _, fv, rest, ok = nextRest(rest) {
				s.words.addWords(fv)
			}
		case !c.dict || s.seen.add(v):
			s.words.addWords(v)
		}
	}
	for ; next < c.n; next++ {
		s.values = append(s.values, parquet.NullValue().Level(0, 0, leaf))
	}
	info.words = s.words.bloom()
	return s.write(leaf, c.n)
}

// write hands the gathered values to a column. The library does not notice
// columns of unequal length, so it is checked here.
func (s *segmentWriter) write(leaf, rows int) error {
	if len(s.values) != rows {
		return fmt.Errorf("segment: column %d has %d values for %d rows; this is a defect of the writer", leaf, len(s.values), rows)
	}
	n, err := s.w.ColumnWriters()[leaf].WriteRowValues(s.values)
	if err != nil {
		return err
	}
	if n != rows {
		return fmt.Errorf("segment: column %d took %d of %d rows; this is a defect of the writer", leaf, n, rows)
	}
	return nil
}
