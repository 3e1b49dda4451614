//go:build !linux && !darwin && !windows

package read

import (
	"os"
	"syscall"
)

// Stat returns the identity, size and modification time (unix nanoseconds) of
// an open file; the birth time is not known here.
func Stat(f *os.File) (id Identity, size, mtime int64, err error) {
	fi, err := f.Stat()
	if err != nil {
		return id, 0, 0, err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id = Identity{Dev: uint64(st.Dev), Inode: uint64(st.Ino)}
	}
	return id, fi.Size(), fi.ModTime().UnixNano(), nil
}
