package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"logtail/internal/server/servertest"
	"logtail/internal/sls"
)

// memory opens engines in memory, the same ones at each start.
func memory() func(Options) (engines, error) {
	e := engines{catalog: servertest.NewCatalog(), log: servertest.NewLog(), index: servertest.NewIndex()}
	return func(Options) (engines, error) { return e, nil }
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// started starts a server that is shut down at the end of the test.
func started(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Data == "" {
		o.Data = t.TempDir()
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Logger == nil {
		o.Logger = quiet()
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func clientOf(t *testing.T, c Credentials) *sls.Client {
	t.Helper()
	o := sls.ClientOptions{
		Endpoint: c.Endpoint,
		Signer:   sls.Signer{Credentials: sls.Credentials{AccessKeyID: c.AccessKeyID, AccessKeySecret: c.AccessKeySecret}},
	}
	if c.Certificate != "" {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(c.Certificate)) {
			t.Fatal("the certificate in the credentials is none")
		}
		o.TLS = &tls.Config{RootCAs: roots}
	}
	client, err := sls.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestFirstStartMakesAnAdministrator(t *testing.T) {
	data, open := t.TempDir(), memory()
	s := started(t, Options{Data: data, InsecureHTTP: true, open: open})
	path := filepath.Join(data, CredentialsFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]string
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"endpoint", "access_key_id", "access_key_secret", "project", "logstore", "console"} {
		if _, ok := fields[k]; !ok {
			t.Errorf("the file has no %s", k)
		}
	}
	if len(fields["access_key_secret"]) < 30 || !strings.HasPrefix(fields["access_key_id"], "LTAI") || fields["endpoint"] != "http://"+s.Addr().String() {
		t.Errorf("got %v", fields)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	if _, err := clientOf(t, s.Credentials()).ListProjects(context.Background(), 0, 10); err != nil {
		t.Errorf("the key does not work: %v", err)
	}

	// The next start keeps the key and corrects the address.
	before := s.Credentials()
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	s = started(t, Options{Data: data, InsecureHTTP: true, open: open})
	if c := s.Credentials(); c.AccessKeyID != before.AccessKeyID || c.AccessKeySecret != before.AccessKeySecret || c.Endpoint != "http://"+s.Addr().String() {
		t.Errorf("got %+v", c)
	}
	if c, err := ReadCredentials(path); err != nil || c != s.Credentials() {
		t.Errorf("the file has %+v, %v", c, err)
	}
}

// TestCrashBetweenFileAndAccount: the file was written, the account was not made.
func TestCrashBetweenFileAndAccount(t *testing.T) {
	data := t.TempDir()
	s := started(t, Options{Data: data, InsecureHTTP: true, open: memory()})
	key := s.Credentials().AccessKeyID
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	s = started(t, Options{Data: data, InsecureHTTP: true, open: memory()}) // an empty catalog
	if s.Credentials().AccessKeyID != key {
		t.Error("the key in the file was thrown away")
	}
	if _, err := clientOf(t, s.Credentials()).ListProjects(context.Background(), 0, 10); err != nil {
		t.Errorf("the key does not work: %v", err)
	}
}

func TestMissingOrDamagedCredentialsFile(t *testing.T) {
	data, open, lines := t.TempDir(), memory(), new(logLines)
	path := filepath.Join(data, CredentialsFile)
	s := started(t, Options{Data: data, InsecureHTTP: true, open: open})
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s = started(t, Options{Data: data, InsecureHTTP: true, open: open, Logger: slog.New(slog.NewTextHandler(lines, nil))})
	if !lines.has("restore the file from a backup") {
		t.Error("nothing was said about the missing file")
	}
	if err := s.Ensure(context.Background(), "proj", "store"); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("Ensure says %v", err)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Data: data, open: open, Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}

func TestEnsureIsRepeatable(t *testing.T) {
	s := started(t, Options{InsecureHTTP: true, open: memory()})
	ctx := context.Background()
	for range 2 {
		if err := s.Ensure(ctx, "local", "logs"); err != nil {
			t.Fatal(err)
		}
	}
	c := clientOf(t, s.Credentials())
	if l, err := c.GetLogstore(ctx, "local", "logs"); err != nil || l.ShardCount != 2 {
		t.Errorf("got %+v, %v", l, err)
	}
	if ix, err := c.GetIndex(ctx, "local", "logs"); err != nil || ix.Line == nil || len(ix.Line.Token) == 0 {
		t.Errorf("got %+v, %v", ix, err)
	}
	if got := s.Credentials(); got.Project != "local" || got.Logstore != "logs" {
		t.Errorf("got %+v", got)
	}
	if err := s.Ensure(ctx, "Not Possible", "logs"); err == nil {
		t.Error("an impossible name was taken")
	}
}

func TestErrorsAtStartTellTheRemedy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	running := started(t, Options{InsecureHTTP: true, open: memory()})
	for name, c := range map[string]struct {
		o     Options
		tells []string
	}{
		"port in use":          {Options{Listen: taken.Addr().String(), InsecureHTTP: true}, []string{taken.Addr().String(), "in use", "--listen"}},
		"address of others":    {Options{Listen: "192.0.2.1:80", InsecureHTTP: true}, []string{"192.0.2.1:80", "--listen"}},
		"no address":           {Options{Listen: "nonsense", InsecureHTTP: true}, []string{"nonsense", "--listen"}},
		"data is a file":       {Options{Data: file}, []string{file, "--data"}},
		"data below a file":    {Options{Data: filepath.Join(file, "sub")}, []string{file, "--data"}},
		"second process":       {Options{Data: running.opts.Data}, []string{running.opts.Data, "another log service", "--data"}},
		"no data":              {Options{Data: "-"}, []string{"--data"}},
		"certificate only":     {Options{TLSCert: "x"}, []string{"--tls-key"}},
		"certificate and HTTP": {Options{TLSCert: "x", TLSKey: "y", InsecureHTTP: true}, []string{"--insecure-http"}},
		"no such certificate":  {Options{TLSCert: "/none/cert", TLSKey: "/none/key", Listen: "127.0.0.1:0"}, []string{"/none/cert"}},
	} {
		t.Run(name, func(t *testing.T) {
			switch c.o.Data {
			case "":
				c.o.Data = t.TempDir()
			case "-":
				c.o.Data = ""
			}
			c.o.Logger, c.o.open = quiet(), memory()
			s, err := New(c.o)
			if err == nil {
				err = s.Start(context.Background())
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.tells {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not tell %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than a line", err)
			}
		})
	}
}

func TestUnwritableDataDirectory(t *testing.T) {
	if os.Geteuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("modes do not keep this user from writing")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Data: dir, open: memory(), Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "--data") {
		t.Errorf("got %v", err)
	}
}

// TestFailedStartLeavesNothingOpen: the data and the port are free for the next.
func TestFailedStartLeavesNothingOpen(t *testing.T) {
	data := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, err := New(Options{Data: data, Listen: taken.Addr().String(), InsecureHTTP: true, open: memory(), Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(context.Background()); err == nil {
			t.Fatal("started on a port in use")
		}
	}
	taken.Close()
	started(t, Options{Data: data, Listen: taken.Addr().String(), InsecureHTTP: true, open: memory()})
}

func TestSelfSignedCertificate(t *testing.T) {
	data, open := t.TempDir(), memory()
	var later atomic.Int64 // by how much the clock is ahead
	o := Options{Data: data, open: open, Domains: []string{"sls.test"}, Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }}
	s := started(t, o)
	c := s.Credentials()
	if !strings.HasPrefix(c.Endpoint, "https://127.0.0.1:") || c.Certificate == "" {
		t.Fatalf("got %+v", c)
	}
	if _, err := clientOf(t, c).ListProjects(context.Background(), 0, 1); err != nil {
		t.Errorf("with the certificate of the credentials: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.Certificate))
	for _, name := range []string{"127.0.0.1", "localhost", "sls.test", "proj.sls.test"} {
		conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{RootCAs: roots, ServerName: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{ServerName: "127.0.0.1"}); err == nil {
		t.Error("a client that does not know the certificate trusts it")
	}
	for _, f := range []string{"cert.pem", "key.pem"} {
		if info, err := os.Stat(filepath.Join(data, "tls", f)); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info, err)
		}
	}
	restart := func() string {
		t.Helper()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		s = started(t, o)
		return s.Credentials().Certificate
	}
	if restart() != c.Certificate {
		t.Error("the next start made another certificate")
	}
	o.Domains = append(o.Domains, "logs.example.com")
	added := restart()
	if added == c.Certificate {
		t.Error("the certificate lacks the new domain")
	}
	later.Store(int64(certificateLife - certificateRenew + time.Hour))
	if restart() == added {
		t.Error("the certificate was not renewed before its end")
	}
}

// TestStopLetsRequestsFinish, and lets no new ones in.
func TestStopLetsRequestsFinish(t *testing.T) {
	index := servertest.NewIndex()
	e := engines{catalog: servertest.NewCatalog(), log: servertest.NewLog(), index: index}
	s, err := New(Options{Data: t.TempDir(), Listen: "127.0.0.1:0", InsecureHTTP: true, Logger: quiet(), Drain: time.Minute, open: func(Options) (engines, error) { return e, nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Ensure(ctx, "local", "logs"); err != nil {
		t.Fatal(err)
	}
	release := index.Block()
	defer release()
	c := clientOf(t, s.Credentials())
	answer := make(chan error, 1)
	go func() {
		_, err := c.GetLogs(ctx, "local", "logs", sls.GetLogsRequest{From: 1, To: 2})
		answer <- err
	}()
	waitFor(t, "the query to run", func() bool { return index.Searching() == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	waitFor(t, "the port to be closed", func() bool {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	release()
	if err := <-answer; err != nil {
		t.Errorf("the request under way got %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestStopCutsOffWhatTakesTooLong.
func TestStopCutsOffWhatTakesTooLong(t *testing.T) {
	index := servertest.NewIndex()
	e := engines{catalog: servertest.NewCatalog(), log: servertest.NewLog(), index: index}
	s := started(t, Options{InsecureHTTP: true, Drain: time.Millisecond, open: func(Options) (engines, error) { return e, nil }})
	if err := s.Ensure(context.Background(), "local", "logs"); err != nil {
		t.Fatal(err)
	}
	defer index.Block()()
	c := clientOf(t, s.Credentials())
	answer := make(chan error, 1)
	go func() {
		_, err := c.GetLogs(context.Background(), "local", "logs", sls.GetLogsRequest{From: 1, To: 2})
		answer <- err
	}()
	waitFor(t, "the query to run", func() bool { return index.Searching() == 1 })
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-answer; err == nil {
		t.Error("the request that was cut off succeeded")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	s, err := New(Options{Data: t.TempDir(), Listen: "127.0.0.1:0", InsecureHTTP: true, Logger: quiet(), open: memory()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestHugeHeadersAreRefused(t *testing.T) {
	s := started(t, Options{InsecureHTTP: true, open: memory()})
	req, err := http.NewRequest(http.MethodGet, s.Endpoint()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-log-huge", strings.Repeat("x", 200<<10))
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return // the connection was closed while we were sending: as good
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d, %v", res.StatusCode, err)
	}
}
