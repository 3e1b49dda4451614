package read

import (
	"os"

	"golang.org/x/sys/unix"
)

// Peek returns the identity, size and modification time (unix nanoseconds) of
// the regular file that path leads to, without opening it.
func Peek(path string) (id Identity, size, mtime int64, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return id, 0, 0, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return id, 0, 0, &os.PathError{Op: "statx", Path: path, Err: ErrNotRegular}
	}
	id, size, mtime = fromStatx(&st)
	return id, size, mtime, nil
}

func fromStatx(st *unix.Statx_t) (id Identity, size, mtime int64) {
	id = Identity{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Inode: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Birth = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return id, int64(st.Size), st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec)
}
