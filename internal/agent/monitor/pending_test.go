package monitor

import (
	"fmt"
	"reflect"
	"testing"
)

func TestPendingJoinsEventsOfAPath(t *testing.T) {
	w := &watch{name: "w"}
	type in struct {
		kind  Kind
		path  string
		first bool
	}
	for name, c := range map[string]struct {
		in   []in
		want []Event
	}{
		"changes join": {
			[]in{{Changed, "a", false}, {Changed, "b", false}, {Changed, "a", false}},
			[]Event{{"w", Changed, "a", false}, {"w", Changed, "b", false}},
		},
		"a change joins the find, which stays First": {
			[]in{{Found, "a", true}, {Changed, "a", false}},
			[]Event{{"w", Found, "a", true}},
		},
		"found and gone unseen": {
			[]in{{Found, "a", false}, {Changed, "a", false}, {Gone, "a", false}, {Changed, "b", false}},
			[]Event{{"w", Changed, "b", false}},
		},
		"a known file goes": {
			[]in{{Changed, "a", false}, {Gone, "a", false}},
			[]Event{{"w", Gone, "a", false}},
		},
		"a known file goes and another comes: found anew, not First": {
			[]in{{Gone, "a", false}, {Found, "a", false}, {Changed, "a", false}},
			[]Event{{"w", Found, "a", false}},
		},
		"comes and goes in place of a known one": {
			[]in{{Gone, "a", false}, {Found, "a", false}, {Gone, "a", false}},
			[]Event{{"w", Gone, "a", false}},
		},
		"replaced while known": {
			[]in{{Changed, "a", false}, {Found, "a", false}, {Gone, "a", false}},
			[]Event{{"w", Gone, "a", false}},
		},
		"unseen, then there": {
			[]in{{Found, "a", true}, {Gone, "a", false}, {Found, "a", false}},
			[]Event{{"w", Found, "a", false}},
		},
	} {
		var p pending
		for _, e := range c.in {
			p.add(w, e.kind, e.path, e.first)
		}
		if got := p.take(100); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
		if p.live != 0 || len(p.index) != 0 || p.take(100) != nil {
			t.Errorf("%s: something is left", name)
		}
	}
}

func TestPendingKeepsWatchesApartAndOrder(t *testing.T) {
	a, b := &watch{name: "a"}, &watch{name: "b"}
	var p pending
	p.add(a, Found, "x", true)
	p.add(b, Found, "x", true)
	p.done(a)
	p.add(b, Gone, "x", false)
	p.add(a, Changed, "y", false)
	p.done(b)
	want := []Event{{"a", Found, "x", true}, {"a", FirstScanDone, "", false}, {"a", Changed, "y", false}, {"b", FirstScanDone, "", false}}
	var got []Event
	for batch := p.take(1); batch != nil; batch = p.take(1) {
		got = append(got, batch...)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPendingIsBoundedWhileFilesComeAndGo(t *testing.T) {
	w := &watch{name: "w"}
	var p pending
	p.add(w, Changed, "stays", false)
	for i := range 100_000 {
		path := fmt.Sprint(i)
		p.add(w, Found, path, false)
		p.add(w, Changed, "stays", false)
		p.add(w, Gone, path, false)
	}
	if len(p.list) > 5000 {
		t.Errorf("%d entries for one event", len(p.list))
	}
	p.add(w, Gone, "stays", false)
	if got := p.take(10); len(got) != 1 || got[0].Kind != Gone {
		t.Errorf("got %v", got)
	}
}

func TestPendingPurge(t *testing.T) {
	a, b := &watch{name: "a"}, &watch{name: "b"}
	var p pending
	p.add(a, Found, "x", true)
	p.done(a)
	p.add(b, Found, "x", true)
	p.purge(a)
	p.add(a, Found, "x", true)
	want := []Event{{"b", Found, "x", true}, {"a", Found, "x", true}}
	if got := p.take(10); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
