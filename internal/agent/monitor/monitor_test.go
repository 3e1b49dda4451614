package monitor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// rig runs a monitor and keeps what it tells.
type rig struct {
	t testing.TB
	m *Monitor

	mu     sync.Mutex
	got    []Event
	alarms []string
	news   chan struct{}
}

// Both ways of learning of changes must show the same behaviour.
func bothModes(t *testing.T, test func(t *testing.T, o Options)) {
	t.Run("events", func(t *testing.T) {
		t.Parallel()
		// Sweeps are so rare that only events can make the test pass.
		test(t, Options{UseEvents: true, Coalesce: time.Millisecond, DirInterval: 10 * time.Hour, FileInterval: 10 * time.Hour})
	})
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		test(t, polling())
	})
}

func polling() Options {
	return Options{DirInterval: 10 * time.Millisecond, FileInterval: 10 * time.Millisecond}
}

func newRig(t testing.TB, o Options, prepare ...func(*Monitor)) *rig {
	t.Helper()
	r := &rig{t: t, news: make(chan struct{}, 1)}
	if o.Alarm == nil {
		o.Alarm = func(kind, message string) {
			r.mu.Lock()
			r.alarms = append(r.alarms, kind+": "+message)
			r.mu.Unlock()
			r.poke()
		}
	}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prepare {
		p(m)
	}
	r.m = m
	return r
}

func (r *rig) poke() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// run starts the monitor; it is stopped at the end of the test.
func (r *rig) run() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	ran, took := make(chan error, 1), make(chan struct{})
	go func() { ran <- r.m.Run(ctx) }()
	go func() {
		defer close(took)
		for batch := range r.m.Events() {
			r.mu.Lock()
			r.got = append(r.got, batch...)
			r.mu.Unlock()
			r.poke()
		}
	}()
	r.t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			r.t.Errorf("Run: %v", err)
		}
		<-took
	})
	return r
}

// until waits for a condition over all events so far.
func (r *rig) until(what string, cond func([]Event) bool) {
	r.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		ok := cond(r.got)
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.news:
		case <-limit:
			r.mu.Lock()
			all := fmt.Sprint(r.got, r.alarms)
			r.mu.Unlock()
			r.t.Fatalf("still waiting for %s; so far: %.2000s; %+v", what, all, r.m.Stats())
		}
	}
}

// expect waits for an event and forgets all that came up to it.
func (r *rig) expect(want Event) {
	r.t.Helper()
	r.until(fmt.Sprint(want), func(es []Event) bool {
		i := slices.Index(es, want)
		if i >= 0 {
			r.got = slices.Clone(es[i+1:])
		}
		return i >= 0
	})
}

// expectAll waits for events in any order, and forgets all that came.
func (r *rig) expectAll(want ...Event) {
	r.t.Helper()
	r.until(fmt.Sprint(want), func(es []Event) bool {
		for _, e := range want {
			if !slices.Contains(es, e) {
				return false
			}
		}
		r.got = nil
		return true
	})
}

// firstScan waits for the end of the first scan of w and returns the First
// files, sorted; any later First event would be an error.
func (r *rig) firstScan(w string) []string {
	r.t.Helper()
	var files []string
	r.until("the first scan of "+w, func(es []Event) bool {
		i := slices.Index(es, Event{Watch: w, Kind: FirstScanDone})
		if i < 0 {
			return false
		}
		for at, e := range es {
			if e.Watch != w || !e.First {
				continue
			}
			if at > i {
				r.t.Errorf("%v came after FirstScanDone", e)
			}
			files = append(files, e.Path)
		}
		r.got = slices.Clone(es[i+1:])
		return true
	})
	slices.Sort(files)
	return files
}

func (r *rig) watch(name string, s Spec) {
	r.t.Helper()
	if err := r.m.Watch(name, s); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) sees(w string, want ...string) {
	r.t.Helper()
	slices.Sort(want)
	if got := r.m.Files(w); !slices.Equal(got, want) {
		r.t.Errorf("files of %s: %q, want %q", w, got, want)
	}
}

// eventually waits for a condition that no event announces.
func (r *rig) eventually(what string, cond func() bool) {
	r.t.Helper()
	limit := time.After(30 * time.Second)
	for !cond() {
		select {
		case <-time.After(time.Millisecond):
		case <-limit:
			r.t.Fatalf("still waiting for %s; %+v", what, r.m.Stats())
		}
	}
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func mkdir(t testing.TB, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func found(w, path string) Event   { return Event{Watch: w, Kind: Found, Path: path} }
func changed(w, path string) Event { return Event{Watch: w, Kind: Changed, Path: path} }
func gone(w, path string) Event    { return Event{Watch: w, Kind: Gone, Path: path} }

func TestFirstScanThenNewFilesChangesAndRemovals(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		old := write(t, filepath.Join(base, "old.log"), "x\n")
		write(t, filepath.Join(base, "other.txt"), "x\n")
		r := newRig(t, o)
		r.watch("w", Spec{Paths: []string{base + "/*.log"}})
		r.run()
		if got := r.firstScan("w"); !slices.Equal(got, []string{old}) {
			t.Fatalf("first scan: %q", got)
		}
		fresh := write(t, filepath.Join(base, "new.log"), "")
		r.expect(found("w", fresh))
		write(t, fresh, "line\n")
		r.expect(changed("w", fresh))
		write(t, old, "line\n")
		r.expect(changed("w", old))
		must(t, os.Remove(old))
		r.expect(gone("w", old))
		write(t, old, "again\n")
		r.expect(found("w", old))
		r.sees("w", old, fresh)
	})
}

func TestRotationByRename(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		log := write(t, filepath.Join(base, "app.log"), "1\n")
		r := newRig(t, o).run()
		r.watch("plain", Spec{Paths: []string{base + "/*.log"}})
		r.watch("all", Spec{Paths: []string{base + "/*.log*"}})
		r.firstScan("all")
		for i := range 5 {
			to := fmt.Sprintf("%s.%d", log, i)
			must(t, os.Rename(log, to))
			write(t, log, "next\n")
			// The path has another file now, the old one another path.
			r.expectAll(found("plain", log), found("all", log), found("all", to))
		}
		r.sees("plain", log)
		if n := len(r.m.Files("all")); n != 6 {
			t.Errorf("%d files, want 6", n)
		}
	})
}

func TestTruncationIsAChange(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		log := write(t, filepath.Join(t.TempDir(), "a.log"), "12345\n")
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{log}})
		r.firstScan("w")
		must(t, os.Truncate(log, 0))
		r.expect(changed("w", log))
	})
}

func TestDirectoriesThatAppearLater(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		r := newRig(t, o).run()
		r.watch("exact", Spec{Paths: []string{base + "/not/yet/there/a.log"}})
		r.watch("wild", Spec{Paths: []string{base + "/n*t/*/the?e/*.log"}})
		r.watch("deep", Spec{Paths: []string{base + "/not/**/*.log"}, MaxDepth: 2})
		r.watch("flat", Spec{Paths: []string{base + "/not/**/*.log"}, MaxDepth: 1})
		for _, w := range []string{"exact", "wild", "deep", "flat"} {
			if got := r.firstScan(w); len(got) != 0 {
				t.Fatalf("first scan of %s: %q", w, got)
			}
		}
		log := filepath.Join(mkdir(t, base+"/not/yet/there"), "a.log")
		write(t, log, "x\n")
		r.expectAll(found("exact", log), found("wild", log), found("deep", log))
		top := write(t, base+"/not/top.log", "")
		r.expectAll(found("deep", top), found("flat", top))
		r.sees("flat", top)
		r.sees("deep", top, log)
	})
}

func TestDirectoryMovedAwayAndBackAndMadeAgain(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		log := write(t, filepath.Join(mkdir(t, base+"/app/logs"), "a.log"), "x\n")
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{base + "/app*/logs/*.log"}})
		r.firstScan("w")

		// Moved to a name that matches too: the same files by another path.
		must(t, os.Rename(base+"/app", base+"/app2"))
		moved := base + "/app2/logs/a.log"
		r.expectAll(gone("w", log), found("w", moved))
		write(t, moved, "y\n")
		r.expect(changed("w", moved))

		// Moved out of sight and back.
		must(t, os.Rename(base+"/app2", base+"/x"))
		r.expect(gone("w", moved))
		must(t, os.Rename(base+"/x", base+"/app"))
		r.expect(found("w", log))

		// Removed and made again at once.
		must(t, os.RemoveAll(base+"/app"))
		mkdir(t, base+"/app/logs")
		fresh := write(t, base+"/app/logs/b.log", "x\n")
		r.expect(found("w", fresh))
		r.eventually("only the new file", func() bool { return slices.Equal(r.m.Files("w"), []string{fresh}) })
		write(t, fresh, "y\n")
		r.expect(changed("w", fresh))
	})
}

func TestLinkIsPointedElsewhere(t *testing.T) {
	skipOnWindows(t)
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		write(t, filepath.Join(mkdir(t, base+"/v1"), "a.log"), "1\n")
		write(t, filepath.Join(mkdir(t, base+"/v2"), "b.log"), "2\n")
		must(t, os.Symlink("v1", base+"/current"))
		a, b := base+"/current/a.log", base+"/current/b.log"
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{base + "/current/*.log"}})
		if got := r.firstScan("w"); !slices.Equal(got, []string{a}) {
			t.Fatalf("first scan: %q", got)
		}
		must(t, os.Symlink("v2", base+"/next"))
		must(t, os.Rename(base+"/next", base+"/current"))
		r.expectAll(gone("w", a), found("w", b))
	})
}

// No event comes from the directory of the link here, only from its target.
func TestTargetOfALinkIsMovedAway(t *testing.T) {
	skipOnWindows(t)
	bothModes(t, func(t *testing.T, o Options) {
		base, other := t.TempDir(), t.TempDir()
		write(t, filepath.Join(mkdir(t, other+"/v1"), "a.log"), "1\n")
		must(t, os.Symlink(other+"/v1", base+"/current"))
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{base + "/current/*.log"}})
		r.firstScan("w")
		must(t, os.Rename(other+"/v1", other+"/v0"))
		r.expect(gone("w", base+"/current/a.log"))
	})
}

func TestSecondLinkIsFollowedWhenTheFirstLeaves(t *testing.T) {
	skipOnWindows(t)
	bothModes(t, func(t *testing.T, o Options) {
		base, other := t.TempDir(), t.TempDir()
		write(t, other+"/x.log", "x\n")
		must(t, os.Symlink(other, base+"/1"))
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{base + "/**/*.log"}, MaxDepth: 5})
		r.firstScan("w")
		must(t, os.Symlink(other, base+"/2"))
		// What is made behind it tells that the second link was looked at.
		r.expect(found("w", write(t, base+"/y.log", "x\n")))
		r.sees("w", base+"/1/x.log", base+"/y.log")
		must(t, os.Remove(base+"/1"))
		r.expectAll(gone("w", base+"/1/x.log"), found("w", base+"/2/x.log"))
	})
}

func TestLinkThatLeadsNowhereYet(t *testing.T) {
	skipOnWindows(t)
	base := t.TempDir()
	must(t, os.Symlink(base+"/later/a.log", base+"/a.log"))
	must(t, os.Symlink(base+"/later", base+"/dir"))
	o := polling() // nothing tells of a link's target
	o.UseEvents = true
	r := newRig(t, o).run()
	r.watch("w", Spec{Paths: []string{base + "/*.log", base + "/dir/*.txt"}})
	r.firstScan("w")
	mkdir(t, base+"/later")
	write(t, base+"/later/a.log", "x\n")
	write(t, base+"/later/b.txt", "x\n")
	r.expectAll(found("w", base+"/a.log"), found("w", base+"/dir/b.txt"))
}

func TestLinksToFilesAreSeenToChange(t *testing.T) {
	skipOnWindows(t)
	base, other := t.TempDir(), t.TempDir()
	target := write(t, other+"/real", "1\n")
	log := base + "/a.log"
	must(t, os.Symlink(target, log))
	now := time.Now()
	o := polling()
	o.UseEvents = true
	// The file is idle, so that only the sweep of idle files sees it.
	o.Now = func() time.Time { return now.Add(time.Hour) }
	r := newRig(t, o).run()
	r.watch("w", Spec{Paths: []string{base + "/*.log"}})
	if got := r.firstScan("w"); !slices.Equal(got, []string{log}) {
		t.Fatalf("first scan: %q", got)
	}
	if s := r.m.Stats(); s.ActiveFiles != 0 {
		t.Fatalf("%d active files", s.ActiveFiles)
	}
	write(t, target, "2\n")
	r.expect(changed("w", log))
	if s := r.m.Stats(); s.ActiveFiles != 1 {
		t.Errorf("%d active files after a change", s.ActiveFiles)
	}
	must(t, os.Remove(target))
	r.expect(gone("w", log))
}

func TestLoopsOfLinksEnd(t *testing.T) {
	skipOnWindows(t)
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		// Each of ten directories links to all ten and to the base: without a
		// bound there would be more than 11^10 paths.
		var want []string
		for i := range 10 {
			d := mkdir(t, fmt.Sprintf("%s/d%d", base, i))
			want = append(want, write(t, d+"/a.log", "x"))
			must(t, os.Symlink(base, d+"/up"))
			for k := range 10 {
				must(t, os.Symlink(fmt.Sprintf("../d%d", k), fmt.Sprintf("%s/l%d", d, k)))
			}
		}
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{base + "/**/*.log"}, MaxDepth: 1000})
		got := r.firstScan("w")
		if !slices.Equal(got, want) {
			t.Errorf("first scan: %q, want each file once, by its real path", got)
		}
		// A link is the way when it is the only one.
		must(t, os.Symlink("../d0/up/../../"+filepath.Base(base)+"-x", base+"/out"))
		outside := mkdir(t, base+"-x")
		t.Cleanup(func() { os.RemoveAll(outside) })
		must(t, os.Remove(base+"/out"))
		must(t, os.Symlink(outside, base+"/out"))
		write(t, outside+"/b.log", "x")
		r.expect(found("w", base+"/out/b.log"))
	})
}

func TestLinkIsFollowedWhenTheRealDirectoryLeaves(t *testing.T) {
	skipOnWindows(t)
	bothModes(t, func(t *testing.T, o Options) {
		base, other := t.TempDir(), t.TempDir()
		real := write(t, filepath.Join(mkdir(t, base+"/a/real"), "x.log"), "x\n")
		must(t, os.Symlink(base+"/a/real", base+"/link"))
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{base + "/**/*.log"}, MaxDepth: 5})
		if got := r.firstScan("w"); !slices.Equal(got, []string{real}) {
			t.Fatalf("first scan: %q", got)
		}
		must(t, os.Remove(base+"/link"))
		must(t, os.Rename(base+"/a/real", other+"/real"))
		must(t, os.Symlink(other+"/real", base+"/link"))
		r.expectAll(gone("w", real), found("w", base+"/link/x.log"))
	})
}

func TestDeepTreeAndDepth(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		d := base
		var files []string
		for range 60 {
			files = append(files, write(t, d+"/a.log", "x"))
			d = mkdir(t, d+"/d")
		}
		r := newRig(t, o).run()
		for _, depth := range []int{0, 1, 30, 1000} {
			w := fmt.Sprint(depth)
			r.watch(w, Spec{Paths: []string{base + "/**/a.log"}, MaxDepth: depth})
			want := slices.Sorted(slices.Values(files[:min(depth+1, len(files))]))
			if got := r.firstScan(w); !slices.Equal(got, want) {
				t.Errorf("depth %d: %d files, want %d", depth, len(got), len(want))
			}
		}
	})
}

func TestNamesThatAreNotUTF8(t *testing.T) {
	skipOnWindows(t)
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		dir := base + "/d\xff\xfe"
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("the file system refuses such names: %v", err)
		}
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{base + "/d??/*.log"}})
		r.firstScan("w")
		log := write(t, dir+"/\xc3.log", "x\n")
		r.expect(found("w", log))
		write(t, log, "y\n")
		r.expect(changed("w", log))
	})
}

func TestExcludedFilesAndDirectoriesAreNotEvenWalked(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		keep := write(t, filepath.Join(mkdir(t, base+"/keep"), "a.log"), "x")
		write(t, base+"/keep/b.log", "x")
		write(t, base+"/keep/a.log.gz", "x")
		write(t, filepath.Join(mkdir(t, base+"/skip/below"), "a.log"), "x")
		r := newRig(t, o).run()
		r.watch("w", Spec{
			Paths: []string{base + "/**/*"}, MaxDepth: 10,
			ExcludeDirs: []string{base + "/sk*/"}, ExcludeFiles: []string{"*.gz"}, ExcludeFilePaths: []string{base + "/**/b.log"},
		})
		if got := r.firstScan("w"); !slices.Equal(got, []string{keep}) {
			t.Errorf("first scan: %q", got)
		}
		write(t, base+"/skip/new.log", "x")
		write(t, base+"/keep/new.gz", "x")
		last := write(t, base+"/keep/new.log", "x")
		r.expect(found("w", last))
		r.sees("w", keep, last)
		n := 1 // the root
		for d := base; d != filepath.Dir(d); d = filepath.Dir(d) {
			n++
		}
		if s := r.m.Stats(); s.Dirs != n+1 {
			t.Errorf("%d directories are known, want %d and keep", s.Dirs, n)
		}
	})
}

func TestSeveralWatchesOnOneFile(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		log := write(t, base+"/a.log", "x")
		r := newRig(t, o).run()
		r.watch("one", Spec{Paths: []string{base + "/*.log"}})
		r.firstScan("one")
		// Two patterns of one watch that both match make one event.
		r.watch("two", Spec{Paths: []string{base + "/a*", base + "/**/*g"}, MaxDepth: 3})
		if got := r.firstScan("two"); !slices.Equal(got, []string{log}) {
			t.Errorf("first scan of the later watch: %q", got)
		}
		write(t, log, "y")
		r.expectAll(changed("one", log), changed("two", log))
		r.m.Unwatch("one")
		write(t, log, "z")
		r.expect(changed("two", log))
		r.mu.Lock()
		for _, e := range r.got {
			if e.Watch == "one" {
				t.Errorf("%v after Unwatch", e)
			}
		}
		r.mu.Unlock()
		r.sees("one")
		r.m.Unwatch("two")
		if s := r.m.Stats(); s.Dirs != 0 || s.Files != 0 || s.KernelDirs != 0 || s.Watches != 0 {
			t.Errorf("left after the last Unwatch: %+v", s)
		}
		// The same name again begins anew.
		r.watch("one", Spec{Paths: []string{base + "/*.log"}})
		if got := r.firstScan("one"); !slices.Equal(got, []string{log}) {
			t.Errorf("first scan after Watch again: %q", got)
		}
	})
}

func TestWatchOfAKnownNameIsRefused(t *testing.T) {
	r := newRig(t, polling())
	s := Spec{Paths: []string{filepath.Join(t.TempDir(), "*.log")}}
	r.watch("w", s)
	if err := r.m.Watch("w", s); err == nil || !strings.Contains(err.Error(), "Unwatch") {
		t.Errorf("second Watch: %v", err)
	}
	r.m.Unwatch("w")
	r.m.Unwatch("nobody")
	r.watch("w", s)
}

func TestRunEndsWithItsContextAndClosesTheEvents(t *testing.T) {
	r := newRig(t, Options{UseEvents: true})
	r.watch("w", Spec{Paths: []string{filepath.Join(t.TempDir(), "*.log")}})
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- r.m.Run(ctx) }()
	<-r.m.Events() // the end of the first scan
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if _, open := <-r.m.Events(); open {
		t.Error("the channel is open")
	}
	r.m.Unwatch("w") // must not wait for the loop
	r.watch("later", Spec{Paths: []string{filepath.Join(t.TempDir(), "*.log")}})
	if err := r.m.Run(context.Background()); err == nil {
		t.Error("a second Run is not refused")
	}
}

// What a slow consumer does not take joins up; nothing it must know is lost.
func TestSlowConsumerGetsEachPathOnce(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		r := newRig(t, o)
		r.watch("w", Spec{Paths: []string{base + "/*.log"}})
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- r.m.Run(ctx) }()
		defer func() {
			cancel()
			must(t, <-ran)
		}()
		if e := <-r.m.Events(); len(e) != 1 || e[0].Kind != FirstScanDone {
			t.Fatalf("first batch: %v", e)
		}
		const files, rounds = 50, 20
		for i := range files {
			write(t, fmt.Sprintf("%s/%d.log", base, i), "x")
		}
		for range rounds {
			for i := range files {
				write(t, fmt.Sprintf("%s/%d.log", base, i), "x")
			}
			write(t, base+"/short.log", "x")
			must(t, os.Remove(base+"/short.log"))
		}
		r.eventually("all files", func() bool { return len(r.m.Files("w")) == files })
		if n := r.m.Stats().Pending; n > 2*(files+1) {
			t.Errorf("%d events wait for %d files", n, files)
		}
		seen := make(map[string]bool)
		for len(seen) < files {
			for _, e := range <-r.m.Events() {
				if e.Kind == Found && e.Path != base+"/short.log" {
					seen[e.Path] = true
				}
			}
		}
	})
}

func TestLimitsOfFilesAndDirectoriesAreSaid(t *testing.T) {
	base := t.TempDir()
	long := time.Now().Add(-24 * time.Hour)
	for i := range 10 {
		log := write(t, filepath.Join(mkdir(t, fmt.Sprintf("%s/d%d", base, i)), "a.log"), "x")
		// A change of the directory must not be what lets it be looked at again.
		must(t, os.Chtimes(filepath.Dir(log), long, long))
	}
	for name, c := range map[string]struct {
		set   func(*Options, int)
		alarm string
	}{
		"files":       {func(o *Options, _ int) { o.MaxFiles = 3 }, "STAT_LIMIT_ALARM"},
		"directories": {func(o *Options, above int) { o.MaxDirs = above + 3 }, "DIR_EXCEED_LIMIT_ALARM"},
	} {
		t.Run(name, func(t *testing.T) {
			above := 1
			for d := base; d != filepath.Dir(d); d = filepath.Dir(d) {
				above++
			}
			o := polling()
			c.set(&o, above)
			r := newRig(t, o).run()
			r.watch("w", Spec{Paths: []string{base + "/*/*.log"}})
			if got := r.firstScan("w"); len(got) != 3 {
				t.Errorf("%d files, want 3", len(got))
			}
			r.until("the alarm", func([]Event) bool {
				return slices.ContainsFunc(r.alarms, func(a string) bool { return strings.HasPrefix(a, c.alarm) })
			})
			if r.m.Stats().Refused == 0 {
				t.Error("not counted")
			}
			// When there is room, what was left out comes in.
			gone := r.m.Files("w")[0]
			must(t, os.RemoveAll(filepath.Dir(gone)))
			r.until("another file", func(es []Event) bool {
				return slices.ContainsFunc(es, func(e Event) bool { return e.Kind == Found })
			})
			write(t, filepath.Join(mkdir(t, filepath.Dir(gone)), "a.log"), "x")
			must(t, os.Chtimes(filepath.Dir(gone), long, long))
		})
	}
}

// Whatever the tree and the patterns, discovery finds what Match says.
func TestDiscoveryAgreesWithMatch(t *testing.T) {
	skipOnWindows(t)
	base := t.TempDir()
	names := []string{"a", "b", "ab", "x.log", "ax.log"}
	var n int
	rapid.Check(t, func(t *rapid.T) {
		n++
		root := filepath.Join(base, fmt.Sprint(n))
		var all []string
		for range rapid.IntRange(0, 12).Draw(t, "files") {
			d := root
			for range rapid.IntRange(0, 4).Draw(t, "levels") {
				d = filepath.Join(d, rapid.SampledFrom(names[:3]).Draw(t, "dir"))
			}
			p := filepath.Join(d, rapid.SampledFrom(names[3:]).Draw(t, "file"))
			if os.MkdirAll(d, 0o755) != nil || os.WriteFile(p, nil, 0o644) != nil {
				t.Fatal("cannot make the tree")
			}
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
		part := rapid.SampledFrom([]string{"a", "b", "*", "a*", "?", "*b"})
		glob := func(file []string) string {
			p := root
			for range rapid.IntRange(0, 2).Draw(t, "parts") {
				p += "/" + part.Draw(t, "part")
			}
			if rapid.Bool().Draw(t, "recursive") {
				p += "/**"
			}
			return p + "/" + rapid.SampledFrom(file).Draw(t, "name")
		}
		s := Spec{MaxDepth: rapid.IntRange(0, 3).Draw(t, "depth")}
		for range rapid.IntRange(1, 3).Draw(t, "paths") {
			s.Paths = append(s.Paths, glob([]string{"*.log", "x.log", "?x*", "*"}))
		}
		if rapid.Bool().Draw(t, "exclude dirs") {
			s.ExcludeDirs = []string{glob([]string{"a", "b*", "**", "?"})}
			if strings.HasSuffix(s.ExcludeDirs[0], "/**/**") {
				s.ExcludeDirs = nil
			}
		}
		if rapid.Bool().Draw(t, "exclude paths") {
			s.ExcludeFilePaths = []string{glob([]string{"ax*", "*"})}
		}
		if rapid.Bool().Draw(t, "exclude names") {
			s.ExcludeFiles = []string{rapid.SampledFrom([]string{"a*", "x.log", "?x.*"}).Draw(t, "excluded")}
		}
		var want []string
		for _, p := range all {
			if ok, _ := Match(s, p); ok {
				want = append(want, p)
			}
		}
		slices.Sort(want)

		m, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		// Files before and after the first scan are found by the same rules.
		late := rapid.Bool().Draw(t, "late")
		if late {
			if err := os.Rename(root, root+"-later"); err != nil && len(all) > 0 {
				t.Fatal(err)
			}
		}
		if err := m.Watch("w", s); err != nil {
			t.Fatal(err)
		}
		settle(m)
		if late {
			_ = os.Rename(root+"-later", root)
			m.rescan()
			settle(m)
		}
		if got := m.Files("w"); !slices.Equal(got, want) {
			t.Fatalf("spec %+v: found %q, Match says %q", s, got, want)
		}
		os.RemoveAll(root)
	})
}

// settle does all queued work of a monitor that does not run.
func settle(m *Monitor) {
	m.begin()
	defer m.finish()
	for m.work(time.Hour) {
	}
}
