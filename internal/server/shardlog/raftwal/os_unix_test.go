//go:build !windows

package raftwal

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// What a disk answers that is full, that takes no changes, and that cannot read a place.
const (
	errFull     = unix.ENOSPC
	errReadOnly = unix.EROFS
	errIO       = unix.EIO
)

// blocks is what a file takes on the disk.
func blocks(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }
