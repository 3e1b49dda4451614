package guard

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays both processes: the test starts it as a supervisor,
// which starts it as a worker.
const supervisorEnv = "GUARD_TEST_SUPERVISOR"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(workerEnv) != "":
		os.Exit(playWorker(os.Args[1]))
	case os.Getenv(supervisorEnv) != "":
		BeNamed()
		ctx, stop := context.WithCancel(context.Background())
		// A line on standard input is Ctrl-C, and so is its end: a test that is
		// killed leaves no processes.
		go func() {
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
			stop()
		}()
		code := Supervise(ctx, Options{Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		fmt.Println("supervisor ends")
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// playWorker does what a worker in some trouble does.
func playWorker(mode string) int {
	ctx, w := BeginWorker(context.Background(), os.Stderr)
	fmt.Println("worker", os.Getpid())
	if os.Getenv(workerEnv) != "" {
		return 99
	}
	code := 0
	switch mode {
	case "config":
		return w.ExitCode(1)
	case "usage":
		return w.ExitCode(2)
	case "no start":
		w.Configured()
		return w.ExitCode(1)
	case "fails":
		WorkerOf(ctx).Configured()
		WorkerOf(ctx).Started()
		return w.ExitCode(1)
	case "panics":
		panic("trouble")
	case "ends":
		return w.ExitCode(0)
	case "stubborn":
		<-ctx.Done()
		fmt.Println("worker stops")
		select {}
	case "fails at the end":
		w.Configured()
		w.Started()
		code = 1
	}
	<-ctx.Done()
	fmt.Println("worker stops")
	return w.ExitCode(code)
}

// pair is a supervisor with its worker.
type pair struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner // what both say on standard output; ends when both have ended
	log   *strings.Builder
}

func start(t *testing.T, mode string) *pair {
	t.Helper()
	p := &pair{t: t, cmd: exec.Command(os.Args[0], mode), log: &strings.Builder{}}
	p.cmd.Env = append(os.Environ(), supervisorEnv+"=1")
	p.cmd.Stderr = p.log
	p.cmd.WaitDelay = time.Minute
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// line is the next line that one of the processes says; "" if both have ended.
func (p *pair) line() string {
	if p.lines.Scan() {
		return p.lines.Text()
	}
	return ""
}

// worker waits for the worker's start.
func (p *pair) worker() *os.Process {
	p.t.Helper()
	line := p.line()
	pid, err := strconv.Atoi(strings.TrimPrefix(line, "worker "))
	if err != nil {
		p.t.Fatalf("no worker but %q, %s", line, p.log)
	}
	w, err := os.FindProcess(pid)
	if err != nil {
		p.t.Fatal(err)
	}
	return w
}

// ends checks what is still said and the supervisor's exit code.
func (p *pair) ends(code int, lines ...string) {
	p.t.Helper()
	var got []string
	for l := p.line(); l != ""; l = p.line() {
		got = append(got, l)
	}
	if !slices.Equal(got, lines) {
		p.t.Errorf("said %q, want %q", got, lines)
	}
	_ = p.cmd.Wait() // the code says it
	if c := p.cmd.ProcessState.ExitCode(); c != code {
		p.t.Errorf("exit code %d, want %d; %s", c, code, p.log)
	}
}

func (p *pair) stop() {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, "\n"); err != nil {
		p.t.Fatal(err)
	}
}

func TestSupervisorStopsItsWorker(t *testing.T) {
	p := start(t, "collects")
	p.worker()
	p.stop()
	p.ends(0, "worker stops", "supervisor ends")
	if p.log.Len() > 0 {
		t.Errorf("logged %s", p.log)
	}
}

func TestKilledWorkerIsStartedAgain(t *testing.T) {
	p := start(t, "collects")
	first := p.worker()
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	if second := p.worker(); second.Pid == first.Pid {
		t.Errorf("process %d again", second.Pid)
	}
	p.stop()
	p.ends(0, "worker stops", "supervisor ends")
	for _, want := range []string{"level=WARN", "alarm=LOGTAIL_CRASH_ALARM", "wait=0s", "pid=" + strconv.Itoa(first.Pid)} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log has no %s: %s", want, p.log)
		}
	}
	if runtime.GOOS != "windows" && !strings.Contains(p.log.String(), "signal: killed") {
		t.Errorf("the log does not name the signal: %s", p.log)
	}
}

func TestWorkerStopsWhenItsSupervisorIsKilled(t *testing.T) {
	p := start(t, "collects")
	p.worker()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The output ends when the worker has ended too.
	p.ends(-1, "worker stops")
	if !strings.Contains(p.log.String(), "the supervisor has ended; the agent stops") {
		t.Errorf("the worker does not say why it stops: %s", p.log)
	}
}

// Who presses Ctrl-C twice kills the supervisor while the worker stops.
func TestWorkerEndsAtOnceWhenItsSupervisorEndsDuringTheStop(t *testing.T) {
	p := start(t, "stubborn")
	p.worker()
	p.stop()
	if l := p.line(); l != "worker stops" {
		t.Fatal(l)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.ends(-1)
}

func TestWorkerThatCannotStartIsNotStartedAgain(t *testing.T) {
	for mode, code := range map[string]int{"config": 1, "usage": 2, "no start": 1} {
		t.Run(mode, func(t *testing.T) {
			p := start(t, mode)
			p.worker()
			p.ends(code, "supervisor ends")
			if p.log.Len() > 0 {
				t.Errorf("logged %s", p.log)
			}
		})
	}
}

func TestWorkerThatEndsByItselfEndsTheAgent(t *testing.T) {
	p := start(t, "ends")
	p.worker()
	p.ends(0, "supervisor ends")
}

func TestCrashesAreTold(t *testing.T) {
	for mode, want := range map[string]string{"panics": "exit status 2", "fails": "exit status 1"} {
		t.Run(mode, func(t *testing.T) {
			p := start(t, mode)
			p.worker()
			p.worker()
			p.stop() // while it waits for the third start, or stops the worker that is starting
			for p.line() != "" {
			}
			_ = p.cmd.Wait() // the log says it
			if !strings.Contains(p.log.String(), want) || !strings.Contains(p.log.String(), "LOGTAIL_CRASH_ALARM") {
				t.Errorf("no %s in the log: %s", want, p.log)
			}
		})
	}
}

func TestErrorOfTheStopIsTheCodeOfTheAgent(t *testing.T) {
	p := start(t, "fails at the end")
	p.worker()
	p.stop()
	p.ends(1, "worker stops", "supervisor ends")
	if !strings.Contains(p.log.String(), "did not stop cleanly: exit status 1") {
		t.Errorf("logged %s", p.log)
	}
}

func TestProcessesHaveTheNamesOfLogtail(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells the names in this way")
	}
	p := start(t, "collects")
	w := p.worker()
	for pid, want := range map[int]string{p.cmd.Process.Pid: SupervisorName, w.Pid: WorkerName} {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || strings.TrimSpace(string(comm)) != want {
			t.Errorf("short name %q, want %s: %v", comm, want, err)
		}
		args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if name, _, _ := strings.Cut(string(args), "\x00"); err != nil || name != want {
			t.Errorf("first argument %q, want %s: %v", name, want, err)
		}
	}
	p.stop()
	p.ends(0, "worker stops", "supervisor ends")
}

// A service manager sends its signal to both processes, and may repeat it.
func TestSignalsStopAWorkerOnce(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			if signal.Ignored(sig) {
				t.Skip("it is ignored, as nohup lets it be, and so the worker ignores it")
			}
			p := start(t, "collects")
			w := p.worker()
			for range 3 {
				if err := w.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH) {
					t.Fatal(err)
				}
			}
			p.ends(0, "worker stops", "supervisor ends")
		})
	}
}

func TestBackoff(t *testing.T) {
	const sec = time.Second
	var b backoff
	for i, c := range []struct{ lived, want time.Duration }{
		{sec, 0},
		{sec, 1 * sec},
		{sec, 2 * sec},
		{healthyTime - 1, 4 * sec},
		{0, 8 * sec},
		{0, 16 * sec},
		{0, 32 * sec},
		{0, 60 * sec},
		{0, 60 * sec},
		{healthyTime, 0},
		{0, 1 * sec},
		{healthyTime, 0},
	} {
		if got := b.next(c.lived); got != c.want {
			t.Errorf("end %d: wait %v, want %v", i, got, c.want)
		}
	}
	for range 1000 {
		if got := b.next(0); got > longestPause {
			t.Fatalf("wait %v", got)
		}
	}
}

// stage is a world in which time passes only when somebody lives or waits.
type stage struct {
	clock  time.Time
	waits  []time.Duration
	scenes []scene
	starts int
	cancel func()
	killed bool
}

// scene is a worker's life.
type scene struct {
	lived time.Duration
	end   ending
	err   error // it does not start
	hangs bool  // the stop comes while it lives, and it does not
	die   chan struct{}
	s     *stage
}

func (c *scene) id() int { return 7 }

func (c *scene) wait() ending {
	c.s.clock = c.s.clock.Add(c.lived)
	if c.hangs {
		c.s.cancel()
		<-c.die
	}
	return c.end
}

func (c *scene) stop() {} // it hangs

func (c *scene) kill() { c.s.killed = true; close(c.die) }

func (s *stage) play(t *testing.T) int {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.cancel = cancel
	sup := supervisor{
		log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		now: func() time.Time { return s.clock },
		after: func(d time.Duration) <-chan time.Time {
			s.waits = append(s.waits, d)
			s.clock = s.clock.Add(d)
			c := make(chan time.Time, 1)
			c <- s.clock
			return c
		},
	}
	var current *scene
	sup.start = func() (process, error) {
		if current != nil {
			s.scenes = s.scenes[1:]
		}
		s.starts++
		current = &s.scenes[0]
		current.s, current.die = s, make(chan struct{})
		return current, current.err
	}
	return sup.run(ctx)
}

func TestSupervisorWaitsLongerAfterEachCrash(t *testing.T) {
	crash := ending{2, "exit status 2"}
	s := &stage{scenes: []scene{
		{lived: time.Hour, end: crash},
		{end: crash},
		{end: crash},
		{err: errors.New("no more processes")},
		{end: ending{codeStart + 1, "it cannot open its state"}},
		{lived: healthyTime, end: crash},
		{end: crash},
		{end: ending{codeConfig + 1, "the configuration is wrong now"}},
	}}
	if code := s.play(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
	want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, time.Second}
	if s.starts != 8 || !slices.Equal(s.waits, want) {
		t.Errorf("%d starts, waited %v, want %v", s.starts, s.waits, want)
	}
}

func TestSupervisorThatCannotStartAWorkerEnds(t *testing.T) {
	s := &stage{scenes: []scene{{err: errors.New("no more processes")}}}
	if code := s.play(t); code != 1 || s.starts != 1 {
		t.Errorf("exit code %d, %d starts", code, s.starts)
	}
}

func TestWorkerThatDoesNotStopIsKilled(t *testing.T) {
	s := &stage{scenes: []scene{{hangs: true, end: ending{-1, "signal: killed"}}}}
	if code := s.play(t); code != 1 || !s.killed || !slices.Equal(s.waits, []time.Duration{stopTime}) {
		t.Errorf("exit code %d, killed %v, waited %v", code, s.killed, s.waits)
	}
}

func TestExitCodesOfTheWorker(t *testing.T) {
	var none *Worker
	none.Configured()
	none.Started()
	if got := none.ExitCode(1); got != 1 {
		t.Errorf("without a supervisor: %d", got)
	}
	if WorkerOf(t.Context()) != nil {
		t.Error("this process is a worker")
	}
	w := &Worker{}
	for _, c := range []struct{ code, want int }{{0, 0}, {1, codeConfig + 1}, {2, codeConfig + 2}, {50, 50}, {-1, -1}} {
		if got := w.ExitCode(c.code); got != c.want {
			t.Errorf("%d becomes %d, want %d", c.code, got, c.want)
		}
	}
	w.Configured()
	if got := w.ExitCode(1); got != codeStart+1 {
		t.Errorf("configured: %d", got)
	}
	w.Started()
	if got := w.ExitCode(1); got != 1 {
		t.Errorf("started: %d", got)
	}
}
