package read

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Entry is a file of a chain.
type Entry struct {
	Path string
	Identity
	Size       int64 // as it lies on disk, also of an archive
	Mtime      int64 // unix nanoseconds
	Compressed bool  // by its name
}

// chainLimit is how many files of a chain are told.
const chainLimit = 10_000

// Chain returns the files in path's folder whose names rotation makes of path's
// name, compressed ones too, without the file at path itself, from the oldest to the
// newest. A file's age is its time of birth; an archive, which is born later than the
// next file, and a file whose birth is not known, is as old as its content: by mtime.
func Chain(path string) ([]Entry, error) {
	base := filepath.Base(path)
	list, err := candidates(filepath.Dir(path), 0, func(name string) (int, bool) { return 0, Rotated(base, name) })
	if err != nil {
		return nil, err
	}
	var chain []Entry
	for _, c := range list {
		id, size, mtime, err := Peek(c.path)
		if err != nil {
			continue // gone, or no file
		}
		_, compressed := cutArchive(c.path)
		chain = append(chain, Entry{c.path, id, size, mtime, compressed})
	}
	slices.SortFunc(chain, func(a, b Entry) int {
		// Clocks of file systems tick every few milliseconds.
		return cmp.Or(cmp.Compare(a.age(), b.age()), cmp.Compare(b.index(), a.index()), cmp.Compare(a.Mtime, b.Mtime), cmp.Compare(a.Path, b.Path))
	})
	return chain[max(0, len(chain)-chainLimit):], nil
}

// index is the number at the end of the name, which rises with the age; -1: there is none.
func (e *Entry) index() int {
	plain, _ := cutArchive(e.Path)
	n, err := strconv.Atoi(strings.TrimPrefix(filepath.Ext(plain), "."))
	if err != nil || n > maxIndex { // a date, more likely
		return -1
	}
	return n
}

// maxIndex is the highest number that counts rotations.
const maxIndex = 99_999

func (e *Entry) age() int64 {
	if e.Birth == 0 || e.Compressed {
		return e.Mtime
	}
	return e.Birth
}
