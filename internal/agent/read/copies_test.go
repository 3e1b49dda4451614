package read

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func nobody(Identity) bool { return false }

func TestTheCopyOfATruncatedFileIsFound(t *testing.T) {
	content := lines("app", 100_000)
	for _, c := range []struct {
		name, copied, content string
		depth                 int
		found                 bool
	}{
		{"an index", "app.log.1", content, 0, true},
		{"a date", "app.log-20261121", content, 0, true},
		{"an extension", "app-20261121.log", content, 0, true},
		{"below", "old/app.log.1", content, 1, true},
		{"below, not searched", "old/app.log.1", content, 0, false},
		{"as far as it was read", "app.log.1", content[:50_000], 0, true},
		{"still being written", "app.log.1", content[:49_999], 0, false},
		{"another name", "backup.log", content, 0, false},
		{"compressed", "app.log.1.gz", content, 0, false},
		{"another content", "app.log.1", lines("other", 100_000), 0, false},
		{"another content at its end", "app.log.1", content[:40_000] + strings.Repeat("x", 60_000), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "app.log")
			write(t, path, content)
			k := knownOf(t, path, 50_000)
			where := filepath.Join(dir, c.copied)
			mkdir(t, filepath.Dir(where))
			write(t, where, c.content)
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
			f, got, err := FindCopy(k, path, c.depth, nobody)
			if !c.found {
				if !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s, %v", got, err)
				}
				return
			}
			if err != nil || got != where {
				t.Fatalf("%s, %v", got, err)
			}
			f.Close()
			_, facts := look(t, where)
			owned := func(id Identity) bool { return id == facts.Identity }
			if _, got, err := FindCopy(k, path, c.depth, owned); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("another stream's file: %s, %v", got, err)
			}
		})
	}
}

func TestCopiesOfShortFilesAreFoundByTime(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	write(t, path, "started\n")
	k := knownOf(t, path, 8)
	for i, age := range []int{300, 200, 100, -100} {
		name := fmt.Sprintf("%s.%d", path, i+1)
		write(t, name, "started\n")
		modified(t, name, k, age)
	}
	f, where, err := FindCopy(k, path, 0, nobody)
	if err != nil || where != path+".3" {
		t.Fatalf("%s, %v", where, err)
	}
	f.Close()
	for i := range 3 {
		remove(t, fmt.Sprintf("%s.%d", path, i+1))
	}
	if _, where, err := FindCopy(k, path, 0, nobody); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a copy that is older than the file: %s, %v", where, err)
	}
	write(t, path+".1", "")
	if _, where, err := FindCopy(&Known{Identity: k.Identity}, path, 0, nobody); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing is known of the content: %s, %v", where, err)
	}
}

func TestAFileIsNoCopyOfItself(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	write(t, path, lines("app", 5000))
	k := knownOf(t, path, 2000)
	if err := os.Link(path, path+".1"); err != nil {
		t.Skip("no hard links here:", err)
	}
	if _, where, err := FindCopy(k, path, 0, nobody); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s, %v", where, err)
	}
}

func TestCompareGoesAsFarAsBothReach(t *testing.T) {
	content := []byte(lines("app", 10_000))
	other := bytes.Clone(content)
	other[7777]++
	short := io.ErrUnexpectedEOF
	for _, c := range []struct {
		name     string
		b        []byte
		from, to uint64
		buf      int
		equal    bool
		same     uint64
		err      error
	}{
		{"equal", content, 0, 9000, 100_000, true, 9000, nil},
		{"equal, in small steps", content, 10, 9000, 20, true, 9000, nil},
		{"one is shorter", content[:5000], 0, 9000, 1000, true, 5000, short},
		{"one is shorter, and other", other[:8000], 0, 9000, 1000, false, 7777, nil},
		{"another byte", other, 0, 9000, 1000, false, 7777, nil},
		{"another first byte", other, 7777, 9000, 1000, false, 7777, nil},
		{"another byte behind the end", other, 0, 7777, 1000, true, 7777, nil},
		{"another byte before the beginning", other, 7778, 9000, 1000, true, 9000, nil},
		{"nothing to compare", content, 100, 100, 1000, true, 100, nil},
		{"backwards", content, 100, 50, 1000, true, 100, nil},
		{"behind the end", content[:50], 100, 200, 1000, true, 100, short},
		{"empty", nil, 0, 200, 1000, true, 0, short},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := bytes.NewReader(content), bytes.NewReader(c.b)
			for _, pair := range [][2]*bytes.Reader{{a, b}, {b, a}} {
				equal, same, err := Compare(pair[0], pair[1], c.from, c.to, make([]byte, c.buf))
				if equal != c.equal || same != c.same || !errors.Is(err, c.err) {
					t.Errorf("equal %v up to %d, %v", equal, same, err)
				}
			}
		})
	}
	closed, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if _, same, err := Compare(bytes.NewReader(content), closed, 0, 10, make([]byte, 100)); same != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("a file that cannot be read is equal up to %d, %v", same, err)
	}
}
