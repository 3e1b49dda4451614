package read

import (
	"os"

	"golang.org/x/sys/unix"
)

// Stat returns the identity, size and modification time (unix nanoseconds) of an open file.
func Stat(f *os.File) (id Identity, size, mtime int64, err error) {
	var st unix.Statx_t
	rc, err := f.SyscallConn()
	if err != nil {
		return id, 0, 0, err
	}
	var serr error
	err = rc.Control(func(fd uintptr) {
		serr = unix.Statx(int(fd), "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	})
	if err == nil {
		err = serr
	}
	if err != nil {
		return id, 0, 0, &os.PathError{Op: "statx", Path: f.Name(), Err: err}
	}
	id, size, mtime = fromStatx(&st)
	return id, size, mtime, nil
}
