package raftwal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/server/shardlog/shardlogtest"
	"logtail/internal/sls"
	"logtail/internal/wal"
)

// rig is an engine over a folder, with a clock and a log that tests can read.
type rig struct {
	testing.TB
	dir   string
	clock *shardlogtest.Clock
	opts  Options
	said  *said
	e     *engine
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

func (s *said) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.b.String(), text)
}

// The form of raft-wal's files.
const (
	segmentsName = "segments.json"
	fileHeader   = 32
	frameHeader  = 8
)

var key = shardlog.Key{Store: "store"}

func newRig(tb testing.TB, dir string, segment int) *rig {
	r := &rig{TB: tb, dir: dir, clock: shardlogtest.NewClock(), said: &said{}}
	r.opts = Options{SegmentSize: segment, Now: r.clock.Now, Logger: slog.New(slog.NewTextHandler(r.said, nil)), faults: &wal.Faults{}, still: true}
	r.open()
	tb.Cleanup(func() { _ = r.e.Close() })
	return r
}

func (r *rig) open() {
	r.Helper()
	e, err := open(r.dir, r.opts)
	r.ok(err)
	r.e = e
}

func (r *rig) reopen() {
	r.Helper()
	r.ok(r.e.Close())
	r.open()
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) shard() *shard {
	r.Helper()
	s, err := r.e.Shard(key)
	r.ok(err)
	return s.(*shard)
}

// path is a file of the shard.
func (r *rig) path(name string) string { return filepath.Join(r.dir, key.Store, "0", name) }

// segments are the segment files of the shard, in order.
func (r *rig) segments() []string {
	r.Helper()
	files, err := filepath.Glob(r.path("*.wal"))
	r.ok(err)
	return files
}

func (r *rig) put(recs ...*shardlog.Record) []shardlog.Result {
	r.Helper()
	res, err := r.shard().Append(r.Context(), recs)
	r.ok(err)
	return res
}

// fault sets what happens instead of writes, syncs and makings of files; nil
// is nothing special.
func (r *rig) fault(write func(*os.File, []byte, int64) (int, error), sync func(*os.File) error, create func(string) error) {
	h := wal.Hooks{Write: write, Sync: sync}
	if create != nil {
		h.Step = func(op wal.Op, path string) error {
			if op == wal.OpCreate {
				return create(filepath.Base(path))
			}
			return nil
		}
	}
	r.opts.faults.Set(h)
}

// lines is the record of n logs of 10 bytes each, in lane 1, from an offset.
func lines(start uint64, n int) *shardlog.Record {
	var raw []byte
	g := &delivery.Range{Lane: delivery.LaneID{15: 1}, Session: 1, Start: start, End: start + uint64(n)*10}
	for i := range n {
		raw = sls.AppendLog(raw, 1, -1, []sls.Content{{Key: []byte("to"), Value: fmt.Append(nil, start+uint64(i+1)*10)}})
		g.Ends = binary.AppendUvarint(g.Ends, 10)
	}
	return &shardlog.Record{Data: raw, RawSize: len(raw), Logs: n, Range: g}
}

// bulk is a record of so many bytes without a range.
func bulk(n int) *shardlog.Record {
	return &shardlog.Record{Data: bytes.Repeat([]byte("0123456789abcdef"), n/16), RawSize: n, Logs: 1}
}

// ends are the ends of lane 1 as they stand in the log; the test fails if a
// range does not begin where the one before it ended.
func (r *rig) ends() (last uint64, records int) {
	r.Helper()
	s := r.shard()
	seq, next := s.Bounds()
	for seq < next {
		recs, err := s.Read(seq, 100, 1<<20)
		r.ok(err)
		for _, rec := range recs {
			if g := rec.Range; g != nil {
				if g.Start != last {
					r.Fatalf("record %d begins at %d, the one before ended at %d", rec.Seq, g.Start, last)
				}
				last = g.End
			}
			seq++
			records++
		}
	}
	return last, records
}

// maintain is a round of the janitor while nothing else happens.
func (r *rig) maintain() {
	r.e.mu.Lock()
	for _, s := range r.e.shards {
		s.loops.Wait()
	}
	r.e.mu.Unlock()
	r.e.maintain()
}

func (r *rig) progress() uint64 {
	r.Helper()
	p, err := r.shard().Resume(0, []delivery.LaneID{{15: 1}})
	r.ok(err)
	if p[0] == nil {
		return 0
	}
	return p[0].End
}

// copyTo copies the folder as it is, which is what a crash leaves.
func copyTo(tb testing.TB, from, to string) {
	tb.Helper()
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.Name() == reserveName { // it is made again
			return nil
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// usage is how many bytes of the disk a folder takes, as du says.
func usage(tb testing.TB, dir string) (bytes int64) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		bytes += blocks(info)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return bytes
}
