//go:build linux

// Command steady measures what the agent costs on a machine that logs at a
// steady rate: the real binary follows one file to which 10 MB are appended
// each second, in large writes or line by line.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"logtail/bench/internal/lab"
	"logtail/internal/agent"
	"logtail/internal/loggen"
	"logtail/internal/sls"
)

// The most that the agent may use.
const (
	maxCPU = 6.0  // percent of a core
	maxRSS = 50.0 // MB
)

// setting is one run.
type setting struct {
	dest string // "black hole" or "logstore"
	how  string
	most int // bytes of a write; 0: each line is one
}

func main() {
	var (
		bin     = flag.String("bin", "bin/logtail", "the program to measure")
		seconds = flag.Int("seconds", 60, "how long to write")
		idle    = flag.Int("idle", 20, "how long to look at the idle agent afterwards, in seconds")
		rate    = flag.Float64("rate", 10, "MB appended each second")
	)
	flag.Parse()
	b := &bench{bin: *bin, write: time.Duration(*seconds) * time.Second, idle: time.Duration(*idle) * time.Second, rate: *rate * lab.MB}
	fmt.Printf("%s\n\n%.0f MB/s for %v, nginx access lines, one file; targets: below %.0f%% of a core and %.0f MB.\n\n", lab.Machine(), *rate, b.write, maxCPU, maxRSS)
	t := lab.NewTable("destination", "appended", "CPU % of a core", "target", "RSS average MB", "RSS peak MB", "target", "idle CPU %", "unread at the end, bytes", "logs delivered / written", "other load, cores")
	for _, s := range []setting{{"black hole", "64 KiB a write", 64 << 10}, {"black hole", "line by line", 0}, {"logstore", "64 KiB a write", 64 << 10}, {"logstore", "line by line", 0}} {
		fmt.Fprintln(os.Stderr, "steady:", s.dest+",", s.how)
		r, err := b.run(context.Background(), s)
		if err != nil {
			fmt.Fprintf(os.Stderr, "steady: %s, %s: %v\n", s.dest, s.how, err)
			os.Exit(1)
		}
		t.Add(s.dest, s.how, fmt.Sprintf("**%.1f**", r.cpu), lab.Verdict(r.cpu < maxCPU), fmt.Sprintf("%.0f", r.average), fmt.Sprintf("**%.0f**", r.peak), lab.Verdict(r.peak < maxRSS),
			fmt.Sprintf("%.2f", r.idle), fmt.Sprint(r.unread), fmt.Sprintf("%d / %d", r.delivered, r.written), fmt.Sprintf("%.1f", r.other))
	}
	t.Print(os.Stdout)
}

type bench struct {
	bin         string
	write, idle time.Duration
	rate        float64 // bytes a second
}

type result struct {
	cpu, idle          float64 // percent of a core
	average, peak      float64 // MB
	unread             int64   // bytes that the agent had not read when the writing ended
	delivered, written int64   // logs
	other              float64
}

// run measures one setting.
func (b *bench) run(ctx context.Context, s setting) (*result, error) {
	dir, remove, err := lab.Folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	logs, config := filepath.Join(dir, "app.log"), filepath.Join(dir, "pipeline.yaml")
	yaml := "inputs:\n  - Type: input_file\n    FilePaths: ['" + logs + "']\nflushers:\n"
	args := []string{"run", "--stats", "--data", filepath.Join(dir, "agent"), config}
	var service *lab.Service
	if s.dest == "logstore" {
		if service, err = lab.StartService(ctx, b.bin, dir, &sls.Index{Line: &sls.IndexLine{Token: []string{" ", "/", "\"", "?", "&", "="}}}); err != nil {
			return nil, err
		}
		defer service.Kill()
		yaml += fmt.Sprintf("  - Type: flusher_sls\n    Endpoint: %s\n    Project: %s\n    Logstore: %s\n", service.Endpoint, lab.Project, lab.Logstore)
		args = append(args, "--credentials", service.Credentials)
	} else {
		yaml += "  - Type: flusher_blackhole\n"
	}
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(logs, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	child, err := lab.Start(nil, b.bin, args...)
	if err != nil {
		return nil, err
	}
	defer child.Kill()
	time.Sleep(time.Second) // its start is not what is measured
	r := &result{}
	size, err := b.watch(child, r, func() (int64, error) { return b.append(f, s.most, r) })
	if err != nil {
		return nil, err
	}
	sum, err := stop(child)
	if err != nil {
		return nil, err
	}
	r.unread, r.delivered = size-sum.ReadBytes, sum.Delivered

	// The next start reads what is left. Then there is nothing to do.
	if child, err = lab.Start(nil, b.bin, args...); err != nil {
		return nil, err
	}
	defer child.Kill()
	time.Sleep(2 * time.Second)
	before, err := lab.CPU(child.PID())
	if err != nil {
		return nil, err
	}
	time.Sleep(b.idle)
	after, err := lab.CPU(child.PID())
	if err != nil {
		return nil, err
	}
	r.idle = 100 * (after - before).Seconds() / b.idle.Seconds()
	if sum, err = stop(child); err != nil {
		return nil, err
	}
	r.delivered += sum.Delivered
	if service != nil {
		if r.delivered, err = service.AwaitRows(ctx, r.written, 30*time.Second); err != nil {
			return nil, err
		}
	}
	if r.delivered != r.written {
		return nil, fmt.Errorf("%d logs were written and %d delivered", r.written, r.delivered)
	}
	return r, nil
}

// stop ends the agent and returns its counters.
func stop(c *lab.Child) (agent.Summary, error) {
	var s agent.Summary
	stderr, err := c.Stop()
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(stderr, &s); err != nil {
		return s, fmt.Errorf("%w in what the agent printed: %s", err, stderr)
	}
	return s, nil
}

// watch measures the agent while work goes on.
func (b *bench) watch(child *lab.Child, r *result, work func() (int64, error)) (int64, error) {
	before, err := lab.CPU(child.PID())
	if err != nil {
		return 0, err
	}
	busy, start := lab.MachineCPU(), time.Now()
	end, ended := make(chan struct{}), make(chan float64)
	go func() {
		var sum float64
		samples := 0
		for look := time.Tick(100 * time.Millisecond); ; {
			select {
			case <-look:
				if n, err := lab.RSS(child.PID()); err == nil {
					sum += float64(n)
					samples++
				}
			case <-end:
				ended <- sum / float64(max(samples, 1))
				return
			}
		}
	}()
	size, err := work()
	after, cpuErr := lab.CPU(child.PID())
	passed := time.Since(start)
	close(end)
	r.average, r.peak = <-ended/lab.MB, float64(lab.PeakRSS(child.PID()))/lab.MB
	if err == nil {
		err = cpuErr
	}
	r.cpu = 100 * (after - before).Seconds() / passed.Seconds()
	r.other = lab.Others(lab.MachineCPU()-busy-(after-before), passed)
	return size, err
}

// append writes at the rate, most bytes at once or line by line, and returns
// how many bytes it wrote.
func (b *bench) append(f *os.File, most int, r *result) (size int64, err error) {
	g := loggen.New(loggen.Nginx, 1).StartAt(time.Now())
	start := time.Now()
	var pending []byte
	for {
		passed := time.Since(start)
		if passed >= b.write {
			break
		}
		due := int64(b.rate*passed.Seconds()) - size
		if due < max(int64(most), 1) {
			time.Sleep(time.Duration(float64(max(int64(most), 5000)-due) / b.rate * 1e9))
			continue
		}
		if most == 0 {
			pending = g.AppendLine(pending[:0])
			r.written++
		}
		for len(pending) < most {
			pending = g.AppendLine(pending)
			r.written++
		}
		n := len(pending)
		if most > 0 {
			n = most // in the middle of a line, as buffered writers do
		}
		if _, err := f.Write(pending[:n]); err != nil {
			return size, err
		}
		size += int64(n)
		pending = append(pending[:0], pending[n:]...)
	}
	if len(pending) > 0 && most > 0 {
		if _, err := f.Write(pending); err != nil {
			return size, err
		}
		size += int64(len(pending))
	}
	return size, nil
}
