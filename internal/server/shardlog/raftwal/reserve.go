package raftwal

import (
	"log/slog"
	"os"
	"sync"
)

const (
	reserveName = "reserve"
	// reserveSize is room for the snapshots and segment lists that have to be
	// written before segments can be deleted.
	reserveSize = 1 << 20
)

// reserve is a file that keeps some room on the disk. On a full one, deleting
// old records is the way out, and it has to write a little first.
type reserve struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	full bool
}

// fill makes the file, if there is room for it now.
func (r *reserve) fill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return
	}
	if stat, err := os.Stat(r.path); err == nil && stat.Size() == reserveSize {
		r.full = true
		return
	}
	if err := os.WriteFile(r.path, make([]byte, reserveSize), 0o600); err != nil {
		os.Remove(r.path) // tried again with the next round
		return
	}
	r.full = true
}

// spend runs f, and once more with the reserve given up if the disk is full.
func (r *reserve) spend(f func() error) error {
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
	r.log.Warn("the disk of the shard log is full; the reserve is used to delete old records", "file", r.path)
	return f()
}
