package segment

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cespare/xxhash/v2"
)

// blockSize is the unit in which the bytes of a data file are checked: small
// enough that a read of one column checks little else, large enough that the
// checksums are 1/4096 of the file.
const blockSize = 32 << 10

// errCorrupt marks a segment whose files do not hold what was written: a wrong
// checksum, a wrong length, or content that does not decode.
var errCorrupt = errors.New("segment: the file is damaged")

func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errCorrupt}, args...)...)
}

// blockWriter writes through to w and keeps the checksum of each block.
type blockWriter struct {
	w    io.Writer
	buf  []byte
	sums []uint64
	size int64
}

func newBlockWriter(w io.Writer) *blockWriter {
	return &blockWriter{w: w, buf: make([]byte, 0, blockSize)}
}

func (b *blockWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		m := min(len(p), blockSize-len(b.buf))
		b.buf = append(b.buf, p[:m]...)
		p = p[m:]
		if len(b.buf) == blockSize {
			if err := b.flush(); err != nil {
				return n - len(p) - m, err
			}
		}
	}
	return n, nil
}

// flush writes the block that is open; it ends the file when it is not full.
func (b *blockWriter) flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	if _, err := b.w.Write(b.buf); err != nil {
		return err
	}
	b.sums = append(b.sums, xxhash.Sum64(b.buf))
	b.size += int64(len(b.buf))
	b.buf = b.buf[:0]
	return nil
}

// blockReader reads a data file and gives out only bytes whose block has the
// right checksum. It is safe for concurrent use.
type blockReader struct {
	f    io.ReaderAt
	size int64
	sums []uint64
}

// read returns size bytes at off, as a part of *space, which grows to hold the
// blocks that they lie in.
func (b *blockReader) read(space *[]byte, off, size int64) ([]byte, error) {
	if off < 0 || size < 0 || off > b.size || size > b.size-off {
		return nil, corruptf("%d bytes at %d are asked for, but it has %d", size, off, b.size)
	}
	first := off / blockSize * blockSize
	last := min((off+size+blockSize-1)/blockSize*blockSize, b.size)
	if int64(cap(*space)) < last-first {
		*space = make([]byte, last-first)
	}
	buf := (*space)[:last-first]
	if n, err := b.f.ReadAt(buf, first); n < len(buf) {
		if errors.Is(err, io.EOF) {
			return nil, corruptf("it ends at %d, not at %d", first+int64(n), b.size)
		}
		return nil, err
	}
	for at := first; at < last; at += blockSize {
		block := buf[at-first : min(at-first+blockSize, last-first)]
		if xxhash.Sum64(block) != b.sums[at/blockSize] {
			return nil, corruptf("the checksum of the block at %d is wrong", at)
		}
	}
	return buf[off-first : off-first+size], nil
}

// ReadAt implements io.ReaderAt.
func (b *blockReader) ReadAt(p []byte, off int64) (int, error) {
	size := min(int64(len(p)), b.size-off)
	if size <= 0 {
		return 0, io.EOF
	}
	var space []byte
	got, err := b.read(&space, off, size)
	if err != nil {
		return 0, err
	}
	n := copy(p, got)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// chunk is a piece of a data file in memory, at its place.
type chunk struct {
	data []byte
	off  int64
}

// ReadAt implements io.ReaderAt within the piece.
func (c *chunk) ReadAt(p []byte, off int64) (int, error) {
	if off < c.off || off > c.off+int64(len(c.data)) {
		return 0, corruptf("a column reaches outside of itself")
	}
	n := copy(p, c.data[off-c.off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// writeFileAtomic makes the file hold what fill writes, or leaves what was
// there: the content goes to a temporary file, is flushed to the disk, and is
// renamed. The folder is not flushed.
func (x *Index) writeFileAtomic(name string, fill func(io.Writer) error) (err error) {
	tmp := name + tmpSuffix
	f, err := x.create(tmp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	if err = fill(f); err == nil && !x.opts.noSync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, name)
}
