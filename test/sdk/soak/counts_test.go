//go:build linux

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// agentStatus is what the harness reads of logtail status -o json.
type agentStatus struct {
	Running bool `json:"running"`
	Counts  []struct {
		Pipeline, Path, Reason string
		Logs, Bytes, Times     int64
	} `json:"counts"`
}

// hasStatus says whether the program tells its counts.
func hasStatus() bool {
	out, err := exec.Command(binary, "status", "--help").Output()
	return err == nil && strings.Contains(string(out), "logtail status")
}

// countsReady says whether what is lost by rule can be checked.
func (s *soak) countsReady() error {
	if !hasStatus() {
		return errors.New("the program has no status command, so what it counts cannot be compared")
	}
	return nil
}

// status asks the running agent; nil if the program cannot tell.
func (s *soak) status() (*agentStatus, error) {
	if !hasStatus() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "status", "-o", "json", "--data", s.agentData)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("logtail status: %w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("logtail status: %w", err)
	}
	st := &agentStatus{}
	if err := json.Unmarshal(out, st); err != nil {
		return nil, fmt.Errorf("logtail status: %w in %s", err, shorten(out))
	}
	if !st.Running {
		return nil, errors.New("logtail status says that the agent does not run")
	}
	return st, nil
}

// checkUnread compares what is missing of files that were deleted unread with
// the agent's counts of them, and sees to it that nothing else is counted as lost.
func (s *soak) checkUnread(verdicts []*verdict, st *agentStatus) {
	if st == nil {
		return
	}
	counted := map[string]int64{} // by pipeline
	for _, c := range st.Counts {
		if c.Reason == "file_deleted" {
			counted[c.Pipeline] += c.Bytes
		}
	}
	for pipeline, stores := range map[string][]string{"one": storeNames[:2], "two": storeNames[2:]} {
		var most, sum, seen int64
		for _, v := range verdicts {
			for _, store := range stores {
				if v.store != store {
					continue
				}
				var n int64
				for _, bytes := range v.unread {
					n += bytes
				}
				most, sum = max(most, n), sum+n
				seen += v.betweenLost // the agent may have seen it before the truncation, and counts it then
			}
		}
		if n := counted[pipeline]; n < most || n > sum+seen {
			s.fail("pipeline %s: %d bytes of files that were deleted unread are missing (%d over its logstores), the agent counts %d: %s",
				pipeline, most, sum, n, s.counted(st))
		}
	}
}

// counted is the agent's counts, for a message.
func (s *soak) counted(st *agentStatus) string {
	var list []string
	for _, c := range st.Counts {
		list = append(list, fmt.Sprintf("%s %s %s: %d logs, %d bytes, %d times", c.Pipeline, c.Path, c.Reason, c.Logs, c.Bytes, c.Times))
	}
	return strings.Join(list, "; ")
}
