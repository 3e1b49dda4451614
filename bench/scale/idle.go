//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"logtail/bench/internal/lab"
)

// makeTree makes the files, with a line in each, and returns their paths.
// history makes them look two hours old.
func makeTree(base string, dirs, perDir int, history bool) ([]string, error) {
	old := time.Now().Add(-2 * time.Hour)
	var paths []string
	for i := range dirs {
		dir := filepath.Join(base, fmt.Sprintf("app-%03d", i/100), fmt.Sprintf("instance-%02d", i%100))
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, err
		}
		for k := range perDir {
			path := filepath.Join(dir, fmt.Sprintf("access-%d.log", k))
			if err := os.WriteFile(path, fmt.Appendf(nil, "the first line of file %d in directory %d\n", k, i), 0o600); err != nil {
				return nil, err
			}
			if history {
				if err := os.Chtimes(path, old, old); err != nil {
					return nil, err
				}
			}
			paths = append(paths, path)
		}
		if history {
			if err := os.Chtimes(dir, old, old); err != nil {
				return nil, err
			}
		}
	}
	return paths, nil
}

type idleResult struct {
	quiet, quietCPU    time.Duration // until everything is known, read and closed
	cpu                float64       // percent of a core
	rss, private, peak float64       // MB; of rss, pages that both processes have count once
	descriptors        int
	latency            []float64 // seconds
	other              float64
}

// idleRun starts an agent, waits until it is quiet, looks at it, and times lines
// on their way.
func (b *bench) idleRun(tree []string, config, data, out string) (*idleResult, error) {
	start := time.Now()
	child, err := lab.Start(nil, b.bin, "agent", "--data", data, "--conf", filepath.Dir(config))
	if err != nil {
		return nil, err
	}
	defer child.Kill()
	if err := awaitQuiet(child, len(tree)/100); err != nil {
		return nil, err
	}
	r := &idleResult{quiet: time.Since(start)}
	all := family(child.PID())
	if r.quietCPU, err = cpu(all); err != nil {
		return nil, err
	}
	busy, begin := lab.MachineCPU(), time.Now()
	time.Sleep(b.idle)
	after, err := cpu(all)
	if err != nil {
		return nil, err
	}
	passed := time.Since(begin)
	r.cpu = 100 * (after - r.quietCPU).Seconds() / passed.Seconds()
	r.other = lab.Others(lab.MachineCPU()-busy-(after-r.quietCPU), passed)
	for _, pid := range all {
		rss, err := proportional(pid)
		if err != nil {
			return nil, err
		}
		r.rss += float64(rss) / lab.MB
		r.private += float64(private(pid)) / lab.MB
		r.peak += float64(lab.PeakRSS(pid)) / lab.MB
	}
	if r.descriptors, err = descriptors(all); err != nil {
		return nil, err
	}
	if r.latency, err = probe(tree, out, b.probes); err != nil {
		return nil, err
	}
	_, err = child.Stop()
	return r, err
}

// calmTime is how long the agent does nothing when it is quiet. It stores the checkpoints of
// all files that it has read at once, up to 45 s later, so that saving takes a twentieth of the time.
const calmTime = 50 // seconds

// awaitQuiet waits until the agent has opened and closed what it wants, and has stored where
// it stands: for calmTime it has few files open and does next to nothing.
func awaitQuiet(child *lab.Child, few int) error {
	deadline := time.Now().Add(quietLimit)
	calm := 0
	var last time.Duration
	for calm < calmTime {
		if time.Now().After(deadline) {
			return fmt.Errorf("the agent is not quiet after %v", quietLimit)
		}
		select {
		case <-child.Ended():
			_, err := child.Stop()
			return errors.Join(errors.New("the agent ended"), err)
		case <-time.After(time.Second):
		}
		all := family(child.PID())
		used, err := cpu(all)
		if err != nil {
			return err
		}
		open, err := descriptors(all)
		if err != nil {
			return err
		}
		if calm++; used-last > 100*time.Millisecond || open > max(few, 50) {
			calm = 0
		}
		last = used
	}
	return nil
}

// family is a process and its children: an agent's supervisor and its worker.
func family(pid int) []int {
	list := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is correct
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for _, child := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(child); err == nil {
				list = append(list, pid)
			}
		}
	}
	return list
}

// cpu is the time that processes have used.
func cpu(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		used, err := lab.CPU(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// descriptors counts what processes have open.
func descriptors(pids []int) (n int, err error) {
	for _, pid := range pids {
		list, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
		if err != nil {
			return 0, err
		}
		n += len(list)
	}
	return n, nil
}

// proportional is the memory that a process has in use, in bytes, with its part of the pages
// that it shares with others: the agent's two processes are one program.
func proportional(pid int) (int64, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/smaps_rollup"
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "\nPss:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("%s does not tell Pss", path)
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	return n << 10, err
}

// private is the memory of a process in bytes that is not a file's.
func private(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "RssAnon:")
	if fields := strings.Fields(rest); len(fields) > 0 {
		n, _ := strconv.ParseInt(fields[0], 10, 64) // the kernel writes numbers
		return n << 10
	}
	return 0
}

// probe appends a line to one file after the other and times each until it
// stands in the output, in seconds.
func probe(tree []string, out string, n int) ([]float64, error) {
	f, err := os.Open(out)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(1, 2))
	var latency []float64
	var seen []byte
	buf := make([]byte, 64<<10)
	for i := range n {
		mark := fmt.Sprintf("probe %d of %d", i, time.Now().UnixNano())
		start := time.Now()
		if err := appendTo(tree[random.IntN(len(tree))], mark+"\n"); err != nil {
			return nil, err
		}
		for seen = seen[:0]; !bytes.Contains(seen, []byte(mark)); {
			got, err := f.Read(buf)
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
			if seen = append(seen, buf[:got]...); got == 0 {
				if time.Since(start) > time.Minute {
					return nil, fmt.Errorf("line %d was not delivered within a minute", i)
				}
				time.Sleep(time.Millisecond)
			}
		}
		latency = append(latency, time.Since(start).Seconds())
		// At any point of the agent's rounds.
		time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
	}
	return latency, nil
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
