package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// isolate keeps the machine's own credentials out of a test.
func isolate(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	t.Setenv("HOME", dir)
	t.Setenv(credentialsEnv, "")
	t.Setenv(keyIDEnv, "")
	t.Setenv(keySecretEnv, "")
	return dir
}

// Wrong usage ends with 2 and one line that names the thing and the remedy.
func TestWrongUsage(t *testing.T) {
	for _, c := range []struct {
		args string // separated by |
		want []string
	}{
		{"qury", []string{`unknown command "qury"`, "did you mean query?"}},
		{"xyzzy", []string{`unknown command "xyzzy"`, "the commands are: agent, checkpoint"}},
		{"--bogus", []string{"unknown flag: --bogus", "see logtail --help"}},
		{"config|check", []string{`unknown command "check"`, "validate"}},
		{"config|validate", []string{"no file is given"}},
		{"config|example|nope", []string{`no example "nope"`, "regex"}},
		{"version|now", []string{`unexpected argument "now"`}},
		{"version|-o|xml", []string{"xml", "allowed: text, json"}},
		{"query|a|b", []string{`unexpected argument "b"`, "single quotes"}},
		{"query|--bogus", []string{"unknown flag: --bogus", "see logtail query --help"}},
		{"query|-o|xml", []string{"xml", "allowed: table, json, csv"}},
		{"query|--from|yesterday", []string{`--from "yesterday" is not a time`, "-15m", "unix seconds"}},
		{"query|--to|25:00", []string{`--to "25:00" is not a time`}},
		{"query|--from|now|--to|-1h", []string{"--from now is after --to -1h"}},
		{"query|--limit|-1", []string{"--limit -1 is negative"}},
		{"query|--limit|many", []string{"--limit", "many"}},
		{"query|--reverse|--oldest-first", []string{"--reverse and --oldest-first exclude one another"}},
		{"tail|-o|csv", []string{"csv", "allowed: table, json"}},
		{"tail|a and", []string{"query, column"}},
		{"tail|a|b", []string{`unexpected argument "b"`}},
		{"server|x", []string{`unexpected argument "x"`}},
		{"server|--listen|7480", []string{`--listen "7480" is not an address`, "127.0.0.1:7480"}},
		{"server|--listen|127.0.0.1:99999", []string{`port "99999"`, "0 to 65535"}},
		{"server|--data|", []string{"--data is empty"}},
		{"server|--tls-cert|a", []string{"--tls-cert and --tls-key belong together"}},
		{"server|--tls-cert|a|--tls-key|b|--insecure-http", []string{"exclude one another"}},
		{"server|--log-level|loud", []string{`--log-level "loud"`, "debug, info, warn, error"}},
		{"up|/var/log/a.log", []string{`unexpected argument "/var/log/a.log"`, "in quotes"}},
		{"up|--path|", []string{"--path is empty"}},
		{"up|--path|.", []string{`--path "." is a directory`, "*.log"}},
		{"up|--listen|x", []string{`--listen "x" is not an address`}},
		{"up|--log-level|info+1", []string{`--log-level "info+1"`}},
		{"run", []string{"no pipeline is given", "config example"}},
		{"run|a.yaml|--log-level|x", []string{`--log-level "x"`}},
		{"agent", []string{"--conf is missing"}},
		{"agent|x", []string{`unexpected argument "x"`}},
		{"status|x", []string{`unexpected argument "x"`}},
		{"status|-o|csv", []string{"csv", "allowed: table, json"}},
		{"status|--data|", []string{"--data is empty"}},
		{"status|--path|[", []string{`--path "[" is no pattern`, "*.log"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			isolate(t)
			code, stdout, stderr := call(t, strings.Split(c.args, "|")...)
			if code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if stdout != "" {
				t.Errorf("standard output: %q", stdout)
			}
			checkOneLine(t, stderr, c.want)
		})
	}
}

func checkOneLine(t *testing.T, stderr string, want []string) {
	t.Helper()
	if !strings.HasPrefix(stderr, "logtail: ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("not one line that begins with logtail: %q", stderr)
	}
	for _, w := range want {
		if !strings.Contains(stderr, w) {
			t.Errorf("standard error is\n\t%s\nwant in it\n\t%s", stderr, w)
		}
	}
}

func TestNoCommandShowsHelpAndFails(t *testing.T) {
	for _, args := range [][]string{{}, {"config"}} {
		code, stdout, stderr := call(t, args...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, "Available Commands:") || strings.Contains(stderr, "logtail: ") {
			t.Errorf("%v: code %d, output %q, error %q", args, code, stdout, stderr)
		}
	}
}

func TestHelpIsShownWhenAskedFor(t *testing.T) {
	for _, args := range [][]string{
		{"--help"},
		{"help", "query"},
		{"up", "--help"},
		{"server", "-h"},
		{"agent", "-h"},
		{"run", "-h"},
		{"query", "-h"},
		{"tail", "-h"},
		{"status", "-h"},
		{"checkpoint", "list", "-h"},
		{"checkpoint", "import", "-h"},
		{"config", "-h"},
		{"config", "validate", "-h"},
		{"config", "example", "-h"},
		{"version", "-h"},
	} {
		code, stdout, stderr := call(t, args...)
		if code != exitDone || !strings.Contains(stdout, "Usage:") || stderr != "" {
			t.Errorf("%v: code %d, output %q, error %q", args, code, stdout, stderr)
		}
	}
}

// The reference names every command and every flag.
func TestReferenceNamesEveryCommandAndFlag(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range commandsAndFlags() {
		if !strings.Contains(string(text), name) {
			t.Errorf("%s is not in docs/reference/cli.md", name)
		}
	}
}

func TestVersion(t *testing.T) {
	code, stdout, _ := call(t, "version")
	if code != exitDone || !strings.HasPrefix(stdout, "logtail ") || strings.Count(stdout, "\n") != 1 {
		t.Errorf("code %d, %q", code, stdout)
	}
	code, stdout, _ = call(t, "version", "-o", "json")
	if code != exitDone || !strings.Contains(stdout, `"version":"`) {
		t.Errorf("code %d, %q", code, stdout)
	}
}

func TestAPanicIsOneLine(t *testing.T) {
	t.Setenv("LOGTAIL_TRACE", "")
	var w panicWriter
	var stderr strings.Builder
	code := run(t.Context(), stdio{in: strings.NewReader(""), out: w, err: &stderr}, []string{"version"})
	if code != exitFailed {
		t.Errorf("code %d", code)
	}
	checkOneLine(t, stderr.String(), []string{"internal error: no disk", "LOGTAIL_TRACE=1"})
}

type panicWriter struct{}

func (panicWriter) Write([]byte) (int, error) { panic("no\ndisk") }

func commandsAndFlags() []string {
	var names []string
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		names = append(names, "`"+c.CommandPath())
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" {
				names = append(names, "--"+f.Name)
			}
		})
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				walk(sub)
			}
		}
	}
	walk(newRoot(stdio{}))
	return names
}
