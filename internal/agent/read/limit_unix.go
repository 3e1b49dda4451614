//go:build !windows

package read

import "syscall"

// MaxOpen is how many log files may stay open: half of what the system allows the
// process, which needs others for connections and its own data, and at most maxOpen.
func MaxOpen() int64 {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil || r.Cur/2 > maxOpen {
		return maxOpen
	}
	return int64(r.Cur / 2)
}
