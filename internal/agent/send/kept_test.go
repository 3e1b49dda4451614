package send

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"logtail/internal/agent/buffer"
	"logtail/internal/delivery"
)

// line is a content of which packages of ten bytes are made.
var line = strings.Repeat("0123456789", 100)

func hashAt(end uint64) uint64 { return delivery.TailHash([]byte(line[:end])) }

func at(end uint64) delivery.Checkpoint {
	return delivery.Checkpoint{Point: delivery.Point{End: end, Hash: hashAt(end)}, AbandonedFrom: end}
}

// hashed is pkg with what the reader knows of its place.
func hashed(n int) *Package {
	p := pkg(n)
	p.Range.StartHash, p.Range.EndHash = hashAt(p.Range.Start), hashAt(p.Range.End)
	p.Range.State = []byte{byte(n)}
	return p
}

// outage has a lane spill the packages [from, to) and ends the agent. The service
// has what is before.
func outage(t *testing.T, s *service, x *disk, id delivery.LaneID, from, to int) {
	t.Helper()
	b := start(t, s, Options{Buffer: x})
	o := newOwner()
	l := b.Lane(id, o, delivery.Checkpoint{}, true)
	<-o.ready
	for i := range from {
		l.Put(hashed(i))
	}
	pass(time.Second)
	s.down(true)
	l.Spill(true)
	for i := from; i < to; i++ {
		l.Put(hashed(i))
	}
	pass(10 * time.Second)
	b.stop()
	if x.size() != to-from {
		t.Fatalf("%d records, want %d", x.size(), to-from)
	}
}

func TestAfterARestartTheBufferGoesFirst(t *testing.T) {
	for _, c := range []struct {
		name     string
		stored   uint64 // checkpoint of the agent's state
		progress uint64 // of the service
		gone     bool   // the file cannot be read any more
		drop     []uint64
		point    uint64 // where the owner goes on
		want     string // packages
		lost     string // abandoned
		counted  int64
	}{
		{name: "as it was left", stored: 30, progress: 30, point: 100, want: "0-11"},
		{name: "as it was left, file gone", stored: 30, progress: 30, gone: true, point: 100, want: "0-11"},
		{name: "old checkpoint", stored: 10, progress: 30, gone: true, point: 100, want: "0-11"},
		{name: "a reply was lost", stored: 30, progress: 50, gone: true, point: 100, want: "0-11"},
		{name: "all replies were lost", stored: 30, progress: 100, gone: true, point: 100, want: "0-11"},
		{name: "the service is behind", stored: 30, progress: 20, point: 20, want: "0-11"},
		{name: "the service is behind, file gone", stored: 30, progress: 20, gone: true, point: 100, want: "0-2 3-11", lost: "20-30", counted: 10},
		{name: "records lost", stored: 30, progress: 30, drop: []uint64{3}, point: 50, want: "0-11"},
		{name: "records lost, file gone", stored: 30, progress: 30, gone: true, drop: []uint64{3}, point: 100, want: "0-5 6-11", lost: "50-60", counted: 10},
		{name: "first record lost, file gone", stored: 30, progress: 30, gone: true, drop: []uint64{1, 2}, point: 100, want: "0-3 5-11", lost: "30-50", counted: 20},
		{name: "last record lost", stored: 30, progress: 30, drop: []uint64{7}, point: 90, want: "0-11"},
		{name: "all records lost", stored: 30, progress: 30, drop: []uint64{1, 2, 3, 4, 5, 6, 7}, point: 30, want: "0-11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, x := newService(), newDisk()
				id := delivery.NewStreamID().Lane("f", "")
				outage(t, s, x, id, 3, 10)
				s.down(false)
				x = x.reopen()
				x.Done(c.drop...)
				for i := 3; uint64(10*i) < c.progress; i++ {
					s.got[id] = append(s.got[id], string(pkg(i).Data()))
				}
				if c.progress < 30 {
					s.got[id] = s.got[id][:c.progress/10]
				}
				s.progress[id] = delivery.Progress{End: c.progress, Hash: hashAt(c.progress), Session: s.sessions}
				b := start(t, s, Options{Buffer: x})
				o := newOwner()
				o.content, o.gone = line, c.gone
				l := b.Lane(id, o, at(c.stored), false)
				plan := <-o.ready
				if plan.End != c.point || plan.Hash != hashAt(c.point) {
					t.Errorf("goes on at %d (hash %x), want %d (%x)", plan.End, plan.Hash, c.point, hashAt(c.point))
				}
				if plan.End > c.progress && (len(plan.State) != 1 || plan.State[0] != byte(plan.End/10-1)) {
					t.Errorf("the state of reading at %d is %v", plan.End, plan.State)
				}
				for i := int(plan.End / 10); i < 11; i++ {
					l.Put(hashed(i))
				}
				pass(time.Minute)
				var want []string
				for _, part := range strings.Fields(c.want) {
					var from, to int
					_, _ = fmt.Sscanf(part, "%d-%d", &from, &to)
					for i := from; i < to; i++ {
						want = append(want, string(pkg(i).Data()))
					}
				}
				if got := s.got[id]; !slices.Equal(got, want) {
					t.Errorf("got %q", got)
				}
				if g := s.abandoned(id); g != c.lost {
					t.Errorf("abandoned %q, want %q", g, c.lost)
				}
				if _, n := b.counted(delivery.ReasonBuffer); n != c.counted {
					t.Errorf("%d bytes counted, want %d", n, c.counted)
				}
				if x.size() != 0 || l.Pending() {
					t.Errorf("%d records are left, pending %v", x.size(), l.Pending())
				}
			})
		})
	}
}

func TestAnOwnerGoesOnWithoutTheAnswerOfADestination(t *testing.T) {
	for _, c := range []struct {
		name     string
		progress int64 // of the service when it answers; negative: the lane is not known there
		gone     bool
		rewind   int64 // where LaneReady sends the owner; negative: it does not come
	}{
		{"service where it was", 30, false, -1},
		{"service ahead", 70, false, -1},
		{"service ahead of all", 150, false, -1},
		{"service behind", 10, false, 10},
		{"service behind, file gone", 10, true, -1},
		{"lane forgotten", -1, false, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, x := newService(), newDisk()
				s.down(true)
				b := start(t, s, Options{Buffer: x, Bytes: 8000})
				o := newOwner()
				o.content, o.gone = line, c.gone
				id := delivery.NewStreamID().Lane("f", "")
				l := b.Lane(id, o, at(30), false)
				pass(10 * time.Second)
				if l.Accepts() || l.Safe() {
					t.Fatal("a lane takes packages before anything is agreed on")
				}
				p, ok := l.BeginLocal()
				if !ok || p.End != 30 {
					t.Fatalf("begins at %+v, %v", p, ok)
				}
				for i := 3; i < 12; i++ {
					for !l.Accepts() {
						<-o.space
					}
					l.Put(hashed(i))
				}
				pass(5 * time.Second)
				if !l.Safe() || x.size() != 9 {
					t.Errorf("safe %v, %d records", l.Safe(), x.size())
				}
				first := 3
				if c.progress >= 0 {
					end := uint64(c.progress)
					s.progress[id] = delivery.Progress{End: end, Hash: hashAt(end)}
					first = int(c.progress) / 10
				}
				s.down(false)
				if c.rewind >= 0 {
					if plan := <-o.ready; plan.End != uint64(c.rewind) {
						t.Fatalf("goes on at %d", plan.End)
					}
					for i := int(c.rewind) / 10; i < 12; i++ {
						l.Put(hashed(i))
					}
				}
				pass(time.Minute)
				for i := 12; i < 20; i++ {
					l.Put(hashed(i))
				}
				pass(time.Minute)
				if c.gone {
					if g := s.abandoned(id); g != "10-30" {
						t.Errorf("abandoned %q", g)
					}
					first = 3
				}
				want(t, s, l, first, 20)
				if len(o.ready) > 0 {
					t.Errorf("the owner was sent to %+v", <-o.ready)
				}
				if c := l.Checkpoint(); c.End != 200 || x.size() != 0 {
					t.Errorf("checkpoint %d, %d records are left", c.End, x.size())
				}
			})
		})
	}
}

func TestANewStreamTakesTheOldOnesPackagesAlong(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, x := newService(), newDisk()
				b := start(t, s, Options{Buffer: x})
				o := newOwner()
				o.content, o.gone = line, true
				id := delivery.NewStreamID().Lane("f", "")
				l := b.Lane(id, o, delivery.Checkpoint{}, true)
				<-o.ready
				for i := range 3 {
					l.Put(hashed(i))
				}
				pass(time.Second)
				s.down(true)
				l.Spill(true)
				for i := 3; i < 8; i++ {
					l.Put(hashed(i))
				}
				pass(5 * time.Second)
				s.mu.Lock()
				s.progress[id] = delivery.Progress{End: 30, Hash: 5, Session: s.sessions} // another agent's
				s.mu.Unlock()
				s.down(false)
				if plan := <-o.ready; !plan.NewStream {
					t.Fatalf("plan %+v", plan)
				}
				c := l.Checkpoint()
				l.Close()
				if restart {
					b.stop()
					x = x.reopen()
					b = start(t, s, Options{Buffer: x})
				}
				next := delivery.NewStreamID().Lane("f", "")
				c.Incarnation = ""
				l = b.Lane(next, o, c, true, id)
				plan := <-o.ready
				if plan.End != 80 || !plan.Claim {
					t.Errorf("plan %+v", plan)
				}
				l.Put(hashed(8))
				pass(time.Minute)
				want(t, s, l, 3, 9)
				if x.size() != 0 {
					t.Errorf("%d records are left", x.size())
				}
			})
		})
	}
}

func TestAFencedLaneKeepsWhatItHasOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		b := start(t, s, Options{Buffer: x})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		l.Put(pkg(0))
		pass(time.Second)
		s.down(true)
		l.Spill(true)
		for i := 1; i < 5; i++ {
			l.Put(pkg(i))
		}
		pass(5 * time.Second)
		s.rival = true
		s.fence(l.ID)
		s.down(false)
		<-o.stopped
		pass(time.Minute)
		snap := b.Snapshot()
		if x.size() != 4 || l.Accepts() || snap.Fenced != 1 || snap.State != StateFenced {
			t.Errorf("%d records, %+v", x.size(), snap)
		}
		want(t, s, l, 0, 1)
	})
}

func TestWhatBelongsToNobodyGoesFirstWhenTheBufferIsFull(t *testing.T) {
	for _, settled := range []bool{false, true} {
		t.Run(fmt.Sprintf("settled %v", settled), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, x := newService(), newDisk()
				old := delivery.NewStreamID().Lane("f", "")
				outage(t, s, x, old, 0, 10)
				x = x.reopen()
				x.room = 12
				sh := NewShared(0, nil)
				s.down(false)
				b := start(t, s, Options{Buffer: x, Shared: sh, Bytes: 8000})
				if settled {
					sh.Settled()
				}
				l, _ := b.lane(t, delivery.Checkpoint{}, true)
				s.down(true)
				l.Spill(true)
				n := 0
				for range 100 {
					for ; l.Accepts() && n < 10; n++ {
						l.Put(pkg(n))
					}
					pass(100 * time.Millisecond)
				}
				logs, bytes := b.counted(delivery.ReasonBuffer)
				if settled {
					if !l.Safe() || logs != 10 || bytes != 100 || !b.alarmed(AlarmSecondary) || x.size() != 10 {
						t.Errorf("safe %v, %d logs (%d bytes) counted, %d records", l.Safe(), logs, bytes, x.size())
					}
					return
				}
				if logs != 0 || x.size() < 10 {
					t.Errorf("%d logs given up before all lanes were made", logs)
				}
				s.down(false)
				mine := b.Lane(old, newOwner(), delivery.Checkpoint{}, false)
				pass(time.Minute)
				want(t, s, mine, 0, 10)
			})
		})
	}
}

func TestTheLimitsOfTimeHoldForSLSOnly(t *testing.T) {
	for _, ranges := range []bool{false, true} {
		t.Run(fmt.Sprintf("ranges %v", ranges), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, x := newService(), newDisk()
				s.ranges = ranges
				b := start(t, s, Options{Buffer: x, Target: Target{"r", "p", "l"}})
				spills, _ := b.lane(t, delivery.Checkpoint{}, true)
				waits, _ := b.lane(t, delivery.Checkpoint{}, true)
				s.down(true)
				waits.Put(pkg(0))
				pass(time.Minute)
				spills.Spill(true)
				for i := range 5 {
					spills.Put(pkg(i))
				}
				pass(5 * time.Hour)
				if len(b.counts) > 0 {
					t.Fatalf("after five hours: %+v", b.counts)
				}
				pass(20 * time.Hour)
				logs, bytes := b.counted(delivery.ReasonTooOld)
				if ranges {
					if logs != 0 || x.size() != 5 {
						t.Errorf("%d logs given up", logs)
					}
					s.down(false)
					pass(time.Minute)
					want(t, s, spills, 0, 5)
					return
				}
				if logs != 6 || bytes != 60 || x.size() != 0 || !b.alarmed(AlarmDiscard) {
					t.Errorf("%d logs (%d bytes) given up, %d records", logs, bytes, x.size())
				}
				s.down(false)
				spills.Put(pkg(5))
				pass(time.Minute)
				want(t, s, spills, 5, 6)
			})
		})
	}
}

func TestWhatIsNeverOfferedStaysInTheBufferForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		s.ranges = false
		b := start(t, s, Options{Buffer: x, Target: Target{"r", "p", "l"}, Bytes: 8 << 20})
		l, _ := b.lane(t, delivery.Checkpoint{}, true)
		s.down(true)
		l.Spill(true)
		l.Put(pkg(0))
		pass(time.Second)
		for i := 1; i < 10; i++ {
			p := pkg(i)
			p.Buf = NewBuffer(make([]byte, probeBytes)) // each fills a probe
			l.Put(p)
		}
		pass(23 * time.Hour)
		if logs, _ := b.counted(delivery.ReasonTooOld); logs < 3 || logs > 5 {
			t.Errorf("%d logs given up after 23 hours, of which each is offered for 6", logs)
		}
		pass(2 * time.Hour)
		if logs, bytes := b.counted(delivery.ReasonTooOld); logs != 10 || bytes != 100 || x.size() != 0 || l.Checkpoint().End != 100 {
			t.Errorf("%d logs (%d bytes) given up, %d records", logs, bytes, x.size())
		}
		closed, _ := b.lane(t, delivery.Checkpoint{}, true)
		closed.Spill(true)
		closed.Put(pkg(0))
		closed.Close() // and nobody takes over what it has
		pass(time.Hour)
		if x.size() != 1 {
			t.Fatalf("%d records", x.size())
		}
		pass(24 * time.Hour)
		if logs, _ := b.counted(delivery.ReasonTooOld); logs != 11 || x.size() != 0 {
			t.Errorf("%d logs given up, %d records", logs, x.size())
		}
	})
}

func TestWhatWasNotWrittenYetGoesAlongToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		b := start(t, s, Options{Buffer: x})
		l, _ := b.lane(t, delivery.Checkpoint{}, true)
		s.down(true)
		l.Spill(true)
		for i := range 3 {
			l.Put(pkg(i))
		}
		pass(5 * time.Second)
		x.mu.Lock()
		x.failPut = func() error { return errors.New("no space left on device") }
		x.mu.Unlock()
		for i := 3; i < 6; i++ {
			l.Put(pkg(i))
		}
		pass(5 * time.Second)
		l.Close()
		if b.Snapshot().QueuedPackages != 3 || x.size() != 3 {
			t.Fatalf("%+v, %d records", b.Snapshot(), x.size())
		}
		o := newOwner()
		next := b.Lane(delivery.NewStreamID().Lane("f", ""), o, delivery.Checkpoint{}, true, l.ID)
		x.mu.Lock()
		x.failPut = nil
		x.mu.Unlock()
		if plan := <-o.ready; plan.End != 60 {
			t.Errorf("goes on at %d", plan.End)
		}
		pass(10 * time.Second)
		if !next.Safe() || x.size() != 6 || b.held != 0 {
			t.Errorf("safe %v, %d records, %d bytes held", next.Safe(), x.size(), b.held)
		}
		s.down(false)
		pass(time.Minute)
		want(t, s, next, 0, 6)
	})
}

func TestOverlappingRecordsOfFormerLanesAreSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		s.ranges = false
		first, second := delivery.NewStreamID().Lane("f", ""), delivery.NewStreamID().Lane("f", "")
		outage(t, s, x, first, 0, 5)
		s.down(false)
		s.got = map[delivery.LaneID][]string{}
		// The same places again, as the owner began anew before the old records were known to be done.
		for i := 2; i < 7; i++ {
			p := hashed(i)
			p.Range.Lane = second
			if _, err := x.Put([]buffer.Record{{Range: p.Range, Data: p.Data(), Logs: 1, RawSize: p.RawSize}}); err != nil {
				t.Fatal(err)
			}
		}
		x = x.reopen()
		b := start(t, s, Options{Buffer: x})
		o := newOwner()
		l := b.Lane(second, o, delivery.Checkpoint{}, false, first)
		if plan := <-o.ready; plan.End != 70 {
			t.Errorf("goes on at %d", plan.End)
		}
		pass(time.Minute)
		want(t, s, l, 0, 7)
		if x.size() != 0 {
			t.Errorf("%d records are left", x.size())
		}
	})
}

func TestARecordAtTheEndThatCannotBeReadIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		id := delivery.NewStreamID().Lane("f", "")
		outage(t, s, x, id, 0, 5)
		s.down(false)
		x = x.reopen()
		x.failGet = func(seq uint64) error {
			if seq >= 4 {
				return errors.New("input/output error")
			}
			return nil
		}
		b := start(t, s, Options{Buffer: x})
		o := newOwner()
		o.content = line
		l := b.Lane(id, o, delivery.Checkpoint{}, false)
		plan := <-o.ready
		if plan.End != 30 || plan.Hash != hashAt(30) {
			t.Errorf("goes on at %+v", plan)
		}
		for i := 3; i < 6; i++ {
			l.Put(hashed(i))
		}
		pass(time.Minute)
		want(t, s, l, 0, 6)
	})
}

func TestResendingFromDiskIsThrottledAndHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		s.ranges = false
		b := start(t, s, Options{Buffer: x, Target: Target{"r", "p", "l"}, Bytes: 64 << 20})
		old, o := b.lane(t, delivery.Checkpoint{}, true)
		fresh, _ := b.lane(t, delivery.Checkpoint{}, true)
		s.down(true)
		old.Spill(true)
		big := func(i int) *Package {
			p := pkg(i)
			p.Buf = NewBuffer(make([]byte, 1<<20))
			return p
		}
		for i := range 40 {
			for !old.Accepts() {
				<-o.space
			}
			old.Put(big(i))
		}
		for !old.Safe() {
			pass(time.Second)
		}
		s.down(false)
		begin := time.Now()
		for i := range 50 {
			fresh.Put(pkg(i))
			pass(100 * time.Millisecond)
		}
		pass(5 * time.Second)
		want(t, s, fresh, 0, 50)
		for old.Pending() {
			pass(100 * time.Millisecond)
		}
		if took := time.Since(begin).Seconds(); took < 15 || took > 30 {
			t.Errorf("40 MB took %.0f s at 2 MB/s", took)
		}
	})
}
