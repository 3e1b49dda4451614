// Package file is flusher_file: one JSON object a line in a file that is
// rotated by size.
package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"logtail/internal/agent/flush/jsonline"
	"logtail/internal/pipeline"
)

// keepBuffer is the most memory that is kept between writes, in bytes.
const keepBuffer = 4 << 20

// Sink is the destination.
//
// The newest lines are in the named file, older ones in the same name with .1,
// .2 and so on behind it. The file is rotated between two writes, when the next
// one would make it larger than MaxFileSize; so it is only larger when a single
// write is. MaxFiles counts all of them, the newest included.
type Sink struct {
	path     string
	maxSize  int64
	maxFiles int

	f    output
	size int64 // of f, what was written and not taken back
	cut  bool  // f has more than size, which could not be taken back yet
	enc  jsonline.Encoder
	buf  []byte

	open func(path string) (output, error)
}

// output is what a Sink needs of an *os.File.
type output interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Stat() (os.FileInfo, error)
	Truncate(size int64) error
}

// New opens the file for appending, and makes it and its directory if need be.
// A line that was cut by an earlier crash is taken back: its group was never
// acknowledged and comes again.
func New(c *pipeline.FlusherFile) (*Sink, error) {
	s := &Sink{path: c.FilePath, maxSize: c.MaxFileSize, maxFiles: c.MaxFiles, open: openFile}
	if s.path == "" {
		return nil, errors.New("flusher_file: FilePath is empty; name the file to write")
	}
	if s.maxSize <= 0 {
		s.maxSize = pipeline.DefaultMaxFileSize
	}
	if s.maxFiles <= 0 {
		s.maxFiles = pipeline.DefaultMaxFiles
	}
	if err := s.reopen(); err != nil {
		return nil, err
	}
	return s, nil
}

func openFile(path string) (output, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o640)
}

// reopen opens the file at the path.
func (s *Sink) reopen() error {
	s.closeFile()
	if err := os.MkdirAll(filepath.Dir(s.path), 0o750); err != nil {
		return fmt.Errorf("flusher_file cannot make the directory of %q: %w; name another FilePath or give the agent's user the right", s.path, err)
	}
	f, err := s.open(s.path)
	if err != nil {
		return fmt.Errorf("flusher_file cannot open %q: %w; name another FilePath or give the agent's user the right", s.path, err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err == nil {
		s.f, s.size = f, fi.Size()
		err = s.mend()
	}
	if err != nil {
		s.f = nil
		f.Close()
		return fmt.Errorf("flusher_file cannot use %q: %w; name another FilePath", s.path, err)
	}
	return nil
}

// mend makes the file end with a whole line.
func (s *Sink) mend() error {
	start, err := s.lastLine()
	if err != nil || start == s.size {
		return err
	}
	if start >= 0 {
		head := make([]byte, min(int64(len(jsonline.Start)), s.size-start))
		if _, err := s.f.ReadAt(head, start); err != nil {
			return err
		}
		if bytes.HasPrefix([]byte(jsonline.Start), head) {
			// A line of ours that a crash cut.
			s.size = start
			return s.f.Truncate(start)
		}
	}
	// Somebody else's text: it gets its line end.
	n, err := s.f.Write([]byte{'\n'})
	s.size += int64(n)
	return err
}

// maxCut is how far back the beginning of a cut line is looked for, in bytes:
// more than the largest line that a group can make.
const maxCut = 64 << 20

// lastLine returns where the text behind the file's last line end starts, or
// -1 if that is too far back to be a line of ours.
func (s *Sink) lastLine() (int64, error) {
	block := make([]byte, 64<<10)
	at := s.size
	for at > 0 && s.size-at < maxCut {
		n := min(at, int64(len(block)))
		at -= n
		if _, err := s.f.ReadAt(block[:n], at); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			return at + int64(i) + 1, nil
		}
	}
	if at > 0 {
		return -1, nil
	}
	return 0, nil
}

// Write appends the groups' logs as lines, all or none: when the disk is full
// half way, the file is cut back to where it was. If even that fails, it is
// done before the next write.
func (s *Sink) Write(ctx context.Context, groups [][]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.buf = s.buf[:0]
	for _, g := range groups {
		var err error
		if s.buf, err = s.enc.Append(s.buf, g); err != nil {
			return err
		}
	}
	if len(s.buf) == 0 {
		return nil
	}
	if err := s.prepare(); err != nil {
		return err
	}
	if s.size > 0 && s.size+int64(len(s.buf)) > s.maxSize {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	n, err := s.f.Write(s.buf)
	if err != nil || n < len(s.buf) {
		if err == nil {
			err = io.ErrShortWrite
		}
		s.cut = n > 0
		return errors.Join(fmt.Errorf("flusher_file cannot write %q: %w; make room or check the disk", s.path, err), s.takeBack())
	}
	s.size += int64(n)
	if cap(s.buf) > keepBuffer {
		s.buf = nil
	}
	return nil
}

// prepare makes sure that the open file is the one at the path and ends where
// it should.
func (s *Sink) prepare() error {
	if s.f == nil {
		return s.reopen()
	}
	if err := s.takeBack(); err != nil {
		return err
	}
	own, err := s.f.Stat()
	if err != nil {
		return s.reopen()
	}
	there, err := os.Stat(s.path)
	switch {
	case err == nil && os.SameFile(own, there):
		s.size = own.Size() // somebody may have emptied it
		return nil
	case err == nil || errors.Is(err, fs.ErrNotExist):
		// Renamed, removed or replaced by somebody else.
		return s.reopen()
	}
	return fmt.Errorf("flusher_file cannot look at %q: %w; check the disk and the rights of its directory", s.path, err)
}

// takeBack cuts off what a failed write left behind.
func (s *Sink) takeBack() error {
	if !s.cut {
		return nil
	}
	if err := s.f.Truncate(s.size); err != nil {
		return fmt.Errorf("flusher_file cannot take a part of a write back from %q: %w; it is tried again", s.path, err)
	}
	s.cut = false
	return nil
}

// rotate moves the file to .1, .1 to .2 and so on, and begins a new one. The
// oldest is replaced. A crash at any point loses no file but the oldest.
func (s *Sink) rotate() error {
	s.closeFile() // some systems do not rename open files
	name := func(i int) string {
		if i == 0 {
			return s.path
		}
		return s.path + "." + strconv.Itoa(i)
	}
	// Only up to the first gap: files behind it need not move.
	last := 0
	for last < s.maxFiles-1 {
		if _, err := os.Lstat(name(last + 1)); err != nil {
			break
		}
		last++
	}
	if last < s.maxFiles-1 {
		last++
	}
	var err error
	if last == 0 {
		err = os.Remove(s.path)
	}
	for i := last; i > 0 && err == nil; i-- {
		err = os.Rename(name(i-1), name(i))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("flusher_file cannot rotate %q: %w; give the agent's user the right to write in its directory", s.path, err)
	}
	return s.reopen()
}

func (s *Sink) closeFile() {
	if s.f != nil {
		s.f.Close()
		s.f, s.size, s.cut = nil, 0, false
	}
}

// Close closes the file.
func (s *Sink) Close() error {
	if s.f == nil {
		return nil
	}
	err := errors.Join(s.takeBack(), s.f.Close())
	s.f = nil
	return err
}
