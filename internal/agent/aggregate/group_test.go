package aggregate

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"logtail/internal/agent/event"
	"logtail/internal/delivery"
	"logtail/internal/sls"
)

func record(i int, end uint64) *event.Record {
	return &event.Record{
		Fields: []event.Field{{Key: []byte("content"), Value: fmt.Appendf(nil, "line %d", i)}},
		Sec:    uint32(1700000000 + i), Nsec: int32(i), End: end,
	}
}

func TestAGroupHoldsItsLogsAndWhereTheyEnd(t *testing.T) {
	var g Group
	g.Borrow(NewPool(1))
	g.Open(delivery.Point{End: 100}, time.Unix(1, 0))
	for i := range 300 {
		g.Add(record(i, uint64(110+10*i)), i%2 == 0)
	}
	encoded, ends := g.Seal(sls.AppendTag(sls.AppendTopic(nil, "t"), "k", "v"))
	var got sls.LogGroup
	if err := got.Decode(encoded, sls.DefaultLimits); err != nil {
		t.Fatal(err)
	}
	if len(got.Logs) != 300 || got.Topic != "t" || len(got.Tags) != 1 {
		t.Fatalf("%d logs, topic %q, tags %v", len(got.Logs), got.Topic, got.Tags)
	}
	at := uint64(100)
	for i := range got.Logs {
		d, n := binary.Uvarint(ends)
		ends = ends[n:]
		at += d
		if at != uint64(110+10*i) {
			t.Fatalf("log %d ends at %d", i, at)
		}
		if want := int32(i); i%2 == 1 && got.Logs[i].Nsec != -1 || i%2 == 0 && got.Logs[i].Nsec != want {
			t.Fatalf("log %d has nanoseconds %d", i, got.Logs[i].Nsec)
		}
		if !bytes.Equal(got.Logs[i].Contents[0].Value, fmt.Appendf(nil, "line %d", i)) {
			t.Fatalf("log %d is %q", i, got.Logs[i].Contents[0].Value)
		}
	}
	if len(ends) != 0 {
		t.Errorf("%d bytes of ends left", len(ends))
	}
}

func TestAGroupIsFullAtTheFirstOfItsLimits(t *testing.T) {
	start := time.Unix(1000, 0)
	l := Limits{Logs: 3, Bytes: 1 << 20, Age: 3 * time.Second}
	var g Group
	if g.Old(&l, start.Add(time.Hour)) {
		t.Error("a closed group is old")
	}
	g.Open(delivery.Point{}, start)
	g.Add(record(0, 1), false)
	g.Add(record(1, 2), false)
	if g.Full(&l) || g.Old(&l, start.Add(2*time.Second)) {
		t.Error("full too early")
	}
	if !g.Old(&l, start.Add(3*time.Second)) {
		t.Error("not old after its age")
	}
	g.Add(record(2, 3), false)
	if !g.Full(&l) {
		t.Error("not full with its count")
	}
	l = Limits{Logs: 1 << 20, Bytes: 30}
	if !g.Full(&l) {
		t.Error("not full with its size")
	}
}

func TestARangeWithoutLogsHasNoGroup(t *testing.T) {
	var g Group
	g.Open(delivery.Point{}, time.Unix(0, 0))
	if encoded, ends := g.Seal([]byte("tags")); encoded != nil || ends != nil {
		t.Error("an empty range has a log group")
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	var g Group
	r := record(1, 9)
	g.Open(delivery.Point{}, time.Unix(0, 0))
	for range 1000 {
		g.Add(r, true)
	}
	if n := testing.AllocsPerRun(100, func() {
		g.Open(delivery.Point{}, time.Time{})
		for range 1000 {
			g.Add(r, true)
		}
	}); n != 0 {
		t.Errorf("%v allocations for 1,000 logs", n)
	}
}
