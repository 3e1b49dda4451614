// Package aggregate is the fifth step of the agent: it gathers the records of
// a stream into one open log group, as encoded bytes, until the group is full,
// old enough, or its destination idle.
package aggregate

import (
	"encoding/binary"
	"time"

	"logtail/internal/agent/event"
	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// Limits say when a group is full; whichever comes first counts.
type Limits struct {
	Logs  int           // logs; the documents say 4,096
	Bytes int           // encoded bytes; 512 KiB
	Age   time.Duration // since the first byte of the range was read; 3 s
	Nanos bool          // write the nanoseconds of log times
}

// AtMost lowers the limits to those of one more flusher; 0 leaves one as it is.
func (l *Limits) AtMost(logs, bytes int, age time.Duration) {
	if logs > 0 && (l.Logs == 0 || logs < l.Logs) {
		l.Logs = logs
	}
	if bytes > 0 && (l.Bytes == 0 || bytes < l.Bytes) {
		l.Bytes = bytes
	}
	if age > 0 && (l.Age == 0 || age < l.Age) {
		l.Age = age
	}
}

// Group is the open group of one stream. The zero value is closed.
type Group struct {
	Start  delivery.Point
	Opened time.Time
	Logs   int

	open bool
	buf  []byte // encoded logs
	ends []byte // delivery.Range.Ends
	last uint64 // end of the last log
}

// IsOpen says whether the group covers anything yet.
func (g *Group) IsOpen() bool { return g.open }

// Open starts a group at a place in the stream.
func (g *Group) Open(start delivery.Point, now time.Time) {
	g.Start, g.Opened, g.Logs, g.open, g.last = start, now, 0, true, start.End
	g.buf, g.ends = g.buf[:0], g.ends[:0]
}

// Add appends a record that was kept. The group must be open.
func (g *Group) Add(r *event.Record, nanos bool) {
	nsec := int32(-1)
	if nanos {
		nsec = r.Nsec
	}
	g.buf = sls.AppendLog(g.buf, r.Sec, nsec, r.Fields)
	g.ends = binary.AppendUvarint(g.ends, r.End-g.last)
	g.last = r.End
	g.Logs++
}

// Full says whether the group has reached its count or size.
func (g *Group) Full(l *Limits) bool { return g.Logs >= l.Logs || len(g.buf) >= l.Bytes }

// Old says whether the group has reached its age.
func (g *Group) Old(l *Limits, now time.Time) bool { return g.open && now.Sub(g.Opened) >= l.Age }

// Size is how much memory the group holds, in bytes.
func (g *Group) Size() int { return cap(g.buf) + cap(g.ends) }

// Seal closes the group at end, appends trailer (the encoded topic, source and
// tags of the stream), and returns the encoded log group, which is empty if
// the range holds no logs, and the end offsets of its logs. Both are valid until
// the group is opened again.
func (g *Group) Seal(trailer []byte) (encoded, ends []byte) {
	g.open = false
	if g.Logs == 0 {
		return nil, nil
	}
	g.buf = append(g.buf, trailer...)
	return g.buf, g.ends
}

// Release forgets what the group holds and gives its memory to the pool, or to
// the garbage collector if p is nil: a stream without an open group holds none.
func (g *Group) Release(p *Pool) {
	if p != nil {
		p.put(g.buf, g.ends)
	}
	g.buf, g.ends, g.open = nil, nil, false
}

// Borrow gives a closed group memory from the pool.
func (g *Group) Borrow(p *Pool) {
	if g.buf == nil {
		g.buf, g.ends = p.get()
	}
}

// Pool keeps a few group buffers of full size for the workers; a group that
// stays open while its destination is busy keeps what it has grown to.
type Pool struct {
	free []pair
	max  int
}

type pair struct{ buf, ends []byte }

// NewPool returns a pool that keeps at most n buffers. A pool belongs to one worker.
func NewPool(n int) *Pool { return &Pool{max: n} }

func (p *Pool) get() (buf, ends []byte) {
	if n := len(p.free); n > 0 {
		x := p.free[n-1]
		p.free[n-1] = pair{}
		p.free = p.free[:n-1]
		return x.buf[:0], x.ends[:0]
	}
	return make([]byte, 0, 4<<10), make([]byte, 0, 512)
}

func (p *Pool) put(buf, ends []byte) {
	// A rare group of many megabytes must not stay for good.
	if buf != nil && len(p.free) < p.max && cap(buf) <= 2<<20 {
		p.free = append(p.free, pair{buf, ends})
	}
}
