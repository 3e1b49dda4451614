//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"logtail/bench/internal/lab"
	"logtail/internal/agent"
	"logtail/internal/loggen"
)

// load is one way to make the agent need memory.
type load struct {
	name string
	// prepare makes files before the agent starts, write goes on while it runs;
	// both return how many logs they wrote.
	prepare, write func(dir string) (logs int64, err error)
	least          int64 // bytes that must have been read
	slow           bool  // send to a service that answers at one byte a second, and count nothing
}

type loadResult struct {
	wall, cpu          time.Duration
	peak               float64 // MB
	written, delivered int64   // logs
}

func (b *bench) loads() []load {
	size := func(n int64) string {
		if n >= lab.GB {
			return fmt.Sprintf("%.1f GB", float64(n)/lab.GB)
		}
		return fmt.Sprintf("%d MB", n/lab.MB)
	}
	return []load{
		{name: fmt.Sprintf("%d files grow at once, a line a second each", b.growing), write: b.grow},
		{name: fmt.Sprintf("a backlog of %s in one file", size(b.backlog)), prepare: b.backlogIn(1)},
		{name: fmt.Sprintf("a backlog of %s in 200 files", size(b.backlog)), prepare: b.backlogIn(200)},
		{name: fmt.Sprintf("a line of %s", size(b.long)), prepare: b.longLine, least: b.long},
		{name: fmt.Sprintf("a service that answers a byte a second, %s in 200 files", size(b.backlog)), prepare: b.backlogIn(200), slow: true},
	}
}

// measure runs the agent until it has delivered what is written.
func (b *bench) measure(ctx context.Context, c *load) (*loadResult, error) {
	dir, remove, err := lab.Folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	logs := filepath.Join(dir, "logs")
	if err := os.Mkdir(logs, 0o750); err != nil {
		return nil, err
	}
	r := &loadResult{}
	if c.prepare != nil {
		if r.written, err = c.prepare(logs); err != nil {
			return nil, err
		}
	}
	var slow slowService
	flusher, env := "  - Type: flusher_blackhole\n", []string(nil)
	if c.slow {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		server := &http.Server{Handler: &slow} //nolint:gosec // of this process alone
		defer func() { _ = server.Close() }()
		go func() { _ = server.Serve(l) }() // it ends with Close
		flusher = fmt.Sprintf("  - {Type: flusher_sls, Endpoint: 'http://%s', Project: bench, Logstore: logs}\n", l.Addr())
		env = []string{"LOGTAIL_ACCESS_KEY_ID=bench", "LOGTAIL_ACCESS_KEY_SECRET=bench"}
	}
	config := filepath.Join(dir, "pipeline.yaml")
	if err := pipelineFor(config, filepath.Join(logs, "*.log"), flusher); err != nil {
		return nil, err
	}
	start := time.Now()
	child, err := lab.Start(env, b.bin, "run", "--stats", "--data", filepath.Join(dir, "agent"), config)
	if err != nil {
		return nil, err
	}
	defer child.Kill()
	if c.write != nil {
		n, err := c.write(logs)
		if err != nil {
			return nil, err
		}
		r.written += n
	}
	if c.slow {
		time.Sleep(b.load)
	} else if err := awaitQuiet(child, 0); err != nil {
		return nil, err
	}
	r.wall, r.peak = time.Since(start), float64(lab.PeakRSS(child.PID()))/lab.MB
	if r.cpu, err = lab.CPU(child.PID()); err != nil {
		return nil, err
	}
	stderr, err := child.Stop()
	if err != nil {
		return nil, err
	}
	if c.slow {
		if r.written = 0; slow.taken.Load() == 0 { // it shows memory alone
			return nil, errors.New("nothing was sent to the slow service")
		}
		return r, nil
	}
	var s agent.Summary
	last := stderr[strings.LastIndexByte(strings.TrimSpace(string(stderr)), '\n')+1:]
	if err := json.Unmarshal(last, &s); err != nil {
		return nil, fmt.Errorf("%w in what the agent printed: %s", err, stderr)
	}
	if s.ReadBytes < c.least {
		return nil, fmt.Errorf("%d bytes were read of %d", s.ReadBytes, c.least)
	}
	if r.delivered = s.Delivered; r.delivered != r.written && r.written > 0 {
		return nil, fmt.Errorf("%d logs were written and %d delivered", r.written, r.delivered)
	}
	return r, nil
}

// grow appends a line to each of the files once a second.
func (b *bench) grow(dir string) (logs int64, err error) {
	g := loggen.New(loggen.Nginx, 1).StartAt(time.Now())
	var buf []byte
	for start := time.Now(); time.Since(start) < b.load; {
		round := time.Now()
		for i := range b.growing {
			f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%05d.log", i)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			if err != nil {
				return logs, err
			}
			buf = g.AppendLine(buf[:0])
			_, err = f.Write(buf)
			f.Close()
			if err != nil {
				return logs, err
			}
			logs++
		}
		time.Sleep(time.Second - time.Since(round))
	}
	return logs, nil
}

// backlogIn writes the backlog into some files.
func (b *bench) backlogIn(files int) func(dir string) (int64, error) {
	return func(dir string) (logs int64, err error) {
		for i := range files {
			g := loggen.New(loggen.Nginx, int64(i+1)).StartAt(time.Now())
			n, _, err := lab.WriteLogs(filepath.Join(dir, fmt.Sprintf("%03d.log", i)), g, 0, b.backlog/int64(files))
			if err != nil {
				return logs, err
			}
			logs += n
		}
		return logs, nil
	}
}

// longLine writes a line that is cut by the agent, and so counts as none.
func (b *bench) longLine(dir string) (int64, error) {
	f, err := os.Create(filepath.Join(dir, "long.log"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	for n := int64(0); n < b.long; n += 16 {
		if _, err := fmt.Fprintf(w, "%016x", n); err != nil {
			return 0, err
		}
	}
	return 0, w.Flush()
}

// slowService is a service without ranges that takes what is sent as fast as it
// comes and answers each request at a byte a second.
type slowService struct{ taken atomic.Int64 } // bytes

func (v *slowService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/lanes") {
		w.Header().Set("x-log-requestid", "bench")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusMethodNotAllowed)
		_, _ = io.WriteString(w, `{"errorCode":"InvalidMethod","errorMessage":"no such call"}`) // the agent asks again
		return
	}
	n, _ := io.Copy(io.Discard, r.Body) // an error means that the agent has given it up
	v.taken.Add(n)
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	for _, char := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat(" ", 1000)) {
		if _, err := c.Write([]byte{char}); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}
