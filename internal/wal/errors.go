package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// Errors of a Log.
var (
	// ErrClosed is what a log answers after Close.
	ErrClosed = errors.New("wal: the log is closed")
	// ErrNotFound says that the log has no record of that number (any more).
	ErrNotFound = errors.New("wal: no such record")
	// ErrDamaged is the reason that something stored cannot be read: the disk
	// returns something else than was written.
	ErrDamaged = errors.New("its bytes are damaged")
	// ErrInUse says that another process holds the folder.
	ErrInUse = errors.New("wal: the folder is in use by another process")
)

// VersionError says that a newer program wrote something.
type VersionError struct {
	What       string // names it, for the message
	Found, Own int    // the format version that it has, and the latest one that this program knows
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the %s has format version %d, and this program knows versions up to %d: run the newer program that wrote it",
		e.What, e.Found, e.Own)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
