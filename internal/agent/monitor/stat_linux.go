package monitor

import (
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// noStatx is set on kernels before 4.11, which lack the call.
var noStatx atomic.Bool

// statPath looks at a path; follow says whether a symbolic link is followed.
// The birth time is part of the identity, because file systems hand out a free
// inode number again at once.
func statPath(path string, follow bool) (status, error) {
	flags := unix.AT_NO_AUTOMOUNT
	if !follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	if !noStatx.Load() {
		var x unix.Statx_t
		err := retryInterrupted(func() error {
			return unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &x)
		})
		if err == nil {
			st := status{
				size:  int64(x.Size),
				mtime: x.Mtime.Sec*1e9 + int64(x.Mtime.Nsec),
				kind:  modeKind(uint32(x.Mode)),
			}
			var birth uint64
			if x.Mask&unix.STATX_BTIME != 0 {
				birth = uint64(x.Btime.Sec)*1e9 + uint64(x.Btime.Nsec)
			}
			st.id = identity(unix.Mkdev(x.Dev_major, x.Dev_minor), x.Ino, birth)
			return st, nil
		}
		if errors.Is(err, unix.ENOSYS) {
			noStatx.Store(true)
		} else if !errors.Is(err, unix.EPERM) { // what some container sandboxes answer to a call they don't know
			return status{}, &os.PathError{Op: "stat", Path: path, Err: err}
		}
	}
	var st unix.Stat_t
	err := retryInterrupted(func() error { return unix.Fstatat(unix.AT_FDCWD, path, &st, flags) })
	if err != nil {
		return status{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fromStat(&st), nil
}

func fromStat(st *unix.Stat_t) status {
	return status{
		id:    identity(uint64(st.Dev), st.Ino, 0), //nolint:unconvert // the field's size depends on the architecture
		size:  st.Size,
		mtime: unix.TimespecToNsec(st.Mtim),
		kind:  modeKind(st.Mode),
	}
}

func modeKind(mode uint32) entryKind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return kindFile
	case unix.S_IFDIR:
		return kindDir
	case unix.S_IFLNK:
		return kindLink
	}
	return kindOther
}

func retryInterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// vanished says whether an error means that nothing is at the path.
func vanished(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENAMETOOLONG)
}

// readDir calls fn for each entry with its name (valid during the call), its
// kind and its inode number. It returns the directory's time of modification
// before the first entry was read. buf is scratch of some 10 KB. It reads the
// system's records itself: half the cost of os.ReadDir, no garbage, and the
// inode numbers tell which files were replaced without a stat of each.
func readDir(path string, buf []byte, fn func(name []byte, kind entryKind, ino uint64)) (mtime int64, err error) {
	var fd int
	err = retryInterrupted(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	for {
		var n int
		err := retryInterrupted(func() (err error) {
			n, err = unix.ReadDirent(fd, buf)
			return err
		})
		if err != nil {
			return 0, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n <= 0 {
			return unix.TimespecToNsec(st.Mtim), nil
		}
		parseDirents(buf[:n], fn)
	}
}

// parseDirents walks over records of struct linux_dirent64.
func parseDirents(b []byte, fn func(name []byte, kind entryKind, ino uint64)) {
	const (
		offIno    = int(unsafe.Offsetof(unix.Dirent{}.Ino))
		offReclen = int(unsafe.Offsetof(unix.Dirent{}.Reclen))
		offType   = int(unsafe.Offsetof(unix.Dirent{}.Type))
		offName   = int(unsafe.Offsetof(unix.Dirent{}.Name))
	)
	for len(b) >= offName {
		size := int(binary.NativeEndian.Uint16(b[offReclen:]))
		if size < offName || size > len(b) {
			return
		}
		ino := binary.NativeEndian.Uint64(b[offIno:])
		name := b[offName:size]
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		kind := kindOther
		switch b[offType] {
		case unix.DT_REG:
			kind = kindFile
		case unix.DT_DIR:
			kind = kindDir
		case unix.DT_LNK:
			kind = kindLink
		case unix.DT_UNKNOWN:
			kind = kindUnknown
		}
		b = b[size:]
		if ino == 0 || string(name) == "." || string(name) == ".." {
			continue
		}
		fn(name, kind, ino)
	}
}
