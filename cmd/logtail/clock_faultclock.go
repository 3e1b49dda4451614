//go:build faultclock

package main

import (
	"os"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// clockEnv names a file that says how far the clock is off: a duration of whole
// seconds, as "-90m". It may change at any time.
const clockEnv = "LOGTAIL_FAULT_CLOCK"

var wrong struct {
	mu   sync.Mutex
	read time.Time
	off  time.Duration
}

// clock is a clock that somebody sets: the time of day jumps, as the file says,
// and the time that passes between two calls does not.
func clock() time.Time {
	now := time.Now()
	wrong.mu.Lock()
	defer wrong.mu.Unlock()
	if path := os.Getenv(clockEnv); path != "" && now.Sub(wrong.read) > 50*time.Millisecond {
		wrong.read = now
		if b, err := os.ReadFile(path); err == nil {
			if d, err := time.ParseDuration(strings.TrimSpace(string(b))); err == nil {
				wrong.off = d
			}
		}
	}
	// A Time with a monotonic reading has the seconds of its wall clock above the
	// 30 bits of its nanoseconds. Add would move the monotonic reading too.
	t := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&now))
	if t.wall>>63 != 0 {
		t.wall += uint64(int64(wrong.off/time.Second)) << 30
	}
	return now
}
