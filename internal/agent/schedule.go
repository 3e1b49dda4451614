package agent

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

type turnState uint8

const (
	resting turnState = iota
	waiting           // in the queue
	running           // a worker has it
	recall            // a worker has it, and it is wanted again
)

// schedule is the queue of streams that want a turn. Each is in it at most
// once and with at most one worker, so the order within a file holds.
type schedule struct {
	mu     sync.Mutex
	cond   *sync.Cond
	queue  []*stream // first come, first served: turns are short, so this is fair
	head   int
	timers map[*stream]time.Time // the one that counts of each stream
	alarms timerHeap
	armed  chan struct{} // capacity 1: an earlier timer was set
	closed bool
}

// timer is a time at which a stream wants a turn.
type timer struct {
	at time.Time
	s  *stream
}

// timerHeap has the earliest timer first; timers that were replaced by earlier
// ones stay until their time.
type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(timer)) }

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = timer{}
	*h = old[:len(old)-1]
	return t
}

func newSchedule() *schedule {
	q := &schedule{timers: map[*stream]time.Time{}, armed: make(chan struct{}, 1)}
	q.cond = sync.NewCond(&q.mu)
	return q
}

// add gives the stream a turn.
func (q *schedule) add(s *stream) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(s)
}

func (q *schedule) addLocked(s *stream) {
	switch s.turn {
	case resting:
		s.turn = waiting
		q.queue = append(q.queue, s)
		q.cond.Signal()
	case running:
		s.turn = recall
	}
}

// at gives the stream a turn at time t, or earlier if an earlier one is set.
func (q *schedule) at(s *stream, t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if old, ok := q.timers[s]; ok && !t.Before(old) {
		return
	}
	q.timers[s] = t
	heap.Push(&q.alarms, timer{t, s})
	if q.alarms[0].at.Equal(t) {
		select {
		case q.armed <- struct{}{}:
		default:
		}
	}
}

// next waits for a stream that wants a turn; nil when the queue is closed.
func (q *schedule) next() *stream {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.queue) {
		if q.closed {
			return nil
		}
		q.queue, q.head = q.queue[:0], 0
		q.cond.Wait()
	}
	if q.closed {
		return nil
	}
	s := q.queue[q.head]
	q.queue[q.head] = nil
	q.head++
	if q.head > 1024 && q.head > len(q.queue)/2 {
		n := copy(q.queue, q.queue[q.head:])
		clear(q.queue[n:])
		q.queue, q.head = q.queue[:n], 0
	}
	s.turn = running
	return s
}

// done ends the stream's turn; again asks for another one.
func (q *schedule) done(s *stream, again bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	again = again || s.turn == recall
	s.turn = resting
	if again {
		q.addLocked(s)
	}
}

// close ends all waiting workers.
func (q *schedule) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.cond.Broadcast()
}

// run fires the timers until ctx ends.
func (q *schedule) run(ctx context.Context, now func() time.Time) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		t.Reset(q.fire(now()))
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-q.armed:
		}
	}
}

// fire gives the streams whose time has come their turns, and returns how long
// it is to the next one.
func (q *schedule) fire(now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.alarms) > 0 {
		next := q.alarms[0]
		if wait := next.at.Sub(now); wait > 0 {
			return wait
		}
		heap.Pop(&q.alarms)
		if at, ok := q.timers[next.s]; ok && at.Equal(next.at) {
			delete(q.timers, next.s)
			q.addLocked(next.s)
		}
	}
	return time.Hour
}
