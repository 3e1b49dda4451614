package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// errLocked: another process holds the lock.
var errLocked = errors.New("locked")

// lockData makes the data folder and takes the lock in it, so that no two
// processes work on the same data. The lock is the system's: it is gone when
// the process is, however that ended.
func lockData(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data directory %s: %w; choose another one with --data", dir, plain(err))
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot write in the data directory %s: %w; give this user the right to, or choose another one with --data", dir, plain(err))
	}
	if err := lockFile(f); err != nil {
		holder := ""
		if b, rerr := os.ReadFile(path); rerr == nil {
			if pid, perr := strconv.Atoi(strings.TrimSpace(string(b))); perr == nil {
				holder = fmt.Sprintf(" (process %d)", pid)
			}
		}
		f.Close()
		if errors.Is(err, errLocked) {
			return nil, fmt.Errorf("another log service%s uses the data directory %s; stop that one or choose another directory with --data", holder, dir)
		}
		return nil, fmt.Errorf("cannot lock the data directory %s: %w; is it on a network file system? choose a local one with --data", dir, plain(err))
	}
	// For the message above only; a full disk must not keep us from starting.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return func() { f.Close() }, nil
}

// plain takes the operation and the path off an error whose message names the
// path already.
func plain(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
