package send

import "sync"

// Budget bounds the memory of all destinations: of the packages that wait, in
// memory, and of the bodies of the requests in flight. Three quarters are for
// packages. Half of that is a pool that the destinations share, the other half is
// divided into parts of their own, at least eight, so that each has room whatever the
// others do; one that is failing takes nothing more from the pool. A quarter is for
// requests.
//
// Owners ask before they make packages, not after, so that at any time the sum may
// be above the bound by what the owners make that have just been let in.
//
// A Budget is safe for concurrent use.
type Budget struct {
	total int64

	mu      sync.Mutex
	members map[*account]struct{}
	pooled  int64 // what the members hold beyond their own parts
	waiting int   // members that were refused
	flight  int64
}

// NewBudget returns a budget of total bytes.
func NewBudget(total int64) *Budget {
	return &Budget{total: total, members: map[*account]struct{}{}}
}

// Used returns the bytes of the packages that wait and of the requests in flight.
func (b *Budget) Used() (queued, flight int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for a := range b.members {
		queued += a.held
	}
	return queued, b.flight
}

// account is a destination's part in a Budget. A nil account has no bound.
type account struct {
	b       *Budget
	wake    func() // there may be room again; called while the budget is locked
	held    int64
	refused bool
	failing bool // when it asked last
}

func (b *Budget) join(wake func()) *account {
	a := &account{b: b, wake: wake}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members[a] = struct{}{}
	b.divide()
	return a
}

// leave ends the account; what it holds is given back.
func (a *account) leave() {
	if a == nil {
		return
	}
	b := a.b
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.members, a)
	if a.refused {
		b.waiting--
	}
	b.divide()
	b.rouse()
}

// divide counts anew what is held beyond the parts, whose size has changed.
func (b *Budget) divide() {
	b.pooled = 0
	for a := range b.members {
		b.pooled += max(0, a.held-b.part())
	}
}

func (b *Budget) pool() int64 { return b.total * 3 / 8 }

// part is what each destination has for itself. It is the same for the first eight,
// so that one that joins when the others are full does not bring more than there is.
func (b *Budget) part() int64 { return b.pool() / int64(max(len(b.members), 8)) }

// requests is what all requests in flight may take.
func (b *Budget) requests() int64 { return b.total / 4 }

// add changes what the destination holds in packages, by n bytes.
func (a *account) add(n int64) {
	if a == nil {
		return
	}
	b := a.b
	b.mu.Lock()
	defer b.mu.Unlock()
	before := max(0, a.held-b.part())
	a.held += n
	b.pooled += max(0, a.held-b.part()) - before
	if n < 0 {
		b.rouse()
	}
}

// rouse calls the members that were refused and might not be now.
func (b *Budget) rouse() {
	if b.waiting == 0 {
		return
	}
	for a := range b.members {
		if a.refused && b.admits(a) {
			a.refused = false
			b.waiting--
			a.wake()
		}
	}
}

// room says whether the destination may take a package. If not, it will be woken.
func (a *account) room(failing bool) bool {
	if a == nil {
		return true
	}
	b := a.b
	b.mu.Lock()
	defer b.mu.Unlock()
	a.failing = failing
	if b.admits(a) {
		return true
	}
	if !a.refused {
		a.refused = true
		b.waiting++
	}
	return false
}

func (b *Budget) admits(a *account) bool {
	switch {
	case a.held < b.part():
		return true
	case a.failing || b.pooled >= b.pool():
		return false
	}
	// The last half of the pool is nobody's alone.
	return len(b.members) == 1 || a.held-b.part() < b.pool()/2
}

// tight says whether the destination has used more than half of its own part.
func (a *account) tight() bool {
	if a == nil {
		return false
	}
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	return a.held > a.b.part()/2
}

// fly takes n bytes for a request, if there is room below the share of all
// that requests may take, or no other request.
func (b *Budget) fly(n, share int64) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.flight > 0 && b.flight+n > share {
		return false
	}
	b.flight += n
	return true
}

// land gives back what fly took.
func (b *Budget) land(n int64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flight -= n
}
