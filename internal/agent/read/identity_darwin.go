package read

import (
	"os"
	"syscall"
)

// Stat returns the identity, size and modification time (unix nanoseconds) of an open file.
func Stat(f *os.File) (id Identity, size, mtime int64, err error) {
	fi, err := f.Stat()
	if err != nil {
		return id, 0, 0, err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id = Identity{Dev: uint64(st.Dev), Inode: st.Ino, Birth: st.Birthtimespec.Nano()}
	}
	return id, fi.Size(), fi.ModTime().UnixNano(), nil
}
