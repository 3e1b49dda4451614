//go:build !linux

package monitor

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// statPath looks at a path; follow says whether a symbolic link is followed.
func statPath(path string, follow bool) (status, error) {
	look := os.Lstat
	if follow {
		look = os.Stat
	}
	fi, err := look(path)
	if err != nil {
		return status{}, err
	}
	return status{id: fileID(fi), size: fi.Size(), mtime: fi.ModTime().UnixNano(), kind: modeKind(fi.Mode())}, nil
}

func modeKind(mode os.FileMode) entryKind {
	switch {
	case mode.IsRegular():
		return kindFile
	case mode.IsDir():
		return kindDir
	case mode&os.ModeSymlink != 0:
		return kindLink
	}
	return kindOther
}

// vanished says whether an error means that nothing is at the path.
func vanished(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP)
}

// readDir calls fn for each entry with its name, its kind and 0 for the inode
// number that it does not know. It returns the directory's time of
// modification before the first entry was read.
func readDir(path string, _ []byte, fn func(name []byte, kind entryKind, ino uint64)) (mtime int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	for {
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			fn([]byte(e.Name()), modeKind(e.Type()), 0)
		}
		if err == io.EOF {
			return fi.ModTime().UnixNano(), nil
		}
		if err != nil {
			return 0, err
		}
	}
}
