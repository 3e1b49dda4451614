package agent

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"logtail/internal/agent/status"
)

// file is the report of the file at a path.
func (f *fixture) file(a *Agent, name string) status.File {
	for _, r := range a.Files() {
		if r.Path == f.path(name) {
			return r
		}
	}
	return status.File{}
}

func TestReportOfAnAgent(t *testing.T) {
	f := newFixture(t)
	a := f.known()
	f.append("a.log", "12345", "789")
	f.store.await(t, "first", "12345", "789")
	until(t, "it is acknowledged", func() bool { return f.file(a, "a.log").State == status.FileIdle && f.file(a, "a.log").Offset == 10 })
	info, err := os.Stat(f.path("a.log"))
	if err != nil {
		t.Fatal(err)
	}
	r := f.file(a, "a.log")
	if r.Pipeline != "p" || r.Size != info.Size() || r.Lag != 0 || r.Held != 0 || len(r.Acked) != 1 || r.Acked[0] != (status.Offset{Flusher: "sls", End: 10}) ||
		r.Inode != f.at(a, "a.log").rec.Inode || r.Inode == 0 || len(r.Stream) != 32 {
		t.Errorf("%+v", r)
	}
	s := a.Status()
	if s.Files != 2 || s.OpenFiles != 2 || s.Held != (status.Held{}) || s.ReadBytes != 16 || s.Logs != 3 ||
		len(s.Pipelines) != 1 || s.Pipelines[0] != (status.Pipeline{Name: "p", Files: 2, ReadBytes: 13, Records: 3, Logs: 3}) {
		t.Errorf("%+v", s)
	}
	if len(s.Destinations) != 1 || s.Destinations[0].DeliveredLogs != 3 || s.Destinations[0].State != "ok" || s.Destinations[0].Name == "" {
		t.Errorf("%+v", s.Destinations)
	}
}

func TestReportOfAnOutage(t *testing.T) {
	f := newFixture(t)
	a := f.known()
	f.append("a.log", "1234")
	f.store.await(t, "first", "1234")
	f.store.change(func() { f.store.down = true })
	f.append("a.log", "6789")
	until(t, "it lags", func() bool { r := f.file(a, "a.log"); return r.State == status.FileBusy && r.Lag == 5 && r.Size == 10 })
	until(t, "the error is told", func() bool { return a.Status().Destinations[0].Error != "" && a.Status().Destinations[0].State != "ok" })
	f.store.change(func() { f.store.down = false })
	until(t, "it is delivered", func() bool { return f.file(a, "a.log").State == status.FileIdle })
}

func TestReportOfAHeldFile(t *testing.T) {
	f := newFixture(t)
	a := f.known()
	f.append("a.log", "1234")
	f.store.await(t, "first", "1234")
	f.store.change(func() { f.store.down = true })
	f.append("a.log", "6789")
	until(t, "it is read", func() bool { return f.file(a, "a.log").Offset == 10 })
	if err := os.Rename(f.path("a.log"), filepath.Join(f.data, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	until(t, "it is held", func() bool {
		r := f.file(a, "a.log")
		return r.State == status.FileHeld && r.Held == 5 && a.Status().Held == (status.Held{Files: 1, Bytes: 5})
	})
	f.store.change(func() { f.store.down = false })
	until(t, "nothing is held", func() bool { return a.Status().Held == (status.Held{}) })
}

func TestReportOfAFileFromBeforeThePipeline(t *testing.T) {
	f := newFixture(t)
	f.append("old.log", "history")
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(f.path("old.log"), past, past); err != nil {
		t.Fatal(err)
	}
	a := f.known()
	if r := f.file(a, "old.log"); r.State != status.FilePending || r.Size != 8 || r.Lag != 0 {
		t.Errorf("%+v", r)
	}
}

// A disk that does not answer must not keep the others from being shown.
func TestReportOfAFileWhoseDiskHangs(t *testing.T) {
	f := newFixture(t)
	a := f.known()
	f.append("a.log", "1")
	f.store.await(t, "first", "1")
	s := f.at(a, "a.log")
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := f.file(a, "a.log"); r.State != status.FileHangs || r.Pipeline != "p" {
		t.Errorf("%+v", r)
	}
	if r := f.file(a, "first.log"); r.State != status.FileIdle {
		t.Errorf("another file: %+v", r)
	}
	// Many reports wait already: this one does not.
	before := a.files.waiting.Swap(maxWaiting)
	if hanging := a.files.each([]*stream{s}, func(*stream) { t.Error("it is not locked") }); len(hanging) != 1 || a.files.waiting.Load() != maxWaiting {
		t.Errorf("%d hang, %d wait", len(hanging), a.files.waiting.Load())
	}
	a.files.waiting.Store(before)
}

// A stream that has just its turn is reported when it is over.
func TestReportWaitsForATurn(t *testing.T) {
	f := newFixture(t)
	a := f.known()
	s := f.at(a, "first.log")
	s.mu.Lock()
	asked := make(chan struct{})
	go func() {
		for a.files.waiting.Load() == 0 {
			runtime.Gosched()
		}
		s.mu.Unlock()
		close(asked)
	}()
	if r := f.file(a, "first.log"); r.State == status.FileHangs {
		t.Errorf("%+v", r)
	}
	<-asked
}
