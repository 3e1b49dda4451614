//go:build linux

package soak

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

var crash = regexp.MustCompile(`(?m)^(panic:|fatal error:|unexpected fault address|goroutine \d+ \[|WARNING: DATA RACE|.*internal error)`)

// output is the file that a program writes what it says about itself to.
type output string

// last returns the last lines.
func (o output) last(n int) string {
	b, err := os.ReadFile(string(o))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}

// crashed returns the first sign of a crash, and what follows it.
func (o output) crashed() string {
	b, err := os.ReadFile(string(o))
	if err != nil {
		return err.Error()
	}
	at := crash.FindIndex(b)
	if at == nil {
		return ""
	}
	return string(b[at[0]:min(len(b), at[0]+4096)])
}

// proc is one of the two halves: a program that is to run, whatever happens.
type proc struct {
	name string
	args func() []string // of the next start
	env  []string
	wrap []string // stands before the program: ip netns exec
	out  output
	// faulty says that its disk or its surroundings are such that it may give up.
	faulty func() bool
	// started is called after each start, with no lock held.
	started func()

	mu      sync.Mutex
	cmd     *exec.Cmd
	done    chan struct{}
	wanted  bool  // it is to run
	killed  bool  // the end of this one was wanted
	groups  []int // process groups of all starts
	starts  int
	quits   int      // it ended by itself while its surroundings were faulty
	strange []string // it ended by itself and should not have
	maxRSS  int64    // bytes, of all its processes at one time
}

func (p *proc) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = true
	return p.spawn()
}

// spawn starts the program if it does not run. The caller has mu.
func (p *proc) spawn() error {
	if p.cmd != nil {
		return nil
	}
	args := append(append([]string{}, p.wrap...), p.args()...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	out, err := os.OpenFile(string(p.out), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out // a file, not a pipe: what outlives its parent keeps it
	// Its own group: its children can be found and ended with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.groups = append(p.groups, cmd.Process.Pid)
	p.cmd, p.done, p.killed = cmd, make(chan struct{}), false
	p.starts++
	go p.await(cmd, p.done, time.Now())
	if p.started != nil {
		go p.started()
	}
	return nil
}

// earlyTime is within what time from its start SIGTERM may end a program as the system
// does it, on a busy machine.
const earlyTime = 2 * time.Second

// await takes note of the end, and starts the program again if it should run.
func (p *proc) await(cmd *exec.Cmd, done chan struct{}, began time.Time) {
	err := cmd.Wait()
	early := false // it was told to stop before it could listen to that
	if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && st.Signaled() && st.Signal() == syscall.SIGTERM {
		early = time.Since(began) < earlyTime
	}
	p.mu.Lock()
	p.cmd = nil
	again := p.wanted
	if again && !p.killed {
		if p.faulty() {
			p.quits++
		} else {
			p.strange = append(p.strange, fmt.Sprintf("%s ended by itself: %v: %s", p.name, err, p.out.last(3)))
		}
	} else if !p.killed && err != nil && !early && !p.faulty() {
		p.strange = append(p.strange, fmt.Sprintf("%s did not stop cleanly: %v: %s", p.name, err, p.out.last(3)))
	}
	p.mu.Unlock()
	close(done)
	if again {
		time.AfterFunc(300*time.Millisecond, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.wanted {
				_ = p.spawn() // a failure shows as a run that never ends well
			}
		})
	}
}

// stop ends the program cleanly; it returns when it has ended. One that does not
// end in time is killed, and that is told.
func (p *proc) stop(patience time.Duration) {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.wanted = false
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	p.signalAll(syscall.SIGCONT)
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-done:
	case <-time.After(patience):
		p.mu.Lock()
		if !p.faulty() {
			p.strange = append(p.strange, fmt.Sprintf("%s did not stop within %v", p.name, patience))
		}
		p.killed = true
		p.mu.Unlock()
		_ = cmd.Process.Signal(syscall.SIGQUIT) // its goroutines go into its output
		select {
		case <-done:
		case <-time.After(2 * time.Second):
		}
		p.signalAll(syscall.SIGKILL)
		<-done
	}
}

// kill ends everything of it at once; it stays down until start.
func (p *proc) kill() {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.wanted, p.killed = false, true
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	p.signalAll(syscall.SIGKILL)
	<-done
}

// clear ends whatever may be left of any of its starts.
func (p *proc) clear() {
	p.kill()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.groups {
		_ = syscall.Kill(-g, syscall.SIGKILL) // it has ended already, as a rule
	}
}

// running says whether it runs now.
func (p *proc) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// pids returns its processes: itself first, then its children.
func (p *proc) pids() (list []int) {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	return family(cmd.Process.Pid)
}

func (p *proc) signalAll(sig syscall.Signal) {
	for _, pid := range p.pids() {
		_ = syscall.Kill(pid, sig) // it may have ended
	}
}

// crashWorker kills one child, as its supervisor must survive it; it says whether there is one.
func (p *proc) crashWorker() bool {
	list := p.pids()
	if len(list) < 2 {
		return false
	}
	return syscall.Kill(list[1], syscall.SIGKILL) == nil
}

// crashParent kills the first process only; what it leaves behind must end by itself or do no harm.
func (p *proc) crashParent() {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.wanted, p.killed = false, true
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	<-done
}

// family returns a process and its children, and theirs.
func family(root int) []int {
	list := []int{root}
	children, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return list
	}
	parents := map[int][]int{}
	for _, f := range children {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		// pid (name) state ppid
		pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if len(fields) > 1 {
			parent, _ := strconv.Atoi(string(fields[1]))
			parents[parent] = append(parents[parent], pid)
		}
	}
	for i := 0; i < len(list); i++ {
		list = append(list, parents[list[i]]...)
	}
	return list
}

// measure notes how much memory it uses now.
func (p *proc) measure() {
	var sum int64
	for _, pid := range p.pids() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue
		}
		if f := bytes.Fields(b); len(f) > 1 {
			pages, _ := strconv.ParseInt(string(f[1]), 10, 64)
			sum += pages * int64(os.Getpagesize())
		}
	}
	p.mu.Lock()
	p.maxRSS = max(p.maxRSS, sum)
	p.mu.Unlock()
}
