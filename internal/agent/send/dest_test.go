package send

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// service is a destination in memory that keeps the contract.
type service struct {
	mu       sync.Mutex
	ranges   bool
	progress map[delivery.LaneID]delivery.Progress
	got      map[delivery.LaneID][]string // data in order of arrival
	gone     map[delivery.LaneID][]delivery.Range
	sessions uint64
	incarn   string
	requests []int                   // packages of each request that was answered
	lanes    map[delivery.LaneID]int // requests in flight per lane
	// fail is asked before a request is taken; after is asked when it was
	// taken, so that an error of it is a lost reply.
	fail, after func(pkgs []*Package) error
	refuse      func(p *Package) error
	took        time.Duration
	all         *crowd // counts the requests of several services
}

func newService() *service {
	return &service{
		ranges: true, incarn: "a", progress: map[delivery.LaneID]delivery.Progress{}, got: map[delivery.LaneID][]string{},
		gone: map[delivery.LaneID][]delivery.Range{}, lanes: map[delivery.LaneID]int{},
	}
}

func (s *service) Close() error { return nil }

func (s *service) Resume(_ context.Context, lanes []delivery.LaneID) (*Resumed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(nil); err != nil {
			return nil, err
		}
	}
	if !s.ranges {
		return &Resumed{}, nil
	}
	s.sessions++
	r := &Resumed{Ranges: true, Session: s.sessions, Incarnation: s.incarn}
	for _, l := range lanes {
		if p, ok := s.progress[l]; ok {
			r.Progress = append(r.Progress, &p)
			p.Session = s.sessions
			s.progress[l] = p
		} else {
			r.Progress = append(r.Progress, nil)
		}
	}
	return r, nil
}

func (s *service) Send(ctx context.Context, pkgs []*Package) ([]Outcome, error) {
	seen := map[delivery.LaneID]bool{}
	s.mu.Lock()
	if s.all != nil {
		s.all.in()
		defer s.all.out()
	}
	for _, p := range pkgs {
		if !seen[p.Range.Lane] {
			seen[p.Range.Lane] = true
			s.lanes[p.Range.Lane]++
			if s.lanes[p.Range.Lane] > 1 {
				panic("two requests in flight for one lane")
			}
		}
	}
	s.mu.Unlock()
	select {
	case <-time.After(s.took):
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range seen {
		s.lanes[l]--
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if s.fail != nil {
		if err := s.fail(pkgs); err != nil {
			return nil, err
		}
	}
	out := make([]Outcome, len(pkgs))
	for i, p := range pkgs {
		if s.refuse != nil {
			if out[i].Err = s.refuse(p); out[i].Err != nil {
				continue
			}
		}
		var known *delivery.Progress
		if x, ok := s.progress[p.Range.Lane]; ok && s.ranges {
			known = &x
		}
		if s.ranges {
			out[i].Action = delivery.Decide(known, &p.Range)
		}
		if out[i].Action == delivery.Append {
			if p.Range.Flags&delivery.Abandoned != 0 {
				s.gone[p.Range.Lane] = append(s.gone[p.Range.Lane], p.Range)
			} else {
				s.got[p.Range.Lane] = append(s.got[p.Range.Lane], string(p.Data()))
			}
			s.progress[p.Range.Lane] = delivery.Advance(&p.Range, 0)
		}
	}
	s.requests = append(s.requests, len(pkgs))
	if s.after != nil {
		if err := s.after(pkgs); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// owner is a stream whose content is what it was told to be.
type owner struct {
	mu      sync.Mutex
	ready   chan delivery.Plan
	space   chan struct{}
	stopped chan struct{}
	acks    int
	content string
	gone    bool // the content cannot be read any more
}

func newOwner() *owner {
	return &owner{ready: make(chan delivery.Plan, 10), space: make(chan struct{}, 100), stopped: make(chan struct{}, 1)}
}

func (o *owner) LaneReady(l *Lane, p delivery.Plan) { l.Begin(); o.ready <- p }
func (o *owner) LaneAcked(*Lane)                    { o.mu.Lock(); o.acks++; o.mu.Unlock() }
func (o *owner) LaneSpace(*Lane)                    { o.space <- struct{}{} }
func (o *owner) LaneStopped(*Lane)                  { o.stopped <- struct{}{} }

func (o *owner) Readable(uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.gone
}

func (o *owner) Holds(end, hash uint64) bool {
	return end <= uint64(len(o.content)) && (hash == 0 || delivery.TailHash([]byte(o.content[:end])) == hash)
}

// pkg is a package with one log of ten bytes, the n-th of its lane.
func pkg(n int) *Package {
	data := fmt.Sprintf("package %d", n)
	return &Package{
		Range: delivery.Range{Start: uint64(10 * n), End: uint64(10*n + 10)}, Buf: NewBuffer([]byte(data)), RawSize: len(data), Logs: 1,
	}
}

// bench is a destination that runs until the test's bubble ends.
type bench struct {
	*Dest
	s      *service
	mu     sync.Mutex
	alarms []string
	counts []dropped
	stop   func() // ends it and waits
}

// counted returns what was told to Options.Count, summed.
func (b *bench) counted(why delivery.Reason) (logs int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.counts {
		if c.why == why {
			logs += c.logs
			bytes += c.bytes
		}
	}
	return logs, bytes
}

// alarmed says whether an alarm of the kind was raised.
func (b *bench) alarmed(kind string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.alarms, kind)
}

// pass lets d go by on the clock of the test's bubble, and all happen that does
// till then; no real time passes. Only the test's own goroutine calls it.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func start(t *testing.T, s *service, opt Options) *bench {
	t.Helper()
	b := &bench{s: s}
	if opt.Bytes == 0 {
		opt.Bytes = 1 << 20
	}
	opt.Count = func(l *Lane, why delivery.Reason, logs int, bytes int64) {
		b.mu.Lock()
		b.counts = append(b.counts, dropped{l, why, logs, bytes})
		b.mu.Unlock()
	}
	opt.Name, opt.Log = "test", slog.New(slog.NewTextHandler(io.Discard, nil))
	opt.Alarm = func(kind, _ string) { b.mu.Lock(); b.alarms = append(b.alarms, kind); b.mu.Unlock() }
	b.Dest = NewDest(s, opt)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	b.stop = func() { cancel(); <-done }
	t.Cleanup(b.stop)
	return b
}

func (b *bench) lane(t *testing.T, c delivery.Checkpoint, fresh bool) (*Lane, *owner) {
	t.Helper()
	o := newOwner()
	l := b.Lane(delivery.NewStreamID().Lane("f", ""), o, c, fresh)
	<-o.ready
	return l, o
}

func slsError(status int, code string) error {
	return &sls.Error{Status: status, Code: code, Message: "said the test", RequestID: "1"}
}

func want(t *testing.T, s *service, l *Lane, from, to int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var w []string
	for i := from; i < to; i++ {
		w = append(w, fmt.Sprintf("package %d", i))
	}
	if !slices.Equal(s.got[l.ID], w) {
		t.Errorf("got %q, want %q", s.got[l.ID], w)
	}
}

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
		s.mu.Lock()
		p := s.progress[l.ID]
		p.Session = 99
		s.progress[l.ID] = p
		s.mu.Unlock()
		l.Put(pkg(1))
		<-o.stopped
		if l.Accepts() || !b.alarmed(AlarmDelivery) {
			t.Error("a fenced lane accepts, or there was no alarm")
		}
		want(t, s, l, 0, 1)
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
