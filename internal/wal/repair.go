package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// What happens to a write that fails or is cut off.
//
// raft-wal writes a batch as entry frames, perhaps an index frame that seals
// the segment, and a commit frame with the checksum of them all, in one
// WriteAt, and then syncs. When that fails
//
//   - the writer in memory counts the entries all the same, and refuses every
//     further append;
//   - the file may hold none, some or all of the batch. If it holds all,
//     because only the sync failed, opening the log again brings records to
//     light that were reported as failed: a client that knows nothing of ranges
//     then has them twice;
//   - if it holds some, the next batch is written over it, and a shorter one
//     leaves frames of the old one behind, which may be taken for valid ones
//     when the log is opened later;
//   - if the torn part had an index frame, or the process ends between the seal
//     and the listing of the next segment, appends fail for ever;
//   - cutting the records off with DeleteRange leaves a segment that cannot be
//     read after the next start.
//
// So before raft-wal opens a log, repairTail cuts the last segment behind the
// last batch that counts, durably. Within the process that is the last batch
// that was acknowledged, so that a failed one never comes back. After a crash
// it is the last whole one: whether the unanswered request was stored is then
// as open as it is for any request without a reply; the callers' compare and
// append makes its repetition a duplicate.

const (
	frameHeader = 8
	fileHeader  = 32
	// keptCommits is how many of the last commits are looked at. A torn batch
	// has no valid commit behind it, but its garbage may look like some.
	keptCommits = 64
)

// commit is the end of a batch in a segment.
type commit struct {
	start   int64 // where its checksum begins
	at      int64 // of the commit frame
	crc     uint32
	entries uint64 // of the segment up to here
	index   uint64 // where the index array begins, if the batch sealed the segment
}

func (c *commit) end() int64 {
	if c.at == 0 {
		return 0
	}
	return c.at + frameHeader
}

// repairTail makes the last segment end with the last batch that counts, and
// returns that batch; the zero commit is an empty segment.
func (l *segmentList) repairTail(info *types.SegmentInfo) (commit, error) {
	path := l.segmentPath(info)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) { // listed, and not made yet
		if l.known && l.acked >= info.BaseIndex {
			return commit{}, fmt.Errorf("segment %s is gone with records %d to %d: %w", path, info.BaseIndex, l.acked, err)
		}
		return commit{}, nil
	}
	if err != nil {
		return commit{}, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return commit{}, err
	}
	found, err := l.lastCommit(faultyFile{f, l.faults}, stat.Size(), info)
	if l.salvaging && !l.known && (errors.Is(err, ErrDamaged) || err == nil && found.at > 0) {
		// A segment that raft-wal will not read is cut off as a whole.
		if whole, err2 := hasHeader(f, info); err != nil || err2 != nil || !whole {
			found, err = commit{}, err2
		}
	}
	if !l.salvaging {
		if whole, err2 := hasHeader(faultyFile{f, l.faults}, info); err == nil && (err2 != nil || !whole && found.at > 0) {
			err = errors.Join(ErrDamaged, err2)
		}
		if skip := l.hopeless(path, err); skip || errors.Is(err, ErrDamaged) || err == nil && (l.short(&found, info) || !l.known && found.end() != stat.Size()) {
			return l.mendTail(f, stat.Size(), info, skip)
		}
	}
	if err != nil {
		return commit{}, fmt.Errorf("segment %s: %w", path, err)
	}
	if found.end() == stat.Size() {
		return found, nil
	}
	if l.salvaging && !l.known {
		lost := Loss{First: info.BaseIndex + found.entries, Cause: fmt.Sprintf("the end of segment %s is not whole", path)}
		if err := l.keepCut(f, found.end(), lost); err != nil {
			return commit{}, err
		}
	}
	return found, l.cut(f, found.end())
}

// cut cuts a segment durably.
func (l *segmentList) cut(f *os.File, size int64) error {
	if err := l.faults.step(OpTruncate, f.Name()); err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	return l.faults.sync(f)
}

// faultyFile reads a file as tests want it to be read.
type faultyFile struct {
	f      *os.File
	faults *Faults
}

func (r faultyFile) ReadAt(p []byte, off int64) (int, error) { return r.faults.readAt(r.f, p, off) }

// sure is how many records of a segment were durable for certain.
func (l *segmentList) sure(info *types.SegmentInfo) uint64 {
	last := l.durable
	if l.known {
		last = l.acked
	}
	return max(last+1, info.BaseIndex) - info.BaseIndex
}

// short says whether the last segment ends before what was durable.
func (l *segmentList) short(end *commit, info *types.SegmentInfo) bool {
	return end.entries < l.sure(info)
}

// mendTail puts the frames of the last segment in order and cuts it behind the last
// batch that counts. skip says that what the disk cannot read is given up.
func (l *segmentList) mendTail(f *os.File, size int64, info *types.SegmentInfo, skip bool) (commit, error) {
	path := f.Name()
	b, zeros, err := l.readAll(f, size, skip)
	if err != nil {
		return commit{}, fmt.Errorf("segment %s: %w", path, err)
	}
	var m mender
	var end commit
	var patches []patch
	if len(b) >= fileHeader {
		m = *newMender(b, info)
		m.patches = append(zeros, m.patches...) // first, as a part of such a place cannot be written
		end, patches = m.keep(l.sure(info), l.known)
	}
	short := l.short(&end, info)
	if len(patches) > 0 || short {
		to := freshName(path)
		if err := copyFile(l.faults, path, to); err != nil && !isNoSpace(err) && !isBadSector(err) {
			return commit{}, err
		}
		l.log.Error("the disk returned something else than was written to the log, or lost records of it; it is mended as far as that is possible, and a copy is kept",
			"segment", path, "copy", to, "places", len(patches), "lost_records", m.lost, "last_readable", info.BaseIndex+end.entries-1,
			"last_durable", info.BaseIndex+l.sure(info)-1)
	}
	for _, p := range patches {
		if _, err := l.faults.writeAt(f, m.b[p.from:p.to], int64(p.from)); err != nil {
			return commit{}, err
		}
	}
	if len(patches) > 0 {
		if err := l.faults.sync(f); err != nil {
			return commit{}, err
		}
	}
	if stat, err := f.Stat(); err != nil || stat.Size() == end.end() {
		return end, err
	}
	return end, l.cut(f, end.end())
}

// lastCommit finds the last batch of a segment that counts.
func (l *segmentList) lastCommit(r io.ReaderAt, size int64, info *types.SegmentInfo) (commit, error) {
	want := uint64(0)
	if l.known && l.acked >= info.BaseIndex {
		want = l.acked - info.BaseIndex + 1
	} else if l.known {
		return commit{}, nil
	}
	commits, total, err := scanCommits(r, size, info.BaseIndex, want)
	if err != nil {
		return commit{}, err
	}
	for i := len(commits) - 1; i >= 0; i-- {
		ok, err := commits[i].valid(r)
		if err != nil {
			return commit{}, err
		}
		if ok && (!l.known || commits[i].entries == want) {
			return commits[i], nil
		}
	}
	if l.known {
		return commit{}, fmt.Errorf("record %d was stored and cannot be read any more: %w", l.acked, ErrDamaged)
	}
	if total > len(commits) {
		return commit{}, fmt.Errorf("none of the last %d writes can be read: %w", len(commits), ErrDamaged)
	}
	return commit{}, nil
}

// scanCommits walks over the frames and returns the last commits, and how many
// there were; with want > 0 only up to the one with so many entries. It ends
// where an entry has not the number that is its turn: a length before it is damaged.
func scanCommits(r io.ReaderAt, size int64, base, want uint64) (commits []commit, total int, err error) {
	w := window{r: r, buf: make([]byte, 4<<10)}
	c := commit{}
	for at := int64(fileHeader); at+frameHeader <= size; {
		head, err := w.upTo(at, frameHeader+binary.MaxVarintLen64)
		if err == nil && len(head) < frameHeader {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, 0, err
		}
		value := binary.LittleEndian.Uint32(head[4:])
		switch head[0] {
		case segment.FrameEntry:
			if seq, n := binary.Uvarint(head[frameHeader:]); n <= 0 || seq != base+c.entries {
				return commits, total, nil
			}
			c.entries++
		case segment.FrameIndex:
			c.index = uint64(at) + frameHeader
		case segment.FrameCommit:
			c.at, c.crc = at, value
			if total++; len(commits) == keptCommits {
				commits = append(commits[:0], commits[1:]...)
			}
			commits = append(commits, c)
			if want > 0 && c.entries >= want {
				return commits, total, nil
			}
			at += frameHeader
			c.start, c.index = at, 0
			continue
		default: // zeros or garbage: nothing valid follows
			return commits, total, nil
		}
		at += frameHeader + (int64(value)+frameHeader-1)/frameHeader*frameHeader
	}
	return commits, total, nil
}

// window reads small pieces in rising order with few calls.
type window struct {
	r   io.ReaderAt
	buf []byte
	off int64
	n   int
}

// upTo returns the n bytes at off, of which there may be less at the end.
func (w *window) upTo(off int64, n int) ([]byte, error) {
	if off < w.off || off+int64(n) > w.off+int64(w.n) {
		m, err := w.r.ReadAt(w.buf, off)
		if w.off, w.n = off, m; err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	from := int(off - w.off)
	return w.buf[from:min(from+n, w.n)], nil
}

// valid compares the checksum of the batch.
func (c *commit) valid(r io.ReaderAt) (bool, error) {
	h := crc32.New(castagnoli)
	if _, err := io.Copy(h, io.NewSectionReader(r, c.start, c.at-c.start)); err != nil {
		return false, err
	}
	return h.Sum32() == c.crc, nil
}

// mendHeaders writes the headers of the full segments anew where they are damaged: all
// that is in them is listed. raft-wal would not open the log.
func (l *segmentList) mendHeaders() (mended bool, err error) {
	for _, info := range l.current().Segments {
		if info.SealTime.IsZero() {
			continue
		}
		done, err := l.mendHeader(&info)
		if err != nil {
			return mended, fmt.Errorf("segment %s: %w", l.segmentPath(&info), err)
		}
		mended = mended || done
	}
	return mended, nil
}

func (l *segmentList) mendHeader(info *types.SegmentInfo) (bool, error) {
	path := l.segmentPath(info)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	whole, err := hasHeader(faultyFile{f, l.faults}, info)
	if whole || err != nil && !l.hopeless(path, err) {
		return false, err
	}
	b := appendHeader(nil, info)
	if err != nil { // a part of a place that cannot be read cannot be written
		stat, err := f.Stat()
		if err != nil {
			return false, err
		}
		b = append(b, make([]byte, min(sectorSize, max(stat.Size(), fileHeader))-fileHeader)...)
	}
	l.log.Error("the header of a segment of the log is damaged; it is written anew", "segment", path)
	if _, err := l.faults.writeAt(f, b, 0); err != nil {
		return false, err
	}
	return true, l.faults.sync(f)
}
