package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// bind mounts what is at from over to, or skips where that is not allowed.
func bind(t *testing.T, from, to string) (unmount func()) {
	t.Helper()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skipf("mounting needs root's rights: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	unmount = func() { _ = unix.Unmount(to, unix.MNT_DETACH) }
	t.Cleanup(unmount)
	return unmount
}

// No event tells of a mount. The intervals of the sweeps do not matter either
// in this test: the table of mounts tells.
func TestMountOverAWatchedDirectoryAndItsEnd(t *testing.T) {
	base, other := t.TempDir(), t.TempDir()
	below := write(t, filepath.Join(mkdir(t, base+"/logs/deep"), "a.log"), "1\n")
	write(t, filepath.Join(mkdir(t, other+"/deep"), "b.log"), "2\n")
	above := base + "/logs/deep/b.log"
	r := newRig(t, onlyEvents()).run()
	r.watch("w", Spec{Paths: []string{base + "/logs/**/*.log"}, MaxDepth: 3})
	r.firstScan("w")
	for range 3 {
		unmount := bind(t, other, base+"/logs")
		r.expectAll(gone("w", below), found("w", above))
		write(t, above, "x")
		r.expect(changed("w", above))
		unmount()
		r.expectAll(gone("w", above), found("w", below))
		write(t, below, "x")
		r.expect(changed("w", below))
	}
}

func TestMountOverAFile(t *testing.T) {
	base, other := t.TempDir(), t.TempDir()
	log, over := write(t, base+"/a.log", "1\n"), write(t, other+"/over", "22\n")
	r := newRig(t, onlyEvents()).run()
	r.watch("w", Spec{Paths: []string{base + "/*.log"}})
	r.firstScan("w")
	unmount := bind(t, over, log)
	r.expect(found("w", log))
	unmount()
	r.expect(found("w", log))
}

func TestMountPointOfAPath(t *testing.T) {
	m := &mounts{points: map[string]uint64{"/": 1, "/var": 2, "/var/log": 3, "/mnt/a b": 4}}
	for path, want := range map[string]string{
		"/": "/", "/etc/x": "/", "/var": "/var", "/var/lo": "/var", "/var/log": "/var/log", "/var/log/a/b": "/var/log", "/mnt/a b/c": "/mnt/a b", "": "/",
	} {
		if got := m.of(path); got != want {
			t.Errorf("%q lies on %q, want %q", path, got, want)
		}
	}
	for in, want := range map[string]string{`/mnt/a\040b`: "/mnt/a b", `/a\134b`: `/a\b`, `/a\9`: `/a\9`, `/plain`: "/plain", `\`: `\`} {
		if got := unescapeMount([]byte(in)); got != want {
			t.Errorf("%s is %q, want %q", in, got, want)
		}
	}
}

func TestTableOfMountsIsReadAgainOnlyWhenItChanged(t *testing.T) {
	m := newMounts()
	defer m.close()
	dir := t.TempDir()
	bind(t, dir, dir)
	points := m.changed()
	if want := []string{dir}; !containsAll(points, want) {
		t.Fatalf("changed: %q, want %q among them", points, want)
	}
	if got := m.of(dir + "/x"); got != dir {
		t.Errorf("the mount point is %q", got)
	}
	if n := testing.AllocsPerRun(10, func() { m.changed() }); n > 1 {
		t.Errorf("%v allocations without a change", n)
	}
}

func containsAll(all, some []string) bool {
	have := make(map[string]bool)
	for _, s := range all {
		have[s] = true
	}
	for _, s := range some {
		if !have[s] {
			return false
		}
	}
	return true
}

// What becomes unreadable keeps its files, and what happened meanwhile is found
// when it can be read again, of which no event tells.
func TestDirectoryBecomesUnreadableAndReadableAgain(t *testing.T) {
	for _, events := range []bool{true, false} {
		t.Run(fmt.Sprintf("events=%v", events), func(t *testing.T) {
			base := t.TempDir()
			must(t, os.Chmod(filepath.Dir(base), 0o755))
			must(t, os.Chmod(base, 0o755))
			log := write(t, filepath.Join(mkdir(t, base+"/logs"), "a.log"), "x")
			o := polling()
			o.UseEvents = events
			r := newRig(t, o, unprivileged).run()
			r.watch("w", Spec{Paths: []string{base + "/*/*.log"}})
			r.firstScan("w")
			must(t, os.Chmod(base+"/logs", 0))
			t.Cleanup(func() { _ = os.Chmod(base+"/logs", 0o755) })
			if os.Getuid() == 0 {
				write(t, base+"/logs/b.log", "x")
			}
			r.eventually("failed looks", func() bool { return r.m.Stats().Failures > 3 })
			r.sees("w", log)
			must(t, os.Chmod(base+"/logs", 0o755))
			late := base + "/logs/b.log"
			if os.Getuid() != 0 {
				write(t, late, "x")
			}
			r.expect(found("w", late))
			r.sees("w", log, late)
		})
	}
}
