package read

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLinksTellWhetherAFileWasDeleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, "hello\n")
	f, _ := look(t, path)
	links := func(want uint64) {
		t.Helper()
		if n, err := Links(f); err != nil || n != want {
			t.Errorf("%d links, %v; want %d", n, err, want)
		}
	}
	links(1)
	if err := os.Link(path, path+".1"); err != nil {
		t.Skip("no hard links here:", err)
	}
	links(2)
	remove(t, path)
	links(1)
	rename(t, path+".1", path)
	links(1)
	remove(t, path)
	links(0)
	if n, err := Len(f); n != 6 || err != nil {
		t.Errorf("its length is %d, %v", n, err)
	}
	f.Close()
	if _, err := Links(f); err == nil {
		t.Error("no error of a closed file")
	}
}
