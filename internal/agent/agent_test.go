package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"logtail/internal/agent/send"
	"logtail/internal/delivery"
	"logtail/internal/pipeline"
	"logtail/internal/sls"
)

// logstore is a destination in memory that keeps the contract of delivery.
type logstore struct {
	mu       sync.Mutex
	progress map[delivery.LaneID]delivery.Progress
	session  uint64
	rival    bool     // another agent takes over each lane at once
	lines    []string // contents in order of arrival
	tags     map[string]string
	down     bool
	loseNext int // replies to lose
	ranges   bool
	changed  chan struct{} // capacity 1

	abandoned []delivery.Range
}

func newLogstore() *logstore {
	return &logstore{progress: map[delivery.LaneID]delivery.Progress{}, tags: map[string]string{}, ranges: true, changed: make(chan struct{}, 1)}
}

func (s *logstore) Close() error { return nil }

func (s *logstore) Resume(_ context.Context, lanes []delivery.LaneID) (*send.Resumed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, errors.New("down")
	}
	if !s.ranges {
		return &send.Resumed{}, nil
	}
	s.session++
	r := &send.Resumed{Ranges: true, Session: s.session, Incarnation: "a", Progress: make([]*delivery.Progress, len(lanes))}
	for i, l := range lanes {
		if p, ok := s.progress[l]; ok {
			known := p
			r.Progress[i] = &known
			p.Session = s.session
			if s.rival {
				s.session++
				p.Session = s.session
			}
			s.progress[l] = p
		}
	}
	return r, nil
}

func (s *logstore) Send(_ context.Context, pkgs []*send.Package) ([]send.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, errors.New("down")
	}
	out := make([]send.Outcome, len(pkgs))
	for i, p := range pkgs {
		var known *delivery.Progress
		if x, ok := s.progress[p.Range.Lane]; ok && s.ranges {
			known = &x
		}
		if s.ranges {
			out[i].Action = delivery.Decide(known, &p.Range)
		}
		switch out[i].Action {
		case delivery.Append:
			if p.Range.Flags&delivery.Abandoned != 0 {
				s.abandoned = append(s.abandoned, p.Range)
			}
			s.append(p)
			s.progress[p.Range.Lane] = delivery.Advance(&p.Range, 0)
		case delivery.Trim:
			panic("the agent sent an overlap, which only a crash explains")
		}
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	if s.loseNext > 0 {
		s.loseNext--
		return nil, errors.New("the reply was lost")
	}
	return out, nil
}

func (s *logstore) append(p *send.Package) {
	if p.Logs == 0 {
		return
	}
	raw, err := sls.Decompress(nil, p.Data(), p.Compress, p.RawSize, 20<<20)
	if err != nil {
		panic(err)
	}
	var g sls.LogGroup
	if err := g.Decode(raw, sls.DefaultLimits); err != nil {
		panic(err)
	}
	path := ""
	for _, t := range g.Tags {
		if t.Key == "__path__" {
			path = t.Value
		}
	}
	for i := range g.Logs {
		text := ""
		for _, c := range g.Logs[i].Contents {
			text += string(c.Value)
		}
		s.lines = append(s.lines, text)
		s.tags[text] = filepath.Base(path)
	}
}

// await waits until the logstore has exactly the lines, in any order.
func (s *logstore) await(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		got := slices.Clone(s.lines)
		s.mu.Unlock()
		slices.Sort(got)
		w := slices.Sorted(slices.Values(want))
		if slices.Equal(got, w) {
			return
		}
		if len(got) > len(w) {
			t.Fatal(difference(got, w))
		}
		select {
		case <-s.changed:
		case <-deadline:
			t.Fatal(difference(got, w))
		}
	}
}

// difference says which of the sorted lines are missing, doubled or unknown.
func difference(got, want []string) string {
	count := map[string]int{}
	for _, l := range want {
		count[l]++
	}
	for _, l := range got {
		count[l]--
	}
	var diff []string
	for l, n := range count {
		if n != 0 {
			diff = append(diff, fmt.Sprintf("%+d %.60q", -n, l))
		}
	}
	slices.Sort(diff)
	return fmt.Sprintf("got %d lines, want %d; %d differ:\n%.3000s", len(got), len(want), len(diff), strings.Join(diff, "\n"))
}

// fixture is a folder of logs and an agent that can be stopped and started.
type fixture struct {
	t     *testing.T
	logs  string
	data  string
	store *logstore
	input pipeline.InputFile
	also  []pipeline.Flusher
	rules []pipeline.Processor
	stop  func()
	// unstable lets the agent believe that the file system gives files new numbers.
	unstable bool
	// service makes the transports; nil: all lead to store.
	service func(destKey) send.Transport
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, logs: t.TempDir(), data: t.TempDir(), store: newLogstore()}
	f.input = pipeline.InputFile{
		FilePaths: []string{filepath.Join(f.logs, "*.log")}, TailSizeKB: 1024, FlushTimeoutSecs: 60, CloseUnusedReaderInterval: 60,
	}
	return f
}

func (f *fixture) pipeline() *pipeline.Pipeline {
	input := f.input
	batch := pipeline.Batch{MinCnt: 4096, MinSizeBytes: 512 << 10, TimeoutSecs: 3}
	return &pipeline.Pipeline{
		Name: "p", Enable: true, Inputs: []pipeline.Input{{Type: "input_file", File: &input}}, Processors: f.rules,
		Flushers: append([]pipeline.Flusher{{
			Type: "flusher_sls", Name: "sls", SLS: &pipeline.FlusherSLS{Project: "pr", Logstore: "ls", Endpoint: "x", CompressType: "lz4"}, Batch: batch,
		}}, f.also...),
	}
}

// start runs the agent until stop is called or the test ends.
func (f *fixture) start() *Agent {
	f.t.Helper()
	a, err := newAgent(Options{
		Data: f.data, Pipelines: []*pipeline.Pipeline{f.pipeline()}, Once: f.input.Once, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		DirInterval: 50 * time.Millisecond, FileInterval: 50 * time.Millisecond, RetryWait: 20 * time.Millisecond, SpillAfter: 50 * time.Millisecond,
	}, func(k destKey, _ string) (send.Transport, error) {
		if f.service != nil {
			return f.service(k), nil
		}
		return f.store, nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if f.unstable {
		a.stable = func(*os.File) bool { return false }
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	f.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				f.t.Errorf("the agent stopped with %v", err)
			}
		})
	}
	f.t.Cleanup(f.stop)
	return a
}

func (f *fixture) path(name string) string { return filepath.Join(f.logs, name) }

func (f *fixture) append(name string, lines ...string) {
	f.t.Helper()
	w, err := os.OpenFile(f.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer w.Close()
	for _, l := range lines {
		if _, err := io.WriteString(w, l+"\n"); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fixture) rename(from, to string) {
	f.t.Helper()
	if err := os.Rename(f.path(from), f.path(to)); err != nil {
		f.t.Fatal(err)
	}
}

func numbered(prefix string, from, to int) []string {
	var l []string
	for i := from; i < to; i++ {
		l = append(l, fmt.Sprintf("%s %06d", prefix, i))
	}
	return l
}

func TestLinesOfNewAndGrowingFilesArrive(t *testing.T) {
	f := newFixture(t)
	f.append("a.log", "a 1", "a 2")
	f.start()
	f.store.await(t, "a 1", "a 2")
	f.append("b.log", "b 1", "")
	f.append("a.log", "a 3")
	f.store.await(t, "a 1", "a 2", "a 3", "b 1", "")
}

func TestManyLinesArriveInOrder(t *testing.T) {
	f := newFixture(t)
	f.start()
	want := numbered("line", 0, 50000)
	for i := 0; i < len(want); i += 1000 {
		f.append("a.log", want[i:i+1000]...)
	}
	f.store.await(t, want...)
	if !slices.Equal(f.store.lines, want) {
		t.Error("the order within the file was not kept")
	}
}

func TestFilesThatWereIdleBeforeThePipelineAreHistory(t *testing.T) {
	f := newFixture(t)
	f.append("old.log", "old 1")
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(f.path("old.log"), past, past); err != nil {
		t.Fatal(err)
	}
	f.append("new.log", "new 1")
	f.start()
	f.store.await(t, "new 1")
	f.stop()
	f.start()
	f.append("new.log", "new 2")
	f.store.await(t, "new 1", "new 2")
	f.append("old.log", "old 2") // now it is modified, and small, so all of it is read
	f.store.await(t, "new 1", "new 2", "old 1", "old 2")
}

func TestFirstContactWithALargeFileStartsAtItsEnd(t *testing.T) {
	f := newFixture(t)
	f.input.TailSizeKB = 4
	want := numbered("large", 0, 2000) // 13 bytes each
	f.append("large.log", want...)
	a := f.start()
	size := 2000 * 13
	first := (size - 4096 + 12) / 13
	f.store.await(t, want[first:]...)
	if got := a.Summary().SkippedBytes; got != int64(first*13) {
		t.Errorf("%d bytes skipped, want %d", got, first*13)
	}
	f.stop()
	more := numbered("later", 0, 2000)
	f.append("later.log", more...) // made while the agent was down: from its beginning
	f.start()
	f.store.await(t, append(more, want[first:]...)...)
}

func TestRotationByRename(t *testing.T) {
	for _, matching := range []bool{true, false} {
		t.Run(fmt.Sprintf("rotated name matches %v", matching), func(t *testing.T) {
			f := newFixture(t)
			old := "app.log.1"
			if matching {
				old = "app-1.log"
			}
			f.start()
			var want []string
			for i := range 5 {
				f.append("app.log", fmt.Sprintf("first of round %d", i))
				want = append(want, fmt.Sprintf("first of round %d", i))
				f.store.await(t, want...)
				os.Remove(f.path(old))
				lines := numbered(fmt.Sprintf("round %d", i), 0, 3000)
				f.append("app.log", lines...) // unread when the name changes
				f.rename("app.log", old)
				f.append(old, fmt.Sprintf("late %d", i)) // the writer still has it open
				want = append(append(want, lines...), fmt.Sprintf("late %d", i))
				f.store.await(t, want...)
			}
			if f.store.tags["late 0"] != "app.log" {
				t.Errorf("the rotated file is tagged %q", f.store.tags["late 0"])
			}
		})
	}
}

func TestRotationWhileTheAgentIsDown(t *testing.T) {
	f := newFixture(t)
	f.append("app.log", "1")
	f.start()
	f.store.await(t, "1")
	f.stop()
	f.append("app.log", "2")
	f.rename("app.log", "app.log.1")
	f.append("app.log", "3")
	f.start()
	f.store.await(t, "1", "2", "3")
}

func TestARotatedFileIsSentBeforeItsSuccessor(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.append("first.log", "first") // the first scan is over
	f.store.await(t, "first")
	want := []string{"first"}
	f.store.change(func() { f.store.down = true })
	for round := range 5 {
		lines := numbered(fmt.Sprint("round ", round), 0, 20_000)
		f.append("a.log", lines...)
		f.rename("a.log", fmt.Sprintf("a-%d.log", 9-round))
		want = append(want, lines...)
		if round == 2 { // some steps while the agent is down
			f.stop()
		}
	}
	f.append("a.log", "last")
	want = append(want, "last")
	f.store.change(func() { f.store.down = false })
	f.start()
	f.store.await(t, want...)
	f.store.change(func() {
		for i := range want {
			if f.store.lines[i] != want[i] {
				t.Fatalf("line %d is %q, want %q: a file was sent before the one that was there before", i, f.store.lines[i], want[i])
			}
		}
	})
}

func TestATruncatedFileIsReadFromItsBeginning(t *testing.T) {
	f := newFixture(t)
	f.append("a.log", numbered("before", 0, 100)...)
	f.start()
	want := numbered("before", 0, 100)
	f.store.await(t, want...)
	if err := os.Truncate(f.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	f.append("a.log", "short")
	f.store.await(t, append(want, "short")...)
	want = append(want, "short")
	// It grows past the old offset before anybody looks.
	f.stop()
	more := numbered("after", 0, 300)
	if err := os.Truncate(f.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	f.append("a.log", more...)
	f.start()
	f.store.await(t, append(want, more...)...)
}

func TestADeletedFileIsReadToItsEnd(t *testing.T) {
	f := newFixture(t)
	f.store.down = true
	f.append("a.log", "first")
	f.start()
	lines := numbered("x", 0, 1000)
	f.append("b.log", lines...)
	f.store.mu.Lock()
	f.store.down = false
	f.store.mu.Unlock()
	f.store.await(t, append(lines, "first")...)
	f.append("b.log", "last words")
	f.store.await(t, append(lines, "first", "last words")...)
	os.Remove(f.path("b.log"))
	f.append("b.log", "another file")
	f.store.await(t, append(lines, "first", "last words", "another file")...)
}

func TestAnUnterminatedLineGoesAfterItsTime(t *testing.T) {
	f := newFixture(t)
	f.input.FlushTimeoutSecs = 1
	f.start()
	w, err := os.Create(f.path("a.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	fmt.Fprint(w, "whole\nhalf")
	f.store.await(t, "whole", "half")
	fmt.Fprint(w, "\nnext\n")
	f.store.await(t, "whole", "half", "next")
}

func TestLostRepliesAndOutagesDoubleNothing(t *testing.T) {
	f := newFixture(t)
	f.store.loseNext = 1
	f.start()
	f.append("a.log", "1", "2")
	f.store.await(t, "1", "2")
	f.append("a.log", "3")
	f.store.await(t, "1", "2", "3")
	f.stop()
	if len(f.store.lines) != 3 {
		t.Errorf("got %q", f.store.lines)
	}
}

func TestAnAgentWhoseCheckpointIsOldGoesOnWhereTheServiceStands(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.append("a.log", "1")
	f.store.await(t, "1")
	f.stop()
	old := filepath.Join(t.TempDir(), "state.db")
	copyFile(t, filepath.Join(f.data, "state.db"), old)
	f.start()
	f.append("a.log", "2", "3")
	f.store.await(t, "1", "2", "3")
	f.stop()
	copyFile(t, old, filepath.Join(f.data, "state.db")) // as after a crash that lost the checkpoint
	f.append("a.log", "4")
	f.start()
	f.store.await(t, "1", "2", "3", "4")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAOneTimeInputEndsTheRun(t *testing.T) {
	f := newFixture(t)
	f.input.Once = true
	want := numbered("x", 0, 5000)
	f.append("a.log", want...)
	w, err := os.Create(f.path("b.log"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "no line end")
	w.Close()
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(f.path("b.log"), past, past); err != nil {
		t.Fatal(err)
	}
	a, err := newAgent(Options{Data: f.data, Pipelines: []*pipeline.Pipeline{f.pipeline()}, Once: true, Log: slog.New(slog.NewTextHandler(io.Discard, nil))},
		func(destKey, string) (send.Transport, error) { return f.store, nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.store.await(t, append(want, "no line end")...)
	if s := a.Summary(); s.Delivered != 5001 || s.Files != 2 {
		t.Errorf("summary %+v", s)
	}
}

func TestLinesAreWholeAcrossReads(t *testing.T) {
	for _, once := range []bool{true, false} {
		t.Run(fmt.Sprintf("once %v", once), func(t *testing.T) {
			f := newFixture(t)
			f.input.Once = once
			f.input.FlushTimeoutSecs = 0 // the default of one-time inputs; else: an unterminated end is sent at once
			f.input.TailSizeKB = 10 << 10
			want := numbered("line", 0, 2*chunkSize/12+1) // no multiple of the length of a line fills a read
			want = append(want, "long "+strings.Repeat("x", chunkSize/2), "short", "longest "+strings.Repeat("y", chunkSize-20))
			want = append(want, numbered("more", 0, chunkSize/12)...)
			var b strings.Builder
			for _, l := range want {
				b.WriteString(l + "\n")
			}
			if err := os.WriteFile(f.path("a.log"), []byte(b.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			f.start()
			f.store.await(t, want...)
		})
	}
}

func TestSeveralFlushersKeepTheirOwnProgress(t *testing.T) {
	f := newFixture(t)
	out := filepath.Join(t.TempDir(), "out.jsonl")
	f.also = []pipeline.Flusher{{Type: "flusher_file", Name: "file", File: &pipeline.FlusherFile{FilePath: out, MaxFileSize: 10 << 20, MaxFiles: 3}, Batch: pipeline.Batch{MinCnt: 4096, MinSizeBytes: 512 << 10, TimeoutSecs: 3}}}
	f.append("a.log", "0")
	f.start()
	f.store.await(t, "0")
	f.store.mu.Lock()
	f.store.down = true
	f.store.mu.Unlock()
	f.append("a.log", "1", "2")
	awaitFile(t, out, 3)
	f.stop() // the file has them, the logstore does not
	f.store.down = false
	f.append("a.log", "3")
	f.start()
	f.store.await(t, "0", "1", "2", "3")
	awaitFile(t, out, 4)
	f.stop()
	if n := countLines(out); n != 4 {
		t.Errorf("the file has %d lines", n)
	}
}

func countLines(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	return strings.Count(string(b), "\n")
}

func awaitFile(t *testing.T, path string, lines int) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for countLines(path) < lines {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%s has %d lines, want %d", path, countLines(path), lines)
		}
	}
}

func TestPositionsOfLogs(t *testing.T) {
	f := newFixture(t)
	f.input.AppendingLogPositionMeta = true
	f.append("a.log", "one", "", "three")
	f.start()
	f.store.await(t, "one0", "4", "three5") // content, then __file_offset__
}

func TestOneFileOnePipeline(t *testing.T) {
	for _, allow := range []bool{false, true} {
		t.Run(fmt.Sprintf("AllowingIncludedByMultiConfigs %v", allow), func(t *testing.T) {
			f := newFixture(t)
			f.append("app.log", "1")
			f.append("other.log", "2")
			wide, narrow := f.pipeline(), f.pipeline()
			narrow.Name, narrow.Inputs[0].File.FilePaths = "z", []string{f.path("app*.log")}
			wide.Inputs[0].File.AllowingIncludedByMultiConfigs = allow
			stores := map[string]*logstore{"wide": newLogstore(), "narrow": newLogstore()}
			wide.Flushers[0].SLS.Logstore, narrow.Flushers[0].SLS.Logstore = "wide", "narrow"
			a, err := newAgent(Options{Data: f.data, Pipelines: []*pipeline.Pipeline{wide, narrow}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))},
				func(k destKey, _ string) (send.Transport, error) { return stores[k.logstore], nil })
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			stores["narrow"].await(t, "1")
			if allow {
				stores["wide"].await(t, "1", "2")
			} else {
				stores["wide"].await(t, "2")
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
