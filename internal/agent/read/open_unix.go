//go:build !windows

package read

import (
	"os"
	"syscall"
)

// Open opens a file for reading. It does not block on a FIFO, and nothing but
// a regular file is a log file.
func Open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}
