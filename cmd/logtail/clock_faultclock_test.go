//go:build faultclock

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTheTimeOfDayJumpsAndElapsedTimeDoesNot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "off")
	t.Setenv(clockEnv, file)
	for _, off := range []time.Duration{0, 3 * time.Hour, -5 * time.Hour, -time.Second} {
		before := clock()
		if err := os.WriteFile(file, []byte(off.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		wrong.read = time.Time{}
		after, real := clock(), time.Now()
		if d := after.Round(0).Sub(real.Round(0)) - off; d < -time.Second || d > time.Second {
			t.Errorf("off by %v: the time of day is %v, it is %v", off, after, real)
		}
		if d := after.Sub(before); d < 0 || d > time.Minute {
			t.Errorf("off by %v: %v passed", off, d)
		}
	}
}
