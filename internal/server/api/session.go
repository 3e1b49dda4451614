package api

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sessionAhead is by how much the stored bound runs ahead of the sessions that
// are granted: a grant touches the disk at most once in this time.
const sessionAhead = uint64(time.Minute)

// Sessions grants session numbers. They grow strictly, over restarts and over
// steps of the clock: a session is the clock in unix nanoseconds, or one more
// than the last if the clock does not say more, and before one is granted a
// bound above it is durable. A start goes on from the bound.
type Sessions struct {
	path string
	now  func() time.Time

	mu    sync.Mutex
	last  uint64 // newest that may have been granted
	bound uint64 // what the file holds; nothing above it was ever granted
	// The sessions of the attempts of this generation and the one before.
	attempts, older map[attempt]uint64
	turned          time.Time
}

// attempt is a client's try to resume lanes of a logstore, which may arrive several times.
type attempt struct{ store, name string }

const (
	// attemptTime is how long an attempt is known at least: longer than any client
	// waits for an answer or anything on the way holds a request back.
	attemptTime = 10 * time.Minute
	// maxAttempts bounds the attempts of a generation, some 160 bytes each.
	maxAttempts = 200_000
)

// OpenSessions reads the bound from a file, which is made when the first
// session is granted.
func OpenSessions(path string, now func() time.Time) (*Sessions, error) {
	s := &Sessions{path: path, now: now}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("read the session bound: %w", err)
	}
	s.bound, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the file %s holds no number; if it cannot be restored, write the unix time in nanoseconds into it", path)
	}
	s.last = s.bound
	return s, nil
}

// Grant returns a session above all that were ever granted, or, where the attempt was
// heard of before, the one that it got. An attempt without a name is always new. It
// fails if the bound cannot be made durable.
func (s *Sessions) Grant(store, name string) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := attempt{store, name}
	if name != "" {
		if session, ok := s.attempts[key]; ok {
			return session, nil
		}
		if session, ok := s.older[key]; ok {
			return session, nil
		}
	}
	session := max(uint64(max(s.now().UnixNano(), 0)), s.last+1)
	if session > s.bound {
		bound := session + sessionAhead
		if err := WriteFileAtomic(s.path, []byte(strconv.FormatUint(bound, 10)+"\n"), 0o600); err != nil {
			return 0, fmt.Errorf("store the session bound: %w", err)
		}
		s.bound = bound
	}
	s.last = session
	if name != "" {
		if now := s.now(); s.attempts == nil || now.Sub(s.turned).Abs() >= attemptTime || len(s.attempts) >= maxAttempts {
			s.attempts, s.older, s.turned = map[attempt]uint64{}, s.attempts, now
		}
		s.attempts[key] = session
	}
	return session, nil
}

// Granted says whether the session may have been granted by this service. One
// that was not comes from a client whose service lost its data.
func (s *Sessions) Granted(session uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return session != 0 && session <= s.last
}

// WriteFileAtomic writes a file so that after a crash there is either the old
// one or the new one, and the new one is durable when it returns.
func WriteFileAtomic(path string, data []byte, mode os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}
