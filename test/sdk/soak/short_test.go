//go:build linux

package soak

import (
	_ "embed"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// allKinds is the files of a run.
var allKinds = []kind{mixed, mixed, mixed, mixed, narrow, linked, logrotate, logrotate}

// seedList is the seeds that ever failed: a line each, with the faults of the run,
// its length in seconds and, behind #, what was wrong. A seed gives the same faults in the same order;
// the moments differ, as the processes are real.
//
//go:embed testdata/seeds
var seedList string

func shortPlan(seed uint64, faults string) plan {
	return plan{seed: seed, length: 15 * time.Second, longest: 3 * time.Second, gap: 400 * time.Millisecond, rate: 150, files: allKinds, faults: faults}
}

// TestSoak injects faults for LOGTAIL_SOAK; without it, for a short time.
func TestSoak(t *testing.T) {
	p := shortPlan(uint64(time.Now().UnixNano()), os.Getenv("LOGTAIL_FAULTS"))
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

// TestSeedsThatFailedOnce runs each of them again, as many at a time as -parallel says.
func TestSeedsThatFailedOnce(t *testing.T) {
	if os.Getenv("LOGTAIL_SOAK_SEED") != "" {
		t.Skip("one seed was asked for")
	}
	for line := range strings.Lines(seedList) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		seed, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil || len(fields) != 3 {
			t.Fatalf("testdata/seeds: %q is not a seed, a list of faults and a number of seconds: %v", line, err)
		}
		length, err := time.ParseDuration(fields[2] + "s")
		if err != nil {
			t.Fatalf("testdata/seeds: %q: %v", line, err)
		}
		t.Run(strings.Join(fields, " "), func(t *testing.T) {
			t.Parallel()
			p := shortPlan(seed, fields[1])
			p.length, p.longest = length, length/10
			runSoak(t, p)
		})
	}
}
