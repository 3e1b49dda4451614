package sls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestWhatIsNoAnswerIsANetworkError: only SLS's own refusals may make an agent
// drop logs; everything else has to look like a broken line.
func TestWhatIsNoAnswerIsANetworkError(t *testing.T) {
	raw := func(f func(w http.ResponseWriter)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { f(w) }
	}
	for name, h := range map[string]http.HandlerFunc{
		"page of a proxy": raw(func(w http.ResponseWriter) { http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway) }),
		"404 of a proxy":  raw(func(w http.ResponseWriter) { http.Error(w, "not found", http.StatusNotFound) }),
		"refusal without a request id": raw(func(w http.ResponseWriter) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"errorCode":"LogStoreNotExist","errorMessage":""}`)
		}),
		"refusal without a code": raw(func(w http.ResponseWriter) {
			w.Header().Set(HeaderRequestID, "X")
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"message":"not found"}`)
		}),
		"refusal that is no JSON": raw(func(w http.ResponseWriter) {
			w.Header().Set(HeaderRequestID, "X")
			w.WriteHeader(500)
			_, _ = io.WriteString(w, `oops`)
		}),
		"success without a request id": raw(func(w http.ResponseWriter) { _, _ = io.WriteString(w, "welcome to the hotel") }),
		"redirect": raw(func(w http.ResponseWriter) {
			w.Header().Set("Location", "/login")
			w.WriteHeader(302)
		}),
		"cut reply": raw(func(w http.ResponseWriter) {
			w.Header().Set(HeaderRequestID, "X")
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{}")
		}),
		"endless reply": raw(func(w http.ResponseWriter) {
			w.Header().Set(HeaderRequestID, "X")
			for range maxControlReply/1000 + 2 {
				_, _ = w.Write(make([]byte, 1000))
			}
		}),
		"endless refusal": raw(func(w http.ResponseWriter) {
			w.Header().Set(HeaderRequestID, "X")
			w.WriteHeader(500)
			_, _ = w.Write(make([]byte, maxErrorReply+1))
		}),
		"connection reset": raw(func(w http.ResponseWriter) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
		}),
		"other protocol": raw(func(w http.ResponseWriter) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH\r\n")
				conn.Close()
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(h)
			defer srv.Close()
			c := (&service{Server: srv}).client(t)
			_, err := c.GetProject(context.Background(), "p")
			wantNetworkError(t, err)
			if strings.Contains(err.Error(), testSecret) {
				t.Fatalf("%v shows the secret", err)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		srv := httptest.NewServer(http.NotFoundHandler())
		c := (&service{Server: srv}).client(t)
		srv.Close()
		_, err := c.GetProject(context.Background(), "p")
		wantNetworkError(t, err)
	})
	t.Run("time is over", func(t *testing.T) {
		release := make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		defer srv.Close()
		defer close(release)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, err := (&service{Server: srv}).client(t).GetProject(ctx, "p")
		wantNetworkError(t, err)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v does not tell why", err)
		}
	})
}

func TestClientVerifiesTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(HeaderRequestID, "X")
		_, _ = io.WriteString(w, "{}")
	}))
	srv.Config.ErrorLog = nil
	defer srv.Close()
	o := ClientOptions{Endpoint: srv.URL, Signer: *testSigner("")}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.GetProject(context.Background(), "p")
	wantNetworkError(t, err)
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		t.Fatalf("%v does not tell that the certificate is not trusted", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	o.TLS = &tls.Config{RootCAs: roots}
	if c, err = NewClient(o); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetProject(context.Background(), "p"); err != nil { // the name is the endpoint's, not the project's
		t.Fatal(err)
	}
}

func TestWrongClockDoesNotDelay(t *testing.T) {
	for _, region := range []string{"", "cn-hangzhou"} {
		for _, off := range []time.Duration{-48 * time.Hour, 48 * time.Hour, 20 * time.Minute} {
			t.Run(fmt.Sprintf("%s %s", region, off), func(t *testing.T) {
				s := newService(t, answering(`{}`))
				s.now = func() time.Time { return testTime.Add(off) }
				c, err := NewClient(ClientOptions{Endpoint: s.URL, Signer: *testSigner(region)})
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					if _, err := c.GetProject(context.Background(), "p"); err != nil {
						t.Fatal(err)
					}
				}
				if len(s.seen) != 4 {
					t.Fatalf("%d requests for 3 calls; only the first may be refused, once", len(s.seen))
				}
				if d := c.Clock() - off; d < -time.Second || d > time.Second {
					t.Fatalf("the clock is said to be off by %s, want about %s", c.Clock(), off)
				}
			})
		}
	}
}

func TestRefusalForTimeIsNotRepeatedForever(t *testing.T) {
	s := newService(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		WriteError(w, NewError(CodeRequestTimeExpired, "always"))
	})
	_, err := s.client(t).GetProject(context.Background(), "p")
	wantCode(t, err, CodeRequestTimeExpired)
	if len(s.seen) != 1 {
		t.Fatalf("%d requests although the clocks agree", len(s.seen))
	}
}

func TestClockIsNotLearntFromAProxy(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", testTime.Add(time.Hour).Format(http.TimeFormat))
		http.Error(w, "proxy", http.StatusBadGateway)
	}))
	defer srv.Close()
	c := (&service{Server: srv}).client(t)
	_, err := c.GetProject(context.Background(), "p")
	wantNetworkError(t, err)
	if c.Clock() != 0 {
		t.Fatalf("learnt %s", c.Clock())
	}
}

func TestCredentialsCanChange(t *testing.T) {
	s := newService(t, answering(`{}`))
	c, err := NewClient(ClientOptions{Endpoint: s.URL, Signer: Signer{Credentials: Credentials{testKeyID, "old", ""}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.GetProject(context.Background(), "p")
	wantCode(t, err, CodeSignatureNotMatch)
	c.SetCredentials(Credentials{testKeyID, testSecret, ""})
	if _, err := c.GetProject(context.Background(), "p"); err != nil {
		t.Fatal(err)
	}
}

func TestConnectionsAreKept(t *testing.T) {
	s := newService(t, answering(`{}`))
	c := s.client(t)
	for i := range 10 { // of several projects, and also after refusals
		if i == 5 {
			s.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) { WriteError(w, NewError(CodeServerBusy, "")) }
		}
		_, _ = c.GetProject(context.Background(), fmt.Sprintf("p%d", i))
	}
	from := map[string]bool{}
	for _, r := range s.seen {
		from[r.RemoteAddr] = true
	}
	if len(from) != 1 || len(s.seen) != 10 {
		t.Fatalf("%d connections for %d requests", len(from), len(s.seen))
	}
}

// TestWriteOverADeadConnection: a server that closed a kept connection must
// not cost a write, which would look like an outage to its sender.
func TestWriteOverADeadConnection(t *testing.T) {
	s := newService(t, answering(""))
	c := s.client(t)
	for range 5 {
		if _, err := c.PutPackages(context.Background(), "p", "l", appendAll(samplePackages())); err != nil {
			t.Fatal(err)
		}
		s.CloseClientConnections()
	}
}
