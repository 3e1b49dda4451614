package raftwal

import (
	"io/fs"

	"golang.org/x/sys/windows"
)

// errFull is what a full disk answers.
const errFull = windows.ERROR_DISK_FULL

// blocks is what a file takes on the disk, as far as its size tells.
func blocks(info fs.FileInfo) int64 { return info.Size() }
