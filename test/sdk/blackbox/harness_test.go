// Package blackbox starts the real binary and talks to it as its users do:
// through files, through its command line and through the stock SLS SDK.
package blackbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	sls "github.com/aliyun/aliyun-log-go-sdk"

	"logtail/test/sdk/sdkclient"
)

// patience is how long a test waits for something that must come.
const patience = 2 * time.Minute

// binary is the path of the program: $LOGTAIL_BIN, or one built by TestMain.
var binary = os.Getenv("LOGTAIL_BIN")

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if binary == "" {
		dir, err := os.MkdirTemp("", "logtail-blackbox-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "logtail")
		cmd := exec.Command("go", "build", "-o", binary, "./cmd/logtail")
		cmd.Dir = "../../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building logtail: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// credentials is what the service writes for its clients.
type credentials struct {
	Endpoint        string `json:"endpoint"`
	AccessKeyID     string `json:"access_key_id"`
	AccessKeySecret string `json:"access_key_secret"`
	Project         string `json:"project"`
	Logstore        string `json:"logstore"`
}

// machine is one `logtail up` with its folder and the logs that it collects.
type machine struct {
	t    *testing.T
	data string
	logs string
	cmd  *exec.Cmd
	done chan struct{}
	out  *lockedBuffer
	credentials
	sls.ClientInterface
}

func newMachine(t *testing.T) *machine {
	return &machine{t: t, data: filepath.Join(t.TempDir(), "data"), logs: t.TempDir(), out: &lockedBuffer{}}
}

// up starts the binary and waits until the service answers.
func (m *machine) up() {
	m.t.Helper()
	m.cmd = exec.Command(binary, "up", "--data", m.data, "--listen", "127.0.0.1:0", "--path", filepath.Join(m.logs, "*.log"))
	m.cmd.Stdout, m.cmd.Stderr = m.out, m.out
	old, _ := os.Stat(m.credentialsFile())
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	cmd, done := m.cmd, make(chan struct{})
	m.done = done
	go func() { _ = cmd.Wait(); close(done) }()            // its exit code is in ProcessState
	m.t.Cleanup(func() { _ = cmd.Process.Kill(); <-done }) // it may have ended already
	m.wait("the service to answer", func() error {
		select {
		case <-done:
			m.t.Fatalf("logtail up ended:\n%s", m.out)
		default:
		}
		now, err := os.Stat(m.credentialsFile())
		if err != nil || old != nil && !now.ModTime().After(old.ModTime()) {
			return fmt.Errorf("no new credentials file: %w", errors.Join(err))
		}
		b, err := os.ReadFile(m.credentialsFile())
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &m.credentials); err != nil {
			return err
		}
		m.ClientInterface = sdkclient.New(m.Endpoint, m.AccessKeyID, m.AccessKeySecret)
		_, err = m.GetLogStore(m.Project, m.Logstore)
		return err
	})
}

func (m *machine) credentialsFile() string { return filepath.Join(m.data, "credentials.json") }

// kill ends everything as a power cut of the process would.
func (m *machine) kill() {
	m.t.Helper()
	if err := m.cmd.Process.Kill(); err != nil {
		m.t.Fatal(err)
	}
	<-m.done
}

// interrupt is Ctrl-C; it returns when the program has ended.
func (m *machine) interrupt() {
	m.t.Helper()
	if err := m.cmd.Process.Signal(os.Interrupt); err != nil {
		m.t.Fatal(err)
	}
	select {
	case <-m.done:
	case <-time.After(patience):
		m.t.Fatalf("logtail does not end after an interrupt:\n%s", m.out)
	}
	if code := m.cmd.ProcessState.ExitCode(); code != 0 {
		m.t.Errorf("exit code %d after an interrupt:\n%s", code, m.out)
	}
}

// run runs another command of the binary and returns its output.
func (m *machine) run(args ...string) (string, error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "LOGTAIL_CREDENTIALS="+m.credentialsFile())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w: %s", err, stderr.String())
	}
	return stdout.String(), nil
}

// wait repeats f until it succeeds.
func (m *machine) wait(what string, f func() error) {
	m.t.Helper()
	deadline := time.After(patience)
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-deadline:
			m.t.Fatalf("waiting for %s: %v\n%s", what, err, m.out)
		}
	}
}

// pulled returns the content of every log by PullLogs from the beginning.
func (m *machine) pulled() map[string]int {
	m.t.Helper()
	shards, err := m.ListShards(m.Project, m.Logstore)
	if err != nil {
		m.t.Fatal(err)
	}
	found := map[string]int{}
	for _, s := range shards {
		cursor, err := m.GetCursor(m.Project, m.Logstore, s.ShardID, "begin")
		if err != nil {
			m.t.Fatal(err)
		}
		for {
			list, next, err := m.PullLogs(m.Project, m.Logstore, s.ShardID, cursor, "", 100)
			if err != nil {
				m.t.Fatal(err)
			}
			for _, g := range list.LogGroups {
				for _, l := range g.Logs {
					for _, c := range l.Contents {
						if c.GetKey() == "content" {
							found[c.GetValue()]++
						}
					}
				}
			}
			if next == cursor {
				break
			}
			cursor = next
		}
	}
	return found
}

// queried returns the content of every log that matches, by GetLogs.
func (m *machine) queried(query string) map[string]int {
	m.t.Helper()
	found := map[string]int{}
	now := time.Now().Unix()
	for offset := int64(0); ; {
		r, err := m.GetLogs(m.Project, m.Logstore, "", now-86400, now+3600, query, 100, offset, false)
		if err != nil {
			m.t.Fatal(err)
		}
		for _, l := range r.Logs {
			found[l["content"]]++
		}
		if len(r.Logs) == 0 {
			return found
		}
		offset += int64(len(r.Logs))
	}
}

// count returns how many logs match, by the histogram.
func (m *machine) count(query string) (int64, error) {
	now := time.Now().Unix()
	h, err := m.GetHistograms(m.Project, m.Logstore, "", now-86400, now+3600, query)
	if err != nil {
		return 0, err
	}
	return h.Count, nil
}

// compare reports what is missing and what is there too often.
func compare(t *testing.T, by string, found map[string]int, want []string) {
	t.Helper()
	missing, doubled, other := 0, 0, 0
	wanted := make(map[string]bool, len(want))
	for _, w := range want {
		wanted[w] = true
		switch n := found[w]; {
		case n == 0:
			missing++
		case n > 1:
			doubled++
		}
	}
	for l := range found {
		if !wanted[l] {
			other++
		}
	}
	if missing+doubled+other > 0 {
		t.Errorf("by %s: of %d lines %d are missing, %d are there more than once, and %d were never written", by, len(want), missing, doubled, other)
	}
}

// writer appends numbered lines to a file.
type writer struct {
	t     *testing.T
	f     *os.File
	lines *[]string
	n     int
	name  string
}

func (m *machine) writer(name string, lines *[]string) *writer {
	m.t.Helper()
	f, err := os.OpenFile(filepath.Join(m.logs, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { f.Close() })
	return &writer{t: m.t, f: f, lines: lines, name: name}
}

// write appends n lines in writes of 100.
func (w *writer) write(n int) {
	w.t.Helper()
	var b bytes.Buffer
	for i := range n {
		w.n++
		l := fmt.Sprintf("%s line %06d status=%d the quick brown fox jumps over the lazy dog", w.name, w.n, 200+w.n%5)
		*w.lines = append(*w.lines, l)
		b.WriteString(l)
		b.WriteByte('\n')
		if i%100 == 99 || i == n-1 {
			if _, err := w.f.Write(b.Bytes()); err != nil {
				w.t.Fatal(err)
			}
			b.Reset()
		}
	}
}

// rotate renames the file and goes on in a new one.
func (w *writer) rotate(suffix string) {
	w.t.Helper()
	path := w.f.Name()
	if err := os.Rename(path, path+suffix); err != nil {
		w.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		w.t.Fatal(err)
	}
	w.f.Close()
	w.f = f
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
