package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"logtail/internal/agent/send"
	"logtail/internal/pipeline"
)

var (
	randomLives = flag.Int("random.lives", 0, "how many lives by new seeds TestRandomLife has, besides those of the seeds that once failed")
	randomSeed  = flag.Uint64("random.seed", 0, "seed of TestRandomLife; 0 takes one by the clock and tells it")
	randomTrace = flag.Bool("random.trace", false, "tells the steps of TestRandomLife")
	randomSteps = flag.Int("random.steps", 120, "steps of TestRandomLife")
)

// life is one run of random things that happen to files, the agent and its
// two logstores. Every line must arrive in both exactly once.
type life struct {
	*fixture
	r       *rand.Rand
	stores  map[string]*logstore
	agent   *Agent
	dead    *atomic.Bool // the running agent has been killed
	halt    func()
	want    []string
	rotated []string // names of rotated files that are there still
	part    string   // what was written of a line that is not complete
	gen     int      // of the file app.log
	old     string   // the last rotated file, if its writer may still have it open
	number  int
}

// mortal is the way to a logstore of an agent that can be killed: from then on
// nothing of it arrives, and no answer either.
type mortal struct {
	*logstore
	dead *atomic.Bool
}

func (m mortal) Send(ctx context.Context, pkgs []*send.Package) ([]send.Outcome, error) {
	if m.dead.Load() {
		return nil, errors.New("killed")
	}
	out, err := m.logstore.Send(ctx, pkgs)
	if m.dead.Load() {
		return nil, errors.New("killed")
	}
	return out, err
}

func (l *life) begin() {
	l.t.Helper()
	dead := new(atomic.Bool)
	a, err := newAgent(Options{
		Data: l.data, Pipelines: []*pipeline.Pipeline{l.pipeline()}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		DirInterval: 20 * time.Millisecond, FileInterval: 20 * time.Millisecond, RetryWait: 20 * time.Millisecond,
	}, func(k destKey, _ string) (send.Transport, error) { return mortal{l.stores[k.logstore], dead}, nil })
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	l.agent, l.dead = a, dead
	l.halt = func() {
		cancel()
		if l.agent == nil {
			return
		}
		l.agent = nil
		if err := <-done; err != nil && !dead.Load() {
			l.t.Errorf("the agent stopped with %v", err)
		}
	}
}

// kill ends the agent as kill -9 does: nothing is stored or sent any more.
func (l *life) kill() {
	l.dead.Store(true)
	if err := l.agent.store.Close(); err != nil {
		l.t.Error(err)
	}
	l.halt()
}

// lines makes new lines and wants them.
func (l *life) lines(n int) []string {
	list := make([]string, n)
	for i := range list {
		l.number++
		pad := l.r.IntN(60)
		if l.r.IntN(200) == 0 {
			pad = l.r.IntN(100_000)
		}
		list[i] = fmt.Sprintf("line %06d of %d %s", l.number, l.gen, strings.Repeat("x", pad))
	}
	l.want = append(l.want, list...)
	return list
}

func (l *life) write(name, text string) {
	l.t.Helper()
	w, err := os.OpenFile(l.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	defer w.Close()
	if _, err := io.WriteString(w, text); err != nil {
		l.t.Fatal(err)
	}
}

// finishLine completes a line that was written in part.
func (l *life) finishLine() {
	if l.part != "" {
		l.write("app.log", " and its end\n")
		l.want = append(l.want, l.part+" and its end")
		l.part = ""
	}
}

// arrived puts everything to rights and waits until all lines are there.
func (l *life) arrived() {
	l.t.Helper()
	for _, s := range l.stores {
		s.change(func() { s.down = false })
	}
	if !exists(l.path("app.log")) {
		// What was rotated out of the pattern unseen is looked for when the path
		// has a file again.
		l.write("app.log", strings.Join(l.lines(1), "\n")+"\n")
	}
	if l.agent == nil {
		l.begin()
	}
	for _, s := range l.stores {
		s.await(l.t, l.want...)
	}
}

func (l *life) step() {
	n := l.r.IntN(100)
	l.trace(fmt.Sprintf("step %d, agent %v, line %d, generation %d, down %v %v", n, l.agent != nil, l.number, l.gen, l.stores["ls"].down, l.stores["second"].down))
	switch {
	case n < 40:
		l.finishLine()
		l.write("app.log", strings.Join(l.lines(1+l.r.IntN(30)), "\n")+"\n")
	case n < 44:
		l.finishLine()
		l.write("app.log", strings.Join(l.lines(1000+l.r.IntN(9000)), "\n")+"\n")
	case n < 52 && l.part == "":
		l.number++
		l.part = fmt.Sprintf("part %06d of %d", l.number, l.gen)
		l.write("app.log", l.part)
	case n < 60:
		l.rotate(fmt.Sprintf("app-%d.log", l.gen)) // matches the pattern
	case n < 68:
		l.rotate(fmt.Sprintf("app.log.%d", l.gen)) // does not
	case n < 72:
		if l.old != "" { // its writer had it open still
			l.write(l.old, strings.Join(l.lines(3), "\n")+"\n")
		}
	case n < 73:
		l.arrived()
		l.old, l.part = "", ""
		if err := os.Truncate(l.path("app.log"), 0); err != nil && !os.IsNotExist(err) {
			l.t.Fatal(err)
		}
		l.gen++
	case n < 75:
		l.arrived()
		l.old, l.part = "", ""
		os.Remove(l.path("app.log"))
		l.gen++
	case n < 77:
		l.copytruncate(fmt.Sprintf([]string{"app-%d.log", "app.log.%d"}[l.r.IntN(2)], l.gen))
	case n < 79:
		l.squeeze([]string{".gz", ".zst"}[l.r.IntN(2)])
	case n < 82:
		if l.agent != nil {
			l.halt()
		}
	case n < 86:
		if l.agent != nil {
			l.kill()
		}
	case n < 90:
		if l.agent == nil {
			l.begin()
		}
	default:
		s := l.stores["ls"]
		if l.r.IntN(2) == 0 {
			s = l.stores["second"]
		}
		s.change(func() {
			if l.r.IntN(2) == 0 {
				s.loseNext = 1 + l.r.IntN(3)
			} else {
				s.down = !s.down
			}
		})
	}
}

func (l *life) rotate(to string) {
	l.finishLine()
	if err := os.Rename(l.path("app.log"), l.path(to)); err != nil {
		if os.IsNotExist(err) {
			return
		}
		l.t.Fatal(err)
	}
	l.old = to
	l.rotated = append(l.rotated, to)
	l.gen++
}

// copytruncate rotates as logrotate does with that word.
func (l *life) copytruncate(to string) {
	l.finishLine()
	if !exists(l.path("app.log")) {
		return
	}
	l.copyTo("app.log", to)
	l.truncate("app.log")
	l.rotated = append(l.rotated, to)
	l.old = ""
	l.gen++
}

// squeeze compresses a rotated file, or renames an archive.
func (l *life) squeeze(suffix string) {
	if len(l.rotated) == 0 {
		return
	}
	i := l.r.IntN(len(l.rotated))
	name := l.rotated[i]
	switch {
	case !exists(l.path(name)):
		l.t.Fatal("gone: " + name)
	case strings.HasSuffix(name, ".gz"), strings.HasSuffix(name, ".zst"):
		return
	}
	if l.old == name {
		l.old = ""
	}
	l.compress(name, suffix)
	l.rotated[i] = name + suffix
}

// seeds are those that once failed.
var seeds = []uint64{
	1795257715246628936, 1795257815465242372, 1795257930265631799, 1795258215421789340, 1795258499665312744, 1795258499945669297,
	253813270511, 92011467543, 1078231892993, 74890784112, 101, 571, 27, 56, 5975, 11384,
}

// TestRandomLife lets random things happen, by all seeds that ever failed, and by
// new ones with -random.lives, as make soak has them. A failure tells its seed: go test -run TestRandomLife -args -random.seed=N
func TestRandomLife(t *testing.T) {
	seed := *randomSeed
	if seed != 0 {
		liveBy(t, seed)
		return
	}
	all := slices.Clone(seeds)
	for range *randomLives {
		all = append(all, rand.Uint64())
	}
	for _, s := range all {
		t.Run(fmt.Sprint(s), func(t *testing.T) { liveBy(t, s) })
	}
}

// liveBy is a life by the choices of a seed.
func liveBy(t *testing.T, seed uint64) {
	l := &life{fixture: newFixture(t), r: rand.New(rand.NewPCG(seed, 1)), stores: map[string]*logstore{"second": newLogstore()}}
	l.stores["ls"] = l.store
	t.Cleanup(func() {
		if l.halt != nil {
			l.halt()
		}
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	second := l.pipeline().Flushers[0]
	sls := *second.SLS
	sls.Logstore, second.SLS, second.Name = "second", &sls, "second"
	l.also = append(l.also, second)
	l.begin()
	l.write("first.log", strings.Join(l.lines(1), "\n")+"\n") // the first scan is over then
	l.arrived()
	for range *randomSteps {
		l.step()
		if t.Failed() {
			return
		}
	}
	l.finishLine()
	l.write("app.log", strings.Join(l.lines(1), "\n")+"\n")
	l.arrived()
	l.write("last.log", strings.Join(l.lines(1), "\n")+"\n") // what is doubled has come by then
	l.arrived()
	l.halt()
	for name, s := range l.stores {
		if slices.Sort(s.lines); len(slices.Compact(s.lines)) != len(l.want) {
			t.Errorf("logstore %s has lines twice", name)
		}
	}
}

func (l *life) trace(what string) {
	if *randomTrace {
		l.t.Log(what)
	}
}
