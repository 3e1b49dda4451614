package main

import (
	"os"
	"path/filepath"
	"testing"

	"logtail/internal/agent/guard"
)

// The agent starts its own program as a worker, which is this one in a test.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == guard.WorkerName {
		main()
	}
	os.Exit(m.Run())
}
