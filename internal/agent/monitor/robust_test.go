package monitor

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"
)

func TestFilesRenamedWithinMillisecondsAreToldByTheirLastName(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		r := newRig(t, o).run()
		r.watch("all", Spec{Paths: []string{base + "/*.log*"}})
		r.watch("rotated", Spec{Paths: []string{base + "/*.log.?"}})
		r.firstScan("rotated")
		var all, rotated []Event
		for i := range 50 {
			log := fmt.Sprintf("%s/%d.log", base, i)
			write(t, log, "1\n")
			must(t, os.Rename(log, log+".2"))
			write(t, log, "2\n")
			must(t, os.Rename(log, log+".1"))
			write(t, log, "3\n")
			all = append(all, found("all", log), found("all", log+".1"), found("all", log+".2"))
			rotated = append(rotated, found("rotated", log+".1"), found("rotated", log+".2"))
		}
		r.expectAll(append(all, rotated...)...)
	})
}

func TestFileReplacedByARename(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		log := write(t, base+"/a.log", "old\n")
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{base + "/*.log"}})
		r.firstScan("w")
		for range 10 {
			// As editors save, with a name that does not match.
			must(t, os.Rename(write(t, base+"/.a.swp", "new\n"), log))
			r.expect(found("w", log))
		}
		r.sees("w", log)
	})
}

func TestHardLinksAreToldByEachOfTheirPaths(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		a := write(t, base+"/a.log", "x\n")
		b := filepath.Join(mkdir(t, base+"/other"), "b.log")
		must(t, os.Link(a, b))
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{base + "/**/*.log"}, MaxDepth: 1})
		if got := r.firstScan("w"); !slices.Equal(got, []string{a, b}) {
			t.Fatalf("first scan: %q", got)
		}
		c := base + "/c.log"
		must(t, os.Link(a, c))
		r.expect(found("w", c))
		must(t, os.Remove(a))
		r.expect(gone("w", a))
		r.sees("w", b, c)
	})
}

func TestDirectoryMadeAgainQuicklyManyTimes(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{base + "/*/*.log"}})
		r.firstScan("w")
		var last string
		for i := range 100 {
			must(t, os.RemoveAll(base+"/app"))
			last = write(t, filepath.Join(mkdir(t, base+"/app"), fmt.Sprintf("%d.log", i)), "x\n")
			if i%3 == 0 {
				must(t, os.Rename(base+"/app", base+"/away"))
				must(t, os.RemoveAll(base+"/away"))
				last = write(t, filepath.Join(mkdir(t, base+"/app"), fmt.Sprintf("%d.log", i)), "x\n")
			}
		}
		r.eventually("the last file alone", func() bool { return slices.Equal(r.m.Files("w"), []string{last}) })
		write(t, last, "y\n")
		r.expect(changed("w", last))
	})
}

func TestDirectoryWithFilesIsRenamed(t *testing.T) {
	bothModes(t, func(t *testing.T, o Options) {
		base := t.TempDir()
		var was, is []Event
		for i := range 20 {
			name := fmt.Sprintf("/sub%d/a.log", i)
			write(t, filepath.Join(mkdir(t, filepath.Dir(base+"/one"+name)), "a.log"), "x\n")
			was, is = append(was, gone("w", base+"/one"+name)), append(is, found("w", base+"/two"+name))
		}
		r := newRig(t, o).run()
		r.watch("w", Spec{Paths: []string{base + "/**/*.log"}, MaxDepth: 3})
		r.firstScan("w")
		must(t, os.Rename(base+"/one", base+"/two"))
		r.expectAll(append(was, is...)...)
		log := is[7].Path
		write(t, log, "y\n")
		r.expect(changed("w", log))
	})
}

// Nothing tells that a link is pointed elsewhere that lies in a directory which
// is not watched: the sweep sees it, and must not take links for what events tell of.
func TestLinkBehindALinkIsPointedElsewhere(t *testing.T) {
	skipOnWindows(t)
	for _, events := range []bool{true, false} {
		t.Run(fmt.Sprintf("events=%v", events), func(t *testing.T) {
			base, other := t.TempDir(), t.TempDir()
			write(t, filepath.Join(mkdir(t, other+"/v1"), "a.log"), "1\n")
			write(t, filepath.Join(mkdir(t, other+"/v2"), "b.log"), "2\n")
			write(t, filepath.Join(mkdir(t, base+"/plain"), "c.log"), "3\n")
			must(t, os.Symlink("v1", other+"/latest"))
			must(t, os.Symlink(other+"/latest", base+"/current"))
			must(t, os.Symlink(other+"/latest/a.log", base+"/file.log"))
			// All files are idle.
			now := time.Now()
			o := Options{
				UseEvents: events, Coalesce: time.Millisecond, DirInterval: 10 * time.Millisecond, FileInterval: 10 * time.Millisecond,
				Now: func() time.Time { return now.Add(time.Hour) },
			}
			r := newRig(t, o).run()
			r.watch("w", Spec{Paths: []string{base + "/*/*.log", base + "/*.log"}})
			r.firstScan("w")
			if s := r.m.Stats(); events && s.WatchedDirs != s.Dirs-1 {
				t.Errorf("%d of %d directories are left to events, want all but the link", s.WatchedDirs, s.Dirs)
			}
			r.m.mu.Lock()
			links := len(r.m.rings[tierLinked].items)
			r.m.mu.Unlock()
			if links != 1 {
				t.Errorf("%d files are looked at as links", links)
			}
			must(t, os.Symlink("v2", other+"/next"))
			must(t, os.Rename(other+"/next", other+"/latest"))
			r.expectAll(gone("w", base+"/current/a.log"), gone("w", base+"/file.log"), found("w", base+"/current/b.log"))
		})
	}
}

// A record must stay small: there are hundreds of thousands. The path, some 90 bytes here,
// is in it; who collects the file has the same string.
func TestMemoryOfAnIdleFile(t *testing.T) {
	const dirs, perDir = 100, 100
	base := t.TempDir()
	old := time.Now().Add(-2 * time.Hour)
	for i := range dirs {
		d := mkdir(t, fmt.Sprintf("%s/instance-%03d", base, i))
		for k := range perDir {
			p := write(t, fmt.Sprintf("%s/access-%d.log", d, k), "")
			must(t, os.Chtimes(p, old, old))
		}
	}
	before := heap()
	r := newRig(t, polling())
	r.watch("w", Spec{Paths: []string{base + "/*/*.log"}})
	r.run()
	if got := r.firstScan("w"); len(got) != dirs*perDir {
		t.Fatalf("%d files", len(got))
	}
	r.mu.Lock()
	r.got = nil
	r.mu.Unlock()
	if got := (heap() - before) / (dirs * perDir); got > 290 {
		t.Errorf("%d bytes for a file", got)
	}
}

func TestLookAtAnUnchangedFileKeepsNothing(t *testing.T) {
	base := t.TempDir()
	write(t, base+"/a.log", "x")
	m, err := New(Options{})
	must(t, err)
	m.begin()
	defer m.finish()
	must(t, m.Watch("w", Spec{Paths: []string{base + "/*.log"}}))
	for m.work(time.Hour) {
	}
	m.pending.take(10)
	f := m.rings[tierActive].items[0]
	// Its path, and that again with a zero behind it for the system.
	if n := testing.AllocsPerRun(100, func() { m.look(f, false) }); n > 2 {
		t.Errorf("%v allocations for a look", n)
	}
	if n := m.pending.live; n != 0 {
		t.Errorf("%d events", n)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
