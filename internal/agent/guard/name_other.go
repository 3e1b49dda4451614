//go:build !linux

package guard

import "os"

// setShortName does nothing: only Linux lets a process name itself.
func setShortName(string) {}

// program returns the path of this program.
func program() (string, error) { return os.Executable() }
