package wal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// What happens to a segment whose bytes changed on the disk.
//
// raft-wal finds the frames of the segment that is written by their lengths, and
// stops at the first header that makes no sense: one bit that flips there would
// cost all records behind it, although they are whole. But almost all that stands
// in a header can be found out without it: an entry tells its own number and
// length and ends with a known time, an index lists places that are known, and
// what a commit holds is the checksum of what is before it. So the walk over
// the frames goes on with what a damaged header must have been. Where that is not
// clear, it goes on at the next entry, and what lies between becomes frames of as
// many records as are missing: they count as damaged, and keep their numbers.
//
// A batch that still has its checksum was stored, and so was everything before
// it. What follows the last such batch is either the rest of a write that a crash
// tore, or was damaged; only somebody who knows how far the log was durable
// (Options.Durable) can tell.

// mender walks over the frames of a segment in memory and puts them in order.
type mender struct {
	b    []byte
	base uint64

	at      int    // the frame that is looked at
	crc     uint32 // of the batch up to here, as mended
	start   int    // of the batch
	offsets []uint32
	index   uint64 // where the index array of the batch begins, 0 if it has none
	batches []batch
	patches []patch
	lost    int // records for which there are only frames
}

// batch is a write with its commit frame.
type batch struct {
	commit
	whole bool // it has its checksum
}

// patch is a part of the segment that has to be written.
type patch struct{ from, to int }

// noTime is the time that ends each entry: raft.Log.AppendedAt is not used.
var noTime, _ = time.Time{}.MarshalBinary()

// newMender mends the segment b, which it changes.
func newMender(b []byte, info *types.SegmentInfo) *mender {
	m := &mender{b: b, base: info.BaseIndex, at: fileHeader}
	m.put(0, appendHeader(nil, info))
	m.crc = crc32.Checksum(b[:fileHeader], castagnoli)
	for m.at+frameHeader <= len(m.b) {
		if !m.commit() && !m.indexFrame(true) && !m.entry() && !m.damagedCommit() && !m.indexFrame(false) && !m.resume() {
			break
		}
	}
	return m
}

// appendHeader appends the header that a segment begins with.
func appendHeader(dst []byte, info *types.SegmentInfo) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, segmentMagic)
	dst = binary.LittleEndian.AppendUint64(dst, info.BaseIndex)
	dst = binary.LittleEndian.AppendUint64(dst, info.ID)
	return binary.LittleEndian.AppendUint64(dst, info.Codec)
}

// put has bytes stand at a place.
func (m *mender) put(at int, b []byte) {
	if !bytes.Equal(m.b[at:at+len(b)], b) {
		copy(m.b[at:], b)
		m.patches = append(m.patches, patch{at, at + len(b)})
	}
}

func frame(kind uint8, value uint32) []byte {
	return binary.LittleEndian.AppendUint32([]byte{kind, 0, 0, 0}, value)
}

func padded(n int) int { return (n + frameHeader - 1) / frameHeader * frameHeader }

// seq is the number of the next entry.
func (m *mender) seq() uint64 { return m.base + uint64(len(m.offsets)) }

func (m *mender) value(at int) uint32 { return binary.LittleEndian.Uint32(m.b[at+4:]) }

// pass makes what is between here and to part of the batch, and goes on there.
func (m *mender) pass(to int) {
	m.crc = crc32.Update(m.crc, castagnoli, m.b[m.at:to])
	m.at = to
}

// told returns number and length of the entry whose payload begins at a place, as it
// tells them itself; the length is 0 if it makes no sense.
func (m *mender) told(at int) (seq uint64, length int) {
	if at > len(m.b) {
		return 0, 0
	}
	b := m.b[at:]
	field := func() (v uint64) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			b = nil
			return 0
		}
		b = b[n:]
		return v
	}
	seq = field()
	if term, typ := field(), field(); seq == 0 || term|typ != 0 {
		return 0, 0
	}
	for range 2 { // head and data
		n := field()
		if b == nil || n > uint64(len(b)) {
			return 0, 0
		}
		b = b[n:]
	}
	if !bytes.HasPrefix(b, noTime) {
		return 0, 0
	}
	return seq, len(m.b) - at - len(b) + len(noTime)
}

// whole says whether there is an entry at a place that makes sense in every detail.
func (m *mender) whole(at int) (seq uint64, ok bool) {
	if at+frameHeader > len(m.b) || !isEntry(m.b[at:]) {
		return 0, false
	}
	seq, n := m.told(at + frameHeader)
	return seq, n > 0 && n == int(m.value(at)) && at+frameHeader+padded(n) <= len(m.b)
}

// commit takes a commit frame with the checksum of the batch.
func (m *mender) commit() bool {
	if m.pending() == 0 || m.value(m.at) != m.crc {
		return false
	}
	m.put(m.at, frame(segment.FrameCommit, m.crc))
	m.endBatch(true)
	return true
}

// pending is how many entries are not in a batch yet.
func (m *mender) pending() uint64 {
	n := uint64(len(m.offsets))
	if k := len(m.batches); k > 0 {
		n -= m.batches[k-1].entries
	}
	return n
}

func (m *mender) endBatch(whole bool) {
	m.batches = append(m.batches, batch{commit{int64(m.start), int64(m.at), m.value(m.at), uint64(len(m.offsets)), m.index}, whole})
	m.at += frameHeader
	m.start, m.crc, m.index = m.at, 0, 0
}

// entry takes the entry whose turn it is: one that tells its number and length,
// whatever its header, or one with a header that leads to another frame.
func (m *mender) entry() bool {
	seq, n := m.told(m.at + frameHeader)
	if n == 0 || seq != m.seq() {
		n = int(m.value(m.at))
		if !isEntry(m.b[m.at:]) || n > len(m.b)-m.at-frameHeader || !m.leads(m.at+frameHeader+padded(n)) {
			return false
		}
	}
	end := m.at + frameHeader + n
	to := m.at + frameHeader + padded(n)
	if to > len(m.b) {
		return false
	}
	m.put(m.at, frame(segment.FrameEntry, uint32(n)))
	m.put(end, make([]byte, to-end))
	m.offsets = append(m.offsets, uint32(m.at))
	m.pass(to)
	return true
}

// leads says whether a frame could follow an entry at a place.
func (m *mender) leads(at int) bool {
	if at+frameHeader > len(m.b) {
		return false
	}
	if seq, ok := m.whole(at); ok {
		return seq == m.seq()+1
	}
	b := m.b[at:]
	return b[1]|b[2]|b[3] == 0 && (b[0] == segment.FrameCommit || b[0] == segment.FrameIndex && int(m.value(at)) == 4*(len(m.offsets)+1))
}

// damagedCommit takes a commit frame that does not have the checksum of the batch:
// one that says that it is one, or that stands before the next entry.
func (m *mender) damagedCommit() bool {
	if m.pending() == 0 {
		return false
	}
	if b := m.b[m.at:]; b[0] != segment.FrameCommit || b[1]|b[2]|b[3] != 0 {
		if seq, ok := m.whole(m.at + frameHeader); !ok || seq != m.seq() {
			return false
		}
		m.put(m.at, frame(segment.FrameCommit, m.value(m.at)))
	}
	m.endBatch(false)
	return true
}

// indexFrame takes the index that ends a full segment; exact says that it must be as
// it was written.
func (m *mender) indexFrame(exact bool) bool {
	n := 4 * len(m.offsets)
	to := m.at + frameHeader + padded(n)
	if m.pending() == 0 || m.index > 0 || to+frameHeader > len(m.b) {
		return false
	}
	want := make([]byte, 0, padded(n))
	for _, o := range m.offsets {
		want = binary.LittleEndian.AppendUint32(want, o)
	}
	want = want[:padded(n)]
	head := frame(segment.FrameIndex, uint32(n))
	sameHead := bytes.Equal(m.b[m.at:m.at+frameHeader], head)
	same := bytes.Equal(m.b[m.at+frameHeader:to], want)
	if exact && (!sameHead || !same) || !sameHead && !same {
		return false
	}
	m.put(m.at, head)
	m.put(m.at+frameHeader, want)
	m.index = uint64(m.at) + frameHeader
	m.pass(to)
	return true
}

// lostFrame is the room that the frame of a record without anything in it takes: its
// number, four fields, and the time.
const lostFrame = frameHeader + (binary.MaxVarintLen64+4+15+frameHeader-1)/frameHeader*frameHeader

// resume goes on at the next entry that makes sense, and fills what lies between
// with entries of the records that are missing. They have a number and an empty head.
func (m *mender) resume() bool {
	for off := m.at + frameHeader; off+frameHeader <= len(m.b); off += frameHeader {
		seq, ok := m.whole(off)
		if !ok || seq <= m.seq() || seq-m.seq() > uint64((off-m.at)/lostFrame) {
			continue
		}
		for m.seq() < seq {
			to := m.at + lostFrame
			if m.seq()+1 == seq {
				to = off
			}
			m.fill(to)
		}
		return true
	}
	return false
}

// fill makes what lies before a place an entry of the record whose turn it is.
func (m *mender) fill(to int) {
	begin := m.at + frameHeader
	head := append(binary.AppendUvarint(nil, m.seq()), 0, 0, 0)
	// The length of the data has a length of its own, so not every size is possible.
	for end := to; ; end-- {
		for digits := 1; digits <= binary.MaxVarintLen32; digits++ {
			data := end - begin - len(head) - digits - len(noTime)
			size := binary.AppendUvarint(nil, uint64(max(data, 0)))
			if data < 0 || len(size) != digits {
				continue
			}
			m.put(m.at, frame(segment.FrameEntry, uint32(end-begin)))
			m.put(begin, append(head, size...))
			m.put(end-len(noTime), noTime)
			m.put(end, make([]byte, to-end))
			m.offsets = append(m.offsets, uint32(m.at))
			m.lost++
			m.pass(to)
			return
		}
	}
}

// keep ends the segment behind what counts: the last batch that has its checksum,
// and all entries up to sure, which were stored. With exactly, there must be no
// more than those. It returns the batch that ends the segment and the patches
// before its end.
func (m *mender) keep(sure uint64, exactly bool) (last commit, patches []patch) {
	k := len(m.batches) - 1
	for k >= 0 && (!m.batches[k].whole || exactly && m.batches[k].entries > sure) {
		k--
	}
	for k+1 < len(m.batches) && m.entriesTo(k) < sure && (!exactly || m.batches[k+1].entries <= sure) {
		k++
	}
	if k >= 0 {
		last = m.batches[k].commit
	}
	if n := min(sure, uint64(len(m.offsets))); last.entries < n {
		// These have no commit frame of their own any more.
		last = commit{start: last.end(), at: m.frameEnd(n), entries: n}
		m.b = append(m.b[:last.at], frame(segment.FrameCommit, 0)...)
		m.patches = append(m.patches, patch{int(last.at), len(m.b)})
	}
	if last.at > 0 {
		last.crc = crc32.Checksum(m.b[last.start:last.at], castagnoli)
		m.put(int(last.at), frame(segment.FrameCommit, last.crc))
	}
	for _, p := range m.patches {
		if end := int(last.end()); p.from < end {
			patches = append(patches, patch{p.from, min(p.to, end)})
		}
	}
	return last, patches
}

// entriesTo is how many entries there are up to the end of the k-th batch.
func (m *mender) entriesTo(k int) uint64 {
	if k < 0 {
		return 0
	}
	return m.batches[k].entries
}

// frameEnd is where the frame of the n-th entry ends, counted from 1.
func (m *mender) frameEnd(n uint64) int64 {
	at := int(m.offsets[n-1])
	return int64(at + frameHeader + padded(int(m.value(at))))
}
