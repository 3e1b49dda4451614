package wal

import (
	"log/slog"
	"os"
	"sync"
)

// Reserve is a file that keeps some room on the disk. On a full one, deleting
// old records is the way out, and that has to write a little first.
type Reserve struct {
	path string
	size int64
	log  *slog.Logger

	mu   sync.Mutex
	full bool
}

// NewReserve returns a reserve of size bytes in the file of that path, which
// Fill makes.
func NewReserve(path string, size int64, log *slog.Logger) *Reserve {
	return &Reserve{path: path, size: size, log: log}
}

// Fill makes the file if it is not there and there is room for it now.
func (r *Reserve) Fill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return
	}
	if stat, err := os.Stat(r.path); err == nil && stat.Size() == r.size {
		r.full = true
		return
	}
	if err := os.WriteFile(r.path, make([]byte, r.size), 0o600); err != nil {
		os.Remove(r.path) // tried again with the next call
		return
	}
	r.full = true
}

// Spend runs f, and once more with the reserve given up if the disk is full.
func (r *Reserve) Spend(f func() error) error {
	err := f()
	if err == nil || !isNoSpace(err) {
		return err
	}
	r.mu.Lock()
	had := r.full
	r.full = false
	os.Remove(r.path)
	r.mu.Unlock()
	if !had {
		return err
	}
	r.log.Warn("the disk is full; the reserve is used to delete old records", "file", r.path)
	return f()
}
