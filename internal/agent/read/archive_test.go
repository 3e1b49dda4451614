package read

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestARotatedFileIsReadOnFromItsArchive(t *testing.T) {
	content := lines("app", 1<<20)
	for _, c := range []struct {
		name         string
		archive      string // its path below the folder
		last, origin string
		depth        int
		other        []string // archives of other content
		absent       bool
	}{
		{name: "compressed at once", archive: "app.log.1.gz", last: "app.log"},
		{name: "compressed later", archive: "app.log.2.gz", last: "app.log.1", origin: "app.log"},
		{name: "only compressed", archive: "app.log.1.gz", last: "app.log.1", origin: "app.log"},
		{name: "dated", archive: "app.log-20261121.zst", last: "app.log"},
		{name: "extension", archive: "app-20261121.log.gz", last: "app.log"},
		{name: "among others", archive: "app.log.3.gz", last: "app.log", other: []string{"app.log.1.gz", "app.log.2.gz", "app.log.4.gz", "db.log.1.gz"}},
		{name: "one level below", archive: "old/app.log.1.gz", last: "app.log", depth: 1},
		{name: "below what is searched", archive: "old/app.log.1.gz", last: "app.log", absent: true},
		{name: "any name", archive: "backup-of-logs.gz", last: "app.log"},
		{name: "a suffix that is not read", archive: "app.log.1.bz2", last: "app.log", absent: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "app.log")
			write(t, path, content)
			k := knownOf(t, path, 500_000)
			remove(t, path)
			archive := filepath.Join(dir, c.archive)
			mkdir(t, filepath.Dir(archive))
			data := gzipped(t, content)
			if strings.HasSuffix(archive, ".zst") {
				data = zstded(t, content)
			}
			write(t, archive, string(data))
			for _, o := range c.other {
				write(t, filepath.Join(dir, o), string(gzipped(t, lines(o, 100_000))))
			}
			origin := c.origin
			if origin != "" {
				origin = filepath.Join(dir, origin)
			}
			a, where, err := SearchCompressed(k, filepath.Join(dir, c.last), origin, c.depth)
			if c.absent {
				if !errors.Is(err, os.ErrNotExist) {
					t.Fatalf("%s, %v", where, err)
				}
				return
			}
			if err != nil || where != archive || a.Name() != archive {
				t.Fatalf("%s, %v", where, err)
			}
			defer a.Close()
			buf := make([]byte, len(content))
			before, rest, err := Chunk(a, k.End, k.Tail, buf)
			if err != nil || string(rest) != content[k.End:] || len(before) != Overlap {
				t.Errorf("%d bytes, %v", len(rest), err)
			}
		})
	}
}

// TestShortFilesAreFoundByNameAndTime has archives that all begin alike.
func TestShortFilesAreFoundByNameAndTime(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	write(t, path, "started\n")
	k := knownOf(t, path, 8)
	remove(t, path)
	for i, age := range []int{300, 200, 100, -100, -200} { // the youngest has the lowest number
		archive := filepath.Join(dir, fmt.Sprintf("app.log.%d.gz", i+1))
		write(t, archive, string(gzipped(t, fmt.Sprintf("started\nrun %d\n", i+1))))
		modified(t, archive, k, age)
	}
	write(t, filepath.Join(dir, "other.log.1.gz"), string(gzipped(t, "started\nelse\n")))
	a, where, err := SearchCompressed(k, path, "", 0)
	if err != nil || filepath.Base(where) != "app.log.3.gz" {
		t.Fatalf("%s, %v", where, err)
	}
	a.Close()
	for i := range 3 {
		remove(t, filepath.Join(dir, fmt.Sprintf("app.log.%d.gz", i+1)))
	}
	if _, where, err := SearchCompressed(k, path, "", 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an archive that is older than the file: %s, %v", where, err)
	}
	none := *k
	none.HeadLen = 0
	if _, where, err := SearchCompressed(&none, path, "", 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing is known of the content: %s, %v", where, err)
	}
}

func TestAnArchiveThatCannotBeReadYetIsTold(t *testing.T) {
	content := lines("app", 1<<20)
	full := gzipped(t, content)
	damaged := append([]byte{}, full...)
	copy(damaged[len(damaged)/8:], strings.Repeat("\xff", 10_000))
	for _, c := range []struct {
		name    string
		archive []byte
		want    error
	}{
		{"just begun", nil, ErrIncomplete},
		{"only its header", full[:20], ErrIncomplete},
		{"half written", full[:len(full)/4], ErrIncomplete},
		{"damaged before the place", damaged, ErrDamagedArchive},
		{"no archive", []byte("text\n"), os.ErrNotExist},
		{"another content", gzipped(t, lines("other", 1000)), os.ErrNotExist},
		{"too short", gzipped(t, content[:400_000]), os.ErrNotExist},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "app.log")
			write(t, path, content)
			k := knownOf(t, path, 500_000)
			remove(t, path)
			write(t, path+".1.gz", string(c.archive))
			if _, where, err := SearchCompressed(k, path, "", 0); !errors.Is(err, c.want) {
				t.Errorf("%s, %v", where, err)
			}
		})
	}
}

func TestManyArchivesAreNotAllDecompressed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	write(t, path, "started\n")
	k := knownOf(t, path, 8)
	k.Tail++ // so that the head of all of them agrees, and nothing else
	data := string(gzipped(t, "started\n"))
	for i := range 2 * headLimit {
		write(t, filepath.Join(dir, fmt.Sprintf("app.log.%d.gz", i+1)), data)
	}
	if _, _, err := SearchCompressed(k, path, "", 0); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
}
