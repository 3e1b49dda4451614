package read

import (
	"os"

	"golang.org/x/sys/windows"
)

// Stat returns the identity, size and modification time (unix nanoseconds) of
// an open file. NTFS's file index stands for the inode. NTFS gives a file that
// is made again under a name that was deleted within 15 seconds the old
// creation time ("tunnelling"), so that the index has to tell them apart.
func Stat(f *os.File) (id Identity, size, mtime int64, err error) {
	var fi windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &fi); err != nil {
		return id, 0, 0, &os.PathError{Op: "GetFileInformationByHandle", Path: f.Name(), Err: err}
	}
	id = Identity{
		Dev:   uint64(fi.VolumeSerialNumber),
		Inode: uint64(fi.FileIndexHigh)<<32 | uint64(fi.FileIndexLow),
		Birth: fi.CreationTime.Nanoseconds(),
	}
	return id, int64(fi.FileSizeHigh)<<32 | int64(fi.FileSizeLow), fi.LastWriteTime.Nanoseconds(), nil
}
