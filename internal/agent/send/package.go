package send

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// Package is one sealed log group, or a range without logs, on its way.
type Package struct {
	Range    delivery.Range
	Buf      *Buffer // the log group as it is sent; nil for a range without logs
	Compress sls.CompressType
	RawSize  int // bytes of the log group before compression
	Logs     int

	tried
	at   time.Time // it was Put
	dead bool      // its lane has forgotten it
	seq  uint64    // of a request's package: its record in the disk buffer, else 0
}

// Data returns the log group as it is sent.
func (p *Package) Data() []byte {
	if p.Buf == nil {
		return nil
	}
	return p.Buf.B
}

// bytes is what the package counts for in the budget: the memory that it holds,
// which for a small log group is more than its length. For a buffer that is
// shared, each lane counts all of it.
func (p *Package) bytes() int64 {
	n := int64(cap(p.Range.Ends)) + packageBytes
	if p.Buf != nil {
		n += int64(cap(p.Buf.B))
	}
	return n
}

// packageBytes is about what a Package takes besides its log group, in bytes.
const packageBytes = 512

// Buffer is a pooled byte slice that several lanes can share.
type Buffer struct {
	B    []byte
	refs atomic.Int32
}

// The size classes of pooled buffers are powers of two from 512 B to 1 MiB.
const (
	minClass = 9
	maxClass = 20
)

var pools [maxClass - minClass + 1]sync.Pool

func class(n int) int {
	c := minClass
	for n > 1<<c {
		c++
	}
	return c
}

// NewBuffer copies b into a buffer with one reference.
func NewBuffer(b []byte) *Buffer {
	var x *Buffer
	if c := class(len(b)); c <= maxClass {
		if v, ok := pools[c-minClass].Get().(*Buffer); ok {
			x = v
		} else {
			x = &Buffer{B: make([]byte, 0, 1<<c)}
		}
	} else {
		x = &Buffer{B: make([]byte, 0, len(b))}
	}
	x.B = append(x.B[:0], b...)
	x.refs.Store(1)
	return x
}

// Share adds a reference.
func (x *Buffer) Share() *Buffer {
	x.refs.Add(1)
	return x
}

// Release drops a reference; with the last one the memory is used again.
func (x *Buffer) Release() {
	if x == nil || x.refs.Add(-1) > 0 {
		return
	}
	if c := class(cap(x.B)); c <= maxClass && cap(x.B) == 1<<c {
		pools[c-minClass].Put(x)
	}
}

// Outcome is what became of one package of a request.
type Outcome struct {
	Action delivery.Action
	Err    error // the package alone was refused
}

// Resumed is the reply of a destination to a resume.
type Resumed struct {
	Ranges      bool // the destination compares and appends; else Progress means nothing
	Limits      bool // the documented limits of SLS hold all the same
	Session     uint64
	Incarnation string
	Progress    []*delivery.Progress // as asked; nil = not known
}

// Transport carries packages to one destination.
type Transport interface {
	// Send delivers the packages in one request and returns an outcome each,
	// or an error for all of them.
	Send(ctx context.Context, pkgs []*Package) ([]Outcome, error)
	// Resume asks where the lanes stand and makes the caller their writer.
	Resume(ctx context.Context, lanes []delivery.LaneID) (*Resumed, error)
	Close() error
}

// wide is a Transport whose Send makes up to Width requests at a time. SendWide
// makes at most as many as it is told.
type wide interface {
	Width() int
	SendWide(ctx context.Context, pkgs []*Package, width int) ([]Outcome, error)
}
