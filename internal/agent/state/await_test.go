package state

import (
	"context"
	"testing"
	"time"
)

func TestAwaitWaitsForAnotherAgentToStop(t *testing.T) {
	dir := t.TempDir()
	if !Await(t.Context(), dir, 0, func() { t.Error("a new folder is in use") }) {
		t.Error("a new folder stays in use")
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	if Await(t.Context(), dir, 0, func() { told++ }) {
		t.Error("the folder of an open state is free")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if Await(ended, dir, time.Hour, func() { told++ }) {
		t.Error("the folder of an open state is free, after the end of the context")
	}
	if told != 2 {
		t.Errorf("told %d times", told)
	}
	// It is closed while Await waits.
	if !Await(t.Context(), dir, time.Hour, func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}) {
		t.Error("the folder stays in use")
	}
	// Nothing stays locked.
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
