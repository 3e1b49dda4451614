package agent

import (
	"testing"
	"time"
)

func TestPipelinesTakeTurnsWhateverTheirNumberOfFiles(t *testing.T) {
	q := newSchedule()
	crowd, single := &pipelineRun{}, &pipelineRun{}
	for range 5000 {
		q.add(&stream{run: crowd})
	}
	alone := &stream{run: single}
	q.add(alone)
	for i := range 10 { // its turn comes every second time, again and again
		if first := q.next(); first.run != crowd {
			t.Fatalf("turn %d: the single file came twice in a row", i)
		}
		if second := q.next(); second != alone {
			t.Fatalf("turn %d: the single file has to wait", i)
		}
		q.done(alone, true)
	}
}

func TestStreamsOfAPipelineComeInTurnAndOnce(t *testing.T) {
	q := newSchedule()
	run := &pipelineRun{}
	var list []*stream
	for range 3000 {
		s := &stream{run: run}
		list = append(list, s)
		q.add(s)
		q.add(s) // it waits already
	}
	for i, s := range list {
		if q.next() != s {
			t.Fatalf("stream %d is out of turn", i)
		}
		q.add(s) // wanted again while a worker has it
		q.done(s, false)
	}
	for i, s := range list {
		if q.next() != s {
			t.Fatalf("second round: stream %d is out of turn", i)
		}
		q.done(s, false)
	}
	if !q.quiet() {
		t.Error("a stream waits that nobody wants")
	}
}

func TestTheEarliestTimerOfAStreamCounts(t *testing.T) {
	q := newSchedule()
	s := &stream{run: &pipelineRun{}}
	now := time.Unix(1000, 0)
	q.at(s, now.Add(time.Minute))
	q.at(s, now.Add(time.Second))
	q.at(s, now.Add(time.Hour))
	if wait := q.fire(now); wait != time.Second || !q.quiet() {
		t.Fatalf("the next timer is in %v", wait)
	}
	q.fire(now.Add(time.Second))
	if q.next() != s {
		t.Fatal("no turn")
	}
	q.done(s, false)
	q.fire(now.Add(2 * time.Hour))
	if !q.quiet() {
		t.Error("a timer fired that had been replaced")
	}
}
