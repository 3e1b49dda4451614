package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"logtail/internal/agent/read"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

func TestCheckpointsOfAnotherAgentAreTakenOver(t *testing.T) {
	dir := isolate(t)
	log := filepath.Join(dir, "a.log")
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(log, "one\ntwo\n")
	id, _, _, err := read.Peek(log)
	if err != nil {
		t.Fatal(err)
	}
	write("file_check_point", fmt.Sprintf(`{"check_point":{
		"a":{"file_name":%q,"offset":"4","inode":%d,"dev":%d},
		"b":{"file_name":"/gone.log","offset":"4","inode":5,"dev":6},
		"c":{"file_name":"/bad.log","offset":"x"}},"version":200}`, log, id.Inode, id.Dev))
	args := []string{"checkpoint", "import", "--from", "loongcollector", "file_check_point", "--data", "d"}

	code, stdout, stderr := call(t, append(args, "--dry-run")...)
	if code != exitDone || !strings.Contains(stdout, "continues  4       8") || !strings.Contains(stderr, "1 would be taken over") {
		t.Fatalf("code %d\n%s%s", code, stdout, stderr)
	}
	if _, err := os.Stat("d"); err == nil {
		t.Error("a dry run wrote something")
	}
	if code, _, stderr := call(t, "checkpoint", "list", "--data", "d"); code != exitFailed || !strings.Contains(stderr, "no checkpoints in") {
		t.Errorf("code %d, %s", code, stderr)
	}

	code, stdout, stderr = call(t, append(args, "-o", "json")...)
	if code != exitDone || !strings.Contains(stderr, "of 2 files, 1 were taken over, 1 continues, 1 gone; 1 entries could not be read") {
		t.Fatalf("code %d, %s", code, stderr)
	}
	var first map[string]string
	if err := json.NewDecoder(strings.NewReader(stdout)).Decode(&first); err != nil || first["file"] != log || first["offset"] != "4" || first["size"] != "8" || first["status"] != "continues" {
		t.Errorf("%v, %v", first, err)
	}
	code, stdout, _ = call(t, "checkpoint", "list", "--data", "d")
	if code != exitDone || !strings.Contains(stdout, "from loongcollector") || !strings.Contains(stdout, log) {
		t.Errorf("code %d\n%s", code, stdout)
	}

	// What the agent has itself counts.
	store, err := state.Open(filepath.Join("d", "agent"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Commit(state.Change{Put: []state.Stream{{
		ID: delivery.NewStreamID(), Pipeline: "p", Path: log, Dev: id.Dev, Inode: id.Inode,
		Lanes: state.Lanes{{Flusher: "sls", Checkpoint: delivery.Checkpoint{Point: delivery.Point{End: 7}}}, {Flusher: "file", Checkpoint: delivery.Checkpoint{Point: delivery.Point{End: 3}}}},
	}}}); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t, args...); code != exitFailed || !strings.Contains(stderr, "in use by another agent") {
		t.Errorf("beside an agent: code %d, %s", code, stderr)
	}
	store.Close()
	if code, stdout, _ := call(t, args...); code != exitDone || !strings.Contains(stdout, "collected  4") {
		t.Errorf("code %d\n%s", code, stdout)
	}
	code, stdout, _ = call(t, "checkpoint", "list", "--data", "d", "-o", "csv")
	if code != exitDone || !strings.Contains(stdout, "collected,p,3,file=3 sls=7,"+log) {
		t.Errorf("code %d\n%s", code, stdout)
	}
}

func TestWrongUsageOfCheckpoint(t *testing.T) {
	for _, c := range []struct {
		args string // separated by |
		code int
		want []string
	}{
		{"checkpoint|import", exitUsage, []string{"no path is given"}},
		{"checkpoint|import|x", exitUsage, []string{`--from "" is not an agent`, "filebeat, fluent-bit, loongcollector"}},
		{"checkpoint|import|x|--from|splunk", exitUsage, []string{`--from "splunk"`}},
		{"checkpoint|import|x|--from|filebeat|--fingerprint|7", exitUsage, []string{`--fingerprint "7"`, "0:1024"}},
		{"checkpoint|import|nope|--from|filebeat", exitFailed, []string{"nope", "name its folder"}},
		{"checkpoint|list|x", exitUsage, []string{`unexpected argument "x"`}},
		{"checkpoint|list", exitFailed, []string{"there are no checkpoints in", "--data"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			isolate(t)
			code, stdout, stderr := call(t, strings.Split(c.args, "|")...)
			if code != c.code || stdout != "" {
				t.Errorf("code %d, output %q", code, stdout)
			}
			checkOneLine(t, stderr, c.want)
		})
	}
}
