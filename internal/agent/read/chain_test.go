package read

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestAChainGoesFromTheOldestToTheNewest(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	begin := time.Now()
	add := func(name string, content []byte, age time.Duration) {
		t.Helper()
		write(t, filepath.Join(dir, name), string(content))
		at := begin.Add(-age)
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	add("app.log.3", []byte("c"), 3*time.Minute)
	add("app.log.2", []byte("b"), 2*time.Minute)
	add("app.log.1", []byte("a"), time.Minute)
	add("app.log.5.gz", gzipped(t, "e"), 5*time.Hour) // made last, of what is oldest
	add("app.log.4.zst", zstded(t, "d"), 4*time.Hour)
	add("app.log", []byte("now"), 0)
	add("other.log.1", []byte("x"), time.Minute)
	add("app.log.bak", []byte("x"), time.Minute)
	mkdir(t, dir, "app.log.6")
	if err := os.Symlink("app.log.1", filepath.Join(dir, "app.log.7")); err != nil {
		t.Log("no symbolic links here:", err)
	}
	chain, err := Chain(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range chain {
		names = append(names, filepath.Base(e.Path))
		id, size, mtime, err := Peek(e.Path)
		if err != nil || id != e.Identity || size != e.Size || mtime != e.Mtime {
			t.Errorf("%+v, but %v %d %d, %v", e, id, size, mtime, err)
		}
		if _, compressed := cutArchive(e.Path); compressed != e.Compressed {
			t.Errorf("%s: compressed %v", e.Path, e.Compressed)
		}
	}
	if want := []string{"app.log.5.gz", "app.log.4.zst", "app.log.3", "app.log.2", "app.log.1"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	if chain, err := Chain(filepath.Join(dir, "none", "app.log")); err != nil || len(chain) != 0 {
		t.Errorf("a folder that is not there: %v, %v", chain, err)
	}
}

func TestFilesOfOneTickOfTheClockAreInTheOrderOfTheirNumbers(t *testing.T) {
	dir := t.TempDir()
	for i := range 12 {
		write(t, filepath.Join(dir, fmt.Sprint("a.log.", i+1)), "x")
	}
	list, err := Chain(filepath.Join(dir, "a.log"))
	if err != nil || len(list) != 12 {
		t.Fatal(list, err)
	}
	for i := 1; i < len(list); i++ {
		a, b := &list[i-1], &list[i]
		if a.Birth == b.Birth && a.index() < b.index() {
			t.Errorf("%s comes before %s", a.Path, b.Path)
		}
	}
}
