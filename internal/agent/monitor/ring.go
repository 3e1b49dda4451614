package monitor

import "time"

// placed is what a ring holds: it remembers its place in it.
type placed interface {
	slot() *int32
}

// ring is a set that is visited round and round, a few members at a time, so
// that the work of a sweep is spread evenly over its period. Members may come
// and go during a visit; none is skipped in a round because another one left.
type ring[T placed] struct {
	items  []T
	cursor int     // items before it were visited in this round
	credit float64 // visits that time has earned and that were not made
}

func (r *ring[T]) add(it T) {
	*it.slot() = int32(len(r.items))
	r.items = append(r.items, it)
}

func (r *ring[T]) put(i int, it T) {
	r.items[i] = it
	*it.slot() = int32(i)
}

func (r *ring[T]) remove(it T) {
	i, last := int(*it.slot()), len(r.items)-1
	if i < r.cursor {
		// The hole is in the visited part: fill it from there, and the place
		// that gets free from the end, which stays to be visited.
		r.cursor--
		r.put(i, r.items[r.cursor])
		i = r.cursor
	}
	if i != last { // else the last member was just moved, and has its place
		r.put(i, r.items[last])
	}
	var zero T
	r.items[last] = zero
	r.items = r.items[:last]
	*it.slot() = -1
}

// due says how many visits the time that passed has earned, when every member
// is to be visited once in period but no more than perSecond in a second.
func (r *ring[T]) due(passed, period time.Duration, perSecond float64) int {
	n := float64(len(r.items))
	if n == 0 {
		r.credit = 0
		return 0
	}
	r.credit += passed.Seconds() * min(n/period.Seconds(), perSecond)
	if r.credit >= n {
		// After a pause one round is enough.
		r.credit = 0
		return len(r.items)
	}
	k := int(r.credit)
	r.credit -= float64(k)
	return k
}

// next returns the member to visit; the ring must not be empty.
func (r *ring[T]) next() T {
	if r.cursor >= len(r.items) {
		r.cursor = 0
	}
	it := r.items[r.cursor]
	r.cursor++
	return it
}
