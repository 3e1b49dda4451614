package send

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
	rival    bool // another agent takes over each lane at once
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

// fence gives the lane to a younger session.
func (s *service) fence(id delivery.LaneID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions++
	p := s.progress[id]
	p.Session = s.sessions
	s.progress[id] = p
}

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
	if s.rival {
		defer func() { s.sessions++ }()
	}
	r := &Resumed{Ranges: true, Session: s.sessions, Incarnation: s.incarn}
	for _, l := range lanes {
		if p, ok := s.progress[l]; ok {
			r.Progress = append(r.Progress, &p)
			p.Session = s.sessions
			if s.rival {
				p.Session++
			}
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

func (o *owner) Holds(end, hash uint64, _ bool) bool {
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
