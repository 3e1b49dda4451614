package api_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"logtail/internal/sls"
)

func TestEveryReplyNamesRequestAndTime(t *testing.T) {
	s := newService(t)
	u := s.user("a")
	stranger := &user{s: s, signer: sls.Signer{Credentials: sls.Credentials{AccessKeyID: "no", AccessKeySecret: "no"}, Now: s.clock.now}}
	ids := make(map[string]bool)
	for _, r := range []reply{
		u.do("GET", "", "/", nil, nil),
		u.do("GET", "none", "/", nil, nil),
		u.do("GET", "", "/nothing/here", nil, nil),
		stranger.do("GET", "", "/", nil, nil),
	} {
		if got := r.head.Get("x-log-time"); got != strconv.FormatInt(s.clock.now().Unix(), 10) {
			t.Errorf("x-log-time is %q", got)
		}
		if got := r.head.Get("Date"); got != s.clock.now().Format(http.TimeFormat) {
			t.Errorf("Date is %q", got)
		}
		ids[r.head.Get("x-log-requestid")] = true
	}
	if len(ids) != 4 || ids[""] {
		t.Errorf("request ids are %v, want four different ones", ids)
	}
}

func TestRequestsThatAreNotSignedWellAreRefused(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	body := []byte(`{"from":1,"to":2,"query":"*"}`)
	for name, c := range map[string]struct {
		change func(r *http.Request)
		code   string
		status int
	}{
		"no signature":    {func(r *http.Request) { r.Header.Del("Authorization") }, sls.CodeMissAccessKeyID, 400},
		"unknown key":     {func(r *http.Request) { r.Header.Set("Authorization", "LOG nobody:c2ln") }, sls.CodeUnauthorized, 401},
		"wrong signature": {func(r *http.Request) { r.Header.Set("Authorization", "LOG "+u.signer.AccessKeyID+":c2ln") }, sls.CodeSignatureNotMatch, 401},
		"other path":      {func(r *http.Request) { r.URL.Path = "/logstores/other/logs" }, sls.CodeSignatureNotMatch, 401},
		"other header":    {func(r *http.Request) { r.Header.Set("x-log-project", "other") }, sls.CodeSignatureNotMatch, 401},
		"unsigned v0":     {func(r *http.Request) { r.Header.Set("Authorization", "LOG "+u.signer.AccessKeyID) }, sls.CodeUnauthorized, 401},
	} {
		t.Run(name, func(t *testing.T) {
			req := u.request("POST", "proj", "/logstores/store/logs", nil, body)
			must(t, u.signer.Sign(req, body))
			c.change(req)
			if r := s.send(req); r.code() != c.code || r.status != c.status {
				t.Errorf("got %d %s (%s), want %d %s", r.status, r.code(), r.message(), c.status, c.code)
			}
		})
	}
	t.Run("changed body", func(t *testing.T) {
		req := u.request("POST", "proj", "/logstores/store/logs", nil, []byte(`{"from":1,"to":9,"query":"*"}`))
		must(t, u.signer.Sign(req, body))
		if r := s.send(req); r.code() != sls.CodeSignatureNotMatch {
			t.Errorf("got %s, want SignatureNotMatch", r.code())
		}
	})
	t.Run("both versions are taken", func(t *testing.T) {
		v4 := *u
		v4.signer.Region = "local"
		for _, u := range []*user{u, &v4} {
			if r := u.do("POST", "proj", "/logstores/store/logs", nil, body); r.status != 200 {
				t.Errorf("region %q: got %d %s", u.signer.Region, r.status, r.body)
			}
		}
	})
}

func TestClockOfClientMayDifferByFifteenMinutes(t *testing.T) {
	s := newService(t)
	u := s.user("a")
	for _, c := range []struct {
		off  time.Duration
		code string
	}{{14 * time.Minute, ""}, {-14 * time.Minute, ""}, {16 * time.Minute, sls.CodeRequestTimeTooSkewed}, {-16 * time.Minute, sls.CodeRequestTimeTooSkewed}} {
		off := *u
		off.signer.Now = func() time.Time { return s.clock.now().Add(c.off) }
		if r := off.do("GET", "", "/", nil, nil); r.code() != c.code {
			t.Errorf("%s off: got %q (%s), want %q", c.off, r.code(), r.message(), c.code)
		}
	}
}

func TestDisabledKeyStopsWorking(t *testing.T) {
	s := newService(t)
	u := s.user("a")
	if r := u.do("GET", "", "/", nil, nil); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	s.catalog.DisableKey(u.signer.AccessKeyID)
	s.clock.advance(6 * time.Second) // the cache
	r := u.do("GET", "", "/", nil, nil)
	if r.code() != sls.CodeUnauthorized || !strings.Contains(r.message(), "disabled") {
		t.Errorf("got %s: %s", r.code(), r.message())
	}
}

func TestFailingCatalogIsRetryable(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	s.clock.advance(time.Minute) // the caches
	s.catalog.Fail(errors.New("disk I/O error in /secret/path"))
	r := u.put("proj", "/logstores/store", group(1, "a"), sls.CompressLZ4)
	if r.status != 500 || r.code() != sls.CodeInternalServerError || strings.Contains(r.message(), "secret") {
		t.Errorf("got %d %s: %s", r.status, r.code(), r.message())
	}
}

// TestOtherAccountsSeeNothing goes over every route: for a project of somebody
// else the answer is the one for a project that does not exist.
func TestOtherAccountsSeeNothing(t *testing.T) {
	s := newService(t)
	owner := s.withStore("theirs", "store", 2)
	stranger := s.user("stranger")
	routes := []struct{ method, target, body string }{
		{"GET", "/", ""},
		{"PUT", "/", `{"description":"mine now"}`},
		{"DELETE", "/", ""},
		{"POST", "/logstores", `{"logstoreName":"mine","ttl":1,"shardCount":1}`},
		{"GET", "/logstores", ""},
		{"GET", "/logstores/store", ""},
		{"GET", "/logstores/store?type=log&from=1&to=9", ""},
		{"GET", "/logstores/store?type=histogram&from=1&to=9", ""},
		{"PUT", "/logstores/store", `{"ttl":1}`},
		{"DELETE", "/logstores/store", ""},
		{"POST", "/logstores/store/index", `{"line":{"token":[" "]}}`},
		{"GET", "/logstores/store/index", ""},
		{"GET", "/logstores/store/index?type=histogram&from=1&to=9", ""},
		{"PUT", "/logstores/store/index", `{"line":{"token":[" "]}}`},
		{"DELETE", "/logstores/store/index", ""},
		{"POST", "/logstores/store", "x"},
		{"POST", "/logstores/store/shards/lb", "x"},
		{"POST", "/logstores/store/shards/route?key=00000000000000000000000000000000", "x"},
		{"POST", "/logstores/store/lanes", `{"session":"0","lanes":[]}`},
		{"GET", "/logstores/store/shards", ""},
		{"GET", "/logstores/store/shards/0?type=cursor&from=begin", ""},
		{"GET", "/logstores/store/shards/0?type=cursor_time&cursor=MQ==", ""},
		{"GET", "/logstores/store/shards/0?type=logs&cursor=MQ==&count=1", ""},
		{"POST", "/logstores/store/logs", `{"from":1,"to":9}`},
	}
	for _, rt := range routes {
		if r := owner.do(rt.method, "theirs", "/none", nil, nil); r.status == 200 {
			t.Fatalf("the probe for the owner got %d", r.status)
		}
		// The names have the same length, so that the answers can be compared whole.
		theirs := stranger.do(rt.method, "theirs", rt.target, nil, []byte(rt.body))
		nobodys := stranger.do(rt.method, "nobody", rt.target, nil, []byte(rt.body))
		if theirs.code() != sls.CodeProjectNotExist || theirs.status != 404 {
			t.Errorf("%s %s: got %d %s, want ProjectNotExist", rt.method, rt.target, theirs.status, theirs.code())
		}
		if got, want := strings.ReplaceAll(string(theirs.body), "theirs", "nobody"), string(nobodys.body); got != want {
			t.Errorf("%s %s: the answer tells that the project exists:\n%s\n%s", rt.method, rt.target, got, want)
		}
		for _, h := range []http.Header{theirs.head, nobodys.head} {
			h.Del("x-log-requestid")
		}
		for k, v := range theirs.head {
			if strings.Join(v, ",") != strings.Join(nobodys.head[k], ",") {
				t.Errorf("%s %s: the header %s tells that the project exists: %v, %v", rt.method, rt.target, k, v, nobodys.head[k])
			}
		}
	}
	if r := stranger.do("GET", "", "/", nil, nil); strings.Contains(string(r.body), "theirs") {
		t.Errorf("the list of projects shows that of another account: %s", r.body)
	}
	if _, err := owner.GetLogstore(context.Background(), "theirs", "store"); err != nil {
		t.Errorf("the stranger damaged the logstore: %v", err)
	}
}

// TestOwnershipIsNotCachedForOthers: a hit in the cache must not let another
// account in.
func TestOwnershipIsNotCachedForOthers(t *testing.T) {
	s := newService(t)
	owner, stranger := s.withStore("theirs", "store", 1), s.user("stranger")
	for range 3 {
		if r := owner.do("GET", "theirs", "/logstores/store", nil, nil); r.status != 200 {
			t.Fatalf("owner got %d %s", r.status, r.body)
		}
		if r := stranger.do("GET", "theirs", "/logstores/store", nil, nil); r.code() != sls.CodeProjectNotExist {
			t.Fatalf("stranger got %d %s", r.status, r.body)
		}
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	for _, c := range []struct {
		method, target string
		status         int
		code           string
	}{
		{"GET", "/nothing", 404, sls.CodeNotSupported},
		{"GET", "/logstores/store/logs", 405, sls.CodeInvalidMethod},
		{"PATCH", "/logstores/store", 405, sls.CodeInvalidMethod},
		{"DELETE", "/logstores/store/shards", 405, sls.CodeInvalidMethod},
		{"POST", "/logstores/store/shards/0?action=split", 405, sls.CodeInvalidMethod},
		{"GET", "/logstores//store", 404, sls.CodeNotSupported},
		{"GET", "/logstores/store/", 404, sls.CodeNotSupported},
		{"GET", "/logstores/../logstores/store", 404, sls.CodeNotSupported},
		{"GET", "/logstores/store/shards/7?type=cursor&from=end", 404, sls.CodeShardNotExist},
		{"GET", "/logstores/store/shards/00?type=cursor&from=end", 404, sls.CodeShardNotExist},
		{"GET", "/logstores/store/shards/0?type=tea", 400, sls.CodeParameterInvalid},
		{"GET", "/logstores/none", 404, sls.CodeLogStoreNotExist},
		{"GET", "/logstores/store?type=context_log", 400, sls.CodeParameterInvalid},
	} {
		if r := u.do(c.method, "proj", c.target, nil, nil); r.status != c.status || r.code() != c.code {
			t.Errorf("%s %s: got %d %s (%s), want %d %s", c.method, c.target, r.status, r.code(), r.message(), c.status, c.code)
		}
	}
	if r := u.do("GET", "", "/logstores", nil, nil); r.code() != sls.CodeParameterInvalid || !strings.Contains(r.message(), "x-log-project") {
		t.Errorf("without a project: got %s: %s", r.code(), r.message())
	}
}

func TestHealthProbeRevealsNothing(t *testing.T) {
	s := newService(t)
	res, err := http.Get(s.http.URL + "/healthz")
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode != 200 || res.Header.Get("Server") != "" || res.Header.Get("x-log-requestid") != "" || res.ContentLength != 3 {
		t.Errorf("got %d %v", res.StatusCode, res.Header)
	}
}

func TestProjectByHeader(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	// The client talks to an IP address; the project travels in the header, too.
	if _, err := u.GetLogstore(context.Background(), "proj", "store"); err != nil {
		t.Error(err)
	}
	if r := u.do("GET", "", "/logstores/store", map[string]string{"x-log-project": "proj"}, nil); r.status != 200 {
		t.Errorf("got %d %s", r.status, r.body)
	}
}
