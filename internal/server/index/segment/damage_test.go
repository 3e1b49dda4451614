package segment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"logtail/internal/server/index"
	"logtail/internal/server/index/indextest"
	"logtail/internal/server/query"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

var (
	testCtx = context.Background()
	testKey = shardlog.Key{Store: "s", Shard: 0}
)

// testRecords makes records of three rows each, with the sequences from on.
func testRecords(from, n int) []shardlog.Record {
	var recs []shardlog.Record
	for k := from; k < from+n; k++ {
		lg := &sls.LogGroup{Topic: "t", Source: "h", Tags: []sls.Tag{{Key: "path", Value: "/x"}}}
		for i := range 3 {
			lg.Logs = append(lg.Logs, sls.Log{Sec: uint32(1000 + k), Nsec: int32(i), Contents: []sls.Content{
				{Key: []byte("n"), Value: fmt.Append(nil, 3*k+i)},
				{Key: []byte("text"), Value: fmt.Appendf(nil, "row %d of record %d is unlike all others: %x", i, k, uint64(3*k+i)*0x9e3779b97f4a7c15)},
				{Key: []byte("level"), Value: []byte([]string{"info", "warn"}[k%2])},
			}})
		}
		r := indextest.Encode(lg, sls.CompressZstd)
		r.Seq, r.Received = uint64(k), int64(k)
		recs = append(recs, r)
	}
	return recs
}

func openTest(t *testing.T, dir string, opts Options) *Index {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet()
	}
	x, err := OpenIndex(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil && opts.create == nil {
			t.Error(err)
		}
	})
	return x
}

func mustClose(t *testing.T, x *Index) {
	t.Helper()
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}

func mustApply(t *testing.T, x *Index, recs []shardlog.Record) {
	t.Helper()
	if err := x.Apply(testCtx, testKey, recs); err != nil {
		t.Fatal(err)
	}
}

func mustFlush(t *testing.T, x *Index) {
	t.Helper()
	if err := x.Flush(); err != nil {
		t.Fatal(err)
	}
}

func find(t *testing.T, x *Index, where query.Expr) index.SearchResult {
	t.Helper()
	res, err := x.Search(testCtx, testKey.Store, index.SearchRequest{To: 1 << 32, Limit: 1 << 20, Where: where})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// follow applies from the position on, as the server does at its start.
func follow(t *testing.T, x *Index, log []shardlog.Record) {
	t.Helper()
	pos, err := x.Position(testKey)
	if err != nil {
		t.Fatal(err)
	}
	mustApply(t, x, slices.Clone(log[pos-1:]))
}

// TestEveryFlippedByteIsDetected flips bytes of a segment's files, one at a
// time: a search either has the right answer, because it did not read the
// byte, or it is not complete and has put the segment aside. It never has a
// wrong row, and the next start rebuilds the segment.
func TestEveryFlippedByteIsDetected(t *testing.T) {
	origin := t.TempDir()
	x := openTest(t, origin, Options{noSync: true})
	log := testRecords(1, 2000)
	mustApply(t, x, slices.Clone(log))
	mustFlush(t, x)
	queries := []query.Expr{
		query.Text{Key: "level", Value: "warn"},
		query.Compare{Key: "n", Op: query.Greater, Value: query.IntNumber(5990)},
		query.Text{Value: "absent"},
		nil,
	}
	var want [][]index.Row
	for _, q := range queries {
		want = append(want, find(t, x, q).Rows)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, suffix := range []string{dataSuffix, sidecarSuffix} {
		name := filepath.Join("s", "0", segmentName(1)+suffix)
		content, err := os.ReadFile(filepath.Join(origin, name))
		if err != nil {
			t.Fatal(err)
		}
		if suffix == dataSuffix && len(content) < 2*blockSize {
			t.Fatalf("the data file has %d bytes; the test wants several blocks", len(content))
		}
		for round := range 20 {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
				t.Fatal(err)
			}
			damaged := slices.Clone(content)
			at := r.IntN(len(damaged))
			if round < 4 { // the footer
				at = len(damaged) - 1 - r.IntN(400)
			}
			damaged[at] ^= byte(1 + r.IntN(255))
			if err := os.WriteFile(filepath.Join(dir, name), damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			x := openTest(t, dir, Options{noSync: true})
			for i, q := range queries {
				res := find(t, x, q)
				right := res.Complete && len(res.Rows) == len(want[i]) && (len(want[i]) == 0 || reflect.DeepEqual(res.Rows, want[i]))
				if last := i == len(queries)-1; last && res.Complete || !right && (res.Complete || len(res.Rows) != 0) {
					t.Fatalf("byte %d of %s flipped, query %v: complete %v, %d rows", at, suffix, q, res.Complete, len(res.Rows))
				}
			}
			if _, err := os.Stat(filepath.Join(dir, name+badSuffix)); err != nil {
				t.Fatalf("the damaged file was not put aside: %v", err)
			}
			if pos, _ := x.Position(testKey); pos != 1 {
				t.Fatalf("Position = %d; the lost rows have to be applied again", pos)
			}
			mustClose(t, x)
			x = openTest(t, dir, Options{noSync: true})
			follow(t, x, log)
			mustFlush(t, x)
			if res := find(t, x, nil); !res.Complete || !reflect.DeepEqual(res.Rows, want[len(want)-1]) {
				t.Fatalf("after the rebuild: complete %v, %d rows", res.Complete, len(res.Rows))
			}
			mustClose(t, x)
		}
	}
}

// TestOneDamagedSegmentIsRebuilt damages the middle one of three segments; the
// other two are neither lost nor applied twice.
func TestOneDamagedSegmentIsRebuilt(t *testing.T) {
	dir := t.TempDir()
	x := openTest(t, dir, Options{})
	log := testRecords(1, 30)
	for i := 0; i < 30; i += 10 {
		mustApply(t, x, slices.Clone(log[i:i+10]))
		mustFlush(t, x)
	}
	want := find(t, x, nil).Rows
	mustClose(t, x)
	name := filepath.Join(dir, "s", "0", segmentName(2)+dataSuffix)
	if err := os.Truncate(name, 100); err != nil {
		t.Fatal(err)
	}
	x = openTest(t, dir, Options{})
	if res := find(t, x, nil); res.Complete || len(res.Rows) != 60 {
		t.Fatalf("complete %v, %d rows; want the 60 of the other segments", res.Complete, len(res.Rows))
	}
	// A search in other times does not need the segment.
	res, err := x.Search(testCtx, "s", index.SearchRequest{From: 1000, To: 1005, Limit: 100})
	if err != nil || !res.Complete || len(res.Rows) != 12 {
		t.Fatalf("complete %v, %d rows, %v", res.Complete, len(res.Rows), err)
	}
	if pos, _ := x.Position(testKey); pos != 11 {
		t.Fatalf("Position = %d, want 11", pos)
	}
	mustClose(t, x)

	// New records come while the lost ones are applied again.
	log = append(log, testRecords(31, 5)...)
	x = openTest(t, dir, Options{})
	follow(t, x, log)
	for range 2 {
		if res := find(t, x, nil); len(res.Rows) != 105 || !reflect.DeepEqual(res.Rows[:90], want) {
			t.Fatalf("%d rows; want 105", len(res.Rows))
		}
		mustFlush(t, x)
	}
	if res := find(t, x, nil); !res.Complete {
		t.Error("not complete after the rebuild")
	}
	if pos, _ := x.Position(testKey); pos != 36 {
		t.Errorf("Position = %d, want 36", pos)
	}
	mustClose(t, x)
	x = openTest(t, dir, Options{})
	if res := find(t, x, nil); !res.Complete || len(res.Rows) != 105 {
		t.Errorf("after another start: complete %v, %d rows", res.Complete, len(res.Rows))
	}
}

// TestLostRowsThatTheShardLogDroppedAreGivenUp: what cannot be rebuilt does not
// hold up the position for ever.
func TestLostRowsThatTheShardLogDroppedAreGivenUp(t *testing.T) {
	dir := t.TempDir()
	var logged logBuffer
	x := openTest(t, dir, Options{})
	log := testRecords(1, 30)
	for i := 0; i < 20; i += 10 {
		mustApply(t, x, slices.Clone(log[i:i+10]))
		mustFlush(t, x)
	}
	mustClose(t, x)
	if err := os.Remove(filepath.Join(dir, "s", "0", segmentName(1)+sidecarSuffix)); err != nil {
		t.Fatal(err)
	}
	x = openTest(t, dir, Options{Logger: logged.logger()})
	if pos, _ := x.Position(testKey); pos != 1 {
		t.Fatalf("Position = %d, want 1", pos)
	}
	mustApply(t, x, slices.Clone(log[15:])) // the log begins at 16
	mustFlush(t, x)
	if res := find(t, x, nil); !res.Complete || len(res.Rows) != 60 {
		t.Errorf("complete %v, %d rows; want 60", res.Complete, len(res.Rows))
	}
	if pos, _ := x.Position(testKey); pos != 31 {
		t.Errorf("Position = %d, want 31", pos)
	}
	if !strings.Contains(logged.String(), "does not have all records") {
		t.Errorf("nothing was logged about the loss: %s", logged.String())
	}
}

func TestDamagedManifestIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	x := openTest(t, dir, Options{})
	log := testRecords(1, 30)
	for i := 0; i < 30; i += 10 {
		mustApply(t, x, slices.Clone(log[i:i+10]))
		mustFlush(t, x)
	}
	mustClose(t, x)
	name := filepath.Join(dir, "s", "0", manifestName)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	x = openTest(t, dir, Options{})
	if res := find(t, x, nil); !res.Complete || len(res.Rows) != 90 {
		t.Errorf("complete %v, %d rows; want 90", res.Complete, len(res.Rows))
	}
	if pos, _ := x.Position(testKey); pos != 31 {
		t.Errorf("Position = %d, want 31", pos)
	}
	if _, err := os.Stat(name + badSuffix); err != nil {
		t.Error(err)
	}
}

func TestStartRemovesWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	x := openTest(t, dir, Options{})
	mustApply(t, x, testRecords(1, 5))
	mustFlush(t, x)
	mustClose(t, x)
	shard := filepath.Join(dir, "s", "0")
	left := []string{segmentName(9) + dataSuffix, segmentName(9) + sidecarSuffix, segmentName(7) + dataSuffix + tmpSuffix, manifestName + tmpSuffix}
	for _, name := range left {
		if err := os.WriteFile(filepath.Join(shard, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x = openTest(t, dir, Options{})
	for _, name := range left {
		if _, err := os.Stat(filepath.Join(shard, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if res := find(t, x, nil); len(res.Rows) != 15 {
		t.Errorf("%d rows, want 15", len(res.Rows))
	}
}

// TestCrashAtEveryFile stops sealing at every file that it makes, and starts
// again from what is on disk.
func TestCrashAtEveryFile(t *testing.T) {
	log := testRecords(1, 20)
	for fail := int64(1); ; fail++ {
		dir := t.TempDir()
		var made atomic.Int64
		x := openTest(t, dir, Options{RetryDelay: time.Hour, create: func(name string) (*os.File, error) {
			if made.Add(1) >= fail {
				return nil, errors.New("the machine stopped")
			}
			return os.Create(name)
		}})
		failed := false
		for i := 0; i < 20; i += 5 {
			mustApply(t, x, slices.Clone(log[i:i+5]))
			failed = x.Flush() != nil || failed
			if res := find(t, x, nil); len(res.Rows) != 3*(i+5) {
				t.Fatalf("file %d: %d rows, want %d", fail, len(res.Rows), 3*(i+5))
			}
		}
		after := t.TempDir()
		if err := os.CopyFS(after, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		x = openTest(t, after, Options{})
		follow(t, x, log)
		if res := find(t, x, nil); !res.Complete || len(res.Rows) != 60 {
			t.Fatalf("crash at file %d: complete %v, %d rows, want 60", fail, res.Complete, len(res.Rows))
		}
		if !failed {
			return
		}
	}
}

// TestFullDiskKeepsRowsAndHeals: rows stay in memory and are found, Apply waits
// when memory is used up, and all goes on when there is room.
func TestFullDiskKeepsRowsAndHeals(t *testing.T) {
	var full atomic.Bool
	full.Store(true)
	var logged logBuffer
	x := openTest(t, t.TempDir(), Options{
		SealRows: 30, MemoryBytes: 20_000, RetryDelay: time.Millisecond, Logger: logged.logger(),
		create: func(name string) (*os.File, error) {
			if full.Load() {
				return nil, &os.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
			}
			return os.Create(name)
		},
	})
	log := testRecords(1, 300)
	applied := 0
	for applied < len(log) {
		// With an ended context Apply reports that it would have to wait.
		ended, cancel := context.WithCancel(testCtx)
		cancel()
		if err := x.Apply(ended, testKey, slices.Clone(log[applied:applied+1])); err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
		applied++
	}
	if applied == len(log) || applied < 10 {
		t.Fatalf("%d records were taken; memory is not bounded", applied)
	}
	if err := x.Flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Flush = %v", err)
	}
	if res := find(t, x, nil); !res.Complete || len(res.Rows) != 3*applied {
		t.Fatalf("complete %v, %d rows, want %d", res.Complete, len(res.Rows), 3*applied)
	}
	if pos, _ := x.Position(testKey); pos != 1 {
		t.Fatalf("Position = %d, but nothing is durable", pos)
	}
	x.sealDue()
	full.Store(false)
	mustApply(t, x, slices.Clone(log[applied:])) // waits for the sealer, which tries again
	mustFlush(t, x)
	if res := find(t, x, nil); !res.Complete || len(res.Rows) != 900 {
		t.Fatalf("complete %v, %d rows, want 900", res.Complete, len(res.Rows))
	}
	if pos, _ := x.Position(testKey); pos != 301 {
		t.Errorf("Position = %d, want 301", pos)
	}
	if !strings.Contains(logged.String(), "could not be moved to disk") {
		t.Error("nothing was logged about the full disk")
	}
}

func TestTablesAreSealedByAge(t *testing.T) {
	var now atomic.Int64
	dir := t.TempDir()
	x := openTest(t, dir, Options{SealAge: time.Minute, Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	mustApply(t, x, testRecords(1, 3))
	x.sealDue()
	if pos, _ := x.Position(testKey); pos != 1 {
		t.Fatalf("Position = %d before the table is old", pos)
	}
	now.Store(60)
	x.sealDue()
	if pos, _ := x.Position(testKey); pos != 4 {
		t.Fatalf("Position = %d, want 4", pos)
	}
	// Ranges without logs move the position, too.
	mustApply(t, x, []shardlog.Record{{Seq: 4}, {Seq: 5}})
	now.Store(120)
	x.sealDue()
	if pos, _ := x.Position(testKey); pos != 6 {
		t.Fatalf("Position = %d, want 6", pos)
	}
}

func TestMemoryPressureSealsTheLargest(t *testing.T) {
	x := openTest(t, t.TempDir(), Options{MemoryBytes: 1 << 30})
	small, large := shardlog.Key{Store: "s", Shard: 1}, shardlog.Key{Store: "s", Shard: 2}
	if err := errors.Join(x.Apply(testCtx, small, testRecords(1, 2)), x.Apply(testCtx, large, testRecords(1, 200))); err != nil {
		t.Fatal(err)
	}
	x.memory.mu.Lock()
	x.memory.soft = x.memory.used - 1
	x.memory.mu.Unlock()
	x.sealDue()
	a, _ := x.Position(small)
	b, _ := x.Position(large)
	if a != 1 || b != 201 {
		t.Errorf("positions %d and %d, want 1 and 201", a, b)
	}
}

func TestDropGoesOnAfterACrash(t *testing.T) {
	dir := t.TempDir()
	x := openTest(t, dir, Options{})
	mustApply(t, x, testRecords(1, 5))
	mustFlush(t, x)
	mustClose(t, x)
	if err := os.WriteFile(filepath.Join(dir, "s", dropMarker), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	x = openTest(t, dir, Options{})
	if res := find(t, x, nil); len(res.Rows) != 0 {
		t.Errorf("%d rows of a dropped store", len(res.Rows))
	}
	if _, err := os.Stat(filepath.Join(dir, "s")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestStoreNamesCannotLeaveTheFolder(t *testing.T) {
	x := openTest(t, t.TempDir(), Options{})
	for _, name := range []string{"", "..", "a/b", `a\b`, "a.b", strings.Repeat("x", 200)} {
		if err := x.Apply(testCtx, shardlog.Key{Store: name}, testRecords(1, 1)); err == nil {
			t.Errorf("Apply to the store %q gives no error", name)
		}
		if err := x.Drop(name); err == nil {
			t.Errorf("Drop of the store %q gives no error", name)
		}
	}
}
