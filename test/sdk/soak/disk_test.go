//go:build linux

package soak

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// volume is a small file system that a half keeps its data on.
type volume struct {
	name    string
	dir     string
	mounted []string // what to unmount, in this order
	ill     bool     // full, read-only or broken now
}

func asRoot(*soak) error {
	if os.Geteuid() != 0 {
		return errors.New("only root may mount")
	}
	return nil
}

func diskFaults() []fault {
	return []fault{
		{name: "full", weight: 3, ready: volumesReady, begin: (*soak).fill},
		{name: "readonly", weight: 2, ready: volumesReady, begin: (*soak).readOnly},
		{name: "fuse", weight: 4, ready: (*soak).fuseReady, begin: (*soak).sicken},
		{name: "netns", weight: 3, ready: (*soak).netnsReady, begin: (*soak).disturbLink},
	}
}

func volumesReady(s *soak) error {
	if err := asRoot(s); err != nil || len(s.volumes) > 0 {
		return err
	}
	agent := &volume{name: "agent", dir: filepath.Join(s.root, "agent-disk")}
	server := &volume{name: "server", dir: filepath.Join(s.root, "server-disk")}
	for _, v := range []*volume{agent, server} {
		if err := os.MkdirAll(v.dir, 0o755); err != nil {
			return err
		}
	}
	// The buffer of an outage has 500 MB by default.
	if err := run("mount", "-t", "tmpfs", "-o", "size=700m", "logtail-soak", agent.dir); err != nil {
		return err
	}
	agent.mounted = []string{agent.dir}
	s.undo(func() { agent.unmount() })
	image := filepath.Join(s.root, "server.img")
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(12<<30), f.Close()); err != nil {
		return err
	}
	if err := run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", image); err != nil {
		return err
	}
	if err := run("mount", "-o", "loop", image, server.dir); err != nil {
		return err
	}
	server.mounted = []string{server.dir}
	s.undo(func() { server.unmount() })
	s.volumes = map[string]*volume{"agent": agent, "server": server}
	s.agentData, s.serverData = filepath.Join(agent.dir, "data"), filepath.Join(server.dir, "data")
	return nil
}

func (v *volume) unmount() {
	for _, dir := range v.mounted {
		_ = run("umount", "-l", dir) // what is still open there ends with its process
	}
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// well returns a volume that nothing is wrong with now.
func (s *soak) well(r *rand.Rand) *volume {
	v := s.volumes[[]string{"agent", "server"}[r.IntN(2)]]
	if v == nil || v.ill {
		return nil
	}
	return v
}

// fill takes all free space of a volume for a while, or all but a little.
func (s *soak) fill(r *rand.Rand) (string, error) {
	v, d, left := s.well(r), s.short(r, 15*time.Second), int64(r.IntN(3)*r.IntN(200_000))
	if v == nil {
		return "", nil
	}
	ballast := filepath.Join(v.dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		return "", err
	}
	defer f.Close()
	v.ill = true
	var size int64
	for range 4 { // what is written meanwhile takes some of it
		var st syscall.Statfs_t
		if err := syscall.Statfs(v.dir, &st); err != nil {
			return "", err
		}
		free := int64(st.Bavail)*st.Bsize - left
		if free <= 0 {
			break
		}
		if syscall.Fallocate(int(f.Fd()), 0, size, free) == nil {
			size += free
		}
	}
	// Root has a reserve on ext4, which is to be full too.
	for step := int64(64 << 20); step >= 4096; step /= 2 {
		for left == 0 && syscall.Fallocate(int(f.Fd()), 0, size, step) == nil {
			size += step
		}
	}
	s.note("the disk of the %s is full for %v, %d bytes are left", v.name, d, left)
	s.after(d, func() error {
		err := os.Remove(ballast)
		// The program may notice a little later.
		s.after(2*time.Second, func() error { v.ill = false; return nil })
		return err
	})
	return "full disk " + v.name, nil
}

// readOnly makes a volume read-only while its program starts. A file system
// that is written to cannot be made read-only, so the program is stopped before.
func (s *soak) readOnly(r *rand.Rand) (string, error) {
	v, d := s.well(r), s.short(r, 10*time.Second)
	if v == nil {
		return "", nil
	}
	p := s.agent
	if v.name == "server" {
		p = s.server
	}
	if s.held[p] || !p.running() {
		return "", nil
	}
	p.kill()
	if err := run("mount", "-o", "remount,ro", v.dir); err != nil {
		s.note("%v", err)
		return "", p.start()
	}
	v.ill = true
	s.note("the disk of the %s is read-only for %v", v.name, d)
	s.hold(p, d, func() error {
		if err := run("mount", "-o", "remount,rw", v.dir); err != nil {
			return err
		}
		s.after(2*time.Second, func() error { v.ill = false; return nil })
		return nil
	})
	return "read-only disk " + v.name, p.start()
}
