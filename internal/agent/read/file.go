package read

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"logtail/internal/delivery"
)

// searchLimit is how many entries of a folder are looked at for a file that
// was renamed out of its pattern (checkpoint_find_max_file_count of Logtail).
const searchLimit = 1000

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

// Chunk reads from f at offset off into buf and returns the content behind
// off, and the bytes that stand before it (up to Overlap), which Chunk has
// compared with tail (a delivery.TailHash; 0 = not known). At the end of the
// file content is empty. It returns ErrTruncated if the bytes before off are
// others, or are gone.
func Chunk(f io.ReaderAt, off, tail uint64, buf []byte) (before, content []byte, err error) {
	over := min(off, Overlap)
	n, err := f.ReadAt(buf, int64(off-over))
	if err != nil && !errors.Is(err, io.EOF) {
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

// Search looks for the known file in the folder where it was last seen, and
// depth levels below it, as it has gone from its path, and returns it opened
// with its new path. At most searchLimit entries are looked at. It is
// os.ErrNotExist if the file is not there, and ErrTruncated if it is, by its
// time of birth, but with other content.
func Search(k *Known, lastPath string, depth int) (*os.File, string, error) {
	left, truncated := searchLimit, false
	if f, path := search(k, filepath.Dir(lastPath), depth, &left, &truncated); f != nil {
		return f, path, nil
	}
	if truncated {
		return nil, "", ErrTruncated
	}
	return nil, "", fmt.Errorf("%s: %w", lastPath, os.ErrNotExist)
}

func search(k *Known, dir string, depth int, left *int, truncated *bool) (*os.File, string) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, ""
	}
	names, _ := d.Readdirnames(max(*left, 1)) // what could be listed is looked at
	d.Close()
	var below []string
	for _, name := range names {
		if *left--; *left < 0 {
			return nil, ""
		}
		path := filepath.Join(dir, name)
		fi, err := os.Lstat(path)
		if err != nil {
			continue
		}
		if fi.IsDir() && depth > 0 {
			below = append(below, path)
		}
		if !fi.Mode().IsRegular() || !maybe(fi, k) {
			continue
		}
		f, facts, _, err := Look(path)
		if err != nil {
			continue
		}
		switch Decide(k, &facts) {
		case Same:
			return f, path
		case Truncated:
			*truncated = *truncated || k.Birth != 0 && k.Birth == facts.Birth && k.Dev == facts.Dev
		case Other:
		}
		f.Close()
	}
	for _, b := range below {
		if f, path := search(k, b, depth-1, left, truncated); f != nil {
			return f, path
		}
	}
	return nil, ""
}
