// Package server is the Log Service: it wires the HTTP API, the shard log, the
// index and the catalog, and starts and stops them in order.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"logtail/internal/server/api"
	"logtail/internal/server/auth"
	"logtail/internal/server/catalog"
	"logtail/internal/server/index"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

const (
	// DefaultListen is where the service listens unless told otherwise.
	DefaultListen = "127.0.0.1:7480"
	// DefaultKeepLog is how long the shard log is kept for those who pull.
	DefaultKeepLog = 24 * time.Hour
	// DefaultDrain is how long a stop waits for requests under way; with it, all
	// of a stop stays below five seconds.
	DefaultDrain = 3 * time.Second

	headerTime  = 10 * time.Second // for the header of a request to arrive
	idleTime    = 3 * time.Minute  // agents keep their connections between flushes
	headerBytes = 64 << 10
)

// Options say how the service runs. Only Data is required.
type Options struct {
	Data    string // folder of everything that the service keeps; made if it is missing
	Listen  string // host:port, port 0 for any free one; DefaultListen
	TLSCert string // PEM file, together with TLSKey; a self-signed certificate if both are empty
	TLSKey  string
	// InsecureHTTP speaks plain HTTP. Signatures protect requests from being
	// altered, but everybody on the way can read the logs: for loopback, or
	// behind something that ends TLS.
	InsecureHTTP bool
	// Domains are the host names of the service, before which a project stands.
	Domains []string
	Logger  *slog.Logger
	Clock   func() time.Time // time.Now
	KeepLog time.Duration    // how long the shard log is kept; DefaultKeepLog
	Drain   time.Duration    // how long a stop waits for requests; DefaultDrain
	Limits  api.Limits       // of requests; zero values mean the defaults

	// open takes the place of openEngines in tests.
	open func(Options) (engines, error)
}

// engines are the three seams.
type engines struct {
	catalog catalog.Catalog
	log     shardlog.Log
	index   index.Index
}

// Server is a Log Service. Start it once, then shut it down.
type Server struct {
	opts     Options
	unlock   func()
	engines  engines
	api      *api.Handler
	indexers *indexers
	admin    catalog.AccessKey

	cancel   context.CancelFunc // ends what is left of requests
	http     *http.Server
	listener net.Listener
	running  sync.RWMutex // read-locked by each request; locked for good by the stop
	serving  chan error   // one value: why serving ended

	stop    sync.Once
	stopErr error

	mu          sync.Mutex
	credentials Credentials
}

// New opens everything in the data folder; nothing is listening yet. Errors are
// sentences for whoever started the program. After an error nothing is left open.
func New(o Options) (_ *Server, err error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{opts: o, serving: make(chan error, 1)}
	defer func() {
		if err != nil {
			_ = s.close() // what went wrong first is what counts
		}
	}()
	if s.unlock, err = lockData(o.Data); err != nil {
		return nil, err
	}
	if s.engines, err = o.open(o); err != nil {
		return nil, fmt.Errorf("cannot open the data in %s: %w", o.Data, err)
	}
	sessions, err := api.OpenSessions(filepath.Join(o.Data, "session"), o.Clock)
	if err != nil {
		return nil, err
	}
	if err := s.openAccount(context.Background()); err != nil {
		return nil, err
	}
	s.indexers = newIndexers(s.engines, o)
	s.api = api.New(api.Config{
		Catalog: s.engines.catalog, Log: s.indexers.log(), Index: s.engines.index,
		Auth:     auth.New(s.engines.catalog, auth.Options{Now: o.Clock}),
		Sessions: sessions, Stores: s.indexers, Domains: o.Domains, Limits: o.Limits, Logger: o.Logger, Now: o.Clock,
	})
	return s, nil
}

func (o *Options) setDefaults() error {
	if o.Data == "" {
		return errors.New("no data directory is given; name one with --data")
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return errors.New("a certificate needs its key and a key its certificate; give both --tls-cert and --tls-key, or neither")
	}
	if o.InsecureHTTP && o.TLSCert != "" {
		return errors.New("--insecure-http and --tls-cert exclude one another; give one of them")
	}
	if o.Listen == "" {
		o.Listen = DefaultListen
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.KeepLog <= 0 {
		o.KeepLog = DefaultKeepLog
	}
	if o.Drain <= 0 {
		o.Drain = DefaultDrain
	}
	if o.open == nil {
		o.open = openEngines
	}
	return nil
}

// Start listens, writes the credentials file and serves in the background.
// After an error the server is shut down.
func (s *Server) Start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			_ = s.close() // what went wrong first is what counts
		}
	}()
	listener, err := listen(ctx, s.opts.Listen)
	if err != nil {
		return err
	}
	s.listener = newLimitListener(listener, connLimit(), s.opts.Logger, time.Now)
	tlsConfig, certificate, err := s.tls()
	if err != nil {
		return err
	}
	if err := s.writeCredentials(func(c *Credentials) {
		c.Endpoint, c.Certificate = s.endpoint(), certificate
	}); err != nil {
		return err
	}
	if err := s.indexers.start(ctx); err != nil {
		return err
	}

	requests, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serveHTTP),
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return requests },
	}
	go func() {
		if tlsConfig != nil {
			s.serving <- s.http.ServeTLS(s.listener, "", "")
		} else {
			s.serving <- s.http.Serve(s.listener)
		}
	}()
	s.opts.Logger.Info("log service started", "endpoint", s.endpoint(), "data", s.opts.Data)
	return nil
}

// serveHTTP lets no request in once the stop has begun.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.running.TryRLock() {
		w.Header().Set("Connection", "close")
		sls.WriteError(w, sls.NewError(sls.CodeServerBusy, "the service is stopping; try again"))
		return
	}
	defer s.running.RUnlock()
	s.api.ServeHTTP(w, r)
}

// Addr is the address on which the server listens, after Start.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Endpoint is the base URL of the server, after Start.
func (s *Server) Endpoint() string { return s.endpoint() }

// Run starts, serves until ctx ends, and shuts down.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Start(ctx); err != nil {
		return err
	}
	return s.Wait(ctx)
}

// Wait serves until ctx ends or serving fails, and shuts down. Start comes before it.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return s.Shutdown(context.Background())
	case err := <-s.serving:
		return errors.Join(fmt.Errorf("serving %s ended: %w", s.listener.Addr(), err), s.Shutdown(context.Background()))
	}
}

// Shutdown stops in order: no new requests, the requests under way, indexers,
// index, shard log, catalog. Requests that are not done when ctx ends, or after
// Options.Drain, are given up; what was acknowledged is durable in any case.
//
// Every call returns when the stop is complete, with its outcome.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop.Do(func() { s.stopErr = s.shutdown(ctx) })
	return s.stopErr
}

func (s *Server) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Drain)
	defer cancel()
	if s.http != nil {
		if err := s.http.Shutdown(ctx); err != nil {
			s.opts.Logger.Warn("requests were cut off by the stop; their senders will repeat them", "error", err)
			s.cancel()
			_ = s.http.Close() // the listener is closed already
		}
		s.running.Lock() // waits for the requests that were cut off
		s.cancel()
	}
	return s.close()
}

// close closes what is open, in the order of Shutdown.
func (s *Server) close() error {
	var errs []error
	if s.listener != nil {
		s.listener.Close() // closed already if it served
	}
	if s.indexers != nil {
		s.indexers.stop()
	}
	errs = append(errs, s.engines.close())
	if s.unlock != nil {
		s.unlock()
		s.unlock = nil
	}
	return errors.Join(errs...)
}

func (e *engines) close() error {
	var errs []error
	if e.index != nil {
		errs = append(errs, e.index.Close())
	}
	if e.log != nil {
		errs = append(errs, e.log.Close())
	}
	if e.catalog != nil {
		errs = append(errs, e.catalog.Close())
	}
	*e = engines{}
	return errors.Join(errs...)
}

// listen opens the address and explains what is wrong if that fails.
func listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE) || isAddrInUse(err):
		return nil, fmt.Errorf("the address %s is in use by another program; stop that one or choose another address with --listen", address)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("this user may not listen on %s; choose a port above 1023 with --listen, or grant the right", address)
	}
	return nil, fmt.Errorf("cannot listen on %s: %w; give a host and port of this machine with --listen", address, err)
}

// endpoint is the URL under which this machine reaches the server.
func (s *Server) endpoint() string {
	scheme := "https"
	if s.opts.InsecureHTTP {
		scheme = "http"
	}
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return scheme + "://" + s.listener.Addr().String()
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// tls returns the configuration of the listener (nil for plain HTTP) and, if it
// is self-signed, the certificate as PEM for clients to trust.
func (s *Server) tls() (*tls.Config, string, error) {
	if s.opts.InsecureHTTP {
		if host, _, _ := net.SplitHostPort(s.listener.Addr().String()); !isLoopback(host) {
			s.opts.Logger.Warn("plain HTTP on an address that other machines reach: everybody on the way can read the logs", "address", s.listener.Addr().String())
		}
		return nil, "", nil
	}
	if s.opts.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(s.opts.TLSCert, s.opts.TLSKey)
		if err != nil {
			return nil, "", fmt.Errorf("cannot use the certificate %s with the key %s: %w", s.opts.TLSCert, s.opts.TLSKey, err)
		}
		return tlsConfig(pair), "", nil
	}
	pair, certificate, err := selfSigned(filepath.Join(s.opts.Data, "tls"), s.opts.hostNames(), s.opts.Clock())
	if err != nil {
		return nil, "", err
	}
	return tlsConfig(pair), certificate, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
