package status

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"logtail/internal/agent/ledger"
)

// fake is an agent with a fixed status.
type fake struct {
	status Status
	files  []File
	hangs  chan struct{} // not nil: it answers when this is closed
}

func (f *fake) Status() Status {
	if f.hangs != nil {
		<-f.hangs
	}
	return f.status
}

func (f *fake) Files() []File { return append([]File(nil), f.files...) }

func sample() *fake {
	return &fake{
		status: Status{
			Running: true, PID: os.Getpid(), Version: "1.2.3", Files: 3, OpenFiles: 2, Held: Held{1, 10},
			ReadBytes: 1000, Logs: 20,
			Counts:       []ledger.Entry{{Key: ledger.Key{Pipeline: "p", Path: "/a", Reason: ledger.FileDeleted}, Count: ledger.Count{Bytes: 7, Times: 1}}},
			Destinations: []Destination{{Name: "shop/access at here", State: "ok", DeliveredLogs: 18, Concurrency: 4}},
			Buffer:       Buffer{Files: 1, Bytes: 50, Records: 2, Oldest: time.Unix(1_700_000_100, 0).UTC()},
			Pipelines:    []Pipeline{{Name: "p", Files: 3, ReadBytes: 900, Records: 21, Logs: 20}},
		},
		files: []File{
			{Pipeline: "p", Path: "/log/b", Stream: "02", Size: 5, Offset: 5, Acked: Offsets{{"flusher_sls", 3}}, Lag: 2, State: FileBusy},
			{Pipeline: "p", Path: "/log/a/x", Stream: "01", State: FileIdle},
			{Pipeline: "o", Path: "/log/b", Stream: "03", State: FilePending},
		},
	}
}

// serve serves a source until the test calls stop or ends.
func serve(t *testing.T, dir string, src Source, o Options) (s *Server, stop func()) {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if o.Version == "" {
		o.Version = "1.2.3"
	}
	s, err := Listen(dir, src, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return s, stop
}

func dial(t *testing.T, dir string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestStatusIsServedToTheOwnerOfTheDataFolder(t *testing.T) {
	dir := t.TempDir()
	src := sample()
	s, stop := serve(t, dir, src, Options{})
	got, err := dial(t, dir).Status(t.Context())
	if age := time.Since(got.Since); age < 0 || age > time.Hour {
		t.Errorf("it runs since %v", got.Since)
	}
	got.Since = time.Time{}
	if err != nil || !reflect.DeepEqual(got, src.status) {
		t.Errorf("status %+v, want %+v: %v", got, src.status, err)
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]os.FileMode{filepath.Join(dir, addressFile): 0o600, s.address.Address: 0o600, filepath.Dir(s.address.Address): 0o700} {
			if m := mode(t, path); m != want {
				t.Errorf("%s has the mode %o, want %o", path, m, want)
			}
		}
	}
	stop()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after its end: %v", err)
	}
}

// The field names are what scripts use.
func TestJSONOfTheStatusIsStable(t *testing.T) {
	src := sample()
	src.status.Since = time.Unix(1_700_000_000, 0).UTC()
	text, err := json.Marshal(src.status)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(src.files[0])
	if err != nil {
		t.Fatal(err)
	}
	for want, in := range map[string]string{
		`"running":true`:                 string(text),
		`"since":"2023-11-14T22:13:20Z"`: string(text),
		`"held":{"files":1,"bytes":10}`:  string(text),
		`"counts":[{"pipeline":"p","path":"/a","reason":"file_deleted","logs":0,"bytes":7,"times":1}]`: string(text),
		`"destinations":[{"name":"shop/access at here","state":"ok","queued_packages":0,"queued_bytes":0,"buffered_packages":0,` + `"buffered_bytes":0,"delivered_logs":18,"delivered_bytes":0,"requests":0,"failures":0,"concurrency":4,"error":""}]`: string(text),
		`"buffer":{"files":1,"bytes":50,"records":2,"oldest":"2023-11-14T22:15:00Z"}`:                                                                                                  string(text),
		`"pipelines":[{"name":"p","files":3,"read_bytes":900,"records":21,"logs":20}]`:                                                                                                 string(text),
		`{"pipeline":"p","path":"/log/b","stream":"02","dev":0,"inode":0,"birth":0,"size":5,"offset":5,"acked":{"flusher_sls":3},` + `"lag":2,"held_bytes":0,"state":"busy","seen":0}`: string(file),
	} {
		if !strings.Contains(in, want) {
			t.Errorf("no %s in %s", want, in)
		}
	}
	if len(got) != 13 {
		t.Errorf("%d fields", len(got))
	}
}

func TestListsAreNeverNull(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, &fake{}, Options{})
	c := dial(t, dir)
	body, err := c.get(t.Context(), "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil || strings.Contains(string(text), "null") {
		t.Errorf("%s, %v", text, err)
	}
}

func TestSocketOfALongPathIsInAPrivateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	tmp, err := os.MkdirTemp("", "t") //nolint:usetesting // that of the test has too long a path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	t.Setenv("TMP", tmp)
	s, stop := serve(t, dir, sample(), Options{})
	if filepath.Dir(filepath.Dir(s.address.Address)) != tmp || len(s.address.Address) > maxSocketPath {
		t.Errorf("the address is %+v", s.address)
	}
	if runtime.GOOS != "windows" && mode(t, filepath.Dir(s.address.Address)) != 0o700 {
		t.Error("others can enter its folder")
	}
	if got, err := dial(t, dir).Status(t.Context()); err != nil || got.Version != "1.2.3" {
		t.Errorf("status %+v, %v", got, err)
	}
	stop()
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	// One that is killed leaves its folder for the next to remove.
	die(t, dir)
	if left, _ := os.ReadDir(tmp); len(left) != 1 {
		t.Fatalf("the killed one leaves %v", left)
	}
	_, stop = serve(t, dir, sample(), Options{})
	if left, _ := os.ReadDir(tmp); len(left) != 1 {
		t.Errorf("with the next one there are %v", left)
	}
	stop()
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("the next one leaves %v", left)
	}
}

// die leaves what an agent leaves that is killed.
func die(t *testing.T, dir string) Address {
	t.Helper()
	s, err := Listen(dir, sample(), Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := s.local.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	s.local.Close()
	return s.address
}

func TestSocketOfADeadProcessIsReplaced(t *testing.T) {
	dir := t.TempDir()
	dead := die(t, dir)
	if _, err := os.Lstat(dead.Address); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a dead agent: %v", err)
	}
	s, _ := serve(t, dir, sample(), Options{})
	if s.address.Address != dead.Address {
		t.Errorf("the address is %+v", s.address)
	}
	if _, err := dial(t, dir).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSocketOfALivingProcessIsNotTouched(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, sample(), Options{Version: "first"})
	var log strings.Builder
	_, stop := serve(t, dir, sample(), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "logtail status will not reach this agent") || !strings.Contains(log.String(), errAlive.Error()) {
		t.Errorf("logged %q", log.String())
	}
	stop()
	if got, err := dial(t, dir).Status(t.Context()); err != nil || got.Version != "first" {
		t.Errorf("status %+v, %v", got, err)
	}
}

// The file may be missing, as on a full disk.
func TestAgentIsFoundWithoutItsAddressFile(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, sample(), Options{})
	for _, text := range []string{"", "{", `{"network":"pigeon"}`} {
		path := filepath.Join(dir, addressFile)
		os.Remove(path)
		if text != "" {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := dial(t, dir).Status(t.Context()); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAddressIsWrittenWhenTheDiskAllows(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, addressFile)
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Listen(dir, sample(), Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.again = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(ctx) }()
	defer func() { cancel(); <-done }()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	for {
		if a, err := readAddress(dir); err == nil {
			if a.PID != s.address.PID || a.Address != s.address.Address {
				t.Errorf("%+v is written, it is %+v", a, s.address)
			}
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the address is never written")
		default:
			runtime.Gosched()
		}
	}
}

func TestWhereThereIsNoSocketATokenIsAsked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")
	t.Setenv("TMPDIR", none)
	t.Setenv("TMP", none)
	s, _ := serve(t, dir, sample(), Options{})
	if s.address.Network != "tcp" || !strings.HasPrefix(s.address.Address, "127.0.0.1:") || len(s.address.Token) < 20 {
		t.Fatalf("the address is %+v", s.address)
	}
	c := dial(t, dir)
	if got, err := c.Status(t.Context()); err != nil || got.Version != "1.2.3" {
		t.Errorf("status %+v, %v", got, err)
	}
	for _, token := range []string{"", "wrong", s.address.Token + "x"} {
		c.token = token
		if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("with the token %q: %v", token, err)
		}
	}
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestOnlyMetricsAndHealthAreOnThePort(t *testing.T) {
	s, _ := serve(t, t.TempDir(), sample(), Options{MetricsListen: "0"})
	host, _, err := net.SplitHostPort(s.MetricsAddress())
	if err != nil || host != "127.0.0.1" {
		t.Errorf("it listens at %s", s.MetricsAddress())
	}
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/status": 404, "/files": 404, "/": 404} {
		if code, _ := get(t, "http://"+s.MetricsAddress()+path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	res, err := http.Post("http://"+s.MetricsAddress()+"/metrics", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", res.Status)
	}
}

func TestPortForMetricsThatIsTakenIsAnError(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := t.TempDir()
	_, err = Listen(dir, sample(), Options{MetricsListen: ln.Addr().String(), Log: slog.Default()})
	if err == nil || !strings.Contains(err.Error(), ln.Addr().String()) || !strings.Contains(err.Error(), "--metrics-listen") {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("it leaves %v", left)
	}
}

// Someone who opens connections and says nothing takes a bounded part.
func TestConnectionsAreBounded(t *testing.T) {
	s, _ := serve(t, t.TempDir(), sample(), Options{MetricsListen: ":0"})
	closed := make(chan struct{}, 2*maxConns)
	for range maxConns + 3 {
		conn, err := net.Dial("tcp", s.MetricsAddress())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() {
			_, _ = conn.Read(make([]byte, 1)) // ends when the server or the test closes it
			closed <- struct{}{}
		}()
	}
	for range 3 {
		<-closed
	}
}

func TestHealthNoticesAnAgentThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{hangs: make(chan struct{})}
		h := health{src: src}
		ask := func() int {
			w := httptest.NewRecorder()
			h.serve(w, httptest.NewRequest(http.MethodGet, "/healthz", http.NoBody))
			return w.Code
		}
		for range 3 {
			if code := ask(); code != http.StatusServiceUnavailable {
				t.Errorf("it hangs: %d", code)
			}
		}
		close(src.hangs)
		synctest.Wait()
		if code := ask(); code != http.StatusOK {
			t.Errorf("it answers: %d", code)
		}
	})
}
