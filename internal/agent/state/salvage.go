package state

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"logtail/internal/delivery"
)

const (
	maxLostNames = 20   // lost records that are told by name
	maxDamaged   = 1000 // unreadable records that are kept in the bucket "damaged"
)

// record is a record that could be read.
type record struct {
	commit  uint64
	payload []byte
}

// salvaged is what could be read of a file.
type salvaged struct {
	records [bucketCount]map[string]record
	found   int // records
	older   int // of them, those that the tree did not lead to: older copies, mostly
	lost    []string
	missing int  // records that could not be read; -1 = not known
	stepped bool // what the last commit removed may be back
	marks   bool // the marks of the pipelines' first scans are among what is missing, or may be
}

// salvage reads what can still be read of a file. The records of an old format
// have no checksum, so there only those are taken that the tree still leads to.
func salvage(r io.ReaderAt, size int64) *salvaged {
	s := &salvager{out: &salvaged{}}
	for b := range s.out.records {
		s.out.records[b] = map[string]record{}
	}
	im, err := readImage(r, size)
	s.im = im
	if err == nil {
		s.behind = len(im.metas) < 2
		s.walk(im.metas[0])
		s.behind = s.behind || s.hasSums && s.sums.commit != im.metas[0].txid
	}
	if plain := s.plain; plain > 0 && plain < version && !s.hasSums {
		s.countOld()
		return s.out
	}
	if !s.hasSums { // the root is lost: the newest one of the others leads to the records
		if root, ok := s.findRoot(); ok {
			s.behind = true
			s.walk(boltMeta{root: root, pages: uint64(size / im.pageSize)})
		}
	}
	s.count()
	return s.out
}

// salvager is the work of one salvage.
type salvager struct {
	im      *image
	plain   uint64 // the number of the format
	sums    sums
	hasSums bool
	// behind: the newest root bucket, or the meta page that leads to it, is lost,
	// and with it the way to what the last commit changed.
	behind bool
	lost   map[string][]keyRange
	broken [bucketCount]map[string][]byte // values that are not what was written there
	out    *salvaged
}

// walk collects the records of a tree.
func (s *salvager) walk(m boltMeta) {
	s.lost = map[string][]keyRange{}
	for b := range s.broken {
		s.broken[b] = map[string][]byte{}
	}
	w := walk{im: s.im, meta: m, fault: func(bucket string, lost keyRange, _ string, _ ...any) {
		s.lost[bucket] = append(s.lost[bucket], keyRange{slices.Clone(lost.from), slices.Clone(lost.to)})
	}}
	// The format has to be known before the records are read.
	w.record = func(name string, key, value []byte) {
		if name != metaBucket {
			return
		}
		switch string(key) {
		case keyVersion:
			s.plain, _ = binary.Uvarint(value)
		case keySums:
			if got, format, ok := decodeSums(value); ok && format == version {
				s.sums, s.hasSums = got, true
			}
		}
	}
	w.run()
	clear(s.lost)
	w.record = func(name string, key, value []byte) {
		if b, ok := bucketOf(name); ok && !s.take(b, key, value) {
			s.broken[b][string(key)] = slices.Clone(value)
		}
	}
	w.run()
}

// take keeps a record, unless a newer copy of it is there. It says whether the
// value is one.
func (s *salvager) take(b bucket, key, value []byte) bool {
	if s.plain > 0 && s.plain < version && !s.hasSums {
		if !soundOld(b, key, value) {
			return false
		}
		s.out.records[b][string(key)] = record{payload: slices.Clone(value)}
		return true
	}
	commit, payload, ok := unseal(bucketNames[b], key, value)
	if !ok {
		return false
	}
	if old, ok := s.out.records[b][string(key)]; !ok || old.commit < commit {
		s.out.records[b][string(key)] = record{commit, slices.Clone(payload)}
	}
	return true
}

// soundOld says whether a record without a checksum can be read.
func soundOld(b bucket, key, value []byte) bool {
	switch b {
	case inPipelines:
		_, n := binary.Varint(value)
		return n > 0 && n == len(value)
	case inStreams:
		var st Stream
		return len(key) == len(delivery.StreamID{}) && json.Unmarshal(value, &st) == nil
	}
	return json.Valid(value)
}

// leaves tells every page of the file that looks like a leaf, whether the tree
// leads to it or not.
func (s *salvager) leaves(do func(p *page)) {
	pages := uint64(s.im.size / s.im.pageSize)
	for id := uint64(2); id < pages; id++ {
		if p, err := s.im.read(id, pages); err == nil && p.flags == flagLeaf {
			do(&p)
		}
	}
}

// findRoot finds the newest page that is a root bucket.
func (s *salvager) findRoot() (root uint64, ok bool) {
	newest := uint64(0)
	s.leaves(func(p *page) {
		w := walk{im: s.im, seen: map[uint64]bool{}, fault: func(string, keyRange, string, ...any) {}}
		w.record = func(name string, key, value []byte) {
			if name != metaBucket || string(key) != keySums {
				return
			}
			if got, format, valid := decodeSums(value); valid && format == version && got.commit >= newest {
				newest, root, ok = got.commit, p.id, true
			}
		}
		for i := range p.count { // the bucket is small, so it stands within the page
			if name, value, isBucket, fits := p.item(i); fits && isBucket && string(name) == metaBucket {
				w.bucket(p, name, value)
			}
		}
	})
	return root, ok
}

// count finds what is missing, takes older copies of it, and says what is lost.
func (s *salvager) count() {
	if s.behind { // sequence numbers that are behind would do harm, see takeStray
		clear(s.out.records[inSeq])
	}
	missing := s.behind
	for b := range s.out.records {
		missing = missing || s.missing(bucket(b)) != 0
	}
	if missing {
		s.takeStray()
	}
	s.out.found, s.out.stepped = s.size(), s.behind
	for b := range s.out.records {
		n := s.missing(bucket(b))
		if s.out.missing += max(n, 0); n < 0 {
			s.out.missing = -1
			break
		}
	}
	s.out.marks = s.missing(inPipelines) != 0
	s.keepBroken()
}

// missing is how many records of a bucket were not found; -1 = not known.
func (s *salvager) missing(b bucket) int {
	if !s.hasSums {
		return -1
	}
	return max(int(s.sums.buckets[b].count)-len(s.out.records[b]), 0)
}

// countOld is count for a file without sums: what cannot be read is known only
// as far as the tree leads to it.
func (s *salvager) countOld() {
	s.out.found = s.size()
	for _, ranges := range s.lost {
		if slices.ContainsFunc(ranges, func(r keyRange) bool { return len(r.to) > 0 || r.to == nil }) {
			s.out.missing = -1
		}
	}
	s.out.marks = len(s.lost[""]) > 0 && len(s.out.records[inPipelines]) == 0 || len(s.lost[bucketNames[inPipelines]]) > 0 || len(s.broken[inPipelines]) > 0
	for b := range s.broken {
		if s.out.missing >= 0 {
			s.out.missing += len(s.broken[b])
		}
	}
	s.keepBroken()
}

func (s *salvager) size() (n int) {
	for b := range s.out.records {
		n += len(s.out.records[b])
	}
	return n
}

// takeStray takes the newest copies of records that the tree does not lead to
// any more: those of the last commits still stand in pages that are free.
// A checkpoint that is a little behind does no harm, as the destination has its
// own progress. A sequence number that is behind would: what is sent with it
// would be taken for something that has arrived.
func (s *salvager) takeStray() {
	var stray [bucketCount]map[string]record
	var anywhere [bucketCount]bool // no place in the tree is known where the missing ones stood
	for b, name := range bucketNames {
		stray[b] = map[string]record{}
		anywhere[b] = s.missing(bucket(b)) != 0 && len(s.lost[name])+len(s.broken[b]) == 0
	}
	s.leaves(func(p *page) {
		for i := range p.count {
			key, value, isBucket, ok := p.item(i)
			if !ok || isBucket {
				continue
			}
			for b, name := range bucketNames {
				commit, payload, ok := unseal(name, key, value)
				if !ok || bucket(b) == inSeq || stray[b][string(key)].commit > commit {
					continue
				}
				have, found := s.out.records[b][string(key)]
				if !found && (anywhere[b] || s.isLost(bucket(b), key)) || s.behind && commit > max(s.sums.commit, have.commit) {
					stray[b][string(key)] = record{commit, slices.Clone(payload)}
				}
			}
		}
	})
	dropReplaced(stray[inStreams], s.out.records[inStreams])
	for b := range stray {
		for key, rec := range stray[b] {
			s.out.records[b][key] = rec
			s.out.older++
		}
	}
}

// isLost says whether the record was, by its key, in a part of the tree that
// cannot be read.
func (s *salvager) isLost(b bucket, key []byte) bool {
	if s.broken[b][string(key)] != nil {
		return true
	}
	holds := func(r keyRange) bool { return r.holds(key) }
	return slices.ContainsFunc(s.lost[bucketNames[b]], holds) || slices.ContainsFunc(s.lost[""], holds)
}

// dropReplaced drops those of the older streams whose file has a newer one: a
// stream that was forgotten must not come back beside the one that followed it.
func dropReplaced(older, found map[string]record) {
	type file struct {
		pipeline   string
		dev, inode uint64
		birth      int64
	}
	newest := map[file]uint64{}
	of := func(rec record) (file, bool) {
		var st Stream
		if json.Unmarshal(rec.payload, &st) != nil {
			return file{}, false
		}
		return file{st.Pipeline, st.Dev, st.Inode, st.Birth}, true
	}
	for key, rec := range found {
		if _, both := older[key]; both {
			continue
		}
		if f, ok := of(rec); ok {
			newest[f] = max(newest[f], rec.commit)
		}
	}
	for _, rec := range older {
		if f, ok := of(rec); ok {
			newest[f] = max(newest[f], rec.commit)
		}
	}
	for key, rec := range older {
		if f, ok := of(rec); !ok || newest[f] > rec.commit {
			delete(older, key)
		}
	}
}

// keepBroken names what is lost, and keeps the bytes of it.
func (s *salvager) keepBroken() {
	names := 0
	for b := range s.broken {
		for key, value := range s.broken[b] {
			if _, ok := s.out.records[b][key]; ok {
				continue // an older copy was found
			}
			if names++; names <= maxLostNames {
				s.out.lost = append(s.out.lost, recordName(bucket(b), []byte(key)))
			}
			if len(s.out.records[inDamaged]) < maxDamaged {
				s.out.records[inDamaged][fmt.Sprintf("%s\x00%s", bucketNames[b], key)] = record{payload: value}
			}
		}
	}
	slices.Sort(s.out.lost)
	if s.out.missing >= 0 {
		s.out.missing = max(s.out.missing, names)
	}
}
