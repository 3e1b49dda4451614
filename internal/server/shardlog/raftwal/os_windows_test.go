package raftwal

import (
	"io/fs"

	"golang.org/x/sys/windows"
)

// What a disk answers that is full, that takes no changes, and that cannot read a place.
const (
	errFull     = windows.ERROR_DISK_FULL
	errReadOnly = windows.ERROR_WRITE_PROTECT
	errIO       = windows.ERROR_CRC
)

// blocks is what a file takes on the disk, as far as its size tells.
func blocks(info fs.FileInfo) int64 { return info.Size() }
