package send_test

import (
	"context"
	"testing"
	"time"

	"logtail/internal/agent/send"
	"logtail/internal/delivery"
)

// file is a lane's owner with a file of which the first logs are there. It sends
// them in packages of so many bytes, and tells when all is acknowledged.
type file struct {
	s    *sender
	t    *testing.T
	name string
	size uint64
	step uint64
	done chan delivery.Checkpoint
}

func (f *file) LaneReady(l *send.Lane, plan delivery.Plan) {
	if plan.NewStream || plan.Behind || plan.Forgotten {
		f.t.Errorf("got the plan %+v", plan)
	}
	l.Begin()
	for at := plan.End; at < f.size; at += f.step {
		l.Put(f.s.pack(f.t, f.name, at, min(at+f.step, f.size), nil))
	}
	f.LaneAcked(l)
}

func (f *file) LaneAcked(l *send.Lane) {
	if c := l.Checkpoint(); c.End == f.size {
		f.done <- c
	}
}
func (f *file) LaneSpace(*send.Lane)                {}
func (f *file) LaneStopped(*send.Lane)              { f.t.Error("the lane was stopped") }
func (f *file) Holds(end, hash uint64, _ bool) bool { return hash == 0 || hash == hashAt(f.name, end) }
func (f *file) Readable(uint64) bool                { return true }

// TestSeqBehindADestination has a lane sent by two runs of an agent. The first one dies
// without an answer to its last write, and with a checkpoint that is older.
func TestSeqBehindADestination(t *testing.T) {
	h, r := newHosted(t), newRecords()
	run := func(c delivery.Checkpoint, fresh bool, size, step uint64, f func(string, uint64) fault) delivery.Checkpoint {
		h.set(f)
		s := newSender(h, r, false)
		d := send.NewDest(s, send.Options{Name: "store", RetryWait: time.Millisecond, Target: send.Target{Region: "r", Project: "proj", Logstore: "store"}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { d.Run(ctx); close(ended) }()
		o := &file{s: s, t: t, name: "a", size: size, step: step, done: make(chan delivery.Checkpoint, 10)}
		d.Lane(laneOf("a"), o, c, fresh)
		if f == nil {
			c = <-o.done
		} else {
			for h.count() < 3 {
				<-h.arrived
			}
		}
		stop()
		<-ended
		return c
	}
	run(delivery.Checkpoint{}, true, 60, 20, func(_ string, number uint64) fault {
		h.arrived <- struct{}{}
		return fault{reply: number == 3}
	})
	c := run(delivery.Checkpoint{}, false, 100, 100, nil)
	h.want("a", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
	r.list = newRecords().list // without records it goes on from the checkpoint
	run(c, false, 120, 10, nil)
	if n := len(h.stored()["a"]); n != 12 {
		t.Errorf("%d logs are stored", n)
	}
}
