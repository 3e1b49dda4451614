package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logtail/internal/agent/ledger"
	"logtail/internal/agent/status"
)

// standing is an agent with a fixed status.
type standing struct {
	status status.Status
	files  []status.File
}

func (s *standing) Status() status.Status { return s.status }
func (s *standing) Files() []status.File  { return append([]status.File(nil), s.files...) }

func busyAgent() *standing {
	count := func(path string, r ledger.Reason, logs, bytes int64) ledger.Entry {
		return ledger.Entry{Key: ledger.Key{Pipeline: "web", Path: path, Reason: r}, Count: ledger.Count{Logs: logs, Bytes: bytes, Times: 1}}
	}
	return &standing{
		status: status.Status{
			Files: 12345, OpenFiles: 7, Held: status.Held{Files: 2, Bytes: 1_500_000}, ReadBytes: 2_000_000_000, Logs: 1_000_000,
			Counts: []ledger.Entry{
				count("/log/a", ledger.Filtered, 5, 50), count("/log/a", ledger.FileDeleted, 0, 4000), count("/log/b", ledger.FileDeleted, 0, 2000), count("/log/b", ledger.Split, 3, 0),
			},
			Destinations: []status.Destination{
				{Name: "shop/access at logs.example.com", State: "ok", DeliveredLogs: 999, DeliveredBytes: 1000, Requests: 17, Concurrency: 4},
				{Name: "shop/audit at logs.example.com", State: "no contact", QueuedPackages: 3, QueuedBytes: 3000, BufferedPackages: 1200, BufferedBytes: 5_000_000, Failures: 9, Error: "connection\nrefused"},
			},
			Buffer:    status.Buffer{Files: 2, Bytes: 5_000_000, Records: 1200, Oldest: time.Now()},
			Pipelines: []status.Pipeline{{Name: "web", Files: 12345, ReadBytes: 1_900_000_000, Records: 1_000_005, Logs: 1_000_000}},
		},
		files: []status.File{
			{Pipeline: "web", Path: "/log/b", Stream: "02", Dev: 1, Inode: 22, Size: 50, Offset: 40, Acked: status.Offsets{{Flusher: "x", End: 30}, {Flusher: "y", End: 40}}, Lag: 20, Held: 20, State: status.FileHeld},
			{Pipeline: "web", Path: "/log/a", Stream: "01", State: status.FileIdle},
			{Pipeline: "audit", Path: "/log/a", Stream: "03", State: status.FilePending},
		},
	}
}

// stand serves an agent's status in a subfolder of data.
func stand(t *testing.T, dir string, src status.Source) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := status.Listen(dir, src, status.Options{Version: "1.2.3", Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// squeeze makes one space of several, as the widths are not what is tested.
func squeeze(s string) string {
	var lines []string
	for l := range strings.Lines(s) {
		lines = append(lines, strings.Join(strings.Fields(l), " "))
	}
	return strings.Join(lines, "\n")
}

func TestStatusForPeople(t *testing.T) {
	dir := isolate(t)
	data := filepath.Join(dir, "d")
	stand(t, filepath.Join(data, "agent"), busyAgent())
	for _, named := range []string{data, filepath.Join(data, "agent")} {
		code, stdout, stderr := call(t, "status", "--data", named)
		if code != exitDone || stderr != "" {
			t.Fatalf("code %d, %s", code, stderr)
		}
		for _, want := range []string{
			fmt.Sprintf("agent 1.2.3, process %d, running since ", os.Getpid()),
			"files 12,345, 7 open",
			"held 2 files gone from their paths, 1.5 MB not delivered",
			"read 2.0 GB, 1,000,000 logs",
			"disk buffer 1200 packages in 2 files, 5.0 MB, the oldest from ",
			"shop/access at logs.example.com ok - - 999 logs, 1.0 kB 17 0 4 -",
			`shop/audit at logs.example.com no contact 3 (3.0 kB) 1,200 (5.0 MB) 0 logs, 0 B 0 9 0 connection\nrefused`,
			"web 12,345 1.9 GB 1,000,005 1,000,000",
			"lost web 2 0 6,000 file_deleted: The file was deleted",
			"left out by rule web 1 5 50 filtered: ",
			"changed web 1 3 0 split: ",
		} {
			if !strings.Contains(squeeze(stdout), want) {
				t.Errorf("no %q in\n%s", want, stdout)
			}
		}
		if strings.Contains(stdout, "/log/a") {
			t.Errorf("files that nobody asked for:\n%s", stdout)
		}
	}
}

func TestStatusListsFiles(t *testing.T) {
	dir := isolate(t)
	stand(t, filepath.Join(dir, "d", "run"), busyAgent())
	for _, c := range []struct {
		args string
		want string // lines of the list
		code int
	}{
		{"--files", "pending audit 0 0 0 0 - 0:0 03 /log/a\nidle web 0 0 0 0 - 0:0 01 /log/a\nheld web 50 40 20 20 x 30, y 40 1:22 02 /log/b", exitDone},
		{"--path|/log/*|--pipeline|audit", "pending audit 0 0 0 0 - 0:0 03 /log/a", exitDone},
		{"--pipeline|none", "", exitFailed},
		{"--path|log/a", "", exitFailed}, // relative to this folder
	} {
		code, stdout, stderr := call(t, append([]string{"status", "--data", "d"}, strings.Split(c.args, "|")...)...)
		_, list, _ := strings.Cut(squeeze(stdout), "STREAM PATH\n")
		if code != c.code || list != c.want {
			t.Errorf("%s: code %d, list %q, %s", c.args, code, list, stdout)
		}
		if c.code != exitDone {
			checkOneLine(t, stderr, []string{"knows no such file", "--files"})
		}
	}
}

func TestStatusForScripts(t *testing.T) {
	dir := isolate(t)
	src := busyAgent()
	stand(t, filepath.Join(dir, "d", "agent"), src)
	var got struct {
		status.Status
		Files []status.File `json:"file_list"`
	}
	code, stdout, stderr := call(t, "status", "--data", "d", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != exitDone || stderr != "" {
		t.Fatalf("code %d, %v, %s %s", code, err, stdout, stderr)
	}
	if !got.Running || got.PID != os.Getpid() || got.Status.Files != 12345 || len(got.Counts) != 4 || got.Files != nil || strings.Count(stdout, "\n") != 1 {
		t.Errorf("%s", stdout)
	}
	code, stdout, _ = call(t, "status", "--data", "d", "-o", "json", "--files")
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != exitDone || len(got.Files) != 3 || got.Files[2].Acked[1].End != 40 {
		t.Errorf("code %d, %v, %s", code, err, stdout)
	}
	code, stdout, _ = call(t, "status", "--data", "d", "-o", "json", "--path", "/none")
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != exitFailed || len(got.Files) != 0 {
		t.Errorf("code %d, %v, %s", code, err, stdout)
	}
}

func TestStatusNamesTheOtherAgent(t *testing.T) {
	dir := isolate(t)
	stand(t, filepath.Join(dir, "d", "agent"), busyAgent())
	stand(t, filepath.Join(dir, "d", "run"), busyAgent())
	code, stdout, stderr := call(t, "status", "--data", "d")
	if code != exitDone || !strings.Contains(stdout, filepath.Join("d", "agent")) {
		t.Errorf("code %d, %s", code, stdout)
	}
	checkOneLine(t, stderr, []string{"another agent runs too", filepath.Join("d", "run")})
}

func TestStatusWithoutAnythingFails(t *testing.T) {
	isolate(t)
	code, stdout, stderr := call(t, "status", "--data", "none")
	if code != exitFailed || stdout != "" {
		t.Errorf("code %d, %s", code, stdout)
	}
	checkOneLine(t, stderr, []string{"no agent runs on none", "--data"})
}

// ask returns the status of the agent in ./logtail-data, and whether it runs.
func ask(t *testing.T) (s status.Status, ok bool) {
	t.Helper()
	code, stdout, _ := call(t, "status", "-o", "json")
	if code != exitDone {
		return s, false
	}
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		t.Fatal(err)
	}
	return s, s.Running
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	limit := time.After(time.Minute)
	for !ok() {
		select {
		case <-poll.C:
		case <-limit:
			t.Fatalf("it never is so: %s", what)
		}
	}
}

// The whole way: two processes, of which the one that collects is killed.
func TestAgentSurvivesTheDeathOfItsWorker(t *testing.T) {
	dir := isolate(t)
	writeFile(t, "conf/p.yaml", fmt.Sprintf("inputs:\n  - {Type: input_file, FilePaths: ['%s'], TailingAllMatchedFiles: true}\nflushers:\n  - {Type: flusher_file, FilePath: '%s'}\n",
		filepath.Join(dir, "in.log"), filepath.Join(dir, "out.jsonl")))
	writeFile(t, "in.log", "one\n")
	ctx, stop := context.WithCancel(t.Context())
	var code int
	var stderr string
	done := make(chan struct{})
	go func() {
		defer close(done)
		code, _, stderr = callContext(ctx, "agent", "--conf", "conf", "--metrics-listen", "0")
	}()
	t.Cleanup(func() { stop(); <-done })
	delivered := func(lines int) bool {
		text, _ := os.ReadFile("out.jsonl")
		return strings.Count(string(text), "\n") >= lines
	}
	until(t, "the first line is delivered", func() bool { return delivered(1) })
	var first status.Status
	until(t, "it tells", func() (ok bool) { first, ok = ask(t); return ok })
	if first.PID == os.Getpid() || first.Files != 1 {
		t.Fatalf("%+v", first)
	}
	p, err := os.FindProcess(first.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, "in.log", "one\ntwo\n")
	until(t, "another worker tells", func() bool { s, ok := ask(t); return ok && s.PID != first.PID })
	until(t, "the second line is delivered", func() bool { return delivered(2) })
	stop()
	<-done
	if code != exitDone || !strings.Contains(stderr, "LOGTAIL_CRASH_ALARM") {
		t.Errorf("code %d, %s", code, stderr)
	}
	if s, running := ask(t); running || s.Files != 1 || len(s.Pipelines) != 1 {
		t.Errorf("after its end %+v", s)
	}
	code, stdout, _ := call(t, "status", "--files")
	if code != exitDone || !strings.Contains(squeeze(stdout), "agent does not run") || !strings.Contains(squeeze(stdout), "idle p 8 8 0 0 flusher_file#1 8") {
		t.Errorf("code %d, %s", code, stdout)
	}
}

func TestAgentThatCannotServeItsMetricsSaysSo(t *testing.T) {
	dir := isolate(t)
	writeFile(t, "in.log", "x\n")
	writeFile(t, "conf/p.yaml", once(dir))
	code, _, stderr := call(t, "agent", "--conf", "conf", "--metrics-listen", "256.0.0.1:x")
	if code != exitFailed {
		t.Errorf("code %d", code)
	}
	checkOneLine(t, stderr, []string{"cannot serve metrics at 256.0.0.1:x", "--metrics-listen"})
}

func TestReferenceNamesEveryReason(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ledger.Table() {
		class := strings.ReplaceAll(i.Class.String(), "_", " ")
		if line := fmt.Sprintf("| `%s` | %s | %s |", i.Reason, class, i.Doc); !strings.Contains(string(text), line) {
			t.Errorf("docs/reference/cli.md has no line\n%s", line)
		}
	}
}
