package send

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// crowd counts requests in flight over all its services.
type crowd struct {
	mu       sync.Mutex
	now, top int
}

func (c *crowd) in() {
	c.mu.Lock()
	c.now++
	c.top = max(c.top, c.now)
	c.mu.Unlock()
}

func (c *crowd) out() {
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
}

func TestDestinationsThatHangHoldUpNobody(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer error         // of those that hang
		took   time.Duration // till they give it
	}{
		{"no answer", errors.New("timed out"), 15 * time.Second},
		{"slow answers", nil, 12 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var all crowd
				budget := NewBudget(1 << 20)
				sh := NewShared(4, budget)
				target := func(i int) Target { return Target{fmt.Sprint("region", i), "p", "l"} }
				begin := func(i int, took time.Duration, answer error) (*service, *bench) {
					s := newService()
					s.took = took
					s.all = &all
					s.fail = func(pkgs []*Package) error {
						if pkgs == nil {
							return nil
						}
						return answer
					}
					return s, start(t, s, Options{Shared: sh, Target: target(i)})
				}
				for i := range 6 {
					_, b := begin(i, c.took, c.answer)
					for range 3 {
						l, o := b.lane(t, at(0), true)
						go func() {
							for i := 0; t.Context().Err() == nil; i++ {
								for !l.Accepts() {
									select {
									case <-o.space:
									case <-t.Context().Done():
										return
									}
								}
								l.Put(pkg(i))
							}
						}()
					}
				}
				pass(30 * time.Second) // the first requests of all may hang
				s, b := begin(7, time.Millisecond, nil)
				l, _ := b.lane(t, at(0), true)
				for i := range 200 {
					if !l.Accepts() {
						t.Fatal("the others have its memory")
					}
					l.Put(pkg(i))
					pass(10 * time.Millisecond)
					if l.Pending() {
						t.Fatalf("package %d waits for the others", i)
					}
				}
				want(t, s, l, 0, 200)
				if all.top > 4 {
					t.Errorf("%d requests at once", all.top)
				}
				if queued, flight := budget.Used(); queued+flight > 1<<20 {
					t.Errorf("%d + %d bytes used", queued, flight)
				}
			})
		})
	}
}

// broad is a service that is sent several requests at a time.
type broad struct {
	*service
	all *crowd
}

func (b broad) Width() int { return 4 }

func (b broad) SendWide(ctx context.Context, pkgs []*Package, width int) ([]Outcome, error) {
	for range width {
		b.all.in()
		defer b.all.out()
	}
	return b.Send(ctx, pkgs)
}

func TestATransportOfSeveralRequestsIsCountedAsSuch(t *testing.T) {
	for _, c := range []struct{ concurrency, lanes, want int }{{20, 10, 4}, {20, 2, 2}, {3, 10, 3}, {1, 10, 1}} {
		synctest.Test(t, func(t *testing.T) {
			var all crowd
			s := newService()
			s.took = time.Second
			d := NewDest(broad{s, &all}, Options{Shared: NewShared(c.concurrency, nil), Target: Target{"r", "p", "l"}})
			go d.Run(t.Context())
			var lanes []*Lane
			for range c.lanes {
				o := newOwner()
				lanes = append(lanes, d.Lane(delivery.NewStreamID().Lane("f", ""), o, delivery.Checkpoint{}, true))
				<-o.ready
			}
			hold := func(n int) { d.mu.Lock(); d.requests = n; d.mu.Unlock() }
			hold(destRequests) // so that all of them come into one request
			for _, l := range lanes {
				l.Put(pkg(0))
			}
			pass(time.Second)
			hold(0)
			d.signal()
			pass(time.Minute)
			if all.top != c.want {
				t.Errorf("%d requests at once, want %d", all.top, c.want)
			}
			for _, l := range lanes {
				want(t, s, l, 0, 1)
			}
		})
	}
}

func TestQuotaOfOneLogstoreSlowsDownThatOneOnly(t *testing.T) {
	for _, c := range []struct {
		code               string
		same, other, third int // limits of the logstore, of one in its project, of one in another
	}{
		{sls.CodeShardWriteQuotaExceed, 1, destRequests, destRequests},
		{sls.CodeWriteQuotaExceed, 1, 1, destRequests},
	} {
		t.Run(c.code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sh := NewShared(20, nil)
				s := newService()
				s.fail = func(pkgs []*Package) error {
					if pkgs == nil {
						return nil
					}
					return slsError(403, c.code)
				}
				same := start(t, s, Options{Shared: sh, Target: Target{"r", "p", "a"}, RetryWait: 200 * time.Millisecond})
				other := start(t, newService(), Options{Shared: sh, Target: Target{"r", "p", "b"}})
				third := start(t, newService(), Options{Shared: sh, Target: Target{"r", "q", "a"}})
				l, _ := same.lane(t, at(0), true)
				l.Put(pkg(0))
				pass(time.Minute)
				snap := same.Snapshot()
				if snap.State != StateQuota || snap.Concurrency != c.same || snap.Error == "" {
					t.Errorf("%+v", snap)
				}
				if n := other.Snapshot().Concurrency; n != c.other {
					t.Errorf("concurrency of the project's other logstore is %d, want %d", n, c.other)
				}
				if n := third.Snapshot().Concurrency; n != c.third {
					t.Errorf("concurrency of another project's logstore is %d, want %d", n, c.third)
				}
				if n := same.Stats.Requests.Load(); n > 30 {
					t.Errorf("%d requests in a minute though each is refused", n)
				}
				s.down(false)
				pass(2 * time.Minute) // the delay may be a minute
				for i := 1; i < 40; i++ {
					l.Put(pkg(i))
					pass(time.Second)
				}
				want(t, s, l, 0, 40)
				if snap := same.Snapshot(); snap.State != StateOK || snap.Concurrency != destRequests || snap.Error != "" {
					t.Errorf("%+v", snap)
				}
			})
		})
	}
}

func TestAFailureOfTheNetworkLowersTheRegionToHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := NewShared(6, nil)
		s := newService()
		b := start(t, s, Options{Shared: sh, Target: Target{"r", "p", "a"}})
		other := start(t, newService(), Options{Shared: sh, Target: Target{"r", "q", "b"}})
		elsewhere := start(t, newService(), Options{Shared: sh, Target: Target{"r2", "q", "b"}})
		l, _ := b.lane(t, at(0), true)
		s.down(true)
		l.Put(pkg(0))
		pass(time.Minute)
		if n, _ := sh.allowed(other.member); n != 3 {
			t.Errorf("%d requests for the region, want half of 6", n)
		}
		if n, _ := sh.allowed(elsewhere.member); n != 6 {
			t.Errorf("%d requests for another region", n)
		}
	})
}

func TestWhatFailsForASharedLimitIsForgottenWithItsLastUser(t *testing.T) {
	sh := NewShared(6, NewBudget(1000))
	a := NewDest(newService(), Options{Shared: sh, Target: Target{"r", "p", "a"}})
	b := NewDest(newService(), Options{Shared: sh, Target: Target{"r", "p", "b"}})
	if len(sh.limiters) != 4 {
		t.Errorf("%d limiters", len(sh.limiters))
	}
	a.Close()
	if len(sh.limiters) != 3 {
		t.Errorf("%d limiters", len(sh.limiters))
	}
	b.Close()
	b.Close()
	if len(sh.limiters) != 0 || len(sh.members) != 0 || len(sh.budget.members) != 0 {
		t.Errorf("%d limiters, %d members", len(sh.limiters), len(sh.members))
	}
}
