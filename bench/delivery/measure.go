//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"logtail/bench/internal/lab"
	"logtail/internal/agent"
	"logtail/internal/sls"
)

const (
	// startTime is how long an agent may take to find that there is no file yet.
	startTime = time.Second
	// quietTime without a request means that everything is sent.
	quietTime = time.Second
	// most is how long a run may take.
	most = 5 * time.Minute
)

type bench struct {
	bin, disk       string
	rounds, repeats int
	content         []byte
	device          *device
}

// prepare checks everything that is needed and makes the lines.
func (b *bench) prepare(size int64) (err error) {
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	if b.device, err = deviceOf(b.disk); err != nil {
		return err
	}
	b.content = makeLines(size)
	return nil
}

// result is what one run took.
type result struct {
	agent, server       float64   // CPU seconds per GB of logs
	rate                float64   // MB/s, from the first write to the last acknowledgement
	acks                []float64 // how long they took, ms
	agentRSS, serverRSS float64   // MB, highest
	sent, written       float64   // bytes in requests, and on the disk, for a byte of logs
	flushes             float64   // of the disk's cache
	other               float64   // cores that others used
}

// cpu is the CPU time per GB of both.
func (r *result) cpu() float64 { return r.agent + r.server }

// measure writes the load to a new agent with a new server.
func (b *bench) measure(ctx context.Context, l load, v variant) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	logs, remove, err := lab.Folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	dir, err := os.MkdirTemp(b.disk, "logtail-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	var service *lab.Service
	index := &sls.Index{Line: &sls.IndexLine{Token: []string{" ", "/", "\"", "?", "&", "="}}}
	if err := asServer(b.bin, v.fsyncs, func(self string) (err error) {
		service, err = lab.StartService(ctx, self, dir, index)
		return err
	}); err != nil {
		return nil, err
	}
	defer service.Kill()
	relay, err := startRelay(ctx, strings.TrimPrefix(service.Endpoint, "http://"), !v.ranges)
	if err != nil {
		return nil, err
	}
	defer relay.close()
	config := filepath.Join(dir, "pipeline.yaml")
	yaml := fmt.Sprintf("inputs:\n  - Type: input_file\n    FilePaths: ['%s']\nflushers:\n  - {Type: flusher_sls, Endpoint: 'http://%s', Project: %s, Logstore: %s}\n",
		filepath.Join(logs, "*.log"), relay.listener.Addr(), lab.Project, lab.Logstore)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		return nil, err
	}
	// The heap grows as that of "logtail agent" does.
	child, err := lab.Start([]string{"GOGC=40"}, b.bin, "run", "--stats", "--data", filepath.Join(dir, "agent"), "--credentials", service.Credentials, config)
	if err != nil {
		return nil, err
	}
	defer child.Kill()
	time.Sleep(startTime)
	return b.watch(ctx, &l, logs, &pair{child, service, relay})
}

// pair is what is measured, with what stands between.
type pair struct {
	agent   *lab.Child
	service *lab.Service
	relay   *relay
}

// watch measures both processes from the first write to their ends: a server
// that stops has all its logs in the index on the disk, so that it did the same
// work in every run.
func (b *bench) watch(ctx context.Context, l *load, logs string, p *pair) (*result, error) {
	disk, err := b.device.use()
	if err != nil {
		return nil, err
	}
	agentBefore, err := lab.CPU(p.agent.PID())
	if err != nil {
		return nil, err
	}
	serverBefore, err := lab.CPU(p.service.PID())
	if err != nil {
		return nil, err
	}
	busy, own, start := lab.MachineCPU(), ownCPU(unix.RUSAGE_SELF), time.Now()
	size, lines, err := l.append(logs, b.content)
	if err != nil {
		return nil, err
	}
	last, err := p.awaitQuiet(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := p.service.AwaitRows(ctx, lines, time.Minute)
	if err != nil {
		return nil, err
	}
	if rows != lines {
		return nil, fmt.Errorf("%d lines were written and %d can be found", lines, rows)
	}
	r := &result{
		rate:     float64(size) / lab.MB / last.Sub(start).Seconds(),
		agentRSS: float64(lab.PeakRSS(p.agent.PID())) / lab.MB, serverRSS: float64(lab.PeakRSS(p.service.PID())) / lab.MB,
	}
	p.acknowledged(r, size)
	agentCPU, err := ended(func() error { return p.stopAgent(lines, r) })
	if err != nil {
		return nil, err
	}
	serverCPU, err := ended(func() error { _, err := p.service.Stop(); return err })
	if err != nil {
		return nil, err
	}
	agentCPU -= agentBefore
	serverCPU -= serverBefore
	r.other = lab.Others(lab.MachineCPU()-busy-agentCPU-serverCPU-(ownCPU(unix.RUSAGE_SELF)-own), time.Since(start))
	after, err := b.device.use()
	if err != nil {
		return nil, err
	}
	r.agent, r.server = agentCPU.Seconds()/float64(size)*lab.GB, serverCPU.Seconds()/float64(size)*lab.GB
	r.written, r.flushes = (after.written-disk.written)/float64(size), after.flushes-disk.flushes
	return r, nil
}

// ended ends a child by stop and returns the CPU time of all its life.
func ended(stop func() error) (time.Duration, error) {
	before := ownCPU(unix.RUSAGE_CHILDREN)
	err := stop()
	return ownCPU(unix.RUSAGE_CHILDREN) - before, err
}

// ownCPU is what this process, or all its children that have ended, have used.
func ownCPU(who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		panic(err) // it fails only for a who that is none
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// acknowledged takes over what the relay has seen.
func (p *pair) acknowledged(r *result, size int64) {
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	r.acks, r.sent = make([]float64, len(p.relay.acks)), float64(p.relay.sent)/float64(size)
	for i, d := range p.relay.acks {
		r.acks[i] = d.Seconds() * 1e3
	}
}

// awaitQuiet waits until nothing is sent any more, and returns when the last
// acknowledgement was.
func (p *pair) awaitQuiet(ctx context.Context) (time.Time, error) {
	for poll := time.Tick(20 * time.Millisecond); ; {
		select {
		case <-poll:
			if last, quiet := p.relay.quiet(quietTime); quiet {
				return last, nil
			}
		case <-p.agent.Ended():
			_, err := p.agent.Stop()
			return time.Time{}, errors.Join(errors.New("the agent ended"), err)
		case <-p.service.Ended():
			return time.Time{}, errors.New("the server ended")
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("the agent still sends after %v: %w", most, ctx.Err())
		}
	}
}

// stopAgent ends the agent and checks that all was sent while it was measured,
// at the first attempt.
func (p *pair) stopAgent(lines int64, r *result) error {
	stderr, err := p.agent.Stop()
	if err != nil {
		return err
	}
	var s agent.Summary
	text := bytes.TrimSpace(stderr)
	if err := json.Unmarshal(text[bytes.LastIndexByte(text, '\n')+1:], &s); err != nil {
		return fmt.Errorf("%w in what the agent printed: %s", err, stderr)
	}
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	if s.Delivered != lines || s.Failures > 0 || p.relay.refused > 0 || len(p.relay.acks) != len(r.acks) {
		return fmt.Errorf("%d lines were written; %d requests were refused and %d came after the end: %s", lines, p.relay.refused, len(p.relay.acks)-len(r.acks), stderr)
	}
	return nil
}
