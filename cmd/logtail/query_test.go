package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"logtail/internal/sls"
)

func TestQueryPagesThroughAll(t *testing.T) {
	isolate(t)
	f := newFakeService(t)
	for i := range 250 {
		f.rows = append(f.rows, row{fieldTime: "1700000000", "content": "line " + strconv.Itoa(i)})
	}
	creds := f.credentialsFile(t, nil)
	for _, c := range []struct {
		flags   []string
		rows    int
		queries int
	}{
		{nil, 100, 1},
		{[]string{"--limit", "0"}, 250, 3},
		{[]string{"--limit", "150"}, 150, 2},
		{[]string{"--limit", "7"}, 7, 1},
	} {
		t.Run(strings.Join(c.flags, " "), func(t *testing.T) {
			f.queries = nil
			args := append([]string{"query", "--credentials", creds, "-o", "json", "content: line"}, c.flags...)
			code, stdout, stderr := call(t, args...)
			if code != exitDone || stderr != "" {
				t.Fatalf("code %d, %s", code, stderr)
			}
			lines := strings.Split(strings.TrimSpace(stdout), "\n")
			if len(lines) != c.rows || len(f.queries) != c.queries {
				t.Fatalf("%d rows by %d queries, want %d by %d", len(lines), len(f.queries), c.rows, c.queries)
			}
			for i, line := range lines {
				if want := fmt.Sprintf(`{"__time__":"1700000000","content":"line %d"}`, i); line != want {
					t.Fatalf("row %d is %s, want %s", i, line, want)
				}
			}
			if q := f.queries[0]; q.Query != "content: line" || !q.Reverse || q.To <= q.From {
				t.Errorf("query %+v", q)
			}
		})
	}
}

func TestQueryFlagsReachTheService(t *testing.T) {
	isolate(t)
	f := newFakeService(t)
	creds := f.credentialsFile(t, map[string]string{"project": "", "logstore": ""})
	code, _, stderr := call(t, "query", "--credentials", creds, "--project", "p", "--logstore", "l", "--from", "1700000000", "--to", "2023-11-14T22:13:40Z", "--oldest-first")
	if code != exitDone || len(f.queries) != 1 {
		t.Fatalf("code %d, %s, queries %v", code, stderr, f.queries)
	}
	if q := f.queries[0]; q.From != 1700000000 || q.To != 1700000021 || q.Reverse || q.Query != "*" || q.Line != 100 {
		t.Errorf("query %+v", q)
	}
}

func TestQueryAsksAgainUntilTheResultIsComplete(t *testing.T) {
	isolate(t)
	f := newFakeService(t)
	f.rows = []row{{"content": "x"}}
	waits := 0
	o := queryOptions{
		from: "-1h", to: "now", limit: 10, now: time.Now, output: outputFlag{format: "json"},
		wait: func(context.Context, time.Duration) error { waits++; return nil },
	}
	ask := func() (string, error) {
		var out strings.Builder
		cmd := &cobra.Command{}
		addTargetFlags(cmd)
		if err := cmd.Flags().Set("credentials", f.credentialsFile(t, nil)); err != nil {
			t.Fatal(err)
		}
		cmd.SetContext(t.Context())
		cmd.SetOut(&out)
		err := o.run(cmd, "x")
		return out.String(), err
	}
	f.incomplete = 3
	if out, err := ask(); err != nil || waits != 3 || out != "{\"content\":\"x\"}\n" {
		t.Errorf("%q after %d waits: %v", out, waits, err)
	}
	f.incomplete = incompleteTries
	if _, err := ask(); err == nil || !strings.Contains(err.Error(), "did not finish the search") {
		t.Errorf("error %v", err)
	}
}

// What the service or the way to it refuses ends with 1 and one line.
func TestClientCommandsExplainWhatFails(t *testing.T) {
	dir := isolate(t)
	f := newFakeService(t)
	gone := newFakeService(t)
	gone.Close()
	for _, c := range []struct {
		name  string
		creds map[string]string
		flags string
		want  []string
	}{
		{"unknown key", map[string]string{"access_key_id": "OTHER"}, "", []string{"the access key OTHER from ", "was refused by " + f.URL, "--credentials"}},
		{"wrong secret", map[string]string{"access_key_secret": "no"}, "", []string{"was refused by", "SignatureNotMatch"}},
		{"no project", nil, "--project=q", []string{"there is no project q", "--project"}},
		{"no logstore", nil, "--logstore=m", []string{"there is no logstore m in the project p", "--logstore"}},
		{"service away", map[string]string{"endpoint": gone.URL}, "", []string{"the service at " + gone.URL, "cannot be reached", "refused", "logtail up"}},
		{"no secret", map[string]string{"access_key_secret": ""}, "", []string{"has no access_key_secret"}},
		{"bad endpoint", map[string]string{"endpoint": "ftp://x"}, "", []string{"the endpoint in the credentials file", "http"}},
		{"bad certificate", map[string]string{"certificate": "x"}, "", []string{"certificate in the credentials file", "cannot be read"}},
		{"no such file", nil, "--credentials=" + filepath.Join(dir, "none.json"), []string{"none.json does not exist", "logtail up"}},
	} {
		for _, command := range []string{"query", "tail"} {
			t.Run(command+" "+c.name, func(t *testing.T) {
				args := []string{command, "--credentials", f.credentialsFile(t, c.creds)}
				if c.flags != "" {
					args = append(args, c.flags)
				}
				code, stdout, stderr := call(t, args...)
				if code != exitFailed || stdout != "" {
					t.Errorf("code %d, output %q", code, stdout)
				}
				checkOneLine(t, stderr, c.want)
				if strings.Contains(stderr, testSecret) {
					t.Error("the secret is in the message")
				}
			})
		}
	}
}

func TestAWrongQueryIsWrongUsage(t *testing.T) {
	for _, code := range []string{sls.CodeInvalidQueryString, sls.CodeParameterInvalid} {
		isolate(t)
		f := newFakeService(t)
		f.refuse = sls.NewError(code, "query, column 3: found )")
		code, _, stderr := call(t, "query", "--credentials", f.credentialsFile(t, nil), "a )")
		if code != exitUsage {
			t.Errorf("code %d", code)
		}
		checkOneLine(t, stderr, []string{"logtail: query, column 3: found )", "see logtail query --help"})
	}
}

func TestQueryWritesCSVWithAllColumns(t *testing.T) {
	isolate(t)
	f := newFakeService(t)
	f.rows = []row{{fieldTime: "1", "a": "x,y", fieldSource: "s"}, {fieldTime: "2", "b": "line\nbreak"}}
	code, stdout, stderr := call(t, "query", "--credentials", f.credentialsFile(t, nil), "-o", "csv")
	records, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if code != exitDone || err != nil {
		t.Fatal(code, stderr, err)
	}
	if got, want := fmt.Sprintf("%q", records), `[["__time__" "a" "b" "__source__"] ["1" "x,y" "" "s"] ["2" "" "line\nbreak" ""]]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCredentialsAreLookedForInOrder(t *testing.T) {
	dir := isolate(t)
	if _, err := findCredentials(""); err == nil || !strings.Contains(err.Error(), "--credentials") {
		t.Errorf("with no file: %v", err)
	}
	check := func(want string) {
		t.Helper()
		if got, err := findCredentials(""); err != nil || filepath.Clean(got) != filepath.Clean(want) {
			t.Errorf("found %q, %v; want %q", got, err, want)
		}
	}
	writeFile(t, filepath.Join("logtail-data", "credentials.json"), "{}")
	check("logtail-data/credentials.json")
	config, err := os.UserConfigDir()
	if err != nil || !strings.HasPrefix(config, dir) {
		t.Skip("the user's configuration folder cannot be moved here")
	}
	writeFile(t, filepath.Join(config, "logtail", "credentials.json"), "{}")
	check(filepath.Join(config, "logtail", "credentials.json"))
	t.Setenv(credentialsEnv, "from-env.json")
	check("from-env.json")
	if got, _ := findCredentials("named.json"); got != "named.json" {
		t.Errorf("found %q, want the file that was named", got)
	}
}

func TestCredentialsThatOthersCanReadAreWarnedOf(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such modes")
	}
	isolate(t)
	f := newFakeService(t)
	path := f.credentialsFile(t, nil)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := call(t, "query", "--credentials", path)
	if code != exitDone || !strings.Contains(stderr, "can be read by other users") || !strings.Contains(stderr, "chmod 600") {
		t.Errorf("code %d, %q", code, stderr)
	}
}

func TestTailShowsWhatArrivesOnceAndEndsWithCtrlC(t *testing.T) {
	isolate(t)
	f := newFakeService(t)
	f.groups[1] = nil
	f.append(0, "error before the start")
	ctx, interrupt := context.WithCancel(t.Context())
	pulls := 0
	f.hooks["GET /logstores/l/shards/1"] = func() {
		switch pulls++; pulls {
		case 1: // the cursor
		case 2:
			f.append(0, "an error in shard 0")
			f.append(1, "no match")
			f.append(1, "an error in shard 1")
		case 5:
			interrupt()
		}
	}
	code, stdout, stderr := callContext(ctx, "tail", "--credentials", f.credentialsFile(t, nil), "-o", "json", "error and __tag__:__path__:a.log")
	if code != exitDone || stderr != "" {
		t.Errorf("code %d, error %q", code, stderr)
	}
	if strings.Count(stdout, "\n") != 2 || strings.Count(stdout, `"an error in shard 0"`) != 1 || strings.Count(stdout, `"an error in shard 1"`) != 1 {
		t.Errorf("output:\n%s", stdout)
	}
	if want := `{"__source__":"10.0.0.1","__tag__:__path__":"/a.log","__time__":"1700000000","__topic__":"t","content":"an error in shard 1"}`; !strings.Contains(stdout, want) {
		t.Errorf("output:\n%s\nwant in it %s", stdout, want)
	}
}

func TestTailEndsWhenItIsRefused(t *testing.T) {
	isolate(t)
	f := newFakeService(t)
	f.refuse = sls.NewError(sls.CodeUnauthorized, "the key was disabled")
	code, _, stderr := call(t, "tail", "--credentials", f.credentialsFile(t, nil))
	if code != exitFailed {
		t.Errorf("code %d", code)
	}
	checkOneLine(t, stderr, []string{"was refused"})
}

func TestTailGoesOnAfterTheServiceWasAway(t *testing.T) {
	f := newFakeService(t)
	c, err := sls.NewClient(sls.ClientOptions{Endpoint: f.URL, Signer: sls.Signer{Credentials: sls.Credentials{AccessKeyID: testKey, AccessKeySecret: testSecret}}})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	fo := &follower{target: &target{Client: c, creds: &credentials{}, project: "p", logstore: "l"}, say: func(s string) { said = append(said, s) }}
	away := fmt.Errorf("pull: %w", sls.ErrNetwork)
	for range maxPullFails {
		if !fo.goOn(away) {
			t.Fatal("gave up too early")
		}
	}
	if fo.goOn(away) || len(said) != 1 {
		t.Errorf("never gave up, or said %d lines", len(said))
	}
	fo.fails = 0
	if !fo.goOn(sls.NewError(sls.CodeServerBusy, "")) || fo.goOn(sls.NewError(sls.CodeInvalidCursor, "")) {
		t.Error("busy must be waited for, a lost cursor must not")
	}
}
