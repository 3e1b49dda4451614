package sls

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Defaults and limits of a client.
const (
	// DefaultTimeout of a request is that of stock agents.
	DefaultTimeout = 15 * time.Second
	// DefaultUserAgent names the program where ClientOptions does not.
	DefaultUserAgent = "logtail"

	maxControlReply = 8 << 20  // bytes of a JSON reply that describes objects or results
	maxDataReply    = 64 << 20 // bytes of a reply with logs, before and after decompression
	maxErrorReply   = 64 << 10

	idleConns       = 32
	idleConnTimeout = 55 * time.Second // servers of SLS close after 60 s
	dialTimeout     = 10 * time.Second
	dialKeepAlive   = 30 * time.Second

	// A clock is wrong, and signing is tried again with the server's, if it
	// turns out to be off by more than the seconds that replies are rounded to.
	clockTolerance = 2 * time.Second
)

// ErrNetwork marks every failure that is not an answer of the service: the
// connection failed, the time was over, a proxy answered, the reply was cut.
// Nothing is known of what the service did.
var ErrNetwork = errors.New("sls: no answer of the service")

// ClientOptions configure a client.
type ClientOptions struct {
	// Endpoint is the address of the service: host, host:port, or a URL with
	// the scheme http or https. Without a scheme it is http for loopback
	// addresses and https else.
	Endpoint string
	// Signer has the access key and, for signatures of version 4, the region.
	Signer
	UserAgent string        // default DefaultUserAgent
	Timeout   time.Duration // of a request; default DefaultTimeout
	TLS       *tls.Config   // nil verifies with the roots of the system
	MaxConns  int           // most connections at a time; 0 = no limit
}

// Client speaks to one endpoint. It is safe for concurrent use.
//
// It connects to the endpoint's address whatever the project, and names the
// project in the Host header and in x-log-project; so no wildcard DNS is
// needed.
//
// It learns from the replies how far the local clock is from the server's and
// signs with the server's time. If the first request of a machine with a wrong
// clock is refused because of that, it is sent again at once.
type Client struct {
	scheme, address string // address is host or host:port
	userAgent       string
	http            *http.Client
	signer          atomic.Pointer[Signer]
	clock           atomic.Int64 // server time minus local time, nanoseconds
}

// NewClient makes a client; it does not connect yet. It fails for an endpoint
// that is no address.
func NewClient(o ClientOptions) (*Client, error) {
	scheme, address, err := parseEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	c := &Client{scheme: scheme, address: address, userAgent: o.UserAgent}
	if c.userAgent == "" {
		c.userAgent = DefaultUserAgent
	}
	timeout := o.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive}).DialContext,
		TLSClientConfig:     o.TLS.Clone(),
		TLSHandshakeTimeout: dialTimeout,
		MaxConnsPerHost:     o.MaxConns,
		MaxIdleConnsPerHost: max(o.MaxConns, idleConns),
		IdleConnTimeout:     idleConnTimeout,
		DisableCompression:  true, // bodies are compressed by the protocol
	}
	c.http = &http.Client{
		Transport: transport,
		Timeout:   timeout,
		// A redirect is no answer of SLS; following it would show the
		// signature to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	signer := o.Signer
	c.signer.Store(&signer)
	return c, nil
}

// parseEndpoint splits an endpoint into scheme and host[:port].
func parseEndpoint(endpoint string) (scheme, address string, err error) {
	text := endpoint
	if !strings.Contains(text, "://") {
		text = "//" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", "", fmt.Errorf("sls: the endpoint %q is no address: %w", endpoint, err)
	}
	if u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return "", "", fmt.Errorf("sls: the endpoint %q is not of the form host, host:port, http://host:port or https://host:port", endpoint)
	}
	switch u.Scheme {
	case "http", "https":
		scheme = u.Scheme
	case "":
		scheme = "https"
		if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "localhost" || err == nil && ip.IsLoopback() {
			scheme = "http"
		}
	default:
		return "", "", fmt.Errorf("sls: the endpoint %q has the scheme %q; use http or https", endpoint, u.Scheme)
	}
	return scheme, u.Host, nil
}

// SetCredentials changes the access key for the requests that start from now
// on.
func (c *Client) SetCredentials(cr Credentials) {
	s := *c.signer.Load()
	s.Credentials = cr
	c.signer.Store(&s)
}

// Clock returns the server's time minus the local time as learnt from the last
// answer, within about a second; 0 before the first one.
func (c *Client) Clock() time.Duration { return time.Duration(c.clock.Load()) }

// Close closes the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one request to the service.
type call struct {
	method, project, path string // the path is escaped
	bare                  bool   // concerns no project
	query                 url.Values
	header                map[string]string
	body                  []byte
	rawSize               int  // of the body before compression
	repeatable            bool // may be sent again on a fresh connection if a pooled one turns out to be dead
	maxReply              int64
}

// reply is an answer of the service with status 200.
type reply struct {
	header http.Header
	body   []byte
}

// networkError wraps what failed so that it is ErrNetwork too.
type networkError struct {
	what string
	err  error
}

func (e *networkError) Error() string {
	if e.err == nil {
		return ErrNetwork.Error() + ": " + e.what
	}
	return ErrNetwork.Error() + ": " + e.what + ": " + e.err.Error()
}

func (e *networkError) Unwrap() []error {
	if e.err == nil {
		return []error{ErrNetwork}
	}
	return []error{ErrNetwork, e.err}
}

// do sends the call. A refusal because of the time is tried once more if the
// refusal taught a time that differs.
func (c *Client) do(ctx context.Context, k call) (*reply, error) {
	before := c.Clock()
	r, err := c.send(ctx, &k)
	if e, ok := AsError(err); ok && (e.Code == CodeRequestTimeTooSkewed || e.Code == CodeRequestTimeExpired) {
		if d := c.Clock() - before; d > clockTolerance || d < -clockTolerance {
			r, err = c.send(ctx, &k)
		}
	}
	return r, err
}

func (c *Client) send(ctx context.Context, k *call) (*reply, error) {
	req, signer, err := c.request(ctx, k)
	if err != nil {
		return nil, err
	}
	where := k.method + " " + c.scheme + "://" + c.address + k.path
	sent := localNow(signer)
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error // repeats method and URL
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, &networkError{where, err}
	}
	defer resp.Body.Close()
	requestID := resp.Header.Get(HeaderRequestID)
	limit := k.maxReply
	if resp.StatusCode != http.StatusOK {
		limit = maxErrorReply
	}
	body, err := readLimited(resp.Body, limit)
	if err != nil {
		return nil, &networkError{where + ": the reply", err}
	}
	if requestID == "" {
		return nil, &networkError{fmt.Sprintf("%s: the reply with status %d has no %s, so it is not the service's", where, resp.StatusCode, HeaderRequestID), nil}
	}
	if resp.StatusCode != http.StatusOK {
		var eb errorBody
		if json.Unmarshal(body, &eb) != nil || eb.Code == "" {
			return nil, &networkError{fmt.Sprintf("%s: the reply with status %d has no errorCode, so it is not the service's", where, resp.StatusCode), nil}
		}
		c.learnClock(signer, sent, resp.Header)
		return &reply{header: resp.Header}, &Error{Status: resp.StatusCode, Code: eb.Code, Message: eb.Message, RequestID: requestID}
	}
	c.learnClock(signer, sent, resp.Header)
	return &reply{header: resp.Header, body: body}, nil
}

// request builds and signs the HTTP request of a call.
func (c *Client) request(ctx context.Context, k *call) (*http.Request, *Signer, error) {
	target := c.scheme + "://" + c.address + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, bytes.NewReader(k.body))
	if err != nil {
		return nil, nil, fmt.Errorf("sls: %w", err)
	}
	if !k.bare {
		if !isHostLabel(k.project) {
			return nil, nil, fmt.Errorf("sls: %q is no name of a project; it has letters, digits, - and _", k.project)
		}
		req.Host = projectHost(k.project, c.address)
		req.Header.Set(HeaderProject, k.project)
	}
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set(HeaderAPIVersion, APIVersion)
	req.Header.Set(HeaderBodyRawSize, strconv.Itoa(k.rawSize))
	for name, v := range k.header {
		req.Header.Set(name, v)
	}
	signer := c.signer.Load()
	timed := *signer
	timed.Now = func() time.Time { return localNow(signer).Add(c.Clock()) }
	if err := timed.Sign(req, k.body); err != nil {
		return nil, nil, err
	}
	if k.repeatable {
		// To net/http this empty, unsent header says that the request may be
		// repeated when a kept connection was closed by the server meanwhile.
		req.Header["Idempotency-Key"] = nil
	}
	return req, signer, nil
}

// projectHost is the Host header of a project's requests: the project as a
// label before the endpoint. Before an IPv6 address no label can stand.
func projectHost(project, address string) string {
	if strings.HasPrefix(address, "[") {
		return address
	}
	return project + "." + address
}

// isHostLabel says whether a project can stand in a Host header.
func isHostLabel(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return s != ""
}

func localNow(s *Signer) time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// learnClock notes how far the server's clock is from ours. A reply tells the
// second in which it was made, at some time between sending and receiving: the
// middles of both are compared.
func (c *Client) learnClock(s *Signer, sent time.Time, h http.Header) {
	var server time.Time
	if sec, err := strconv.ParseInt(h.Get(HeaderTime), 10, 64); err == nil {
		server = time.Unix(sec, 0)
	} else if server, err = http.ParseTime(h.Get("Date")); err != nil {
		return
	}
	received := localNow(s)
	local := sent.Add(received.Sub(sent) / 2)
	c.clock.Store(int64(server.Add(time.Second / 2).Sub(local)))
}

// readLimited reads all of r, which must not be longer than limit.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("is longer than %d bytes", limit)
	}
	return b, nil
}

// callJSON sends in, if it is not nil, as JSON and reads the reply into out, if
// that is not nil.
func (c *Client) callJSON(ctx context.Context, k call, in, out any) (*reply, error) {
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("sls: the body of %s %s: %w", k.method, k.path, err)
		}
		k.body, k.rawSize = body, len(body)
		k.header = map[string]string{"Content-Type": contentJSON}
	}
	if k.maxReply == 0 {
		k.maxReply = maxControlReply
	}
	r, err := c.do(ctx, k)
	if err != nil {
		return r, err
	}
	if out != nil {
		if err := decodeJSON(r.body, out); err != nil {
			return r, err
		}
	}
	return r, nil
}

// decodeJSON reads the body of a successful reply. What cannot be read was
// damaged on the way or is not the service's.
func decodeJSON(body []byte, out any) error {
	if err := json.Unmarshal(body, out); err != nil {
		return &networkError{"the reply is not the JSON that was asked for", err}
	}
	return nil
}
