package send

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// errSeqForeign says that a number which was sent for the first time is taken.
var errSeqForeign = errors.New("send: somebody else uses the hash key")

// Send writes the packages, each as a request of its own, in order within a lane.
// All of them are prepared in one durable commit before the first is sent.
func (t *Seq) Send(ctx context.Context, pkgs []*Package) ([]Outcome, error) {
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
		if todo, err = t.round(ctx, todo); err != nil {
			for _, k := range todo {
				k.fail(err)
			}
			break
		}
	}
	t.forget(tasks)
	return out, common(tasks)
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
func (t *Seq) round(ctx context.Context, tasks []*seqTask) ([]*seqTask, error) {
	steps := make([][]seqStep, len(tasks))
	for i, k := range tasks {
		steps[i] = k.plan()
	}
	if err := t.book.save(tasks); err != nil {
		return tasks, fmt.Errorf("nothing is sent to %s/%s, as it has to be prepared in the agent's state: %w", t.inner.project, t.inner.logstore, err)
	}
	var broken atomic.Pointer[error]
	var wg sync.WaitGroup
	turn := make(chan struct{}, seqParallel)
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
	return Classify(err) != Terminal && !(errors.As(err, &e) && e.Code == sls.CodeShardWriteQuotaExceed)
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
			k.settle(Outcome{Action: s.action})
			k.done = len(k.pkgs) // what follows is behind a hole
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
	before := l.maybe[0]
	l.maybe[0] = true
	err = t.inner.client.PutSequenced(ctx, t.inner.project, t.inner.logstore, l.Key, s.number, &part)
	var e *sls.Error
	switch {
	case err == nil:
		l.stored1(s.place)
		return true, nil
	case !errors.As(err, &e):
		return false, err
	case e.IsRepeated() && !before:
		return false, t.foreign(k)
	case e.IsRepeated():
		return t.repeated(l, s), nil
	case e.Status < http.StatusInternalServerError:
		l.maybe[0] = before // the service has said that it did not take it
	}
	return false, err
}
