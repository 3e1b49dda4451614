package segment

import (
	"encoding/binary"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// A sidecar stands beside each data file and holds what a search needs before
// it reads any data: checksums of the data file's blocks, which columns and
// shapes of rows there are, and for each row group its times, and for each of
// its columns the bounds of integers and a bloom filter of the words.
//
// On disk: the magic, a body of unsigned varints and little-endian words, and
// the xxhash64 of all before it.
const (
	sidecarMagic   = "LTSIDE\x00\x01" // the last byte is the version
	maxSidecarRows = 1 << 31
)

// kind is how a column is stored.
type kind uint8

const (
	kindText kind = iota // byte array
	kindInt              // 64-bit integer; all values are canonical
	kindCount
)

// The columns that every row group describes, in this order, before those of
// the fields.
const (
	colTopic = iota
	colSource
	colRest
	colFields
)

// sidecar is the decoded form.
type sidecar struct {
	dataSize    int64
	blocks      []uint64 // checksums of the data file
	rows        int
	from, to    uint64 // sequences
	minTime     int64  // unix nanoseconds
	maxTime     int64
	maxReceived int64 // unix nanoseconds
	rawBytes    int64 // about what the rows take in memory
	columns     []columnInfo
	// shapes are the lists of fields that rows have, in their order: 0 stands
	// for the next entry of the column _rest, n for field column n-1. Shape 0
	// is special: all fields are in _rest.
	shapes [][]uint32
	groups []groupInfo

	byKey map[string]int // index in columns
}

// columnInfo is a column that holds the first value of a key in each row.
type columnInfo struct {
	key  string
	name []byte // key, for those who need bytes; set by decodeSidecar
	kind kind
}

// groupInfo is a row group.
type groupInfo struct {
	rows    int
	minTime int64
	maxTime int64
	columns []chunkInfo // colTopic, colSource, colRest, then those of the fields
}

// chunkInfo is a column of a row group.
type chunkInfo struct {
	present int   // rows that have a value
	min     int64 // of kindInt, if present
	max     int64
	words   bloom
}

// memory is about the bytes that the decoded sidecar takes.
func (s *sidecar) memory() int64 {
	n := int64(200 + 8*len(s.blocks))
	for i := range s.columns {
		n += 100 + int64(len(s.columns[i].key))
	}
	for _, sh := range s.shapes {
		n += 24 + 4*int64(len(sh))
	}
	for i := range s.groups {
		for j := range s.groups[i].columns {
			n += 48 + 8*int64(len(s.groups[i].columns[j].words))
		}
	}
	return n
}

func (s *sidecar) encode() []byte {
	b := []byte(sidecarMagic)
	uv := func(v uint64) { b = binary.AppendUvarint(b, v) }
	words := func(ws []uint64) {
		uv(uint64(len(ws)))
		for _, w := range ws {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
	}
	uv(uint64(s.dataSize))
	words(s.blocks)
	uv(uint64(s.rows))
	uv(s.from)
	uv(s.to)
	b = binary.AppendVarint(b, s.minTime)
	b = binary.AppendVarint(b, s.maxTime)
	b = binary.AppendVarint(b, s.maxReceived)
	uv(uint64(s.rawBytes))
	uv(uint64(len(s.columns)))
	for _, c := range s.columns {
		uv(uint64(len(c.key)))
		b = append(b, c.key...)
		b = append(b, byte(c.kind))
	}
	uv(uint64(len(s.shapes)))
	for _, sh := range s.shapes {
		uv(uint64(len(sh)))
		for _, e := range sh {
			uv(uint64(e))
		}
	}
	uv(uint64(len(s.groups)))
	for i := range s.groups {
		g := &s.groups[i]
		uv(uint64(g.rows))
		b = binary.AppendVarint(b, g.minTime)
		b = binary.AppendVarint(b, g.maxTime)
		for j := range g.columns {
			c := &g.columns[j]
			uv(uint64(c.present))
			if c.present > 0 && s.kindOf(j) == kindInt {
				b = binary.AppendVarint(b, c.min)
				b = binary.AppendVarint(b, c.max)
			}
			words(c.words)
		}
	}
	return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b))
}

func (s *sidecar) kindOf(column int) kind {
	if column < colFields {
		return kindText
	}
	return s.columns[column-colFields].kind
}

// decodeSidecar checks and reads the bytes of a sidecar. Every error is an
// errCorrupt.
func decodeSidecar(b []byte) (*sidecar, error) {
	if len(b) < len(sidecarMagic)+8 || string(b[:len(sidecarMagic)-1]) != sidecarMagic[:len(sidecarMagic)-1] {
		return nil, corruptf("it is not a sidecar")
	}
	if v := b[len(sidecarMagic)-1]; v != sidecarMagic[len(sidecarMagic)-1] {
		return nil, corruptf("the sidecar has version %d, which this program does not know", v)
	}
	body, sum := b[:len(b)-8], binary.LittleEndian.Uint64(b[len(b)-8:])
	if xxhash.Sum64(body) != sum {
		return nil, corruptf("the checksum of the sidecar is wrong")
	}
	s := &sidecar{byKey: map[string]int{}}
	d := &sidecarReader{b: body[len(sidecarMagic):]}
	d.header(s)
	d.shapes(s)
	d.groups(s)
	if d.bad || len(d.b) != 0 {
		return nil, corruptf("the sidecar does not decode")
	}
	return s, nil
}

// sidecarReader consumes the body. After a failure bad is set and everything
// reads as zero. Counts are checked against the bytes that are left, so that
// damage cannot make it allocate more than a small multiple of the file.
type sidecarReader struct {
	b   []byte
	bad bool
}

func (d *sidecarReader) fail() { d.b, d.bad = nil, true }

func (d *sidecarReader) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *sidecarReader) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads the number of things that take at least size bytes each.
func (d *sidecarReader) count(size int) int {
	n := d.uvarint()
	hi, total := bits.Mul64(n, uint64(size))
	if hi != 0 || total > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

// below reads a number that is at most limit.
func (d *sidecarReader) below(limit uint64) int {
	n := d.uvarint()
	if n > limit {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *sidecarReader) words() []uint64 {
	n := d.count(8)
	if n == 0 {
		return nil
	}
	ws := make([]uint64, n)
	for i := range ws {
		ws[i] = binary.LittleEndian.Uint64(d.b[8*i:])
	}
	d.b = d.b[8*n:]
	return ws
}

func (d *sidecarReader) header(s *sidecar) {
	s.dataSize = int64(d.below(1 << 62))
	s.blocks = d.words()
	if want := (s.dataSize + blockSize - 1) / blockSize; int64(len(s.blocks)) != want {
		d.fail()
	}
	s.rows = d.below(maxSidecarRows)
	s.from, s.to = d.uvarint(), d.uvarint()
	s.minTime, s.maxTime, s.maxReceived = d.varint(), d.varint(), d.varint()
	s.rawBytes = int64(d.below(1 << 62))
	for range d.count(2) {
		n := d.count(1)
		if d.bad || n >= len(d.b) {
			d.fail()
			return
		}
		c := columnInfo{key: string(d.b[:n]), name: []byte(string(d.b[:n])), kind: kind(d.b[n])}
		d.b = d.b[n+1:]
		if _, again := s.byKey[c.key]; again || c.kind >= kindCount {
			d.fail()
			return
		}
		s.byKey[c.key] = len(s.columns)
		s.columns = append(s.columns, c)
	}
}

func (d *sidecarReader) shapes(s *sidecar) {
	for range d.count(1) {
		sh := make([]uint32, d.count(1))
		for i := range sh {
			sh[i] = uint32(d.below(uint64(len(s.columns))))
		}
		s.shapes = append(s.shapes, sh)
	}
	if len(s.shapes) == 0 || len(s.shapes[0]) != 0 {
		d.fail()
	}
}

func (d *sidecarReader) groups(s *sidecar) {
	total := 0
	for range d.count(3 + 2*(colFields+len(s.columns))) {
		g := groupInfo{rows: d.below(maxSidecarRows), minTime: d.varint(), maxTime: d.varint()}
		g.columns = make([]chunkInfo, colFields+len(s.columns))
		for j := range g.columns {
			c := &g.columns[j]
			c.present = d.below(uint64(g.rows))
			if c.present > 0 && s.kindOf(j) == kindInt {
				c.min, c.max = d.varint(), d.varint()
			}
			c.words = d.words()
		}
		if d.bad || g.rows == 0 {
			d.fail()
			return
		}
		total += g.rows
		s.groups = append(s.groups, g)
	}
	if total != s.rows {
		d.fail()
	}
}
