//go:build !linux && !windows

package read

import "os"

func openDir(dir string) (*os.File, error) { return Open(dir) }
