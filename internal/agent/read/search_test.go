package read

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// fill makes n empty files in dir.
func fill(t testing.TB, dir string, n int) {
	t.Helper()
	for i := range n {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("file-%06d.log", i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

func TestAFileIsFoundAmongMany(t *testing.T) {
	dir := t.TempDir()
	n := 3000
	if runtime.GOOS != "linux" {
		n = 2000
	}
	fill(t, dir, n/2)
	path := filepath.Join(dir, "app.log")
	write(t, path, lines("app", 5000))
	k := knownOf(t, path, 3000)
	rename(t, path, filepath.Join(dir, "zzz"))
	fill(t, dir, n)
	f, where, err := Search(k, path, 0)
	if err != nil || where != filepath.Join(dir, "zzz") {
		t.Fatalf("%s, %v", where, err)
	}
	f.Close()
	remove(t, where)
	if _, where, err := Search(k, path, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone: %s, %v", where, err)
	}
}

func TestAFileIsFoundWhenItsFolderMoved(t *testing.T) {
	for _, c := range []struct {
		name  string
		move  func(t *testing.T, dir string) (where string)
		found bool
	}{
		{"renamed", func(t *testing.T, dir string) string {
			rename(t, dir, dir+".old")
			return dir + ".old"
		}, true},
		{"renamed and made again", func(t *testing.T, dir string) string {
			rename(t, dir, dir+"-1")
			mkdir(t, dir)
			write(t, filepath.Join(dir, "app.log"), "new\n")
			return dir + "-1"
		}, true},
		{"to another place beside it", func(t *testing.T, dir string) string {
			to := filepath.Join(filepath.Dir(dir), "archive")
			rename(t, dir, to)
			return to
		}, true},
		{"removed", func(t *testing.T, dir string) string {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			return ""
		}, false},
		{"removed with the one above", func(t *testing.T, dir string) string {
			if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
				t.Fatal(err)
			}
			return ""
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			above := t.TempDir()
			dir := mkdir(t, above, "top", "logs")
			for i := range 10 {
				mkdir(t, above, "top", fmt.Sprint("beside", i))
			}
			path := filepath.Join(dir, "app.log")
			write(t, path, lines("app", 5000))
			k := knownOf(t, path, 3000)
			if k.Birth == 0 && c.name == "renamed and made again" {
				t.Skip("no times of birth here")
			}
			where := c.move(t, dir)
			f, got, err := Search(k, path, 0)
			if !c.found {
				if !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s, %v", got, err)
				}
				return
			}
			if err != nil || got != filepath.Join(where, "app.log") {
				t.Fatalf("%s, %v", got, err)
			}
			f.Close()
		})
	}
}

func TestAFileBehindALinkIsFoundInItsOwnFolder(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(mkdir(t, dir, "real"), "app.log")
	link := filepath.Join(mkdir(t, dir, "links"), "current.log")
	write(t, real, lines("app", 5000))
	if err := os.Symlink(real, link); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	k := knownOf(t, link, 3000)
	resolved, err := Resolve(link)
	if want, _ := filepath.EvalSymlinks(real); err != nil || resolved != want {
		t.Fatalf("%s, %v; want %s", resolved, err, want)
	}
	rename(t, real, real+".1")
	write(t, real, "new\n")
	if _, where, err := Search(k, link, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("found by the link's folder: %s, %v", where, err)
	}
	f, where, err := Search(k, link, 0, resolved)
	if err != nil || where != resolved+".1" {
		t.Fatalf("%s, %v", where, err)
	}
	f.Close()
}

func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(mkdir(t, dir, "a", "b"), "app.log")
	write(t, file, "x")
	for link, to := range map[string]string{
		"file": file, "relative": filepath.Join("a", "b", "app.log"), "twice": "file", "dir": "a", "gone": filepath.Join("a", "none.log"),
		"circle1": "circle2", "circle2": "circle1", "nowhere": filepath.Join("none", "app.log"), "self": "self",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
	for _, c := range []struct{ path, want string }{
		{"a/b/app.log", "a/b/app.log"},
		{"file", "a/b/app.log"},
		{"relative", "a/b/app.log"},
		{"twice", "a/b/app.log"},
		{"dir/b/app.log", "a/b/app.log"},
		{"dir/../dir/b/new.log", "a/b/new.log"},
		{"gone", "a/none.log"},
		{"circle1", ""},
		{"self", ""},
		{"self/app.log", ""},
		{"nowhere", ""},
		{"none/app.log", ""},
	} {
		got, err := Resolve(filepath.Join(dir, filepath.FromSlash(c.path)))
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: %s", c.path, got)
			}
		} else if want := filepath.Join(dir, filepath.FromSlash(c.want)); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", c.path, got, err, want)
		}
	}
}

func TestARewrittenFileIsTold(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	write(t, path, lines("app", 5000))
	k := knownOf(t, path, 3000)
	if k.Birth == 0 {
		t.Skip("no times of birth here")
	}
	rename(t, path, path+".1")
	write(t, path+".1", lines("other", 5000))
	if _, where, err := Search(k, path, 0); !errors.Is(err, ErrTruncated) {
		t.Errorf("%s, %v", where, err)
	}
}

func TestAFolderThatCannotBeReadIsNoProofOfAbsence(t *testing.T) {
	if os.Getuid() <= 0 {
		t.Skip("the superuser, or Windows, may read every folder")
	}
	dir := mkdir(t, t.TempDir(), "closed")
	path := filepath.Join(dir, "app.log")
	write(t, path, lines("app", 5000))
	k := knownOf(t, path, 3000)
	rename(t, path, path+".1")
	if err := os.Chmod(dir, 0o300); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700) }) //nolint:errcheck // for the removal
	if _, where, err := Search(k, path, 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%s, %v", where, err)
	}
	if _, where, err := FindCopy(k, path, 0, nobody); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%s, %v", where, err)
	}
	if _, where, err := SearchCompressed(k, path, "", 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%s, %v", where, err)
	}
	if chain, err := Chain(path); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v, %v", chain, err)
	}
}

// BenchmarkSearch looks for a file that is not among 100,000 others: its folder has
// to be read to the end.
func BenchmarkSearch(b *testing.B) {
	dir := b.TempDir()
	fill(b, dir, 100_000)
	path := filepath.Join(dir, "app.log")
	write(b, path, lines("app", 5000))
	k := knownOf(b, path, 3000)
	remove(b, path)
	for b.Loop() {
		if _, _, err := Search(k, path, 0); !errors.Is(err, os.ErrNotExist) {
			b.Fatal(err)
		}
	}
}

// BenchmarkFindCopy looks for the copy of a file in a folder with 100,000 others.
func BenchmarkFindCopy(b *testing.B) {
	dir := b.TempDir()
	fill(b, dir, 100_000)
	path := filepath.Join(dir, "app.log")
	write(b, path, lines("app", 5000))
	k := knownOf(b, path, 3000)
	write(b, path+".1", lines("app", 5000))
	for b.Loop() {
		f, _, err := FindCopy(k, path, 0, nobody)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
