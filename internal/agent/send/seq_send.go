package send

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"logtail/internal/agent/state"
	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// Send writes the packages, each as a request of its own, in order within a lane.
// All of them are prepared in one durable commit before the first is sent.
func (t *Seq) Send(ctx context.Context, pkgs []*Package) ([]Outcome, error) {
	return t.SendWide(ctx, pkgs, t.parallel)
}

// Width is how many requests Send makes at a time, one for each lane.
func (t *Seq) Width() int {
	if t.inner.ranges.Load() {
		return 1
	}
	return t.parallel
}

// SendWide is Send with at most so many requests at a time.
func (t *Seq) SendWide(ctx context.Context, pkgs []*Package, width int) ([]Outcome, error) {
	if t.inner.ranges.Load() {
		return t.inner.Send(ctx, pkgs)
	}
	if err := t.book.load(); err != nil {
		return nil, err
	}
	out := make([]Outcome, len(pkgs))
	tasks, ids := seqTasks(pkgs, out)
	lanes, err := t.book.take(ctx, ids)
	if err != nil {
		return nil, err
	}
	defer t.book.give(ids, lanes)
	for i, l := range lanes {
		tasks[i].lane = l
	}
	for todo := tasks; len(todo) > 0; {
		if todo, err = t.round(ctx, todo, width); err != nil {
			for _, k := range todo {
				k.fail(err)
			}
			break
		}
	}
	t.conclude(tasks)
	if err := common(out); err != nil {
		return nil, err
	}
	return out, nil
}

// seqTasks sorts the packages of a request by lane.
func seqTasks(pkgs []*Package, out []Outcome) (tasks []*seqTask, ids []delivery.LaneID) {
	index := map[delivery.LaneID]*seqTask{}
	for i, p := range pkgs {
		k := index[p.Range.Lane]
		if k == nil {
			k = &seqTask{id: p.Range.Lane, out: out}
			index[p.Range.Lane] = k
			tasks, ids = append(tasks, k), append(ids, p.Range.Lane)
		}
		k.pkgs, k.at = append(k.pkgs, p), append(k.at, i)
	}
	return tasks, ids
}

// round prepares what is left of the tasks and sends it. It returns those that
// have to be planned anew, as the answers were not the expected ones, or all if
// what was prepared could not be made durable.
func (t *Seq) round(ctx context.Context, tasks []*seqTask, width int) ([]*seqTask, error) {
	steps := make([][]seqStep, len(tasks))
	for i, k := range tasks {
		steps[i] = k.plan()
	}
	if err := t.book.save(tasks); err != nil {
		return tasks, fmt.Errorf("nothing is sent to %s/%s, as it has to be prepared in the agent's state: %w", t.inner.project, t.inner.logstore, err)
	}
	var broken atomic.Pointer[error]
	var wg sync.WaitGroup
	turn := make(chan struct{}, width)
	for i, k := range tasks {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			if err := broken.Load(); err != nil {
				k.fail(*err)
			} else if err := t.run(ctx, k, steps[i]); err != nil && concernsAll(err) {
				broken.CompareAndSwap(nil, &err)
			}
		})
	}
	wg.Wait()
	var again []*seqTask
	for _, k := range tasks {
		if k.done < len(k.pkgs) {
			again = append(again, k)
		}
	}
	return again, nil
}

// concernsAll says that after this failure there is no use in sending other lanes.
func concernsAll(err error) bool {
	var e *sls.Error
	if errors.As(err, &e) && e.Code == sls.CodeShardWriteQuotaExceed {
		return false
	}
	return Classify(err) != Terminal
}

// run takes the steps of one lane. A failure is the outcome of what is left.
func (t *Seq) run(ctx context.Context, k *seqTask, steps []seqStep) error {
	l := k.lane
	for _, s := range steps {
		if !s.last {
			expected, err := t.write(ctx, k, &s)
			if err != nil {
				k.fail(err)
				return err
			}
			if !expected {
				return nil
			}
			continue
		}
		if !s.action.Accepted() {
			k.end(Outcome{Action: s.action}) // what follows is behind a hole
			return nil
		}
		if s.action != delivery.Duplicate {
			l.moveTo(s.place)
			l.closed = k.pkgs[s.pkg].Range.Flags&delivery.Closed != 0
		}
		k.settle(Outcome{Action: s.action})
	}
	return nil
}

// write sends one part of a package and commits the lane by the answer. It is false
// if something else is stored than was expected.
func (t *Seq) write(ctx context.Context, k *seqTask, s *seqStep) (expected bool, err error) {
	l, p := k.lane, k.pkgs[s.pkg]
	part, err := sls.CutLogs(&sls.Package{Data: p.Data(), RawSize: p.RawSize, Compress: p.Compress}, p.Logs, s.from, s.to, sls.DefaultLimits.MaxRaw)
	if err != nil {
		return false, err
	}
	for l.Next < s.number { // ranges that have no logs any more
		l.used(1)
	}
	pend, before := &l.Pend[0], l.maybe[0]
	l.maybe[0] = true
	err = t.inner.client.PutSequenced(ctx, t.inner.project, t.inner.logstore, l.Key, s.number, &part)
	var e *sls.Error
	switch {
	case err == nil:
		l.accepted(s)
		return true, nil
	case errors.As(err, &e) && e.IsRepeated() && !before:
		return false, t.foreign(k)
	case errors.As(err, &e) && e.IsRepeated():
		return t.repeated(l, s), nil
	case neverThere(err):
		l.maybe[0], pend.Short = before, s.short
	}
	return false, err
}

// neverThere says that a write which failed has not been stored and will not be: the
// service says so, or there was no connection to it.
func neverThere(err error) bool {
	var e *sls.Error
	var op *net.OpError
	return errors.As(err, &e) && e.Status < http.StatusInternalServerError || errors.As(err, &op) && op.Op == "dial"
}

// accepted commits the lane: the service took the part.
func (l *seqLane) accepted(s *seqStep) {
	if s.place.End < s.whole.End { // so nothing that was prepared behind it was ever sent
		l.settleShort(s.place, 1)
		return
	}
	l.dirty = l.dirty || s.short != nil
	l.moveTo(s.place)
}

// settleShort commits the lane to a place that is not the end of what was prepared,
// and goes on behind so many numbers. It has to be durable before anybody hears of it:
// another answer of the service could not tell it again.
func (l *seqLane) settleShort(p state.SeqPlace, numbers int) {
	if p.End >= l.End {
		l.SeqPlace = p
	}
	l.used(numbers)
	l.Pend, l.maybe, l.dirty = nil, nil, true
}

// repeated commits the lane: the service has what was sent under the number before.
// It says whether that is what was expected.
func (t *Seq) repeated(l *seqLane, s *seqStep) bool {
	if s.short == nil {
		l.dirty = l.dirty || s.place.End < s.whole.End
		l.moveTo(s.whole)
		return s.whole.End == s.place.End
	}
	// Two ranges were offered under the number. The shorter one is there for sure. If
	// it is the longer one, what was prepared behind it may be there too.
	t.book.alarm(AlarmDelivery, fmt.Sprintf("after repeated failures it is not known whether %s/%s has %d bytes of a file; they are sent again and may be there twice",
		t.inner.project, t.inner.logstore, l.Pend[len(l.Pend)-1].End-s.short.End))
	short := *s.short
	l.settleShort(short, len(l.Pend))
	return short.End == s.place.End
}

// foreign goes on with another hash key, as somebody else writes with the lane's: what
// is stored under the number is not the lane's.
func (t *Seq) foreign(k *seqTask) error {
	t.book.alarm(AlarmDelivery, fmt.Sprintf("another agent has used the sequence numbers of a file at %s/%s, or they are older than what was sent; the file goes on with new ones "+
		"(was the machine cloned or rolled back?)", t.inner.project, t.inner.logstore))
	k.lane.newKey()
	if k.rekeyed {
		return fmt.Errorf("%s/%s refuses the first sequence number of a new hash key as repeated", t.inner.project, t.inner.logstore)
	}
	k.rekeyed = true
	return nil
}

// settle is the outcome of the next package.
func (k *seqTask) settle(o Outcome) {
	k.out[k.at[k.done]] = o
	k.done++
}

// end is the outcome of all packages that have none.
func (k *seqTask) end(o Outcome) {
	for k.done < len(k.pkgs) {
		k.settle(o)
	}
}

func (k *seqTask) fail(err error) { k.end(Outcome{Err: err}) }

// conclude makes durable what cannot be learnt again, and forgets the lanes whose
// streams have ended.
func (t *Seq) conclude(tasks []*seqTask) {
	if err := t.book.save(tasks); err != nil {
		for _, k := range tasks {
			if k.lane.dirty {
				k.done = 0
				k.fail(err)
			}
		}
		return
	}
	var ids []delivery.LaneID
	var ended []*seqLane
	for _, k := range tasks {
		if k.lane.known && k.lane.closed {
			ids, ended = append(ids, k.id), append(ended, k.lane)
		}
	}
	_ = t.book.drop(ids, ended) // what cannot be deleted expires
}

// common returns the error that concerns a request as a whole: nothing of it was
// taken, for reasons that are not in the packages.
func common(out []Outcome) error {
	for _, o := range out {
		if o.Err == nil || !concernsAll(o.Err) {
			return nil
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out[0].Err
}
