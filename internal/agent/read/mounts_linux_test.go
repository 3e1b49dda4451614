package read

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// mount mounts something for the duration of the test, which only the superuser may.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only the superuser may mount")
	}
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Skipf("cannot mount %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestAFileIsTheSameInBothPlacesOfABindMount(t *testing.T) {
	dir := t.TempDir()
	here, there := mkdir(t, dir, "here"), mkdir(t, dir, "there")
	mount(t, here, there, "", unix.MS_BIND, "")
	write(t, filepath.Join(here, "app.log"), lines("app", 5000))
	k := knownOf(t, filepath.Join(here, "app.log"), 3000)
	_, facts := look(t, filepath.Join(there, "app.log"))
	if got := Decide(k, &facts); got != Same || facts.Identity != k.Identity {
		t.Errorf("%v: %+v, %+v", got, facts.Identity, k.Identity)
	}
	rename(t, filepath.Join(here, "app.log"), filepath.Join(here, "app.log.1"))
	f, where, err := Search(k, filepath.Join(there, "app.log"), 0)
	if err != nil || where != filepath.Join(there, "app.log.1") {
		t.Fatalf("%s, %v", where, err)
	}
	f.Close()
}

// TestAFileThatIsMountedOverAnotherIsFound has a folder whose entry tells the
// inode number of the file below.
func TestAFileThatIsMountedOverAnotherIsFound(t *testing.T) {
	dir := t.TempDir()
	below, over := filepath.Join(dir, "app.log"), filepath.Join(mkdir(t, dir, "volume"), "real")
	write(t, below, "")
	write(t, over, lines("app", 5000))
	mount(t, over, below, "", unix.MS_BIND, "")
	k := knownOf(t, below, 3000)
	f, where, err := Search(k, below, 0)
	if err != nil || where != below {
		t.Fatalf("%s, %v", where, err)
	}
	f.Close()
}

func TestOverlayfsChangesTheIdentityOfAFileThatIsWritten(t *testing.T) {
	for _, two := range []bool{false, true} { // file systems
		dir := t.TempDir()
		lower, upper, merged := mkdir(t, dir, "lower"), mkdir(t, dir, "upper"), mkdir(t, dir, "merged")
		if two {
			mount(t, "tmpfs", lower, "tmpfs", 0, "size=1m")
		}
		work := mkdir(t, dir, "work")
		content := lines("app", 5000)
		write(t, filepath.Join(lower, "app.log"), content)
		mount(t, "overlay", merged, "overlay", 0, "lowerdir="+lower+",upperdir="+upper+",workdir="+work)
		path := filepath.Join(merged, "app.log")
		k := knownOf(t, path, 3000)
		add(t, path, "written\n")
		f, facts := look(t, path)
		if got := Decide(k, &facts); got == Truncated { // the same, or another one: that differs by kernel
			t.Errorf("the file is %v: before %+v, after %+v", got, k.Identity, facts.Identity)
		}
		if Stable(f) || !SameContent(k, &facts) {
			t.Errorf("stable %v, the same content %v", Stable(f), SameContent(k, &facts))
		}
		// What is in the upper layer stays what it is, wherever it goes.
		k = knownOf(t, path, 3000)
		rename(t, path, path+".1")
		found, where, err := Search(k, path, 0)
		if err != nil || where != path+".1" {
			t.Fatalf("%s, %v", where, err)
		}
		found.Close()
	}
}

func TestInodeNumbersOfLocalFileSystemsAreStable(t *testing.T) {
	dir := t.TempDir()
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=1m")
	write(t, filepath.Join(dir, "app.log"), "x")
	f, _ := look(t, filepath.Join(dir, "app.log"))
	if !Stable(f) || !tellsInodes(dir) {
		t.Errorf("stable %v, told by entries %v", Stable(f), tellsInodes(dir))
	}
}
