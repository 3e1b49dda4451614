package blackbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSoak writes, rotates, kills and restarts at random, and at the end counts:
// every line that was written is there exactly once. It runs for $LOGTAIL_SOAK,
// a duration, and without it for a few rounds.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("LOGTAIL_SOAK"))
	if err != nil && os.Getenv("LOGTAIL_SOAK") != "" {
		t.Fatalf("LOGTAIL_SOAK: %v", err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	m := newMachine(t)
	// A file that is made and renamed out of the pattern while nobody looks was
	// never a file of the pattern, so the rotated names belong to it here.
	m.glob = "*.log*"
	m.up()
	running := true
	var lines []string
	var writers []*writer
	for i := range 5 {
		writers = append(writers, m.writer(fmt.Sprint("soak", i), &lines))
	}
	end := time.Now().Add(length)
	kills, stops, rotations := 0, 0, 0
	for round := 0; round < 60 || time.Now().Before(end); round++ {
		for range 1 + r.IntN(30) {
			writers[r.IntN(len(writers))].write(1 + r.IntN(200))
		}
		switch r.IntN(6) {
		case 0:
			if !running {
				break
			}
			running = false
			if r.IntN(3) == 0 {
				m.interrupt()
				stops++
			} else {
				m.kill()
				kills++
			}
		case 1:
			if !running {
				m.up()
				running = true
			}
		case 2:
			rotations++
			writers[r.IntN(len(writers))].rotate(fmt.Sprintf(".%d", rotations))
		}
	}
	if !running {
		m.up()
	}
	t.Logf("%d lines, %d kills, %d stops, %d rotations", len(lines), kills, stops, rotations)
	m.awaitCount("*", int64(len(lines)))
	compare(t, "PullLogs", m.pulled(), lines)
	m.interrupt()
	if left, err := filepath.Glob(filepath.Join(m.data, "index", "*", "*", "*.bad")); err != nil || len(left) > 0 {
		t.Errorf("segments were put aside: %v, %v", left, err)
	}
}
