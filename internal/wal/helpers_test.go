package wal

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// rig is a log over a folder, with what it says.
type rig struct {
	testing.TB
	dir  string
	opts Options
	said said
	now  time.Time
	l    *Log
}

// said collects what is logged.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func newRig(tb testing.TB, segment int) *rig {
	tb.Helper()
	r := &rig{TB: tb, dir: tb.TempDir(), now: time.Unix(1e9, 0)}
	r.opts = Options{SegmentSize: segment, Logger: slog.New(slog.NewTextHandler(&r.said, nil)), Faults: &Faults{}, Now: func() time.Time { return r.now }}
	r.open()
	tb.Cleanup(func() { _ = r.l.Close() })
	return r
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) open() {
	r.Helper()
	l, err := Open(r.dir, r.opts)
	r.ok(err)
	r.l = l
}

func (r *rig) reopen() {
	r.Helper()
	r.ok(r.l.Close())
	r.open()
}

// rec is the record of a number, which tells its number.
func rec(seq uint64, size int) Record {
	return Record{Head: fmt.Appendf(nil, "record %d", seq), Data: bytes.Repeat([]byte{byte(seq)}, size)}
}

// put appends n records of size bytes in one go.
func (r *rig) put(n, size int) {
	r.Helper()
	_, next := r.l.Bounds()
	var list []Record
	for i := range n {
		list = append(list, rec(next+uint64(i), size))
	}
	first, err := r.l.Append(list)
	r.ok(err)
	if _, now := r.l.Bounds(); first != next || now != next+uint64(n) {
		r.Fatalf("%d records from %d on got the numbers from %d, and the next one is %d", n, next, first, now)
	}
}

// check reads all records and says how many there are.
func (r *rig) check(size int) int {
	r.Helper()
	first, next := r.l.Bounds()
	for seq := first; seq < next; seq++ {
		got, err := r.l.Get(seq)
		r.ok(err)
		if want := rec(seq, size); !bytes.Equal(got.Head, want.Head) || !bytes.Equal(got.Data, want.Data) {
			r.Fatalf("record %d: %q with %d bytes", seq, got.Head, len(got.Data))
		}
	}
	return int(next - first)
}

// segments are the segment files, in order.
func (r *rig) segments() []string {
	r.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "*.wal"))
	r.ok(err)
	return files
}

// change rewrites a file.
func (r *rig) change(path string, f func([]byte) []byte) {
	r.Helper()
	b, err := os.ReadFile(path)
	r.ok(err)
	r.ok(os.WriteFile(path, f(b), 0o600))
}
