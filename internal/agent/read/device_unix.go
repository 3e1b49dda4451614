//go:build !windows

package read

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// OnDevice says whether the folder dir, or, if it was removed, the next one above
// it, is there and on the device dev: a file that is not in it was deleted, and is
// not only out of reach for a while.
func OnDevice(dir string, dev uint64) bool {
	for {
		fi, err := os.Stat(dir)
		if err == nil {
			st, ok := fi.Sys().(*syscall.Stat_t)
			return ok && uint64(st.Dev) == dev //nolint:unconvert // it is an int32 on macOS
		}
		up := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || up == dir {
			return false
		}
		dir = up
	}
}
