package monitor

import "syscall"

// errTooManyFiles is ERROR_TOO_MANY_OPEN_FILES.
var errTooManyFiles error = syscall.Errno(4)
