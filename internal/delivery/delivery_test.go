package delivery

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

// TestMain raises rapid's number of checks: one takes some 50 µs here.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("5000"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestDecideIsTheTableOfTheContract(t *testing.T) {
	known := &Progress{End: 100, Hash: 7, Session: 5}
	for _, c := range []struct {
		name string
		p    *Progress
		r    Range
		want Action
	}{
		{"lane unknown, from 0", nil, Range{End: 9}, Append},
		{"lane unknown, the agent's claim", nil, Range{Start: 5, End: 9, Flags: Claim}, Append},
		{"lane unknown, from the middle", nil, Range{Start: 5, End: 9}, Unknown},
		{"starts at the progress", known, Range{Session: 5, Start: 100, End: 120, StartHash: 7}, Append},
		{"starts at the progress, hash not known", known, Range{Session: 5, Start: 100, End: 120}, Append},
		{"other bytes before the start", known, Range{Session: 5, Start: 100, End: 120, StartHash: 8}, Foreign},
		{"other bytes before the end", known, Range{Session: 5, Start: 90, End: 100, EndHash: 8}, Foreign},
		{"ends at the progress", known, Range{Session: 5, Start: 90, End: 100, EndHash: 7}, Duplicate},
		{"ends below the progress", known, Range{Session: 5, Start: 0, End: 50, EndHash: 3}, Duplicate},
		{"overlaps", known, Range{Session: 5, Start: 90, End: 110}, Trim},
		{"hole", known, Range{Session: 5, Start: 101, End: 110}, Hole},
		{"hole, with a claim", known, Range{Session: 5, Start: 101, End: 110, Flags: Claim}, Hole},
		{"nothing but closed", known, Range{Session: 5, Start: 100, End: 100, Flags: Closed}, Append},
		{"closed again", &Progress{End: 100, Session: 5, Closed: true}, Range{Session: 5, Start: 100, End: 100, Flags: Closed}, Duplicate},
		{"nothing", known, Range{Session: 5, Start: 100, End: 100}, Duplicate},
		{"older session", known, Range{Session: 4, Start: 100, End: 120}, Fenced},
		{"session that did not resume", known, Range{Session: 6, Start: 100, End: 120}, Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Decide(c.p, &c.r); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestResumeAgreesOnAPlace(t *testing.T) {
	local := Checkpoint{Point: Point{End: 100, Hash: 7, State: []byte("l")}, Incarnation: "a", AbandonedFrom: 100}
	dropped := local
	dropped.AbandonedFrom = 60
	for _, c := range []struct {
		name        string
		c           Checkpoint
		p           *Progress
		incarnation string
		holds       bool
		want        Plan
	}{
		{"new stream", Checkpoint{}, nil, "a", true, Plan{}},
		{"equal", local, &Progress{End: 100, Hash: 7}, "a", true, Plan{Point: local.Point, AbandonFrom: 100}},
		{
			"server ahead", local,
			&Progress{End: 120, Hash: 9, State: []byte("s")},
			"a", true,
			Plan{Point: Point{120, 9, []byte("s")}, AbandonFrom: 120},
		},
		{"server ahead with other content", local, &Progress{End: 120, Hash: 9}, "a", false, Plan{Point: local.Point, AbandonFrom: 100, NewStream: true, Claim: true}},
		{"equal with other content", local, &Progress{End: 100, Hash: 9}, "a", true, Plan{Point: local.Point, AbandonFrom: 100, NewStream: true, Claim: true}},
		{"server behind", local, &Progress{End: 80, Hash: 9}, "a", true, Plan{Point: Point{End: 80, Hash: 9}, AbandonFrom: 80, Behind: true}},
		{"server behind what was dropped", dropped, &Progress{End: 60, Hash: 9}, "a", true, Plan{Point: local.Point, AbandonFrom: 60}},
		{"server forgot", local, nil, "a", true, Plan{Point: local.Point, AbandonFrom: 100, Claim: true, Forgotten: true}},
		{"logstore made again", local, nil, "b", true, Plan{Point: local.Point, AbandonFrom: 100, Claim: true, MadeAgain: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Resume(c.c, c.p, c.incarnation, func(uint64, uint64) bool { return c.holds })
			if !bytes.Equal(got.State, c.want.State) {
				t.Errorf("state %q, want %q", got.State, c.want.State)
			}
			got.State, c.want.State = nil, nil
			if got.End != c.want.End || got.Hash != c.want.Hash || got.Claim != c.want.Claim || got.NewStream != c.want.NewStream ||
				got.Forgotten != c.want.Forgotten || got.MadeAgain != c.want.MadeAgain || got.Behind != c.want.Behind || got.AbandonFrom != c.want.AbandonFrom {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestEveryActionHasAReactionAndAName(t *testing.T) {
	want := map[Action]Reaction{Append: Accept, Trim: Accept, Duplicate: Accept, Hole: Rewind, Unknown: ResumeNow, Foreign: NewStream, Fenced: Stop}
	for a := Append; a <= Fenced; a++ {
		if got := React(a); got != want[a] {
			t.Errorf("%v: reaction %d, want %d", a, got, want[a])
		}
		if a.Accepted() != (want[a] == Accept) {
			t.Errorf("%v: Accepted is %v", a, a.Accepted())
		}
		if got, err := ParseAction(a.String()); err != nil || got != a {
			t.Errorf("%v does not read back: %v, %v", a, got, err)
		}
	}
	if _, err := ParseAction("perhaps"); err == nil {
		t.Error("an unknown name was accepted")
	}
}

func TestLaneIDsDependOnEveryPart(t *testing.T) {
	s := NewStreamID()
	seen := map[LaneID]string{}
	for _, l := range []struct{ flusher, group string }{{"", ""}, {"a", ""}, {"", "a"}, {"a", "b"}, {"ab", ""}, {"1:", "a"}} {
		id := s.Lane(l.flusher, l.group)
		if old, dup := seen[id]; dup {
			t.Errorf("%q and %q share a lane", old, l)
		}
		seen[id] = l.flusher + "|" + l.group
		if got, err := ParseLaneID(id.String()); err != nil || got != id {
			t.Errorf("lane id does not read back: %v", err)
		}
	}
	if _, err := ParseLaneID("12"); err == nil {
		t.Error("a short lane id was accepted")
	}
}

func TestTailHashCoversTheLast64Bytes(t *testing.T) {
	a := bytes.Repeat([]byte("a"), 200)
	b := append([]byte("b"), a[1:]...)
	if TailHash(a) != TailHash(b) {
		t.Error("a byte 200 before the end changed the hash")
	}
	c := bytes.Clone(a)
	c[200-TailBytes] = 'c'
	if TailHash(a) == TailHash(c) {
		t.Error("the 64th byte before the end did not change the hash")
	}
	if TailHash(nil) == 0 {
		t.Error("0 means not known and must not be a hash")
	}
}
