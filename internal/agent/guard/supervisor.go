package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"logtail/internal/agent/alarm"
)

// Options of a supervisor.
type Options struct {
	Args []string // arguments of the worker, without the program's name
	// Stdout and Stderr are the worker's; files are handed on as they are.
	Stdout, Stderr io.Writer
	Log            *slog.Logger
}

// Supervise runs this program as a worker until ctx ends, then stops the worker
// and returns the exit code of the agent. It returns earlier when the worker
// ends by itself without an error, or when it cannot start: because of its
// configuration, or the first time for whatever reason. The worker has said why then.
func Supervise(ctx context.Context, o Options) int {
	s := supervisor{log: o.Log, now: time.Now, after: time.After, start: func() (process, error) { return startWorker(o) }}
	return s.run(ctx)
}

// process is a worker that runs.
type process interface {
	id() int
	wait() ending // until it has ended
	stop()        // asks it to
	kill()
}

// ending is how a worker ended.
type ending struct {
	code int    // exit code; -1 after a signal
	how  string // for people: "exit status 2", "signal: killed"
}

// told returns the code that the program would have ended with, if the worker
// said that it could not start.
func (e ending) told(class int) (code int, ok bool) {
	code = e.code - class
	return code, code > 0 && code < codeStart-codeConfig
}

type supervisor struct {
	log   *slog.Logger
	now   func() time.Time
	after func(time.Duration) <-chan time.Time
	start func() (process, error)
}

func (s *supervisor) run(ctx context.Context) int {
	var pause backoff
	for first := true; ; first = false {
		began := s.now()
		end, asked, pid := s.live(ctx, first)
		if code, final := s.final(end, asked, first); final {
			return code
		}
		lived := s.now().Sub(began)
		wait := pause.next(lived)
		s.log.Warn("the agent's worker ended unexpectedly: "+end.how+"; it is started again", "alarm", string(alarm.LogtailCrash), "count", 1,
			"pid", pid, "lived", lived.Round(time.Millisecond).String(), "wait", wait.String())
		if wait > 0 {
			select {
			case <-ctx.Done():
				return 0
			case <-s.after(wait):
			}
		} else if ctx.Err() != nil {
			return 0
		}
	}
}

// live starts a worker and waits until it has ended; asked says that it was to.
func (s *supervisor) live(ctx context.Context, first bool) (end ending, asked bool, pid int) {
	p, err := s.start()
	if err != nil {
		if first {
			s.log.Error("the agent's worker could not be started", "error", err)
		}
		return ending{code: codeStart + 1, how: "it could not be started: " + err.Error()}, false, 0
	}
	end, asked = s.watch(ctx, p)
	return end, asked, p.id()
}

// watch waits until the worker has ended. When ctx ends before, the worker is asked
// to, and killed if it takes too long.
func (s *supervisor) watch(ctx context.Context, p process) (end ending, asked bool) {
	done := make(chan ending, 1)
	go func() { done <- p.wait() }()
	select {
	case end = <-done:
		return end, false
	case <-ctx.Done():
	}
	p.stop()
	select {
	case end = <-done:
	case <-s.after(stopTime):
		s.log.Error("the agent's worker does not stop and is killed; the next start goes on from the last checkpoint", "pid", p.id(), "waited", stopTime.String())
		p.kill()
		end = <-done
	}
	return end, true
}

// final says whether the agent ends with the worker, and with which code.
func (s *supervisor) final(end ending, asked, first bool) (code int, ok bool) {
	if end.code == 0 {
		return 0, true
	}
	if code, ok := end.told(codeConfig); ok {
		return code, true
	}
	if code, ok := end.told(codeStart); ok && (first || asked) {
		return code, true
	}
	if asked {
		s.log.Error("the agent's worker did not stop cleanly: "+end.how, "alarm", string(alarm.LogtailCrash), "count", 1)
		return 1, true
	}
	return 0, false
}

// worker is a process of this program.
type worker struct {
	cmd  *exec.Cmd
	line io.WriteCloser // ends with this process, whatever ends it
}

func startWorker(o Options) (process, error) {
	path, err := program()
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: path, Args: append([]string{WorkerName}, o.Args...), Env: append(os.Environ(), workerEnv+"=1"),
		Stdout: o.Stdout, Stderr: o.Stderr,
	}
	line, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &worker{cmd, line}, nil
}

func (w *worker) id() int { return w.cmd.Process.Pid }

func (w *worker) wait() ending {
	err := w.cmd.Wait()
	if w.cmd.ProcessState == nil {
		return ending{-1, fmt.Sprint(err)}
	}
	end := ending{w.cmd.ProcessState.ExitCode(), w.cmd.ProcessState.String()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		end.how += ", " + err.Error()
	}
	return end
}

func (w *worker) stop() {
	_, _ = w.line.Write([]byte{stopByte}) // fails only if the worker has ended
}

func (w *worker) kill() { _ = w.cmd.Process.Kill() } // likewise
