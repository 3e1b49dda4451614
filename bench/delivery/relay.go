//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"logtail/internal/sls"
)

// relay stands between the agent and the server. It passes bodies on without
// looking at them, so that it costs little.
type relay struct {
	listener net.Listener
	server   string // host:port
	hide     bool   // take the announcement of ranges out of the replies
	conns    sync.WaitGroup

	mu      sync.Mutex
	open    map[net.Conn]struct{}
	pending int             // requests without a reply
	last    time.Time       // of the last reply
	acks    []time.Duration // from a write of logs to its acknowledgement
	refused int             // writes that were not acknowledged
	sent    int64           // bytes of all bodies
}

// startRelay listens on loopback.
func startRelay(ctx context.Context, server string, hide bool) (*relay, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: l, server: server, hide: hide, open: map[net.Conn]struct{}{}}
	r.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.conns.Go(func() { r.serve(ctx, c) })
		}
	})
	return r, nil
}

// close ends all connections.
func (r *relay) close() {
	r.listener.Close()
	r.mu.Lock()
	for c := range r.open {
		c.Close()
	}
	r.open = nil
	r.mu.Unlock()
	r.conns.Wait()
}

// keep notes a connection to be closed with the relay.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		c.Close()
		return false
	}
	r.open[c] = struct{}{}
	return true
}

func (r *relay) drop(c net.Conn) {
	c.Close()
	r.mu.Lock()
	delete(r.open, c)
	r.mu.Unlock()
}

// serve passes requests and replies on, one after the other, until a side closes.
func (r *relay) serve(ctx context.Context, agent net.Conn) {
	if !r.keep(agent) {
		return
	}
	defer r.drop(agent)
	var d net.Dialer
	server, err := d.DialContext(ctx, "tcp", r.server)
	if err != nil || !r.keep(server) {
		return
	}
	defer r.drop(server)
	requests, replies := bufio.NewReader(agent), bufio.NewReader(server)
	for {
		head, length, err := readHead(requests)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.pending++
		r.mu.Unlock()
		begun := time.Now()
		ok := r.exchange(agent, server, requests, replies, head, length)
		r.answered(bytes.Contains(head[:bytes.IndexByte(head, '\n')], []byte("/shards/lb ")), ok, length, time.Since(begun))
		if !ok {
			return
		}
	}
}

// exchange passes one request on, and its reply back.
func (r *relay) exchange(agent, server net.Conn, requests, replies *bufio.Reader, head []byte, length int64) (ok bool) {
	if _, err := server.Write(head); err != nil {
		return false
	}
	// What was read with the head; the kernel moves the rest from socket to socket.
	buffered := min(int64(requests.Buffered()), length)
	if _, err := io.CopyN(server, requests, buffered); err != nil {
		return false
	}
	if _, err := io.CopyN(server, agent, length-buffered); err != nil {
		return false
	}
	reply, err := http.ReadResponse(replies, nil)
	if err != nil {
		return false
	}
	defer reply.Body.Close()
	if r.hide {
		reply.Header.Del(sls.HeaderDelivery)
	}
	return reply.Write(agent) == nil && reply.StatusCode == http.StatusOK
}

// answered counts a request that is over.
func (r *relay) answered(write, ok bool, length int64, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending--
	r.last = time.Now()
	r.sent += length
	switch {
	case write && ok:
		r.acks = append(r.acks, took)
	case write:
		r.refused++
	}
}

// quiet says whether there is no request and was none for a time, and when the
// last one was answered.
func (r *relay) quiet(least time.Duration) (last time.Time, quiet bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, r.pending == 0 && len(r.acks) > 0 && time.Since(r.last) >= least
}

// readHead reads the head of a request, to the empty line, and finds the length
// of its body.
func readHead(r *bufio.Reader) (head []byte, length int64, err error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, 0, err
		}
		head = append(head, line...)
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			return head, length, nil
		}
		key, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(key, []byte("Content-Length")):
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return nil, 0, err
			}
		case bytes.EqualFold(key, []byte("Transfer-Encoding")):
			return nil, 0, errors.New("the agent sends bodies of unknown length")
		}
	}
}
