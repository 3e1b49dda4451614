package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/raft-wal/segment"
)

// What raft-wal's codec puts around the two byte strings of a record: number,
// term and type (both 0 here), then each string behind its length, then a time.
const (
	timeBytes = 15
	// maxScanHead is the longest head with which a record can be found without
	// raft-wal's index; the data behind it need not be read.
	maxScanHead = 4 << 10
	scanWindow  = 16 << 10
)

// entry is what stands at one place of a segment.
type entry struct {
	seq  uint64
	head []byte // valid until the next read
	data int    // how many bytes follow the head
	at   int64  // where they begin
	next int64  // where the next frame begins
}

// entries reads a segment, or a part of one, without raft-wal, which gives up
// the whole of it for one damaged place.
type entries struct {
	w    window
	size int64
}

func newEntries(r io.ReaderAt, size int64) *entries {
	return &entries{w: window{r: r, buf: make([]byte, scanWindow)}, size: size}
}

// at reads the entry whose frame begins at off; ok is false if there is none
// that makes sense in every detail.
func (s *entries) at(off int64) (e entry, ok bool, err error) {
	b, err := s.w.upTo(off, frameHeader)
	if err != nil || !isEntry(b) {
		return e, false, err
	}
	length := int64(binary.LittleEndian.Uint32(b[4:]))
	begin := off + frameHeader
	if length > segment.MaxEntrySize || length > s.size-begin {
		return e, false, nil
	}
	if b, err = s.w.upTo(begin, int(min(length, maxScanHead))); err != nil {
		return e, false, err
	}
	whole := len(b)
	field := func() (v uint64) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			b = nil
			return 0
		}
		b = b[n:]
		return v
	}
	e.seq = field()
	term, typ, head := field(), field(), field()
	if b == nil || e.seq == 0 || term|typ != 0 || head > uint64(len(b)) {
		return e, false, nil
	}
	e.head, b = b[:head:head], b[head:]
	data := field()
	if b == nil || int64(whole-len(b))+int64(data)+timeBytes != length || data > segment.MaxEntrySize {
		return e, false, nil
	}
	e.data = int(data)
	e.at = begin + int64(whole-len(b))
	e.next = begin + (length+frameHeader-1)/frameHeader*frameHeader
	return e, true, nil
}

// isEntry says whether a frame's header may be that of an entry.
func isEntry(b []byte) bool {
	return len(b) >= frameHeader && b[0] == segment.FrameEntry && b[1]|b[2]|b[3] == 0
}

// record reads all of an entry; its bytes are the caller's.
func (s *entries) record(e *entry) (Record, error) {
	b := make([]byte, len(e.head)+e.data)
	n := copy(b, e.head)
	if _, err := s.w.r.ReadAt(b[n:], e.at); err != nil && !errors.Is(err, io.EOF) {
		return Record{}, err
	}
	return Record{Head: b[:n:n], Data: b[n:]}, nil
}

// Salvage reads what can be found of records in a file that Open has put aside,
// in the order in which they stand there, until fn says false. Only records with
// heads of less than 4 KB are found. fn must not trust their bytes; it may keep them.
func Salvage(path string, fn func(seq uint64, r Record) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	s := newEntries(f, stat.Size())
	for off := int64(0); off < s.size; {
		e, ok, err := s.at(off)
		if err != nil {
			return err
		}
		if !ok {
			off += frameHeader // frames begin at multiples of it
			continue
		}
		r, err := s.record(&e)
		if err != nil {
			return err
		}
		if !fn(e.seq, r) {
			return nil
		}
		off = e.next
	}
	return nil
}

// Heads goes over all records in order, and gives for each its head, which is
// valid until fn returns, and how many bytes of data it has. Those bytes are
// not read. head is nil for a record that cannot be read.
func (l *Log) Heads(fn func(seq uint64, head []byte, data int) error) error {
	for _, s := range l.Segments() {
		if err := l.heads(&s, fn); err != nil {
			return err
		}
	}
	return nil
}

// heads goes over a segment. Where that does not get any further, each record is
// looked for by its number, through raft-wal's index.
func (l *Log) heads(info *Segment, fn func(seq uint64, head []byte, data int) error) error {
	if info.First == info.Next {
		return nil
	}
	f, err := os.Open(info.path)
	if err != nil {
		return err
	}
	defer f.Close()
	s := newEntries(f, info.Bytes)
	seq := info.Base
	for off := int64(fileHeader); seq < info.Next; {
		b, err := s.w.upTo(off, frameHeader)
		if err != nil {
			return err
		}
		if len(b) > 0 && b[0] == segment.FrameCommit {
			off += frameHeader
			continue
		}
		e, ok, err := s.at(off)
		if err != nil {
			return err
		}
		if !ok || e.seq != seq {
			break
		}
		if seq >= info.First {
			if err := fn(seq, e.head, e.data); err != nil {
				return err
			}
		}
		off = e.next
		seq++
	}
	for seq = max(seq, info.First); seq < info.Next; seq++ {
		r, err := l.Get(seq)
		switch {
		case err == nil && r.Head == nil:
			r.Head = []byte{}
		case errors.Is(err, ErrDamaged):
			r = Record{}
		case err != nil:
			return fmt.Errorf("record %d: %w", seq, err)
		}
		if err := fn(seq, r.Head, len(r.Data)); err != nil {
			return err
		}
	}
	return nil
}
