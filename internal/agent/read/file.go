package read

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"logtail/internal/delivery"
)

// maxOpen is how many log files may stay open on any system.
const maxOpen = 10_000

// Overlap is how many bytes before the offset every read begins: they are
// compared with what stood there at the last read, so that a file that was
// truncated and has already grown past the offset is not read on from the
// middle of other content.
const Overlap = delivery.TailBytes

// ErrTruncated says that the content before the offset is not what it was.
var ErrTruncated = errors.New("read: the file was truncated or rewritten")

// ErrNotRegular says that a path is not a regular file.
var ErrNotRegular = errors.New("read: not a regular file")

// File is what a stream reads from: a log file, or the archive that it was
// compressed to.
type File interface {
	io.ReaderAt
	io.Closer
	// Name returns the path that it was opened at.
	Name() string
}

var (
	_ File = (*os.File)(nil)
	_ File = (*Compressed)(nil)
)

// Len returns how many bytes of content f has: the size of a file; of an archive
// the decompressed length, which is known once it was read to its end, and -1
// before.
func Len(f File) (int64, error) {
	if c, ok := f.(*Compressed); ok {
		return c.Len(), nil
	}
	s, ok := f.(interface{ Stat() (os.FileInfo, error) })
	if !ok {
		return -1, nil
	}
	fi, err := s.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// Chunk reads from f at offset off into buf and returns the content behind
// off, and the bytes that stand before it (up to Overlap), which Chunk has
// compared with tail (a delivery.TailHash; 0 = not known). At the end of the
// file content is empty. It returns ErrTruncated if the bytes before off are
// others, or are gone. An error of reading is returned only when there is no content
// before it.
func Chunk(f io.ReaderAt, off, tail uint64, buf []byte) (before, content []byte, err error) {
	over := min(off, Overlap)
	n, err := f.ReadAt(buf, int64(off-over))
	if err != nil && !errors.Is(err, io.EOF) && uint64(n) <= over {
		return nil, nil, err
	}
	if uint64(n) < over {
		return nil, nil, ErrTruncated
	}
	before = buf[:over]
	if tail != 0 && delivery.TailHash(before) != tail {
		return nil, nil, ErrTruncated
	}
	return before, buf[over:n], nil
}

// HashBefore returns the tail hash before off, and whether so much is there.
func HashBefore(f io.ReaderAt, off uint64) (hash uint64, ok bool) {
	var buf [Overlap]byte
	over := min(off, Overlap)
	n, _ := f.ReadAt(buf[:over], int64(off-over))
	if uint64(n) < over {
		return 0, false
	}
	return delivery.TailHash(buf[:over]), true
}

// Look opens path and says which file it is. The caller closes the file.
func Look(path string) (*os.File, Facts, int64, error) {
	f, err := Open(path)
	if err != nil {
		return nil, Facts{}, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s", ErrNotRegular, path)
	}
	var facts Facts
	var mtime int64
	if err == nil {
		facts.Identity, facts.Size, mtime, err = Stat(f)
	}
	if err != nil {
		f.Close()
		return nil, Facts{}, 0, err
	}
	facts.Head = func(n int) (uint64, bool) { return HashHead(f, n) }
	facts.Tail = func(end uint64) (uint64, bool) { return HashBefore(f, end) }
	return f, facts, mtime, nil
}

// alignLimit is how far behind the wanted place a line's beginning is looked
// for when a file is first read from its middle (max_fix_pos_bytes of Logtail).
const alignLimit = 128 << 10

// AlignTail returns the offset of the first line that begins at or behind off,
// and the tail hash before it. Without a line end within 128 KiB it is off itself.
func AlignTail(f io.ReaderAt, off uint64) (start, hash uint64, err error) {
	if off == 0 {
		return 0, delivery.TailHash(nil), nil
	}
	buf := make([]byte, 4<<10)
	start = off
	for at := off - 1; at < off+alignLimit; at += uint64(len(buf)) {
		n, err := f.ReadAt(buf, int64(at))
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			start = at + uint64(i) + 1
			break
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return 0, 0, err
			}
			break
		}
	}
	hash, ok := HashBefore(f, start)
	if !ok {
		return 0, 0, ErrTruncated
	}
	return start, hash, nil
}
