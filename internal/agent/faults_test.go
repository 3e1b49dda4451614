package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"logtail/internal/agent/send"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
	"logtail/internal/pipeline"
)

// until waits for a condition that nothing tells.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("not reached: %s", what)
		}
	}
}

// change runs f with the logstore to itself.
func (s *logstore) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// at returns the stream at a path of the fixture's folder.
func (f *fixture) at(a *Agent, name string) *stream { return a.files.at(a.runs["p"], f.path(name)) }

// closed says whether the stream's file is closed.
func (s *stream) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.f == nil
}

// toFile gives the fixture's pipeline a second flusher and returns its file.
func (f *fixture) toFile() string {
	out := filepath.Join(f.t.TempDir(), "out.jsonl")
	f.also = []pipeline.Flusher{{
		Type: "flusher_file", Name: "file", File: &pipeline.FlusherFile{FilePath: out, MaxFileSize: 10 << 20, MaxFiles: 3},
		Batch: pipeline.Batch{MinCnt: 4096, MinSizeBytes: 512 << 10, TimeoutSecs: 3},
	}}
	return out
}

// editState changes every stored stream while the agent is down.
func (f *fixture) editState(edit func(*state.Stream)) {
	f.t.Helper()
	st, err := state.Open(f.data)
	if err != nil {
		f.t.Fatal(err)
	}
	defer st.Close()
	streams, _, err := st.Load()
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range streams {
		edit(&streams[i])
	}
	if err := st.Commit(state.Change{Put: streams}); err != nil {
		f.t.Fatal(err)
	}
}

func TestADeviceThatGotAnotherNumberDoublesNothing(t *testing.T) {
	f := newFixture(t)
	f.append("idle.log", "history")
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(f.path("idle.log"), past, past); err != nil {
		t.Fatal(err)
	}
	f.append("a.log", "1", "2")
	f.start()
	f.store.await(t, "1", "2")
	f.stop()
	f.editState(func(s *state.Stream) { s.Dev += 77 }) // as a reboot does
	f.append("a.log", "3")
	f.append("b.log", "4")
	f.start()
	f.store.await(t, "1", "2", "3", "4")
	f.append("a.log", "5")
	f.store.await(t, "1", "2", "3", "4", "5")
}

func TestTheStreamOfAnInodeThatWasUsedAgainIsNotTakenForTheFile(t *testing.T) {
	f := newFixture(t)
	f.append("a.log", "1", "2")
	f.start()
	f.store.await(t, "1", "2")
	f.stop()
	st, err := state.Open(f.data)
	if err != nil {
		t.Fatal(err)
	}
	streams, _, err := st.Load()
	if err != nil || len(streams) != 1 {
		t.Fatal(streams, err)
	}
	if streams[0].Birth == 0 {
		t.Skip("the file system tells no time of birth")
	}
	first, last := streams[0], streams[0] // whatever the order in which they are loaded
	first.ID, last.ID = delivery.StreamID{0}, delivery.StreamID{255}
	first.Birth, last.Birth = first.Birth-1, last.Birth-2
	first.Head, last.Head = 1, 2
	if err := st.Commit(state.Change{Put: []state.Stream{first, last}}); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	f.append("a.log", "3")
	f.start()
	f.store.await(t, "1", "2", "3")
	f.append("a.log", "4")
	f.store.await(t, "1", "2", "3", "4")
}

func TestATruncationDuringAnOutageSurvivesARestart(t *testing.T) {
	f := newFixture(t)
	f.append("a.log", "first")
	a := f.start()
	f.store.await(t, "first")
	f.store.change(func() { f.store.down = true })
	f.append("a.log", "lost")
	until(t, "the line is read", func() bool { return a.Summary().ReadBytes == 6+5 })
	if err := os.Truncate(f.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	f.append("a.log", "second 1")
	until(t, "the truncation is seen", func() bool { return a.Summary().Files == 2 })
	until(t, "the new line is read", func() bool { return a.Summary().ReadBytes == 6+5+9 })
	f.stop()
	f.store.down = false
	for i := 2; i < 5; i++ {
		f.append("a.log", fmt.Sprint("second ", i))
		want := []string{"first"}
		for k := 1; k <= i; k++ {
			want = append(want, fmt.Sprint("second ", k))
		}
		a = f.start()
		f.store.await(t, want...)
		if i == 2 {
			until(t, "the loss is counted", func() bool { return a.Summary().LostBytes == 5 })
		}
		f.stop()
	}
}

func TestWhatWasReadOfATruncatedFileIsSentAlsoWhenTheLaneIsAgreedOnAnew(t *testing.T) {
	f := newFixture(t)
	f.append("a.log", "first")
	a := f.start()
	f.store.await(t, "first")
	f.store.change(func() { f.store.down = true })
	read := numbered("read", 0, 100)
	f.append("a.log", read...)
	until(t, "the lines are read", func() bool { return a.Summary().ReadBytes == 6+100*12 })
	if err := os.Truncate(f.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	f.append("a.log", "short")
	until(t, "the truncation is seen", func() bool { return a.Summary().Files == 2 })
	f.store.change(func() {
		for l, p := range f.store.progress { // another one that answers for the logstore knows no session
			p.Session = 0
			f.store.progress[l] = p
		}
		f.store.down = false
	})
	f.store.await(t, append(read, "first", "short")...)
	if lost := a.Summary().LostBytes; lost != 0 {
		t.Errorf("%d bytes are counted as lost", lost)
	}
}

func TestARotatedFileThatIsIdleIsSearchedOnceAndNotAllTheTime(t *testing.T) {
	f := newFixture(t)
	f.input.FlushTimeoutSecs, f.input.CloseUnusedReaderInterval = 1, 1
	a := f.start()
	f.append("a.log", "1")
	f.store.await(t, "1")
	s := f.at(a, "a.log")
	f.rename("a.log", "a.log.1")
	until(t, "it is found under its new name, closed, and left alone", func() bool {
		a.queue.mu.Lock()
		at, waits := a.queue.timers[s]
		rests := s.turn == resting
		a.queue.mu.Unlock()
		return rests && waits && s.closed() && time.Until(at) > relook/2
	})
	f.append("a.log", "2")
	f.store.await(t, "1", "2")
}

func TestAFileThatIsMovedToAnotherFolderIsNotReadAgain(t *testing.T) {
	f := newFixture(t)
	f.input.FilePaths = []string{filepath.Join(f.logs, "**", "*.log")}
	f.input.MaxDirSearchDepth = 3
	f.input.FlushTimeoutSecs, f.input.CloseUnusedReaderInterval = 1, 1
	for _, d := range []string{"in", "archive"} {
		if err := os.Mkdir(f.path(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	a := f.start()
	want := numbered("x", 0, 100)
	f.append("in/a.log", want...)
	f.store.await(t, want...)
	s := f.at(a, "in/a.log")
	until(t, "the file is closed", s.closed)
	f.rename("in/a.log", "archive/a.log")
	f.append("archive/a.log", "more")
	f.store.await(t, append(want, "more")...)
}

func TestAFencedLaneHoldsUpNoOther(t *testing.T) {
	f := newFixture(t)
	out := f.toFile()
	f.append("a.log", "0")
	f.start()
	f.store.await(t, "0")
	awaitFile(t, out, 1)
	f.store.change(func() {
		f.store.rival = true
		for l, p := range f.store.progress {
			p.Session++
			f.store.progress[l] = p
		}
	})
	for i := 1; i < 5; i++ {
		f.append("a.log", fmt.Sprint(i))
		awaitFile(t, out, i+1)
	}
	f.stop()
	if n := countLines(out); n != 5 || len(f.store.lines) != 1 {
		t.Errorf("the file has %d lines, the logstore %q", n, f.store.lines)
	}
}

func TestALaneThatIsAheadInsideALineGetsNothingTwice(t *testing.T) {
	f := newFixture(t)
	f.input.FlushTimeoutSecs = 1
	out := f.toFile()
	f.append("a.log", "0")
	f.start()
	f.store.await(t, "0")
	awaitFile(t, out, 1)
	f.store.change(func() { f.store.down = true })
	w, err := os.OpenFile(f.path("a.log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	fmt.Fprint(w, "whole\nhalf")
	awaitFile(t, out, 3) // half goes after a second
	f.stop()
	f.store.down = false
	fmt.Fprint(w, " rest\nnext\n")
	f.start()
	f.store.await(t, "0", "whole", "half", " rest", "next")
	awaitFile(t, out, 5)
	f.stop()
	if n := countLines(out); n != 5 {
		t.Errorf("the file has %d lines", n)
	}
}

func TestAHistoryFileThatChangesBeforeItIsStoredIsCollected(t *testing.T) {
	f := newFixture(t)
	f.append("old.log", "old 1")
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(f.path("old.log"), past, past); err != nil {
		t.Fatal(err)
	}
	a := f.start()
	until(t, "the first scan", func() bool { return a.runs["p"].complete.Load() })
	s := f.at(a, "old.log")
	until(t, "it is stored", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.fresh
	})
	// As if its record could not be written for a while.
	s.mu.Lock()
	s.fresh = true
	s.mu.Unlock()
	f.append("old.log", "old 2")
	until(t, "the change is noticed", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.touched
	})
	s.stored()
	f.store.await(t, "old 1", "old 2")
}

func TestALogstoreThatIsMadeAgainUnderARunningAgentGetsEveryLaterLineOnce(t *testing.T) {
	f := newFixture(t)
	f.start()
	var later []string
	f.append("a.log", "before")
	f.store.await(t, "before")
	for round := range 5 {
		f.store.change(func() { clear(f.store.progress) })
		lines := numbered(fmt.Sprint("round ", round), 0, 3000)
		for l := range slices.Chunk(lines, 100) {
			f.append("a.log", l...)
		}
		later = append(later, lines...)
		f.store.await(t, append(later, "before")...)
	}
}

func TestTwoDestinationsOfManyFilesGetTheSame(t *testing.T) {
	f := newFixture(t)
	stores := map[string]*logstore{"ls": f.store, "second": newLogstore()}
	second := f.pipeline().Flushers[0]
	sls := *second.SLS
	sls.Logstore, second.SLS, second.Name = "second", &sls, "second"
	f.also = append(f.also, second)
	f.service = func(k destKey) send.Transport { return stores[k.logstore] }
	f.start()
	var want []string
	for round := range 20 {
		for file := range 50 {
			lines := numbered(fmt.Sprintf("%d %d %s", round, file, strings.Repeat("x", file)), 0, 5)
			f.append(fmt.Sprintf("%d.log", file), lines...)
			want = append(want, lines...)
		}
	}
	stores["ls"].await(t, want...)
	stores["second"].await(t, want...)
}

// A file that was renamed out of the pattern while the agent was down is followed for as
// long as one that was renamed under its eyes: its writer may have it open still.
func TestAFileThatWasRotatedWhileTheAgentWasDownIsFollowed(t *testing.T) {
	for _, empty := range []bool{false, true} {
		t.Run(fmt.Sprintf("empty %v", empty), func(t *testing.T) {
			f := newFixture(t)
			a := f.known()
			want := []string{"first"}
			if f.append("app.log"); !empty {
				f.append("app.log", "a")
				want = append(want, "a")
			}
			f.store.await(t, want...)
			until(t, "the file is known", func() bool {
				s := f.at(a, "app.log")
				if s == nil {
					return false
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				return !s.fresh
			})
			f.stop()
			f.rename("app.log", "app.log.1")
			a = f.start()
			f.append("app.log", "b")
			f.settled(append(want, "b")...)
			until(t, "the renamed file was read", func() bool {
				for _, s := range a.files.of(nil) {
					s.mu.Lock()
					found := filepath.Base(s.rec.Path) == "app.log.1" && s.sought
					s.mu.Unlock()
					if found {
						return true
					}
				}
				return false
			})
			f.append("app.log.1", "late")
			f.store.await(t, append(want, "b", "settled", "late")...)
		})
	}
}

// Another agent with the same state has taken a lane over and gone on with other content, and
// the file of this one is gone: what it has read goes on under another id.
func TestAFencedLaneWhoseFileIsGoneLosesNothing(t *testing.T) {
	f := newFixture(t)
	a := f.known()
	l1, l2 := wide("one", 0, 40), wide("two", 0, 40)
	f.append("app.log", l1...)
	f.store.await(t, append([]string{"first"}, l1...)...)
	f.store.change(func() { f.store.down = true })
	f.append("app.log", l2...)
	s := f.at(a, "app.log")
	until(t, "all is read", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.pos > 6000 && s.group == nil })
	f.truncate("app.log")
	until(t, "the truncation is seen", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.frozen })
	f.store.change(func() {
		for l, p := range f.store.progress {
			f.store.session++
			p.End, p.Hash, p.Session = p.End+100_000, 12345, f.store.session
			f.store.progress[l] = p
		}
		f.store.down = false
	})
	f.settled(append(append([]string{"first"}, l1...), l2...)...)
}
