//go:build !windows

package read

import (
	"os"
	"syscall"
)

// OnDevice says whether the folder dir is there and on the device dev: a file
// that is not in it was deleted, and is not only out of reach for a while.
func OnDevice(dir string, dev uint64) bool {
	fi, err := os.Stat(dir)
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && uint64(st.Dev) == dev
}
