package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all room of a file system and returns what gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "junk")
	w, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, size := range []int{64 << 10, 4 << 10, 1} {
		for {
			if _, err := w.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

func TestAStateThatCannotBeWrittenHoldsUpNewFilesAndNothingElse(t *testing.T) {
	f := newFixture(t)
	f.data = smallDisk(t, "2m")
	f.append("a.log", "a 0")
	a := f.start()
	want := []string{"a 0"}
	f.store.await(t, want...)
	for round := range 3 {
		free := fill(t, f.data)
		// Enough new streams that the state has to grow.
		var later []string
		for i := range 200 {
			line := fmt.Sprintf("round %d file %d", round, i)
			f.append(fmt.Sprintf("new-%d-%d.log", round, i), line)
			later = append(later, line)
		}
		until(t, "the state cannot be written", a.saver.failed)
		line := fmt.Sprintf("a %d", round+1)
		f.append("a.log", line)
		until(t, "files that are known are collected", func() bool {
			there := false
			f.store.change(func() { there = f.store.tags[line] != "" })
			return there
		})
		want = append(append(want, later...), line)
		free()
		f.store.await(t, want...)
		until(t, "the state is written again", func() bool { return !a.saver.failed() })
	}
	f.stop()
	f.append("a.log", "after the restart")
	f.start()
	f.store.await(t, append(want, "after the restart")...)
}
