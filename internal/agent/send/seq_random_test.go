package send_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"logtail/internal/agent/send"
	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// collector is an agent as far as exactly-once goes: three files that grow, one lane
// each, places in memory and places on the disk. It can die at every step.
type collector struct {
	t       *rapid.T
	h       *hosted
	r       *records
	files   []*seqFile
	s       *sender
	twice   bool // it has told that logs may be there twice
	mu      sync.Mutex
	dead    bool
	countTo int // steps until it dies; 0: it does not
	// limit is the most logs of a package. With steady, packages are always as
	// large as that, or as the file allows.
	steady bool
	limit  uint64
	faults bool
}

type seqFile struct {
	name  string
	size  uint64
	saved delivery.Checkpoint // on the disk
	c     delivery.Checkpoint
	claim bool
}

var errDead = errors.New("the agent is dead")

// step is a point at which the agent may die.
func (c *collector) step() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return errDead
	}
	if c.countTo > 0 {
		if c.countTo--; c.countTo == 0 {
			c.dead = true
			return errDead
		}
	}
	return nil
}

// live sets the steps until the agent dies; 0: it does not.
func (c *collector) live(steps int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead, c.countTo = false, steps
}

// kept says which logs are not filtered.
func kept(i uint64) bool { return i%11 < 8 }

func (c *collector) start() {
	c.s = newSender(c.h, c.r, false)
	c.live(0)
	c.s.OneByOne() // what is drawn has to be in the same order each time
	names := make([]string, len(c.files))
	for i, f := range c.files {
		names[i], f.c = f.name, f.saved
		c.s.Place(laneOf(f.name), min(f.c.AbandonedFrom, f.c.End))
	}
	for i, p := range c.s.resume(c.h.t, names...) {
		f := c.files[i]
		plan := delivery.Resume(f.c, p, "", func(end, hash uint64) bool { return end <= f.size && (hash == 0 || hash == hashAt(f.name, end)) })
		if plan.NewStream || plan.Behind || plan.Forgotten || plan.MadeAgain {
			c.t.Fatalf("lane %s: checkpoint %+v, progress %+v, plan %+v", f.name, f.c, p, plan)
		}
		f.c.Point, f.claim = plan.Point, plan.Claim
		f.c.AbandonedFrom = plan.AbandonFrom
	}
}

func (c *collector) stop() {
	for _, a := range c.s.alarms {
		c.t.Logf("alarm %s", a)
		c.twice = true
	}
}

// request gathers packages of all files.
func (c *collector) request() (pkgs []*send.Package, of []*seqFile) {
	for _, f := range c.files {
		at := f.c.End
		for range rapid.IntRange(0, 3).Draw(c.t, "packages of "+f.name) {
			logs := c.limit
			if !c.steady {
				logs = rapid.Uint64Range(1, c.limit).Draw(c.t, "logs")
			}
			end := min(f.size, at+10*logs)
			if c.steady { // sizes are limited in logs that are kept
				end = at
				for n := uint64(0); end < f.size && n < c.limit; end += 10 {
					if kept(end / 10) {
						n++
					}
				}
			}
			if end == at {
				break
			}
			p := c.s.pack(c.h.t, f.name, at, end, kept)
			if f.claim && at == f.c.End {
				p.Range.Flags |= delivery.Claim
			}
			pkgs, of = append(pkgs, p), append(of, f)
			at = end
		}
	}
	return pkgs, of
}

// deliver sends a request and takes over the outcomes.
func (c *collector) deliver() {
	pkgs, of := c.request()
	c.h.count() // its lock orders what this goroutine and those of the service do with c
	out, err := c.s.Send(context.Background(), pkgs)
	c.h.count()
	if err != nil || c.step() != nil {
		return
	}
	refused := map[*seqFile]bool{}
	for i, o := range out {
		f := of[i]
		if refused[f] = refused[f] || o.Err != nil; refused[f] {
			continue
		}
		if !o.Action.Accepted() {
			c.t.Fatalf("lane %s: %v for [%d, %d), the place is %d", f.name, o.Action, pkgs[i].Range.Start, pkgs[i].Range.End, f.c.End)
		}
		r := &pkgs[i].Range
		f.c.Point, f.c.AbandonedFrom, f.claim = delivery.Point{End: r.End, Hash: r.EndHash, State: r.State}, r.End, false
	}
}

func (c *collector) save() {
	for _, f := range c.files {
		f.saved = f.c
	}
}

// fault draws what becomes of a write.
func (c *collector) fault(string, uint64) (f fault) {
	if c.step() != nil {
		return fault{request: true}
	}
	if c.faults {
		switch rapid.IntRange(0, 11).Draw(c.t, "fault") {
		case 0:
			f.request = true
		case 1:
			f.reply = true
		case 2:
			f.refuse = sls.NewError(sls.CodeShardWriteQuotaExceed, "x")
		case 3:
			f.refuse = sls.NewError(sls.CodeServerBusy, "x")
		}
	}
	if f.refuse == nil && c.step() != nil { // after the server has it
		f.reply = true
	}
	return f
}

// TestSeqRandomLife has lanes sent through lost requests, lost replies, refusals and
// deaths of the agent between all steps. Each log must be stored once and in order.
// Where packages are cut elsewhere after a restart, something may be there twice in
// rare cases, and then an alarm tells it.
func TestSeqRandomLife(t *testing.T) {
	h := newHosted(t)
	life := 0
	rapid.Check(t, func(t *rapid.T) {
		life++
		c := &collector{t: t, h: h, r: newRecords(), faults: true, limit: 6, steady: rapid.Bool().Draw(t, "steady")}
		for i := range 3 {
			c.files = append(c.files, &seqFile{name: fmt.Sprintf("%d-%d", life, i)})
		}
		c.r.before, c.r.after = c.step, c.step
		h.set(c.fault)
		defer h.set(nil)
		c.start()
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				c.t = t
				c.files[rapid.IntRange(0, 2).Draw(t, "file")].size += 10 * rapid.Uint64Range(1, 15).Draw(t, "logs")
			},
			"send": func(t *rapid.T) { c.t = t; c.deliver() },
			"save": func(t *rapid.T) { c.t = t; c.save() },
			"die": func(t *rapid.T) {
				c.t = t
				if steps := rapid.IntRange(0, 8).Draw(t, "steps"); steps > 0 {
					c.live(steps)
					c.deliver()
				}
				c.stop()
				c.start()
			},
		})
		c.t, c.faults = t, false
		for range 100 {
			c.deliver()
		}
		c.stop()
		c.check()
		h.clear()
	})
}

// check compares what is stored with what was written.
func (c *collector) check() {
	all := c.h.stored()
	for _, f := range c.files {
		var want []string
		for i := range f.size / 10 {
			if kept(i) {
				want = append(want, strconv.FormatUint(i, 10))
			}
		}
		got := all[f.name]
		if !c.twice {
			if !slices.Equal(got, want) {
				c.t.Fatalf("lane %s (alarms: %v): stored %v, want %v", f.name, c.twice, got, want)
			}
			continue
		}
		var once []string
		for _, l := range got {
			if !slices.Contains(once, l) {
				once = append(once, l)
			}
		}
		if !slices.Equal(once, want) {
			c.t.Fatalf("lane %s: stored %v, want all of %v", f.name, got, want)
		}
	}
}
