package shardlogtest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// Model runs an engine against a model that is a list and a map: appends of
// every kind, failing writes, resumes, truncations, clean ends and crashes in
// any order. Results, progress and content have to agree throughout.
func Model(t *testing.T, e Engine) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{T: rt, model: model{lanes: map[delivery.LaneID]delivery.Progress{}, first: 1}}
		m.bench = newBench(t, e)
		defer func() { _ = m.bench.log.Close() }()
		m.Repeat(map[string]func(*rapid.T){
			"":         m.check,
			"append":   m.appendSome,
			"fail":     m.failSome,
			"resume":   m.resume,
			"truncate": m.truncate,
			"reopen":   m.end,
			"crash":    m.crash,
			"maintain": m.maintain,
			"time":     m.passTime,
		})
		m.end(rt)
		m.check(rt)
	})
}

// model is what the engine should be.
type model struct {
	lanes map[delivery.LaneID]delivery.Progress
	recs  []modelRecord // all that were ever stored; sequence i+1
	first uint64
}

type modelRecord struct {
	logs     []log
	rng      *delivery.Range
	received int64
}

func (m *model) clone() model {
	return model{lanes: maps.Clone(m.lanes), recs: slices.Clone(m.recs), first: m.first}
}

func (m *model) next() uint64 { return uint64(len(m.recs)) + 1 }

// lane is nil for a lane that is not known, or has been forgotten by now.
func (m *model) lane(id delivery.LaneID, now time.Time) *delivery.Progress {
	l, ok := m.lanes[id]
	age := now.Unix() - l.Time
	if !ok || l.Closed && age > 48*3600 || age > 60*24*3600 {
		return nil
	}
	return &l
}

// append is compare and append of one record.
func (m *model) append(g *delivery.Range, logs []log, now time.Time) shardlog.Result {
	if g == nil {
		m.recs = append(m.recs, modelRecord{logs: logs, received: now.UnixNano()})
		return shardlog.Result{Seq: uint64(len(m.recs))}
	}
	p := m.lane(g.Lane, now)
	res := shardlog.Result{Action: delivery.Decide(p, g)}
	switch res.Action {
	case delivery.Unknown:
		return res
	case delivery.Append, delivery.Trim:
	default:
		res.Progress = *p
		return res
	}
	stored := *g
	if res.Action == delivery.Trim {
		stored.Start, stored.StartHash = p.End, p.Hash
		had := len(logs) > 0
		logs = slices.DeleteFunc(slices.Clone(logs), func(l log) bool { return l.end <= p.End })
		if had && len(logs) == 0 {
			stored.Flags |= delivery.Empty
		}
	}
	m.recs = append(m.recs, modelRecord{logs: logs, rng: &stored, received: now.UnixNano()})
	res.Seq, res.Progress = uint64(len(m.recs)), delivery.Advance(g, now.Unix())
	m.lanes[g.Lane] = res.Progress
	return res
}

// machine is the model beside the engine.
type machine struct {
	*rapid.T
	bench  *bench
	model  model
	serial int
}

func (m *machine) shard() shardlog.Shard {
	s, err := m.bench.log.Shard(testKey)
	if err != nil {
		m.Fatal(err)
	}
	return s
}

// drawn is a record and what the model needs of it.
type drawn struct {
	rec  *shardlog.Record
	rng  *delivery.Range
	logs []log
}

// draw makes a record that stands in some relation to what is known of its lane.
func (m *machine) draw(t *rapid.T, view *model) drawn {
	m.serial++
	c := rapid.SampledFrom([]sls.CompressType{sls.CompressNone, sls.CompressLZ4, sls.CompressZstd}).Draw(t, "compression")
	kind := rapid.SampledFrom([]string{"next", "next", "next", "overlap", "overlap", "repeat", "hole", "claim", "start", "close", "foreign", "older", "younger", "plain"}).Draw(t, "kind")
	if kind == "plain" {
		logs := []log{{text: fmt.Sprintf("plain %d", m.serial)}}
		return drawn{rec: record(nil, logs, c), logs: logs}
	}
	id := Lane(rapid.IntRange(1, 3).Draw(t, "lane"))
	p := view.lane(id, m.bench.clock.Now())
	if p == nil {
		p = &delivery.Progress{Session: 3}
	}
	g := &delivery.Range{Lane: id, Session: p.Session, Start: p.End}
	switch kind {
	case "overlap":
		g.Start -= min(p.End, rapid.Uint64Range(1, 40).Draw(t, "back"))
	case "repeat":
		g.Start -= min(p.End, rapid.Uint64Range(1, 60).Draw(t, "back"))
	case "hole", "claim":
		g.Start += rapid.Uint64Range(1, 5).Draw(t, "ahead")
		if kind == "claim" {
			g.Flags |= delivery.Claim
		}
	case "start":
		g.Start = 0
	case "older":
		g.Session -= min(g.Session, 1)
	case "younger":
		g.Session++
	}
	at := g.Start
	var logs []log
	if kind != "close" {
		for i := range rapid.IntRange(0, 5).Draw(t, "logs") {
			at += rapid.Uint64Range(1, 12).Draw(t, "length")
			logs = append(logs, log{text: fmt.Sprintf("%d.%d of %v to %d %s", m.serial, i, id, at, padding[:m.serial%len(padding)]), end: at})
		}
	}
	g.End = at + rapid.Uint64Range(0, 4).Draw(t, "filtered")
	if kind == "close" {
		g.End = at
	}
	if kind == "close" || rapid.IntRange(0, 15).Draw(t, "closed") == 0 {
		g.Flags |= delivery.Closed
	}
	if len(logs) == 0 && rapid.Bool().Draw(t, "abandoned") {
		g.Flags |= delivery.Abandoned
		g.Reason = delivery.ReasonBuffer
	}
	g.StartHash, g.EndHash = Hash(id, g.Start), Hash(id, g.End)
	if kind == "foreign" {
		g.StartHash ^= 2
	}
	if rapid.IntRange(0, 7).Draw(t, "no hash") == 0 {
		g.EndHash = 0
	}
	g.State = rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, "state")
	rec := record(g, logs, c)
	sent := *g
	return drawn{rec: rec, rng: &sent, logs: logs}
}

// padding gives records different sizes.
const padding = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

// request draws a request, and gives it to a copy of the model.
func (m *machine) request(t *rapid.T) ([]*shardlog.Record, []shardlog.Result, model) {
	after := m.model.clone()
	var request []*shardlog.Record
	var want []shardlog.Result
	for range rapid.IntRange(1, 4).Draw(t, "records") {
		d := m.draw(t, &after)
		request = append(request, d.rec)
		want = append(want, after.append(d.rng, d.logs, m.bench.clock.Now()))
	}
	return request, want, after
}

func (m *machine) appendSome(t *rapid.T) {
	request, want, after := m.request(t)
	got, err := m.shard().Append(m.bench.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if got[i].Action != want[i].Action || got[i].Seq != want[i].Seq || !sameProgress(got[i].Progress, want[i].Progress) {
			t.Fatalf("record %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	m.model = after
}

func (m *machine) failSome(t *rapid.T) {
	m.bench.faults.Arm(Fault(rapid.IntRange(1, int(FaultCount)-1).Draw(t, "fault")))
	before := m.bench.faults.Fired()
	request, _, after := m.request(t)
	_, err := m.shard().Append(m.bench.Context(), request)
	m.bench.faults.Arm(NoFault)
	switch fired := m.bench.faults.Fired() > before; {
	case fired && err == nil:
		t.Fatal("a write failed and the append did not")
	case !fired && err != nil:
		t.Fatal(err)
	case !fired: // nothing had to be written
		m.model = after
	}
	m.bench.clock.Move(time.Second)
}

func (m *machine) resume(t *rapid.T) {
	session := rapid.Uint64Range(1, 9).Draw(t, "session")
	m.resumeAs(t, session)
}

func (m *machine) resumeAs(t *rapid.T, session uint64) {
	ids := []delivery.LaneID{Lane(1), Lane(2), Lane(3), Lane(4)}
	got, err := m.shard().Resume(session, ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		p := m.model.lane(id, m.bench.clock.Now())
		if (p == nil) != (got[i] == nil) {
			t.Fatalf("lane %v: got %+v, want %+v", id, got[i], p)
		}
		if p == nil {
			continue
		}
		l := m.model.lanes[id]
		l.Session = max(l.Session, session)
		m.model.lanes[id] = l
		if !sameProgress(*got[i], l) {
			t.Fatalf("lane %v: got %+v, want %+v", id, got[i], l)
		}
	}
}

func (m *machine) truncate(t *rapid.T) {
	seq := rapid.Uint64Range(0, m.model.next()+1).Draw(t, "sequence")
	if err := m.shard().Truncate(seq); err != nil {
		t.Fatal(err)
	}
	first, _ := m.shard().Bounds()
	if first < m.model.first || first > max(m.model.first, min(seq, m.model.next())) {
		t.Fatalf("after Truncate(%d) the log begins at %d; before it was %d", seq, first, m.model.first)
	}
	m.model.first = first
}

func (m *machine) end(*rapid.T) {
	m.bench.reopen()
}

func (m *machine) crash(t *rapid.T) {
	if !m.bench.engine.Files {
		return
	}
	m.bench.crash()
	first, next := m.shard().Bounds()
	if first != m.model.first || next != m.model.next() {
		t.Fatalf("after a crash the log goes from %d to %d; want %d to %d", first, next, m.model.first, m.model.next())
	}
	// What was resumed may be remembered or not: both agree after this.
	high := uint64(0)
	for _, l := range m.model.lanes {
		high = max(high, l.Session)
	}
	m.resumeAs(t, high+1)
}

func (m *machine) maintain(*rapid.T) {
	if m.bench.engine.Maintain != nil {
		m.bench.engine.Maintain(m.bench.log)
	}
}

func (m *machine) passTime(t *rapid.T) {
	m.bench.clock.Move(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour, 25 * time.Hour, 61 * 24 * time.Hour}).Draw(t, "time"))
}

// check compares what is kept.
func (m *machine) check(t *rapid.T) {
	first, next := m.shard().Bounds()
	if first != m.model.first || next != m.model.next() {
		t.Fatalf("the log goes from %d to %d, and should from %d to %d", first, next, m.model.first, m.model.next())
	}
	for i, r := range readAll(m.bench.TB, m.shard()) {
		want := m.model.recs[first-1+uint64(i)]
		logs, err := texts(&r)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(logs, want.logs) && len(logs)+len(want.logs) > 0 {
			t.Fatalf("record %d holds %v, want %v", r.Seq, logs, want.logs)
		}
		if r.Received != want.received {
			t.Fatalf("record %d was received at %d, want %d", r.Seq, r.Received, want.received)
		}
		if !sameRange(r.Range, want.rng) {
			t.Fatalf("record %d has the range %+v, want %+v", r.Seq, r.Range, want.rng)
		}
	}
}

// sameRange compares all but the ends, which texts compares.
func sameRange(a, b *delivery.Range) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	same := string(x.State) == string(y.State)
	x.State, y.State, x.Ends, y.Ends = nil, nil, nil, nil
	return same && reflect.DeepEqual(x, y)
}
