//go:build !windows

package server

import "golang.org/x/sys/unix"

// connLimit is mostConns, but not more than half of the files that this process
// may have open.
func connLimit() int {
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil {
		return mostConns
	}
	return int(max(min(files.Cur/2, mostConns), 16))
}
