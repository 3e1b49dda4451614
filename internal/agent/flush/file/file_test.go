package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"logtail/internal/pipeline"
	"logtail/internal/sls"
)

func group(values ...string) []byte {
	var b []byte
	for _, v := range values {
		b = sls.AppendLog(b, 1, -1, []sls.Content{{Key: []byte("k"), Value: []byte(v)}})
	}
	return b
}

func line(v string) string { return fmt.Sprintf(`{"__time__":1,"k":"%s"}`+"\n", v) }

func lines(values ...string) string {
	var b strings.Builder
	for _, v := range values {
		b.WriteString(line(v))
	}
	return b.String()
}

func open(t *testing.T, path string, maxSize int64, maxFiles int) *Sink {
	t.Helper()
	s, err := New(&pipeline.FlusherFile{FilePath: path, MaxFileSize: maxSize, MaxFiles: maxFiles})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func write(t *testing.T, s *Sink, values ...string) {
	t.Helper()
	if err := s.Write(t.Context(), [][]byte{group(values...)}); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != want {
		t.Errorf("%s holds %q (%v), want %q", filepath.Base(path), b, err, want)
	}
}

func TestLinesAreAppendedAlsoAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "too", "app.jsonl")
	s := open(t, path, 1<<20, 3)
	if err := s.Write(t.Context(), [][]byte{group("a", "b"), group("c")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, open(t, path, 1<<20, 3), "d")
	holds(t, path, lines("a", "b", "c", "d"))
}

func TestRotation(t *testing.T) {
	for name, c := range map[string]struct {
		maxFiles int
		want     []string // newest first
	}{
		"one file":    {1, []string{lines("6")}},
		"two files":   {2, []string{lines("6"), lines("4", "5")}},
		"enough room": {9, []string{lines("6"), lines("4", "5"), lines("2", "3"), lines("0", "1")}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "app.jsonl")
			s := open(t, path, int64(len(line("0"))*2), c.maxFiles)
			for i := range 7 {
				write(t, s, fmt.Sprint(i))
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != len(c.want) {
				t.Errorf("%d files (%v), want %d", len(entries), err, len(c.want))
			}
			for i, want := range c.want {
				p := path
				if i > 0 {
					p += "." + fmt.Sprint(i)
				}
				holds(t, p, want)
			}
		})
	}
}

func TestAWriteLargerThanTheLimitStaysWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.jsonl")
	s := open(t, path, 10, 3)
	write(t, s, "a", "b", "c")
	write(t, s, "d", "e")
	holds(t, path, lines("d", "e"))
	holds(t, path+".1", lines("a", "b", "c"))
}

func TestRotationAfterARestartCountsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.jsonl")
	limit := int64(len(line("0")) * 2)
	write(t, open(t, path, limit, 3), "0", "1")
	write(t, open(t, path, limit, 3), "2")
	holds(t, path, lines("2"))
	holds(t, path+".1", lines("0", "1"))
}

func TestALineThatACrashCutIsTakenBack(t *testing.T) {
	for name, c := range map[string]struct{ before, want string }{
		"empty":                {"", line("x")},
		"whole lines":          {lines("a", "b"), lines("a", "b", "x")},
		"cut line":             {lines("a") + line("b")[:15], lines("a", "x")},
		"cut in the first key": {lines("a") + line("b")[:4], lines("a", "x")},
		"only a cut line":      {line("b")[:15], line("x")},
		"somebody's text":      {"hello", "hello\n" + line("x")},
		"a long cut line":      {lines("a") + line(strings.Repeat("b", 200_000))[:150_000], lines("a", "x")},
	} {
		path := filepath.Join(t.TempDir(), "app.jsonl")
		if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
			t.Fatal(err)
		}
		write(t, open(t, path, 1<<20, 3), "x")
		b, err := os.ReadFile(path)
		if err != nil || string(b) != c.want {
			t.Errorf("%s: %.200q (%v), want %.200q", name, b, err, c.want)
		}
	}
}

// A sparse file stands for a large one without line ends.
func TestTextOfOthersIsNeverTakenBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.jsonl")
	const size = maxCut + 100_000
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size-1); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("{"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	write(t, open(t, path, 1<<40, 3), "x")
	b := make([]byte, 2+len(line("x")))
	if f, err = os.Open(path); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(b, size-1); err != nil || string(b) != "{\n"+line("x") {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestFileThatSomebodyMovesRemovesOrEmptiesIsMadeAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.jsonl")
	s := open(t, path, 1<<20, 3)
	write(t, s, "a")
	if err := os.Rename(path, path+".bak"); err != nil {
		t.Fatal(err)
	}
	write(t, s, "b")
	holds(t, path, lines("b"))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, s, "c")
	holds(t, path, lines("c"))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write(t, s, "d")
	holds(t, path, lines("d"))
	holds(t, path+".bak", lines("a"))
}

// faulty is a file on a disk with little room, whose Truncate may fail as well.
type faulty struct {
	*os.File
	room     *int
	truncate *bool
}

var (
	errFull  = errors.New("no space left on device")
	errInput = errors.New("input/output error")
)

func (f *faulty) Write(b []byte) (int, error) {
	take := min(len(b), *f.room)
	*f.room -= take
	n, err := f.File.Write(b[:take])
	if err == nil && take < len(b) {
		err = errFull
	}
	return n, err
}

func (f *faulty) Truncate(size int64) error {
	if !*f.truncate {
		return errInput
	}
	return f.File.Truncate(size)
}

func TestAFullDiskLeavesWholeLinesAndNothingTwice(t *testing.T) {
	text := lines("b", "c")
	for cut := range len(text) {
		for _, canTruncate := range []bool{true, false} {
			path := filepath.Join(t.TempDir(), "app.jsonl")
			s := open(t, path, 1<<20, 3)
			room, truncate := 1<<20, true
			s.open = func(path string) (output, error) {
				f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
				return &faulty{f, &room, &truncate}, err
			}
			if err := s.reopen(); err != nil {
				t.Fatal(err)
			}
			write(t, s, "a")

			room, truncate = cut, canTruncate
			err := s.Write(t.Context(), [][]byte{group("b"), group("c")})
			if !errors.Is(err, errFull) || !strings.Contains(err.Error(), "room") {
				t.Fatalf("got %v", err)
			}
			if canTruncate || cut == 0 {
				holds(t, path, lines("a"))
			} else if !errors.Is(err, errInput) {
				t.Fatalf("got %v", err)
			}
			room = 1 << 20
			if !canTruncate && cut > 0 {
				// Nothing is written behind a cut line.
				if err := s.Write(t.Context(), [][]byte{group("b")}); !errors.Is(err, errInput) {
					t.Fatalf("got %v", err)
				}
			}
			truncate = true
			if err := s.Write(t.Context(), [][]byte{group("b"), group("c")}); err != nil {
				t.Fatal(err)
			}
			holds(t, path, lines("a", "b", "c"))
		}
	}
}

func TestErrorsNameTheFileAndTheRemedy(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"no path": "", "a directory": dir, "below a file": filepath.Join(blocked, "app.jsonl")} {
		_, err := New(&pipeline.FlusherFile{FilePath: path, MaxFileSize: 1, MaxFiles: 1})
		if err == nil || !strings.Contains(err.Error(), "flusher_file") || !strings.Contains(err.Error(), "name") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNoGroupWritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.jsonl")
	s := open(t, path, 1<<20, 3)
	err := s.Write(t.Context(), [][]byte{group("a"), {0x0a, 0xff}})
	if _, ok := sls.AsError(err); !ok {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Write(ctx, [][]byte{group("a")}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	holds(t, path, "")
}

func TestDefaultsAndManyWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.jsonl")
	s := open(t, path, 0, 0)
	if s.maxSize != pipeline.DefaultMaxFileSize || s.maxFiles != pipeline.DefaultMaxFiles {
		t.Errorf("defaults: %d bytes, %d files", s.maxSize, s.maxFiles)
	}
	for i := range 500 {
		write(t, s, fmt.Sprint(i))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		var got map[string]any
		if err := json.Unmarshal([]byte(l), &got); err != nil || got["k"] != fmt.Sprint(i) {
			t.Fatalf("line %d: %q, %v", i, l, err)
		}
	}
}
