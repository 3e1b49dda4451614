//go:build !windows

package guard

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// BeNamed gives this process the name of the supervisor, unless it has one that
// begins like it. The name is the first argument of a program, so the program is
// executed once more: call it before anything else. If it fails, nothing has changed.
func BeNamed() {
	if len(os.Args) == 0 {
		return
	}
	if !strings.HasPrefix(filepath.Base(os.Args[0]), SupervisorName) {
		path, err := os.Executable()
		if err != nil {
			return
		}
		_ = syscall.Exec(path, append([]string{SupervisorName}, os.Args[1:]...), os.Environ()) // returns only with an error
		return
	}
	setShortName(filepath.Base(os.Args[0]))
}
