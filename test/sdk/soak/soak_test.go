//go:build linux

package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sls "github.com/aliyun/aliyun-log-go-sdk"
)

const (
	// stopPatience is how long a half may take to stop cleanly.
	stopPatience = 20 * time.Second
	// settlePatience is how long nothing may arrive before what is missing is lost.
	settlePatience = 90 * time.Second
	// quietTime is how long after the last line what is doubled is waited for.
	quietTime = 4 * time.Second
)

// Stores that the two pipelines send to.
var storeNames = []string{"one-a", "one-b", "two"}

// plan is what a run is made of.
type plan struct {
	seed   uint64
	length time.Duration
	faults string // as in LOGTAIL_FAULTS
	rate   int    // lines a second of a writer, about
	// longest bounds each trouble, so that a short run has many.
	longest time.Duration
	gap     time.Duration // between two faults, at most
	files   []kind
}

// task is what is due at a time.
type task struct {
	at time.Time
	do func() error
}

// soak is one run.
type soak struct {
	t    *testing.T
	plan plan
	root string
	r    *rand.Rand

	longest               time.Duration
	agentData, serverData string
	logrotate             string
	clockBinary           string
	volumes               map[string]*volume
	ward                  *ward
	wardIll               atomic.Int32
	link                  *link

	ledger        *ledger
	follower      *follower
	reader        reader
	agent, server *proc
	proxies       []*proxy
	files         []*logfile

	held     map[*proc]bool
	shaken   time.Time // when the agent was last in trouble of its own
	troubled map[*proxy]bool
	tasks    []task
	undos    []func()

	mu      sync.Mutex
	counts  map[string]int
	journal *os.File
	begun   time.Time
}

func (s *soak) undo(f func()) { s.undos = append(s.undos, f) }

func (s *soak) after(d time.Duration, do func() error) {
	s.tasks = append(s.tasks, task{time.Now().Add(d), do})
}

// stamp puts the time of the run before what happened to a file.
func (s *soak) stamp(what string) string {
	return fmt.Sprintf("%.1f s %s", time.Since(s.begun).Seconds(), what)
}

// note writes to the journal of the run.
func (s *soak) note(format string, a ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.journal, "%s %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, a...))
}

func (s *soak) count(what string) {
	s.mu.Lock()
	s.counts[what]++
	s.mu.Unlock()
}

// fail notes a violation.
func (s *soak) fail(format string, a ...any) {
	s.t.Helper()
	s.note("FAILED: "+format, a...)
	s.t.Errorf(format, a...)
}

func (s *soak) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// runSoak is the story of a run.
func runSoak(t *testing.T, p plan) {
	s := &soak{
		t: t, plan: p, longest: p.longest, r: rand.New(rand.NewPCG(p.seed, 77)), held: map[*proc]bool{}, troubled: map[*proxy]bool{},
		counts: map[string]int{}, begun: time.Now(), clockBinary: os.Getenv("LOGTAIL_CLOCK_BIN"),
	}
	s.makeRoot()
	defer s.cleanUp()
	chosen, skipped, err := s.chosen(p.faults)
	s.must(err)
	for _, why := range skipped {
		t.Log("left out: " + why)
	}
	s.startAll()
	s.injectFor(chosen)
	s.putToRights()
	s.verify()
}

func (s *soak) makeRoot() {
	base := os.Getenv("LOGTAIL_SOAK_KEEP")
	root, err := os.MkdirTemp(base, fmt.Sprintf("logtail-soak-%d-", s.plan.seed))
	s.must(err)
	s.root = root
	s.agentData, s.serverData = filepath.Join(root, "agent"), filepath.Join(root, "server")
	s.journal, err = os.Create(filepath.Join(root, "journal"))
	s.must(err)
}

func (s *soak) cleanUp() {
	for _, f := range s.files {
		if f.w != nil {
			_ = f.w.stop() // it has nothing more to say
		}
	}
	if s.follower != nil {
		s.follower.close()
	}
	for _, p := range []*proc{s.agent, s.server} {
		if p != nil {
			p.clear()
		}
	}
	for _, p := range s.proxies {
		p.close()
	}
	if s.t.Failed() {
		s.t.Logf("seed %d failed; again with LOGTAIL_SOAK_SEED=%d LOGTAIL_FAULTS=%s; its logs are in %s", s.plan.seed, s.plan.seed, s.plan.faults, s.root)
		s.saveData()
	}
	for i := len(s.undos) - 1; i >= 0; i-- {
		s.undos[i]()
	}
	s.journal.Close()
	if !s.t.Failed() {
		os.RemoveAll(s.root)
	}
}

// saveData keeps the agent's state, which may be on a volume that goes.
func (s *soak) saveData() {
	if len(s.volumes) > 0 || s.ward != nil {
		_ = run("cp", "-r", filepath.Join(s.agentData, "agent"), filepath.Join(s.root, "agent-state")) // as good as it can be had
	}
	os.Remove(filepath.Join(s.root, "server.img"))
}

// freePort is one below those that the system gives to outgoing connections, as
// the server comes back at the same.
func freePort() (string, error) {
	for range 200 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000))
		if l, err := net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("no port is free")
}

func (s *soak) startAll() {
	s.ledger = newLedger(lineMaker{Seed: s.plan.seed, Long: true})
	addr, err := freePort()
	s.must(err)
	program := binary
	if s.clockBinary != "" {
		program = s.clockBinary
	}
	s.server = &proc{
		name: "server", out: output(filepath.Join(s.root, "server.log")), env: []string{"LOGTAIL_FAULT_CLOCK=" + s.clockFile("server")},
		args: func() []string {
			return []string{program, "server", "--data", s.serverData, "--listen", addr, "--insecure-http"}
		},
		faulty: func() bool { return s.volumes["server"] != nil && s.volumes["server"].ill },
	}
	s.must(s.server.start())
	s.awaitServer(addr)
	s.startProxies(addr)
	s.writePipelines()
	s.agent = &proc{
		name: "agent", out: output(filepath.Join(s.root, "agent.log")), env: []string{"LOGTAIL_FAULT_CLOCK=" + s.clockFile("agent")},
		args: func() []string {
			return []string{program, "agent", "--log-level", "debug", "--data", s.agentData, "--conf", filepath.Join(s.root, "conf"), "--credentials", filepath.Join(s.root, "credentials.json")}
		},
		faulty: func() bool { return s.wardIll.Load() > 0 || s.volumes["agent"] != nil && s.volumes["agent"].ill },
	}
	if s.link != nil {
		s.agent.wrap = []string{"ip", "netns", "exec", s.link.space}
	}
	s.must(os.MkdirAll(s.agentData, 0o755))
	s.must(s.agent.start())
	s.startFiles()
	s.follower = follow(s.reader, s.ledger.lines, storeNames)
	s.awaitFirst()
}

// awaitServer waits for the first start and makes the logstores.
func (s *soak) awaitServer(addr string) {
	s.wait("the server's credentials", time.Minute, func() error {
		b, err := os.ReadFile(filepath.Join(s.serverData, "credentials.json"))
		if err != nil {
			return err
		}
		var c struct {
			URL    string `json:"endpoint"`
			ID     string `json:"access_key_id"`
			Secret string `json:"access_key_secret"`
		}
		if err := json.Unmarshal(b, &c); err != nil {
			return err
		}
		if c.URL == "" {
			return errors.New("it listens not yet")
		}
		s.reader = reader{addr, c.ID, c.Secret}
		return os.WriteFile(filepath.Join(s.root, "credentials.json"), b, 0o600)
	})
	c := s.reader.client(time.Second)
	for _, name := range storeNames {
		s.wait("the logstore "+name, time.Minute, func() error {
			if _, err := c.GetLogStore(project, name); err != nil {
				if err := c.CreateLogStore(project, name, 30, 2, false, 0); err != nil {
					return err
				}
			}
			if _, err := c.GetIndex(project, name); err == nil {
				return nil
			}
			return c.CreateIndex(project, name, *sls.CreateDefaultIndex())
		})
	}
}

func (s *soak) startProxies(addr string) {
	host := "127.0.0.1"
	if s.link != nil {
		host = s.link.host
	}
	for i, name := range []string{"proxy a", "proxy b"} {
		p, err := startProxy(name, host, s.plan.seed+uint64(i), func() string { return addr }, func(kind string) { s.count("net " + kind) })
		s.must(err)
		s.proxies = append(s.proxies, p)
	}
}

// writePipelines writes one pipeline with two logstores, and one with one.
func (s *soak) writePipelines() {
	flusher := func(p *proxy, store string) string {
		return fmt.Sprintf("  - Type: flusher_sls\n    Name: %s\n    Endpoint: http://%s\n    Project: %s\n    Logstore: %s\n", store, p.addr, project, store)
	}
	input := func(more string, patterns ...string) string {
		text := "inputs:\n  - Type: input_file\n    MaxDirSearchDepth: 3\n    MaxCheckpointDirSearchDepth: 3\n" + more + "    FilePaths:\n"
		for _, p := range patterns {
			text += "      - " + filepath.Join(s.root, "logs", p) + "\n"
		}
		return text + "flushers:\n"
	}
	conf := filepath.Join(s.root, "conf")
	s.must(os.Mkdir(conf, 0o755))
	one := input("    FlushTimeoutSecs: 5\n", "one/**/*.log*") + flusher(s.proxies[0], "one-a") + flusher(s.proxies[1], "one-b")
	two := input("    FlushTimeoutSecs: 2\n", "two/**/*.log*", "narrow/**/app.log") + flusher(s.proxies[0], "two")
	s.must(os.WriteFile(filepath.Join(conf, "one.yaml"), []byte(one), 0o644))
	s.must(os.WriteFile(filepath.Join(conf, "two.yaml"), []byte(two), 0o644))
	for _, dir := range []string{"one", "two", "narrow"} {
		s.must(os.MkdirAll(filepath.Join(s.root, "logs", dir), 0o755))
	}
}

// startFiles starts the writers: half of the files belong to each pipeline.
func (s *soak) startFiles() {
	for i, k := range s.plan.files {
		f := &logfile{s: s, id: i + 1, kind: k, stores: storeNames[:2]}
		top := "one"
		if i%2 == 1 || k == narrow {
			f.stores, top = storeNames[2:], "two"
		}
		if k == narrow {
			top = "narrow"
		}
		f.dir = filepath.Join(s.root, "logs", top, fmt.Sprintf("f%02d", f.id))
		s.must(os.Mkdir(f.dir, 0o755))
		w, err := startWriter(writerConfig{File: f.id, Lines: s.ledger.lines, Rate: s.plan.rate, Parts: true})
		s.must(err)
		f.w = w
		s.files = append(s.files, f)
		if k == linked {
			s.must(f.link())
		} else {
			s.must(f.open(f.app(), false))
		}
	}
}

// awaitFirst waits until each file has been seen: from then on the agent's first
// scan is over, and nothing is history.
func (s *soak) awaitFirst() {
	s.wait("the first lines", time.Minute, func() error {
		for _, f := range s.files {
			if !f.seen(f.gen) {
				return fmt.Errorf("none of file %d yet", f.id)
			}
		}
		return nil
	})
}

// wait repeats f until it succeeds.
func (s *soak) wait(what string, patience time.Duration, f func() error) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("waiting for %s: %v; server: %s", what, err, s.server.out.last(5))
		}
		pauseFor(50 * time.Millisecond)
	}
}

// injectFor injects faults until the time is over.
func (s *soak) injectFor(list []fault) {
	s.note("seed %d, faults %s", s.plan.seed, s.plan.faults)
	sum := 0
	for _, f := range list {
		sum += f.weight
	}
	end := time.Now().Add(s.plan.length)
	next := time.Now()
	for time.Now().Before(end) && !s.t.Failed() {
		s.runTasks(time.Now())
		if s.held[s.agent] || !s.agent.running() || s.agent.faulty() {
			s.shaken = time.Now()
		}
		if time.Now().Before(next) || sum == 0 {
			s.agent.measure()
			s.server.measure()
			pauseFor(20 * time.Millisecond)
			continue
		}
		next = time.Now().Add(time.Duration(s.r.Int64N(int64(s.plan.gap))))
		n := s.r.IntN(sum)
		// Each fault has chances of its own, so that what one cannot do now does
		// not change what the others do.
		r := rand.New(rand.NewPCG(s.r.Uint64(), 5))
		for _, f := range list {
			if n -= f.weight; n >= 0 {
				continue
			}
			what, err := f.begin(s, r)
			if err != nil {
				s.t.Fatalf("%s: %v", f.name, err)
			}
			if what != "" {
				s.note("%s", what)
				s.count(what)
			}
			break
		}
	}
}

// runTasks does what is due.
func (s *soak) runTasks(now time.Time) {
	for i := 0; i < len(s.tasks); {
		if s.tasks[i].at.After(now) {
			i++
			continue
		}
		do := s.tasks[i].do
		s.tasks = append(s.tasks[:i], s.tasks[i+1:]...)
		s.must(do())
	}
}

// putToRights undoes everything, ends the writers and waits until all has arrived.
func (s *soak) putToRights() {
	s.note("putting everything to rights")
	for len(s.tasks) > 0 {
		s.runTasks(time.Now().Add(time.Hour))
	}
	if s.clockBinary != "" {
		s.must(s.setClock("agent", 0))
		s.must(s.setClock("server", 0))
	}
	s.must(s.server.start())
	s.must(s.agent.start())
	for _, f := range s.files {
		s.must(f.freshen(true))
		s.must(f.scanIfCopied(f.current(), f.path))
	}
	last, logs := time.Now(), -1
	for !s.allArrived() && time.Since(last) < settlePatience {
		if n := s.follower.logs(); n != logs {
			last, logs = time.Now(), n
		}
		s.agent.measure()
		s.server.measure()
		pauseFor(300 * time.Millisecond)
	}
	s.note("settled")
	pauseFor(quietTime)
}

func (s *soak) allArrived() bool {
	for _, store := range storeNames {
		if v := s.ledger.judge(store, s.filesOf(store), s.follower.stores[store]); v.lost > 0 {
			return false
		}
	}
	return true
}

func (s *soak) filesOf(store string) map[int]bool {
	out := map[int]bool{}
	for _, f := range s.files {
		for _, name := range f.stores {
			if name == store {
				out[f.id] = true
			}
		}
	}
	return out
}

// verify compares, through the stock SDK, and prints the summary.
func (s *soak) verify() {
	status, err := s.status()
	if err != nil {
		s.fail("%v", err)
	}
	var verdicts []*verdict
	for _, store := range storeNames {
		got, order, err := s.reader.all(s.ledger.lines, s.ledger, store)
		if err != nil {
			s.fail("logstore %s cannot be read: %v", store, err)
			continue
		}
		if n := got.gone(s.follower.stores[store]); n > 0 {
			s.fail("logstore %s: %d lines were there before and are gone: the service has lost them", store, n)
		}
		v := s.ledger.judge(store, s.filesOf(store), got)
		v.disorder = order.wrong
		v.examples = append(v.examples, order.examples...)
		verdicts = append(verdicts, v)
		s.awaitIndex(store, int64(got.logs))
		if v.bad() {
			s.fail("logstore %s: %d lines lost, %d doubled, %d out of order, %d that nobody wrote:\n  %s",
				store, v.lost, v.doubled, v.disorder, v.wrong, strings.Join(v.examples, "\n  "))
		}
	}
	s.checkUnread(verdicts, status)
	s.agent.stop(stopPatience)
	s.server.stop(stopPatience)
	for _, p := range []*proc{s.agent, s.server} {
		for _, what := range p.strange {
			s.fail("%s", what)
		}
		if text := p.out.crashed(); text != "" {
			s.fail("the %s crashed:\n%s", p.name, text)
		}
	}
	s.checkLeftovers()
	s.t.Log(s.summary(verdicts))
}

// awaitIndex waits until GetLogs's side has as many logs as PullLogs gave.
func (s *soak) awaitIndex(store string, want int64) {
	deadline := time.Now().Add(settlePatience)
	for {
		n, err := s.reader.count(store)
		if err == nil && n == want {
			return
		}
		if time.Now().After(deadline) || err == nil && n > want {
			s.fail("logstore %s: the index finds %d logs, PullLogs %d: %v", store, n, want, err)
			return
		}
		pauseFor(300 * time.Millisecond)
	}
}

// checkLeftovers looks for files that were put aside as damaged: nothing here
// damages what was durable.
func (s *soak) checkLeftovers() {
	for _, dir := range []string{s.agentData, s.serverData} {
		_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && (strings.HasSuffix(path, ".bad") || strings.Contains(filepath.Base(path), ".damaged")) {
				s.fail("put aside as damaged: %s", path)
			}
			return nil // what cannot be looked at shows elsewhere
		})
	}
}

// summary is the table of the run.
func (s *soak) summary(verdicts []*verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %v of faults, all in %v\n\n", s.plan.seed, s.plan.length, time.Since(s.begun).Round(time.Second))
	fmt.Fprintf(&b, "| logstore | lines written | MB | found | lost | doubled | out of order | counted by rule, bytes | between copy and truncate: in no file | of these delivered |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, v := range verdicts {
		var unread int64
		for _, n := range v.unread {
			unread += n
		}
		fmt.Fprintf(&b, "| %s | %d | %.1f | %d | %d | %d | %d | %d | %d | %d |\n", v.store, v.lines, float64(v.bytes)/1e6, v.found, v.lost, v.doubled, v.disorder, unread, v.between, v.betweenIn)
	}
	fmt.Fprintf(&b, "\nmaximum memory: agent %d MB (all its processes), server %d MB; starts: agent %d, server %d; gave up on a faulty disk: agent %d, server %d\n\nfaults: ",
		s.agent.maxRSS>>20, s.server.maxRSS>>20, s.agent.starts, s.server.starts, s.agent.quits, s.server.quits)
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.counts))
	for name := range s.counts {
		names = append(names, name)
	}
	sort.Strings(names)
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %d", name, s.counts[name])
	}
	return b.String()
}

var binary = os.Getenv("LOGTAIL_BIN")

func TestMain(m *testing.M) {
	if config := os.Getenv(writerEnv); config != "" {
		os.Exit(runWriter(config))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if binary == "" {
		dir, err := os.MkdirTemp("", "logtail-soak-bin-")
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
