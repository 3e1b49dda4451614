//go:build linux

package soak

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// allKinds is the files of a long run.
var allKinds = []kind{mixed, mixed, mixed, mixed, narrow, linked, logrotate, logrotate}

// TestSoak injects faults for LOGTAIL_SOAK; without it, for a short time.
func TestSoak(t *testing.T) {
	p := plan{seed: uint64(time.Now().UnixNano()), length: 20 * time.Second, longest: 4 * time.Second, rate: 150, files: allKinds, faults: os.Getenv("LOGTAIL_FAULTS")}
	if text := os.Getenv("LOGTAIL_SOAK"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("LOGTAIL_SOAK: %v", err)
		}
		p.length, p.longest = d, min(time.Minute, d/10)
	}
	if text := os.Getenv("LOGTAIL_SOAK_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("LOGTAIL_SOAK_SEED: %v", err)
		}
		p.seed = n
	}
	runSoak(t, p)
}
