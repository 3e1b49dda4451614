// Package stdout is flusher_stdout: one JSON object a line on standard output.
package stdout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"logtail/internal/agent/flush/jsonline"
)

// ErrClosed is in the error of Write when nobody reads the output any more:
// to try again is of no use.
var ErrClosed = errors.New("the reader of the output has closed it")

// keepBuffer is the most memory that is kept between writes, in bytes.
const keepBuffer = 4 << 20

// Sink is the destination.
type Sink struct {
	w   io.Writer
	enc jsonline.Encoder
	buf []byte
	// What of the last write failed: the lines, and how much of them is out.
	// What is out cannot be taken back, so it is gone on from there.
	failed []byte
	out    int
}

// New returns a sink that writes to w, which is not closed.
func New(w io.Writer) *Sink { return &Sink{w: w} }

// Write writes the groups' logs as whole lines. After a write that failed half
// way, it goes on where that stopped when it is given the same groups again,
// fewer of them or more; given others, it finishes the cut line first.
func (s *Sink) Write(ctx context.Context, groups [][]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.buf = s.buf[:0]
	var err error
	for _, g := range groups {
		if s.buf, err = s.enc.Append(s.buf, g); err != nil {
			return err
		}
	}
	if n := len(s.buf); n <= s.out && bytes.HasPrefix(s.failed, s.buf) {
		// A part of the failed write that is out already.
		s.failed, s.out = s.failed[n:], s.out-n
		return nil
	}
	from, err := s.resume()
	if err == nil {
		err = s.write(s.buf, from)
	}
	if err != nil {
		return err
	}
	s.failed, s.out = nil, 0
	if cap(s.buf) > keepBuffer {
		s.buf = nil
	}
	return nil
}

// resume settles a failed write, and says from where on s.buf is to be written.
func (s *Sink) resume() (from int, err error) {
	failed, out := s.failed, s.out
	if out == 0 || bytes.HasPrefix(s.buf, failed) || bytes.HasPrefix(failed, s.buf) {
		return out, nil // s.buf goes further than out, as Write has looked
	}
	if failed[out-1] != '\n' {
		end := out + bytes.IndexByte(failed[out:], '\n') + 1
		if err := s.write(failed[:end], out); err != nil {
			// All of it is still owed, in case it is offered again.
			s.failed = failed
			return 0, err
		}
		s.failed, s.out = nil, 0
	}
	return 0, nil
}

// write writes b from a place on, and remembers what it could not write.
func (s *Sink) write(b []byte, from int) error {
	if from == len(b) {
		return nil
	}
	n, err := s.w.Write(b[from:])
	if err == nil && n < len(b)-from {
		err = io.ErrShortWrite
	}
	if err == nil {
		return nil
	}
	if from += n; from > 0 {
		s.failed, s.out = bytes.Clone(b), from
	}
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("flusher_stdout cannot write: %w (%w); start the program again with its output connected", ErrClosed, err)
	}
	return fmt.Errorf("flusher_stdout cannot write: %w; check where standard output goes", err)
}

// Close leaves standard output open.
func (s *Sink) Close() error { return nil }
