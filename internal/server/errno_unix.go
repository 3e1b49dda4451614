//go:build !windows

package server

// isAddrInUse is for systems on which syscall.EADDRINUSE is not what they return.
func isAddrInUse(error) bool { return false }
