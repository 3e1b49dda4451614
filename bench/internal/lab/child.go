//go:build linux

package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Use is what a process used of the machine.
type Use struct {
	CPU  time.Duration // user and system
	Wall time.Duration
	// RSS is the peak in bytes as /proc tells it. (The figure of wait4 has that of
	// the parent in it, from which the child was forked.)
	RSS int64
	// Other is how many cores the rest of the machine kept busy meanwhile: the
	// noise. Time that the hypervisor took away counts too.
	Other float64
}

// Run runs a command to its end with the given additions to the environment.
// The error has what it printed on standard error.
func Run(ctx context.Context, env []string, name string, args ...string) (u Use, stderr []byte, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stderr = &out
	busy, start := MachineCPU(), time.Now()
	if err := cmd.Start(); err != nil {
		return u, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for waiting := true; waiting; {
		select {
		case err = <-ended:
			waiting = false
		case <-look.C:
			u.RSS = max(u.RSS, PeakRSS(cmd.Process.Pid))
		}
	}
	u.Wall = time.Since(start)
	u.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	u.Other = Others(MachineCPU()-busy-u.CPU, u.Wall)
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.Bytes())
	}
	return u, out.Bytes(), err
}

// Child is the real binary in the background.
type Child struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan struct{}
	err    error
}

// Start starts a command in the background.
func Start(env []string, name string, args ...string) (*Child, error) {
	c := &Child{cmd: exec.Command(name, args...), ended: make(chan struct{})} //nolint:noctx // Stop ends it, in an orderly way
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stderr = &c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a benchmark that is killed leaves nothing behind
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// Ended is closed when the child has ended.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// PID is the child's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Stop interrupts the child as Ctrl-C does, waits for its end, and returns
// what it printed on standard error.
func (c *Child) Stop() ([]byte, error) {
	_ = c.cmd.Process.Signal(os.Interrupt) // an error means that it has ended
	select {
	case <-c.ended:
	case <-time.After(30 * time.Second):
		c.Kill()
		return nil, fmt.Errorf("%s does not stop", strings.Join(c.cmd.Args, " "))
	}
	if c.err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(c.cmd.Args, " "), c.err, c.stderr.Bytes())
	}
	return c.stderr.Bytes(), nil
}

// Kill ends the child at once.
func (c *Child) Kill() {
	_ = c.cmd.Process.Kill() // an error means that it has ended
	<-c.ended
}

// CPU is the time that a running process has used: what the scheduler counted
// for its threads, those that ended included.
func CPU(pid int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// pid (name) state ppid ...: utime and stime are fields 14 and 15, in ticks.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return ticks(fields[11]) + ticks(fields[12]), nil
}

// ticks reads a time in units of 1/100 s, which Linux uses towards programs on
// every machine.
func ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64) // the kernel writes numbers
	return time.Duration(n) * 10 * time.Millisecond
}

// PeakRSS is the most memory that a running process ever had in use, in bytes;
// 0 if it has ended.
func PeakRSS(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64) // the kernel writes numbers
	return n << 10
}

// RSS is the memory that a running process has in use, in bytes.
func RSS(pid int) (int64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm has %d fields", pid, len(fields))
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// Others is how many cores were busy with other things, given the time that
// they were busy and the time that passed.
func Others(busy, passed time.Duration) float64 {
	return max(0, busy.Seconds()/passed.Seconds())
}

// MachineCPU is the time that all cores were busy since the start of the machine.
func MachineCPU() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var sum time.Duration
	for i, f := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal; guests are in user already
		if i >= 1 && i <= 8 && i != 4 && i != 5 {
			sum += ticks(f)
		}
	}
	return sum
}

// ThreadCPU is the time that the calling thread has used; the caller is to hold
// on to its thread by runtime.LockOSThread.
func ThreadCPU() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // a clock that every Linux has
	}
	return time.Duration(t.Nano())
}
