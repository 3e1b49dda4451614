// Package indextest is the conformance suite of the index engines: whatever an
// engine does with its rows, its answers are those of a naive reference, at
// every stage of their life and after every kind of restart.
package indextest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"logtail/internal/server/index"
	"logtail/internal/server/query"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// Engine is what the suite needs to know of an engine.
type Engine struct {
	// Open opens the engine on a folder.
	Open func(dir string) (index.Index, error)
	// Move makes rows move to their next place (from memory to disk, or into
	// a merged segment); all that was applied stays to be found. It may be nil.
	Move func(index.Index) error
	// Crash copies the folder dir of the open engine to dst, as a crash at
	// this moment would leave it. It may be nil.
	Crash func(x index.Index, dir, dst string) error
}

// Run runs the suite.
func Run(t *testing.T, e Engine) {
	t.Run("AnswersAreThoseOfTheReference", e.testModel)
	t.Run("ManyRows", e.testManyRows)
	t.Run("PagesNeitherRepeatNorSkipRowsThatMove", e.testPaging)
	t.Run("SearchesSeeWhatWasApplied", e.testConcurrent)
	t.Run("DropDeletesOneStore", e.testDrop)
	t.Run("AnEndedContextGivesAnIncompleteResult", e.testContext)
	t.Run("RecordsThatDoNotDecodeArePassedOver", e.testUndecodable)
	t.Run("HistogramEdges", e.testHistogramEdges)
	t.Run("EmptyIndexAnswers", e.testEmpty)
}

var ctx = context.Background()

// model is an engine beside the shard logs and the reference.
type model struct {
	e    Engine
	dir  string
	idx  index.Index
	logs map[shardlog.Key][]shardlog.Record
	done map[shardlog.Key]int // records applied
	refs map[string]*reference
}

var modelKeys = []shardlog.Key{{Store: "a", Shard: 0}, {Store: "a", Shard: 1}, {Store: "b-2", Shard: 0}}

func (e Engine) testModel(t *testing.T) {
	root, checks := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		checks++
		dir := filepath.Join(root, fmt.Sprint("model", checks))
		m := &model{e: e, dir: dir, logs: map[shardlog.Key][]shardlog.Record{}, done: map[shardlog.Key]int{}, refs: map[string]*reference{"a": {}, "b-2": {}}}
		m.open(rt)
		defer func() {
			if err := m.idx.Close(); err != nil {
				rt.Errorf("Close: %v", err)
			}
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"apply":     m.apply,
			"apply2":    m.apply,
			"move":      m.move,
			"reopen":    m.reopen,
			"crash":     m.crash,
			"search":    m.search,
			"search2":   m.search,
			"histogram": m.histogram,
		})
	})
}

func (m *model) open(t *rapid.T) {
	idx, err := m.e.Open(m.dir)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	m.idx = idx
}

func (m *model) apply(t *rapid.T) {
	key := rapid.SampledFrom(modelKeys).Draw(t, "shard")
	recs := rapid.SliceOfN(genRecord(), 1, 4).Draw(t, "records")
	for i := range recs {
		recs[i].Seq = uint64(len(m.logs[key]) + 1 + i)
		recs[i].Received = int64(recs[i].Seq)
	}
	m.logs[key] = append(m.logs[key], recs...)
	if err := m.refs[key.Store].apply(key.Shard, recs); err != nil {
		t.Fatal(err)
	}
	m.catchUp(t, key)
}

func (m *model) catchUp(t *rapid.T, key shardlog.Key) {
	recs := m.logs[key][m.done[key]:]
	if err := m.idx.Apply(ctx, key, append([]shardlog.Record(nil), recs...)); err != nil {
		t.Fatalf("Apply: %v", err)
	}
	m.done[key] = len(m.logs[key])
}

func (m *model) move(t *rapid.T) {
	if m.e.Move == nil {
		return
	}
	if err := m.e.Move(m.idx); err != nil {
		t.Fatalf("Move: %v", err)
	}
	for _, key := range modelKeys {
		m.checkPosition(t, key)
	}
}

func (m *model) checkPosition(t *rapid.T, key shardlog.Key) uint64 {
	pos, err := m.idx.Position(key)
	if err != nil || pos < 1 || pos > uint64(m.done[key])+1 {
		t.Fatalf("Position(%v) = %d, %v after %d records", key, pos, err, m.done[key])
	}
	return pos
}

// follow applies what the positions ask for, as the server does at its start.
func (m *model) follow(t *rapid.T) {
	for _, key := range modelKeys {
		m.done[key] = int(m.checkPosition(t, key)) - 1
		m.catchUp(t, key)
	}
}

func (m *model) reopen(t *rapid.T) {
	if err := m.idx.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	m.open(t)
	m.follow(t)
}

func (m *model) crash(t *rapid.T) {
	if m.e.Crash == nil {
		return
	}
	copied := m.dir + "x"
	if err := m.e.Crash(m.idx, m.dir, copied); err != nil {
		t.Fatal(err)
	}
	if err := m.idx.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if err := os.RemoveAll(m.dir); err != nil {
		t.Fatal(err)
	}
	m.dir = copied
	m.open(t)
	m.follow(t)
}

func genTimes(t *rapid.T) (from, to int64) {
	if rapid.IntRange(0, 3).Draw(t, "all times") == 0 {
		return 0, 1 << 40
	}
	from = Epoch + int64(rapid.IntRange(-5, 110).Draw(t, "from"))
	return from, from + int64(rapid.IntRange(0, 120).Draw(t, "length"))
}

func genTopic(t *rapid.T) *string {
	if rapid.IntRange(0, 3).Draw(t, "any topic") > 0 {
		return nil
	}
	s := rapid.SampledFrom(genTopics).Draw(t, "topic")
	return &s
}

func genWhere(t *rapid.T) query.Expr {
	if rapid.IntRange(0, 9).Draw(t, "no query") == 0 {
		return nil
	}
	return genExpr(3).Draw(t, "query")
}

func (m *model) search(t *rapid.T) {
	store := rapid.SampledFrom([]string{"a", "a", "b-2"}).Draw(t, "store")
	req := index.SearchRequest{
		Topic: genTopic(t), Where: genWhere(t), Offset: rapid.IntRange(0, 10).Draw(t, "offset"), Limit: rapid.SampledFrom([]int{0, 1, 3, 10, 1000}).Draw(t, "limit"),
		Reverse: rapid.Bool().Draw(t, "reverse"),
	}
	req.From, req.To = genTimes(t)
	got, err := m.idx.Search(ctx, store, req)
	if err != nil || !got.Complete {
		t.Fatalf("Search: complete %v, %v", got.Complete, err)
	}
	diffRows(t, got.Rows, m.refs[store].search(req), fmt.Sprintf("%v", req.Where))
}

// fataler is what *testing.T and *rapid.T have in common here.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func diffRows(t fataler, got, want []index.Row, what string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d rows, want %d\ngot  %+v\nwant %+v", what, len(got), len(want), got, want)
	}
	for i := range got {
		if len(got[i].Fields) == 0 {
			got[i].Fields = []index.Field{}
		}
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("%s: row %d is\n%+v, want\n%+v", what, i, got[i], want[i])
		}
	}
}

func (m *model) histogram(t *rapid.T) {
	req := index.HistogramRequest{Topic: genTopic(t), Where: genWhere(t), Interval: int64(rapid.SampledFrom([]int{1, 7, 60, 3600}).Draw(t, "interval"))}
	if req.From, req.To = genTimes(t); req.To > 1<<33 {
		req.From, req.To = Epoch-10, Epoch+200
	}
	got, err := m.idx.Histogram(ctx, "a", req)
	if err != nil || !got.Complete {
		t.Fatalf("Histogram: complete %v, %v", got.Complete, err)
	}
	want := m.refs["a"].histogram(req)
	total := int64(0)
	for _, b := range want {
		total += b.Count
	}
	if len(got.Buckets) != len(want) || len(want) > 0 && !reflect.DeepEqual(got.Buckets, want) || got.Total != total {
		t.Fatalf("Histogram %v: %+v (total %d), want %+v (total %d)", req.Where, got.Buckets, got.Total, want, total)
	}
}

// sequence makes records of one log each, with ascending numbers as content.
func sequence(from, n int) []shardlog.Record {
	recs := make([]shardlog.Record, n)
	for i := range recs {
		k := from + i
		recs[i] = Encode(&sls.LogGroup{Topic: "t", Logs: []sls.Log{
			{Sec: uint32(Epoch + k/3), Nsec: -1, Contents: []sls.Content{{Key: []byte("n"), Value: fmt.Append(nil, k)}, {Key: []byte("mod"), Value: fmt.Append(nil, k%7)}}},
			{Sec: uint32(Epoch + k/2), Nsec: 5, Contents: []sls.Content{{Key: []byte("n"), Value: fmt.Append(nil, "second ", k)}}},
		}}, sls.CompressLZ4)
		recs[i].Seq = uint64(k)
	}
	return recs
}

func (e Engine) start(t *testing.T) index.Index {
	t.Helper()
	idx, err := e.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := idx.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return idx
}

// testManyRows has rows enough for several blocks of any engine.
func (e Engine) testManyRows(t *testing.T) {
	idx := e.start(t)
	key := shardlog.Key{Store: "s", Shard: 0}
	ref := &reference{}
	r := rand.New(rand.NewPCG(5, 6))
	for seq := uint64(1); seq <= 90; seq++ {
		lg := sls.LogGroup{Topic: []string{"web", "db"}[r.IntN(2)], Source: "10.0.0.1"}
		for range 800 {
			c := []sls.Content{
				{Key: []byte("status"), Value: []byte([]string{"200", "404", "500"}[r.IntN(3)])},
				{Key: []byte("id"), Value: fmt.Appendf(nil, "%08x", r.Uint32())},
				{Key: []byte("rt"), Value: fmt.Appendf(nil, "%.3f", r.Float64())},
			}
			if r.IntN(3) == 0 {
				c = append(c, sls.Content{Key: []byte("sometimes"), Value: fmt.Appendf(nil, "item %d of %d", r.IntN(100), seq)})
			}
			// Time is in order but for a few rows that are late.
			sec := Epoch + int(seq)*10 + r.IntN(10)
			if r.IntN(500) == 0 {
				sec -= r.IntN(600)
			}
			lg.Logs = append(lg.Logs, sls.Log{Sec: uint32(sec), Nsec: int32(r.IntN(1000)), Contents: c})
		}
		rec := Encode(&lg, sls.CompressLZ4)
		rec.Seq = seq
		if err := ref.apply(0, []shardlog.Record{rec}); err != nil {
			t.Fatal(err)
		}
		if err := idx.Apply(ctx, key, []shardlog.Record{rec}); err != nil {
			t.Fatal(err)
		}
		if seq == 80 && e.Move != nil { // the rest stays in memory
			if err := e.Move(idx); err != nil {
				t.Fatal(err)
			}
		}
	}
	db := "db"
	for _, q := range []string{"*", "status:404", "status>=500 and rt<0.1", "not sometimes:*", `sometimes:#"item 7 of 42"`, "item and not status:200", "absent", "0*"} {
		where, err := query.Parse(q)
		if err != nil {
			t.Fatal(err)
		}
		for i, topic := range []*string{nil, &db} {
			from, to := int64(Epoch+r.IntN(400)), int64(Epoch+500+r.IntN(500))
			all := ref.find(from, to, topic, where)
			for _, req := range []index.SearchRequest{
				{Limit: 20, Reverse: true}, {Limit: 20}, {Limit: 50, Offset: len(all) / 2, Reverse: i == 0}, {Limit: 10, Offset: len(all)},
			} {
				req.From, req.To, req.Where, req.Topic = from, to, where, topic
				got, err := idx.Search(ctx, "s", req)
				if err != nil || !got.Complete {
					t.Fatalf("%s: complete %v, %v", q, got.Complete, err)
				}
				want := &reference{rows: all}
				diffRows(t, got.Rows, want.search(req), q)
			}
			h, err := idx.Histogram(ctx, "s", index.HistogramRequest{From: from, To: to, Interval: 60, Where: where, Topic: topic})
			if err != nil || h.Total != int64(len(all)) {
				t.Fatalf("%s: %d rows counted, want %d; %v", q, h.Total, len(all), err)
			}
			for _, b := range h.Buckets {
				n := 0
				for _, row := range all {
					if row.Time >= b.From && row.Time < b.To {
						n++
					}
				}
				if int64(n) != b.Count {
					t.Fatalf("%s: bucket %d has %d rows, want %d", q, b.From, b.Count, n)
				}
			}
		}
	}
}

func (e Engine) testPaging(t *testing.T) {
	idx := e.start(t)
	key := shardlog.Key{Store: "s", Shard: 3}
	ref := &reference{}
	next := 1
	for round := range 4 {
		recs := sequence(next, 50)
		next += 50
		if err := ref.apply(3, recs); err != nil {
			t.Fatal(err)
		}
		if err := idx.Apply(ctx, key, recs); err != nil {
			t.Fatal(err)
		}
		moved := make(chan error, 1)
		go func() {
			if e.Move == nil {
				moved <- nil
				return
			}
			moved <- e.Move(idx)
		}()
		req := index.SearchRequest{From: 0, To: 1 << 40, Limit: 17, Reverse: round%2 == 0}
		want := ref.search(index.SearchRequest{From: 0, To: 1 << 40, Limit: 1 << 30, Reverse: req.Reverse})
		var got []index.Row
		for {
			res, err := idx.Search(ctx, "s", req)
			if err != nil || !res.Complete {
				t.Fatalf("Search: complete %v, %v", res.Complete, err)
			}
			if len(res.Rows) == 0 {
				break
			}
			got = append(got, res.Rows...)
			req.Offset += len(res.Rows)
		}
		diffRows(t, got, want, "pages")
		if err := <-moved; err != nil {
			t.Fatal(err)
		}
	}
}

func (e Engine) testConcurrent(t *testing.T) {
	idx := e.start(t)
	const batches, size = 30, 20
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for shard := range 2 {
		wg.Go(func() {
			key := shardlog.Key{Store: "s", Shard: shard}
			for b := range batches {
				if err := idx.Apply(ctx, key, sequence(b*size+1, size)); err != nil {
					t.Error(err)
					return
				}
				// All that this goroutine applied can be found at once.
				res, err := idx.Search(ctx, "s", index.SearchRequest{
					From: 0, To: 1 << 40, Limit: 1, Where: query.Text{Key: "n", Kind: query.Words, Value: fmt.Sprint("second ", (b+1)*size)},
				})
				if err != nil || len(res.Rows) != 1 {
					t.Errorf("row %d of shard %d is not found: %d rows, %v", (b+1)*size, shard, len(res.Rows), err)
				}
			}
		})
	}
	var mover sync.WaitGroup
	mover.Go(func() {
		for e.Move != nil {
			select {
			case <-stop:
				return
			default:
			}
			if err := e.Move(idx); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Wait()
	close(stop)
	mover.Wait()
	h, err := idx.Histogram(ctx, "s", index.HistogramRequest{From: Epoch, To: Epoch + 10_000, Interval: 100})
	if want := int64(2 * 2 * batches * size); err != nil || h.Total != want {
		t.Errorf("Histogram counts %d rows, want %d; %v", h.Total, want, err)
	}
}

func (e Engine) testDrop(t *testing.T) {
	idx := e.start(t)
	for _, store := range []string{"keep", "go"} {
		if err := idx.Apply(ctx, shardlog.Key{Store: store}, sequence(1, 5)); err != nil {
			t.Fatal(err)
		}
		if e.Move != nil {
			if err := e.Move(idx); err != nil {
				t.Fatal(err)
			}
		}
		if err := idx.Apply(ctx, shardlog.Key{Store: store}, sequence(6, 5)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time there is nothing to do
		if err := idx.Drop("go"); err != nil {
			t.Fatal(err)
		}
	}
	for store, want := range map[string]int{"keep": 20, "go": 0} {
		res, err := idx.Search(ctx, store, index.SearchRequest{To: 1 << 40, Limit: 100})
		if err != nil || len(res.Rows) != want {
			t.Errorf("%s has %d rows, want %d; %v", store, len(res.Rows), want, err)
		}
	}
	if err := idx.Apply(ctx, shardlog.Key{Store: "go"}, sequence(11, 1)); err == nil {
		t.Error("Apply to a dropped store gives no error; its rows would stay for ever")
	}
}

func (e Engine) testContext(t *testing.T) {
	idx := e.start(t)
	if err := idx.Apply(ctx, shardlog.Key{Store: "s"}, sequence(1, 50)); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for range 2 {
		res, err := idx.Search(ended, "s", index.SearchRequest{To: 1 << 40, Limit: 10})
		if err != nil || res.Complete {
			t.Errorf("Search: complete %v, %v", res.Complete, err)
		}
		h, err := idx.Histogram(ended, "s", index.HistogramRequest{From: Epoch, To: Epoch + 100, Interval: 1})
		if err != nil || h.Complete || len(h.Buckets) != 100 {
			t.Errorf("Histogram: complete %v, %d buckets, %v", h.Complete, len(h.Buckets), err)
		}
		if e.Move != nil {
			if err := e.Move(idx); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (e Engine) testUndecodable(t *testing.T) {
	idx := e.start(t)
	recs := sequence(1, 4)
	recs[1].Data = []byte("no log group")
	recs[1].Compress, recs[1].RawSize = sls.CompressNone, len(recs[1].Data)
	recs[2].RawSize++
	key := shardlog.Key{Store: "s"}
	if err := idx.Apply(ctx, key, recs); err != nil {
		t.Fatal(err)
	}
	res, err := idx.Search(ctx, "s", index.SearchRequest{To: 1 << 40, Limit: 10})
	if err != nil || len(res.Rows) != 4 || res.Rows[3].Seq != 4 {
		t.Errorf("%d rows, %v; want the two of each of the records 1 and 4", len(res.Rows), err)
	}
	if e.Move != nil {
		if err := e.Move(idx); err != nil {
			t.Fatal(err)
		}
		if pos, err := idx.Position(key); err != nil || pos != 5 {
			t.Errorf("Position = %d, %v; want 5", pos, err)
		}
	}
}

func (e Engine) testHistogramEdges(t *testing.T) {
	idx := e.start(t)
	if err := idx.Apply(ctx, shardlog.Key{Store: "s"}, sequence(1, 30)); err != nil {
		t.Fatal(err)
	}
	if _, err := idx.Histogram(ctx, "s", index.HistogramRequest{From: 0, To: 10}); err == nil {
		t.Error("an interval of 0 gives no error")
	}
	h, err := idx.Histogram(ctx, "s", index.HistogramRequest{From: Epoch + 1, To: Epoch + 5, Interval: 3})
	if err != nil {
		t.Fatal(err)
	}
	at := int64(0)
	for i, b := range h.Buckets {
		if at == 0 {
			at = Epoch + 1
		}
		if b.From != at || b.To <= b.From || b.To > Epoch+5 || i+1 < len(h.Buckets) && b.To%3 != 0 {
			t.Errorf("bucket %d is [%d, %d)", i, b.From, b.To)
		}
		at = b.To
	}
	if at != Epoch+5 {
		t.Errorf("the buckets end at %d", at)
	}
}

func (e Engine) testEmpty(t *testing.T) {
	idx := e.start(t)
	res, err := idx.Search(ctx, "nothing", index.SearchRequest{To: 1 << 40, Limit: 10})
	if err != nil || len(res.Rows) != 0 || !res.Complete {
		t.Errorf("Search: %+v, %v", res, err)
	}
	h, err := idx.Histogram(ctx, "nothing", index.HistogramRequest{From: 10, To: 40, Interval: 10})
	if err != nil || len(h.Buckets) != 3 || h.Total != 0 || !h.Complete {
		t.Errorf("Histogram: %+v, %v", h, err)
	}
	if pos, err := idx.Position(shardlog.Key{Store: "nothing"}); err != nil || pos != 1 {
		t.Errorf("Position = %d, %v; want 1", pos, err)
	}
}
