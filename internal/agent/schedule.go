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
// once and with at most one worker, so the order within a file holds. Pipelines
// take turns, and within each the streams, first come, first served: turns are
// short, so that a pipeline with one file does not wait for one with 20,000.
type schedule struct {
	mu     sync.Mutex
	cond   *sync.Cond
	lines  map[*pipelineRun]*line
	ring   []*line               // those with waiting streams; the first is next
	timers map[*stream]time.Time // the one that counts of each stream
	alarms timerHeap
	armed  chan struct{} // capacity 1: an earlier timer was set
	closed bool
}

// line is the streams of one pipeline that wait.
type line struct {
	streams []*stream
	head    int
}

func (l *line) empty() bool { return l.head == len(l.streams) }

// pop takes the first stream; the line must not be empty.
func (l *line) pop() *stream {
	s := l.streams[l.head]
	l.streams[l.head] = nil
	l.head++
	switch {
	case l.empty() && cap(l.streams) > 4096:
		l.streams, l.head = nil, 0 // after a burst
	case l.empty():
		l.streams, l.head = l.streams[:0], 0
	case l.head > 1024 && l.head > len(l.streams)/2:
		n := copy(l.streams, l.streams[l.head:])
		clear(l.streams[n:])
		l.streams, l.head = l.streams[:n], 0
	}
	return s
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
	q := &schedule{lines: map[*pipelineRun]*line{}, timers: map[*stream]time.Time{}, armed: make(chan struct{}, 1)}
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
		l := q.lines[s.run]
		if l == nil {
			l = &line{}
			q.lines[s.run] = l
		}
		if l.empty() {
			q.ring = append(q.ring, l)
		}
		l.streams = append(l.streams, s)
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
	for len(q.ring) == 0 && !q.closed {
		q.cond.Wait()
	}
	if q.closed {
		return nil
	}
	l := q.ring[0]
	s := l.pop()
	copy(q.ring, q.ring[1:]) // there are as many at most as pipelines
	if q.ring = q.ring[:len(q.ring)-1]; !l.empty() {
		q.ring = append(q.ring, l)
	}
	s.turn = running
	return s
}

// quiet says whether no stream waits for its turn.
func (q *schedule) quiet() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ring) == 0
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
