package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

const (
	testProject  = "proj"
	testLogstore = "store"
)

func lines(sec uint32, values ...string) []byte {
	g := sls.LogGroup{Topic: "test", Source: "10.0.0.1", Tags: []sls.Tag{{Key: "__path__", Value: "/var/log/x"}}}
	for _, v := range values {
		g.Logs = append(g.Logs, sls.Log{Sec: sec, Nsec: -1, Contents: []sls.Content{{Key: []byte("content"), Value: []byte(v)}}})
	}
	return g.AppendTo(nil)
}

// pulled reads all shards from the beginning.
func pulled(t *testing.T, c *sls.Client) map[string]int {
	t.Helper()
	ctx := context.Background()
	shards, err := c.ListShards(ctx, testProject, testLogstore)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, s := range shards {
		cursor, err := c.GetCursor(ctx, testProject, testLogstore, s.ID, "begin")
		if err != nil {
			t.Fatal(err)
		}
		for {
			groups, next, err := c.PullLogs(ctx, testProject, testLogstore, s.ID, cursor, 100)
			if err != nil {
				t.Fatal(err)
			}
			if len(groups) == 0 {
				break
			}
			for _, g := range groups {
				for _, l := range g.Logs {
					got[string(l.Contents[0].Value)]++
				}
			}
			cursor = next
		}
	}
	return got
}

// found searches all rows, page by page, until as many are there as expected:
// the index follows the shard log within a moment.
func found(t *testing.T, c *sls.Client, query string, want int) map[string]int {
	t.Helper()
	ctx := context.Background()
	q := sls.GetLogsRequest{From: 1, To: 1 << 31, Query: query, Line: 100}
	waitFor(t, fmt.Sprintf("%d rows of %q", want, query), func() bool {
		h, err := c.GetHistograms(ctx, testProject, testLogstore, sls.GetHistogramsRequest{From: q.From, To: q.To, Query: query})
		if err != nil {
			t.Fatal(err)
		}
		return h.Count >= int64(want)
	})
	got := make(map[string]int)
	for q.Offset = 0; ; q.Offset += 100 {
		reply, err := c.GetLogs(ctx, testProject, testLogstore, q)
		if err != nil {
			t.Fatal(err)
		}
		if len(reply.Logs) == 0 {
			return got
		}
		for _, l := range reply.Logs {
			got[l["content"]]++
		}
	}
}

// once checks that exactly the values 0 to n-1 are there, once each.
func once(t *testing.T, what string, got map[string]int, n int) {
	t.Helper()
	for i := range n {
		if v := value(i); got[v] != 1 {
			t.Errorf("%s: %q is there %d times", what, v, got[v])
			return
		}
	}
	if len(got) != n {
		t.Errorf("%s: %d different logs, want %d", what, len(got), n)
	}
}

func value(i int) string { return fmt.Sprintf("log number%d of the test", i) }

func TestPutPullQueryRestartQuery(t *testing.T) {
	o := Options{Data: t.TempDir(), InsecureHTTP: true}
	s := started(t, o)
	ctx := context.Background()
	if err := s.Ensure(ctx, testProject, testLogstore); err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, s.Credentials())
	const n = 250
	for i := range n {
		if err := c.PutLogGroup(ctx, testProject, testLogstore, lines(uint32(1000+i), value(i)), sls.CompressType(i%4)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		once(t, fmt.Sprintf("pull %d", round), pulled(t, c), n)
		once(t, fmt.Sprintf("search %d", round), found(t, c, "*", n), n)
		if got := found(t, c, "content:number7", 1); len(got) != 1 || got[value(7)] != 1 {
			t.Errorf("round %d: found %v", round, got)
		}
		if err := s.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		s = started(t, o)
		c = clientOf(t, s.Credentials())
	}
	// A deleted logstore takes its data with it.
	if err := c.DeleteLogstore(ctx, testProject, testLogstore); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the data to be deleted", func() bool {
		for _, dir := range []string{"shardlog", "index"} {
			entries, err := os.ReadDir(filepath.Join(o.Data, dir))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.IsDir() {
					return false
				}
			}
		}
		return true
	})
	if err := s.Ensure(ctx, testProject, testLogstore); err != nil {
		t.Fatal(err)
	}
	if got := pulled(t, c); len(got) != 0 {
		t.Errorf("the new logstore holds %v", got)
	}
}

// TestFlippedBitCostsOneRecord: all others can be pulled and, also with an index
// that is made anew, searched; what is written later too.
func TestFlippedBitCostsOneRecord(t *testing.T) {
	lost := new(logLines)
	o := Options{Data: t.TempDir(), InsecureHTTP: true, Logger: slog.New(slog.NewTextHandler(lost, nil))}
	s := started(t, o)
	ctx := context.Background()
	if err := s.Ensure(ctx, testProject, testLogstore); err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, s.Credentials())
	const n = 20
	put := func(i int) {
		t.Helper()
		if err := c.PutLogGroup(ctx, testProject, testLogstore, lines(uint32(1000+i), value(i)), sls.CompressNone); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		put(i)
	}
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(o.Data, "shardlog", "*", "*", "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	flipped := 0
	for _, name := range segments {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(b, []byte(value(7))); at >= 0 {
			b[at] ^= 1
			flipped++
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.RemoveAll(filepath.Join(o.Data, "index")); err != nil || flipped != 1 {
		t.Fatalf("%d records were damaged, %v", flipped, err)
	}
	for round := range 2 {
		s = started(t, o)
		c = clientOf(t, s.Credentials())
		put(n + round)
		for what, got := range map[string]map[string]int{"pull": pulled(t, c), "search": found(t, c, "*", n+round)} {
			if len(got) != n+round || got[value(7)] != 0 || got[value(n+round)] != 1 {
				t.Errorf("round %d: %s: got %v", round, what, got)
			}
		}
		if err := s.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := lost.count("cannot be searched or pulled any more"); got != 1 {
		t.Errorf("the loss was told of %d times by the indexer", got)
	}
}

// TestDamagedDataIsALine: not a stack trace, and everything is closed again.
func TestDamagedDataIsALine(t *testing.T) {
	o := Options{Data: t.TempDir(), InsecureHTTP: true, Listen: "127.0.0.1:0", Logger: quiet()}
	for _, name := range []string{"catalog.db", "shardlog", "index"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(o.Data, name)
			if err := os.WriteFile(path, bytes.Repeat([]byte("damaged "), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s, err := New(o)
				if err == nil {
					if cerr := s.Shutdown(context.Background()); cerr != nil {
						t.Log(cerr)
					}
					t.Fatal("no error")
				}
				if !strings.Contains(err.Error(), o.Data) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v", err)
				}
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// helperData tells the test binary to be a server over that folder.
const helperData = "LOGTAIL_TEST_SERVER_DATA"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperData); dir != "" {
		if err := helper(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func helper(dir string) error {
	s, err := New(Options{Data: dir, Listen: "127.0.0.1:0", InsecureHTTP: true, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	if err := s.Start(ctx); err != nil {
		stop()
		return err
	}
	if err := s.Ensure(ctx, testProject, testLogstore); err != nil {
		stop()
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin) // until the test closes it
	stop()
	return errors.Join(err, s.Shutdown(context.Background()))
}

// process is a server in a process of its own.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

func launch(t *testing.T, dir string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperData+"="+dir)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, stdin: stdin}
	t.Cleanup(p.kill)
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the server said %q, %v", line, err)
	}
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be dead already
	_ = p.cmd.Wait()
}

// TestKilledServerKeepsWhatItAcknowledged: an agent sends ranges while the
// server is killed again and again; it resumes, goes on from the progress, and
// in the end every log is there exactly once.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	stream := delivery.NewStreamID()
	lanes := []delivery.LaneID{stream.Lane("a", ""), stream.Lane("b", ""), stream.Lane("c", "")}
	const size, batch, perRound, rounds = 10, 5, 60, 4
	sent := make([]int, len(lanes)) // logs of each lane that were acknowledged
	var last uint64
	for round := range rounds {
		p := launch(t, dir)
		creds, err := ReadCredentials(filepath.Join(dir, CredentialsFile))
		if err != nil {
			t.Fatal(err)
		}
		c := clientOf(t, creds)
		names := make([]string, len(lanes))
		for i, l := range lanes {
			names[i] = l.String()
		}
		resumed, _, err := c.Resume(ctx, testProject, testLogstore, sls.ResumeRequest{Lanes: names})
		if err != nil {
			t.Fatal(err)
		}
		if resumed.Session <= last {
			t.Errorf("round %d: session %d is not above %d", round, resumed.Session, last)
		}
		last = resumed.Session
		for i, l := range resumed.Lanes {
			if l.End < uint64(sent[i]*size) {
				t.Errorf("round %d: lane %d was acknowledged to %d and is back at %d", round, i, sent[i]*size, l.End)
			}
			sent[i] = int(l.End) / size
		}
		goal := (round + 1) * perRound
		killed := make(chan struct{})
		for i := 0; slices.Min(sent) < goal; i++ {
			if round < rounds-1 && i == perRound/batch/2 {
				go func() { // in the middle of whatever it does then
					p.kill()
					close(killed)
				}()
			}
			var body []byte
			var in []int // lanes in the request
			for n, lane := range lanes {
				if sent[n] == goal { // what was on its way at the kill may have put it ahead
					continue
				}
				in = append(in, n)
				body = appendBatch(body, lane, last, sent[n], batch, size, func(i int) string { return value(n*perRound*rounds + i) })
			}
			reply, err := c.PutPackages(ctx, testProject, testLogstore, body)
			if err != nil {
				break // killed: nobody knows what became of the last one
			}
			for j, r := range reply.Results {
				if r.Action != "append" {
					t.Fatalf("round %d: lane %d got %+v", round, in[j], r)
				}
				sent[in[j]] += batch
			}
		}
		if round < rounds-1 {
			<-killed
			continue
		}
		total := perRound * rounds * len(lanes)
		once(t, "pull", pulled(t, c), total)
		once(t, "search", found(t, c, "*", total), total)
	}
}

// appendBatch appends a package of n logs that stand size bytes apart.
func appendBatch(body []byte, lane delivery.LaneID, session uint64, from, n, size int, text func(int) string) []byte {
	values := make([]string, n)
	rg := &delivery.Range{Lane: lane, Session: session, Start: uint64(from * size), End: uint64((from + n) * size)}
	for i := range n {
		values[i] = text(from + i)
		rg.Ends = binary.AppendUvarint(rg.Ends, uint64(size))
	}
	raw := lines(uint32(time.Now().Unix()), values...)
	return sls.AppendPackage(body, &sls.Package{Data: raw, RawSize: len(raw), Compress: sls.CompressNone, Range: rg})
}
