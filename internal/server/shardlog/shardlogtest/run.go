package shardlogtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// bench is one engine over one folder during a test.
type bench struct {
	testing.TB
	engine Engine
	dir    string
	clock  *Clock
	faults *Faults
	log    shardlog.Log
}

var testKey = shardlog.Key{Store: "store-1", Shard: 0}

func newBench(t testing.TB, e Engine) *bench {
	b := &bench{TB: t, engine: e, dir: t.TempDir(), clock: NewClock(), faults: &Faults{}}
	b.open()
	t.Cleanup(func() { _ = b.log.Close() })
	return b
}

func (b *bench) open() {
	b.Helper()
	l, err := b.engine.Open(b.dir, b.clock.Now, b.faults)
	if err != nil {
		b.Fatal(err)
	}
	b.log = l
}

// reopen closes and opens the log.
func (b *bench) reopen() {
	b.Helper()
	if err := b.log.Close(); err != nil {
		b.Fatal(err)
	}
	b.open()
}

// crash opens a copy of what is on the disk, without a Close.
func (b *bench) crash() {
	b.Helper()
	to := b.TempDir()
	copyFolder(b, b.dir, to)
	old := b.log
	b.dir = to
	b.open()
	_ = old.Close() // only now: what it still writes is not in the copy
}

func (b *bench) shard() shardlog.Shard {
	b.Helper()
	s, err := b.log.Shard(testKey)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func (b *bench) append(recs ...*shardlog.Record) []shardlog.Result {
	b.Helper()
	res, err := b.shard().Append(b.Context(), recs)
	if err != nil {
		b.Fatal(err)
	}
	return res
}

// want appends and checks the action of each record.
func (b *bench) want(recs []*shardlog.Record, want ...delivery.Action) []shardlog.Result {
	b.Helper()
	res := b.append(recs...)
	var got []delivery.Action
	for _, r := range res {
		got = append(got, r.Action)
	}
	if !reflect.DeepEqual(got, want) {
		b.Fatalf("got %v, want %v", got, want)
	}
	return res
}

func (b *bench) logs(want string) {
	b.Helper()
	if got := joined(b, b.shard()); got != want {
		b.Fatalf("the log holds %q, want %q", got, want)
	}
}

func (b *bench) progress(id delivery.LaneID) *delivery.Progress {
	b.Helper()
	p, err := b.shard().Resume(0, []delivery.LaneID{id})
	if err != nil {
		b.Fatal(err)
	}
	return p[0]
}

func recs(r ...*shardlog.Record) []*shardlog.Record { return r }

// Run runs the conformance tests.
func Run(t *testing.T, e Engine) {
	for name, test := range map[string]func(*testing.T, *bench){
		"AppendsInOrder":                  testOrder,
		"DecidesByTheContract":            testContract,
		"DecidesEachRecordAfterTheOthers": testWithinRequest,
		"TrimsEveryCompression":           testTrim,
		"RefusesMalformedRanges":          testMalformed,
		"ReadsWithinLimits":               testRead,
		"WaitsForRecords":                 testWait,
		"SeeksByTime":                     testSeek,
		"ResumeFencesOlderSessions":       testResume,
		"ForgetsLanes":                    testForget,
		"TruncatesAndKeepsProgress":       testTruncate,
		"KeepsAllOverReopening":           testReopen,
		"SurvivesACrash":                  testCrash,
		"FailedWritesLeaveNothing":        testFaults,
		"DropsALogstore":                  testDrop,
		"EndsWithClose":                   testClose,
		"HonoursTheContext":               testContext,
		"AppendsConcurrently":             testConcurrent,
	} {
		t.Run(name, func(t *testing.T) { test(t, newBench(t, e)) })
	}
}

func testOrder(t *testing.T, b *bench) {
	s := b.shard()
	if first, next := s.Bounds(); first != 1 || next != 1 {
		t.Fatalf("an empty log has the bounds %d, %d", first, next)
	}
	r := recs(plain("a", "b"), piece(Lane(1), 1, 0, 2))
	res := b.want(r, delivery.Append, delivery.Append)
	if res[0].Seq != 1 || res[1].Seq != 2 || r[0].Seq != 1 || r[1].Seq != 2 {
		t.Fatalf("sequences %d, %d; the records got %d, %d", res[0].Seq, res[1].Seq, r[0].Seq, r[1].Seq)
	}
	if !reflect.DeepEqual(res[0].Progress, delivery.Progress{}) {
		t.Fatalf("progress without a range: %+v", res[0].Progress)
	}
	b.append(plain("c"))
	b.logs("a b 1/10 1/20 c")
	got := readAll(t, s)
	for i := range got[:2] {
		if !reflect.DeepEqual(got[i], *r[i]) {
			t.Errorf("record %d: got %+v, want %+v", i+1, got[i], *r[i])
		}
		if got[i].Received != b.clock.Now().UnixNano() {
			t.Errorf("received at %d", got[i].Received)
		}
	}
	again, err := b.log.Shard(testKey)
	if err != nil || again != s {
		t.Fatalf("the same key gave another shard: %v", err)
	}
	other, err := b.log.Shard(shardlog.Key{Store: testKey.Store, Shard: 1})
	if err != nil {
		t.Fatal(err)
	}
	if first, next := other.Bounds(); first != 1 || next != 1 {
		t.Fatalf("another shard has the bounds %d, %d", first, next)
	}
}

// at is a record of lane 1 with what the cases of the contract vary.
func at(session, start uint64, logs int, change func(*delivery.Range)) *shardlog.Record {
	r := piece(Lane(1), session, start, logs)
	if change != nil {
		change(r.Range)
	}
	return r
}

func testContract(t *testing.T, outer *bench) {
	claim := func(g *delivery.Range) { g.Flags |= delivery.Claim }
	closed := func(g *delivery.Range) { g.Flags |= delivery.Closed }
	cases := []struct {
		name   string
		rec    *shardlog.Record
		action delivery.Action
		logs   string // after what stands there, 1/10 to 1/30
	}{
		{"next", at(5, 30, 2, nil), delivery.Append, " 1/40 1/50"},
		{"duplicate", at(5, 10, 2, nil), delivery.Duplicate, ""},
		{"exact repetition", at(5, 0, 3, nil), delivery.Duplicate, ""},
		{"overlap", at(5, 10, 4, nil), delivery.Trim, " 1/40 1/50"},
		{"hole", at(5, 40, 1, nil), delivery.Hole, ""},
		{"hole with a claim", at(5, 40, 1, claim), delivery.Hole, ""},
		{"older session", at(4, 30, 1, nil), delivery.Fenced, ""},
		{"session that did not resume", at(6, 30, 1, nil), delivery.Unknown, ""},
		{"other content before", at(5, 30, 1, func(g *delivery.Range) { g.StartHash++ }), delivery.Foreign, ""},
		{"other content sent", at(5, 0, 3, func(g *delivery.Range) { g.EndHash++ }), delivery.Foreign, ""},
		{"hash not known", at(5, 30, 1, func(g *delivery.Range) { g.StartHash = 0 }), delivery.Append, " 1/40"},
		{"range without logs", at(5, 30, 0, func(g *delivery.Range) { g.End = 70 }), delivery.Append, ""},
		{"closing", at(5, 30, 0, closed), delivery.Append, ""},
		{"abandoned", at(5, 20, 0, func(g *delivery.Range) {
			g.End, g.Flags, g.Reason = 90, delivery.Abandoned, delivery.ReasonDeleted
		}), delivery.Trim, ""},
		{"new lane from 0", piece(Lane(2), 5, 0, 1), delivery.Append, " 2/10"},
		{"new lane in the middle", piece(Lane(2), 5, 10, 1), delivery.Unknown, ""},
		{"new lane with a claim", func() *shardlog.Record {
			r := piece(Lane(2), 5, 10, 1)
			r.Range.Flags |= delivery.Claim
			return r
		}(), delivery.Append, " 2/20"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, outer.engine)
			b.append(piece(Lane(1), 5, 0, 3))
			before := b.progress(Lane(1))
			sent := *c.rec.Range
			res := b.want(recs(c.rec), c.action)[0]
			b.logs("1/10 1/20 1/30" + c.logs)
			switch c.action {
			case delivery.Unknown:
				if !reflect.DeepEqual(res.Progress, delivery.Progress{}) {
					t.Errorf("progress %+v", res.Progress)
				}
			case delivery.Append, delivery.Trim:
				if want := delivery.Advance(&sent, b.clock.Now().Unix()); !sameProgress(res.Progress, want) {
					t.Errorf("progress %+v, want %+v", res.Progress, want)
				}
				if p := b.progress(sent.Lane); !sameProgress(*p, res.Progress) {
					t.Errorf("the lane stands at %+v, and the answer was %+v", *p, res.Progress)
				}
			default:
				if !sameProgress(res.Progress, *before) || res.Seq != 0 {
					t.Errorf("result %+v, want progress %+v", res, *before)
				}
			}
		})
	}
}

func sameProgress(a, b delivery.Progress) bool {
	return a.End == b.End && a.Hash == b.Hash && string(a.State) == string(b.State) &&
		a.Session == b.Session && a.Closed == b.Closed && a.Time == b.Time
}

func testWithinRequest(_ *testing.T, b *bench) {
	id := Lane(1)
	b.want(recs(piece(id, 1, 0, 2), piece(id, 1, 10, 2), piece(id, 1, 0, 1), piece(id, 1, 70, 1), plain("p"), piece(id, 1, 30, 1)),
		delivery.Append, delivery.Trim, delivery.Duplicate, delivery.Hole, delivery.Append, delivery.Append)
	b.logs("1/10 1/20 1/30 p 1/40")
}

func testTrim(t *testing.T, b *bench) {
	for i, c := range []sls.CompressType{sls.CompressNone, sls.CompressDeflate, sls.CompressLZ4, sls.CompressZstd} {
		id := Lane(i + 1)
		b.append(piece(id, 1, 0, 2))
		g := &delivery.Range{Lane: id, Session: 1, Start: 5, End: 48, State: []byte("s")}
		r := record(g, []log{{"seen", 10}, {"also seen", 20}, {"new", 33}, {"newer", 41}}, c)
		b.want(recs(r), delivery.Trim)
		_, next := b.shard().Bounds()
		got, err := b.shard().Read(next-1, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		logs, err := texts(&got[0])
		if err != nil {
			t.Fatal(err)
		}
		if want := []log{{"new", 33}, {"newer", 41}}; !reflect.DeepEqual(logs, want) {
			t.Errorf("%v: %v, want %v", c, logs, want)
		}
		if g := got[0].Range; g.Start != 20 || g.End != 48 || g.StartHash != Hash(id, 20) {
			t.Errorf("%v: stored range %+v", c, g)
		}
		// All logs seen, and still something after them.
		b.want(recs(record(&delivery.Range{Lane: id, Session: 1, Start: 41, End: 60}, []log{{"newer", 48}}, c)), delivery.Trim)
		if got, err = b.shard().Read(next, 1, 1); err != nil || len(got[0].Data) != 0 || got[0].Logs != 0 || got[0].Range.Flags&delivery.Empty == 0 {
			t.Errorf("%v: a trim that leaves no logs stored %+v, %v", c, got, err)
		}
	}
	bad := piece(Lane(1), 1, 50, 3)
	bad.Data = []byte("no log group")
	if _, err := b.shard().Append(t.Context(), recs(piece(Lane(9), 1, 0, 1), bad)); err == nil {
		t.Error("a group that cannot be trimmed was accepted")
	}
	if p := b.progress(Lane(9)); p != nil {
		t.Errorf("a request that failed moved a lane to %+v", p)
	}
}

func testMalformed(t *testing.T, b *bench) {
	b.append(piece(Lane(1), 1, 0, 1))
	for name, c := range map[string]struct {
		change func(*shardlog.Record)
		want   error
	}{
		"backwards":          {func(r *shardlog.Record) { r.Range.Start = r.Range.End + 1 }, delivery.ErrBackwards},
		"long state":         {func(r *shardlog.Record) { r.Range.State = make([]byte, delivery.MaxState+1) }, delivery.ErrState},
		"end behind range":   {func(r *shardlog.Record) { r.Range.End -= 5 }, delivery.ErrEnds},
		"too few ends":       {func(r *shardlog.Record) { r.Range.Ends = r.Range.Ends[:1] }, delivery.ErrEnds},
		"too many ends":      {func(r *shardlog.Record) { r.Range.Ends = append(r.Range.Ends, 0) }, delivery.ErrEnds},
		"cut ends":           {func(r *shardlog.Record) { r.Range.Ends[1] = 0x80 }, delivery.ErrEnds},
		"ends without logs":  {func(r *shardlog.Record) { r.Data, r.Logs = nil, 0 }, delivery.ErrEnds},
		"ends that overflow": {func(r *shardlog.Record) { r.Range.Ends = append(r.Range.Ends[:0], overflow...); r.Logs = 2 }, delivery.ErrEnds},
	} {
		t.Run(name, func(t *testing.T) {
			r := piece(Lane(1), 1, 10, 2)
			c.change(r)
			if _, err := b.shard().Append(t.Context(), recs(plain("x"), r)); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
	b.logs("1/10")
}

// overflow are two ends whose sum passes the 64 bits.
var overflow = []byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}

func testRead(t *testing.T, b *bench) {
	var all []*shardlog.Record
	for i := range 40 {
		all = append(all, plain(fmt.Sprintf("%03d", i)))
	}
	b.append(all...)
	size := len(all[0].Data)
	s := b.shard()
	for _, c := range []struct {
		seq               uint64
		records, bytes, n int
	}{
		{1, 10, 1 << 20, 10},
		{1, 100, 1 << 20, 40},
		{35, 100, 1 << 20, 6},
		{1, 100, 3 * size, 3},
		{1, 100, 0, 1},
		{1, 0, 0, 1},
		{41, 10, 1 << 20, 0},
		{99, 10, 1 << 20, 0},
	} {
		got, err := s.Read(c.seq, c.records, c.bytes)
		if err != nil || len(got) != c.n {
			t.Errorf("Read(%d, %d, %d): %d records, %v; want %d", c.seq, c.records, c.bytes, len(got), err, c.n)
		}
	}
	if _, err := s.Read(0, 1, 1); !errors.Is(err, shardlog.ErrTruncated) {
		t.Errorf("Read(0): %v", err)
	}
}

func testWait(t *testing.T, b *bench) {
	s := b.shard()
	b.append(plain("a"))
	if err := s.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	const waiters = 200
	errs := make(chan error, waiters)
	for i := range waiters {
		go func() { errs <- s.Wait(t.Context(), uint64(2+i%2)) }()
	}
	b.append(plain("b"))
	b.append(plain("c"))
	for range waiters {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { errs <- s.Wait(ctx, 4) }()
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a canceled context: %v", err)
	}
	go func() { errs <- s.Wait(t.Context(), 4) }()
	_ = b.log.Close()
	if err := <-errs; !errors.Is(err, shardlog.ErrClosed) {
		t.Errorf("Wait over a Close: %v", err)
	}
}

func testSeek(t *testing.T, b *bench) {
	s := b.shard()
	start := b.clock.Now().UnixNano()
	const gap = int64(time.Minute)
	for range 30 { // records 1, 2 and 3 at one time, 4, 5 and 6 a minute later, ...
		b.append(plain("a"), plain("b"), plain("c"))
		b.clock.Move(time.Minute)
	}
	for _, c := range []struct {
		nanos int64
		want  uint64
	}{{0, 1}, {start, 1}, {start + 1, 4}, {start + gap, 4}, {start + 29*gap, 88}, {start + 29*gap + 1, 91}, {start + 99*gap, 91}} {
		if got, err := s.SeekTime(c.nanos); err != nil || got != c.want {
			t.Errorf("SeekTime(start + %v) = %d, %v; want %d", time.Duration(c.nanos-start), got, err, c.want)
		}
	}
	if err := s.Truncate(50); err != nil {
		t.Fatal(err)
	}
	first, _ := s.Bounds()
	if got, err := s.SeekTime(0); err != nil || got != first {
		t.Errorf("SeekTime(0) after Truncate = %d, %v; want %d", got, err, first)
	}
	b.clock.Move(-2 * time.Minute) // a clock that is set back
	late := b.append(plain("late"))[0].Seq
	got, err := s.Read(late, 1, 1)
	if err != nil || got[0].Received < start+29*gap {
		t.Errorf("receipts fall: %v, %v", got, err)
	}
}

func testResume(t *testing.T, b *bench) {
	s, id := b.shard(), Lane(1)
	b.append(piece(id, 1, 0, 1))
	p, err := s.Resume(7, []delivery.LaneID{Lane(2), id})
	if err != nil || len(p) != 2 || p[0] != nil || p[1] == nil || p[1].End != 10 || p[1].Hash != Hash(id, 10) || string(p[1].State) != "at 10" {
		t.Fatalf("Resume: %+v, %v", p, err)
	}
	p[1].State[0] = 'X' // the caller's own
	b.want(recs(piece(id, 1, 10, 1)), delivery.Fenced)
	b.want(recs(piece(id, 1, 0, 1)), delivery.Fenced) // not even a duplicate
	b.want(recs(piece(id, 7, 10, 1)), delivery.Append)
	if _, err := s.Resume(3, []delivery.LaneID{id}); err != nil {
		t.Fatal(err)
	}
	b.want(recs(piece(id, 3, 20, 1)), delivery.Fenced) // the younger one stays
	b.want(recs(piece(Lane(2), 1, 0, 1)), delivery.Append)
	b.logs("1/10 1/20 2/10")
}

func testForget(t *testing.T, b *bench) {
	const hour = time.Hour
	silent, closed := Lane(1), Lane(2)
	over := piece(closed, 1, 0, 1)
	over.Range.Flags |= delivery.Closed
	b.append(piece(silent, 1, 0, 1), over)
	known := func(id delivery.LaneID, want bool) {
		t.Helper()
		for _, again := range []bool{false, true} {
			if again {
				b.reopen()
			}
			if p := b.progress(id); (p != nil) != want {
				t.Fatalf("after %v (opened again: %v) lane %v is %+v", time.Duration(b.clock.Now().UnixNano()-NewClock().now.UnixNano()), again, id, p)
			}
		}
	}
	b.clock.Move(47 * hour)
	known(closed, true)
	b.clock.Move(2 * hour)
	known(closed, false)
	known(silent, true)
	b.clock.Move(57 * 24 * hour)
	known(silent, true)
	b.append(piece(silent, 1, 10, 1)) // not silent any more
	b.clock.Move(59 * 24 * hour)
	known(silent, true)
	b.clock.Move(2 * 24 * hour)
	known(silent, false)
	b.want(recs(piece(silent, 1, 20, 1)), delivery.Unknown)
	b.want(recs(piece(silent, 1, 0, 1)), delivery.Append)
}

func testTruncate(t *testing.T, b *bench) {
	s := b.shard()
	b.append(piece(Lane(1), 1, 0, 1))
	for i := range 300 {
		b.append(plain(fmt.Sprintf("%0200d", i)))
	}
	b.append(piece(Lane(2), 1, 0, 1))
	for _, seq := range []uint64{0, 1, 100, 50, 250} {
		if err := s.Truncate(seq); err != nil {
			t.Fatal(err)
		}
		first, next := s.Bounds()
		if first > max(seq, 250) || next != 303 {
			t.Fatalf("after Truncate(%d) the bounds are %d, %d", seq, first, next)
		}
		readAll(t, s)
	}
	first, _ := s.Bounds()
	if first <= 1 {
		t.Fatal("nothing was dropped")
	}
	if _, err := s.Read(1, 1, 1); !errors.Is(err, shardlog.ErrTruncated) {
		t.Fatalf("reading what was dropped: %v", err)
	}
	if b.engine.Files {
		b.crash() // the lanes of dropped records must be on the disk
	}
	b.reopen()
	if f, next := b.shard().Bounds(); f != first || next != 303 {
		t.Fatalf("after reopening the bounds are %d, %d", f, next)
	}
	b.want(recs(piece(Lane(1), 1, 0, 2), piece(Lane(2), 1, 0, 1)), delivery.Trim, delivery.Duplicate)

	// All of it, and on from there.
	for range 3 {
		_, next := b.shard().Bounds()
		if err := b.shard().Truncate(next + 10); err != nil {
			t.Fatal(err)
		}
		if f, n := b.shard().Bounds(); n != next || f > next {
			t.Fatalf("after dropping all the bounds are %d, %d; next was %d", f, n, next)
		}
		b.reopen()
		if f, n := b.shard().Bounds(); n != next || f > next {
			t.Fatalf("after dropping all and reopening the bounds are %d, %d; next was %d", f, n, next)
		}
		if got := b.append(plain("on"))[0].Seq; got != next {
			t.Fatalf("the record behind %d got %d", next-1, got)
		}
		readAll(t, b.shard())
	}
	b.want(recs(piece(Lane(1), 1, 0, 3)), delivery.Trim)
}
