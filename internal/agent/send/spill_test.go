package send

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"logtail/internal/delivery"
)

// down makes the service unreachable, or reachable again.
func (s *service) down(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = nil
	if yes {
		s.fail = func([]*Package) error { return errors.New("away") }
	}
}

// abandoned returns the ranges of a lane that were given up as the disk buffer lost them.
func (s *service) abandoned(id delivery.LaneID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text []string
	var from, to uint64
	for _, r := range s.gone[id] {
		switch {
		case r.Reason != delivery.ReasonBuffer:
			return r.Reason.String()
		case to > from && r.Start == to:
			text = text[:len(text)-1]
		default:
			from = r.Start
		}
		to = r.End
		text = append(text, fmt.Sprintf("%d-%d", from, to))
	}
	return strings.Join(text, " ")
}

// feed puts packages as an owner does that waits for space.
func feed(l *Lane, o *owner, from, to int) {
	for i := from; i < to; i++ {
		for !l.Accepts() {
			<-o.space
		}
		l.Put(pkg(i))
	}
}

func TestALaneThatSpillsGoesOnWhileTheDestinationIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		b := start(t, s, Options{Bytes: 8000, Buffer: x})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		s.down(true)
		l.Put(pkg(0))
		pass(time.Second)
		l.Spill(true)
		feed(l, o, 1, 500)
		pass(2 * time.Second)
		snap := b.Snapshot()
		if !l.Safe() || x.size() != 500 || snap.BufferedPackages != 500 || snap.QueuedBytes != 0 || snap.State != StateNoContact {
			t.Errorf("safe %v, %d records, %+v", l.Safe(), x.size(), snap)
		}
		if c := l.Checkpoint(); c.End != 0 || !l.Pending() {
			t.Errorf("the checkpoint moved to %d, pending %v", c.End, l.Pending())
		}
		if x.puts > 300 {
			t.Errorf("%d writes for 500 packages", x.puts)
		}
		s.down(false)
		l.Spill(false)
		feed(l, o, 500, 600)
		pass(time.Minute)
		want(t, s, l, 0, 600)
		if x.size() != 0 || l.Pending() || b.Snapshot().BufferedPackages != 0 || b.Snapshot().BufferedBytes != 0 {
			t.Errorf("%d records are left", x.size())
		}
	})
}

func TestNothingIsSpilledWhileAllIsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		b := start(t, s, Options{Buffer: x})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		l.Spill(true)
		for i := range 20 {
			feed(l, o, i, i+1)
			pass(100 * time.Millisecond)
		}
		want(t, s, l, 0, 20)
		if x.puts != 0 || !l.Safe() {
			t.Errorf("%d writes, safe %v", x.puts, l.Safe())
		}
	})
}

func TestWhatIsInFlightForLongIsDurableToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		s.took = 10 * time.Second
		b := start(t, s, Options{Buffer: x})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		l.Spill(true)
		l.Put(pkg(0))
		if l.Safe() {
			t.Error("safe before it is written")
		}
		<-o.space
		if !l.Safe() || x.size() != 1 {
			t.Errorf("safe %v, %d records", l.Safe(), x.size())
		}
		l.Put(pkg(1))
		pass(time.Minute)
		want(t, s, l, 0, 2)
		if x.size() != 0 {
			t.Errorf("%d records are left", x.size())
		}
	})
}

func TestABufferThatCannotBeWrittenKeepsPackagesInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		tries := 0
		x.failPut = func() error { tries++; return errors.New("input/output error") }
		b := start(t, s, Options{Bytes: 8000, Buffer: x})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		s.down(true)
		l.MustSpill(true)
		n := 0
		for ; l.Accepts(); n++ {
			l.Put(pkg(n))
		}
		pass(time.Minute)
		if l.Safe() || l.Accepts() || tries < 15 || tries > 25 {
			t.Errorf("safe %v, accepts %v, tried %d times in a minute", l.Safe(), l.Accepts(), tries)
		}
		b.mu.Lock()
		if len(b.alarms) != 2 || len(b.counts) != 0 { // no contact, no buffer
			t.Errorf("alarms %q, counts %v", b.alarms, b.counts)
		}
		b.mu.Unlock()
		x.mu.Lock()
		x.failPut = nil
		x.mu.Unlock()
		<-o.space
		for ; !l.Safe(); <-o.space {
		}
		s.down(false)
		pass(time.Minute)
		want(t, s, l, 0, n)
	})
}

func TestAFullBufferMakesThoseWaitWhoCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		x.room = 10
		b := start(t, s, Options{Bytes: 8000, Buffer: x})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		s.down(true)
		l.Spill(true)
		n := 0
		for range 100 {
			for ; l.Accepts(); n++ {
				l.Put(pkg(n))
			}
			pass(100 * time.Millisecond)
		}
		if n < 15 || n > 20 || x.size() > 10 {
			t.Errorf("%d packages taken, %d records", n, x.size())
		}
		s.down(false)
		feed(l, o, n, 200)
		pass(time.Minute)
		want(t, s, l, 0, 200)
		if logs, _ := b.counted(delivery.ReasonBuffer); logs != 0 || b.alarmed(AlarmSecondary) {
			t.Errorf("%d logs counted as lost", logs)
		}
	})
}

func TestAFullBufferGivesUpItsOldestForThoseWhoCannotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		x.room = 12
		b := start(t, s, Options{Bytes: 8000, Buffer: x})
		file, fileOwner := b.lane(t, delivery.Checkpoint{}, true)
		push, pushOwner := b.lane(t, delivery.Checkpoint{}, true)
		pushOwner.gone = true
		s.down(true)
		file.Spill(true)
		push.MustSpill(true)
		feed(file, fileOwner, 0, 6) // can be read again
		pass(time.Second)
		feed(push, pushOwner, 0, 40)
		pass(20 * time.Second)
		if plan := <-fileOwner.ready; plan.End != 0 {
			t.Errorf("the file goes on at %d", plan.End)
		}
		logs, bytes := b.counted(delivery.ReasonBuffer)
		if kept := b.Snapshot().BufferedPackages; logs+kept != 40 || bytes != int64(10*logs) || !b.alarmed(AlarmSecondary) {
			t.Errorf("%d logs (%d bytes) given up, %d kept of 40", logs, bytes, kept)
		}
		if n := b.Stats.DroppedLogs.Load(); n != int64(logs) {
			t.Errorf("%d logs in the statistics", n)
		}
		s.down(false)
		file.Spill(false)
		feed(file, fileOwner, 0, 30)
		feed(push, pushOwner, 40, 50)
		pass(time.Minute)
		want(t, s, file, 0, 30)
		want(t, s, push, logs, 50)
		if g := s.abandoned(push.ID); g != fmt.Sprintf("0-%d", bytes) {
			t.Errorf("abandoned %s", g)
		}
	})
}

func TestALostRecordIsReadAgainOrAbandonedInItsPlace(t *testing.T) {
	for _, readable := range []bool{true, false} {
		t.Run(fmt.Sprintf("readable %v", readable), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, x := newService(), newDisk()
				b := start(t, s, Options{Buffer: x})
				l, o := b.lane(t, delivery.Checkpoint{}, true)
				o.gone = !readable
				s.down(true)
				l.Spill(true)
				feed(l, o, 0, 10)
				pass(5 * time.Second)
				x.Done(4, 7, 8) // damaged: the packages 3, 6 and 7
				s.down(false)
				if !readable {
					pass(time.Minute)
					logs, bytes := b.counted(delivery.ReasonBuffer)
					if g := s.abandoned(l.ID); logs != 3 || bytes != 30 || g != "30-40 60-80" {
						t.Errorf("%d logs, %d bytes counted, abandoned %s", logs, bytes, g)
					}
					if got := fmt.Sprint(s.got[l.ID]); got != "[package 0 package 1 package 2 package 4 package 5 package 8 package 9]" {
						t.Errorf("got %s", got)
					}
					return
				}
				plan := <-o.ready
				if plan.End != 30 {
					t.Fatalf("goes on at %d", plan.End)
				}
				feed(l, o, 3, 12)
				pass(time.Minute)
				want(t, s, l, 0, 12)
				if len(b.counts) > 0 {
					t.Errorf("counted %+v, though nothing is lost", b.counts)
				}
				if x.size() != 0 {
					t.Errorf("%d records are left", x.size())
				}
			})
		})
	}
}

func TestARecordThatCannotBeReadNowIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		b := start(t, s, Options{Buffer: x})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		o.gone = true
		s.down(true)
		l.Spill(true)
		feed(l, o, 0, 10)
		pass(5 * time.Second)
		failures := 0
		x.mu.Lock()
		x.failGet = func(seq uint64) error {
			if seq == 5 && failures < 3 {
				failures++
				return errors.New("input/output error")
			}
			return nil
		}
		x.mu.Unlock()
		s.down(false)
		pass(time.Minute)
		want(t, s, l, 0, 10)
		if failures != 3 || len(b.counts) > 0 {
			t.Errorf("%d failures, counted %+v", failures, b.counts)
		}
	})
}

func TestWhenItStopsTheRestGoesToTheBuffer(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprintf("disk hangs %v", hangs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, x := newService(), newDisk()
				s.took = time.Hour
				b := start(t, s, Options{Buffer: x})
				l, _ := b.lane(t, delivery.Checkpoint{}, true)
				other, _ := b.lane(t, delivery.Checkpoint{}, true)
				l.Spill(true)
				for i := range 5 {
					l.Put(pkg(i))
					other.Put(pkg(i))
				}
				if hangs {
					x.mu.Lock()
					x.took = time.Hour
					x.mu.Unlock()
				}
				begin := time.Now()
				b.stop()
				if took := time.Since(begin); took > spillTime+time.Second {
					t.Errorf("stopping took %v", took)
				}
				if hangs {
					if !b.alarmed(AlarmDropData) {
						t.Error("no alarm")
					}
					pass(2 * time.Hour)
					return
				}
				if !l.Safe() || x.size() != 5 || b.Pending() != 5 {
					t.Errorf("safe %v, %d records, %d pending", l.Safe(), x.size(), b.Pending())
				}
			})
		})
	}
}
