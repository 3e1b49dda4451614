package read

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	// slowLimit is how many files are looked at one by one where a folder's entries
	// do not tell their inode numbers.
	slowLimit = 10_000
	// siblingLimit is how many folders beside the last one are searched.
	siblingLimit = 1000
)

// ErrTooMany says that a search ended before it had seen everything: the file may
// still be there.
var ErrTooMany = errors.New("read: more entries than a search looks at")

// entry is an entry of a folder.
type entry struct {
	name  []byte      // valid until the next one
	inode uint64      // only if entriesTellInodes
	kind  fs.FileMode // type bits; kindUnknown: the folder does not tell
}

// kindUnknown marks an entry that has to be looked at to know what it is.
const kindUnknown = fs.ModeIrregular

func (e *entry) maybeRegular() bool { return e.kind == 0 || e.kind == kindUnknown }

// walk looks at the entries of folders. It follows no symbolic links to folders.
type walk struct {
	left int   // entries that may still be looked at
	err  error // why something could not be looked at
}

// folder calls each for the entries of dir, and depth levels below it, until it
// returns false.
func (w *walk) folder(dir string, depth int, each func(dir string, e *entry) bool) bool {
	var below []string
	more := true
	err := entries(dir, func(e *entry) bool {
		if w.left--; w.left < 0 {
			w.left, more = 0, false
			w.fail(fmt.Errorf("%w: %s", ErrTooMany, dir))
			return false
		}
		if depth > 0 && (e.kind.IsDir() || e.kind == kindUnknown) {
			path := filepath.Join(dir, string(e.name))
			if e.kind == kindUnknown {
				if fi, err := os.Lstat(path); err == nil {
					e.kind = fi.Mode().Type()
				}
			}
			if e.kind.IsDir() {
				below = append(below, path)
			}
		}
		more = each(dir, e)
		return more
	})
	if err != nil {
		w.fail(err)
	}
	for _, b := range below {
		if !more {
			break
		}
		more = w.folder(b, depth-1, each)
	}
	return more
}

// fail notes the first error that is not only that something is gone.
func (w *walk) fail(err error) {
	if w.err == nil && !gone(err) {
		w.err = err
	}
}

// gone says whether an error means that nothing is at a path: also where a folder
// of it became a file.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

// Search looks for the known file as it has gone from its path: in the folder where it
// was last seen, in those of more, such as the real path of a symbolic link, and
// depth levels below them. Where a folder is gone, or was made again since the file
// was born, the folders beside it are searched too, one level deep. It returns the file
// opened with its new path. The error is os.ErrNotExist if the file is not there, and
// ErrTruncated if it is, by its time of birth, but with other content. Any other
// error says that not everything could be looked at, so that the file may still be there.
func Search(k *Known, lastPath string, depth int, more ...string) (*os.File, string, error) {
	s := search{k: k, walk: walk{left: entryLimit}, slow: walk{left: slowLimit}}
	var dirs []string
	for _, path := range append([]string{lastPath}, more...) {
		if dir := filepath.Dir(path); path != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	// A file that is mounted over another is at its path, and in no folder's entries.
	for _, path := range append([]string{lastPath}, more...) {
		if s.found == nil && path != "" {
			s.try(path)
		}
	}
	for _, dir := range dirs {
		s.in(dir, depth)
	}
	for _, dir := range dirs {
		if s.found == nil && s.moved(dir) {
			for _, beside := range siblings(&s.walk, dir) {
				s.in(beside, 0)
			}
		}
	}
	switch {
	case s.found != nil:
		return s.found, s.path, nil
	case s.truncated:
		return nil, "", ErrTruncated
	case s.err != nil:
		return nil, "", fmt.Errorf("search for %s: %w", lastPath, s.err)
	}
	return nil, "", fmt.Errorf("%s: %w", lastPath, os.ErrNotExist)
}

// search is one search for a file.
type search struct {
	walk
	slow      walk // looks at each file
	k         *Known
	found     *os.File
	path      string
	truncated bool
}

// in searches dir. Entries tell inode numbers at no cost; where they tell none, or
// may tell others than those of the files, the files are looked at too, up to a limit.
func (s *search) in(dir string, depth int) {
	if s.found != nil {
		return
	}
	if entriesTellInodes {
		s.folder(dir, depth, func(dir string, e *entry) bool {
			return e.inode != s.k.Inode || !e.maybeRegular() || s.try(filepath.Join(dir, string(e.name)))
		})
		if s.found != nil || tellsInodes(dir) {
			return
		}
	}
	s.slow.folder(dir, depth, func(dir string, e *entry) bool {
		return !e.maybeRegular() || s.try(filepath.Join(dir, string(e.name)))
	})
	if s.slow.err != nil {
		s.fail(s.slow.err)
	}
}

// try looks whether the file at path is the known one; it returns false if so.
func (s *search) try(path string) bool {
	fi, err := os.Lstat(path)
	if err != nil {
		s.fail(err)
		return true
	}
	if !fi.Mode().IsRegular() || !maybe(fi, s.k) {
		return true
	}
	f, facts, _, err := Look(path)
	if err != nil {
		if inodeSure && !errors.Is(err, ErrNotRegular) {
			s.fail(err) // it is the file, or has its number on another device
		}
		return true
	}
	switch Decide(s.k, &facts) {
	case Same:
		s.found, s.path = f, path
		return false
	case Truncated:
		s.truncated = s.truncated || s.k.Birth != 0 && s.k.Birth == facts.Birth && s.k.Dev == facts.Dev
	case Other:
	}
	f.Close()
	return true
}

// moved says whether the folder dir may have another path now: it is gone, or is
// younger than the file.
func (s *search) moved(dir string) bool {
	d, err := openDir(dir)
	if err != nil {
		return gone(err)
	}
	defer d.Close()
	id, _, _, err := Stat(d)
	return err == nil && id.Birth != 0 && s.k.Birth != 0 && id.Birth >= s.k.Birth // clocks of file systems tick slowly
}

// siblings returns the folders beside dir, those first whose names begin like its own.
func siblings(w *walk, dir string) []string {
	up, base := filepath.Dir(dir), filepath.Base(dir)
	if up == dir {
		return nil
	}
	var alike, other []string
	w.folder(up, 0, func(up string, e *entry) bool {
		if e.kind.IsDir() || e.kind == kindUnknown {
			switch name := string(e.name); {
			case name == base:
			case strings.HasPrefix(name, base):
				alike = append(alike, filepath.Join(up, name))
			case len(other) < siblingLimit:
				other = append(other, filepath.Join(up, name))
			}
		}
		return true
	})
	all := slices.Concat(alike, other)
	return all[:min(len(all), siblingLimit)]
}

// linkLimit is how many symbolic links lead from one path to a file.
const linkLimit = 40

// Resolve returns the path of the file that path leads to, with no symbolic link in
// it. The file itself need not exist: the target of a link is gone for a moment when it
// is rotated. Its folder must. Links that lead in a circle are an error.
func Resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for range linkLimit {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, filepath.Base(path))
		fi, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && fi.Mode()&fs.ModeSymlink == 0 {
			return path, nil
		}
		if err != nil {
			return "", err
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if path = to; !filepath.IsAbs(to) {
			path = filepath.Join(dir, to)
		}
	}
	return "", fmt.Errorf("%s: more than %d symbolic links, one behind the other", path, linkLimit)
}
