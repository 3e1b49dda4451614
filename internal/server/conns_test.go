package server

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"logtail/internal/sls"
)

// TestConnectionsAreBounded: those that do not fit wait, and get their turn
// when others close.
func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lines := new(logLines)
	l := newLimitListener(inner, 2, slog.New(slog.NewTextHandler(lines, nil)), time.Now)
	accepted := make(chan net.Conn)
	ended := make(chan error)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	var clients, servers []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	for range 2 {
		servers = append(servers, <-accepted)
	}
	waitFor(t, "a warning", func() bool { return lines.has("connections=2") })
	select {
	case <-accepted:
		t.Fatal("a third connection was accepted")
	default:
	}
	for range 2 { // closing twice gives one place back
		servers[0].Close()
	}
	third := <-accepted
	defer third.Close()
	defer servers[1].Close()
	if third.RemoteAddr().String() != clients[2].LocalAddr().String() {
		t.Error("another connection than the one that waited")
	}
	waitFor(t, "Accept to wait", func() bool { return len(l.places) == 2 })
	l.Close()
	if err := <-ended; err == nil {
		t.Error("no error after Close")
	}
}

// TestStrangersDoNotKeepTheirConnection: a refusal of who is not known, and the
// answer to a probe, close it.
func TestStrangersDoNotKeepTheirConnection(t *testing.T) {
	s := started(t, Options{InsecureHTTP: true, open: memory()})
	for _, target := range []string{"/", "/healthz"} {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, s.Addr())
		in := bufio.NewReader(c)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if !res.Close || target == "/" && res.Header.Get(sls.HeaderRequestID) == "" {
			t.Errorf("%s: got %v", target, res.Header)
		}
		if _, err := in.ReadByte(); err == nil {
			t.Errorf("%s: the connection stays open", target)
		}
	}
}

// TestCrashWhileTheCertificateIsRenewed leaves a new key beside the old
// certificate, which must not keep the service from starting.
func TestCrashWhileTheCertificateIsRenewed(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	if _, _, err := selfSigned(dir, []string{"localhost"}, now); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]func() []byte{
		"key of another": func() []byte {
			_, key, err := makeCertificate([]string{"localhost"}, now)
			if err != nil {
				t.Fatal(err)
			}
			return key
		},
		"damaged": func() []byte { return []byte("nonsense") },
	} {
		if err := os.WriteFile(filepath.Join(dir, "key.pem"), key(), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := selfSigned(dir, []string{"localhost"}, now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")); err != nil {
			t.Errorf("%s: not made anew: %v", name, err)
		}
	}
}
