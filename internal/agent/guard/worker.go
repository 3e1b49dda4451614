package guard

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// Worker is the worker's side of a supervised agent. All methods work on nil,
// for a process that is not supervised.
type Worker struct{ stage atomic.Int32 }

// Stages of a start.
const (
	stageConfig  = iota // reading what the user wrote
	stageStart          // opening what it needs
	stageRunning        // collecting
)

type workerKey struct{}

// BeginWorker returns the worker that this process is, and a context that ends when it
// is to stop. The worker is nil, and the context the parent, in all other processes.
//
// A worker stops when the supervisor asks for it or is gone, and on every signal
// that ends programs. Several of them mean the same as one, as service managers
// send them to both processes. Why a supervisor that is gone ends the agent is
// written to say.
func BeginWorker(parent context.Context, say io.Writer) (context.Context, *Worker) {
	if os.Getenv(workerEnv) == "" {
		return parent, nil
	}
	_ = os.Unsetenv(workerEnv) // fails only for names that are none
	setShortName(WorkerName)
	w := &Worker{}
	ctx, cancel := context.WithCancel(context.WithValue(parent, workerKey{}, w))
	signals := make(chan os.Signal, 1) // further ones say nothing new
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		for range signals {
			cancel()
		}
	}()
	// Both goroutines live as long as the process.
	go follow(os.Stdin, cancel, func() {
		fmt.Fprintln(say, "logtail: the supervisor has ended; the agent stops, so that another one can start")
	})
	return ctx, w
}

// follow ends the process as the supervisor wishes.
func follow(line io.Reader, cancel, orphaned func()) {
	asked := false
	buf := make([]byte, 1)
	for {
		n, err := line.Read(buf)
		if n > 0 {
			asked = true
			cancel()
		}
		if err == nil {
			continue
		}
		if asked {
			os.Exit(1) // the supervisor did not want to wait
		}
		orphaned()
		cancel()
		return
	}
}

// WorkerOf returns the worker that a context of BeginWorker belongs to, or nil.
func WorkerOf(ctx context.Context) *Worker {
	w, _ := ctx.Value(workerKey{}).(*Worker)
	return w
}

// Configured says that what the user wrote is in order. A worker that ends with an
// error before is not started again.
func (w *Worker) Configured() {
	if w != nil {
		w.stage.Store(stageStart)
	}
}

// Started says that the agent collects. A worker that ends with an error before is
// started again only if another one before it has run.
func (w *Worker) Started() {
	if w != nil {
		w.stage.Store(stageRunning)
	}
}

// ExitCode returns the code for the process to end with, so that the supervisor
// knows why, from the one that it would have ended with by itself.
func (w *Worker) ExitCode(code int) int {
	if w == nil || code <= 0 || code >= codeStart-codeConfig {
		return code
	}
	switch w.stage.Load() {
	case stageConfig:
		return codeConfig + code
	case stageStart:
		return codeStart + code
	}
	return code
}
