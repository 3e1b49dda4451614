package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"logtail/internal/pipeline"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConfigValidate(t *testing.T) {
	isolate(t)
	good := pipeline.Example("single")
	writeFile(t, "good.yaml", good)
	writeFile(t, "bad.yaml", strings.Replace(good, "FilePaths", "FilePath", 1))
	writeFile(t, "dir/a.yaml", good)
	writeFile(t, "dir/b.yaml", "inputs: [")
	writeFile(t, "dir/off.yaml", "enable: false\n"+good)
	writeFile(t, "twins/a.yaml", good)
	writeFile(t, "twins/a.yml", good)
	writeFile(t, "empty/readme", "")

	for _, c := range []struct {
		args        []string
		code        int
		out, errors []string // what each line holds
	}{
		{[]string{"good.yaml"}, exitDone, []string{"good.yaml: ok (pipeline good)"}, nil},
		{[]string{"bad.yaml"}, exitFailed, nil, []string{"logtail: bad.yaml:4:5: inputs[0].FilePath"}},
		{[]string{"good.yaml", "bad.yaml"}, exitFailed, []string{"good.yaml: ok"}, []string{"did you mean FilePaths?"}},
		{[]string{"dir"}, exitFailed, []string{"a.yaml: ok", "off.yaml: ok"}, []string{"b.yaml:1:"}},
		{[]string{"twins"}, exitFailed, []string{"a.yaml: ok", "a.yml: ok"}, []string{"a.yml: names the pipeline \"a\""}},
		{[]string{"empty"}, exitFailed, nil, []string{"no pipeline is in this directory"}},
		{[]string{"missing.yaml"}, exitFailed, nil, []string{"missing.yaml: cannot be opened"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			code, stdout, stderr := call(t, append([]string{"config", "validate"}, c.args...)...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			checkLines(t, "standard output", stdout, c.out)
			checkLines(t, "standard error", stderr, c.errors)
		})
	}
}

func checkLines(t *testing.T, what, text string, want []string) {
	t.Helper()
	if n := strings.Count(text, "\n"); n != len(want) {
		t.Fatalf("%s has %d lines, want %d:\n%s", what, n, len(want), text)
	}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if len(want) > 0 && !strings.Contains(line, want[i]) {
			t.Errorf("%s, line %d: %q, want %q in it", what, i+1, line, want[i])
		}
	}
}

func TestConfigValidateForScripts(t *testing.T) {
	isolate(t)
	writeFile(t, "good.yaml", pipeline.Example("regex"))
	writeFile(t, "bad.yaml", "inputs: 1\nflushers: 2\n")
	code, stdout, stderr := call(t, "config", "validate", "-o", "json", "good.yaml", "bad.yaml")
	var results []validation
	if err := json.Unmarshal([]byte(stdout), &results); err != nil {
		t.Fatal(err)
	}
	if code != exitFailed || stderr != "" || len(results) != 2 || !results[0].Valid || results[1].Valid || len(results[1].Errors) != 2 || results[1].Errors[0].Line != 1 {
		t.Errorf("code %d, error %q, results %+v", code, stderr, results)
	}
}

func TestConfigExampleParses(t *testing.T) {
	for _, mode := range pipeline.ExampleModes() {
		code, stdout, stderr := call(t, "config", "example", mode)
		if _, err := pipeline.Parse("p.yaml", []byte(stdout)); code != exitDone || stderr != "" || err != nil {
			t.Errorf("%s: code %d, %s %v", mode, code, stderr, err)
		}
	}
	if code, stdout, _ := call(t, "config", "example"); code != exitDone || strings.Count(stdout, "---\n") != len(pipeline.ExampleModes())-1 {
		t.Errorf("all examples: code %d\n%s", code, stdout)
	}
}
