package api_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"logtail/internal/server/api"
)

func TestSessionsOnlyGrow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session")
	c := &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	var last uint64
	for i, step := range []time.Duration{0, 0, time.Nanosecond, time.Hour, -2 * time.Hour, 0, time.Minute, -1000 * time.Hour, 1002 * time.Hour} {
		c.advance(step)
		s, err := api.OpenSessions(path, c.now) // each time after a restart, which may have been a crash
		must(t, err)
		for range 3 {
			got, err := s.Grant("store", "")
			must(t, err)
			if got <= last {
				t.Errorf("step %d: session %d is not above %d", i, got, last)
			}
			if !s.Granted(got) || s.Granted(got+1) || s.Granted(0) {
				t.Errorf("step %d: Granted does not know what was granted", i)
			}
			last = got
		}
	}
	if last < uint64(c.now().UnixNano()) {
		t.Errorf("the last session %d is behind the clock %d", last, c.now().UnixNano())
	}
}

// An attempt that arrives again, as often as it does and however late, gets the session
// that it got, so that it does not fence the one after it.
func TestAnAttemptGetsOneSession(t *testing.T) {
	c := &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	s, err := api.OpenSessions(filepath.Join(t.TempDir(), "session"), c.now)
	must(t, err)
	grant := func(store, name string) uint64 {
		t.Helper()
		got, err := s.Grant(store, name)
		must(t, err)
		return got
	}
	first := grant("a", "x")
	second := grant("a", "y")
	if other := grant("b", "x"); first == second || other == first {
		t.Errorf("%d, %d and %d are not three sessions", first, second, other)
	}
	for range 3 {
		c.advance(4 * time.Minute)
		grant("a", "z"+c.now().String())
		if again := grant("a", "x"); again != first {
			t.Errorf("after %v the attempt got %d, before %d", c.now(), again, first)
		}
	}
	c.advance(time.Hour)
	grant("a", "p")
	c.advance(time.Hour)
	grant("a", "q")
	if again := grant("a", "x"); again <= second {
		t.Errorf("an attempt that is forgotten got %d", again)
	}
}

func TestSessionsNeedADurableBound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	must(t, os.Mkdir(dir, 0o700))
	s, err := api.OpenSessions(filepath.Join(dir, "session"), time.Now)
	must(t, err)
	must(t, os.Remove(dir))
	if got, err := s.Grant("store", ""); err == nil {
		t.Errorf("granted %d without a bound on the disk", got)
	}
	must(t, os.Mkdir(dir, 0o700))
	if _, err := s.Grant("store", ""); err != nil {
		t.Errorf("it does not heal: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "session"), []byte("not a number"), 0o600))
	if _, err := api.OpenSessions(filepath.Join(dir, "session"), time.Now); err == nil {
		t.Error("a damaged file was taken for a first start")
	}
}
