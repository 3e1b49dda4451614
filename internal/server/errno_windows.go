package server

import (
	"errors"

	"golang.org/x/sys/windows"
)

// isAddrInUse: Windows returns an error of its own, and "forbidden" for an
// address that another program has to itself.
func isAddrInUse(err error) bool {
	return errors.Is(err, windows.WSAEADDRINUSE) || errors.Is(err, windows.WSAEACCES)
}
