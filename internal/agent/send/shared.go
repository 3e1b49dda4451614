package send

import (
	"context"
	"slices"
	"sync"
	"time"

	"logtail/internal/agent/buffer"
	"logtail/internal/delivery"
)

// slowAfter is when a request that has no answer counts as hanging, and a
// destination as slow that took longer for its last one.
const slowAfter = 2 * time.Second

// Target tells destinations apart for the limits of concurrency. Destinations
// without a logstore, such as files, share no limits with others.
type Target struct {
	Region   string // the endpoint, or the region where that is known
	Project  string
	Logstore string
}

// Shared is what the destinations of an agent share: the number of requests in
// flight, the limits of regions, projects and logstores, and the disk buffer. It
// is safe for concurrent use, and calls nothing while it is locked.
//
// A request goes when there is a slot for it. Each destination that has none
// has a right to one; what is over is for those that have some. Destinations that
// fail or hang have at most one, and all of them together at most half. So a
// destination that hangs holds up nobody else.
type Shared struct {
	concurrency int
	budget      *Budget
	// handover is held for reading while records of the disk buffer are made over
	// to a lane, so that none that is given up then is in between. No owner
	// is called under it.
	handover sync.RWMutex

	mu       sync.Mutex
	members  map[*member]struct{}
	limiters map[Target]*limiter
	flying   []*ticket
	line     []*ticket // wait for a slot, first come first served
	inFlight int       // requests of them
	active   int       // members that have requests in flight
	settled  bool
}

// member is a destination's part in a Shared.
type member struct {
	d       *Dest
	target  Target
	limits  []*limiter // region, project, logstore; nil for destinations without
	flying  int
	failing bool // the last request failed
	slow    bool // the last request took longer than slowAfter
}

// ticket is the right to have requests in flight: one, or up to width at a time.
type ticket struct {
	m       *member
	bytes   int64
	width   int
	since   time.Time
	granted chan struct{} // closed when it may go
}

// NewShared returns what destinations share: at most concurrency requests are in
// flight (0 means DefaultConcurrency), in the memory of budget (nil: unbounded).
// The short calls that agree on where lanes go on are not counted.
func NewShared(concurrency int, budget *Budget) *Shared {
	if concurrency <= 0 {
		concurrency = DefaultConcurrency
	}
	return &Shared{concurrency: concurrency, budget: budget, members: map[*member]struct{}{}, limiters: map[Target]*limiter{}}
}

// Settled says that a lane was made for every stream that is known. What the disk
// buffer has for other lanes belongs to nobody from now on: it is the first to be
// given up when the buffer is full.
func (s *Shared) Settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = true
}

func (s *Shared) join(d *Dest, t Target, now time.Time) (*member, *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &member{d: d, target: t}
	if t.Logstore != "" {
		m.limits = []*limiter{
			s.limiter(Target{Region: t.Region}, regionScope, now),
			s.limiter(Target{t.Region, t.Project, ""}, projectScope, now),
			s.limiter(t, logstoreScope, now),
		}
	}
	s.members[m] = struct{}{}
	if s.budget == nil {
		return m, nil
	}
	return m, s.budget.join(d.signal)
}

func (s *Shared) limiter(t Target, kind scope, now time.Time) *limiter {
	l := s.limiters[t]
	if l == nil {
		l = newLimiter(kind, s.concurrency, now)
		s.limiters[t] = l
	}
	l.users++
	return l
}

func (s *Shared) leave(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.members[m]; !ok {
		return
	}
	delete(s.members, m)
	for i, l := range m.limits {
		if l.users--; l.users == 0 {
			t := m.target
			delete(s.limiters, [...]Target{{Region: t.Region}, {t.Region, t.Project, ""}, t}[i])
		}
	}
}

// allowed says how many requests the destination may have in flight, as far as
// the limits go that it shares, and until when there may be none at all.
func (s *Shared) allowed(m *member) (n int, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = s.concurrency
	for _, l := range m.limits {
		n = min(n, l.limit)
		if l.until.After(until) {
			until = l.until
		}
	}
	return n, until
}

// requestBytes is the most bytes of a request, about: four fit into the memory for requests.
func (s *Shared) requestBytes() int {
	if s.budget == nil {
		return requestBytes
	}
	return int(min(requestBytes, s.budget.requests()/4))
}

// setFailing says whether the destination's last request failed.
func (s *Shared) setFailing(m *member, failing bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.failing = failing
	s.grant(now)
}

// acquire waits until a request with a body of so many bytes may go. If it can be
// made of up to width requests at a time, the ticket says how many may go.
func (s *Shared) acquire(ctx context.Context, m *member, bytes int64, width int, now func() time.Time) (*ticket, error) {
	t := &ticket{m: m, bytes: bytes, width: width, granted: make(chan struct{})}
	s.mu.Lock()
	s.line = append(s.line, t)
	s.mu.Unlock()
	for {
		var timer <-chan time.Time
		s.mu.Lock()
		at := now()
		s.grant(at)
		for _, l := range m.limits {
			if left := l.until.Sub(at); left > 0 { // then nobody else calls grant
				timer = time.After(left)
			}
		}
		s.mu.Unlock()
		select {
		case <-t.granted:
			return t, nil
		case <-timer:
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			if i := slices.Index(s.line, t); i >= 0 {
				s.line = slices.Delete(s.line, i, i+1)
			} else {
				s.land(t, now())
			}
			return nil, ctx.Err()
		}
	}
}

// grant lets all go that may.
func (s *Shared) grant(now time.Time) {
	kept := s.line[:0]
	for _, t := range s.line {
		if !s.may(t, now) {
			kept = append(kept, t)
			continue
		}
		t.since = now
		if t.m.flying == 0 {
			s.active++
		}
		s.count(t, t.width)
		s.flying = append(s.flying, t)
		close(t.granted)
	}
	clear(s.line[len(kept):])
	s.line = kept
}

// count adds n requests in flight.
func (s *Shared) count(t *ticket, n int) {
	s.inFlight += n
	t.m.flying += n
	for _, l := range t.m.limits {
		l.inFlight += n
	}
}

// may says whether a request may go, and if so how many at a time, and takes its memory.
func (s *Shared) may(t *ticket, now time.Time) bool {
	if s.inFlight >= s.concurrency {
		return false
	}
	m := t.m
	for _, l := range m.limits {
		if !l.open(now) {
			return false
		}
	}
	trouble := m.failing || m.slow
	hanging := s.trouble(now)
	if len(hanging) > 0 {
		n := 0
		for _, k := range hanging {
			n += k
		}
		if trouble = trouble || hanging[m] > 0; trouble && n >= max(s.concurrency/2, 1) {
			return false
		}
	}
	// What the others have a right to that have nothing in flight.
	idle := len(s.members) - s.active
	if m.flying == 0 {
		idle--
	}
	free := s.concurrency - s.inFlight - min(idle, s.concurrency/2)
	if m.flying > 0 && (trouble || free <= 0) {
		return false
	}
	if s.budget != nil {
		share := s.budget.requests()
		if trouble || m.flying > 0 {
			share /= 2
		}
		if !s.budget.fly(t.bytes, share) {
			return false
		}
	}
	if trouble {
		free = 1
	}
	for _, l := range m.limits {
		free = min(free, l.limit-l.inFlight)
	}
	t.width = max(min(t.width, free), 1)
	return true
}

// trouble returns the destinations that fail, hang or are slow, with how many
// requests they have in flight, if any.
func (s *Shared) trouble(now time.Time) map[*member]int {
	var list map[*member]int
	for _, t := range s.flying {
		if t.m.failing || t.m.slow || now.Sub(t.since) > slowAfter {
			if list == nil {
				list = map[*member]int{}
			}
			list[t.m] = t.m.flying
		}
	}
	return list
}

// release ends a request. blamed says for region, project and logstore whether it
// failed because of them; known is false if nothing can be said.
func (s *Shared) release(t *ticket, known bool, blamed [3]bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known {
		t.m.slow = now.Sub(t.since) > slowAfter
		for i, l := range t.m.limits {
			l.result(!blamed[i], now)
		}
	}
	s.land(t, now)
}

func (s *Shared) land(t *ticket, now time.Time) {
	i := slices.Index(s.flying, t)
	s.flying = slices.Delete(s.flying, i, i+1)
	if s.count(t, -t.width); t.m.flying == 0 {
		s.active--
	}
	s.budget.land(t.bytes)
	s.grant(now)
}

// lose tells the destinations that the disk buffer has given up records. It
// returns the lanes that had them, and those that are in nobody's lane.
func (s *Shared) lose(items []buffer.Item) (lanes []loss, nobody []buffer.Item) {
	s.mu.Lock()
	list := make([]*Dest, 0, len(s.members))
	for m := range s.members {
		list = append(list, m.d)
	}
	s.mu.Unlock()
	gone := make(map[uint64]buffer.Item, len(items))
	for _, it := range items {
		gone[it.Seq] = it
	}
	for _, d := range list {
		lanes = append(lanes, d.lose(gone)...)
	}
	for _, it := range gone {
		nobody = append(nobody, it)
	}
	return lanes, nobody
}

// forsaken returns a lane that the disk buffer has records of and that belongs to
// nobody, if that can be told already.
func (s *Shared) forsaken(b Store) (delivery.LaneID, bool) {
	s.mu.Lock()
	settled := s.settled
	s.mu.Unlock()
	if !settled {
		return delivery.LaneID{}, false
	}
	if list := b.Waiting(); len(list) > 0 {
		return list[0], true
	}
	return delivery.LaneID{}, false
}
