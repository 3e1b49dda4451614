package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"logtail/internal/server/api"
	"logtail/internal/server/auth"
	"logtail/internal/server/catalog"
	"logtail/internal/server/servertest"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// service is the API over seams in memory, behind a real HTTP server.
type service struct {
	t       *testing.T
	catalog *servertest.Catalog
	log     *servertest.Log
	index   *servertest.Index
	clock   *clock
	handler *api.Handler
	http    *httptest.Server

	mu      sync.Mutex
	created []catalog.Logstore
	deleted []catalog.Logstore
}

func (s *service) Created(l catalog.Logstore, _ []catalog.Shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created = append(s.created, l)
}

func (s *service) Deleted(l catalog.Logstore) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted = append(s.deleted, l)
}

func newService(t *testing.T, change ...func(*api.Config)) *service {
	t.Helper()
	s := &service{
		t: t, catalog: servertest.NewCatalog(), log: servertest.NewLog(), index: servertest.NewIndex(),
		clock: &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
	}
	sessions, err := api.OpenSessions(filepath.Join(t.TempDir(), "session"), s.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	c := api.Config{
		Catalog: s.catalog, Log: s.log, Index: s.index, Sessions: sessions, Stores: s, Now: s.clock.now,
		Auth:    auth.New(s.catalog, auth.Options{Now: s.clock.now}),
		Domains: []string{"sls.test"},
	}
	for _, f := range change {
		f(&c)
	}
	s.handler = api.New(c)
	s.http = httptest.NewServer(s.handler)
	t.Cleanup(s.http.Close)
	return s
}

// user is an account with a key and a client.
type user struct {
	*sls.Client
	s      *service
	signer sls.Signer
	id     string
}

func (s *service) user(name string) *user {
	s.t.Helper()
	a := catalog.Account{ID: auth.NewAccountID(), Name: name}
	key := auth.NewAccessKey(a.ID)
	if err := s.catalog.CreateAccount(context.Background(), a, key); err != nil {
		s.t.Fatal(err)
	}
	u := &user{s: s, id: a.ID, signer: sls.Signer{
		Credentials: sls.Credentials{AccessKeyID: key.ID, AccessKeySecret: key.Secret}, Now: s.clock.now,
	}}
	var err error
	u.Client, err = sls.NewClient(sls.ClientOptions{Endpoint: s.http.URL, Signer: u.signer})
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

// withStore makes a user with a project, a logstore and an index.
func (s *service) withStore(project, logstore string, shards int) *user {
	s.t.Helper()
	u := s.user("owner of " + project)
	ctx := context.Background()
	must(s.t, u.CreateProject(ctx, project, ""))
	must(s.t, u.CreateLogstore(ctx, project, sls.Logstore{Name: logstore, TTL: 7, ShardCount: shards}))
	must(s.t, u.CreateIndex(ctx, project, logstore, &sls.Index{Line: &sls.IndexLine{Token: []string{" "}}}))
	return u
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reply is an answer with its body read.
type reply struct {
	status int
	head   http.Header
	body   []byte
}

// code is the error code of the answer, "" for a success.
func (r reply) code() string {
	var e struct {
		Code string `json:"errorCode"`
	}
	if r.status == http.StatusOK {
		return ""
	}
	if json.Unmarshal(r.body, &e) != nil {
		return "no error object: " + string(r.body)
	}
	return e.Code
}

func (r reply) message() string {
	var e struct {
		Message string `json:"errorMessage"`
	}
	_ = json.Unmarshal(r.body, &e) // "" is not what any test expects
	return e.Message
}

// do sends a signed request to the host {project}.sls.test, or the bare one.
func (u *user) do(method, project, target string, head map[string]string, body []byte) reply {
	u.s.t.Helper()
	req := u.request(method, project, target, head, body)
	must(u.s.t, u.signer.Sign(req, body))
	return u.s.send(req)
}

func (u *user) request(method, project, target string, head map[string]string, body []byte) *http.Request {
	u.s.t.Helper()
	req, err := http.NewRequest(method, u.s.http.URL+target, bytes.NewReader(body))
	must(u.s.t, err)
	req.Host = "sls.test"
	if project != "" {
		req.Host = project + ".sls.test"
	}
	req.Header.Set(sls.HeaderAPIVersion, sls.APIVersion)
	req.Header.Set(sls.HeaderBodyRawSize, strconv.Itoa(len(body)))
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range head {
		if v == "" {
			req.Header.Del(k)
			continue
		}
		req.Header.Set(k, v)
	}
	return req
}

func (s *service) send(req *http.Request) reply {
	s.t.Helper()
	res, err := http.DefaultTransport.RoundTrip(req)
	must(s.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(s.t, err)
	return reply{status: res.StatusCode, head: res.Header, body: b}
}

// indexAll does what the indexers do.
func (s *service) indexAll(project, logstore string) {
	s.t.Helper()
	ctx := context.Background()
	l, err := s.catalog.Logstore(ctx, project, logstore)
	must(s.t, err)
	shards, err := s.catalog.Shards(ctx, project, logstore)
	must(s.t, err)
	for _, sh := range shards {
		key := shardlog.Key{Store: l.ID, Shard: sh.ID}
		shard, err := s.log.Shard(key)
		must(s.t, err)
		at, err := s.index.Position(key)
		must(s.t, err)
		recs, err := shard.Read(at, 1<<30, 1<<30)
		must(s.t, err)
		must(s.t, s.index.Apply(ctx, key, recs))
	}
}

// group encodes a log group with a log per value, a second apart from sec on.
func group(sec uint32, values ...string) []byte {
	var g sls.LogGroup
	g.Topic, g.Source = "nginx", "10.0.0.1"
	for i, v := range values {
		g.Logs = append(g.Logs, sls.Log{Sec: sec + uint32(i), Nsec: -1, Contents: []sls.Content{{Key: []byte("content"), Value: []byte(v)}}})
	}
	return g.AppendTo(nil)
}

func pack(t *testing.T, raw []byte, c sls.CompressType) []byte {
	t.Helper()
	var p sls.Compressor
	b, err := p.Append(nil, raw, c)
	must(t, err)
	return b
}

// put sends one log group.
func (u *user) put(project, target string, raw []byte, c sls.CompressType) reply {
	u.s.t.Helper()
	head := map[string]string{"Content-Type": sls.ContentTypePB, sls.HeaderBodyRawSize: strconv.Itoa(len(raw)), sls.HeaderCompressType: c.String()}
	return u.do(http.MethodPost, project, target, head, pack(u.s.t, raw, c))
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *sls.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("error is %v, want the code %s", err, code)
	}
}

func slowConn(t *testing.T, s *service) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.http.Listener.Addr().String())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}
