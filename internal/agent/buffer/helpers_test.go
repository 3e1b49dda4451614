package buffer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/sls"
	"logtail/internal/wal"
)

// rig is a buffer over a folder, with a clock and the alarms that it raised.
type rig struct {
	testing.TB
	dir  string
	opts Options
	b    *Buffer

	mu     sync.Mutex
	now    time.Time
	alarms []string
}

const (
	testFile  = 8 << 10
	testFiles = 5
)

func newRig(tb testing.TB) *rig {
	tb.Helper()
	r := rigIn(tb, filepath.Join(tb.TempDir(), "buffer"))
	r.open()
	return r
}

func rigIn(tb testing.TB, dir string) *rig {
	r := &rig{TB: tb, dir: dir, now: time.Unix(1_700_000_000, 0)}
	r.opts = Options{
		Dir: dir, FileBytes: testFile, Files: testFiles, Faults: &wal.Faults{}, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.now
		},
		Alarm: func(kind, message string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.alarms = append(r.alarms, kind+": "+message)
		},
	}
	tb.Cleanup(func() {
		if r.b != nil {
			_ = r.b.Close()
		}
	})
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
	b, err := Open(r.opts)
	r.ok(err)
	r.b = b
}

func (r *rig) reopen() {
	r.Helper()
	r.ok(r.b.Close())
	r.open()
}

func (r *rig) wait(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// told says whether an alarm has all the words, and forgets the alarms.
func (r *rig) told(words ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := strings.Join(r.alarms, "\n")
	r.alarms = nil
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return text != ""
}

func (r *rig) quiet() {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.alarms) > 0 {
		r.Errorf("alarms: %q", r.alarms)
	}
	r.alarms = nil
}

func lane(n int) delivery.LaneID { return delivery.LaneID{0: 7, 15: byte(n)} }

// rec is the n-th record of a lane, of so many bytes; every part of it depends on both.
func rec(l, n, size int) Record {
	start := uint64(n) * 1000
	return Record{
		Dest: fmt.Sprintf("destination %d", l), RawSize: size * 3, Logs: n%7 + 1, Compress: sls.CompressType(n % 4),
		Data: bytes.Repeat([]byte{byte(l), byte(n), byte(n >> 8)}, (size+2)/3)[:size],
		Range: delivery.Range{
			Lane: lane(l), Session: uint64(n) << 40, Start: start, End: start + 1000, StartHash: start + 1, EndHash: start + 1001,
			Ends: binary.AppendUvarint(nil, start+5), State: fmt.Appendf(nil, "state %d", n), Flags: delivery.Flags(n % 8), Reason: delivery.Reason(n % 6),
		},
	}
}

func (r *rig) put(recs ...Record) []Item {
	r.Helper()
	items, err := r.b.Put(recs)
	r.ok(err)
	if len(items) != len(recs) {
		r.Fatalf("%d items for %d records", len(items), len(recs))
	}
	return items
}

// same fails the test unless the record of the item is want.
func (r *rig) same(it Item, want Record) {
	r.Helper()
	got, err := r.b.Load(it.Seq)
	r.ok(err)
	if want.Time == 0 {
		want.Time = got.Time
	}
	if len(want.Data) == 0 {
		want.Data = nil
	}
	if !reflect.DeepEqual(got, want) {
		r.Fatalf("record %d is %+v, want %+v", it.Seq, got, want)
	}
	if g := &want.Range; it.Lane != g.Lane || it.Start != g.Start || it.End != g.End || it.Logs != want.Logs || it.Size != len(want.Data) || it.Time != got.Time {
		r.Fatalf("item %+v of record %+v", it, want)
	}
}

// files are the files of the buffer that match.
func (r *rig) files(pattern string) []string {
	r.Helper()
	list, err := filepath.Glob(filepath.Join(r.dir, pattern))
	r.ok(err)
	return list
}

// change rewrites a file.
func (r *rig) change(path string, f func([]byte) []byte) {
	r.Helper()
	b, err := os.ReadFile(path)
	r.ok(err)
	r.ok(os.WriteFile(path, f(b), 0o600))
}

// usage is what the segments take of the disk.
func (r *rig) usage() (n int64) {
	r.Helper()
	for _, path := range r.files("*.wal") {
		stat, err := os.Stat(path)
		r.ok(err)
		n += stat.Size()
	}
	return n
}
