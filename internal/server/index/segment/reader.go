package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/parquet-go/parquet-go"
)

// handle is an open segment. It is read-only and may be used by many searches.
type handle struct {
	f      *os.File
	data   blockReader
	pq     *parquet.File
	side   *sidecar
	fixed  fixedLeaves
	leaves []int // leaf by field column
	memory int64
}

// openHandle opens a segment's files and checks that they are those that the
// manifest means. Errors that the disk may heal are returned as they are,
// everything else is an errCorrupt.
func openHandle(dir string, meta *segmentMeta) (*handle, error) {
	b, err := os.ReadFile(meta.sidecarFile(dir))
	if err != nil {
		return nil, missing(err)
	}
	side, err := decodeSidecar(b)
	if err != nil {
		return nil, err
	}
	if side.meta(meta.ID, int64(len(b))) != *meta {
		return nil, corruptf("the sidecar is not the one of the manifest")
	}
	f, err := os.Open(meta.dataFile(dir))
	if err != nil {
		return nil, missing(err)
	}
	h := &handle{f: f, data: blockReader{f: f, size: side.dataSize, sums: side.blocks}, side: side}
	if err := h.open(); err != nil {
		f.Close()
		return nil, err
	}
	return h, nil
}

// missing turns the error of a file that is not there into damage: nothing
// will bring it back.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return err
}

func (h *handle) open() error {
	pq, err := parquet.OpenFile(&h.data, h.data.size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		var pe *fs.PathError
		if errors.Is(err, errCorrupt) || errors.As(err, &pe) {
			return err
		}
		return corruptf("%v", err)
	}
	h.pq = pq
	schema := pq.Schema()
	leaf := func(name string) int {
		if l, ok := schema.Lookup(name); ok {
			return l.ColumnIndex
		}
		return -1
	}
	h.fixed = fixedLeaves{
		time: leaf(nameTime), nsec: leaf(nameNsec), seq: leaf(nameSeq), row: leaf(nameRow), shape: leaf(nameShape),
		topic: leaf(nameTopic), source: leaf(nameSource), rest: leaf(nameRest),
	}
	for _, l := range []int{h.fixed.time, h.fixed.nsec, h.fixed.seq, h.fixed.row, h.fixed.shape, h.fixed.topic, h.fixed.source} {
		if l < 0 {
			return corruptf("a column of every data file is not there")
		}
	}
	for _, c := range h.side.columns {
		l := leaf(c.key)
		if l < 0 {
			return corruptf("the column %q of the sidecar is not in the data file", c.key)
		}
		h.leaves = append(h.leaves, l)
	}
	groups := pq.RowGroups()
	if len(groups) != len(h.side.groups) {
		return corruptf("%d row groups, but the sidecar has %d", len(groups), len(h.side.groups))
	}
	for i, g := range groups {
		if g.NumRows() != int64(h.side.groups[i].rows) {
			return corruptf("row group %d has %d rows, but the sidecar says %d", i, g.NumRows(), h.side.groups[i].rows)
		}
	}
	// The footer takes about this in memory; the library does not tell.
	h.memory = h.side.memory() + 2048 + 1024*int64(len(groups)*(len(h.leaves)+8))
	return nil
}

func (h *handle) close() { h.f.Close() }

// leaf returns the column in the data file for a column of a row group.
func (h *handle) leaf(column int) int {
	switch column {
	case colTopic:
		return h.fixed.topic
	case colSource:
		return h.fixed.source
	case colRest:
		return h.fixed.rest
	}
	return h.leaves[column-colFields]
}

// columnData is a decoded column chunk. It is valid until release.
type columnData struct {
	rows  int
	index []int32 // place of each row's value, or -1; nil when every row has one

	ints  []int64  // of integers
	codes []int32  // of a dictionary: places in offs
	bytes []byte   // of texts: value i is bytes[offs[i]:offs[i+1]]
	offs  []uint32 // one more than values

	pages *parquet.FilePages
	page  parquet.Page
}

// rawBuffers are for the bytes of column chunks while they are decoded; the
// library copies what it keeps.
var rawBuffers = sync.Pool{New: func() any { return new([]byte) }}

// at returns where the value of a row is, or -1.
func (c *columnData) at(row int) int {
	if c.index != nil {
		return int(c.index[row])
	}
	return row
}

// text returns value i of texts.
func (c *columnData) text(i int) []byte {
	if c.codes != nil {
		i = int(c.codes[i])
	}
	return c.bytes[c.offs[i]:c.offs[i+1]]
}

func (c *columnData) release() {
	if c.page != nil {
		parquet.Release(c.page)
		c.page = nil
	}
	if c.pages != nil {
		_ = c.pages.Close() // it reads from memory
		c.pages = nil
	}
}

// readColumn decodes a column of a row group.
func (h *handle) readColumn(group, leaf int) (*columnData, error) {
	fc, ok := h.pq.RowGroups()[group].ColumnChunks()[leaf].(*parquet.FileColumnChunk)
	if !ok {
		return nil, errors.New("segment: the Parquet library gives column chunks of another type")
	}
	m := &h.pq.Metadata().RowGroups[group].Columns[leaf].MetaData
	off := m.DataPageOffset
	if m.DictionaryPageOffset != 0 {
		off = m.DictionaryPageOffset
	}
	buf := rawBuffers.Get().(*[]byte)
	defer rawBuffers.Put(buf)
	raw, err := h.data.read(buf, off, m.TotalCompressedSize)
	if err != nil {
		return nil, err
	}
	c := &columnData{rows: h.side.groups[group].rows}
	if err := c.decode(fc, &chunk{raw, off}); err != nil {
		c.release()
		return nil, corruptf("column %d of row group %d: %v", leaf, group, err)
	}
	return c, nil
}

// decode reads the one page that our writer makes per column chunk. What it
// hands out is checked, so that nothing behind it can reach outside of a slice.
func (c *columnData) decode(fc *parquet.FileColumnChunk, r *chunk) error {
	c.pages = fc.PagesFrom(r)
	page, err := c.pages.ReadPage()
	if err != nil {
		return err
	}
	c.page = page
	if page.NumValues() != int64(c.rows) {
		return fmt.Errorf("a page of %d values for %d rows", page.NumValues(), c.rows)
	}
	values := c.rows
	if levels := page.DefinitionLevels(); levels != nil {
		if len(levels) != c.rows {
			return fmt.Errorf("%d levels for %d rows", len(levels), c.rows)
		}
		c.index = make([]int32, c.rows)
		values = 0
		for i, l := range levels {
			c.index[i] = -1
			if l != 0 {
				c.index[i] = int32(values)
				values++
			}
		}
	}
	data := page.Data()
	if dict := page.Dictionary(); dict != nil {
		c.codes = data.Int32()
		dictData := dict.Page().Data()
		c.bytes, c.offs = dictData.ByteArray()
		if len(c.codes) < values {
			return fmt.Errorf("%d codes for %d values", len(c.codes), values)
		}
		for _, code := range c.codes {
			if code < 0 || int(code) >= len(c.offs)-1 {
				return fmt.Errorf("code %d in a dictionary of %d", code, len(c.offs)-1)
			}
		}
		return c.checkOffsets(len(c.offs) - 1)
	}
	if fc.Type().Kind() == parquet.Int64 {
		if c.ints = data.Int64(); len(c.ints) < values {
			return fmt.Errorf("%d integers for %d values", len(c.ints), values)
		}
		return nil
	}
	c.bytes, c.offs = data.ByteArray()
	return c.checkOffsets(values)
}

func (c *columnData) checkOffsets(values int) error {
	if values > 0 && len(c.offs) < values+1 {
		return fmt.Errorf("%d offsets for %d texts", len(c.offs), values)
	}
	for i := 1; i < len(c.offs); i++ {
		if c.offs[i] < c.offs[i-1] || int64(c.offs[i]) > int64(len(c.bytes)) {
			return errors.New("the offsets of texts do not ascend")
		}
	}
	return nil
}
