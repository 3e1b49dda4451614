package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// A place that the disk cannot read is given up when it was tried so often,
	// over so long a time, and the disk otherwise works.
	sectorTries = 5
	sectorTime  = 10 * time.Second
	// sectorsKept bounds how many places are remembered.
	sectorsKept = 10_000
	// sectorSize is what is given up at a time where a file has to be mended.
	sectorSize = 4 << 10
	// readAhead is how much raft-wal reads of an entry before it knows its length.
	readAhead = 64 << 10
)

// BadSectors remembers which places of a log the disk could not read, so that
// they are not tried for ever: a record there counts as damaged in the end. The zero
// value is ready; it may live longer than a Log. It is safe for concurrent use.
type BadSectors struct {
	mu     sync.Mutex
	places map[string]*badSector
}

type badSector struct {
	since time.Time
	tries int
}

// tried notes that a place could not be read, and says whether it was tried enough.
func (b *BadSectors) tried(place string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.places[place]
	if s == nil {
		if b.places == nil || len(b.places) >= sectorsKept {
			b.places = map[string]*badSector{}
		}
		s = &badSector{since: now}
		b.places[place] = s
	}
	s.tries++
	return s.tries >= sectorTries && now.Sub(s.since) >= sectorTime
}

// hopeless says whether the place at which err came up is to be given up: the disk was
// asked often enough, and works. One that is gone as a whole may come back with all
// that is on it.
func (l *segmentList) hopeless(place string, err error) bool {
	if !isBadSector(err) || !l.bad.tried(place, l.now()) {
		return false
	}
	probe := filepath.Join(l.dir, "probe")
	works := WriteFile(l.faults, probe, func(w io.Writer) error {
		_, err := w.Write([]byte("the disk works\n"))
		return err
	})
	return errors.Join(works, l.faults.Remove(probe)) == nil
}

// giveUp makes the error of a record that the disk cannot read ErrDamaged, when it was
// tried enough.
func (l *segmentList) giveUp(seq uint64, err error) error {
	if !l.hopeless(fmt.Sprint("record ", seq), err) {
		return err
	}
	return fmt.Errorf("%w: the disk cannot read it: %w", ErrDamaged, err)
}

// readAt reads for raft-wal. That asks for more than it needs, so a place that cannot
// be read behind an entry must not cost the entry.
func (fs *files) readAt(f *os.File, p []byte, off int64) (int, error) {
	n, err := fs.faults.readAt(f, p, off)
	if err != nil && len(p) == readAhead && n >= frameHeader && isBadSector(err) {
		err = io.EOF
	}
	return n, err
}

// readAll reads a file of that size into memory. Where the disk cannot read, there are
// zeros, which are returned as patches, if skip says so.
func (l *segmentList) readAll(f *os.File, size int64, skip bool) (b []byte, zeros []patch, err error) {
	b = make([]byte, size)
	for at := 0; at < len(b); {
		n, err := l.faults.readAt(f, b[at:], int64(at))
		at += n
		switch {
		case at == len(b) || err == nil:
		case errors.Is(err, io.EOF):
			return nil, nil, io.ErrUnexpectedEOF
		case !skip || !isBadSector(err):
			return nil, nil, err
		default:
			to := min(at/sectorSize*sectorSize+sectorSize, len(b))
			clear(b[at:to])
			zeros = append(zeros, patch{at, to})
			at = to
		}
	}
	return b, zeros, nil
}
