package send

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

func TestPackagesArriveInOrderOncePerLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.took = time.Millisecond
		b := start(t, s, Options{})
		var lanes []*Lane
		for range 30 {
			l, _ := b.lane(t, delivery.Checkpoint{}, true)
			lanes = append(lanes, l)
		}
		for i := range 40 {
			for _, l := range lanes {
				l.Put(pkg(i))
			}
			if i%7 == 0 {
				pass(time.Millisecond)
			}
		}
		pass(time.Second)
		for _, l := range lanes {
			want(t, s, l, 0, 40)
			if c := l.Checkpoint(); c.End != 400 || l.Pending() {
				t.Errorf("checkpoint at %d, pending %v", c.End, l.Pending())
			}
		}
		if b.held != 0 {
			t.Errorf("%d bytes held when all is sent", b.held)
		}
	})
}

func TestAFailureIsWaitedOutAndNothingIsLostOrDoubled(t *testing.T) {
	for name, err := range map[string]error{
		"network":      errors.New("connection refused"),
		"proxy's page": fmt.Errorf("%w: 404 page of a proxy", sls.ErrNetwork),
		"500":          slsError(500, sls.CodeInternalServerError),
		"503":          slsError(503, sls.CodeServerBusy),
		"403":          slsError(403, sls.CodeShardWriteQuotaExceed),
		"401":          slsError(401, sls.CodeUnauthorized),
		"clock":        slsError(400, sls.CodeRequestTimeTooSkewed),
	} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/reply lost %v", name, lost), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newService()
					b := start(t, s, Options{})
					l, _ := b.lane(t, delivery.Checkpoint{}, true)
					failures := 3
					f := func([]*Package) error {
						if failures--; failures >= 0 {
							return err
						}
						return nil
					}
					if lost {
						s.after = f
					} else {
						s.fail = f
					}
					begin := time.Now()
					for i := range 20 {
						l.Put(pkg(i))
					}
					for l.Pending() {
						pass(100 * time.Millisecond)
					}
					took := time.Since(begin)
					low := 3 * RetryWait
					if name == "clock" { // the first repetition goes at once
						low -= RetryWait
					}
					if took < low || took > low+time.Second {
						t.Errorf("three failures took %v, want %v", took, low)
					}
					want(t, s, l, 0, 20)
				})
			})
		}
	}
}

func TestUnauthorizedIsDroppedAfter15MinutesAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		b := start(t, s, Options{})
		l, _ := b.lane(t, delivery.Checkpoint{}, true)
		s.mu.Lock()
		s.fail = func([]*Package) error { return slsError(401, sls.CodeUnauthorized) }
		s.mu.Unlock()
		l.Put(pkg(0))
		pass(AuthRetry - time.Second)
		if b.Stats.DroppedLogs.Load() != 0 {
			t.Fatal("dropped before the time")
		}
		pass(10 * time.Second)
		if b.Stats.DroppedLogs.Load() != 1 || !b.alarmed(AlarmDiscard) {
			t.Fatalf("dropped %d", b.Stats.DroppedLogs.Load())
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		l.Put(pkg(1))
		pass(10 * time.Second)
		want(t, s, l, 1, 2)
		g := s.gone[l.ID]
		if len(g) != 1 || g[0].Start != 0 || g[0].End != 10 || g[0].Reason != delivery.ReasonRefused {
			t.Errorf("abandoned %+v", g)
		}
	})
}

func TestAMissingLogstoreDropsAfterFiveTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		b := start(t, s, Options{})
		l, _ := b.lane(t, delivery.Checkpoint{}, true)
		tries := 0
		s.mu.Lock()
		s.fail = func([]*Package) error { tries++; return slsError(http.StatusNotFound, sls.CodeLogStoreNotExist) }
		s.mu.Unlock()
		l.Put(pkg(0))
		l.Put(pkg(1))
		pass(time.Minute)
		if tries < 5 || tries > 6 || b.Stats.DroppedLogs.Load() != 2 {
			t.Errorf("%d tries, %d logs dropped", tries, b.Stats.DroppedLogs.Load())
		}
	})
}

func TestOneBadPackageDoesNotCostItsCompanions(t *testing.T) {
	for _, single := range []bool{false, true} {
		t.Run(fmt.Sprintf("refused alone %v", single), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				b := start(t, s, Options{})
				good, _ := b.lane(t, delivery.Checkpoint{}, true)
				bad, _ := b.lane(t, delivery.Checkpoint{}, true)
				no := slsError(400, sls.CodePostBodyInvalid)
				isBad := func(p *Package) bool { return p.Range.Lane == bad.ID && string(p.Data()) == "package 1" }
				s.mu.Lock()
				if single {
					s.refuse = func(p *Package) error {
						if isBad(p) {
							return no
						}
						return nil
					}
				} else {
					s.fail = func(pkgs []*Package) error {
						if slices.ContainsFunc(pkgs, isBad) {
							return no
						}
						return nil
					}
				}
				s.mu.Unlock()
				for i := range 4 {
					good.Put(pkg(i))
					bad.Put(pkg(i))
				}
				pass(time.Minute)
				want(t, s, good, 0, 4)
				s.mu.Lock()
				got := strings.Join(s.got[bad.ID], ",")
				s.mu.Unlock()
				if got != "package 0,package 2,package 3" {
					t.Errorf("got %s", got)
				}
				if g := s.gone[bad.ID]; len(g) != 1 || g[0].Start != 10 || g[0].End != 20 {
					t.Errorf("abandoned %+v", g)
				}
				if n := b.Stats.DroppedLogs.Load(); n != 1 {
					t.Errorf("%d logs dropped", n)
				}
			})
		})
	}
}

func TestALaneGoesOnWhereTheServiceStands(t *testing.T) {
	content := strings.Repeat("0123456789", 20)
	hash := func(n int) uint64 { return delivery.TailHash([]byte(content[:n])) }
	for _, c := range []struct {
		name     string
		local    uint64
		progress *delivery.Progress
		content  string
		want     delivery.Plan
	}{
		{"service ahead", 50, &delivery.Progress{End: 70, Hash: hash(70)}, content, delivery.Plan{Point: delivery.Point{End: 70}}},
		{"service behind", 50, &delivery.Progress{End: 20, Hash: hash(20)}, content, delivery.Plan{Point: delivery.Point{End: 20}, Behind: true}},
		{"unknown there", 50, nil, content, delivery.Plan{Point: delivery.Point{End: 50}, Claim: true}},
		{"foreign", 50, &delivery.Progress{End: 70, Hash: 5}, content, delivery.Plan{Point: delivery.Point{End: 50}, NewStream: true, Claim: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				b := start(t, s, Options{})
				id := delivery.NewStreamID().Lane("f", "")
				if c.progress != nil {
					s.progress[id] = *c.progress
				}
				o := newOwner()
				o.content = c.content
				b.Lane(id, o, delivery.Checkpoint{Point: delivery.Point{End: c.local, Hash: hash(int(c.local))}, AbandonedFrom: c.local}, false)
				got := <-o.ready
				if got.End != c.want.End || got.Behind != c.want.Behind || got.Claim != c.want.Claim || got.NewStream != c.want.NewStream {
					t.Errorf("got %+v, want %+v", got, c.want)
				}
			})
		})
	}
}

func TestAfterARestartOfTheServiceTheLaneIsAgreedOnAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		b := start(t, s, Options{})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		l.Put(pkg(0))
		pass(time.Second)
		s.mu.Lock()
		s.progress[l.ID] = delivery.Progress{End: 10, Session: 0} // it has forgotten who owns the lane
		s.mu.Unlock()
		o.content = strings.Repeat("x", 100)
		l.Put(pkg(1))
		plan := <-o.ready
		if plan.End != 10 || plan.NewStream {
			t.Fatalf("plan %+v", plan)
		}
		l.Put(pkg(1))
		pass(time.Second)
		want(t, s, l, 0, 2)
	})
}

func TestAYoungerAgentFencesThisOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		b := start(t, s, Options{})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		l.Put(pkg(0))
		pass(time.Second)
		s.rival = true
		s.fence(l.ID)
		for range contestTries { // it takes the lane back, and loses it
			l.Put(pkg(1))
			<-o.ready
		}
		l.Put(pkg(1))
		<-o.stopped
		if l.Accepts() || !b.alarmed(AlarmDelivery) {
			t.Error("a fenced lane accepts, or there was no alarm")
		}
		want(t, s, l, 0, 1)
	})
}

// A resume that something on the way repeats, or delivers late, is one of this agent's own.
func TestALaneThatOnesOwnResumeHasFencedGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		b := start(t, s, Options{})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		n := 0
		for range 2 { // contestTries in contestTime, for as long as it takes
			for range contestTries {
				l.Put(pkg(n))
				pass(time.Second)
				s.fence(l.ID)
				l.Put(pkg(n + 1)) // is refused, and made again
				n++
				if plan := <-o.ready; plan.NewStream || plan.End != uint64(10*n) {
					t.Fatalf("plan %+v", plan)
				}
			}
			pass(2 * contestTime)
		}
		l.Put(pkg(n))
		pass(time.Second)
		want(t, s, l, 0, n+1)
		if b.alarmed(AlarmDelivery) {
			t.Error("there was an alarm")
		}
	})
}

func TestAServiceWithoutRangesGetsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		s.ranges = false
		b := start(t, s, Options{})
		l, _ := b.lane(t, delivery.Checkpoint{Point: delivery.Point{End: 30}, AbandonedFrom: 30}, false)
		for i := 3; i < 9; i++ {
			l.Put(pkg(i))
		}
		pass(time.Second)
		want(t, s, l, 3, 9)
	})
}

func TestOwnersWaitForSpaceAndAreCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		b := start(t, s, Options{Bytes: 8000})
		l, o := b.lane(t, delivery.Checkpoint{}, true)
		s.mu.Lock()
		s.fail = func([]*Package) error { return errors.New("away") }
		s.mu.Unlock()
		n := 0
		for ; l.Accepts(); n++ {
			l.Put(pkg(n))
		}
		if n < 5 || n > 10 {
			t.Errorf("%d packages in a budget of 8,000 bytes", n)
		}
		other, o2 := b.lane(t, delivery.Checkpoint{}, true)
		if other.Accepts() {
			t.Error("a destination without room accepts from another lane")
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		<-o.space
		if !l.Accepts() { // asking passes the space on
			t.Error("no room after LaneSpace")
		}
		<-o2.space
		if !l.Accepts() || !other.Accepts() {
			t.Error("no room when all is sent")
		}
		want(t, s, l, 0, n)
	})
}

func TestLimitsAreNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := NewShared(3, nil)
		limiter := rate.NewLimiter(1000, 1000) // bytes a second
		var all crowd
		begin := time.Now()
		var lanes []*Lane
		for range 3 {
			s := newService()
			s.took = 50 * time.Millisecond
			b := start(t, s, Options{Shared: sh, Rates: []*rate.Limiter{limiter}})
			s.all = &all
			for range 10 {
				l, _ := b.lane(t, delivery.Checkpoint{}, true)
				lanes = append(lanes, l)
			}
		}
		raw := 0
		for i := range 20 {
			for _, l := range lanes {
				p := pkg(i)
				raw += p.RawSize
				l.Put(p)
			}
		}
		for _, l := range lanes {
			for l.Pending() {
				pass(10 * time.Millisecond)
			}
			if all.top > 3 {
				t.Fatalf("%d requests at once, the limit is 3", all.top)
			}
		}
		if took := time.Since(begin).Seconds(); float64(raw-1000) > 1000*took {
			t.Errorf("%d bytes in %v seconds, the limit is 1,000 a second", raw, took)
		}
	})
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Class
	}{
		{errors.New("dial tcp: connection refused"), Network},
		{fmt.Errorf("%w: a page", sls.ErrNetwork), Network},
		{context.DeadlineExceeded, Network},
		{slsError(500, sls.CodeInternalServerError), Server},
		{slsError(502, "Whatever"), Server},
		{slsError(503, sls.CodeServerBusy), Server},
		{slsError(403, sls.CodeWriteQuotaExceed), Quota},
		{slsError(403, sls.CodeShardWriteQuotaExceed), Quota},
		{slsError(429, "TooMany"), Quota},
		{slsError(401, sls.CodeUnauthorized), Auth},
		{slsError(401, sls.CodeSignatureNotMatch), Auth},
		{slsError(400, sls.CodeRequestTimeTooSkewed), Clock},
		{slsError(400, sls.CodeRequestTimeExpired), Clock},
		{slsError(404, sls.CodeLogStoreNotExist), Terminal},
		{slsError(404, sls.CodeProjectNotExist), Terminal},
		{slsError(400, sls.CodePostBodyInvalid), Terminal},
		{slsError(413, sls.CodePostBodyTooLarge), Terminal},
		{fmt.Errorf("sending: %w", slsError(404, sls.CodeLogStoreNotExist)), Terminal},
	} {
		if got := Classify(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}
