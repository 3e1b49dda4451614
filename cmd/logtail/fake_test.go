package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"logtail/internal/sls"
)

// call runs a command line in this process.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return callContext(t.Context(), args...)
}

func callContext(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(ctx, stdio{in: strings.NewReader(""), out: &out, err: &err}, args)
	return code, out.String(), err.String()
}

const (
	testKey    = "TESTKEY"
	testSecret = "testsecret"
)

// fakeService is a Log Service with one logstore, p/l, whose logs are rows. It
// checks signatures like the real one.
type fakeService struct {
	*httptest.Server
	mu         sync.Mutex
	rows       []row
	queries    []sls.GetLogsRequest
	incomplete int               // answers that say so before the complete one
	groups     map[int][][]byte  // by shard: encoded log groups
	hooks      map[string]func() // called before the answer to METHOD PATH
	refuse     *sls.Error        // of every request but the first
	requests   int
}

func newFakeService(t *testing.T) *fakeService {
	f := &fakeService{groups: map[int][][]byte{0: nil}, hooks: map[string]func(){}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeService) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		sls.WriteError(w, sls.NewError(sls.CodeBadRequest, "%v", err))
		return
	}
	lookup := func(_ context.Context, id string) (string, error) {
		if id != testKey {
			return "", sls.ErrUnknownKey
		}
		return testSecret, nil
	}
	w.Header().Set(sls.HeaderRequestID, "1")
	if _, err := sls.Verify(r, body, lookup, time.Now(), 15*time.Minute); err != nil {
		e, _ := sls.AsError(err)
		sls.WriteError(w, e)
		return
	}
	if f.requests++; f.refuse != nil && f.requests > 1 {
		sls.WriteError(w, f.refuse)
		return
	}
	if hook := f.hooks[r.Method+" "+r.URL.Path]; hook != nil {
		hook()
	}
	if r.Header.Get(sls.HeaderProject) != "p" {
		sls.WriteError(w, sls.NewError(sls.CodeProjectNotExist, "no such project"))
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/logstores/l")
	if !ok {
		sls.WriteError(w, sls.NewError(sls.CodeLogStoreNotExist, "no such logstore"))
		return
	}
	f.answer(w, r, rest, body)
}

func (f *fakeService) answer(w http.ResponseWriter, r *http.Request, rest string, body []byte) {
	reply := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	switch {
	case rest == "":
		reply(sls.Logstore{Name: "l"})
	case rest == "/logs":
		var q sls.GetLogsRequest
		_ = json.Unmarshal(body, &q)
		f.queries = append(f.queries, q)
		if f.incomplete > 0 {
			f.incomplete--
			reply(sls.GetLogsReply{Meta: sls.GetLogsMeta{Progress: sls.ProgressIncomplete}})
			return
		}
		from := min(int(q.Offset), len(f.rows))
		page := f.rows[from:min(from+int(q.Line), len(f.rows))]
		reply(sls.GetLogsReply{Meta: sls.GetLogsMeta{Progress: sls.ProgressComplete, Count: int64(len(page))}, Logs: page})
	case rest == "/shards":
		var list []sls.Shard
		for id := range f.groups {
			list = append(list, sls.Shard{ID: id, Status: "readwrite"})
		}
		reply(list)
	case r.URL.Query().Get("type") == "cursor":
		shard := f.shard(rest)
		cursor := strconv.Itoa(len(f.groups[shard]))
		if r.URL.Query().Get("from") == "begin" {
			cursor = "0"
		}
		reply(map[string]string{"cursor": cursor})
	case r.URL.Query().Get("type") == "logs":
		groups := f.groups[f.shard(rest)]
		at, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		var list []byte
		for _, g := range groups[at:] {
			list = sls.AppendLogGroupListEntry(list, g)
		}
		w.Header().Set(sls.HeaderCursor, strconv.Itoa(len(groups)))
		w.Header().Set(sls.HeaderCount, strconv.Itoa(len(groups)-at))
		w.Header().Set(sls.HeaderBodyRawSize, strconv.Itoa(len(list)))
		_, _ = w.Write(list)
	default:
		sls.WriteError(w, sls.NewError(sls.CodeBadRequest, "unknown call %s", rest))
	}
}

func (f *fakeService) shard(rest string) int {
	var n int
	_, _ = fmt.Sscanf(rest, "/shards/%d", &n)
	return n
}

// append adds a group with one log to a shard. It is called with the lock held
// from a hook, or before the first request.
func (f *fakeService) append(shard int, message string) {
	var g sls.LogGroup
	g.Topic, g.Source = "t", "10.0.0.1"
	g.Tags = []sls.Tag{{Key: "__path__", Value: "/a.log"}}
	g.Logs = []sls.Log{{Sec: 1_700_000_000, Nsec: -1, Contents: []sls.Content{{Key: []byte("content"), Value: []byte(message)}}}}
	f.groups[shard] = append(f.groups[shard], g.AppendTo(nil))
}

// credentialsFile writes a credentials file for the service.
func (f *fakeService) credentialsFile(t *testing.T, change map[string]string) string {
	t.Helper()
	c := map[string]string{
		"endpoint": f.URL, "access_key_id": testKey, "access_key_secret": testSecret, "project": "p", "logstore": "l", "console": "",
	}
	for k, v := range change {
		c[k] = v
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
