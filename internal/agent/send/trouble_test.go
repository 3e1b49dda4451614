package send

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"logtail/internal/agent/buffer"
	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// A new stream needs no answer to go on, so it says nothing about its destination.
func TestANewLaneDoesNotMakeAFailingDestinationWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		b := start(t, s, Options{})
		l, _ := b.lane(t, delivery.Checkpoint{}, true)
		s.down(true)
		l.Put(pkg(0))
		pass(10 * time.Second)
		b.lane(t, delivery.Checkpoint{}, true)
		if snap := b.Snapshot(); snap.State != StateNoContact {
			t.Errorf("%s after nobody has answered", snap.State)
		}
		pass(10 * time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.alarms) != 1 {
			t.Errorf("alarms %q of one outage", b.alarms)
		}
	})
}

// What a full buffer gives up of a lane that is not agreed on yet is decided, and
// counted, when the destination answers, in this run of the agent or in a later one.
func TestWhatIsGivenUpBeforeTheDestinationAnswersIsCountedOnce(t *testing.T) {
	for _, c := range []struct {
		name     string
		restart  bool
		progress uint64 // of the service
		logs     int    // counted, as far as they are known
		bytes    int64
	}{
		{"same run", false, 30, 6, 60},
		{"restart", true, 30, 0, 60},
		{"it had them", false, 100, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, x := newService(), newDisk()
				id := delivery.NewStreamID().Lane("f", "")
				outage(t, s, x, id, 3, 10)
				x = x.reopen()
				x.room, x.file = 7, 6
				sh := NewShared(0, nil)
				b := start(t, s, Options{Buffer: x, Shared: sh})
				o := newOwner()
				o.content, o.gone = line, true
				old := b.Lane(id, o, at(30), false)
				other := b.Lane(delivery.NewStreamID().Lane("f", ""), newOwner(), delivery.Checkpoint{}, false)
				if _, ok := other.BeginLocal(); !ok {
					t.Fatal("it does not begin")
				}
				other.MustSpill(true)
				other.Put(pkg(0))
				pass(10 * time.Second)
				if !b.alarmed(AlarmSecondary) {
					t.Error("no alarm")
				}
				logs, bytes := b.counted(delivery.ReasonBuffer)
				ck := old.Checkpoint()
				if c.restart {
					b.stop()
					x = x.reopen()
					b = start(t, s, Options{Buffer: x})
					old = b.Lane(id, o, ck, false)
				}
				s.mu.Lock()
				s.progress[id] = delivery.Progress{End: c.progress, Hash: hashAt(c.progress), Session: s.sessions}
				s.mu.Unlock()
				s.down(false)
				<-o.ready
				pass(time.Minute)
				l2, b2 := b.counted(delivery.ReasonBuffer)
				if c.restart {
					l2, b2 = l2+logs, b2+bytes
				}
				if l2 != c.logs || b2 != c.bytes {
					t.Errorf("%d logs, %d bytes counted; want %d, %d", l2, b2, c.logs, c.bytes)
				}
				if old.Pending() {
					t.Error("it is still pending")
				}
			})
		})
	}
}

// jumped moves what the wall clock says, and not the monotonic clock, by whole seconds.
func jumped(t time.Time, by time.Duration) time.Time {
	const second = 1 << 30 // in the first word of a time with a monotonic clock
	*(*uint64)(unsafe.Pointer(&t)) += uint64(by/time.Second) * second
	return t
}

func TestAClockThatIsSetGivesNothingUp(t *testing.T) {
	by := time.Duration(0)
	d := NewDest(newService(), Options{Buffer: newDisk(), Target: Target{"r", "p", "l"}, Now: func() time.Time { return jumped(time.Now(), by) }})
	d.known, d.limits = true, true
	l := &Lane{dest: d, owner: newOwner(), state: laneActive, queue: []*Package{pkg(1)}}
	d.lanes[l] = struct{}{}
	l.disk = append(l.disk, d.storedOf(buffer.Item{Seq: 1, End: 10, Logs: 1, Time: d.opt.Now().Unix()}))
	d.storedCount = 1
	try := func() (drops int) {
		var n notices
		d.punish(l, l.waiting(), slsError(401, sls.CodeUnauthorized), &n)
		d.punish(l, l.waiting(), errors.New("away"), &n)
		d.expire(d.opt.Now(), &n)
		return len(n.drops)
	}
	before := d.opt.Now().Unix()
	try()
	by = 30 * 24 * time.Hour
	if now := d.opt.Now().Unix(); now < before+int64(by/time.Second) {
		t.Fatalf("the clock says %d", now)
	}
	if n := try(); n != 0 {
		t.Errorf("%d packages are given up", l.waiting())
	}
	old := d.storedOf(buffer.Item{Seq: 2, End: 10, Logs: 1, Time: before}) // of the last run
	if by = 0; d.age(d.opt.Now())-time.Duration(old.time)*time.Second < BufferLimit {
		t.Error("a record of the last run is not as old as it says")
	}
}

func TestADiskThatHangsInAWriteDoesNotHoldUpTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		b := start(t, s, Options{Buffer: x})
		l, _ := b.lane(t, delivery.Checkpoint{}, true)
		s.down(true)
		x.mu.Lock()
		x.took = time.Hour
		x.mu.Unlock()
		l.Spill(true)
		l.Put(pkg(0))
		pass(10 * time.Second) // it is being written
		begin := time.Now()
		b.stop()
		if took := time.Since(begin); took > 2*spillTime {
			t.Errorf("stopping took %v", took)
		}
		if !b.alarmed(AlarmDropData) {
			t.Error("no alarm")
		}
		pass(2 * time.Hour)
	})
}

// A key that is refused for a moment, before and after an outage, costs nothing.
func TestTheTimeOfARefusedKeyIsThatOfRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		b := start(t, s, Options{})
		l, _ := b.lane(t, delivery.Checkpoint{}, true)
		answer := func(err error) {
			s.mu.Lock()
			s.fail = func([]*Package) error { return err }
			s.mu.Unlock()
		}
		answer(slsError(401, sls.CodeUnauthorized))
		l.Put(pkg(0))
		pass(10 * time.Second)
		answer(errors.New("away"))
		pass(time.Hour)
		answer(slsError(401, sls.CodeUnauthorized))
		pass(10 * time.Second)
		s.down(false)
		pass(time.Minute)
		want(t, s, l, 0, 1)
		if len(b.counts) > 0 {
			t.Errorf("counted %+v", b.counts)
		}
	})
}

// Lanes that are renewed while a write to the disk buffer is under way lose and double nothing.
func TestALaneThatIsRenewedTwiceWhileItSpills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, x := newService(), newDisk()
		b := start(t, s, Options{Buffer: x})
		o := newOwner()
		o.content, o.gone = line, true
		ids := []delivery.LaneID{delivery.NewStreamID().Lane("f", "")}
		l := b.Lane(ids[0], o, delivery.Checkpoint{}, true)
		<-o.ready
		s.down(true)
		x.mu.Lock()
		x.took = 3 * time.Second
		x.mu.Unlock()
		l.Spill(true)
		n := 0
		for range 4 {
			for range 3 {
				l.Put(hashed(n))
				n++
			}
			pass(time.Second)
			l.Put(hashed(n))
			n++
			c := l.Checkpoint()
			l.Close()
			ids = append(ids, delivery.NewStreamID().Lane("f", ""))
			l = b.Lane(ids[len(ids)-1], o, c, true, ids[:len(ids)-1]...)
			if plan := <-o.ready; plan.End != uint64(10*n) {
				t.Fatalf("goes on at %d, want %d", plan.End, 10*n)
			}
			l.Spill(true)
		}
		pass(30 * time.Second)
		if x.size() != n || !l.Safe() || b.held != 0 {
			t.Errorf("%d records of %d, safe %v, held %d", x.size(), n, l.Safe(), b.held)
		}
		s.down(false)
		pass(time.Minute)
		want(t, s, l, 0, n)
		if x.size() != 0 || len(b.counts) > 0 {
			t.Errorf("%d left, %v", x.size(), b.counts)
		}
	})
}

// Where the content is not in memory any more, nothing is known of what stands before the
// checkpoint; the next package tells it.
func TestForeignContentBeforeAPlaceOfWhichNothingIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.took = 10 * time.Millisecond
		b := start(t, s, Options{})
		id := delivery.NewStreamID().Lane("f", "")
		s.progress[id] = delivery.Progress{End: 30, Hash: 5} // another agent's
		o := newOwner()
		o.content = line
		l := b.Lane(id, o, delivery.Checkpoint{Point: delivery.Point{End: 30}, AbandonedFrom: 30}, false)
		<-o.ready
		l.Put(hashed(3))
		pass(time.Second)
		if len(o.ready) != 1 || !(<-o.ready).NewStream {
			t.Errorf("the lane does not become a new stream; the destination was asked %d times", s.sessions)
		}
	})
}
