package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"logtail/internal/server/catalog"
	"logtail/internal/server/servertest"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// waitFor waits for a condition of background work.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// logLines gathers what is logged.
type logLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), s)
}

func (l *logLines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

type indexerTest struct {
	*testing.T
	catalog *servertest.Catalog
	log     *servertest.Log
	index   *servertest.Index
	lines   *logLines
	x       *indexers
	now     time.Time
}

func newIndexerTest(t *testing.T) *indexerTest {
	t.Helper()
	it := &indexerTest{
		T: t, catalog: servertest.NewCatalog(), log: servertest.NewLog(), index: servertest.NewIndex(), lines: new(logLines),
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	if err := it.catalog.CreateProject(context.Background(), catalog.Project{Name: "proj"}); err != nil {
		t.Fatal(err)
	}
	it.restart()
	t.Cleanup(func() { it.x.stop() })
	return it
}

// restart makes new indexers over the same seams, without starting them.
func (it *indexerTest) restart() {
	if it.x != nil {
		it.x.stop()
	}
	it.x = newIndexers(engines{catalog: it.catalog, log: it.log, index: it.index},
		Options{Logger: slog.New(slog.NewTextHandler(it.lines, nil)), Clock: func() time.Time { return it.now }, KeepLog: 24 * time.Hour})
}

func (it *indexerTest) start() {
	it.Helper()
	if err := it.x.start(context.Background()); err != nil {
		it.Fatal(err)
	}
}

func (it *indexerTest) store(name string, shards int) (catalog.Logstore, []catalog.Shard) {
	it.Helper()
	ctx := context.Background()
	if err := it.catalog.CreateLogstore(ctx, catalog.Logstore{Project: "proj", Name: name, ID: "id-" + name}, shards); err != nil {
		it.Fatal(err)
	}
	l, err := it.catalog.Logstore(ctx, "proj", name)
	if err != nil {
		it.Fatal(err)
	}
	list, err := it.catalog.Shards(ctx, "proj", name)
	if err != nil {
		it.Fatal(err)
	}
	return l, list
}

func (it *indexerTest) put(store string, shard int, values ...string) {
	it.Helper()
	s, err := it.log.Shard(shardlog.Key{Store: store, Shard: shard})
	if err != nil {
		it.Fatal(err)
	}
	var g sls.LogGroup
	for _, v := range values {
		g.Logs = append(g.Logs, sls.Log{Sec: 1, Nsec: -1, Contents: []sls.Content{{Key: []byte("k"), Value: []byte(v)}}})
	}
	raw := g.AppendTo(nil)
	if _, err := s.Append(context.Background(), []*shardlog.Record{{Received: it.now.UnixNano(), Data: raw, RawSize: len(raw), Logs: len(values)}}); err != nil {
		it.Fatal(err)
	}
}

func (it *indexerTest) indexed(store string, rows int) {
	it.Helper()
	waitFor(it.T, fmt.Sprintf("%d rows of %s", rows, store), func() bool { return it.index.Rows(store) >= rows })
	if got := it.index.Rows(store); got != rows {
		it.Errorf("%s has %d rows, want %d", store, got, rows)
	}
}

func TestIndexersFollowOldAndNewLogstores(t *testing.T) {
	it := newIndexerTest(t)
	it.store("old", 3)
	it.put("id-old", 0, "a", "b")
	it.put("id-old", 2, "c")
	it.start()
	it.indexed("id-old", 3)
	it.x.Created(it.store("new", 1))
	it.put("id-new", 0, "d")
	it.indexed("id-new", 1)
	it.put("id-old", 1, "e")
	it.indexed("id-old", 4)

	it.restart()
	it.put("id-old", 1, "f")
	it.start()
	it.indexed("id-old", 5)
}

func TestIndexerGoesOnAfterErrors(t *testing.T) {
	it := newIndexerTest(t)
	it.store("store", 1)
	it.index.Fail(errors.New("no space left on the disk"))
	it.put("id-store", 0, "a")
	it.start()
	waitFor(t, "a line about the error", func() bool { return it.lines.has("no space left on the disk") })
	it.put("id-store", 0, "b")
	it.index.Fail(nil)
	it.indexed("id-store", 2)
}

func TestIndexerSaysWhatRetentionTookFromIt(t *testing.T) {
	it := newIndexerTest(t)
	it.store("store", 1)
	for i := range 5 {
		it.put("id-store", 0, fmt.Sprint(i))
	}
	s, err := it.log.Shard(shardlog.Key{Store: "id-store"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Truncate(3); err != nil {
		t.Fatal(err)
	}
	it.start()
	it.indexed("id-store", 3)
	if !it.lines.has("dropped from the shard log before they were indexed") || !it.lines.has("from=1 to=2") {
		t.Error("nothing was said about it")
	}
}

// TestIndexAheadOfShardLogIsAnError: a shard log restored from an older backup
// would fill places that the index takes for done.
func TestIndexAheadOfShardLogIsAnError(t *testing.T) {
	it := newIndexerTest(t)
	it.store("store", 1)
	it.index.SetPosition(shardlog.Key{Store: "id-store"}, 10)
	it.put("id-store", 0, "a")
	it.start()
	waitFor(t, "a line about it", func() bool { return it.lines.has("not of the same time") })
	if n := it.index.Rows("id-store"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

func TestDeletedLogstoreLeavesNothing(t *testing.T) {
	it := newIndexerTest(t)
	ctx := context.Background()
	it.store("store", 2)
	it.put("id-store", 0, "a")
	it.start()
	it.indexed("id-store", 1)
	l, err := it.catalog.DeleteLogstore(ctx, "proj", "store")
	if err != nil {
		t.Fatal(err)
	}
	it.x.Deleted(l)
	gone := func() bool {
		ids, err := it.catalog.Dropped(ctx)
		return err == nil && len(ids) == 0
	}
	waitFor(t, "the deletion", gone)
	if it.log.Stores()["id-store"] || it.index.Rows("id-store") != 0 {
		t.Error("data is left")
	}
	// A write that found the logstore before must not bring it back.
	if _, err := it.x.log().Shard(shardlog.Key{Store: "id-store"}); !errors.Is(err, shardlog.ErrClosed) {
		t.Errorf("the shard opens with %v", err)
	}
	// Nor a creation that is told of late.
	it.x.Created(l, []catalog.Shard{{ID: 0}})
	if it.log.Stores()["id-store"] {
		t.Error("the deleted logstore is followed again")
	}
}

// TestUnfinishedDeletionIsFinishedAtStart, as after a crash.
func TestUnfinishedDeletionIsFinishedAtStart(t *testing.T) {
	it := newIndexerTest(t)
	ctx := context.Background()
	it.store("store", 1)
	it.put("id-store", 0, "a")
	if _, err := it.catalog.DeleteLogstore(ctx, "proj", "store"); err != nil {
		t.Fatal(err)
	}
	it.start()
	waitFor(t, "the deletion", func() bool { return !it.log.Stores()["id-store"] })
	waitFor(t, "the note to be gone", func() bool {
		ids, err := it.catalog.Dropped(ctx)
		return err == nil && len(ids) == 0
	})
}

func TestShardLogIsKeptAsLongAsNeeded(t *testing.T) {
	it := newIndexerTest(t)
	it.x.Created(it.store("store", 1))
	key := shardlog.Key{Store: "id-store"}
	s, err := it.log.Shard(key)
	if err != nil {
		t.Fatal(err)
	}
	first := func() uint64 { f, _ := s.Bounds(); return f }
	for i := range 4 {
		it.put("id-store", 0, fmt.Sprint(i))
		it.now = it.now.Add(10 * time.Hour)
	}
	it.indexed("id-store", 4)
	// 40 hours after the first: those of 40 and 30 hours ago are old.
	it.index.SetPosition(key, 2)
	it.x.truncate()
	if first() != 2 {
		t.Errorf("kept from %d, want 2: the index needs it", first())
	}
	it.index.SetPosition(key, 5)
	it.x.truncate()
	if first() != 3 {
		t.Errorf("kept from %d, want 3", first())
	}
	it.now = it.now.Add(3 * time.Hour)
	it.x.truncate() // the next is 23 hours old
	if first() != 3 {
		t.Errorf("kept from %d, want 3: younger than a day", first())
	}
	it.now = it.now.Add(2 * time.Hour)
	it.x.truncate()
	if first() != 4 {
		t.Errorf("kept from %d, want 4", first())
	}
}

// TestDamagedRecordDoesNotStopTheIndexer, and is told of once.
func TestDamagedRecordDoesNotStopTheIndexer(t *testing.T) {
	it := newIndexerTest(t)
	it.store("store", 1)
	for i := range 5 {
		it.put("id-store", 0, fmt.Sprint(i))
	}
	s, err := it.log.Shard(shardlog.Key{Store: "id-store"})
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{1, 3, 5} {
		s.(*servertest.Shard).Damage(seq)
	}
	it.start()
	it.put("id-store", 0, "f")
	it.indexed("id-store", 3)
	for _, seq := range []int{1, 3, 5} {
		if !it.lines.has(fmt.Sprintf("store=id-store shard=0 sequence=%d ", seq)) {
			t.Errorf("nothing was said about record %d", seq)
		}
	}
	if it.lines.has("sequence=2") || it.lines.has("retry_in") {
		t.Error("too much was said")
	}
}

// TestLogstoreOfWhichNobodyToldIsFollowed, as when the catalog failed right
// after making it.
func TestLogstoreOfWhichNobodyToldIsFollowed(t *testing.T) {
	it := newIndexerTest(t)
	it.start()
	it.store("store", 2)
	it.put("id-store", 1, "a", "b")
	it.x.wake() // what the ticker does
	it.indexed("id-store", 2)
}
