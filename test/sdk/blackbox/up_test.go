package blackbox

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// awaitCount waits until n logs that match are found, and fails at once if there are more.
func (m *machine) awaitCount(query string, n int64) {
	m.t.Helper()
	m.wait(fmt.Sprintf("%d logs", n), func() error {
		got, err := m.count(query)
		if err != nil {
			return err
		}
		if got > n {
			m.t.Fatalf("%d logs are found, only %d were written; doubled by PullLogs: %s\n%s", got, n, doubled(m.pulled()), m.out)
		}
		if got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
}

// awaitSeen waits until the first lines of a file are found. A file that is
// renamed out of the pattern before anybody saw it never belonged to it.
func (m *machine) awaitSeen(name string) {
	m.t.Helper()
	m.wait("the first lines of "+name, func() error {
		if n, err := m.count("content: " + name); err != nil || n == 0 {
			return fmt.Errorf("none yet: %w", err)
		}
		return nil
	})
}

// doubled says how many lines of which files are there more than once.
func doubled(found map[string]int) string {
	files, example := map[string]int{}, ""
	for l, n := range found {
		if n > 1 {
			files[strings.Fields(l)[0]]++
			example = l
		}
	}
	return fmt.Sprintf("%v, for example %q", files, example)
}

func TestEveryLineIsFoundOnce(t *testing.T) {
	m := newMachine(t)
	m.up()
	var lines []string
	var w []*writer
	for i := range 3 {
		w = append(w, m.writer(fmt.Sprint("file", i), &lines))
	}
	for i := range 100 {
		for _, x := range w {
			x.write(333)
		}
		if i == 0 {
			m.awaitSeen("file1")
		}
		if i == 50 {
			w[1].rotate(".1")
		}
	}
	w[0].write(100)
	if len(lines) != 100_000 {
		t.Fatalf("the test wrote %d lines", len(lines))
	}
	m.awaitCount("*", 100_000)
	compare(t, "PullLogs", m.pulled(), lines)
	compare(t, "GetLogs", m.queried("*"), lines)

	out, err := m.run("query", "--project", m.Project, "--logstore", m.Logstore, "-o", "json", "file1 and 033300")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out, "file1 line 033300"); n != 1 {
		t.Errorf("logtail query finds the line %d times:\n%s", n, out)
	}
	m.interrupt()
}

func TestEveryLineIsFoundOnceThoughEverythingIsKilled(t *testing.T) {
	m := newMachine(t)
	m.up()
	var lines []string
	a, b, c := m.writer("a", &lines), m.writer("b", &lines), m.writer("c", &lines)
	for i := range 50 {
		a.write(400)
		b.write(400)
		c.write(400)
		if i == 0 {
			m.awaitSeen("b")
		}
	}
	m.kill() // somewhere in the middle of reading, sending and indexing
	b.write(1000)
	b.rotate(".1")
	b.write(2000)
	c.write(1000)
	d := m.writer("d", &lines) // made while nobody looked, and over 1 MB
	d.write(20_000)
	m.up()
	a.write(5000)
	m.kill()
	a.write(5000)
	m.up()
	for range 5 {
		a.write(200)
		b.write(200)
		c.write(200)
		d.write(200)
	}
	d.write(100_000 - len(lines))
	if fi, err := os.Stat(filepath.Join(m.logs, "d.log")); err != nil || fi.Size() < 1<<20 {
		t.Fatalf("d.log is not over 1 MB: %v", err)
	}
	m.awaitCount("*", 100_000)
	compare(t, "PullLogs", m.pulled(), lines)
	m.interrupt()
	m.up()
	m.awaitCount("*", 100_000)
	compare(t, "GetLogs after a restart", m.queried("*"), lines)
	m.interrupt()
}

func TestTheCommandLine(t *testing.T) {
	m := newMachine(t)
	var lines []string
	w := m.writer("app", &lines)
	w.write(50)
	m.up() // what is there already is not an empty first page
	m.awaitCount("*", 50)
	w.write(50)
	m.awaitCount("*", 100)
	m.awaitCount("content:fox and 000007", 1)
	m.awaitCount("not fox", 0)

	out, err := m.run("query", "-o", "json", "--limit", "1000", "lazy")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, l := range strings.Split(strings.TrimSpace(out), "\n") {
		var row map[string]string
		if err := json.Unmarshal([]byte(l), &row); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		found[row["content"]]++
	}
	compare(t, "logtail query", found, lines)

	for _, c := range []struct {
		args []string
		code string
		want string
	}{
		{[]string{"query", "status >"}, "exit status", "status"},
		{[]string{"query", "--logstore", "nowhere", "*"}, "exit status 1", "nowhere"},
		{[]string{"query", "--bogus", "*"}, "exit status 2", "bogus"},
		{[]string{"up", "--data", m.data, "--listen", "127.0.0.1:0"}, "exit status 1", m.data},
		{[]string{"config", "validate", filepath.Join(m.logs, "none.yaml")}, "exit status 1", "none.yaml"},
	} {
		out, err := m.run(c.args...)
		if err == nil || !strings.Contains(err.Error(), c.code) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("logtail %s: %v\n%s", strings.Join(c.args, " "), err, out)
		}
		if err != nil && (strings.Contains(err.Error(), "goroutine ") || strings.Count(strings.TrimSpace(err.Error()), "\n") > 1) {
			t.Errorf("logtail %s does not fail with one clear line: %v", strings.Join(c.args, " "), err)
		}
	}
	m.interrupt()
}
