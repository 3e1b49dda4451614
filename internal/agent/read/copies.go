package read

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

const (
	// candidateLimit is how many files of a folder are opened that may be a copy, or an
	// archive, of the known one.
	candidateLimit = 1000
	// nameLimit is how many names are kept that fit.
	nameLimit = 100_000
)

// candidate is a file that may hold the known content.
type candidate struct {
	path  string
	rank  int   // how well the name fits; 0 is best
	mtime int64 // unix nanoseconds
}

// candidates returns the files in dir, and depth levels below, whose names match
// accepts. Their mtime is not set.
func candidates(dir string, depth int, match func(name string) (rank int, ok bool)) ([]candidate, error) {
	var list []candidate
	w := walk{left: entryLimit}
	w.folder(dir, depth, func(dir string, e *entry) bool {
		if !e.maybeRegular() {
			return true
		}
		name := string(e.name)
		if rank, ok := match(name); ok {
			list = append(list, candidate{path: filepath.Join(dir, name), rank: rank})
		}
		return len(list) < nameLimit
	})
	return list, w.err
}

// dated returns those of list that are regular files, with their mtime, the most
// likely ones first.
func dated(k *Known, list []candidate) []candidate {
	kept := list[:0]
	for _, c := range list {
		if _, _, mtime, err := Peek(c.path); err == nil {
			c.mtime = mtime
			kept = append(kept, c)
		}
	}
	sortCandidates(k, kept)
	return kept[:min(len(kept), candidateLimit)]
}

// sortCandidates puts first what most likely holds the known content: by name, then
// what was modified soonest after the known file, then what is older, the newest first.
func sortCandidates(k *Known, list []candidate) {
	slices.SortFunc(list, func(a, b candidate) int {
		if c := cmp.Compare(a.rank, b.rank); c != 0 {
			return c
		}
		if x, y := k.older(a.mtime), k.older(b.mtime); x != y {
			if x {
				return 1
			}
			return -1
		}
		c := cmp.Compare(a.mtime, b.mtime)
		if k.Mtime == 0 || k.older(a.mtime) {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.path, b.path))
	})
}

// FindCopy looks for the copy that was made of the known file before it was
// truncated (logrotate's copytruncate): in the folder of path, and depth levels below, a
// regular file of another identity, whose name rotation makes of path's name, and
// whose content confirms the known one. known says which files belong to other
// streams. It returns the file opened, with its path; os.ErrNotExist if there is none.
func FindCopy(k *Known, path string, depth int, known func(Identity) bool) (*os.File, string, error) {
	none := fmt.Errorf("no copy of %s: %w", path, os.ErrNotExist)
	if k.HeadLen == 0 {
		return nil, "", none
	}
	base := filepath.Base(path)
	list, err := candidates(filepath.Dir(path), depth, func(name string) (rank int, ok bool) {
		_, compressed := cutArchive(name)
		return 0, !compressed && Rotated(base, name)
	})
	for _, c := range dated(k, list) {
		if k.older(c.mtime) && !k.strong() {
			continue
		}
		f, facts, _, lerr := Look(c.path)
		if lerr != nil {
			if !errors.Is(lerr, fs.ErrNotExist) && !errors.Is(lerr, ErrNotRegular) {
				err = lerr
			}
			continue
		}
		if facts.Identity != k.Identity && !known(facts.Identity) && SameContent(k, &facts) {
			return f, c.path, nil
		}
		f.Close()
	}
	if err != nil {
		return nil, "", err
	}
	return nil, "", none
}

// Compare says whether a and b have the same content in [from, to), as far as both
// have it: a copy may still be written. One call compares at most half of buf; n is how
// many bytes were equal, and the next call goes on behind them. With equal and n = 0
// one of the two has no more for now.
func Compare(a, b io.ReaderAt, from, to uint64, buf []byte) (equal bool, n uint64, err error) {
	half := min(uint64(len(buf)/2), to-min(from, to))
	if half == 0 {
		return true, 0, nil
	}
	x, y := buf[:half], buf[half:2*half]
	nx, err := a.ReadAt(x, int64(from))
	if err != nil && !errors.Is(err, io.EOF) && nx == 0 {
		return false, 0, err
	}
	ny, err := b.ReadAt(y[:nx], int64(from))
	if err != nil && !errors.Is(err, io.EOF) && ny == 0 {
		return false, 0, err
	}
	x, y = x[:ny], y[:ny]
	if bytes.Equal(x, y) {
		return true, uint64(ny), nil
	}
	i := 0
	for x[i] == y[i] {
		i++
	}
	return false, uint64(i), nil
}
