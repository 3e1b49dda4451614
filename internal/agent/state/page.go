package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The file is read here without bbolt: bbolt maps it into memory and trusts what
// it finds, so a damaged page ends the process with a fault that cannot be
// recovered from. It is handed to bbolt only after every page of it was checked,
// and what can be saved of a damaged one is read with the same code.

// Sizes, flags and places of bbolt's format, version 2.
const (
	pageHeader   = 16 // id 8, flags 2, count 2, overflow 4
	element      = 16 // of branch pages: pos 4, ksize 4, page 8; of leaf pages: flags 4, pos 4, ksize 4, vsize 4
	bucketHeader = 16 // root 8, sequence 8
	metaBytes    = 64 // with its checksum

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10

	leafIsBucket = 0x01

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = 1<<64 - 1

	minPage, maxPage = 1 << 10, 1 << 16
	maxDepth         = 64        // far more than a tree of any size has
	maxRun           = 256 << 20 // bytes of one page with its overflow pages; a record is below 1 MB
)

// boltMeta is one of the two meta pages.
type boltMeta struct {
	root, freelist, pages, txid uint64
}

// image is a file in bbolt's format.
type image struct {
	r        io.ReaderAt
	size     int64
	pageSize int64
	metas    []boltMeta // those that are whole, the newest first
	headers  bool       // the headers of their pages are whole too
}

// errNoMeta: neither meta page can be read.
var errNoMeta = errors.New("neither of its two meta pages is whole")

// readImage finds the meta pages. Without any, the image is returned with the
// system's page size and errNoMeta.
func readImage(r io.ReaderAt, size int64) (*image, error) {
	im := &image{r: r, size: size, headers: true}
	buf := make([]byte, pageHeader+metaBytes)
	at := func(off int64) (boltMeta, int64, bool) {
		if n, _ := r.ReadAt(buf, off); n < len(buf) {
			return boltMeta{}, 0, false
		}
		return parseMeta(buf[pageHeader:])
	}
	add := func(id uint64, m boltMeta) {
		im.metas = append(im.metas, m)
		if p := parsePage(buf); p.id != id || p.flags != flagMeta {
			im.headers = false
		}
	}
	m, pageSize, ok := at(0)
	if ok {
		add(0, m)
	}
	for try := int64(minPage); try <= maxPage; try *= 2 {
		if m, p, ok := at(try); ok && p == try && (len(im.metas) == 0 || p == pageSize) {
			pageSize = p
			add(1, m)
			break
		}
	}
	if len(im.metas) == 2 && im.metas[1].txid > im.metas[0].txid {
		im.metas[0], im.metas[1] = im.metas[1], im.metas[0]
	}
	if im.pageSize = pageSize; len(im.metas) == 0 {
		im.pageSize = int64(os.Getpagesize())
		return im, errNoMeta
	}
	return im, nil
}

func parseMeta(b []byte) (m boltMeta, pageSize int64, ok bool) {
	le := binary.LittleEndian
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaBytes-8])
	pageSize = int64(le.Uint32(b[8:]))
	ok = le.Uint32(b) == boltMagic && le.Uint32(b[4:]) == boltVersion && le.Uint64(b[metaBytes-8:]) == sum.Sum64() &&
		pageSize >= minPage && pageSize <= maxPage && pageSize&(pageSize-1) == 0
	return boltMeta{root: le.Uint64(b[16:]), freelist: le.Uint64(b[32:]), pages: le.Uint64(b[40:]), txid: le.Uint64(b[48:])}, pageSize, ok
}

// page is one page with its overflow, or an inline bucket.
type page struct {
	id    uint64
	flags uint16
	count int
	data  []byte // all of it, header included
}

// read reads page id with its overflow pages.
func (im *image) read(id, pages uint64) (page, error) {
	if id < 2 || id >= pages || int64(id) > im.size/im.pageSize {
		return page{}, fmt.Errorf("page %d is outside the file", id)
	}
	buf := make([]byte, im.pageSize)
	if n, err := im.r.ReadAt(buf, int64(id)*im.pageSize); n < len(buf) {
		return page{}, fmt.Errorf("page %d cannot be read: %w", id, err)
	}
	over := uint64(binary.LittleEndian.Uint32(buf[12:]))
	switch run := (over + 1) * uint64(im.pageSize); {
	case binary.LittleEndian.Uint64(buf) != id:
		return page{}, fmt.Errorf("page %d bears another number", id)
	case over == 0:
	case id+over >= pages || run > maxRun || int64(id)*im.pageSize+int64(run) > im.size:
		return page{}, fmt.Errorf("page %d does not fit into the file", id)
	default:
		buf = make([]byte, run)
		if n, err := im.r.ReadAt(buf, int64(id)*im.pageSize); n < len(buf) {
			return page{}, fmt.Errorf("page %d cannot be read: %w", id, err)
		}
	}
	p := parsePage(buf)
	if p.flags != flagFreelist && pageHeader+p.count*element > len(buf) { // free pages are numbers of 8 bytes
		return page{}, fmt.Errorf("page %d has more elements than room", id)
	}
	return p, nil
}

func parsePage(b []byte) page {
	le := binary.LittleEndian
	return page{id: le.Uint64(b), flags: le.Uint16(b[8:]), count: int(le.Uint16(b[10:])), data: b}
}

// span returns n bytes of the page from pos of element i on.
func (p *page) span(i int, pos, n uint64) ([]byte, bool) {
	from := uint64(pageHeader+i*element) + pos
	if n > uint64(len(p.data)) || from > uint64(len(p.data))-n {
		return nil, false
	}
	return p.data[from : from+n : from+n], true
}

// child returns element i of a branch page.
func (p *page) child(i int) (key []byte, id uint64, ok bool) {
	e := p.data[pageHeader+i*element:]
	key, ok = p.span(i, uint64(binary.LittleEndian.Uint32(e)), uint64(binary.LittleEndian.Uint32(e[4:])))
	return key, binary.LittleEndian.Uint64(e[8:]), ok && len(key) > 0
}

// item returns element i of a leaf page.
func (p *page) item(i int) (key, value []byte, bucket, ok bool) {
	le := binary.LittleEndian
	e := p.data[pageHeader+i*element:]
	pos, ksize, vsize := uint64(le.Uint32(e[4:])), uint64(le.Uint32(e[8:])), uint64(le.Uint32(e[12:]))
	both, ok := p.span(i, pos, ksize+vsize)
	if !ok || ksize == 0 {
		return nil, nil, false, false
	}
	return both[:ksize:ksize], both[ksize:], le.Uint32(e)&leafIsBucket != 0, true
}

// keyRange is [from, to) of a bucket's keys; to nil is the end.
type keyRange struct{ from, to []byte }

// nothing is the range without keys.
var nothing = keyRange{to: []byte{}}

func (r keyRange) holds(key []byte) bool {
	return bytes.Compare(key, r.from) >= 0 && (r.to == nil || bytes.Compare(key, r.to) < 0)
}

// walk goes through the tree of a meta page. It goes on behind what is damaged.
type walk struct {
	im   *image
	meta boltMeta
	seen map[uint64]bool // pages of the tree
	// fault is told of everything that is wrong; lost are the keys of the bucket
	// ("" = of all) that cannot be reached for it.
	fault func(bucket string, lost keyRange, format string, a ...any)
	// record is told of every record of a bucket. Key and value are valid till it returns.
	record func(bucket string, key, value []byte)
}

// run walks all buckets.
func (w *walk) run() {
	w.seen = map[uint64]bool{}
	if w.meta.pages > uint64(w.im.size/w.im.pageSize) {
		w.fault("", nothing, "it is cut off: it should have %d pages of %d bytes and has %d bytes", w.meta.pages, w.im.pageSize, w.im.size)
	}
	w.tree("", w.meta.root, keyRange{}, 0)
}

// tree walks the pages of a bucket ("" = the root bucket) from page id on.
func (w *walk) tree(bucket string, id uint64, keys keyRange, depth int) {
	p, err := w.im.read(id, w.meta.pages)
	switch {
	case err != nil:
		w.fault(bucket, keys, "%v", err)
		return
	case depth > maxDepth:
		w.fault(bucket, keys, "page %d is too deep in its tree", id)
		return
	case !w.visit(id, int64(len(p.data))/w.im.pageSize):
		w.fault(bucket, keys, "page %d belongs to two places", id)
		return
	}
	w.walkPage(bucket, &p, keys, depth)
}

// visit notes that n pages from id on are in use, and whether they were free for that.
func (w *walk) visit(id uint64, n int64) bool {
	for i := range uint64(n) {
		if w.seen[id+i] {
			return false
		}
	}
	for i := range uint64(n) {
		w.seen[id+i] = true
	}
	return true
}

func (w *walk) walkPage(bucket string, p *page, keys keyRange, depth int) {
	switch {
	case p.flags == flagLeaf:
		w.leaf(bucket, p, keys, depth)
	case p.flags == flagBranch && p.count > 0 && depth >= 0:
		w.branch(bucket, p, keys, depth)
	default:
		w.fault(bucket, keys, "page %d is of the wrong kind (%#x)", p.id, p.flags)
	}
}

func (w *walk) branch(bucket string, p *page, keys keyRange, depth int) {
	from := keys.from
	for i := range p.count {
		key, id, ok := p.child(i)
		to := keys.to
		if i+1 < p.count {
			if next, _, ok := p.child(i + 1); ok {
				to = next
			}
		}
		switch {
		case !ok:
			w.fault(bucket, keys, "page %d: element %d does not fit into it", p.id, i)
			continue
		case !(keyRange{from, keys.to}).holds(key) || i > 0 && bytes.Equal(key, from):
			w.fault(bucket, keys, "page %d: element %d is out of order", p.id, i)
		}
		w.tree(bucket, id, keyRange{key, to}, depth+1)
		from = key
	}
}

func (w *walk) leaf(bucket string, p *page, keys keyRange, depth int) {
	var last []byte
	for i := range p.count {
		key, value, isBucket, ok := p.item(i)
		if !ok {
			w.fault(bucket, keys, "page %d: element %d does not fit into it", p.id, i)
			continue
		}
		if !keys.holds(key) || i > 0 && bytes.Compare(last, key) >= 0 {
			w.fault(bucket, keys, "page %d: element %d is out of order", p.id, i)
		}
		last = key
		switch {
		case isBucket && bucket == "" && depth >= 0:
			w.bucket(p, key, value)
		case isBucket != (bucket == ""):
			w.fault(bucket, keys, "page %d: element %d is not what it should be", p.id, i)
		default:
			w.record(bucket, key, value)
		}
	}
}

// bucket walks a bucket whose header stands in the root bucket.
func (w *walk) bucket(p *page, name, value []byte) {
	if len(value) < bucketHeader {
		w.fault(string(name), keyRange{}, "page %d: the bucket %q has no header", p.id, name)
		return
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		w.tree(string(name), root, keyRange{}, 0)
		return
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || pageHeader+int(binary.LittleEndian.Uint16(inline[10:]))*element > len(inline) {
		w.fault(string(name), keyRange{}, "page %d: the bucket %q is cut off", p.id, name)
		return
	}
	in := parsePage(inline)
	in.id = p.id
	w.walkPage(string(name), &in, keyRange{}, -1) // -1: a leaf without buckets below
}

// freelist checks that every page of the file is either in use or free.
func (w *walk) freelist() {
	if w.meta.freelist == noFreelist {
		return // bbolt makes it anew
	}
	p, err := w.im.read(w.meta.freelist, w.meta.pages)
	bad := func(format string, a ...any) { w.fault("", nothing, format, a...) }
	switch {
	case err != nil:
		bad("the list of free pages: %v", err)
		return
	case p.flags != flagFreelist || !w.visit(p.id, int64(len(p.data))/w.im.pageSize):
		bad("page %d is not the list of free pages", p.id)
		return
	}
	list, n := p.data[pageHeader:], uint64(p.count)
	if p.count == 0xFFFF && len(list) >= 8 {
		n, list = binary.LittleEndian.Uint64(list), list[8:]
	}
	if n > uint64(len(list))/8 {
		bad("page %d: the list of free pages is cut off", p.id)
		return
	}
	used := uint64(len(w.seen))
	last := uint64(1)
	for i := range n {
		id := binary.LittleEndian.Uint64(list[i*8:])
		if id <= last || id >= w.meta.pages || w.seen[id] {
			bad("page %d: page %d is free and in use, or listed twice", p.id, id)
			return
		}
		last = id
	}
	if used+n+2 != w.meta.pages {
		bad("%d of %d pages are neither in use nor free", int64(w.meta.pages)-2-int64(used+n), w.meta.pages)
	}
}
