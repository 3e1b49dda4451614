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
// whose content confirms the known one; of several the longest, as the others were made
// before. known says which files belong to other streams. It returns the file opened, with its path;
// os.ErrNotExist if there is none.
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
	var found *os.File
	var at string
	var size int64
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
		if facts.Identity == k.Identity || facts.Size <= size || known(facts.Identity) || !SameContent(k, &facts) {
			f.Close()
			continue
		}
		if found != nil {
			found.Close()
		}
		found, at, size = f, c.path, facts.Size
	}
	switch {
	case found != nil:
		return found, at, nil
	case err != nil:
		return nil, "", err
	}
	return nil, "", none
}

// Compare says whether a and b have the same content in [from, to); same is the offset
// up to which they do. It reads in steps of half of buf. Where one of them ends
// before to, as a copy that is still being written, what both have is compared, and the
// error is io.ErrUnexpectedEOF; the next call goes on at same.
func Compare(a, b io.ReaderAt, from, to uint64, buf []byte) (equal bool, same uint64, err error) {
	half := len(buf) / 2
	for same = from; same < to; {
		n := int(min(uint64(half), to-same))
		x, err := readSome(a, buf[:n], same)
		if err != nil {
			return true, same, err
		}
		y, err := readSome(b, buf[half:half+len(x)], same)
		if err != nil {
			return true, same, err
		}
		x = x[:len(y)]
		if !bytes.Equal(x, y) {
			for i := range x {
				if x[i] != y[i] {
					return false, same + uint64(i), nil
				}
			}
		}
		same += uint64(len(x))
	}
	return true, same, nil
}

// readSome reads at most len(buf) bytes at off. It is io.ErrUnexpectedEOF if there are none.
func readSome(r io.ReaderAt, buf []byte, off uint64) ([]byte, error) {
	n, err := r.ReadAt(buf, int64(off))
	switch {
	case n > 0:
		return buf[:n], nil
	case err == nil, errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	}
	return nil, err
}
