package read

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// entryLimit is how many entries of folders a search looks at. One costs less than
// half a microsecond, nearly all of it in the kernel.
const entryLimit = 1_000_000

// entriesTellInodes says that entries have inode numbers.
const entriesTellInodes = true

func openDir(dir string) (*os.File, error) {
	return os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
}

// The layout of linux_dirent64.
const (
	direntReclen = 16
	direntType   = 18
	direntName   = 19
)

// entries calls each for the entries of dir until it returns false. It needs no
// system call for a single entry.
func entries(dir string, each func(e *entry) bool) error {
	d, err := openDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	conn, err := d.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		var n int
		var derr error
		err := conn.Control(func(fd uintptr) {
			for {
				if n, derr = unix.Getdents(int(fd), buf); !errors.Is(derr, unix.EINTR) {
					return
				}
			}
		})
		if err == nil {
			err = derr
		}
		if err != nil {
			return &os.PathError{Op: "getdents", Path: dir, Err: err}
		}
		if n <= 0 {
			return nil
		}
		if !eachDirent(buf[:n], each) {
			return nil
		}
	}
}

// eachDirent calls each for the entries of buf until it returns false.
func eachDirent(buf []byte, each func(e *entry) bool) bool {
	for len(buf) > direntName {
		size := int(binary.NativeEndian.Uint16(buf[direntReclen:]))
		if size <= direntName || size > len(buf) {
			return true
		}
		name := buf[direntName:size]
		if i := bytes.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		e := entry{name: name, inode: binary.NativeEndian.Uint64(buf), kind: kindOf(buf[direntType])}
		buf = buf[size:]
		if s := string(name); s == "." || s == ".." {
			continue
		}
		if !each(&e) {
			return false
		}
	}
	return true
}

func kindOf(t byte) fs.FileMode {
	switch t {
	case unix.DT_REG:
		return 0
	case unix.DT_DIR:
		return fs.ModeDir
	case unix.DT_UNKNOWN:
		return kindUnknown
	}
	return fs.ModeDevice // links, FIFOs, sockets and devices: nothing that is searched
}

// tellsInodes says whether the entries of dir have the inode numbers of its files.
// Others may have them too, but overlayfs and FUSE need not.
func tellsInodes(dir string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.F2FS_SUPER_MAGIC, zfsMagic:
		return true
	}
	return false
}

const zfsMagic = 0x2fc12fc1

// Stable says whether a file keeps its inode number on the file system of f. It does
// not on overlayfs, where a file of a lower layer gets another one when it is first
// written, nor on FAT, SMB and FUSE, which make numbers up. There, a file at a
// stream's path with another identity is still the stream's if the known file is
// nowhere any more and SameContent confirms it.
func Stable(f *os.File) bool {
	var st unix.Statfs_t
	conn, err := f.SyscallConn()
	if err != nil {
		return true
	}
	var serr error
	if err := conn.Control(func(fd uintptr) { serr = unix.Fstatfs(int(fd), &st) }); err != nil || serr != nil {
		return true
	}
	switch uint32(st.Type) {
	case unix.OVERLAYFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC,
		unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.V9FS_MAGIC:
		return false
	}
	return true
}
