package agent

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"logtail/internal/agent/ledger"
)

// wide lines make files longer than the head that tells them apart.
func wide(prefix string, from, to int) []string {
	var l []string
	for i := from; i < to; i++ {
		l = append(l, fmt.Sprintf("%s %06d %s", prefix, i, strings.Repeat("x", 80)))
	}
	return l
}

// copyTo copies a file as logrotate's copytruncate does.
func (f *fixture) copyTo(from, to string) {
	f.t.Helper()
	b, err := os.ReadFile(f.path(from))
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(f.path(to), b, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) truncate(name string) {
	f.t.Helper()
	if err := os.Truncate(f.path(name), 0); err != nil {
		f.t.Fatal(err)
	}
}

// compress replaces a file by its compressed form, as gzip and zstd --rm do.
func (f *fixture) compress(name, suffix string) {
	f.t.Helper()
	in, err := os.Open(f.path(name))
	if err != nil {
		f.t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(f.path(name+suffix), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer out.Close()
	var w io.WriteCloser = gzip.NewWriter(out)
	if suffix == ".zst" {
		if w, err = zstd.NewWriter(out); err != nil {
			f.t.Fatal(err)
		}
	}
	if _, err := io.Copy(w, in); err != nil {
		f.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Remove(f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

// everything lets the pipeline match rotated names as well.
func (f *fixture) everything() { f.input.FilePaths = []string{filepath.Join(f.logs, "*.log*")} }

// known starts the agent and waits for the end of the first scan.
func (f *fixture) known() *Agent {
	f.t.Helper()
	f.append("first.log", "first")
	a := f.start()
	f.store.await(f.t, "first")
	until(f.t, "the first scan is stored", func() bool { return a.runs["p"].complete.Load() })
	return a
}

// settled writes a last line, waits for it, and then compares once more, so that
// what is doubled has had its time.
func (f *fixture) settled(want ...string) {
	f.t.Helper()
	f.store.await(f.t, want...)
	f.append("settled.log", "settled")
	f.store.await(f.t, append(slices.Clone(want), "settled")...)
}

func TestCopytruncate(t *testing.T) {
	for _, c := range []struct {
		name               string
		matches, down, out bool // the copy's name matches; while the agent is down; during an outage
		rounds             int
	}{
		{"plain", false, false, false, 1},
		{"the copy matches the pattern", true, false, false, 1},
		{"during an outage", false, false, true, 1},
		{"during an outage, the copy matches", true, false, true, 1},
		{"while the agent is down", false, true, false, 1},
		{"while the agent is down, the copy matches", true, true, false, 1},
		{"several times", false, false, false, 4},
		{"several times, the copies match", true, false, false, 4},
		{"several times during an outage", false, false, true, 3},
		{"several times while the agent is down", false, true, false, 3},
		{"several times while the agent is down, the copies match", true, true, false, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			if c.matches {
				f.everything()
			}
			a := f.known()
			want := []string{"first"}
			lines := wide("before", 0, 100)
			f.append("a.log", lines...)
			want = append(want, lines...)
			f.store.await(t, want...)
			f.store.change(func() { f.store.down = c.out })
			if c.down {
				f.stop()
			}
			for round := range c.rounds {
				lines := wide(fmt.Sprint("unread ", round), 0, 200)
				f.append("a.log", lines...)
				want = append(want, lines...)
				for i := c.rounds; i > 0; i-- {
					if from := f.path(fmt.Sprintf("a.log.%d", i)); exists(from) {
						f.rename(fmt.Sprintf("a.log.%d", i), fmt.Sprintf("a.log.%d", i+1))
					}
				}
				f.copyTo("a.log", "a.log.1")
				f.truncate("a.log")
				lines = wide(fmt.Sprint("after ", round), 0, 20)
				f.append("a.log", lines...)
				want = append(want, lines...)
				if !c.down && !c.out {
					f.store.await(t, want...)
				}
			}
			f.store.change(func() { f.store.down = false })
			if c.down {
				a = f.start()
			}
			f.settled(want...)
			if lost := a.Summary().LostBytes; lost != 0 {
				t.Errorf("%d bytes are counted as lost", lost)
			}
			f.stop()
			a = f.start() // nothing is taken for new
			f.append("again.log", "again")
			f.settled(append(want, "settled", "again")...)
			if lost := a.Summary().LostBytes; lost != 0 {
				t.Errorf("%d bytes are counted as lost after a restart", lost)
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestAFileThatOnlyBeginsAsAnotherIsCollected(t *testing.T) {
	f := newFixture(t)
	f.everything()
	f.known()
	f.append("a.log", "banner")
	f.store.await(t, "first", "banner")
	f.append("a.log.2", "banner") // a file of its own, by chance with an equal beginning
	f.append("a.log", "a")
	f.append("a.log.2", "b")
	f.settled("first", "banner", "banner", "a", "b")
	f.append("b.log", "banner")
	f.append("b-1.log", "banner") // and that is all it ever has
	f.settled("first", "banner", "banner", "a", "b", "settled", "banner", "banner")
}

func TestARotatedFileIsReadFromItsArchive(t *testing.T) {
	for _, suffix := range []string{".gz", ".zst"} {
		for _, matches := range []bool{false, true} {
			for _, down := range []bool{false, true} {
				t.Run(fmt.Sprint(suffix, " matches ", matches, " down ", down), func(t *testing.T) {
					f := newFixture(t)
					if matches {
						f.everything()
					}
					a := f.known()
					want := append(wide("seen", 0, 100), "first")
					f.append("a.log", wide("seen", 0, 100)...)
					f.store.await(t, want...)
					f.store.change(func() { f.store.down = !down })
					if down {
						f.stop()
					}
					f.append("a.log", wide("unseen", 0, 20_000)...)
					want = append(want, wide("unseen", 0, 20_000)...)
					f.rename("a.log", "a.log.1")
					f.append("a.log", "next")
					f.compress("a.log.1", suffix)
					f.store.change(func() { f.store.down = false })
					if down {
						a = f.start()
					}
					want = append(want, "next")
					f.settled(want...)
					f.append("a.log", "last")
					f.rename("a.log.1"+suffix, "a.log.2"+suffix)
					f.settled(append(want, "settled", "last")...)
					if lost := a.Summary().LostBytes; lost != 0 {
						t.Errorf("%d bytes are counted as lost", lost)
					}
					f.stop()
					f.start() // the archive is not taken for new
					f.append("again.log", "again")
					f.settled(append(want, "settled", "last", "settled", "again")...)
				})
			}
		}
	}
}

func TestFilesThatCameAndWentWhileTheAgentWasDown(t *testing.T) {
	for _, matches := range []bool{false, true} {
		for _, compressed := range []string{"", ".gz"} {
			t.Run(fmt.Sprint("matches ", matches, compressed), func(t *testing.T) {
				f := newFixture(t)
				if matches {
					f.everything()
				}
				f.known()
				f.append("a.log", "0")
				f.store.await(t, "first", "0")
				f.stop()
				want := []string{"first", "0"}
				var last string
				for i := 1; i < 5; i++ {
					for k := 5; k > 0; k-- {
						for _, s := range []string{"", ".gz"} {
							if exists(f.path(fmt.Sprint("a.log.", k, s))) {
								f.rename(fmt.Sprint("a.log.", k, s), fmt.Sprint("a.log.", k+1, s))
							}
						}
					}
					f.rename("a.log", "a.log.1")
					if compressed != "" && i > 1 {
						f.compress("a.log.1", compressed)
					}
					last = fmt.Sprint("generation ", i, strings.Repeat(" and more", i*200))
					f.append("a.log", last)
					want = append(want, last)
				}
				f.start()
				f.settled(want...)
				f.store.change(func() {
					if compressed == "" && !slices.IsSorted(f.store.lines[2:6]) {
						t.Errorf("not in order: %.30q", f.store.lines)
					}
				})
			})
		}
	}
}

func TestARotatedFileThatNobodySawAtItsPathIsCollected(t *testing.T) {
	f := newFixture(t)
	f.known()
	want := []string{"first"}
	for i := range 30 { // quicker than anybody looks
		f.append("a.log", fmt.Sprint(i))
		f.rename("a.log", fmt.Sprint("a.log.", 100-i))
		want = append(want, fmt.Sprint(i))
	}
	f.append("a.log", "last")
	f.settled(append(want, "last")...)
}

func TestPathsOfOneFile(t *testing.T) {
	f := newFixture(t)
	f.known()
	f.append("a.log", "1")
	f.store.await(t, "first", "1")
	if err := os.Link(f.path("a.log"), f.path("b.log")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(f.path("a.log"), f.path("c.log")); err != nil {
		t.Fatal(err)
	}
	f.append("b.log", "2")
	f.append("c.log", "3")
	f.settled("first", "1", "2", "3")
	if err := os.Remove(f.path("a.log")); err != nil {
		t.Fatal(err)
	}
	f.append("b.log", "4")
	f.settled("first", "1", "2", "3", "settled", "4")
}

func TestASymbolicLinkThatIsRepointed(t *testing.T) {
	f := newFixture(t)
	targets := t.TempDir()
	target := func(i int) string { return filepath.Join(targets, fmt.Sprint("t", i)) }
	f.known()
	want := []string{"first"}
	f.store.change(func() { f.store.down = true })
	for i := range 5 {
		line := fmt.Sprint("line of ", i)
		if err := os.WriteFile(target(i), []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Remove(f.path("a.log"))
		if err := os.Symlink(target(i), f.path("a.log")); err != nil {
			t.Fatal(err)
		}
		want = append(want, line)
		f.store.change(func() { f.store.down = i%2 == 0 })
		f.append("a.log", "more of it "+fmt.Sprint(i))
		want = append(want, "more of it "+fmt.Sprint(i))
		f.store.change(func() { f.store.down = false })
		f.store.await(t, want...)
	}
	f.settled(want...)
}

func TestADeletedFileDuringAnOutageIsHeld(t *testing.T) {
	f := newFixture(t)
	a := f.known()
	f.store.change(func() { f.store.down = true })
	lines := wide("held", 0, 1000)
	f.append("a.log", lines...)
	until(t, "the file is open", func() bool {
		s := f.at(a, "a.log")
		return s != nil && !s.closed()
	})
	if err := os.Remove(f.path("a.log")); err != nil {
		t.Fatal(err)
	}
	f.append("a.log", "successor")
	f.store.change(func() { f.store.down = false })
	f.settled(append(lines, "first", "successor")...)
}

func TestWhatIsLostIsCountedUnderItsFile(t *testing.T) {
	f := newFixture(t)
	a := f.known()
	f.append("a.log", "1")
	f.store.await(t, "first", "1")
	f.stop()
	f.append("a.log", "never read") // known to nobody
	if err := os.Remove(f.path("a.log")); err != nil {
		t.Fatal(err)
	}
	f.append("b.log", "2")
	a = f.start()
	f.store.await(t, "first", "1", "2")
	f.store.change(func() { f.store.down = true })
	f.append("b.log", "lost")
	until(t, "it is read", func() bool { return a.Summary().ReadBytes >= 2+5 })
	f.stop()
	if err := os.Remove(f.path("b.log")); err != nil {
		t.Fatal(err)
	}
	f.store.down = false
	a = f.start()
	count := func() (c ledger.Count) {
		for _, e := range a.ledger.Snapshot() {
			if e.Path == f.path("b.log") && e.Reason == ledger.FileDeleted {
				c = e.Count
			}
		}
		return c
	}
	until(t, "the loss is counted", func() bool { return count().Bytes == 5 })
	f.stop()
	a = f.start()
	if c := count(); c.Bytes != 5 || c.Times != 1 {
		t.Errorf("after a restart: %+v", c)
	}
}

// A file that has a second name is compressed under its first one while the agent is down: its
// content is there twice, and is collected once.
func TestArchiveOfAFileThatIsThereUnderAnotherName(t *testing.T) {
	f := newFixture(t)
	want := f.begun(true)
	f.stop()
	f.rename("app.log", "app.log.2")
	lines := wide("line", 0, 40)
	f.append("app.log", lines...)
	if err := os.Link(f.path("app.log"), f.path("second.log")); err != nil {
		t.Fatal(err)
	}
	f.rename("app.log", "app.log.1")
	f.compress("app.log.1", ".gz")
	f.append("app.log", "new")
	f.start()
	f.settled(append(append(want, lines...), "new")...)
}
