package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// hanging makes looks at some paths hang until it is released, as a mount does
// whose server is away.
type hanging struct {
	mu    sync.Mutex
	tops  []string
	freed chan struct{}
}

func (h *hanging) hang(tops ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tops, h.freed = tops, make(chan struct{})
}

func (h *hanging) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.tops) > 0 {
		h.tops = nil
		close(h.freed)
	}
}

func (h *hanging) wait(path string) {
	h.mu.Lock()
	hangs := slices.ContainsFunc(h.tops, func(top string) bool { return below(path, top) })
	freed := h.freed
	h.mu.Unlock()
	if hangs {
		<-freed
	}
}

// in makes the monitor's looks hang. Paths in links hang as what they lead to.
func (h *hanging) in(t *testing.T) func(*Monitor) {
	t.Cleanup(h.release)
	return func(m *Monitor) {
		m.hangAfter = 50 * time.Millisecond
		m.mountOf = func(path string) string {
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, top := range h.tops {
				if below(path, top) {
					return top
				}
			}
			return "/"
		}
		sys := m.sys
		m.sys.stat = func(path string, follow bool) (status, error) {
			real := path
			if follow {
				if to, err := os.Readlink(path); err == nil {
					real = to
				}
			}
			h.wait(real)
			return sys.stat(path, follow)
		}
		m.sys.list = func(path string, buf []byte, fn func([]byte, entryKind, uint64)) (int64, error) {
			h.wait(path)
			return sys.list(path, buf, fn)
		}
		m.sys.watch = func(n notifier, path string, files bool) (int32, error) {
			h.wait(path)
			return sys.watch(n, path, files)
		}
	}
}

func (r *rig) aside(n int) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%d places set aside", n), func() bool { return r.m.Stats().Aside == n })
}

func (r *rig) alarmed(parts ...string) {
	r.t.Helper()
	r.until("an alarm with "+fmt.Sprint(parts), func([]Event) bool {
		return slices.ContainsFunc(r.alarms, func(a string) bool {
			return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(a, p) })
		})
	})
}

func TestMountThatHangsFromTheStartHoldsNothingUp(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		fine := write(t, filepath.Join(mkdir(t, base+"/fine"), "a.log"), "x")
		there := write(t, filepath.Join(mkdir(t, base+"/hung/deep"), "a.log"), "x")
		var h hanging
		h.hang(base + "/hung")
		r := newRig(t, o, h.in(t)).run()
		r.watch("w", Spec{Paths: []string{base + "/**/*.log"}, MaxDepth: 5})
		if got := r.firstScan("w"); !slices.Equal(got, []string{fine}) {
			t.Errorf("first scan: %q", got)
		}
		r.aside(1)
		r.alarmed("REGISTER_INOTIFY_FAIL_ALARM", base+"/hung", "does not answer", "check the disk or the mount")
		fresh := write(t, base+"/fine/b.log", "x")
		r.expect(found("w", fresh))
		write(t, fresh, "y")
		r.expect(changed("w", fresh))

		h.release()
		r.expect(found("w", there)) // it was not seen when the watch began
		r.sees("w", fine, fresh, there)
	})
}

func TestMountThatHangsLaterKeepsItsFiles(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		fine := write(t, filepath.Join(mkdir(t, base+"/fine"), "a.log"), "x")
		hung := write(t, filepath.Join(mkdir(t, base+"/hung/deep"), "a.log"), "x")
		o.DirInterval, o.FileInterval = 10*time.Millisecond, 10*time.Millisecond // no event comes from what hangs
		var h hanging
		r := newRig(t, o, h.in(t)).run()
		r.watch("w", Spec{Paths: []string{base + "/**/*.log"}, MaxDepth: 5})
		r.firstScan("w")
		h.hang(base + "/hung")
		r.aside(1)
		write(t, fine, "y")
		r.expect(changed("w", fine))
		r.sees("w", fine, hung)

		// When it answers again its changes are seen, also before it is looked
		// at together with the others.
		h.release()
		write(t, hung, "y")
		r.expect(changed("w", hung))
		second := write(t, base+"/hung/deep/b.log", "x")
		third := write(t, filepath.Join(mkdir(t, base+"/hung/new/deeper"), "c.log"), "x")
		r.expectAll(found("w", second), found("w", third))
		must(t, os.RemoveAll(base+"/hung/deep"))
		r.expectAll(gone("w", hung), gone("w", second))
		if n := r.m.Stats().Aside; n != 1 {
			t.Errorf("%d places are aside, and it answered quickly for a moment only", n)
		}
		must(t, os.RemoveAll(base+"/hung"))
		r.expect(gone("w", third))
		r.aside(0) // nothing is left of it
	})
}

func TestPlaceThatAnswersAgainIsLookedAtLikeOthers(t *testing.T) {
	base := t.TempDir()
	hung := write(t, filepath.Join(mkdir(t, base+"/hung/deep"), "a.log"), "x")
	var h hanging
	h.hang(base + "/hung")
	r := newRig(t, polling(), h.in(t), func(m *Monitor) { m.probation = 0 }).run()
	r.watch("w", Spec{Paths: []string{base + "/**/*.log"}, MaxDepth: 5})
	r.firstScan("w")
	r.aside(1)
	h.release()
	r.expect(found("w", hung))
	r.aside(0)
	write(t, hung, "y")
	r.expect(changed("w", hung))
	h.hang(base + "/hung")
	r.aside(1)
	h.release()
	write(t, hung, "z")
	r.expect(changed("w", hung))
}

func TestLinkIntoWhatHangsIsSetAsideAlone(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base, other := t.TempDir(), t.TempDir()
		target := write(t, filepath.Join(mkdir(t, other+"/dir"), "a.log"), "x")
		must(t, os.Symlink(target, base+"/link.log"))
		must(t, os.Symlink(other+"/dir", base+"/link"))
		fine := write(t, base+"/fine.log", "x")
		var h hanging
		h.hang(other)
		r := newRig(t, o, h.in(t)).run()
		r.watch("w", Spec{Paths: []string{base + "/**/*.log"}, MaxDepth: 5})
		if got := r.firstScan("w"); !slices.Equal(got, []string{fine}) {
			t.Errorf("first scan: %q", got)
		}
		r.aside(2)
		fresh := write(t, base+"/fresh.log", "x")
		r.expect(found("w", fresh))
		h.release()
		r.expectAll(found("w", base+"/link.log"), found("w", base+"/link/a.log"))
		r.sees("w", fine, fresh, base+"/link.log", base+"/link/a.log")
	})
}

func TestPlacesThatHangAreBounded(t *testing.T) {
	base := t.TempDir()
	var tops []string
	for i := range maxPlaces + 1 {
		dir := mkdir(t, fmt.Sprintf("%s/hung%d", base, i))
		write(t, dir+"/a.log", "x")
		tops = append(tops, dir)
	}
	var h hanging
	h.hang(tops...)
	r := newRig(t, polling(), h.in(t)).run()
	for i, top := range tops {
		r.watch(fmt.Sprint(i), Spec{Paths: []string{top + "/*.log"}})
	}
	r.alarmed("HOLD_ON_TOO_SLOW_ALARM", "one more", "check the disks and mounts")
	r.aside(maxPlaces + 1)
	for i := range tops {
		r.until(fmt.Sprint("the first scan of ", i), func(es []Event) bool {
			return slices.Contains(es, Event{Watch: fmt.Sprint(i), Kind: FirstScanDone})
		})
	}
	h.release()
	var want []Event
	for i, top := range tops {
		want = append(want, found(fmt.Sprint(i), top+"/a.log"))
	}
	r.expectAll(want...)
}

func TestNothingWaitsForAPlaceThatHangs(t *testing.T) {
	base := t.TempDir()
	write(t, filepath.Join(mkdir(t, base+"/hung"), "a.log"), "x")
	var h hanging
	h.hang(base + "/hung")
	r := newRig(t, polling(), h.in(t))
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- r.m.Run(ctx) }()
	r.watch("w", Spec{Paths: []string{base + "/*/*.log"}})
	if batch := <-r.m.Events(); len(batch) != 1 || batch[0].Kind != FirstScanDone {
		t.Errorf("first batch: %v", batch)
	}
	r.aside(1)
	r.m.Unwatch("w")
	r.watch("w", Spec{Paths: []string{base + "/hung/*.log"}})
	if batch := <-r.m.Events(); len(batch) != 1 || batch[0].Kind != FirstScanDone {
		t.Errorf("first batch of the second watch: %v", batch)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
}

// Discovery finds the same where all is looked up in reports.
func TestReportsShowWhatLooksShow(t *testing.T) {
	skipOnWindows(t)
	base := t.TempDir()
	top := mkdir(t, base+"/top")
	for _, f := range []string{"a.log", "b.txt", "x/a.log", "x/y/a.log", "x/y/z/a.log", "skip/a.log", "only/this/a.log", "only/that/a.log"} {
		write(t, filepath.Join(mkdir(t, filepath.Dir(top+"/"+f)), filepath.Base(f)), "x")
	}
	outside := write(t, filepath.Join(mkdir(t, base+"/outside"), "o.log"), "x")
	for link, to := range map[string]string{"l.log": outside, "out": base + "/outside", "x/up": "..", "nowhere.log": base + "/nowhere", "loop.log": "loop.log"} {
		must(t, os.Symlink(to, top+"/"+link))
	}
	spec := Spec{
		Paths:    []string{top + "/**/*.log", top + "/only/this/a.log", top + "/*/y/*.log"},
		MaxDepth: 10, ExcludeDirs: []string{top + "/skip"},
	}
	direct := newRig(t, polling()).run()
	direct.watch("w", spec)
	want := direct.firstScan("w")
	if len(want) < 7 {
		t.Fatalf("found directly: %q", want)
	}
	var h hanging
	h.hang(top)
	r := newRig(t, polling(), h.in(t)).run()
	r.watch("w", spec)
	if got := r.firstScan("w"); len(got) != 0 {
		t.Fatalf("found in what hangs: %q", got)
	}
	h.release()
	r.eventually("the same files", func() bool { return slices.Equal(r.m.Files("w"), want) })
	// Links that led nowhere, and files of watches that come later.
	late := write(t, base+"/nowhere", "x")
	r.watch("later", Spec{Paths: []string{top + "/x/*.log"}})
	r.expectAll(found("w", top+"/nowhere.log"), found("later", top+"/x/a.log"))
	must(t, os.Remove(late))
	r.expect(gone("w", top+"/nowhere.log"))
	r.sees("w", want...)
	if n := r.m.Stats().Aside; n != 1 {
		t.Errorf("%d places are aside", n)
	}
}

func TestReportLeavesOpenWhatItDoesNotKnow(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.log", "x")
	w := &watch{rules: &rules{paths: []pattern{{name: "*.log"}}}}
	r := report{path: dir, cursors: []cursor{{w: w}}}
	r.make(&asker{sys: system{stat: statPath, list: readDir}})
	for path, want := range map[string]error{dir: nil, dir + "/a.log": nil, dir + "/b.log": os.ErrNotExist, dir + "/a.log/c": errAside, dir + "-other": errAside} {
		if a := r.answer(&question{kind: askStatus, path: path, follow: true}); !errors.Is(a.err, want) {
			t.Errorf("%s: %v, want %v", path, a.err, want)
		}
	}
	if a := r.answer(&question{kind: askList, path: dir + "-other"}); !errors.Is(a.err, errAside) {
		t.Errorf("list of another directory: %v", a.err)
	}
	if a := r.answer(&question{kind: askWatch, path: dir}); !errors.Is(a.err, errAside) {
		t.Errorf("watch: %v", a.err)
	}
}
