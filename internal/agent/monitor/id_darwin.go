package monitor

import (
	"os"
	"syscall"
)

func fileID(fi os.FileInfo) uint64 {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	return identity(uint64(st.Dev), st.Ino, uint64(st.Birthtimespec.Nano()))
}
