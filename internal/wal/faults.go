package wal

import (
	"os"
	"sync"
)

// Faults lets the tests of this package and of those that stand on it make a
// disk fail. Nil, and one whose hooks are not set, is a disk as it is.
type Faults struct {
	mu    sync.Mutex
	hooks Hooks
}

// Hooks are asked for what is done to the disk. A nil one changes nothing.
type Hooks struct {
	// Write stands in the place of WriteAt of a segment.
	Write func(f *os.File, p []byte, off int64) (int, error)
	// Read stands in the place of ReadAt of a segment.
	Read func(f *os.File, p []byte, off int64) (int, error)
	// Sync stands in the place of Sync of a segment.
	Sync func(f *os.File) error
	// Step is asked before each other change of the disk. An error is what the
	// change then returns instead of being made.
	Step func(op Op, path string) error
}

// Op is a change of the disk.
type Op string

// The changes of the disk of which Hooks.Step is told.
const (
	OpCreate   Op = "create"   // a file is made, or one that is to replace the file of that name
	OpWrite    Op = "write"    // the file that is to replace another one is written
	OpSync     Op = "sync"     // it, or a file that was cut, is made durable
	OpRename   Op = "rename"   // it takes the other one's place; or a file gets this name
	OpTruncate Op = "truncate" // a segment is cut
	OpRemove   Op = "remove"   // a file is removed
	OpSyncDir  Op = "sync dir" // the names in a folder are made durable
)

// Set replaces the hooks.
func (f *Faults) Set(h Hooks) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hooks = h
}

func (f *Faults) get() Hooks {
	if f == nil {
		return Hooks{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hooks
}

func (f *Faults) readAt(file *os.File, p []byte, off int64) (int, error) {
	if read := f.get().Read; read != nil {
		return read(file, p, off)
	}
	return file.ReadAt(p, off)
}

func (f *Faults) writeAt(file *os.File, p []byte, off int64) (int, error) {
	if write := f.get().Write; write != nil {
		return write(file, p, off)
	}
	return file.WriteAt(p, off)
}

func (f *Faults) step(op Op, path string) error {
	if step := f.get().Step; step != nil {
		return step(op, path)
	}
	return nil
}
