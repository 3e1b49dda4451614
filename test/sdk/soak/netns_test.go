//go:build linux

package soak

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"
)

// link is the network namespace in which the agent runs, behind a virtual cable.
type link struct {
	space, outer, inner string
	host                string // the address of the proxies
	ill                 bool
}

// netnsReady makes the namespace. The names hold the process id, so that runs do
// not meet.
func (s *soak) netnsReady() error {
	if err := asRoot(s); err != nil {
		return err
	}
	for _, program := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
	}
	id := os.Getpid() % 16_000
	l := &link{space: fmt.Sprintf("lts%d", id), outer: fmt.Sprintf("lto%d", id), inner: fmt.Sprintf("lti%d", id)}
	net := fmt.Sprintf("10.213.%d", id/64)
	l.host = fmt.Sprintf("%s.%d", net, id%64*4+1)
	steps := [][]string{
		{"netns", "add", l.space},
		{"link", "add", l.outer, "type", "veth", "peer", "name", l.inner, "netns", l.space},
		{"addr", "add", l.host + "/30", "dev", l.outer},
		{"link", "set", l.outer, "up"},
		{"-n", l.space, "addr", "add", fmt.Sprintf("%s.%d/30", net, id%64*4+2), "dev", l.inner},
		{"-n", l.space, "link", "set", l.inner, "up"},
		{"-n", l.space, "link", "set", "lo", "up"},
	}
	for i, step := range steps {
		if err := run("ip", step...); err != nil {
			if i > 0 {
				_ = run("ip", "netns", "del", l.space) // the first error counts
			}
			return err
		}
	}
	s.undo(func() {
		_ = run("ip", "link", "del", l.outer) // goes with the namespace, if not before
		_ = run("ip", "netns", "del", l.space)
	})
	s.link = l
	return nil
}

// disturbLink pulls the agent's cable, or makes it thin.
func (s *soak) disturbLink(r *rand.Rand) (string, error) {
	l, d, thin, rate := s.link, s.short(r, 30*time.Second), r.IntN(2) == 0, 8<<r.IntN(8)
	if l.ill {
		return "", nil
	}
	do, undo := []string{"link", "set", l.inner, "down"}, []string{"link", "set", l.inner, "up"}
	program, what := "ip", "netns link down"
	if thin {
		program, what = "tc", "netns thin link"
		do = []string{"qdisc", "replace", "dev", l.inner, "root", "tbf", "rate", fmt.Sprintf("%dkbit", rate), "burst", "4k", "latency", "2s"}
		undo = []string{"qdisc", "del", "dev", l.inner, "root"}
	}
	if err := run(program, append([]string{"-n", l.space}, do...)...); err != nil {
		return "", err
	}
	l.ill = true
	s.note("%s for %v, %d kbit", what, d, rate)
	s.after(d, func() error {
		l.ill = false
		return run(program, append([]string{"-n", l.space}, undo...)...)
	})
	return what, nil
}
