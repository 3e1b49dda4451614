package read

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"logtail/internal/delivery"
)

func TestDecide(t *testing.T) {
	id := Identity{Dev: 1, Inode: 2, Birth: 3}
	known := Known{Identity: id, HeadLen: 10, Head: 77, End: 100, Tail: 88}
	empty := Known{Identity: id}
	noBirth := known
	noBirth.Birth = 0
	for _, c := range []struct {
		name       string
		k          Known
		id         Identity
		size       int64
		head, tail uint64
		want       Verdict
	}{
		{"unchanged", known, id, 100, 77, 88, Same},
		{"grown", known, id, 500, 77, 88, Same},
		{"empty as it was", empty, id, 0, 0, 0, Same},
		{"was empty, has grown", empty, id, 500, 1, 1, Same},
		{"another inode", known, Identity{1, 9, 3}, 100, 77, 88, Other},
		{"inode used again", known, Identity{1, 2, 9}, 100, 77, 88, Other},
		{"device renumbered, same content", known, Identity{5, 2, 3}, 100, 77, 88, Same},
		{"device renumbered, other content", known, Identity{5, 2, 3}, 100, 1, 88, Other},
		{"device renumbered, nothing to confirm it", empty, Identity{5, 2, 3}, 100, 1, 88, Other},
		{"truncated to nothing", known, id, 0, 0, 0, Truncated},
		{"truncated below the offset, same head", known, id, 50, 77, 0, Truncated},
		{"truncated and grown past the offset, other head", known, id, 500, 1, 88, Truncated},
		{"truncated and grown past the offset, equal head", known, id, 500, 77, 1, Truncated},
		{"birth time not told, unchanged", noBirth, Identity{1, 2, 0}, 100, 77, 88, Same},
		{"birth time not told any more", known, Identity{1, 2, 0}, 100, 77, 88, Same},
		{"birth time not told, other content", noBirth, Identity{1, 2, 0}, 100, 1, 88, Truncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Facts{
				Identity: c.id, Size: c.size,
				Head: func(n int) (uint64, bool) { return c.head, int64(n) <= c.size },
				Tail: func(end uint64) (uint64, bool) { return c.tail, int64(end) <= c.size },
			}
			if got := Decide(&c.k, &f); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func look(t *testing.T, path string) (*os.File, Facts) {
	t.Helper()
	f, facts, _, err := Look(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, facts
}

func TestARenamedFileIsFoundInItsFolder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	write(t, path, strings.Repeat("line\n", 100))
	f, facts := look(t, path)
	head, _ := HashHead(f, 100)
	tail, _ := HashBefore(f, 200)
	k := Known{Identity: facts.Identity, HeadLen: 100, Head: head, End: 200, Tail: tail}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path, "new\n")
	_, newFacts := look(t, path)
	if got := Decide(&k, &newFacts); got != Other {
		t.Errorf("the successor is %v", got)
	}
	found, where, err := Search(&k, path, 0)
	if err != nil {
		t.Fatal(err)
	}
	found.Close()
	if where != path+".1" {
		t.Errorf("found at %s", where)
	}
	archive := filepath.Join(dir, "archive")
	if err := os.Mkdir(archive, 0o700); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(archive, "app.log.1")
	if err := os.Rename(path+".1", moved); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Search(&k, path, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("found below the folder at depth 0: %v", err)
	}
	if found, where, err := Search(&k, path, 1); err != nil || where != moved {
		t.Errorf("not found one level below: %s, %v", where, err)
	} else {
		found.Close()
	}
	os.Remove(moved)
	f.Close()
	if _, _, err := Search(&k, path, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
}

func TestChunkComparesWhatStandsBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	content := strings.Repeat("0123456789", 20)
	write(t, path, content)
	f, _ := look(t, path)
	buf := make([]byte, 100+Overlap)
	for _, off := range []uint64{0, 10, 64, 100, 199, 200} {
		tail := delivery.TailHash([]byte(content[:off]))
		before, got, err := Chunk(f, off, tail, buf)
		if err != nil {
			t.Fatalf("offset %d: %v", off, err)
		}
		end := min(len(content), int(off)+len(buf)-len(before))
		if string(got) != content[off:end] || delivery.TailHash(before) != tail {
			t.Errorf("offset %d: got %q", off, got)
		}
		if off > 0 {
			if _, _, err := Chunk(f, off, tail+1, buf); !errors.Is(err, ErrTruncated) {
				t.Errorf("offset %d with other content before: %v", off, err)
			}
		}
	}
	if _, _, err := Chunk(f, 300, 1, buf); !errors.Is(err, ErrTruncated) {
		t.Errorf("behind the end: %v", err)
	}
}

func TestOnlyRegularFilesAreLogFiles(t *testing.T) {
	dir := t.TempDir()
	if _, _, _, err := Look(dir); !errors.Is(err, ErrNotRegular) {
		t.Errorf("a folder: %v", err)
	}
	if _, _, _, err := Look(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

func TestAlignTailStartsWithALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	content := strings.Repeat("0123456\n", 2000) + strings.Repeat("x", 200<<10)
	write(t, path, content)
	f, _ := look(t, path)
	for _, c := range []struct{ off, want uint64 }{{0, 0}, {1, 8}, {8, 8}, {9, 16}, {15999, 16000}, {16000, 16000}, {16001, 16001}} {
		start, hash, err := AlignTail(f, c.off)
		if err != nil || start != c.want || hash != delivery.TailHash([]byte(content[:c.want])) {
			t.Errorf("from %d: got %d, %v; want %d", c.off, start, err, c.want)
		}
	}
}

func TestPeekSeesWhatLookSees(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, "hello\n")
	_, facts := look(t, path)
	id, size, mtime, err := Peek(path)
	if err != nil || id != facts.Identity || size != 6 || mtime == 0 {
		t.Errorf("got %+v, %d bytes, %v", id, size, err)
	}
	if _, _, _, err := Peek(filepath.Dir(path)); !errors.Is(err, ErrNotRegular) {
		t.Errorf("a folder: %v", err)
	}
}
