// Package api speaks the HTTP API of SLS: one file per resource. It checks,
// authenticates and translates; what it works on are the three seams: the
// catalog, the shard log and the index.
//
// The way of a request: verify the signature, which covers a digest of the body;
// route it (which tells how large a body may be), read the body within the
// limits and hold it against the digest, take the project from the host name,
// check that the project is the caller's, run the handler. Every
// request goes this way but for the health probe, which reveals nothing.
package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"path"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"logtail/internal/server/auth"
	"logtail/internal/server/catalog"
	"logtail/internal/server/index"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// HealthPath answers "ok" to anybody: the process serves requests.
const HealthPath = "/healthz"

// Stores is told of logstores that begin and end, so that somebody indexes
// what is appended and deletes what is left. It must not block for long.
type Stores interface {
	Created(l catalog.Logstore, shards []catalog.Shard)
	Deleted(l catalog.Logstore)
}

// Config is what a Handler works with. Everything but Domains, Limits, Logger
// and Now is required.
type Config struct {
	Catalog  catalog.Catalog
	Log      shardlog.Log
	Index    index.Index
	Auth     *auth.Authenticator
	Sessions *Sessions
	Stores   Stores
	// Domains are the host names of the service itself; a project is the label
	// before one of them.
	Domains []string
	Limits  Limits
	Logger  *slog.Logger
	Now     func() time.Time
}

// Handler serves the API. It is safe for concurrent use.
type Handler struct {
	Config
	domains []string
	mux     *http.ServeMux
	limits  map[string]int64 // largest body, by pattern
	dir     *directory
	budget  budget
	scratch chan *scratch // as many as log groups may be decoded at a time
	queries chan struct{} // as many as queries may run at a time
	turn    atomic.Uint64 // round robin over shards
	damaged sync.Map      // records of which logDamage has told
}

// request is one request on its way through a handler.
type request struct {
	w       http.ResponseWriter
	r       *http.Request
	body    []byte
	caller  auth.Caller
	project string // "" on the bare endpoint
	store   string // incarnation of the logstore whose shard is read
	now     time.Time
}

func (rq *request) ctx() context.Context { return rq.r.Context() }

// contextKey carries the *request through the mux.
type contextKey struct{}

// New returns a handler.
func New(c Config) *Handler {
	c.Limits.setDefaults()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	h := &Handler{
		Config:  c,
		domains: cleanDomains(c.Domains),
		mux:     http.NewServeMux(),
		limits:  make(map[string]int64),
		dir:     newDirectory(c.Catalog, c.Auth, c.Now),
		budget:  budget{max: c.Limits.InFlightBytes},
		scratch: make(chan *scratch, c.Limits.Decoders),
		queries: make(chan struct{}, c.Limits.Queries),
	}
	for range c.Limits.Decoders {
		h.scratch <- new(scratch)
	}
	h.routes()
	return h
}

// routes is the table of the API. Only creating and listing projects work
// without a project in the host name.
func (h *Handler) routes() {
	small, large := h.Limits.JSONBytes, h.Limits.BodyBytes
	add := func(pattern string, limit int64, do func(*request) error) {
		h.limits[pattern] = limit
		h.mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
			rq := r.Context().Value(contextKey{}).(*request)
			rq.r = r
			if err := h.inProject(rq, do); err != nil {
				h.fail(rq.w, r, err)
			}
		})
	}
	addAnywhere := func(pattern string, do func(*request) error) {
		h.limits[pattern] = small
		h.mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
			rq := r.Context().Value(contextKey{}).(*request)
			rq.r = r
			if err := do(rq); err != nil {
				h.fail(rq.w, r, err)
			}
		})
	}

	addAnywhere("POST /{$}", h.createProject)
	addAnywhere("GET /{$}", h.getOrListProjects)
	add("PUT /{$}", small, h.updateProject)
	add("DELETE /{$}", small, h.deleteProject)

	add("POST /logstores", small, h.createLogstore)
	add("GET /logstores", small, h.listLogstores)
	add("GET /logstores/{logstore}", small, h.getLogstoreOrLogs)
	add("PUT /logstores/{logstore}", small, h.updateLogstore)
	add("DELETE /logstores/{logstore}", small, h.deleteLogstore)

	add("POST /logstores/{logstore}/index", small, h.createIndex)
	add("GET /logstores/{logstore}/index", small, h.getIndexOrHistogram)
	add("PUT /logstores/{logstore}/index", small, h.updateIndex)
	add("DELETE /logstores/{logstore}/index", small, h.deleteIndex)

	add("POST /logstores/{logstore}", large, h.putLogs)
	add("POST /logstores/{logstore}/shards/lb", large, h.putLogs)
	add("POST /logstores/{logstore}/shards/route", large, h.putLogs)
	add("POST /logstores/{logstore}/lanes", small, h.resumeLanes)

	add("GET /logstores/{logstore}/shards", small, h.listShards)
	add("GET /logstores/{logstore}/shards/{shard}", small, h.readShard)
	add("POST /logstores/{logstore}/logs", small, h.getLogs)

	h.mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) {
		rq := r.Context().Value(contextKey{}).(*request)
		h.fail(rq.w, r, h.noRoute(r))
	})
}

// ServeHTTP answers one request; see the package comment for its way.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == HealthPath && r.Host != "" {
		closeAfter(w)
		limitWrite(w, 0)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n")) // the prober went away: nobody is left to tell
		return
	}
	now := h.Now()
	head := w.Header()
	head.Set(sls.HeaderRequestID, sls.NewRequestID())
	head.Set(sls.HeaderTime, strconv.FormatInt(now.Unix(), 10))
	head.Set("Date", now.UTC().Format(http.TimeFormat))
	head.Set("Server", "logtail")
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
				panic(v)
			}
			h.Logger.Error("a request made the service panic; this is a bug",
				"request", head.Get(sls.HeaderRequestID), "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
			sls.WriteError(w, sls.NewError(sls.CodeInternalServerError, "the service failed on this request; its log has the cause"))
		}
	}()

	rq := &request{w: w, now: now}
	r = r.WithContext(context.WithValue(r.Context(), contextKey{}, rq))
	rq.r = r
	caller, signed, err := h.Auth.Verify(r)
	if err != nil {
		closeAfter(w) // strangers keep no connection
		h.fail(w, r, err)
		return
	}
	body, held, err := h.readBody(w, r, h.bodyLimit(r))
	defer h.budget.give(held)
	if err == nil {
		err = signed.VerifyBody(body)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	rq.caller, rq.body = caller, body
	rq.project = ProjectOf(r.Host, r.Header.Get(sls.HeaderProject), h.domains)
	if !cleanPath(r.URL.Path) {
		// The mux would answer with a redirect, which no client of SLS follows.
		h.fail(w, r, h.noRoute(r))
		return
	}
	h.mux.ServeHTTP(w, r)
}

// inProject runs a handler that works within the project of the request.
func (h *Handler) inProject(rq *request, do func(*request) error) error {
	if rq.project == "" {
		return sls.NewError(sls.CodeParameterInvalid,
			"the request names no project; send it to the host {project}.{endpoint} or name the project in the header %s", sls.HeaderProject)
	}
	if _, err := h.dir.project(rq.ctx(), rq.caller, rq.project); err != nil {
		return err
	}
	return do(rq)
}

// bodyLimit tells how large the body of the request may be.
func (h *Handler) bodyLimit(r *http.Request) int64 {
	if _, pattern := h.mux.Handler(r); h.limits[pattern] > 0 {
		return h.limits[pattern]
	}
	return h.Limits.JSONBytes
}

// noRoute is the answer for a path or method that the API does not have.
func (h *Handler) noRoute(r *http.Request) error {
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if m == r.Method || !cleanPath(r.URL.Path) {
			continue
		}
		other := *r
		other.Method = m
		if _, pattern := h.mux.Handler(&other); h.limits[pattern] > 0 {
			return sls.NewError(sls.CodeInvalidMethod, "%s is not possible on %s; use %s, for instance", r.Method, r.URL.Path, m)
		}
	}
	e := sls.NewError(sls.CodeNotSupported, "this service has nothing at %s; check the path and the API version", r.URL.Path)
	e.Status = http.StatusNotFound
	return e
}

func cleanPath(p string) bool { return p == path.Clean(p) }

// clientIP is the address of the peer; headers of proxies are not trusted.
func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
