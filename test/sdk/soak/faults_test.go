//go:build linux

package soak

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// fault is one kind of mishap.
type fault struct {
	name   string
	weight int
	// ready says why the fault cannot be injected on this machine; nil if it can.
	ready func(s *soak) error
	// begin injects it; what undoes it is given to s.after. It returns the exact
	// kind, for the counts, or "" if it cannot be done now.
	begin func(s *soak, r *rand.Rand) (string, error)
}

// faults are all kinds, in a fixed order, so that a seed means the same each time.
func faults() []fault {
	list := []fault{
		{name: "kill", weight: 5, begin: (*soak).kill},
		{name: "stop", weight: 4, begin: (*soak).freeze},
		{name: "restart", weight: 3, begin: (*soak).restart},
		{name: "net", weight: 14, begin: (*soak).disturb},
		{name: "clock", weight: 3, ready: (*soak).clockReady, begin: (*soak).jump},
	}
	for _, o := range []struct {
		name   string
		weight int
		kinds  []kind
		do     func(*logfile, *rand.Rand) (bool, error)
	}{
		{"chain", 7, []kind{mixed, narrow}, chainOn},
		{"rename", 5, []kind{mixed, narrow}, renameAway},
		{"datestamp", 3, []kind{mixed}, dateStamp},
		{"copytruncate", 6, []kind{mixed}, copyTruncate},
		{"compress", 7, []kind{mixed}, compressOld},
		{"delete", 7, []kind{mixed, narrow, linked}, deleteRead},
		{"recreate", 3, []kind{mixed, narrow}, recreate},
		{"truncate", 2, []kind{mixed, narrow}, truncate},
		{"editor", 2, []kind{mixed}, edit},
		{"hardlink", 3, []kind{mixed}, hardLink},
		{"symlink", 3, []kind{linked}, repoint},
		{"dir-rename", 2, []kind{mixed}, renameDir},
		{"dir-remake", 2, []kind{mixed, narrow}, remakeDir},
		{"logrotate", 6, []kind{logrotate}, runLogrotate},
		{"unread", 1, []kind{mixed}, deleteUnread},
	} {
		f := fault{name: o.name, weight: o.weight, begin: func(s *soak, r *rand.Rand) (string, error) {
			ok, err := s.withFile(o.kinds, r, o.do)
			if !ok || err != nil {
				return "", err
			}
			return o.name, nil
		}}
		switch o.name {
		case "logrotate":
			f.ready = (*soak).logrotateReady
		case "unread":
			f.ready = (*soak).countsReady
		}
		list = append(list, f)
	}
	return append(list, diskFaults()...)
}

// withFile does something to a random file of the kinds.
func (s *soak) withFile(kinds []kind, r *rand.Rand, do func(*logfile, *rand.Rand) (bool, error)) (bool, error) {
	var list []*logfile
	for _, f := range s.files {
		for _, k := range kinds {
			if f.kind == k && !f.busy {
				list = append(list, f)
			}
		}
	}
	if len(list) == 0 {
		return false, nil
	}
	f := list[r.IntN(len(list))]
	ok, err := do(f, r)
	if err != nil {
		return ok, fmt.Errorf("file %d: %w", f.id, err)
	}
	return ok, nil
}

// victim is one of the two halves that is not in trouble already.
func (s *soak) victim(r *rand.Rand) *proc {
	p := s.agent
	if r.IntN(5) < 2 {
		p = s.server
	}
	if s.held[p] || !p.running() {
		return nil
	}
	return p
}

// short is a random time, mostly short, sometimes up to the most.
func (s *soak) short(r *rand.Rand, most time.Duration) time.Duration {
	x := r.Float64()
	return min(time.Duration(x*x*x*float64(most)), s.longest)
}

// kill ends a half with kill -9, or one of the agent's two processes.
func (s *soak) kill(r *rand.Rand) (string, error) {
	p, dice, down := s.victim(r), r.IntN(4), s.short(r, 20*time.Second)
	if p == nil {
		return "", nil
	}
	what := "kill " + p.name
	switch {
	case p == s.agent && dice == 0:
		if p.crashWorker() {
			s.shaken = time.Now()
			return "kill worker", nil // its supervisor starts it again
		}
		p.kill()
	case p == s.agent && dice == 1 && len(p.pids()) > 1:
		p.crashParent()
		what = "kill supervisor"
	default:
		p.kill()
	}
	s.hold(p, down, p.start)
	return what, nil
}

// hold keeps others from a half until it is undone.
func (s *soak) hold(p *proc, d time.Duration, undo func() error) {
	s.held[p] = true
	s.after(d, func() error {
		delete(s.held, p)
		return undo()
	})
}

// freeze stops the processes of a half for a while.
func (s *soak) freeze(r *rand.Rand) (string, error) {
	p, d := s.victim(r), s.short(r, 12*time.Second)
	if p == nil {
		return "", nil
	}
	list := p.pids()
	if r.IntN(3) == 0 && len(list) > 1 {
		list = list[:1] // the supervisor alone
	}
	for _, pid := range list {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended
	}
	s.hold(p, d, func() error {
		p.signalAll(syscall.SIGCONT)
		return nil
	})
	return "stop " + p.name, nil
}

// restart ends a half cleanly and starts it again, sometimes at once.
func (s *soak) restart(r *rand.Rand) (string, error) {
	p, down := s.victim(r), s.short(r, 10*time.Second)
	if p == nil {
		return "", nil
	}
	p.stop(stopPatience)
	s.hold(p, down, p.start)
	return "restart " + p.name, nil
}

// disturb gives a proxy a trouble for a while.
func (s *soak) disturb(r *rand.Rand) (string, error) {
	p, mode := s.proxies[r.IntN(len(s.proxies))], troubles[r.IntN(len(troubles))]
	part, rate, wait := 1.0, 1, time.Duration(50+r.IntN(1500))*time.Millisecond
	if r.IntN(2) == 0 {
		part = 0.05 + 0.5*r.Float64()
	}
	if r.IntN(2) == 0 {
		rate = 1 << r.IntN(18)
	}
	most := 20 * time.Second
	if mode == denied || mode == refuse || mode == silent {
		most = 60 * time.Second
	}
	d := s.short(r, most)
	if s.troubled[p] {
		return "", nil
	}
	s.troubled[p] = true
	p.set(mode, part, rate, wait)
	s.note("%s: %s for %v, part %.2f, rate %d", p.name, mode, d, part, rate)
	s.after(d, func() error {
		delete(s.troubled, p)
		p.set("", 0, 0, 0)
		return nil
	})
	return "", nil // the proxy counts the requests that meet it
}

func (s *soak) logrotateReady() (err error) {
	s.logrotate, err = findLogrotate()
	return err
}

func (s *soak) clockReady() error {
	if s.clockBinary == "" {
		return fmt.Errorf("set LOGTAIL_CLOCK_BIN to a program that was built with the tag faultclock")
	}
	return nil
}

// clockFile is where a half reads how far its clock is off.
func (s *soak) clockFile(name string) string { return filepath.Join(s.root, "clock-"+name) }

// jump sets the clock of a half forward or back.
func (s *soak) jump(r *rand.Rand) (string, error) {
	name := []string{"agent", "server"}[r.IntN(2)]
	off := time.Duration(r.IntN(21_600)-10_800) * time.Second
	switch r.IntN(4) {
	case 0:
		off = 0
	case 1:
		off = time.Duration(r.IntN(7)-3) * time.Second
	}
	s.note("the clock of the %s is off by %v", name, off)
	return "clock " + name, s.setClock(name, off)
}

func (s *soak) setClock(name string, off time.Duration) error {
	next := s.clockFile(name) + ".next"
	if err := os.WriteFile(next, []byte(off.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(next, s.clockFile(name))
}

// chosen returns the faults that LOGTAIL_FAULTS asks for and that the machine
// can do, and why others are left out.
func (s *soak) chosen(list string) (out []fault, skipped []string, err error) {
	only, not := map[string]bool{}, map[string]bool{}
	for _, w := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		if name, minus := strings.CutPrefix(w, "-"); minus {
			not[name] = true
		} else {
			only[w] = true
		}
	}
	known := map[string]bool{}
	for _, f := range faults() {
		known[f.name] = true
		if not[f.name] || len(only) > 0 && !only[f.name] {
			continue
		}
		if f.ready != nil {
			if err := f.ready(s); err != nil {
				skipped = append(skipped, f.name+": "+err.Error())
				continue
			}
		}
		out = append(out, f)
	}
	for _, m := range []map[string]bool{only, not} {
		for name := range m {
			if !known[name] {
				return nil, nil, fmt.Errorf("LOGTAIL_FAULTS names %q, which is none of the faults", name)
			}
		}
	}
	return out, skipped, nil
}
