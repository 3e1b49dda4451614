package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"logtail/internal/agent/monitor"
	"logtail/internal/agent/read"
	"logtail/internal/agent/state"
)

// What a program writes between the copy and the truncation may have been read: the
// copy ends before what was read then, and is nevertheless a copy.
func TestCopyThatEndsBeforeWhatWasRead(t *testing.T) {
	for _, c := range []struct {
		name          string
		matches, down bool // the copy's name matches; while the agent is down
		compressed    string
	}{
		{"plain", false, false, ""},
		{"the copy matches", true, false, ""},
		{"while the agent is down", false, true, ""},
		{"while the agent is down, the copy matches", true, true, ""},
		{"compressed while the agent is down", false, true, ".gz"},
		{"compressed while the agent is down, the copy matches", true, true, ".zst"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			if c.matches {
				f.everything()
			}
			f.known()
			a, b := wide("copied", 0, 40), wide("behind the copy", 0, 40)
			f.append("app.log", a...)
			want := append([]string{"first"}, a...)
			f.store.await(t, want...)
			f.copyTo("app.log", "copy.tmp")
			f.append("app.log", b...)
			want = append(want, b...)
			f.store.await(t, want...)
			if c.down {
				f.stop()
			}
			f.rename("copy.tmp", "app.log.1")
			if c.compressed != "" {
				f.compress("app.log.1", c.compressed)
			}
			f.truncate("app.log")
			f.append("app.log", "anew")
			if c.down {
				f.start()
			}
			f.settled(append(want, "anew")...)
			f.stop()
			f.start() // it is known to the next run, too
			f.append("app.log", "at last")
			f.store.await(t, append(slices.Clone(want), "anew", "settled", "at last")...)
		})
	}
}

// A file that is put in the place of another one is read from its beginning, as an editor
// leaves it; not so where the file system gives files new numbers.
func TestFileUnderANewNumber(t *testing.T) {
	for _, c := range []struct {
		name           string
		unstable, kept bool // the old file is there still
		again          bool
	}{
		{"an editor saved it", false, false, true},
		{"the file system gave it a new number", true, false, false},
		{"the old file is there still", true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.unstable = c.unstable
			f.known()
			a := wide("kept", 0, 30)
			f.append("app.log", a...)
			want := append([]string{"first"}, a...)
			f.store.await(t, want...)
			f.stop()
			f.copyTo("app.log", "app.log.tmp")
			f.append("app.log.tmp", "new")
			if c.kept {
				f.rename("app.log", "app.log.bak")
			}
			f.rename("app.log.tmp", "app.log")
			f.start()
			if c.again {
				want = append(want, a...)
			}
			f.settled(append(want, "new")...)
		})
	}
}

// A file is compressed, and its folder gets another name, while the agent is down.
func TestArchiveInARenamedFolder(t *testing.T) {
	for _, c := range []struct {
		name      string
		delivered bool // before
		ended     bool // and nothing of it was expected any more
	}{
		{"nothing was delivered before", false, false},
		{"all was delivered before", true, false},
		{"its stream had ended", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.input.FilePaths = []string{filepath.Join(f.logs, "**", "*.log*")}
			f.input.MaxDirSearchDepth = 2
			f.input.FlushTimeoutSecs, f.input.CloseUnusedReaderInterval = 1, 1
			if err := os.Mkdir(f.path("d"), 0o700); err != nil {
				t.Fatal(err)
			}
			a := f.known()
			lines := wide("line", 0, 40)
			want := append([]string{"first"}, lines...)
			if !c.delivered {
				f.store.change(func() { f.store.down = true })
			}
			f.append("d/app.log", lines...)
			if c.delivered {
				f.store.await(t, want...)
			}
			until(t, "the head of the file is stored", func() bool {
				return f.proved(a, "d/app.log")
			})
			if c.ended {
				f.compress("d/app.log", ".gz")
				until(t, "the stream has ended", func() bool { return len(a.files.of(nil)) == 1 })
			}
			f.stop()
			if !c.ended {
				f.compress("d/app.log", ".gz")
			}
			f.rename("d", "d-was")
			if err := os.Mkdir(f.path("d"), 0o700); err != nil {
				t.Fatal(err)
			}
			f.store.change(func() { f.store.down = false })
			f.start()
			f.append("d/app.log", "next")
			f.settled(append(want, "next")...)
		})
	}
}

// proved says whether the head of a file is stored.
func (f *fixture) proved(a *Agent, name string) bool {
	s := f.at(a, name)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proved
}

// A file has a second name, and whoever copies and truncates it knows the first one only.
func TestCopytruncateOfAFileWithTwoNames(t *testing.T) {
	for _, second := range []string{"aaa.log", "zzz.log"} {
		for _, matches := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, the copy matches %v", second, matches), func(t *testing.T) {
				f := newFixture(t)
				if matches {
					f.everything()
				}
				agent := f.known()
				f.store.change(func() { f.store.down = true })
				a := wide("line", 0, 40)
				f.append(second, a...)
				if err := os.Link(f.path(second), f.path("app.log")); err != nil {
					t.Fatal(err)
				}
				until(t, "both names are seen", func() bool {
					s := f.at(agent, "app.log")
					return s != nil && s == f.at(agent, second)
				})
				until(t, "the head of the file is stored", func() bool { return f.proved(agent, "app.log") })
				f.copyTo("app.log", "app.log.1")
				f.truncate("app.log")
				f.append("app.log", "anew")
				f.store.change(func() { f.store.down = false })
				f.settled(append(append([]string{"first"}, a...), "anew")...)
			})
		}
	}
}

// The folder gets another name right after its file was copied and truncated.
func TestCopytruncateInAFolderThatIsRenamed(t *testing.T) {
	f := newFixture(t)
	f.input.FilePaths = []string{filepath.Join(f.logs, "**", "*.log*")}
	f.input.MaxDirSearchDepth = 2
	for _, dir := range []string{"a", "b", "c", "d"} {
		if err := os.Mkdir(f.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	agent := f.known()
	f.store.change(func() { f.store.down = true })
	want := []string{"first"}
	for _, dir := range []string{"a", "b", "c", "d"} {
		lines := wide("line in "+dir, 0, 40)
		f.append(dir+"/app.log", lines...)
		want = append(want, lines...)
		until(t, "the head of the file is stored", func() bool { return f.proved(agent, dir+"/app.log") })
	}
	for _, dir := range []string{"a", "b", "c", "d"} {
		f.copyTo(dir+"/app.log", dir+"/app.log.1")
		f.truncate(dir + "/app.log")
		f.rename(dir, dir+"-was")
		f.append(dir+"-was/app.log", "anew in "+dir)
		want = append(want, "anew in "+dir)
	}
	f.store.change(func() { f.store.down = false })
	f.settled(want...)
}

// A file was copied and truncated, and what it was truncated to is gone as well when somebody
// looks: the copy has what was not read of it.
func TestCopyOfAFileThatIsGone(t *testing.T) {
	for _, c := range []struct {
		name    string
		matches bool // the copy's name matches
		lines   int  // that were read before
	}{
		{"plain", false, 40},
		{"it was short", false, 1},
		{"the copy matches", true, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			if c.matches {
				f.everything()
			}
			f.known()
			a, b := wide("read", 0, c.lines), wide("not read", 0, 40)
			f.append("app.log", a...)
			want := append([]string{"first"}, a...)
			f.store.await(t, want...)
			f.stop()
			f.append("app.log", b...)
			f.copyTo("app.log", "app.log.1")
			f.truncate("app.log")
			f.append("app.log", "anew")
			f.rename("app.log", "app.log.2")
			f.compress("app.log.2", ".gz")
			f.start()
			f.append("app.log", "next")
			f.settled(append(append(want, b...), "anew", "next")...)
		})
	}
}

// begun starts the agent, which collects rotated names too if all says so, and returns what it
// has delivered: app.log has a line.
func (f *fixture) begun(all bool) (want []string) {
	f.t.Helper()
	if all {
		f.everything()
	}
	f.known()
	f.append("app.log", "old")
	want = []string{"first", "old"}
	f.store.await(f.t, want...)
	return want
}

// A copy that is empty still when its folder is listed is a copy nevertheless.
func TestCopyThatIsBegunWhenItIsLookedAt(t *testing.T) {
	for _, matches := range []bool{false, true} {
		t.Run(fmt.Sprintf("matches %v", matches), func(t *testing.T) {
			f := newFixture(t)
			want := f.begun(matches)
			f.append("app.log.1") // empty
			f.rename("app.log", "app.log.2")
			lines := wide("line", 0, 40)
			f.append("app.log", lines...)
			want = append(want, lines...)
			f.store.await(t, want...)
			f.copyTo("app.log", "app.log.1")
			f.truncate("app.log")
			f.append("app.log", "anew")
			f.settled(append(want, "anew")...)
			f.stop()
			f.start() // which looks for all that is rotated
			f.append("app.log", "at last")
			f.store.await(t, append(want, "anew", "settled", "at last")...)
		})
	}
}

// Compression leaves the file there until the archive is complete.
func TestArchiveBesideItsFile(t *testing.T) {
	for _, matches := range []bool{false, true} {
		t.Run(fmt.Sprintf("matches %v", matches), func(t *testing.T) {
			f := newFixture(t)
			want := f.begun(matches)
			lines := wide("line", 0, 40)
			f.append("tmp", lines...)
			f.copyTo("tmp", "tmp.1")
			f.compress("tmp.1", ".gz")
			f.rename("tmp.1.gz", "app.log.1.gz")
			f.rename("tmp", "app.log.1")
			f.rename("app.log", "app.log.2")
			f.append("app.log", "new")
			want = append(append(want, lines...), "new")
			f.store.await(t, want...)
			if err := os.Remove(f.path("app.log.1")); err != nil {
				t.Fatal(err)
			}
			f.settled(want...)
		})
	}
}

// An archive that is renamed between the event and the look at it is not collected as text.
func TestArchiveThatIsRenamedWhileItIsLookedAt(t *testing.T) {
	f := newFixture(t)
	f.everything()
	a := f.known()
	run := a.runs["p"]
	f.append("tmp", wide("line", 0, 40)...)
	f.compress("tmp", ".gz")
	id, _, mtime, err := read.Peek(f.path("tmp.gz"))
	if err != nil {
		t.Fatal(err)
	}
	f.stop() // the test is the discovery goroutine now
	event := monitor.Event{Watch: "p", Kind: monitor.Found, Path: f.path("app.log.1.gz")}
	if !a.archive(run, &event, id, mtime) {
		t.Error("a compressed file that is not there any more is taken for text")
	}
	f.append("text.log.gz", "text")
	event.Path = f.path("text.log.gz")
	if a.archive(run, &event, id, mtime) {
		t.Error("text is taken for a compressed file by its name")
	}
}

// After a restart all of the file, and more than its copy has, may be read at once: no place
// between is known then but the head, which is enough if it is whole.
func TestCopyThatEndsBeforeAllThatWasReadAtOnce(t *testing.T) {
	for _, lines := range []int{15, 400} {
		t.Run(fmt.Sprintf("%d lines", lines), func(t *testing.T) {
			f := newFixture(t)
			f.everything()
			f.known()
			f.append("app.log", "1")
			f.store.await(t, "first", "1")
			f.stop()
			if err := os.Remove(f.path("app.log")); err != nil {
				t.Fatal(err)
			}
			a, b := wide("copied", 0, lines), wide("behind the copy", 0, 3)
			f.append("app.log", a...)
			f.copyTo("app.log", "copy.tmp")
			f.append("app.log", b...)
			want := append(append([]string{"first", "1"}, a...), b...)
			f.start()
			f.store.await(t, want...)
			f.rename("copy.tmp", "app.log.1")
			f.truncate("app.log")
			f.append("app.log", "anew")
			f.settled(append(want, "anew")...)
		})
	}
}

// A script may copy over the same file again and again: cp app.log app.log.1; : > app.log
func TestCopyOverTheOldCopy(t *testing.T) {
	f := newFixture(t)
	a := f.known()
	want := []string{"first"}
	for i := range 3 {
		lines := wide(fmt.Sprint("round ", i), 0, 40)
		f.append("app.log", lines...)
		want = append(want, lines...)
		f.store.await(t, want...)
		old := f.at(a, "app.log")
		f.copyTo("app.log", "app.log.1")
		f.truncate("app.log")
		until(t, "another stream has the file", func() bool { s := f.at(a, "app.log"); return s != nil && s != old })
	}
	f.append("app.log", "anew")
	f.settled(append(want, "anew")...)
}

// A copy may end before what was read and not even have all of the head.
func TestCopyThatIsShorterThanTheHead(t *testing.T) {
	for _, down := range []bool{false, true} {
		t.Run(fmt.Sprint("down ", down), func(t *testing.T) {
			f := newFixture(t)
			a := f.known()
			x, y := wide("copied", 0, 2), wide("behind the copy", 0, 40)
			f.append("app.log", x...)
			want := append([]string{"first"}, x...)
			f.store.await(t, want...)
			f.copyTo("app.log", "copy.tmp")
			f.append("app.log", y...)
			want = append(want, y...)
			f.store.await(t, want...)
			old := f.at(a, "app.log")
			if down {
				f.stop()
			}
			f.rename("copy.tmp", "app.log.1")
			f.truncate("app.log")
			f.append("app.log", "anew")
			if down {
				a = f.start()
			}
			until(t, "another stream has the file", func() bool { s := f.at(a, "app.log"); return s != nil && s != old })
			f.settled(append(want, "anew")...)
		})
	}
}

// Some compressors leave the plain file where it is; the pipeline collects archives only.
func TestArchiveWhoseFileStays(t *testing.T) {
	f := newFixture(t)
	f.input.FilePaths = []string{filepath.Join(f.logs, "*.gz"), filepath.Join(f.logs, "settled.log"), filepath.Join(f.logs, "first.log")}
	a := f.known()
	lines := wide("line", 0, 40)
	f.append("other", lines...)
	f.copyTo("other", "keep")
	f.compress("other", ".gz")
	f.rename("keep", "other")
	future := time.Unix(0, a.runs["p"].since).Add(2 * time.Second) // file times are compared with whole seconds
	if err := os.Chtimes(f.path("other.gz"), future, future); err != nil {
		t.Fatal(err)
	}
	f.settled(append([]string{"first"}, lines...)...)
}

// The file whose copy it is may be one of many that were at the path, and have left it.
func TestCopyOfOneOfManyThatWereAtThePath(t *testing.T) {
	f := newFixture(t)
	f.everything()
	f.known()
	want := []string{"first"}
	for i := range 24 {
		line := fmt.Sprint("rotated ", i)
		f.append("app.log", line)
		want = append(want, line)
		f.store.await(t, want...)
		f.rename("app.log", fmt.Sprint("app.log.", 10+i))
	}
	a, b := wide("read", 0, 40), wide("not read", 0, 40)
	f.append("app.log", a...)
	want = append(want, a...)
	f.store.await(t, want...)
	f.stop()
	f.append("app.log", b...)
	f.copyTo("app.log", "hidden")
	if err := os.Remove(f.path("app.log")); err != nil {
		t.Fatal(err)
	}
	f.append("app.log", "next")
	f.start()
	want = append(want, "next")
	f.store.await(t, want...)
	f.stop()
	f.rename("hidden", "app.log.99")
	f.start()
	f.settled(append(want, b...)...)
}

func TestLikenessOfAShadow(t *testing.T) {
	for _, c := range []struct {
		name              string
		known, path, copy string // content that was read, that the path has now, and the shadow's
		want              likeness
	}{
		{"equal", "abcd", "abcd", "abcd", alike},
		{"it is being made", "abcd", "abcd", "ab", alike},
		{"nothing of it is there yet", "abcd", "xy", "", alike},
		{"another file", "abcd", "abcd", "xyzu", apart},
		{"another file, and the original is truncated", "abcd", "x", "yzuv", apart},
		{"the original is truncated", "abcd", "", "abcdef", cut},
		{"the original is truncated and written anew", "abcd", "xyzu", "abcdef", cut},
		{"of what was written anew", "abcd", "xyzu", "xyzu", alike},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.append("app.log")
			id, _, _, err := read.Peek(f.path("app.log"))
			if err != nil {
				t.Fatal(err)
			}
			s := &stream{rec: state.Stream{
				Path: f.path("app.log"),
				Dev:  id.Dev, Inode: id.Inode, Birth: id.Birth, HeadLen: len(c.known), Head: xxhash.Sum64String(c.known),
			}}
			for name, text := range map[string]string{"app.log": c.path, "copy": c.copy} {
				if err := os.WriteFile(f.path(name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if id, _, _, err = read.Peek(f.path("copy")); err != nil {
				t.Fatal(err)
			}
			sh := &shadow{filePath: filePath{path: f.path("copy")}, id: id, of: s}
			if got := sh.compare(); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

// Empty files that may be copies begin as every file does: that does not make one of them the copy.
func TestEmptyFilesAreNotTheCopy(t *testing.T) {
	f := newFixture(t)
	f.everything()
	a := f.known()
	lines := wide("line", 0, 40)
	f.append("app.log", lines...)
	want := append([]string{"first"}, lines...)
	f.store.await(t, want...)
	s := f.at(a, "app.log")
	f.append("app.log.7") // as a copy that is being made
	compared := func(name string) func() bool {
		return func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.copy() != nil && s.copy().path == f.path(name)
		}
	}
	f.copyTo("app.log", "app.log.2")
	until(t, "the copy is known", compared("app.log.2"))
	f.append("app.log.8")
	f.store.change(func() { f.store.down = true })
	f.append("app.log", wide("more", 0, 4)...) // is neither in the copy nor read for long
	f.copyTo("app.log", "app.log.1")
	f.truncate("app.log")
	f.store.change(func() { f.store.down = false })
	f.append("app.log", "anew")
	f.settled(append(append(want, wide("more", 0, 4)...), "anew")...)
}
