package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBoundsOfTheDiskBufferAreChecked(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("conf", 0o700); err != nil {
		t.Fatal(err)
	}
	pipeline := "inputs:\n  - Type: input_file\n    FilePaths: [/nowhere/*.log]\nflushers:\n  - Type: flusher_blackhole\n"
	if err := os.WriteFile(filepath.Join("conf", "p.yaml"), []byte(pipeline), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{
		{"--buffer-file-num", "0"},
		{"--buffer-file-num", "10001"},
		{"--buffer-file-size", "1000"},
		{"--buffer-file-size", "1073741825"},
	} {
		code, _, stderr := call(t, append([]string{"agent", "--no-supervisor", "--conf", "conf"}, c...)...)
		if code != exitUsage {
			t.Errorf("%v: exit %d", c, code)
		}
		checkOneLine(t, stderr, []string{c[0] + " is " + c[1]})
	}
}
