// Package shardlogtest is what every engine of the shard log has to pass: the
// conformance tests of Run and the model test of Model.
package shardlogtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// Engine is what the tests need of an engine.
type Engine struct {
	// Open opens the log that is kept in a folder, with the given clock and
	// faults. Retention units should be small, so that a few dozen records
	// fill some.
	Open func(dir string, now func() time.Time, f *Faults) (shardlog.Log, error)
	// Maintain does at once what the engine does from time to time; may be nil.
	Maintain func(shardlog.Log)
	// Files says that the folder is all that the engine keeps, so that a copy
	// of it, made while the log is open, is what a crash leaves behind.
	Files bool
}

// Fault is a way in which a durable write fails.
type Fault int

// The faults, by how much of the write reaches the disk.
const (
	NoFault    Fault = iota
	FaultFull        // the disk is full: nothing of it
	FaultTorn        // the disk gets full on the way: a part of it
	FaultSync        // all of it, but it is not certain that it stays
	FaultCount       // how many there are
)

// Faults arms one fault for the next durable write. The zero value is ready.
type Faults struct {
	mu    sync.Mutex
	armed Fault
	fired int
}

// Arm makes the next durable write fail; NoFault takes that back.
func (f *Faults) Arm(k Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = k
}

// Next is called by the engine's test glue for each durable write; it takes
// the fault that is armed.
func (f *Faults) Next() Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.armed
	if k != NoFault {
		f.armed = NoFault
		f.fired++
	}
	return k
}

// Fired counts the faults that happened.
func (f *Faults) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Clock is a clock that stands until it is moved. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at some time.
func NewClock() *Clock { return &Clock{now: time.Unix(1_700_000_000, 0)} }

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Move moves the clock.
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Lane is the lane with a number.
func Lane(n int) delivery.LaneID {
	var id delivery.LaneID
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

// Hash is a tail hash for the content of a lane up to an offset.
func Hash(id delivery.LaneID, offset uint64) uint64 {
	if offset == 0 {
		return 0
	}
	return xxhash.Sum64(binary.LittleEndian.AppendUint64(id[:], offset)) | 1
}

// log is a log with the offset in the stream at which it ends.
type log struct {
	text string
	end  uint64
}

// piece makes the record of a range that starts at an offset. Each log is 10
// bytes of the stream, and the range ends with the last one.
func piece(id delivery.LaneID, session, start uint64, logs int) *shardlog.Record {
	var l []log
	for i := range logs {
		end := start + uint64(i+1)*10
		l = append(l, log{text: fmt.Sprintf("%d/%d", id[15], end), end: end})
	}
	end := start + uint64(logs)*10
	return record(&delivery.Range{
		Lane: id, Session: session, Start: start, End: end,
		StartHash: Hash(id, start), EndHash: Hash(id, end), State: fmt.Appendf(nil, "at %d", end),
	}, l, sls.CompressLZ4)
}

// plain makes a record of a client that knows nothing of ranges.
func plain(texts ...string) *shardlog.Record {
	var l []log
	for _, t := range texts {
		l = append(l, log{text: t})
	}
	return record(nil, l, sls.CompressNone)
}

// record makes a record of logs; g gets their ends.
func record(g *delivery.Range, logs []log, c sls.CompressType) *shardlog.Record {
	r := &shardlog.Record{Range: g, Logs: len(logs), Compress: c}
	if g != nil {
		at := g.Start
		for _, l := range logs {
			g.Ends = binary.AppendUvarint(g.Ends, l.end-at)
			at = l.end
		}
	}
	if len(logs) == 0 {
		if g != nil {
			g.Flags |= delivery.Empty
		}
		return r
	}
	var raw []byte
	for _, l := range logs {
		raw = sls.AppendLog(raw, 1_700_000_000, -1, []sls.Content{{Key: []byte("text"), Value: []byte(l.text)}})
	}
	raw = sls.AppendTopic(raw, "topic")
	raw = sls.AppendTag(raw, "host", "h1")
	r.RawSize = len(raw)
	var comp sls.Compressor
	data, err := comp.Append(nil, raw, c)
	if err != nil {
		panic(err) // the compressions are constants of this package
	}
	r.Data = data
	return r
}

// texts returns the logs of a stored record, with their ends if it has a range.
func texts(r *shardlog.Record) ([]log, error) {
	if len(r.Data) == 0 {
		if r.Logs != 0 {
			return nil, fmt.Errorf("record %d has no data and says %d logs", r.Seq, r.Logs)
		}
		return nil, nil
	}
	raw, err := sls.Decompress(nil, r.Data, r.Compress, r.RawSize, 64<<20)
	if err != nil {
		return nil, err
	}
	var g sls.LogGroup
	if err := g.Decode(raw, sls.DefaultLimits); err != nil {
		return nil, err
	}
	if len(g.Logs) != r.Logs || g.Topic != "topic" || len(g.Tags) != 1 || g.Tags[0].Value != "h1" {
		return nil, fmt.Errorf("record %d is not whole: %+v", r.Seq, g)
	}
	var ends []byte
	at := uint64(0)
	if r.Range != nil {
		ends, at = r.Range.Ends, r.Range.Start
	}
	var out []log
	for _, l := range g.Logs {
		e := log{text: string(l.Contents[0].Value)}
		if r.Range != nil {
			delta, n := binary.Uvarint(ends)
			if n <= 0 {
				return nil, errors.New("a log without an end")
			}
			ends = ends[n:]
			at += delta
			e.end = at
		}
		out = append(out, e)
	}
	if len(ends) > 0 {
		return nil, errors.New("an end without a log")
	}
	return out, nil
}

// joined are the texts of all kept records.
func joined(tb testing.TB, s shardlog.Shard) string {
	tb.Helper()
	var all []string
	for _, r := range readAll(tb, s) {
		logs, err := texts(&r)
		if err != nil {
			tb.Fatal(err)
		}
		for _, l := range logs {
			all = append(all, l.text)
		}
	}
	return strings.Join(all, " ")
}

// readAll reads what is kept, and checks that the sequence is dense.
func readAll(tb testing.TB, s shardlog.Shard) []shardlog.Record {
	tb.Helper()
	first, next := s.Bounds()
	var all []shardlog.Record
	for at := first; ; {
		recs, err := s.Read(at, 7, 1<<20)
		if err != nil {
			tb.Fatalf("reading from %d: %v", at, err)
		}
		if len(recs) == 0 {
			if at != next {
				tb.Fatalf("the log ended at %d, and should at %d", at, next)
			}
			return all
		}
		for _, r := range recs {
			if r.Seq != at {
				tb.Fatalf("record %d where %d was expected", r.Seq, at)
			}
			at++
		}
		all = append(all, recs...)
	}
}

// copyFolder copies what a crash would leave behind.
func copyFolder(tb testing.TB, from, to string) {
	tb.Helper()
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || e.Name() == "LOCK" {
			return nil // a temporary file
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		tb.Fatal(err)
	}
}
