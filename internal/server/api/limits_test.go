package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"logtail/internal/server/api"
	"logtail/internal/sls"
)

func TestBodiesOverTheLimitAreNotRead(t *testing.T) {
	s := newService(t, func(c *api.Config) {
		c.Limits = api.Limits{BodyBytes: 100 << 10, JSONBytes: 10 << 10, GroupBytes: 50 << 10}
	})
	u := s.withStore("proj", "store", 1)
	noise := make([]byte, 60<<10)
	for _, c := range []struct {
		method, target string
		size           int
	}{
		{"POST", "/logstores/store", 100<<10 + 1},
		{"POST", "/logstores/store/shards/lb", 100<<10 + 1},
		{"POST", "/logstores", 10<<10 + 1},
		{"POST", "/logstores/store/logs", 10<<10 + 1},
		{"PUT", "/nothing", 10<<10 + 1},
	} {
		r := u.do(c.method, "proj", c.target, map[string]string{"Content-Type": sls.ContentTypePB}, make([]byte, c.size))
		if r.code() != sls.CodePostBodyTooLarge || !strings.Contains(r.message(), "at most") {
			t.Errorf("%s %s: got %d %s", c.method, c.target, r.status, r.body)
		}
	}
	if r := u.put("proj", "/logstores/store", sls.AppendTopic(nil, string(noise)), sls.CompressLZ4); r.code() != sls.CodePostBodyTooLarge {
		t.Errorf("group: got %d %s", r.status, r.body)
	}
}

func TestBodyNeedsALength(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	body := group(1, "x")
	req := u.request("POST", "proj", "/logstores/store", map[string]string{"Content-Type": sls.ContentTypePB}, body)
	must(t, u.signer.Sign(req, body))
	req.ContentLength, req.Body = -1, io.NopCloser(bytes.NewReader(body))
	if r := s.send(req); r.status != http.StatusLengthRequired || r.code() != sls.CodeMissingContentLength {
		t.Errorf("got %d %s", r.status, r.body)
	}
}

// announce opens a connection and sends the head of a signed write of so many
// bytes, and the beginning of its body.
func (u *user) announce(size int, sent string, change func(http.Header)) net.Conn {
	u.s.t.Helper()
	body := make([]byte, size)
	copy(body, sent)
	req := u.request("POST", "proj", "/logstores/store", map[string]string{"Content-Type": sls.ContentTypePB}, body)
	must(u.s.t, u.signer.Sign(req, body))
	if change != nil {
		change(req.Header)
	}
	c := slowConn(u.s.t, u.s)
	fmt.Fprintf(c, "POST /logstores/store HTTP/1.1\r\nHost: proj.sls.test\r\nContent-Length: %d\r\n", size)
	must(u.s.t, req.Header.Write(c))
	fmt.Fprint(c, "\r\n", sent)
	return c
}

// TestStrangersBodiesAreNotRead: to who does not know the secret of a key the
// answer comes before the body. The id of a key is no secret.
func TestStrangersBodiesAreNotRead(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	for name, auth := range map[string]string{"no key": "", "unknown key": "LOG nobody:c2ln", "known key": "LOG " + u.signer.AccessKeyID + ":c2ln"} {
		c := u.announce(60_000, "", func(h http.Header) { h["Authorization"] = []string{auth} })
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		res.Body.Close()
		if res.StatusCode != 400 && res.StatusCode != 401 {
			t.Errorf("%s: got %d", name, res.StatusCode)
		}
	}
}

func TestSlowBodyIsGivenUp(t *testing.T) {
	s := newService(t, func(c *api.Config) { c.Limits.BodyTime = time.Millisecond })
	u := s.withStore("proj", "store", 1)
	c := u.announce(1000, "slow", nil)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	if r := (reply{status: res.StatusCode, body: b}); r.code() != sls.CodeRequestTimeout || !strings.Contains(r.message(), "4 of 1000") {
		t.Errorf("got %d %s", r.status, b)
	}
}

// TestMemoryInFlightIsBounded: bodies that have arrived count, those that are
// only announced do not.
func TestMemoryInFlightIsBounded(t *testing.T) {
	s := newService(t, func(c *api.Config) { c.Limits = api.Limits{InFlightBytes: 300 << 10} })
	u := s.withStore("proj", "store", 1)
	for range 5 {
		u.announce(20<<20, "", nil)
	}
	if r := u.put("proj", "/logstores/store", group(1, "x"), sls.CompressLZ4); r.status != 200 {
		t.Errorf("five silent clients keep others out: %d %s", r.status, r.body)
	}
	big := sls.AppendTopic(nil, strings.Repeat("x", 400<<10))
	r := u.do("POST", "proj", "/logstores/store", map[string]string{"Content-Type": sls.ContentTypePB}, big)
	if r.status != 503 || r.code() != sls.CodeServerBusy {
		t.Errorf("got %d %s", r.status, r.body)
	}
	// What it held is free again.
	if r := u.put("proj", "/logstores/store", group(1, "x"), sls.CompressLZ4); r.status != 200 {
		t.Errorf("got %d %s", r.status, r.body)
	}
}

func TestQueriesWaitForAFreePlace(t *testing.T) {
	s := newService(t, func(c *api.Config) { c.Limits.Queries, c.Limits.QueueTime = 1, time.Millisecond })
	u, ctx := s.withStore("proj", "store", 1), context.Background()
	release := s.index.Block()
	defer release()
	errs := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := u.GetLogs(ctx, "proj", "store", sls.GetLogsRequest{From: 1, To: 2})
			errs <- err
		}()
	}
	for range 2 { // two of the three find no place
		wantCode(t, <-errs, sls.CodeServerBusy)
	}
	release()
	if err := <-errs; err != nil {
		t.Errorf("the third failed: %v", err)
	}
}

func TestLongQueryIsGivenUp(t *testing.T) {
	s := newService(t, func(c *api.Config) { c.Limits.QueryTime = time.Millisecond })
	u := s.withStore("proj", "store", 1)
	defer s.index.Block()()
	_, err := u.GetLogs(context.Background(), "proj", "store", sls.GetLogsRequest{From: 1, To: 2})
	wantCode(t, err, sls.CodeServerBusy)
}

// TestManyWritersAtATime, more than there are decoders.
func TestManyWritersAtATime(t *testing.T) {
	s := newService(t, func(c *api.Config) { c.Limits.Decoders = 2 })
	u := s.withStore("proj", "store", 4)
	var wg sync.WaitGroup
	errs := make(chan error, 400)
	for w := range 20 {
		wg.Go(func() {
			for i := range 20 {
				if err := u.PutLogGroup(context.Background(), "proj", "store", group(1, fmt.Sprint(w, " ", i)), sls.CompressLZ4); err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	values, _ := s.stored("proj", "store")
	seen := make(map[string]bool)
	for _, v := range values {
		seen[v] = true
	}
	if len(values) != 400 || len(seen) != 400 {
		t.Errorf("stored %d logs, %d different ones, want 400", len(values), len(seen))
	}
}

// TestClientThatGoesAwayHoldsNothing: a body that ends early is no error of the
// service.
func TestClientThatGoesAwayHoldsNothing(t *testing.T) {
	s := newService(t, func(c *api.Config) { c.Limits.InFlightBytes = 100 << 10 })
	u := s.withStore("proj", "store", 1)
	for range 20 {
		u.announce(60_000, "begin", nil).Close()
	}
	// Each held 16 KB; unless they were given back, none is left by now.
	body := sls.AppendTopic(group(1, "x"), strings.Repeat("y", 50<<10))
	head := map[string]string{"Content-Type": sls.ContentTypePB, sls.HeaderBodyRawSize: strconv.Itoa(len(body))}
	deadline := time.Now().Add(30 * time.Second)
	for {
		r := u.do("POST", "proj", "/logstores/store", head, body)
		if r.status == 200 {
			return
		}
		if r.code() != sls.CodeServerBusy || time.Now().After(deadline) {
			t.Fatalf("got %d %s", r.status, r.body)
		}
	}
}

func TestErrorOfAnswerIsNoNetworkError(t *testing.T) {
	s := newService(t)
	u := s.user("a")
	_, err := u.GetProject(context.Background(), "none")
	if errors.Is(err, sls.ErrNetwork) {
		t.Errorf("%v counts as a network error", err)
	}
	wantCode(t, err, sls.CodeProjectNotExist)
}

// TestLargeListsTakeTurns: decoding a long list gives others their turn, and
// goes on.
func TestLargeListsTakeTurns(t *testing.T) {
	s := newService(t, func(c *api.Config) { c.Limits.GroupBytes, c.Limits.Decoders = 1000, 1 })
	u := s.withStore("proj", "store", 1)
	raw := group(1, strings.Repeat("x", 600))
	var list []byte
	for range 10 {
		list = sls.AppendPackage(list, &sls.Package{Data: raw, RawSize: len(raw)})
	}
	head := map[string]string{"Content-Type": sls.ContentTypePB, sls.HeaderMode: sls.ModeBatchGroup}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if r := u.do("POST", "proj", "/logstores/store/shards/lb", head, list); r.status != 200 {
				t.Errorf("got %d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
	s.indexAll("proj", "store")
	reply, err := u.GetLogs(context.Background(), "proj", "store", sls.GetLogsRequest{From: 1, To: 2, Query: "*"})
	must(t, err)
	if len(reply.Logs) != 50 {
		t.Errorf("%d logs", len(reply.Logs))
	}
}

// TestRepliesHaveADeadline: a client that sends requests and takes no answers,
// refusals of strangers among them, must not keep its connection for ever.
func TestRepliesHaveADeadline(t *testing.T) {
	s := newService(t)
	for _, target := range []string{"/healthz", "/", "/logstores/store/logs"} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		s.handler.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		if w.write.IsZero() {
			t.Errorf("%s: the answer %d has no deadline", target, w.Code)
		}
	}
}

// deadlines notes the deadline of writing.
type deadlines struct {
	*httptest.ResponseRecorder
	write time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.write = t
	return nil
}
