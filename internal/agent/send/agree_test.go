package send

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// slowOwner is an owner that goes on making packages for a while after the
// destination has asked for another place, as a worker in the middle of a turn does.
type slowOwner struct {
	*owner
	before func(l *Lane) // runs when LaneReady comes, before the owner takes it up
}

func (o *slowOwner) LaneReady(l *Lane, p delivery.Plan) {
	if o.before != nil {
		o.before(l)
	}
	l.Begin()
	o.ready <- p
}

func TestPackagesFromBeforeANewAgreementLeaveNoHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		b := start(t, s, Options{})
		o := &slowOwner{owner: newOwner()}
		l := b.Lane(delivery.NewStreamID().Lane("f", ""), o, delivery.Checkpoint{}, true)
		<-o.ready
		l.Put(pkg(0))
		pass(time.Second)
		s.mu.Lock()
		delete(s.progress, l.ID) // the logstore was deleted and made again
		s.incarn = "b"
		s.mu.Unlock()
		o.before = func(l *Lane) { l.Put(pkg(2)) }
		l.Put(pkg(1)) // refused: the lane is not known
		plan := <-o.ready
		if plan.End != 10 || !plan.Claim {
			t.Fatalf("plan %+v", plan)
		}
		for i := 1; i < 4; i++ {
			l.Put(pkg(i))
		}
		pass(time.Minute)
		want(t, s, l, 0, 4)
	})
}

func TestALaneThatIsAgreedOnIsPendingAndTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		b := start(t, s, Options{})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		l.Put(pkg(0))
		pass(time.Second)
		s.mu.Lock()
		s.progress[l.ID] = delivery.Progress{End: 0, Session: 0} // restored from an older copy
		answered := false
		s.fail = func(pkgs []*Package) error {
			if pkgs == nil && !answered {
				answered = true
				return errors.New("no contact")
			}
			return nil
		}
		s.mu.Unlock()
		o.content = strings.Repeat("x", 100)
		l.Put(pkg(1))
		pass(time.Second) // refused; the resume has failed once
		if !l.Pending() {
			t.Error("what was refused is taken for delivered")
		}
		if l.Accepts() {
			t.Error("the lane takes packages, though nobody knows where it goes on")
		}
		if plan := <-o.ready; plan.End != 0 || !plan.Behind {
			t.Fatalf("plan %+v", plan)
		}
		l.Put(pkg(0))
		l.Put(pkg(1))
		pass(time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		if got := s.got[l.ID]; !slices.Equal(got, []string{"package 0", "package 0", "package 1"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestPackagesRefusedOneAfterAnotherAreNotOfferedWithoutPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		b := start(t, s, Options{})
		requests := 0
		s.fail = func(pkgs []*Package) error {
			if requests++; len(pkgs) == 0 || requests > 1000 {
				return nil
			}
			return slsError(400, sls.CodePostBodyInvalid)
		}
		l, _ := b.lane(t, delivery.Checkpoint{}, true)
		for i := range 3 {
			l.Put(pkg(i))
		}
		pass(5 * time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := b.Stats.DroppedLogs.Load(); n != 3 || requests > 3*TerminalTries+3 {
			t.Errorf("%d logs dropped after %d requests", n, requests)
		}
	})
}
