//go:build linux

package soak

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// trouble is what a proxy does to a request.
type trouble string

// The troubles. Those of the first group meet connections, the others requests.
const (
	refuse trouble = "refuse" // connections are reset as soon as they are made
	silent trouble = "cut"    // nothing gets through, nobody is told
	slow   trouble = "slow"   // some bytes a second in either direction
	delay  trouble = "delay"  // each request waits

	reset      trouble = "reset"       // both sides are reset in the middle of the request
	lost       trouble = "lost-reply"  // the request is carried out, the reply is dropped
	half       trouble = "half-reply"  // the reply breaks off in the middle
	late       trouble = "late"        // the client is reset, its request arrives seconds later
	repeat     trouble = "repeat"      // the request arrives twice
	late500    trouble = "late-500"    // the request is carried out and answered with 500
	err500     trouble = "500"         // answered with 500
	err503     trouble = "503"         // likewise
	quota      trouble = "quota"       // 403 WriteQuotaExceed
	shardQuota trouble = "shard-quota" // 403 ShardWriteQuotaExceed
	denied     trouble = "401"         // 401 Unauthorized, for a while below 15 minutes
	foreign404 trouble = "foreign-404" // the page of somebody else
	foreign200 trouble = "foreign-200" // a login page, as captive portals show
	foreign502 trouble = "foreign-502" // a gateway that does not reach the service
)

var troubles = []trouble{
	refuse, silent, slow, delay, reset, lost, half, late, repeat, late500, err500, err503, quota, shardQuota,
	denied, foreign404, foreign200, foreign502,
}

// proxy stands between the agent and the service and makes trouble.
type proxy struct {
	name    string
	addr    string
	target  func() string // host:port of the service; empty while there is none
	listen  net.Listener
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	count   func(kind string)

	mu    sync.Mutex
	mode  trouble // empty: none
	part  float64 // of the requests that meet it
	rate  int     // bytes a second of slow
	wait  time.Duration
	rand  *rand.Rand
	conns map[net.Conn]bool
	calls atomic.Int64
}

func startProxy(name, host string, seed uint64, target func() string, count func(string)) (*proxy, error) {
	p := &proxy{name: name, target: target, count: count, rand: rand.New(rand.NewPCG(seed, 9)), conns: map[net.Conn]bool{}}
	var err error
	if p.listen, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		return nil, err
	}
	p.addr = p.listen.Addr().String()
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.running.Go(p.accept)
	return p, nil
}

func (p *proxy) close() {
	p.stop()
	p.listen.Close()
	p.reset()
	p.running.Wait()
}

// set begins or, with an empty mode, ends a trouble.
func (p *proxy) set(mode trouble, part float64, rate int, wait time.Duration) {
	p.mu.Lock()
	was := p.mode
	p.mode, p.part, p.rate, p.wait = mode, part, rate, wait
	p.mu.Unlock()
	if was == silent || was == slow || mode == refuse {
		p.reset() // what hangs finds out
	}
}

// reset resets all connections of clients.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		abort(c)
	}
}

// abort closes with a RST.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}

// now returns the trouble that a request meets.
func (p *proxy) now() (mode trouble, rate int, wait time.Duration, dice uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dice = p.rand.Uint64()
	if p.mode == "" || p.rand.Float64() >= p.part {
		return "", 0, 0, dice
	}
	return p.mode, p.rate, p.wait, dice
}

func (p *proxy) accept() {
	for {
		c, err := p.listen.Accept()
		if err != nil {
			if p.ctx.Err() != nil {
				return
			}
			continue
		}
		p.mu.Lock()
		refused := p.mode == refuse
		if !refused {
			p.conns[c] = true
		}
		p.mu.Unlock()
		if refused {
			p.count(string(refuse))
			abort(c)
			continue
		}
		p.running.Go(func() {
			p.serve(c)
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
			c.Close()
		})
	}
}

// call is a request on its way.
type call struct {
	p      *proxy
	client net.Conn
	req    *http.Request
	body   []byte
	mode   trouble
	rate   int
	dice   uint64
}

func (p *proxy) serve(client net.Conn) {
	in := bufio.NewReaderSize(client, 64<<10)
	for p.ctx.Err() == nil {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		mode, rate, wait, dice := p.now()
		body := req.Body
		if mode == slow {
			body = io.NopCloser(&slowly{ctx: p.ctx, r: body, rate: rate * 100})
		}
		c := &call{p: p, client: client, req: req, mode: mode, rate: rate, dice: dice}
		if c.body, err = io.ReadAll(body); err != nil {
			return
		}
		p.calls.Add(1)
		if mode != "" {
			p.count(string(mode))
		}
		if mode == delay {
			select {
			case <-time.After(wait):
			case <-p.ctx.Done():
			}
		}
		if !c.pass() {
			return
		}
	}
}

// pass does what is to be done with the request; it says whether the connection goes on.
func (c *call) pass() bool {
	switch c.mode {
	case silent:
		<-c.p.ctxOrMode(silent)
		abort(c.client)
		return false
	case reset:
		c.forwardHalf()
		abort(c.client)
		return false
	case late:
		abort(c.client)
		select {
		case <-time.After(time.Duration(c.dice%4000) * time.Millisecond):
		case <-c.p.ctx.Done():
		}
		_, _ = c.forward() // whatever becomes of it
		return false
	case lost:
		_, _ = c.forward() // nobody hears of it
		abort(c.client)
		return false
	case repeat:
		first, err := c.forward()
		if err != nil {
			return c.gateway(err)
		}
		if c.dice%2 == 0 {
			return c.answer(first, func() ([]byte, error) { return c.forward() })
		}
		return c.answer(nil, func() ([]byte, error) { return c.forward() })
	case late500:
		_, _ = c.forward()
		return c.fail(500, "InternalServerError", "made up by the test")
	case err500:
		return c.fail(500, "InternalServerError", "made up by the test")
	case err503:
		return c.fail(503, "ServerBusy", "made up by the test")
	case quota:
		return c.fail(403, "WriteQuotaExceed", "project write quota is exceeded")
	case shardQuota:
		return c.fail(403, "ShardWriteQuotaExceed", "shard write quota is exceeded")
	case denied:
		return c.fail(401, "Unauthorized", "the key is not valid for now")
	case foreign404:
		return c.page(404, "<html><body>No such site</body></html>")
	case foreign200:
		return c.page(200, "<html><body>Please log in to the network</body></html>")
	case foreign502:
		return c.page(502, "<html><body>Bad gateway</body></html>")
	}
	return c.answer(nil, func() ([]byte, error) { return c.forward() })
}

// answer sends the reply, as it is or as the trouble wants it.
func (c *call) answer(reply []byte, get func() ([]byte, error)) bool {
	got, err := get()
	if err != nil && reply == nil {
		return c.gateway(err)
	}
	if reply == nil {
		reply = got
	}
	switch c.mode {
	case half:
		_, _ = c.client.Write(reply[:int(c.dice%uint64(len(reply)))])
		abort(c.client)
		return false
	case slow:
		_, err = io.Copy(c.client, &slowly{ctx: c.p.ctx, r: bytes.NewReader(reply), rate: c.rate})
		return err == nil
	}
	_, err = c.client.Write(reply)
	return err == nil
}

// gateway is what happens when the service cannot be reached: the connection
// breaks, as it would without a proxy.
func (c *call) gateway(error) bool {
	abort(c.client)
	return false
}

var errNoService = errors.New("the service is down")

// forward sends the request and returns the whole reply.
func (c *call) forward() ([]byte, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute)) // a TCP connection takes deadlines
	if _, err := conn.Write(c.raw()); err != nil {
		return nil, err
	}
	reply, err := http.ReadResponse(bufio.NewReader(conn), c.req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return nil, err
	}
	reply.Body = io.NopCloser(bytes.NewReader(body))
	reply.ContentLength, reply.TransferEncoding = int64(len(body)), nil
	reply.Close = false
	reply.Header.Del("Connection")
	var b bytes.Buffer
	if err := reply.Write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// forwardHalf sends a part of the request and resets.
func (c *call) forwardHalf() {
	conn, err := c.dial()
	if err != nil {
		return
	}
	raw := c.raw()
	_, _ = conn.Write(raw[:int(c.dice%uint64(len(raw)))])
	abort(conn)
}

func (c *call) dial() (net.Conn, error) {
	target := c.p.target()
	if target == "" {
		return nil, errNoService
	}
	var d net.Dialer
	return d.DialContext(c.p.ctx, "tcp", target)
}

// raw is the request as it goes on, on a connection of its own.
func (c *call) raw() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", c.req.Method, c.req.RequestURI, c.req.Host)
	h := c.req.Header.Clone()
	h.Del("Connection")
	h.Del("Transfer-Encoding")
	h.Set("Content-Length", strconv.Itoa(len(c.body)))
	h.Set("Connection", "close")
	_ = h.Write(&b) // memory
	b.WriteString("\r\n")
	b.Write(c.body)
	return b.Bytes()
}

// fail answers as the service does when it refuses.
func (c *call) fail(status int, code, message string) bool {
	return c.write(status, "application/json", fmt.Sprintf(`{"errorCode":%q,"errorMessage":%q}`, code, message),
		fmt.Sprintf("x-log-requestid: %024X\r\n", c.dice))
}

// page answers as somebody who knows nothing of the service.
func (c *call) page(status int, text string) bool { return c.write(status, "text/html", text, "") }

func (c *call) write(status int, kind, body, more string) bool {
	_, err := fmt.Fprintf(c.client, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n%s",
		status, strings.TrimSpace(http.StatusText(status)), kind, len(body), more, body)
	return err == nil
}

// ctxOrMode is closed when the proxy closes or the mode is another one.
func (p *proxy) ctxOrMode(mode trouble) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		poll := time.NewTicker(50 * time.Millisecond)
		defer poll.Stop()
		for {
			select {
			case <-p.ctx.Done():
				return
			case <-poll.C:
			}
			p.mu.Lock()
			same := p.mode == mode
			p.mu.Unlock()
			if !same {
				return
			}
		}
	}()
	return done
}

// slowly reads at a number of bytes a second.
type slowly struct {
	ctx  context.Context
	r    io.Reader
	rate int
}

func (s *slowly) Read(b []byte) (int, error) {
	n := max(1, s.rate/10)
	wait := 100 * time.Millisecond
	if s.rate < 10 {
		wait = time.Second / time.Duration(max(1, s.rate))
	}
	select {
	case <-time.After(wait):
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
	return s.r.Read(b[:min(n, len(b))])
}
