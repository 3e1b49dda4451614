package monitor

import (
	"os"
	"syscall"
)

// fileID is made of the time of creation: the file index would need a handle
// to every file.
func fileID(fi os.FileInfo) uint64 {
	st, ok := fi.Sys().(*syscall.Win32FileAttributeData)
	if !ok {
		return 1
	}
	return identity(0, 0, uint64(st.CreationTime.Nanoseconds()))
}
