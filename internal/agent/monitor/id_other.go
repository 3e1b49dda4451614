//go:build !linux && !darwin && !windows

package monitor

import "os"

// fileID knows no identity here; a replaced file shows by its size and time.
func fileID(os.FileInfo) uint64 { return 1 }
