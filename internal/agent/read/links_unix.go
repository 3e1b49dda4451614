//go:build !windows

package read

import (
	"os"
	"syscall"
)

// Links returns how many hard links an open file has: 0 means that it was deleted
// and lives only as long as it is open. Where that is not known it is 1.
func Links(f *os.File) (uint64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink), nil //nolint:unconvert // its type differs by system
	}
	return 1, nil
}
