package send_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"logtail/internal/agent/send"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// wantSent checks what became of packages.
func wantSent(t *testing.T, s *sender, want string, pkgs ...*send.Package) {
	t.Helper()
	got, err := s.send(pkgs...)
	if err != nil && !strings.Contains(want, "error") {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("got %q, want %q (%v)", got, want, err)
	}
}

func lost(what fault) func(string, uint64) fault {
	return func(string, uint64) fault { return what }
}

func TestSeqPreparesARequestInOneCommit(t *testing.T) {
	h, r := newHosted(t), newRecords()
	s := newSender(h, r, false)
	s.resume(t)
	prepared := 0
	h.set(func(string, uint64) fault {
		r.mu.Lock()
		defer r.mu.Unlock()
		prepared = len(r.list[laneOf("a")].Pend) + len(r.list[laneOf("b")].Pend)
		return fault{}
	})
	wantSent(t, s, "append append append",
		s.pack(t, "a", 0, 20, nil), s.pack(t, "b", 0, 10, nil), s.pack(t, "a", 20, 30, nil))
	if r.commits != 1 || prepared != 3 {
		t.Errorf("%d commits, %d ranges were prepared before the first was sent; want 1 and 3", r.commits, prepared)
	}
	h.want("a", "0", "1", "2")
	h.want("b", "0")
	a, _ := r.of("a")
	b, _ := r.of("b")
	if len(a.Key) != 32 || a.Key == b.Key {
		t.Errorf("hash keys %q and %q", a.Key, b.Key)
	}
}

func TestSeqSendsAgainWhatGotNoAnswerUnderItsNumber(t *testing.T) {
	for name, f := range map[string]fault{"request lost": {request: true}, "reply lost": {reply: true}} {
		t.Run(name, func(t *testing.T) {
			h, r := newHosted(t), newRecords()
			s := newSender(h, r, false)
			s.resume(t)
			h.set(lost(f))
			if got, err := s.send(s.pack(t, "a", 0, 20, nil), s.pack(t, "a", 20, 30, nil)); err == nil || send.Classify(err) != send.Network {
				t.Fatalf("got %q, %v", got, err)
			}
			h.set(nil)
			wantSent(t, s, "append append append", s.pack(t, "a", 0, 20, nil), s.pack(t, "a", 20, 30, nil), s.pack(t, "a", 30, 40, nil))
			h.want("a", "0", "1", "2", "3")
			if r.commits != 2 || len(s.alarms) != 0 {
				t.Errorf("%d commits, alarms %v", r.commits, s.alarms)
			}
		})
	}
}

// TestSeqGoesOnAfterARestart has an agent send [0,20) and [20,50) and get no answer
// to the second; then another one begins, with packages that are cut elsewhere.
func TestSeqGoesOnAfterARestart(t *testing.T) {
	for _, c := range []struct {
		name      string
		arrived   bool // what got no answer
		confirmed uint64
		cuts      []uint64 // ends of the packages
		want      string
	}{
		{"as before, not there", false, 20, []uint64{50, 70}, "append append"},
		{"as before, there", true, 20, []uint64{50, 70}, "append append"},
		{"longer, not there", false, 20, []uint64{70}, "append"},
		{"longer, there", true, 20, []uint64{70}, "append"},
		{"shorter, not there", false, 20, []uint64{30, 70}, "append append"},
		{"shorter, there", true, 20, []uint64{30, 70}, "duplicate trim"},
		{"shorter twice, there", true, 20, []uint64{30, 40, 70}, "duplicate duplicate trim"},
		{"the checkpoint is older", true, 0, []uint64{70}, "append"},
		{"the checkpoint is older, other cuts", true, 0, []uint64{10, 30, 60, 70}, "duplicate duplicate trim append"},
		{"the checkpoint is newer", true, 50, []uint64{70}, "append"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, r := newHosted(t), newRecords()
			s := newSender(h, r, false)
			s.resume(t)
			h.set(func(_ string, number uint64) fault {
				return fault{request: number == 2 && !c.arrived, reply: number == 2}
			})
			if got, _ := s.send(s.pack(t, "a", 0, 20, nil), s.pack(t, "a", 20, 50, nil)); got != "append error" {
				t.Fatalf("got %q", got)
			}
			h.set(nil)
			s = newSender(h, r, false)
			s.Place(laneOf("a"), c.confirmed)
			p := s.resume(t, "a")[0]
			if p == nil || p.End != c.confirmed || p.Hash != hashAt("a", p.End) && p.End > 0 {
				t.Fatalf("got the progress %+v", p)
			}
			at := p.End
			var pkgs []*send.Package
			for _, end := range c.cuts {
				pkgs = append(pkgs, s.pack(t, "a", at, end, nil))
				at = end
			}
			wantSent(t, s, c.want, pkgs...)
			h.want("a", "0", "1", "2", "3", "4", "5", "6")
			if len(s.alarms) != 0 {
				t.Errorf("alarms %v", s.alarms)
			}
		})
	}
}

// TestSeqTellsWhatCannotBeKnown: under one number two ranges were offered, and neither
// was answered. Nothing may be lost, and what may be there twice is told.
func TestSeqTellsWhatCannotBeKnown(t *testing.T) {
	h, r := newHosted(t), newRecords()
	s := newSender(h, r, false)
	s.resume(t)
	h.set(lost(fault{reply: true}))
	_, _ = s.send(s.pack(t, "a", 0, 50, nil))
	s = newSender(h, r, false)
	s.resume(t, "a")
	_, _ = s.send(s.pack(t, "a", 0, 30, nil))
	h.set(nil)
	wantSent(t, s, "append append", s.pack(t, "a", 0, 30, nil), s.pack(t, "a", 30, 60, nil))
	h.want("a", "0", "1", "2", "3", "4", "3", "4", "5")
	if len(s.alarms) != 1 || !strings.HasPrefix(s.alarms[0], send.AlarmDelivery) || !strings.Contains(s.alarms[0], "20 bytes") {
		t.Errorf("alarms %v", s.alarms)
	}
}

// TestSeqRemembersTheAnswerToAShorterRange: the answer cannot be had a second time.
func TestSeqRemembersTheAnswerToAShorterRange(t *testing.T) {
	for _, arrived := range []bool{true, false} {
		h, r := newHosted(t), newRecords()
		s := newSender(h, r, false)
		s.resume(t)
		h.set(lost(fault{request: !arrived, reply: true}))
		_, _ = s.send(s.pack(t, "a", 0, 50, nil))
		h.set(nil)
		s = newSender(h, r, false)
		s.resume(t, "a")
		wantSent(t, s, map[bool]string{true: "duplicate", false: "append"}[arrived], s.pack(t, "a", 0, 30, nil))
		s = newSender(h, r, false)
		s.Place(laneOf("a"), 30)
		p := s.resume(t, "a")[0]
		if want := map[bool]uint64{true: 50, false: 30}[arrived]; p.End != want {
			t.Errorf("arrived %v: the progress is %d, want %d", arrived, p.End, want)
		}
		wantSent(t, s, "append", s.pack(t, "a", p.End, 60, nil))
		h.want("a", "0", "1", "2", "3", "4", "5")
		if len(s.alarms) != 0 {
			t.Errorf("alarms %v", s.alarms)
		}
	}
}

func TestSeqRangesWithoutLogsOnlyMoveTheLane(t *testing.T) {
	h, r := newHosted(t), newRecords()
	s := newSender(h, r, false)
	s.resume(t)
	none := func(uint64) bool { return false }
	abandoned := s.pack(t, "a", 30, 50, none)
	abandoned.Range.Flags, abandoned.Range.Reason = delivery.Abandoned, delivery.ReasonRefused
	wantSent(t, s, "append append append append", s.pack(t, "a", 0, 20, nil), s.pack(t, "a", 20, 30, none), abandoned, s.pack(t, "a", 50, 60, nil))
	h.want("a", "0", "1", "5")
	if n := h.count(); n != 2 {
		t.Errorf("%d writes", n)
	}
	if p := s.resume(t, "a")[0]; p.End != 60 {
		t.Errorf("the progress is %d", p.End)
	}
}

// TestSeqNumberOfAnAbandonedRangeIsNotUsedAgain: what was sent under it may be there.
func TestSeqNumberOfAnAbandonedRangeIsNotUsedAgain(t *testing.T) {
	h, r := newHosted(t), newRecords()
	s := newSender(h, r, false)
	s.resume(t)
	h.set(lost(fault{reply: true}))
	_, _ = s.send(s.pack(t, "a", 0, 20, nil))
	h.set(nil)
	gone := s.pack(t, "a", 0, 20, func(uint64) bool { return false })
	gone.Range.Flags = delivery.Abandoned
	wantSent(t, s, "append append", gone, s.pack(t, "a", 20, 40, nil))
	h.want("a", "0", "1", "2", "3")
}

func TestSeqKeepsTheTableOfTheContract(t *testing.T) {
	h, r := newHosted(t), newRecords()
	s := newSender(h, r, false)
	s.resume(t)
	wantSent(t, s, "unknown", s.pack(t, "a", 30, 50, nil))
	claim := s.pack(t, "a", 30, 50, nil)
	claim.Range.Flags |= delivery.Claim
	wantSent(t, s, "append", claim)
	wantSent(t, s, "hole", s.pack(t, "a", 60, 70, nil))
	wantSent(t, s, "duplicate", s.pack(t, "a", 40, 50, nil))
	wantSent(t, s, "trim", s.pack(t, "a", 40, 60, nil))
	foreign := s.pack(t, "a", 60, 70, nil)
	foreign.Range.StartHash++
	wantSent(t, s, "foreign foreign", foreign, s.pack(t, "a", 70, 80, nil))
	old := s.pack(t, "a", 60, 70, nil)
	s.resume(t, "a")
	wantSent(t, s, "fenced", old)
	h.want("a", "3", "4", "5")
}

func TestSeqErrorsOfALane(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   *sls.Error
		whole bool // the request as a whole failed
	}{
		{"quota of a shard", sls.NewError(sls.CodeShardWriteQuotaExceed, "x"), false},
		{"refused", sls.NewError(sls.CodePostBodyInvalid, "x"), false},
		{"quota of the project", sls.NewError(sls.CodeWriteQuotaExceed, "x"), true},
		{"unauthorized", sls.NewError(sls.CodeUnauthorized, "x"), true},
		{"server", sls.NewError(sls.CodeServerBusy, "x"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, r := newHosted(t), newRecords()
			s := newSender(h, r, false)
			s.resume(t)
			wantSent(t, s, "append", s.pack(t, "a", 0, 10, nil))
			a, _ := r.of("a")
			h.set(func(key string, _ uint64) fault {
				if key == a.Key || c.whole {
					return fault{refuse: c.err}
				}
				return fault{}
			})
			got, err := s.send(s.pack(t, "a", 10, 20, nil), s.pack(t, "b", 0, 20, nil), s.pack(t, "a", 20, 30, nil))
			var e *sls.Error
			if !errors.As(err, &e) || e.Code != c.err.Code {
				t.Errorf("got the error %v", err)
			}
			if c.whole != (got == "") || !c.whole && got != "error append error" {
				t.Errorf("got %q", got)
			}
			h.set(nil)
			// What was refused was not taken, so its number is still free.
			wantSent(t, s, "append", s.pack(t, "a", 10, 25, nil))
			h.want("a", "0", "1")
		})
	}
}

// TestSeqGoesOnWithAnotherKeyIfSomebodyUsesItsNumbers: a copy of the machine writes
// with the same key. What it sent is not what this one sends.
func TestSeqGoesOnWithAnotherKeyIfSomebodyUsesItsNumbers(t *testing.T) {
	h, r := newHosted(t), newRecords()
	s := newSender(h, r, false)
	s.resume(t)
	wantSent(t, s, "append", s.pack(t, "a", 0, 10, nil))
	clone := newRecords()
	clone.list, _ = r.LoadSeq()
	other := newSender(h, clone, false)
	other.Place(laneOf("a"), 10)
	other.resume(t, "a")
	wantSent(t, other, "append", other.pack(t, "a", 10, 20, nil))
	wantSent(t, s, "append append", s.pack(t, "a", 10, 20, nil), s.pack(t, "a", 20, 30, nil))
	if got := h.stored()["a"]; len(got) != 4 { // in two shards, perhaps
		t.Errorf("stored %v", got)
	}
	if len(s.alarms) != 1 || !strings.Contains(s.alarms[0], "cloned") {
		t.Errorf("alarms %v", s.alarms)
	}
	before, _ := clone.of("a")
	after, _ := r.of("a")
	if before.Key == after.Key {
		t.Error("the hash key is still the same")
	}
}

// TestSeqKeepsLogsIfEveryNumberIsRefusedAsRepeated: they are not stored, whatever the
// service says.
func TestSeqKeepsLogsIfEveryNumberIsRefusedAsRepeated(t *testing.T) {
	for _, code := range []string{sls.CodeInvalidSequenceID, "SequenceIdInvalid"} {
		h, r := newHosted(t), newRecords()
		s := newSender(h, r, false)
		s.resume(t)
		h.set(lost(fault{refuse: &sls.Error{Status: 400, Code: code}}))
		if got, err := s.send(s.pack(t, "a", 0, 10, nil)); err == nil || send.Classify(err) != send.Network {
			t.Errorf("got %q, %v", got, err)
		}
		h.set(nil)
		wantSent(t, s, "append", s.pack(t, "a", 0, 10, nil))
		h.want("a", "0")
	}
}

func TestSeqBothSpellingsOfTheCodeMeanRepeated(t *testing.T) {
	for _, code := range []string{sls.CodeInvalidSequenceID, "SequenceIdInvalid"} {
		h, r := newHosted(t), newRecords()
		s := newSender(h, r, false)
		s.resume(t)
		h.set(lost(fault{reply: true}))
		_, _ = s.send(s.pack(t, "a", 0, 10, nil))
		h.set(lost(fault{refuse: &sls.Error{Status: 400, Code: code}}))
		wantSent(t, s, "append", s.pack(t, "a", 0, 10, nil))
		h.want("a", "0")
	}
}

func TestSeqSendsNothingThatCouldNotBePrepared(t *testing.T) {
	h, r := newHosted(t), newRecords()
	s := newSender(h, r, false)
	s.resume(t)
	full := errors.New("no space left")
	r.before = func() error { return full }
	if _, err := s.send(s.pack(t, "a", 0, 10, nil)); !errors.Is(err, full) || h.count() != 0 {
		t.Errorf("got %v and %d writes", err, h.count())
	}
	r.before = nil
	wantSent(t, s, "append", s.pack(t, "a", 0, 10, nil))
	if q, _ := r.of("a"); len(q.Pend) != 1 {
		t.Errorf("it was not prepared durably: %+v", q)
	}
}

func TestSeqWithRecordsInDoubtTakesNewKeys(t *testing.T) {
	h, r := newHosted(t), newRecords()
	s := newSender(h, r, false)
	s.resume(t)
	wantSent(t, s, "append", s.pack(t, "a", 0, 10, nil))
	before, _ := r.of("a")
	s = newSender(h, r, true)
	s.Place(laneOf("a"), 10)
	s.resume(t, "a")
	wantSent(t, s, "append", s.pack(t, "a", 10, 20, nil))
	if after, _ := r.of("a"); after.Key == before.Key {
		t.Error("the hash key is still the same")
	}
	if got := h.stored()["a"]; len(got) != 2 { // in two shards, perhaps
		t.Errorf("stored %v", got)
	}
}

func TestSeqRecordsGoWithTheirStreams(t *testing.T) {
	h, r := newHosted(t), newRecords()
	r.list[laneOf("old")] = state.Seq{Key: "k", Next: 1, Time: time.Now().Add(-send.SeqExpiry - time.Hour).Unix()}
	s := newSender(h, r, false)
	s.resume(t)
	wantSent(t, s, "append append", s.pack(t, "a", 0, 10, nil), s.pack(t, "b", 0, 10, nil))
	closed := s.pack(t, "a", 10, 10, nil)
	closed.Range.Flags |= delivery.Closed
	wantSent(t, s, "append", closed)
	if _, there := r.of("a"); there {
		t.Error("the record of a closed lane is still there")
	}
	if _, there := r.of("old"); there {
		t.Error("the record of a lane that was silent for long is still there")
	}
	if _, there := r.of("b"); !there {
		t.Error("the record of a living lane is gone")
	}
}

func TestSeqLeavesTheContractToAServiceThatKeepsIt(t *testing.T) {
	h, r := newHosted(t), newRecords()
	s := newSender(h, r, false)
	s.resume(t)
	wantSent(t, s, "append", s.pack(t, "a", 0, 10, nil))
	h.ranges = true
	s = newSender(h, r, false)
	if p := s.resume(t, "a")[0]; p != nil {
		t.Fatalf("our server got no ranges and has the progress %+v", p)
	}
	claim := s.pack(t, "a", 10, 20, nil)
	claim.Range.Flags |= delivery.Claim
	wantSent(t, s, "append", claim)
	if _, there := r.of("a"); there {
		t.Error("the record is still there; it would be wrong if the service changed again")
	}
	if got := h.stored()["a"]; len(got) != 2 { // in two shards, perhaps
		t.Errorf("stored %v", got)
	}
	h.ranges = false
	s = newSender(h, r, false)
	s.Place(laneOf("a"), 20)
	if p := s.resume(t, "a")[0]; p != nil {
		t.Errorf("got the progress %+v", p)
	}
}

// TestSeqNeverSendsTwoWritesOfALaneAtOnce also not if two requests have the same lane.
func TestSeqNeverSendsTwoWritesOfALaneAtOnce(t *testing.T) {
	h, r := newHosted(t), newRecords()
	s := newSender(h, r, false)
	s.resume(t)
	h.hold = make(chan struct{})
	one, two := s.pack(t, "a", 0, 10, nil), s.pack(t, "a", 10, 20, nil)
	b, c := s.pack(t, "b", 0, 10, nil), s.pack(t, "c", 0, 10, nil)
	results := make(chan string, 2)
	go func() {
		got, err := s.send(one, b, c)
		results <- got + errText(err)
	}()
	for range 3 { // lanes of one request do go at once
		<-h.arrived
	}
	go func() {
		got, err := s.send(two)
		results <- got + errText(err)
	}()
	close(h.hold)
	if x, y := <-results, <-results; x+" "+y != "append append append append" && y+" "+x != "append append append append" {
		t.Errorf("got %q and %q", x, y)
	}
	if h.crossed {
		t.Error("two writes of a lane were on their way at once")
	}
	h.want("a", "0", "1")
}

func errText(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}
