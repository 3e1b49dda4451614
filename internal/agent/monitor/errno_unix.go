//go:build !linux && !windows

package monitor

import "syscall"

var errTooManyFiles error = syscall.EMFILE
