package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"logtail/internal/agent"
	"logtail/internal/pipeline"
)

// once is a one-time pipeline from in.log to out.jsonl, both in dir.
func once(dir string) string {
	return fmt.Sprintf("inputs:\n  - {Type: input_static_file_onetime, FilePaths: ['%s']}\nflushers:\n  - {Type: flusher_file, FilePath: '%s'}\n",
		filepath.Join(dir, "in.log"), filepath.Join(dir, "out.jsonl"))
}

func TestRunEndsWhenOneTimeInputsAreDelivered(t *testing.T) {
	dir := isolate(t)
	writeFile(t, "in.log", "one\ntwo\nthree\n")
	writeFile(t, "p.yaml", once(dir))
	code, stdout, stderr := call(t, "run", "p.yaml", "--stats")
	if code != exitDone || stdout != "" {
		t.Fatalf("code %d, output %q, error %q", code, stdout, stderr)
	}
	var stats agent.Summary
	if err := json.Unmarshal([]byte(stderr), &stats); err != nil || stats.Delivered != 3 || stats.ReadBytes != 14 {
		t.Errorf("statistics %q: %v", stderr, err)
	}
	contents := func() (all []string) {
		text, err := os.ReadFile("out.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var log map[string]any
			if err := json.Unmarshal([]byte(line), &log); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			all = append(all, fmt.Sprint(log["content"]))
		}
		return all
	}
	if got := fmt.Sprint(contents()); got != "[one two three]" {
		t.Errorf("delivered %s", got)
	}
	// The next run goes on where this one stopped.
	if code, _, stderr := call(t, "run", "p.yaml"); code != exitDone {
		t.Fatalf("code %d, %s", code, stderr)
	}
	if got := fmt.Sprint(contents()); got != "[one two three]" {
		t.Errorf("after a second run: %s", got)
	}
}

func TestRunAndAgentExplainWhatFails(t *testing.T) {
	for _, c := range []struct {
		name, args string
		want       []string // in the one line, or one in each of several
	}{
		{"no file", "run|none.yaml", []string{"none.yaml: cannot be opened"}},
		{"wrong files", "run|bad.yaml|wrong.yaml", []string{"bad.yaml:1:", "wrong.yaml:4:5: inputs[0].FilePath"}},
		{"twins", "run|p.yaml|dir/p.yaml", []string{`dir/p.yaml: names the pipeline "p", as p.yaml does`}},
		{"all off", "run|off.yaml", []string{"every given pipeline has enable: false"}},
		{"no key", "run|sls.yaml", []string{"flusher_sls needs an access key", "--credentials", keyIDEnv}},
		{"data is a file", "run|p.yaml|--data|in.log", []string{"the data folder in.log", "--data"}},
		{"no folder", "agent|--conf|none", []string{"none: the directory cannot be read"}},
		{"empty folder", "agent|--conf|empty", []string{"there is no pipeline in empty"}},
		{"wrong folder", "agent|--conf|broken", []string{"bad.yaml:1:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := isolate(t)
			writeFile(t, "in.log", "x\n")
			writeFile(t, "p.yaml", once(dir))
			writeFile(t, "dir/p.yaml", once(dir))
			writeFile(t, "off.yaml", "enable: false\n"+once(dir))
			writeFile(t, "bad.yaml", "inputs: [")
			writeFile(t, "broken/bad.yaml", "inputs: [")
			writeFile(t, "wrong.yaml", strings.Replace(pipeline.Example("single"), "FilePaths", "FilePath", 1))
			writeFile(t, "sls.yaml", pipeline.Example("single"))
			writeFile(t, "empty/readme", "")
			code, stdout, stderr := call(t, strings.Split(c.args, "|")...)
			if code != exitFailed || stdout != "" {
				t.Errorf("code %d, output %q", code, stdout)
			}
			if strings.Count(stderr, "\n") == 1 {
				checkOneLine(t, stderr, c.want)
			} else {
				checkLines(t, "standard error", stderr, c.want)
			}
		})
	}
}

// What validation lets through, the agent runs: each example builds an agent.
func TestAgentTakesEveryExample(t *testing.T) {
	for _, mode := range pipeline.ExampleModes() {
		t.Run(mode, func(t *testing.T) {
			dir := isolate(t)
			text := strings.ReplaceAll(pipeline.Example(mode), "/var/tmp/logs.jsonl", filepath.Join(dir, "out.jsonl"))
			p, err := pipeline.Parse(mode+".yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv(keyIDEnv, testKey)
			t.Setenv(keySecretEnv, testSecret)
			cmd := newRun()
			cmd.SetContext(t.Context())
			a, err := newCollector(cmd, filepath.Join(dir, "data"), []*pipeline.Pipeline{p}, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := interruptible(t.Context(), os.Stderr)
			stop()
			if err := a.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
