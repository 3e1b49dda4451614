package agent

import (
	"fmt"
	"os"
	"testing"
	"time"

	"logtail/internal/agent/ledger"
	"logtail/internal/pipeline"
)

// counted returns what the ledger has for a file.
func (f *fixture) counted(a *Agent, name string, reason ledger.Reason) (c ledger.Count) {
	for _, e := range a.ledger.Snapshot() {
		if e.Path == f.path(name) && e.Reason == reason {
			c = e.Count
		}
	}
	return c
}

// drop leaves out the lines that begin with the letter x.
func (f *fixture) drop() {
	f.rules = []pipeline.Processor{{Type: pipeline.TypeFilterRegex, Filter: &pipeline.FilterRegex{FilterKey: []string{"content"}, FilterRegex: []string{"^[^x].*"}}}}
}

// What is in the disk buffer is not read again, so what was left out between is final.
func TestWhatIsLeftOutCountsWithTheDiskBuffer(t *testing.T) {
	f := newFixture(t)
	f.drop()
	a := f.known()
	f.store.change(func() { f.store.down = true })
	var lines, want []string
	for i := range 100 {
		want = append(want, fmt.Sprint("kept ", i))
		lines = append(lines, fmt.Sprint("x ", i), want[i])
	}
	f.append("a.log", lines...)
	until(t, "the file is open", func() bool { s := f.at(a, "a.log"); return s != nil && !s.closed() })
	f.remove("a.log")
	until(t, "all of it is in the buffer", func() bool { return a.buffer.Stats().Logs == len(want) })
	until(t, "what was left out is counted", func() bool { return f.counted(a, "a.log", ledger.Filtered).Logs == 100 })
	f.stop()
	f.store.down = false
	a = f.start()
	f.store.await(t, append(want, "first")...)
	f.stop()
	if n := f.counted(a, "a.log", ledger.Filtered).Logs; n != 100 {
		t.Errorf("%d logs counted, want 100", n)
	}
}

func TestWhatIsLeftOutCountsWhenTheAgentStopsWithItInTheDiskBuffer(t *testing.T) {
	f := newFixture(t)
	f.drop()
	a := f.known()
	f.store.change(func() { f.store.down = true })
	want := long("deleted", 0, 3000)
	lines := append(append([]string{"x 1"}, want...), "x 2")
	f.append("a.log", lines...)
	until(t, "the file is open", func() bool { s := f.at(a, "a.log"); return s != nil && !s.closed() })
	f.remove("a.log")
	f.stop() // at once
	f.store.down = false
	a = f.start()
	f.store.await(t, append(want, "first")...)
	f.stop()
	if n := f.counted(a, "a.log", ledger.Filtered).Logs; n != 2 {
		t.Errorf("%d logs counted, want 2", n)
	}
}

// Bytes that nobody has read of a truncated file are known only to who saw it.
func TestBytesThatWereNeverReadAreCountedAlsoWhenTheAgentStopsBeforeTheRestArrives(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			f := newFixture(t)
			a := f.known()
			f.append("a.log", "1")
			f.store.await(t, "first", "1")
			f.store.change(func() { f.store.down = true })
			f.append("a.log", long("lost", 0, 6000)...)
			info, err := os.Stat(f.path("a.log"))
			if err != nil {
				t.Fatal(err)
			}
			size := uint64(info.Size())
			s := f.at(a, "a.log")
			until(t, "more is there than is read", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.seen == size && s.high > 1<<20 && s.high < size
			})
			if err := os.Truncate(f.path("a.log"), 0); err != nil {
				t.Fatal(err)
			}
			f.append("a.log", "2")
			until(t, "the truncation is seen", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.frozen })
			if !restart {
				f.store.change(func() { f.store.down = false })
				f.awaitLine("2")
				until(t, "the stream ends", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.done })
				if c := f.counted(a, "a.log", ledger.FileTruncated); c.Bytes == 0 || uint64(c.Bytes) != size-s.high {
					t.Errorf("%+v, want %d bytes", c, size-s.high)
				}
				return
			}
			f.stop()
			f.store.down = false
			a = f.start()
			f.awaitLine("2")
			until(t, "all is counted", func() bool { return f.counted(a, "a.log", ledger.FileTruncated).Bytes >= int64(size-2) })
			f.stop()
			if c := f.counted(a, "a.log", ledger.FileTruncated); c.Bytes != int64(size-2) {
				t.Errorf("%+v, want %d bytes", c, size-2)
			}
		})
	}
}

// A copy that gets its name only after the truncation was seen still has what was unread.
func TestNothingIsCountedOfATruncatedFileWhoseCopyAppearsLater(t *testing.T) {
	for _, suffix := range []string{"", ".gz"} {
		t.Run("copy"+suffix, func(t *testing.T) {
			f := newFixture(t)
			f.everything()
			a := f.known()
			f.store.change(func() { f.store.down = true })
			lines := long("line", 0, 6000)
			f.append("a.log", lines...)
			s := f.at(a, "a.log")
			until(t, "more is there than is read", func() bool {
				if s = f.at(a, "a.log"); s == nil {
					return false
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.high > 1<<20 && s.seen > s.high
			})
			f.copyTo("a.log", "copy.tmp")
			f.truncate("a.log")
			f.append("a.log", "2")
			until(t, "the truncation is seen", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.frozen })
			f.rename("copy.tmp", "a.log.1")
			if suffix != "" {
				f.compress("a.log.1", suffix)
			}
			f.store.change(func() { f.store.down = false })
			f.settled(append(append([]string{"first"}, lines...), "2")...)
			until(t, "the stream ends", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.done })
			if c := f.counted(a, "a.log", ledger.FileTruncated); c.Bytes != 0 {
				t.Errorf("%+v although nothing is lost", c)
			}
		})
	}
}

// awaitLine waits until the logstore has a line.
func (f *fixture) awaitLine(line string) {
	f.t.Helper()
	until(f.t, "the line arrives", func() (ok bool) {
		f.store.change(func() { _, ok = f.store.tags[line] })
		return ok
	})
}

// What is missing of a file that is deleted is told from its size: an archive may be larger than its
// content, and the original of a copy may have been larger when it was looked at last.
func TestTheSizeOfArchivesAndCopiesIsThatOfTheirContent(t *testing.T) {
	f := newFixture(t)
	f.everything()
	a := f.known()
	f.append("small", "x")
	f.compress("small", ".gz")
	f.rename("small.gz", "small.log.gz")
	lines := wide("line", 0, 40)
	f.append("app.log", lines...)
	want := append([]string{"first", "x"}, lines...)
	f.store.await(t, want...)
	old := f.at(a, "app.log")
	f.store.change(func() { f.store.down = true })
	f.copyTo("app.log", "app.log.1")
	f.truncate("app.log")
	more := wide("more", 0, 400)
	f.append("app.log", more...)
	f.store.change(func() { f.store.down = false })
	want = append(want, more...)
	f.store.await(t, want...)
	seen := func(s *stream, size uint64) func() bool {
		return func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.pos == size && s.rec.SizeSeen == size
		}
	}
	info, err := os.Stat(f.path("app.log.1"))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the copy has its own size", seen(old, uint64(info.Size())))
	archive := f.at(a, "small.log.gz")
	until(t, "the archive is read", seen(archive, 2))
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(f.path("small.log.gz"), later, later); err != nil {
		t.Fatal(err)
	}
	until(t, "it is looked at again", func() bool {
		archive.mu.Lock()
		defer archive.mu.Unlock()
		return archive.mtime == later.UnixNano()
	})
	until(t, "the archive has the size of its content", seen(archive, 2))
}
