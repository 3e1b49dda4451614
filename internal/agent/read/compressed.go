package read

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// keepBytes is how much decoded content before the present place stays in memory:
	// a chunk of the worker, whose unfinished record is read again, and what it compares.
	keepBytes = 640 << 10
	// decodeBytes is how much is decoded at once, at least.
	decodeBytes = 64 << 10
	// archiveMemory bounds the window of a zstd decoder, in bytes. zstd itself makes up to
	// 8 MB by default, and more only when told to (--ultra, --long).
	archiveMemory = 64 << 20
)

var (
	// ErrIncomplete says that an archive ends in its middle: it may still be written.
	ErrIncomplete = errors.New("read: the archive is not complete yet")
	// ErrNotArchive says that a file is not of a format that can be decompressed.
	ErrNotArchive = errors.New("read: not a gzip or zstd file")
	// ErrDamagedArchive says that the rest of an archive cannot be decoded. The error
	// is a *DamagedError.
	ErrDamagedArchive = errors.New("read: the archive is damaged")
)

// DamagedError says how far an archive could be decoded.
type DamagedError struct {
	Path    string
	Decoded uint64 // bytes of content before the damage
	Err     error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s cannot be decompressed behind its first %d bytes of content: %v", e.Path, e.Decoded, e.Err)
}

// Unwrap returns ErrDamagedArchive and what the decoder said.
func (e *DamagedError) Unwrap() []error { return []error{ErrDamagedArchive, e.Err} }

// Compressed reads the content of a gzip or zstd file, also of several members or
// frames. It decodes forward only and keeps the last 640 KB at most; a read further back
// starts anew at the beginning, except for the first KB. It is safe for concurrent use.
type Compressed struct {
	mu   sync.Mutex
	f    *os.File
	path string
	zstd bool

	src source
	in  *bufio.Reader
	gz  *gzip.Reader
	zs  *zstd.Decoder
	mid bool // a gzip member has begun

	head []byte // the first HeadBytes of the content
	kept []byte // what was decoded last, up to pos
	pos  uint64

	stop   error     // why decoding ended; nil: it goes on
	at     fileState // of the archive when decoding ended
	looked fileState // of the archive when it was last tried again
}

// fileState tells whether an archive has changed.
type fileState struct{ size, mtime int64 }

// source reads an archive from its beginning and remembers what the system said.
type source struct {
	f   *os.File
	off int64
	err error // other than io.EOF
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.f.ReadAt(p, s.off)
	s.off += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// OpenCompressed opens a compressed file, which it knows by its first bytes. The error is
// ErrNotArchive for other files, and ErrIncomplete for one that is too short to tell.
func OpenCompressed(path string) (*Compressed, error) {
	f, _, _, err := Look(path)
	if err != nil {
		return nil, err
	}
	c := &Compressed{f: f, path: path, src: source{f: f}}
	c.in = bufio.NewReaderSize(&c.src, 32<<10)
	var magic [4]byte
	n, err := f.ReadAt(magic[:], 0)
	switch {
	case n >= 3 && magic[0] == 0x1f && magic[1] == 0x8b && magic[2] == 8:
		return c, nil
	case n == 4 && (string(magic[:]) == "\x28\xb5\x2f\xfd" || magic[0]&0xf0 == 0x50 && string(magic[1:]) == "\x2a\x4d\x18"):
		c.zstd = true
		return c, nil
	case err != nil && !errors.Is(err, io.EOF):
	case n < 4:
		err = fmt.Errorf("%s: %w", path, ErrIncomplete)
	default:
		err = fmt.Errorf("%s: %w", path, ErrNotArchive)
	}
	f.Close()
	return nil, err
}

// Name returns the path that the archive was opened at.
func (c *Compressed) Name() string { return c.path }

// Close gives back the file and the memory of the decoder.
func (c *Compressed) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.zs != nil {
		c.zs.Close()
		c.zs = nil
	}
	c.kept, c.head, c.pos, c.stop = nil, nil, 0, os.ErrClosed
	return c.f.Close()
}

// Len returns the decompressed length in bytes, or -1 while the archive was not read to its end.
func (c *Compressed) Len() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.stop, io.EOF) {
		return int64(c.pos)
	}
	return -1
}

// Err returns why what was asked for last could not be read: ErrIncomplete, a
// *DamagedError, or what the system said. It is nil where the archive was decoded as
// far as it was asked for, or to its end.
func (c *Compressed) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.stop, io.EOF) {
		return nil
	}
	return c.stop
}

// Facts returns the identity of the archive and what is asked of its content. Where
// Head or Tail have no answer, Err says why.
func (c *Compressed) Facts() (Facts, error) {
	id, _, _, err := Stat(c.f)
	return Facts{
		Identity: id, Size: c.Len(),
		Head: func(n int) (uint64, bool) { return HashHead(c, n) },
		Tail: func(end uint64) (uint64, bool) { return HashBefore(c, end) },
	}, err
}

// ReadAt reads content at offset off of what was compressed. Where the archive ends
// in its middle, it returns what can be decoded and ErrIncomplete, and goes on when the
// archive has grown; where it is damaged, what can be decoded and a *DamagedError.
func (c *Compressed) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s at the offset %d", c.path, off)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for n < len(p) {
		at := uint64(off) + uint64(n)
		if at < uint64(len(c.head)) {
			n += copy(p[n:], c.head[at:])
			continue
		}
		first := c.pos - uint64(len(c.kept))
		switch {
		case at < first:
			c.restart()
		case at < c.pos:
			n += copy(p[n:], c.kept[at-first:])
		case c.stop != nil:
			if !c.changed() {
				return n, c.stop
			}
			c.restart()
		default:
			c.decode()
		}
	}
	return n, nil
}

// restart begins anew. What was kept is not relied on: the archive may have changed.
func (c *Compressed) restart() {
	c.kept, c.head, c.pos, c.stop = c.kept[:0], c.head[:0], 0, nil
	c.src = source{f: c.f}
	c.in.Reset(&c.src)
	c.mid = false
	if c.zs != nil {
		if err := c.zs.Reset(c.in); err != nil {
			c.end(err)
		}
	}
}

// changed says whether to decode once more after the end: the archive has another
// length or time. While it grows, that is done when it has become an eighth longer or has
// rested since the last look, so that all of it together costs no more than a few passes.
func (c *Compressed) changed() bool {
	if errors.Is(c.stop, os.ErrClosed) {
		return false
	}
	now := c.state()
	was := c.looked
	c.looked = now
	switch {
	case now == c.at:
		return false
	case now.size < c.at.size, now.size-c.at.size >= c.at.size/8 && now.size > c.at.size:
		return true
	}
	return now == was
}

func (c *Compressed) state() fileState {
	fi, err := c.f.Stat()
	if err != nil {
		return fileState{}
	}
	return fileState{fi.Size(), fi.ModTime().UnixNano()}
}

// decode decodes some more behind what is kept.
func (c *Compressed) decode() {
	c.room()
	free := c.kept[len(c.kept):cap(c.kept)]
	var n int
	var err error
	if c.zstd {
		n, err = c.readZstd(free)
	} else {
		n, err = c.readGzip(free)
	}
	if missing := HeadBytes - len(c.head); missing > 0 {
		c.head = append(c.head, free[:min(n, missing)]...)
	}
	c.kept = c.kept[:len(c.kept)+n]
	c.pos += uint64(n)
	if err != nil {
		c.end(err)
	}
}

// room makes room behind what is kept, and lets go what is too far back.
func (c *Compressed) room() {
	if cap(c.kept)-len(c.kept) >= decodeBytes {
		return
	}
	keep := c.kept[max(0, len(c.kept)-keepBytes):]
	if cap(c.kept) >= 2*keepBytes {
		c.kept = c.kept[:copy(c.kept, keep)]
		return
	}
	grown := make([]byte, len(keep), max(min(2*cap(c.kept), 2*keepBytes), len(keep)+decodeBytes))
	copy(grown, keep)
	c.kept = grown
}

// end notes why decoding ended.
func (c *Compressed) end(err error) {
	c.at = c.state()
	c.looked = c.at
	switch {
	case c.src.err != nil:
		c.stop = fmt.Errorf("read %s: %w", c.path, c.src.err)
		c.at = fileState{-1, 0} // the next read tries again
	case errors.Is(err, io.EOF):
		c.stop = io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		c.stop = fmt.Errorf("%s: %w", c.path, ErrIncomplete)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		c.stop = &DamagedError{c.path, c.pos, fmt.Errorf("it needs more than %d MB of memory, compress logs without --long and --ultra: %w", archiveMemory>>20, err)}
	default:
		c.stop = &DamagedError{c.path, c.pos, err}
	}
}

func (c *Compressed) readZstd(p []byte) (n int, err error) {
	if c.zs == nil {
		c.zs, err = zstd.NewReader(c.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(archiveMemory))
		if err != nil {
			return 0, err
		}
	}
	return c.zs.Read(p)
}

// readGzip reads the members one by one, as what stands behind the last one tells
// whether the archive is whole.
func (c *Compressed) readGzip(p []byte) (n int, err error) {
	if !c.mid {
		if err := c.nextMember(); err != nil {
			return 0, err
		}
	}
	n, err = c.gz.Read(p)
	if errors.Is(err, io.EOF) {
		c.mid = false
		err = nil
	}
	return n, err
}

// nextMember begins the next gzip member. NUL bytes behind the last one are padding.
func (c *Compressed) nextMember() error {
	b, err := c.in.ReadByte()
	for ; err == nil && b == 0; b, err = c.in.ReadByte() {
		if c.pos == 0 {
			return gzip.ErrHeader
		}
	}
	if err != nil {
		return err
	}
	if err := c.in.UnreadByte(); err != nil {
		return err
	}
	if c.gz == nil {
		c.gz = new(gzip.Reader)
	}
	err = c.gz.Reset(c.in)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // in the middle of a header
	}
	if err == nil {
		c.gz.Multistream(false)
		c.mid = true
	}
	return err
}
