package segment

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"logtail/internal/server/index"
	"logtail/internal/server/index/indextest"
	"logtail/internal/server/query"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// sealed opens an index with the group as its only record, in a segment.
func sealed(t *testing.T, opts Options, lg *sls.LogGroup) *Index {
	t.Helper()
	x := openTest(t, t.TempDir(), opts)
	rec := indextest.Encode(lg, sls.CompressZstd)
	rec.Seq = 1
	mustApply(t, x, []shardlog.Record{rec})
	before := find(t, x, nil).Rows
	mustFlush(t, x)
	after := find(t, x, nil)
	if !after.Complete || !reflect.DeepEqual(before, after.Rows) {
		t.Fatal("rows changed when they moved to disk")
	}
	return x
}

func pair(k, v string) sls.Content { return sls.Content{Key: []byte(k), Value: []byte(v)} }

func TestRowsOfManyKeysComeBack(t *testing.T) {
	lg := &sls.LogGroup{}
	for i := range 60 {
		l := sls.Log{Sec: uint32(100 + i), Nsec: -1}
		for k := range 50 {
			l.Contents = append(l.Contents, pair(fmt.Sprintf("key%d", (i*37+k*11)%1000), fmt.Sprintf("v%d", i*k)))
		}
		lg.Logs = append(lg.Logs, l)
	}
	x := sealed(t, Options{}, lg)
	for _, q := range []query.Expr{query.Exists{Key: "key37"}, query.Text{Key: "key11", Value: "v0"}, query.Text{Value: "v58"}} {
		naive := 0
		for _, l := range lg.Logs {
			row := &query.Row{Contents: l.Contents}
			if query.Compile(q).Match(row) {
				naive++
			}
		}
		if got := find(t, x, q); len(got.Rows) != naive || naive == 0 {
			t.Errorf("%v finds %d rows, want %d", q, len(got.Rows), naive)
		}
	}
}

func TestLargeValuesCutRowGroups(t *testing.T) {
	lg := &sls.LogGroup{}
	for i := range 8 {
		lg.Logs = append(lg.Logs, sls.Log{Sec: uint32(i), Nsec: -1, Contents: []sls.Content{
			pair("big", strings.Repeat(fmt.Sprintf("%d ", i), 100_000)), pair("n", fmt.Sprint(i)),
		}})
	}
	x := sealed(t, Options{groupBytes: 500_000}, lg)
	st, _ := x.store("s")
	open, err := x.cache.acquire(st.shards[0].segments[0])
	if err != nil {
		t.Fatal(err)
	}
	defer x.cache.release(open)
	if n := len(open.h.side.groups); n != 3 && n != 4 {
		t.Errorf("%d row groups", n)
	}
	if got := find(t, x, query.Text{Key: "big", Value: "7"}); len(got.Rows) != 1 {
		t.Errorf("%d rows, want 1", len(got.Rows))
	}
}

func TestOnlyWhatIsNeededIsRead(t *testing.T) {
	x := openTest(t, t.TempDir(), Options{groupRows: 100})
	mustApply(t, x, testRecords(1, 400))
	mustFlush(t, x)
	// The newest rows are in the last row group.
	res, err := x.Search(testCtx, "s", index.SearchRequest{To: 1 << 32, Limit: 10, Reverse: true})
	if err != nil || len(res.Rows) != 10 || res.Processed > 200 {
		t.Errorf("%d rows, %d were looked at, %v", len(res.Rows), res.Processed, err)
	}
	// One value of a unique field is in one row group, by its filter or bounds.
	st, _ := x.store("s")
	open, err := x.cache.acquire(st.shards[0].segments[0])
	if err != nil {
		t.Fatal(err)
	}
	defer x.cache.release(open)
	for q, most := range map[string]int{"n:600": 2, "n>1190": 1, "n in (5 8)": 1, "absent": 1, "level:absent": 1, "foo:bar": 0, "not *": 0, "n<0": 0, `#"all absent"`: 1} {
		e, err := query.Parse(q)
		if err != nil {
			t.Fatal(err)
		}
		c, n := compile(e, nil), 0
		for g := range open.h.side.groups {
			sc := newScan(c, open.h, g)
			if sc.mayMatch(c.Root) {
				n++
			}
			sc.release()
		}
		if n > most {
			t.Errorf("%s reads %d of 12 row groups, want at most %d", q, n, most)
		}
	}
	// Counting everything reads no data file at all.
	x2 := openTest(t, x.dir+"-none", Options{})
	mustApply(t, x2, testRecords(1, 40))
	mustFlush(t, x2)
	if _, err := x2.Histogram(testCtx, "s", index.HistogramRequest{To: 1 << 32, Interval: 1 << 32}); err != nil {
		t.Fatal(err)
	}
	if n := x2.cache.order.Len(); n != 0 {
		t.Errorf("%d segments were opened to count all rows", n)
	}
}

// TestDataFilesAreParquet reads a data file as any program would.
func TestDataFilesAreParquet(t *testing.T) {
	lg := &sls.LogGroup{Topic: "web", Source: "h", Tags: []sls.Tag{{Key: "pod", Value: "p1"}}, Logs: []sls.Log{
		{Sec: 2, Nsec: 7, Contents: []sls.Content{pair("status", "200"), pair("msg", "ok")}},
		{Sec: 1, Nsec: -1, Contents: []sls.Content{pair("status", "404"), pair("msg", "ok"), pair("bin", "\xff")}},
	}}
	x := sealed(t, Options{}, lg)
	st, _ := x.store("s")
	name := st.shards[0].segments[0].meta.dataFile(st.shards[0].dir)
	type row struct {
		Time   int64   `parquet:"_time"`
		Topic  string  `parquet:"__topic__"`
		Pod    string  `parquet:"__tag__:pod"`
		Status int64   `parquet:"status"`
		Msg    string  `parquet:"msg"`
		Bin    *string `parquet:"bin,optional"`
	}
	rows, err := parquet.ReadFile[row](name)
	if err != nil {
		t.Fatal(err)
	}
	bin := "\xff"
	want := []row{{1e9, "web", "p1", 404, "ok", &bin}, {2e9 + 7, "web", "p1", 200, "ok", nil}}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("got %+v, want %+v", rows, want)
	}
}

func TestCacheIsBounded(t *testing.T) {
	x := openTest(t, t.TempDir(), Options{CacheFiles: 2, mergeFan: 100})
	for i := range 6 {
		mustApply(t, x, testRecords(1+5*i, 5))
		mustFlush(t, x)
	}
	for range 3 {
		if res := find(t, x, nil); len(res.Rows) != 90 {
			t.Fatalf("%d rows, want 90", len(res.Rows))
		}
		if n := x.cache.order.Len(); n > 2 {
			t.Fatalf("%d segments are open", n)
		}
	}
	x.cache.mu.Lock()
	defer x.cache.mu.Unlock()
	for _, e := range x.cache.byID {
		if e.refs != 1 {
			t.Errorf("a segment has %d references after the searches", e.refs)
		}
	}
}

func TestQueryTimeoutGivesAnIncompleteResult(t *testing.T) {
	x := openTest(t, t.TempDir(), Options{QueryTimeout: 1})
	mustApply(t, x, testRecords(1, 10))
	if res := find(t, x, nil); res.Complete {
		t.Error("complete after a nanosecond")
	}
}

func TestClosedIndexRefuses(t *testing.T) {
	x := openTest(t, t.TempDir(), Options{})
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	_, err1 := x.Search(testCtx, "s", index.SearchRequest{To: 1, Limit: 1})
	_, err2 := x.Histogram(testCtx, "s", index.HistogramRequest{To: 1, Interval: 1})
	_, err3 := x.Position(testKey)
	for _, err := range []error{err1, err2, err3, x.Apply(testCtx, testKey, testRecords(1, 1)), x.Drop("s")} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
}

func TestMatchingATableAllocatesNothing(t *testing.T) {
	tab := newTable(1)
	var lg sls.LogGroup
	g := newNginx().group(100)
	raw := g.AppendTo(nil)
	if err := lg.Decode(raw, recordLimits); err != nil {
		t.Fatal(err)
	}
	tab.add(1, &lg)
	e, err := query.Parse(`status>=400 or (path:resource1* and not "safari" and user_agent:#"like gecko") or absent:*`)
	if err != nil {
		t.Fatal(err)
	}
	m := newTableMatcher(compile(e, nil), tab.view())
	m.startGroup(tab.groups[0])
	all := func() {
		for i := range tab.groups[0].rows {
			m.match(&tab.groups[0].rows[i])
		}
	}
	all() // the places of keys in shapes become known
	if n := testing.AllocsPerRun(20, all); n != 0 {
		t.Errorf("%v allocations for 100 rows", n)
	}
}

func TestApplyAllocatesPerRecordNotPerRow(t *testing.T) {
	x := openTest(t, t.TempDir(), Options{})
	x.cancel() // no sealing meanwhile
	x.done.Wait()
	rec := indextest.Encode(newNginx().group(1000), sls.CompressLZ4)
	seq := uint64(0)
	apply := func() {
		seq++
		r := rec
		r.Seq = seq
		if err := x.Apply(t.Context(), testKey, []shardlog.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	x.ctx = t.Context() // Apply waits for no sealer here
	apply()
	if n := testing.AllocsPerRun(20, apply); n > 30 {
		t.Errorf("%v allocations for a record of 1,000 rows", n)
	}
}

func TestBlocksAreChecked(t *testing.T) {
	var file bytes.Buffer
	w := newBlockWriter(&file)
	data := bytes.Repeat([]byte("0123456789"), 10_000)
	for i := 0; i < len(data); i += 777 {
		if _, err := w.Write(data[i:min(i+777, len(data))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	r := &blockReader{f: bytes.NewReader(file.Bytes()), size: w.size, sums: w.sums}
	for _, c := range [][2]int{{0, 10}, {32_760, 20}, {65_536, 34_464}, {99_999, 1}, {0, 100_000}, {100_000, 0}} {
		var space []byte
		got, err := r.read(&space, int64(c[0]), int64(c[1]))
		if err != nil || !bytes.Equal(got, data[c[0]:c[0]+c[1]]) {
			t.Errorf("read(%d, %d): %d bytes, %v", c[0], c[1], len(got), err)
		}
	}
	var space []byte
	for _, c := range [][2]int64{{-1, 5}, {0, 100_001}, {1 << 62, 1 << 62}} {
		if _, err := r.read(&space, c[0], c[1]); err == nil {
			t.Errorf("read(%d, %d) gives no error", c[0], c[1])
		}
	}
	damaged := slices.Clone(file.Bytes())
	damaged[40_000] ^= 4
	r.f = bytes.NewReader(damaged)
	if _, err := r.read(&space, 0, 32_768); err != nil {
		t.Errorf("a block without damage: %v", err)
	}
	if _, err := r.read(&space, 65_000, 10); err == nil {
		t.Error("damage in the block of the bytes is not noticed")
	}
	r.f = bytes.NewReader(damaged[:50_000])
	if _, err := r.read(&space, 60_000, 10_000); err == nil {
		t.Error("a file that ends early is not noticed")
	}
}
