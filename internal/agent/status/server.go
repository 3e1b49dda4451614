package status

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds of the server.
const (
	maxConns  = 32               // at once; further ones are closed
	maxLists  = 2                // lists of files that are written at once; further ones wait
	headTime  = 5 * time.Second  // for a request to arrive
	writeTime = 30 * time.Second // for a reader to take a piece of an answer
	listTime  = 5 * time.Minute  // for a list of files
	idleTime  = 30 * time.Second
	closeTime = time.Second     // for answers to end when the agent stops
	askTime   = 5 * time.Second // for the agent to answer to /healthz
	againTime = 5 * time.Second // until an address is written again that could not be
	maxHead   = 16 << 10        // bytes of a request's head
)

// Options of a server.
type Options struct {
	// MetricsListen is where /metrics and /healthz are also served, without
	// encryption or password: host:port, or :port or just a port on the loopback
	// address. "" means nowhere.
	MetricsListen string
	Version       string // of this program
	Log           *slog.Logger
}

// Server answers who asks for the status.
type Server struct {
	dir     string
	src     Source
	log     *slog.Logger
	local   net.Listener // nil: could not be opened
	metrics net.Listener // nil: not wanted
	address Address
	hidden  bool          // the address is not written yet
	again   time.Duration // againTime
	lists   chan struct{} // a place for each list that is being written
	health  health
}

// Listen opens the places where the status of the agent with the data folder dir
// is served. Only a MetricsListen that cannot be had is an error; without
// its socket the agent still collects, so that is a warning in the log.
func Listen(dir string, src Source, o Options) (*Server, error) {
	now := time.Now()
	src = process{src, o.Version, now}
	s := &Server{dir: dir, src: src, log: o.Log, again: againTime, lists: make(chan struct{}, maxLists), health: health{src: src}}
	if o.MetricsListen != "" {
		address := o.MetricsListen
		if !strings.Contains(address, ":") {
			address = ":" + address
		}
		if strings.HasPrefix(address, ":") {
			address = "127.0.0.1" + address
		}
		var err error
		if s.metrics, err = net.Listen("tcp", address); err != nil { //nolint:noctx // nothing to interrupt yet
			return nil, fmt.Errorf("cannot serve metrics at %s: %w; choose another address with --metrics-listen", o.MetricsListen, err)
		}
	}
	var err error
	if s.local, s.address, err = listenLocal(dir, now); err != nil {
		s.log.Warn("logtail status will not reach this agent", "error", err)
		return s, nil
	}
	if err := s.address.write(dir); err != nil {
		s.log.Warn("the address for logtail status cannot be written; it is tried again", "folder", dir, "error", err)
		s.hidden = true
	}
	return s, nil
}

// publish writes the address as soon as that can be done: the disk may be full or
// read-only for a while.
func (s *Server) publish(ctx context.Context) {
	t := time.NewTicker(s.again)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if s.address.write(s.dir) == nil {
				return
			}
		}
	}
}

// MetricsAddress returns where the metrics are, or "".
func (s *Server) MetricsAddress() string {
	if s.metrics == nil {
		return ""
	}
	return s.metrics.Addr().String()
}

// Serve answers until ctx ends, and gives everything back.
func (s *Server) Serve(ctx context.Context) {
	metrics := promhttp.HandlerFor(registry(s.src), promhttp.HandlerOpts{
		ErrorLog: complaints{s.log}, MaxRequestsInFlight: 4, Timeout: writeTime,
	})
	public := http.NewServeMux()
	public.Handle("GET /metrics", metrics)
	public.HandleFunc("GET /healthz", s.health.serve)
	private := http.NewServeMux()
	private.Handle("GET /metrics", metrics)
	private.HandleFunc("GET /healthz", s.health.serve)
	private.HandleFunc("GET /status", s.status)
	private.HandleFunc("GET /files", s.files)

	var serving sync.WaitGroup
	for _, p := range []struct {
		ln net.Listener
		h  http.Handler
	}{{s.local, s.checked(private)}, {s.metrics, public}} {
		if p.ln != nil {
			serving.Go(func() { s.serve(ctx, p.ln, p.h) })
		}
	}
	if s.hidden {
		serving.Go(func() { s.publish(ctx) })
	}
	serving.Wait()
	if s.local != nil {
		s.address.remove(s.dir)
	}
}

// serve serves one listener until ctx ends.
func (s *Server) serve(ctx context.Context, ln net.Listener, h http.Handler) {
	var conns atomic.Int64
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headTime, ReadTimeout: headTime, WriteTimeout: writeTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHead,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				if conns.Add(1) > maxConns {
					c.Close()
				}
			case http.StateClosed, http.StateHijacked:
				conns.Add(-1)
			}
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		if srv.Shutdown(late) != nil {
			_ = srv.Close() // whoever is still reading has to begin again
		}
	}()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		s.log.Warn("logtail status and metrics are not served any more", "address", ln.Addr().String(), "error", err)
	}
	<-done
}

// checked lets only those through who know the token, where there is one.
func (s *Server) checked(h http.Handler) http.Handler {
	if s.address.Token == "" {
		return h
	}
	want := []byte("Bearer " + s.address.Token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "the token of "+addressFile+" is missing", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	st := s.src.Status()
	_ = json.NewEncoder(w).Encode(&st) // the reader may be gone
}

// process adds to a status what is known of this process.
type process struct {
	Source
	version string
	since   time.Time
}

func (p process) Status() Status {
	s := p.Source.Status()
	s.Running, s.PID, s.Version, s.Since = true, os.Getpid(), p.version, p.since.UTC().Truncate(time.Second)
	s.fill()
	return s
}

// fill makes lists of what would be null.
func (s *Status) fill() {
	s.Counts = notNil(s.Counts)
	s.Destinations = notNil(s.Destinations)
	s.Pipelines = notNil(s.Pipelines)
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// complaints is the log of the metrics' handler.
type complaints struct{ log *slog.Logger }

func (c complaints) Println(v ...any) {
	c.log.Warn("metrics: " + strings.TrimSpace(fmt.Sprintln(v...)))
}

// health answers whether the agent is alive: whether it can say what it does.
type health struct {
	src Source

	mu     sync.Mutex
	asking chan struct{} // closed by the answer to the question that is under way
}

func (h *health) serve(w http.ResponseWriter, r *http.Request) {
	limit := time.NewTimer(askTime)
	defer limit.Stop()
	select {
	case <-h.ask():
		fmt.Fprintln(w, "ok")
	case <-limit.C:
		http.Error(w, fmt.Sprintf("the agent has not answered for %v", askTime), http.StatusServiceUnavailable)
	case <-r.Context().Done():
	}
}

// ask asks the agent, once for all who want to know at the same time: one that
// hangs must not gather goroutines.
func (h *health) ask() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asking != nil {
		return h.asking
	}
	answer := make(chan struct{})
	h.asking = answer
	go func() {
		h.src.Status()
		h.mu.Lock()
		h.asking = nil
		h.mu.Unlock()
		close(answer)
	}()
	return answer
}
