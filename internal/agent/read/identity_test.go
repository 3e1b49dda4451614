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
	with := func(k Known, change func(*Known)) Known {
		change(&k)
		return k
	}
	empty := Known{Identity: id}
	noBirth := with(known, func(k *Known) { k.Birth = 0 })
	emptyNoBirth := with(empty, func(k *Known) { k.Birth = 0 })
	unread := with(known, func(k *Known) { k.End, k.Tail = 0, 0 })
	noTail := with(known, func(k *Known) { k.Tail = 0 })
	full := with(known, func(k *Known) { k.HeadLen, k.End = HeadBytes, 5000 })
	for _, c := range []struct {
		name       string
		k          Known
		id         Identity
		size       int64
		head, tail uint64
		want       Verdict
		content    bool // SameContent
	}{
		{"unchanged", known, id, 100, 77, 88, Same, true},
		{"grown", known, id, 500, 77, 88, Same, true},
		{"grown beyond what the head covers", known, id, 5000, 77, 88, Same, true},
		{"known in full, grown", full, id, 9000, 77, 88, Same, true},
		{"not read yet, grown", unread, id, 500, 77, 1, Same, true},
		{"the place's content is not known", noTail, id, 500, 77, 1, Same, true},
		{"empty as it was", empty, id, 0, 0, 0, Same, false},
		{"was empty, has grown", empty, id, 500, 1, 1, Same, false},
		{"empty as it was, birth time not told", emptyNoBirth, Identity{1, 2, 0}, 0, 0, 0, Same, false},

		{"another inode", known, Identity{1, 9, 3}, 100, 77, 88, Other, true},
		{"another inode, equal head, shorter", known, Identity{1, 9, 4}, 50, 77, 0, Other, false},
		{"replaced by an editor: another inode, the same content", full, Identity{1, 9, 4}, 9000, 77, 88, Other, true},
		{"copied up by overlayfs: inode and device changed, the same content", full, Identity{5, 9, 4}, 9000, 77, 88, Other, true},
		{"two empty files", empty, Identity{1, 9, 4}, 0, 0, 0, Other, false},
		{"inode used again", known, Identity{1, 2, 9}, 100, 77, 88, Other, true},
		{"inode used again, equal head, grown past the offset", known, Identity{1, 2, 9}, 500, 77, 1, Other, false},
		{"inode used again by an empty file", known, Identity{1, 2, 9}, 0, 0, 0, Other, false},
		{"inode of an empty file used again by one", empty, Identity{1, 2, 9}, 0, 0, 0, Other, false},

		{"device renumbered, same content", known, Identity{5, 2, 3}, 100, 77, 88, Same, true},
		{"device renumbered, grown", full, Identity{5, 2, 3}, 9000, 77, 88, Same, true},
		{"device renumbered, truncated below the offset", full, Identity{5, 2, 3}, 4000, 77, 0, Truncated, false},
		{"device renumbered, other content", known, Identity{5, 2, 3}, 100, 1, 88, Other, false},
		{"device renumbered, nothing to confirm it", empty, Identity{5, 2, 3}, 100, 1, 88, Other, false},
		{"device renumbered, both empty", empty, Identity{5, 2, 3}, 0, 0, 0, Other, false},
		{"device renumbered, another birth", known, Identity{5, 2, 4}, 100, 77, 88, Other, true},

		{"truncated to nothing", known, id, 0, 0, 0, Truncated, false},
		{"truncated into its head", known, id, 5, 0, 0, Truncated, false},
		{"truncated below the offset, same head", known, id, 50, 77, 0, Truncated, false},
		{"truncated and grown past the offset, other head", known, id, 500, 1, 88, Truncated, false},
		{"truncated and grown past the offset, equal head", known, id, 500, 77, 1, Truncated, false},
		{"truncated before it was read, equal size", unread, id, 100, 1, 0, Truncated, false},

		{"birth time not told, unchanged", noBirth, Identity{1, 2, 0}, 100, 77, 88, Same, true},
		{"birth time told now", noBirth, id, 100, 77, 88, Same, true},
		{"birth time not told any more", known, Identity{1, 2, 0}, 100, 77, 88, Same, true},
		{"birth time not told, other content", noBirth, Identity{1, 2, 0}, 100, 1, 88, Truncated, false},
		{"birth time not told, equal head, other content", noBirth, Identity{1, 2, 0}, 500, 77, 1, Truncated, false},
		{"birth time not told, shorter", noBirth, Identity{1, 2, 0}, 20, 77, 0, Truncated, false},
		{"birth time not told, mounted again", noBirth, Identity{5, 2, 0}, 500, 77, 88, Same, true},
		{"birth time not told, another device, shorter", noBirth, Identity{5, 2, 0}, 20, 77, 0, Other, false},
		{"birth time not told, another device, other content", noBirth, Identity{5, 2, 0}, 500, 1, 1, Other, false},
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
			if got := SameContent(&c.k, &f); got != c.content {
				t.Errorf("the same content: %v", got)
			}
		})
	}
}

// TestIdentityOfRealFiles does to a file what programs and people do.
func TestIdentityOfRealFiles(t *testing.T) {
	short, long := "started\n", lines("app", 5000)
	nul := strings.Repeat("\x00", 2000)
	for _, c := range []struct {
		name    string
		content string
		change  func(t *testing.T, path string)
		want    Verdict
	}{
		{"nothing", long, func(*testing.T, string) {}, Same},
		{"appended", short, func(t *testing.T, path string) { add(t, path, long) }, Same},
		{"an empty file is written", "", func(t *testing.T, path string) { add(t, path, long) }, Same},
		{"NUL bytes at its beginning", nul + long, func(t *testing.T, path string) { add(t, path, nul) }, Same},
		{"other content behind equal NUL bytes", nul + long, func(t *testing.T, path string) {
			write(t, path, nul+lines("other", 6000))
		}, Truncated},
		{"a writer goes on behind the truncation, as without O_APPEND", long, func(t *testing.T, path string) {
			write(t, path, strings.Repeat("\x00", len(long))+"next\n")
		}, Truncated},
		{"reached by a hard link", long, func(t *testing.T, path string) {
			if err := os.Link(path, path+".link"); err != nil {
				t.Skip("no hard links here:", err)
			}
			remove(t, path)
			rename(t, path+".link", path)
		}, Same},
		{"replaced by an editor", long, func(t *testing.T, path string) {
			write(t, path+".swp", long+"one line more\n")
			rename(t, path+".swp", path)
		}, Other},
		{"removed and made again with an equal head", short, func(t *testing.T, path string) {
			keep, err := Open(path) // so that its inode is not used again
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { keep.Close() })
			remove(t, path)
			write(t, path, short+"again\n")
		}, Other},
		{"truncated and written with an equal head", short + "one\n", func(t *testing.T, path string) {
			write(t, path, short+"two, and longer than before\n")
		}, Truncated},
		{"truncated and written with less", long, func(t *testing.T, path string) { write(t, path, short) }, Truncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.log")
			write(t, path, c.content)
			k := knownOf(t, path, uint64(len(c.content)))
			if c.content == short+"one\n" {
				k.HeadLen = len(short) // it was that short when it was first read
				f, _ := look(t, path)
				k.Head, _ = HashHead(f, k.HeadLen)
			}
			c.change(t, path)
			_, facts := look(t, path)
			if got := Decide(k, &facts); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func add(t *testing.T, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func look(t testing.TB, path string) (*os.File, Facts) {
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
