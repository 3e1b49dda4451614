//go:build !windows

package raftwal

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// errFull is what a full disk answers.
const errFull = unix.ENOSPC

// blocks is what a file takes on the disk.
func blocks(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }
