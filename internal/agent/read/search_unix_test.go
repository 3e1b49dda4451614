//go:build !windows

package read

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestNothingButFilesIsOpened puts everything into a folder that a search may meet.
func TestNothingButFilesIsOpened(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	write(t, path, lines("app", 5000))
	k := knownOf(t, path, 3000)
	for _, name := range []string{"app.log.1", "app.log.2.gz", "fifo"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(t, dir, "app.log.3")
	mkdir(t, dir, "app.log.4.gz")
	for link, to := range map[string]string{
		"app.log.5": "app.log.5", "app.log.6.gz": "nowhere", "app.log.7": ".", "loop": "..", "app.log.8": "fifo",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	socket, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Log("no socket:", err) // its path is too long here
	} else {
		defer socket.Close()
	}
	for range 2 { // with the file, and without
		_, copyAt, err := FindCopy(k, path, 5, nobody)
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a copy at %s, %v", copyAt, err)
		}
		if _, where, err := SearchCompressed(k, path, "", 5); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("an archive at %s, %v", where, err)
		}
		if chain, err := Chain(path); err != nil || len(chain) != 0 {
			t.Errorf("a chain of %v, %v", chain, err)
		}
		if err := os.Remove(path); err == nil {
			if _, where, err := Search(k, path, 5); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file at %s, %v", where, err)
			}
		}
	}
	fifo := filepath.Join(dir, "fifo")
	if _, where, err := Search(k, filepath.Join(fifo, "app.log"), 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a FIFO: %s, %v", where, err)
	}
	for _, path := range []string{fifo, filepath.Join(dir, "app.log.5")} {
		if _, err := OpenCompressed(path); err == nil {
			t.Errorf("%s is an archive", path)
		}
	}
}
