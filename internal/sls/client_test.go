package sls

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// service is a Log Service of the test: it verifies every request as the real
// one does, records it, and answers what the test tells it to.
type service struct {
	*httptest.Server
	now    func() time.Time
	answer func(w http.ResponseWriter, r *http.Request, body []byte)
	seen   []*http.Request
	bodies [][]byte
}

func newService(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, body []byte)) *service {
	s := &service{now: time.Now, answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.seen, s.bodies = append(s.seen, r), append(s.bodies, body)
		w.Header().Set(HeaderRequestID, "REQUEST")
		w.Header().Set(HeaderTime, strconv.FormatInt(s.now().Unix(), 10))
		if _, err := Verify(r, body, testKeys, s.now(), testSkew); err != nil {
			e, _ := AsError(err)
			WriteError(w, e)
			return
		}
		s.answer(w, r, body)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) client(t *testing.T) *Client {
	t.Helper()
	c, err := NewClient(ClientOptions{Endpoint: s.URL, Signer: Signer{Credentials: Credentials{testKeyID, testSecret, ""}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// answering writes the same body to every request.
func answering(body string, header ...string) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		_, _ = io.WriteString(w, body)
	}
}

func wantNetworkError(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrNetwork) {
		t.Fatalf("got %v, want a network error", err)
	}
	if e, ok := AsError(err); ok {
		t.Fatalf("the network error %v passes for an answer of the service: %v", err, e)
	}
}

func TestClientDialsTheEndpointAndNamesTheProject(t *testing.T) {
	s := newService(t, answering(`{}`))
	c := s.client(t)
	if _, err := c.GetProject(context.Background(), "my-project"); err != nil {
		t.Fatal(err)
	}
	r := s.seen[0]
	if want := "my-project." + s.Listener.Addr().String(); r.Host != want || r.Header.Get(HeaderProject) != "my-project" {
		t.Fatalf("Host %q and %s %q, want %q", r.Host, HeaderProject, r.Header.Get(HeaderProject), want)
	}
	if r.Header.Get(HeaderAPIVersion) != APIVersion || r.Header.Get(HeaderBodyRawSize) != "0" || r.UserAgent() != DefaultUserAgent {
		t.Fatalf("headers %v", r.Header)
	}
	if _, err := c.ListProjects(context.Background(), 10, 20); err != nil {
		t.Fatal(err)
	}
	if r := s.seen[1]; r.Host != s.Listener.Addr().String() || r.Header.Get(HeaderProject) != "" || r.URL.RawQuery != "offset=10&size=20" {
		t.Fatalf("a call that concerns no project went to %q with %q", r.Host, r.URL.RawQuery)
	}
}

func TestClientRefusesNamesThatAreNone(t *testing.T) {
	s := newService(t, answering(`{}`))
	for _, name := range []string{"", "a.b", "a/b", "a b", "a\n", "ä"} {
		if _, err := s.client(t).GetProject(context.Background(), name); err == nil || errors.Is(err, ErrNetwork) {
			t.Errorf("project %q: %v", name, err)
		}
	}
	if len(s.seen) != 0 {
		t.Fatalf("%d requests were sent", len(s.seen))
	}
	if _, err := s.client(t).GetLogstore(context.Background(), "p", "../x?y"); err != nil {
		t.Fatal(err)
	}
	if got := s.seen[0].URL.EscapedPath(); got != "/logstores/..%2Fx%3Fy" {
		t.Fatalf("the name of a logstore became the path %s", got)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"cn-hangzhou.log.aliyuncs.com": "https://cn-hangzhou.log.aliyuncs.com",
		"sls.example:8443":             "https://sls.example:8443",
		"http://sls.example":           "http://sls.example",
		"https://10.0.0.1:8443/":       "https://10.0.0.1:8443",
		"localhost:8080":               "http://localhost:8080",
		"127.0.0.1:8080":               "http://127.0.0.1:8080",
		"[::1]:8080":                   "http://[::1]:8080",
		"10.0.0.1":                     "https://10.0.0.1",
	} {
		scheme, address, err := parseEndpoint(endpoint)
		if got := scheme + "://" + address; err != nil || got != want {
			t.Errorf("%q is %s, want %s (%v)", endpoint, got, want, err)
		}
	}
	for _, endpoint := range []string{"", "http://", "ftp://host", "host/path", "http://user@host", "host?x", "http://a b", ":80"} {
		if _, err := NewClient(ClientOptions{Endpoint: endpoint}); err == nil {
			t.Errorf("%q was accepted", endpoint)
		}
	}
	if got := projectHost("p", "[::1]:80"); got != "[::1]:80" {
		t.Errorf("before an IPv6 address the host is %s", got)
	}
}

func TestPutPackages(t *testing.T) {
	list := samplePackages()
	body := appendAll(list)
	t.Run("to a server that speaks ranges", func(t *testing.T) {
		s := newService(t, answering(`{"results":[{"action":"append"},{"action":"hole","progress":{"known":true,"end":"9","hash":"3"}}]}`, HeaderDelivery, "1"))
		got, err := s.client(t).PutPackages(context.Background(), "p", "l", body)
		if err != nil {
			t.Fatal(err)
		}
		want := &PutReply{Results: []PutResult{{Action: "append"}, {Action: "hole", Progress: &LaneProgress{Known: true, End: 9, Hash: 3}}}}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v", got)
		}
		r := s.seen[0]
		if r.Method != "POST" || r.URL.String() != "/logstores/l/shards/lb" || !bytes.Equal(s.bodies[0], body) {
			t.Fatalf("sent %s %s with %d bytes", r.Method, r.URL, len(s.bodies[0]))
		}
		for name, want := range map[string]string{
			HeaderMode: ModeBatchGroup, "Content-Type": ContentTypePB, HeaderBodyRawSize: strconv.Itoa(len(body)), HeaderCompressType: "lz4",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	})
	t.Run("to a server that does not", func(t *testing.T) {
		s := newService(t, answering(""))
		if got, err := s.client(t).PutPackages(context.Background(), "p", "l", body); got != nil || err != nil {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("damaged reply", func(t *testing.T) {
		s := newService(t, answering("{", HeaderDelivery, "1"))
		_, err := s.client(t).PutPackages(context.Background(), "p", "l", body)
		wantNetworkError(t, err)
	})
}

func TestPutLogGroup(t *testing.T) {
	g := sampleGroups()["everything"]
	raw := g.AppendTo(nil)
	for _, typ := range allTypes {
		s := newService(t, answering(""))
		if err := s.client(t).PutLogGroup(context.Background(), "p", "l", raw, typ); err != nil {
			t.Fatal(err)
		}
		h := s.seen[0].Header
		got, err := ParseCompressType(h.Get(HeaderCompressType))
		if err != nil || got != typ || h.Get(HeaderBodyRawSize) != strconv.Itoa(len(raw)) {
			t.Fatalf("%q: headers %v", typ, h)
		}
		if back, err := Decompress(nil, s.bodies[0], typ, len(raw), len(raw)); err != nil || !bytes.Equal(back, raw) {
			t.Fatalf("%q: the body does not decompress: %v", typ, err)
		}
	}
}

func TestResume(t *testing.T) {
	lanes := []string{strings.Repeat("0a", 16), strings.Repeat("0b", 16)}
	refuse := func(status int, code string) func(http.ResponseWriter, *http.Request, []byte) {
		return func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			WriteError(w, &Error{Status: status, Code: code})
		}
	}
	t.Run("known lanes", func(t *testing.T) {
		s := newService(t, answering(`{"session":"18446744073709551615","incarnation":"i","lanes":[{"known":true,"end":"5","hash":"6","state":"cw=="},{"known":false,"end":"0","hash":"0"}]}`, HeaderDelivery, "1"))
		got, ok, err := s.client(t).Resume(context.Background(), "p", "l", ResumeRequest{Session: 3, Lanes: lanes})
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		want := &ResumeReply{Session: 1<<64 - 1, Incarnation: "i", Lanes: []LaneProgress{{Known: true, End: 5, Hash: 6, State: []byte("s")}, {}}}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v", got)
		}
		if r := s.seen[0]; r.Method != "POST" || r.URL.Path != "/logstores/l/lanes" || string(s.bodies[0]) != fmt.Sprintf(`{"session":"3","lanes":[%q,%q]}`, lanes[0], lanes[1]) {
			t.Fatalf("sent %s %s %s", r.Method, r.URL, s.bodies[0])
		}
	})
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, []byte){
		"without the header":     answering(`{}`),
		"unknown method":         refuse(405, CodeInvalidMethod),
		"unknown path":           refuse(404, "NotFound"),
		"unknown to a validator": refuse(400, CodeParameterInvalid),
	} {
		t.Run("a server without ranges: "+name, func(t *testing.T) {
			got, ok, err := newService(t, answer).client(t).Resume(context.Background(), "p", "l", ResumeRequest{})
			if got != nil || ok || err != nil {
				t.Fatalf("got %+v, %v, %v", got, ok, err)
			}
		})
	}
	for code, status := range map[string]int{
		CodeUnauthorized: 401, CodeProjectNotExist: 404, CodeLogStoreNotExist: 404, CodeServerBusy: 503, CodeInternalServerError: 500, CodeWriteQuotaExceed: 403,
	} {
		t.Run("refused: "+code, func(t *testing.T) {
			_, _, err := newService(t, refuse(status, code)).client(t).Resume(context.Background(), "p", "l", ResumeRequest{})
			wantCode(t, err, code)
		})
	}
	t.Run("refused by a server with ranges", func(t *testing.T) {
		s := newService(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set(HeaderDelivery, "1")
			WriteError(w, NewError(CodeParameterInvalid, "lane"))
		})
		_, _, err := s.client(t).Resume(context.Background(), "p", "l", ResumeRequest{Lanes: lanes})
		wantCode(t, err, CodeParameterInvalid)
	})
	t.Run("lanes missing in the reply", func(t *testing.T) {
		s := newService(t, answering(`{"session":"1","incarnation":"i","lanes":[]}`, HeaderDelivery, "1"))
		_, _, err := s.client(t).Resume(context.Background(), "p", "l", ResumeRequest{Lanes: lanes})
		wantNetworkError(t, err)
	})
	t.Run("too many", func(t *testing.T) {
		s := newService(t, answering(`{}`))
		if _, _, err := s.client(t).Resume(context.Background(), "p", "l", ResumeRequest{Lanes: make([]string, MaxResumeLanes+1)}); err == nil || len(s.seen) != 0 {
			t.Fatalf("%v after %d requests", err, len(s.seen))
		}
	})
}

func TestGetLogs(t *testing.T) {
	const reply = `{"meta":{"progress":"Complete","count":1,"telementryType":"logs"},"data":[{"__time__":"5","k":"v"}]}`
	compressed := func(typ CompressType) func(http.ResponseWriter, *http.Request, []byte) {
		var c Compressor
		z, _ := c.Append(nil, []byte(reply), typ)
		return answering(string(z), HeaderBodyRawSize, strconv.Itoa(len(reply)), HeaderCompressType, typ.String())
	}
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, []byte){
		"plain": answering(reply), "lz4": compressed(CompressLZ4), "zstd": compressed(CompressZstd),
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, answer)
			got, err := s.client(t).GetLogs(context.Background(), "p", "l", GetLogsRequest{From: 1, To: 9, Query: "k:v", Line: 100, Reverse: true})
			if err != nil {
				t.Fatal(err)
			}
			if got.Meta.Progress != ProgressComplete || got.Meta.TelemetryType != "logs" || len(got.Logs) != 1 || got.Logs[0]["k"] != "v" {
				t.Fatalf("got %+v", got)
			}
			var sent map[string]any
			if err := json.Unmarshal(s.bodies[0], &sent); err != nil || sent["query"] != "k:v" || sent["line"] != 100.0 || sent["reverse"] != true {
				t.Fatalf("sent %s", s.bodies[0])
			}
		})
	}
	t.Run("damaged", func(t *testing.T) {
		s := newService(t, answering("xx", HeaderBodyRawSize, "9", HeaderCompressType, "lz4"))
		_, err := s.client(t).GetLogs(context.Background(), "p", "l", GetLogsRequest{})
		wantNetworkError(t, err)
	})
}

func TestGetHistograms(t *testing.T) {
	s := newService(t, answering(`[{"from":0,"to":60,"count":3,"progress":"Complete"}]`, HeaderProgress, "Complete", HeaderCount, "3"))
	got, err := s.client(t).GetHistograms(context.Background(), "p", "l", GetHistogramsRequest{From: 0, To: 60, Query: "a b", Interval: 60})
	if err != nil {
		t.Fatal(err)
	}
	want := &GetHistogramsReply{Progress: "Complete", Count: 3, Histograms: []Histogram{{0, 60, 3, "Complete"}}}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v", got)
	}
	if q := s.seen[0].URL.RawQuery; q != "from=0&interval=60&query=a+b&to=60&topic=&type=histogram" {
		t.Fatalf("sent %s", q)
	}
	s = newService(t, answering(`[]`, HeaderProgress, "Complete"))
	_, err = s.client(t).GetHistograms(context.Background(), "p", "l", GetHistogramsRequest{})
	wantNetworkError(t, err) // without x-log-count
}

func TestPullLogs(t *testing.T) {
	g := sampleGroups()["everything"]
	list := AppendLogGroupListEntry(AppendLogGroupListEntry(nil, g.AppendTo(nil)), g.AppendTo(nil))
	var c Compressor
	z, _ := c.Append(nil, list, CompressLZ4)
	s := newService(t, answering(string(z), HeaderCursor, "Mg==", HeaderCount, "2", HeaderBodyRawSize, strconv.Itoa(len(list)), HeaderCompressType, "lz4"))
	groups, next, err := s.client(t).PullLogs(context.Background(), "p", "l", 3, "MA==", 10)
	if err != nil {
		t.Fatal(err)
	}
	if next != "Mg==" || len(groups) != 2 || !sameGroup(&groups[0], &g) || !sameGroup(&groups[1], &g) {
		t.Fatalf("got %d groups and %q", len(groups), next)
	}
	if u := s.seen[0].URL.String(); u != "/logstores/l/shards/3?count=10&cursor=MA%3D%3D&type=logs" {
		t.Fatalf("asked %s", u)
	}
	s = newService(t, answering("", HeaderCursor, "Mg==", HeaderCount, "0", HeaderBodyRawSize, "0", HeaderCompressType, "lz4"))
	if groups, next, err := s.client(t).PullLogs(context.Background(), "p", "l", 3, "Mg==", 10); err != nil || next != "Mg==" || len(groups) != 0 {
		t.Fatalf("at the end: %v, %q, %v", groups, next, err)
	}
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, []byte){
		"no cursor":           answering("", HeaderBodyRawSize, "0"),
		"no size":             answering("", HeaderCursor, "x"),
		"unknown compression": answering("x", HeaderCursor, "x", HeaderBodyRawSize, "5", HeaderCompressType, "gzip"),
		"damaged":             answering("x", HeaderCursor, "x", HeaderBodyRawSize, "5", HeaderCompressType, "lz4"),
		"no log groups":       answering("hello", HeaderCursor, "x", HeaderBodyRawSize, "5"),
		"a size beyond all":   answering("x", HeaderCursor, "x", HeaderBodyRawSize, "999999999999", HeaderCompressType, "zstd"),
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := newService(t, answer).client(t).PullLogs(context.Background(), "p", "l", 0, "x", 1)
			wantNetworkError(t, err)
		})
	}
}

func TestGetCursor(t *testing.T) {
	s := newService(t, answering(`{"cursor":"MTI="}`))
	got, err := s.client(t).GetCursor(context.Background(), "p", "l", 2, "begin")
	if err != nil || got != "MTI=" || s.seen[0].URL.String() != "/logstores/l/shards/2?from=begin&type=cursor" {
		t.Fatalf("got %q, %v from %s", got, err, s.seen[0].URL)
	}
}

func TestManagementCalls(t *testing.T) {
	ctx := context.Background()
	ix := &Index{Line: &IndexLine{Token: []string{" "}}, Keys: map[string]IndexKey{"status": {Type: "long", Token: []string{}, DocValue: true}}}
	const ixJSON = `{"keys":{"status":{"type":"long","token":[],"caseSensitive":false,"doc_value":true,"chn":false}},"line":{"token":[" "],"caseSensitive":false,"chn":false},"log_reduce":false}`
	const lsJSON = `{"logstoreName":"l","ttl":30,"shardCount":2,"enable_tracking":false,"autoSplit":false,"maxSplitShard":0,"appendMeta":false,"telemetryType":""}`
	for _, tc := range []struct {
		do         func(c *Client) (any, error)
		sent, body string
		reply      string
		want       any
	}{
		{func(c *Client) (any, error) { return nil, c.CreateProject(ctx, "p", "d") }, "POST /", `{"projectName":"p","description":"d"}`, "", nil},
		{func(c *Client) (any, error) { return c.GetProject(ctx, "p") }, "GET /", "", `{"projectName":"p","createTime":"5"}`, &Project{Name: "p", CreateTime: "5"}},
		{func(c *Client) (any, error) { return c.ListProjects(ctx, 0, 5) }, "GET /?offset=0&size=5", "", `{"projects":[{"projectName":"p"}],"count":1,"total":7}`, &ProjectList{[]Project{{Name: "p"}}, 1, 7}},
		{func(c *Client) (any, error) { return nil, c.DeleteProject(ctx, "p") }, "DELETE /", "", "", nil},
		{func(c *Client) (any, error) {
			return nil, c.CreateLogstore(ctx, "p", Logstore{Name: "l", TTL: 30, ShardCount: 2})
		}, "POST /logstores", lsJSON, "", nil},
		{func(c *Client) (any, error) { return c.GetLogstore(ctx, "p", "l") }, "GET /logstores/l", "", lsJSON, &Logstore{Name: "l", TTL: 30, ShardCount: 2}},
		{func(c *Client) (any, error) {
			return nil, c.UpdateLogstore(ctx, "p", Logstore{Name: "l", TTL: 30, ShardCount: 2})
		}, "PUT /logstores/l", lsJSON, "", nil},
		{func(c *Client) (any, error) { return c.ListLogstores(ctx, "p", 1, 2) }, "GET /logstores?offset=1&size=2", "", `{"logstores":["l"],"count":1,"total":2}`, &LogstoreList{[]string{"l"}, 1, 2}},
		{func(c *Client) (any, error) { return nil, c.DeleteLogstore(ctx, "p", "l") }, "DELETE /logstores/l", "", "", nil},
		{
			func(c *Client) (any, error) { return c.ListShards(ctx, "p", "l") }, "GET /logstores/l/shards", "",
			`[{"shardID":1,"status":"readwrite","inclusiveBeginKey":"00","exclusiveEndKey":"ff","createTime":3}]`,
			[]Shard{{1, "readwrite", "00", "ff", 3}},
		},
		{func(c *Client) (any, error) { return nil, c.CreateIndex(ctx, "p", "l", ix) }, "POST /logstores/l/index", ixJSON, "", nil},
		{func(c *Client) (any, error) { return nil, c.UpdateIndex(ctx, "p", "l", ix) }, "PUT /logstores/l/index", ixJSON, "", nil},
		{func(c *Client) (any, error) { return c.GetIndex(ctx, "p", "l") }, "GET /logstores/l/index", "", ixJSON, ix},
		{func(c *Client) (any, error) { return nil, c.DeleteIndex(ctx, "p", "l") }, "DELETE /logstores/l/index", "", "", nil},
	} {
		t.Run(tc.sent, func(t *testing.T) {
			s := newService(t, answering(tc.reply))
			got, err := tc.do(s.client(t))
			if err != nil {
				t.Fatal(err)
			}
			if sent := s.seen[0].Method + " " + s.seen[0].URL.String(); sent != tc.sent || string(s.bodies[0]) != tc.body {
				t.Fatalf("sent %s %s", sent, s.bodies[0])
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Fatalf("got %+v, want %+v", got, tc.want)
			}
			s.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
				WriteError(w, NewError(CodeProjectNotExist, "no such project"))
			}
			_, err = tc.do(s.client(t))
			wantCode(t, err, CodeProjectNotExist)
			if e, _ := AsError(err); e.Status != 404 || e.RequestID != "REQUEST" || e.Message != "no such project" {
				t.Fatalf("the refusal is %+v", e)
			}
		})
	}
}
