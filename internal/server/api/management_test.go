package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"logtail/internal/server/api"
	"logtail/internal/server/catalog"
	"logtail/internal/sls"
)

func TestProjectLifecycle(t *testing.T) {
	s := newService(t)
	u, ctx := s.user("a"), context.Background()
	// Some SDKs create on the bare endpoint, some on the project's host.
	if r := u.do("POST", "", "/", nil, []byte(`{"projectName":"proj-a","description":"first"}`)); r.status != 200 || len(r.body) != 0 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	if r := u.do("POST", "proj-b", "/", nil, []byte(`{"projectName":"proj-b"}`)); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	wantCode(t, u.CreateProject(ctx, "proj-a", ""), sls.CodeProjectAlreadyExist)

	p, err := u.GetProject(ctx, "proj-a")
	must(t, err)
	if p.Name != "proj-a" || p.Description != "first" || p.Status != "Normal" || p.CreateTime != fmt.Sprint(s.clock.now().Unix()) {
		t.Errorf("got %+v", p)
	}
	if r := u.do("PUT", "proj-a", "/", nil, []byte(`{"description":"second"}`)); r.status != 200 {
		t.Errorf("got %d %s", r.status, r.body)
	}
	list, err := u.ListProjects(ctx, 0, 1)
	must(t, err)
	if list.Total != 2 || list.Count != 1 || list.Projects[0].Name != "proj-a" || list.Projects[0].Description != "second" {
		t.Errorf("got %+v", list)
	}
	list, err = u.ListProjects(ctx, 1, 500)
	must(t, err)
	if list.Total != 2 || list.Count != 1 || list.Projects[0].Name != "proj-b" {
		t.Errorf("got %+v", list)
	}
	must(t, u.DeleteProject(ctx, "proj-a"))
	_, err = u.GetProject(ctx, "proj-a")
	wantCode(t, err, sls.CodeProjectNotExist)
	wantCode(t, u.DeleteProject(ctx, "proj-a"), sls.CodeProjectNotExist)
}

func TestProjectNames(t *testing.T) {
	s := newService(t)
	u := s.user("a")
	for name, ok := range map[string]bool{
		"abc": true, "a-1": true, "123": true, strings.Repeat("a", 63): true,
		"ab": false, "": false, "-ab": false, "ab-": false, "Abc": false, "a_b": false, "a.b": false, "a/b": false, "äöü": false, strings.Repeat("a", 64): false,
	} {
		body, err := json.Marshal(map[string]string{"projectName": name})
		must(t, err)
		r := u.do("POST", "", "/", nil, body)
		if (r.status == 200) != ok {
			t.Errorf("%q: got %d %s", name, r.status, r.body)
		}
		if !ok && r.code() != sls.CodeParameterInvalid {
			t.Errorf("%q: got %s", name, r.code())
		}
	}
}

// TestDeletingProjectDeletesItsLogstores, as in SLS.
func TestDeletingProjectDeletesItsLogstores(t *testing.T) {
	s := newService(t)
	u, ctx := s.withStore("proj", "one", 1), context.Background()
	must(t, u.CreateLogstore(ctx, "proj", sls.Logstore{Name: "two", TTL: 1, ShardCount: 1}))
	must(t, u.DeleteProject(ctx, "proj"))
	if len(s.deleted) != 2 {
		t.Errorf("deleted %v, want both", s.deleted)
	}
	must(t, u.CreateProject(ctx, "proj", ""))
	_, err := u.GetLogstore(ctx, "proj", "one")
	wantCode(t, err, sls.CodeLogStoreNotExist)
}

func TestLogstoreLifecycle(t *testing.T) {
	s := newService(t)
	u, ctx := s.withStore("proj", "store", 3), context.Background()
	l, err := u.GetLogstore(ctx, "proj", "store")
	must(t, err)
	if l.Name != "store" || l.TTL != 7 || l.ShardCount != 3 || l.CreateTime != s.clock.now().Unix() || l.Mode != "standard" {
		t.Errorf("got %+v", l)
	}
	wantCode(t, u.CreateLogstore(ctx, "proj", sls.Logstore{Name: "store", TTL: 7, ShardCount: 3}), sls.CodeLogStoreAlreadyExist)

	shards, err := u.ListShards(ctx, "proj", "store")
	must(t, err)
	if len(shards) != 3 || shards[0].BeginKey != strings.Repeat("0", 32) || shards[2].EndKey != strings.Repeat("f", 32) ||
		shards[0].EndKey != shards[1].BeginKey || shards[1].Status != "readwrite" {
		t.Errorf("got %+v", shards)
	}

	// An update changes what it names; unknown settings are kept.
	if r := u.do("PUT", "proj", "/logstores/store", nil, []byte(`{"ttl":90,"maxSplitShard":64,"encrypt_conf":{"enable":true}}`)); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	if r := u.do("PUT", "proj", "/logstores/store", nil, []byte(`{"logstoreName":"store","shardCount":3,"autoSplit":true}`)); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	r := u.do("GET", "proj", "/logstores/store", nil, nil)
	var got map[string]any
	must(t, json.Unmarshal(r.body, &got))
	for k, want := range map[string]any{"ttl": 90.0, "maxSplitShard": 64.0, "autoSplit": true, "shardCount": 3.0, "encrypt_conf": map[string]any{"enable": true}} {
		if fmt.Sprint(got[k]) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", k, got[k], want)
		}
	}

	list, err := u.ListLogstores(ctx, "proj", 0, 10)
	must(t, err)
	if list.Total != 1 || list.Count != 1 || list.Logstores[0] != "store" {
		t.Errorf("got %+v", list)
	}
	must(t, u.DeleteLogstore(ctx, "proj", "store"))
	wantCode(t, u.DeleteLogstore(ctx, "proj", "store"), sls.CodeLogStoreNotExist)
	_, err = u.GetLogstore(ctx, "proj", "store")
	wantCode(t, err, sls.CodeLogStoreNotExist)
	if len(s.deleted) != 1 || s.deleted[0].ID != s.created[0].ID {
		t.Errorf("created %v, deleted %v", s.created, s.deleted)
	}
	r = u.do("GET", "proj", "/logstores", nil, nil)
	if string(r.body) != `{"logstores":[],"count":0,"total":0}` {
		t.Errorf("got %s", r.body)
	}
}

func TestLogstoreDefaultsAndChecks(t *testing.T) {
	s := newService(t)
	u, ctx := s.withStore("proj", "store", 1), context.Background()
	if r := u.do("POST", "proj", "/logstores", nil, []byte(`{"logstoreName":"plain"}`)); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	l, err := u.GetLogstore(ctx, "proj", "plain")
	must(t, err)
	if l.ShardCount != 2 || l.TTL != 30 {
		t.Errorf("got %+v", l)
	}
	for _, c := range []struct{ method, target, body, code, tells string }{
		{"POST", "/logstores", `{"logstoreName":"x"}`, sls.CodeParameterInvalid, "2 to 63"},
		{"POST", "/logstores", `{"logstoreName":"a b"}`, sls.CodeParameterInvalid, "2 to 63"},
		{"POST", "/logstores", `{"logstoreName":"_ab"}`, sls.CodeParameterInvalid, "2 to 63"},
		{"POST", "/logstores", `{"logstoreName":"new","ttl":0}`, sls.CodeLogstoreInfoInvalid, "ttl is 0"},
		{"POST", "/logstores", `{"logstoreName":"new","ttl":3651}`, sls.CodeLogstoreInfoInvalid, "3650"},
		{"POST", "/logstores", `{"logstoreName":"new","shardCount":65}`, sls.CodeLogstoreInfoInvalid, "shardCount is 65"},
		{"POST", "/logstores", `{"logstoreName":"new","shardCount":-1}`, sls.CodeLogstoreInfoInvalid, "shardCount"},
		{"POST", "/logstores", `{"logstoreName":"new","autoSplit":"yes"}`, sls.CodePostBodyInvalid, "autoSplit"},
		{"POST", "/logstores", `{"logstoreName":"new","mode":"fast"}`, sls.CodeLogstoreInfoInvalid, "mode"},
		{"POST", "/logstores", `{"logstoreName":"new","x":"` + strings.Repeat("x", 33<<10) + `"}`, sls.CodeLogstoreInfoInvalid, "settings"},
		{"POST", "/logstores", `[]`, sls.CodePostBodyInvalid, "object"},
		{"POST", "/logstores", `{"logstoreName"`, sls.CodePostBodyInvalid, "byte"},
		{"POST", "/logstores", ``, sls.CodePostBodyInvalid, "object"},
		{"PUT", "/logstores/plain", `{"shardCount":5}`, sls.CodeParameterInvalid, "2 shards"},
		{"PUT", "/logstores/plain", `{"logstoreName":"other"}`, sls.CodeParameterInvalid, "renamed"},
		{"PUT", "/logstores/none", `{"ttl":5}`, sls.CodeLogStoreNotExist, "none"},
		{"GET", "/logstores?size=501", ``, sls.CodeParameterInvalid, "500"},
		{"GET", "/logstores?offset=-1", ``, sls.CodeParameterInvalid, "offset"},
		{"GET", "/logstores?size=many", ``, sls.CodeParameterInvalid, "size"},
	} {
		r := u.do(c.method, "proj", c.target, nil, []byte(c.body))
		if r.code() != c.code || !strings.Contains(r.message(), c.tells) {
			t.Errorf("%s %s %.60s: got %s: %s", c.method, c.target, c.body, r.code(), r.message())
		}
	}
}

// TestRecreatedLogstoreIsSeenAtOnce: the cache must not serve the old one.
func TestRecreatedLogstoreIsSeenAtOnce(t *testing.T) {
	s := newService(t)
	u, ctx := s.withStore("proj", "store", 1), context.Background()
	for i := range 3 {
		reply, ok, err := u.Resume(ctx, "proj", "store", sls.ResumeRequest{})
		must(t, err)
		if want := s.created[i].ID; !ok || reply.Incarnation != want {
			t.Errorf("incarnation is %s, want %s", reply.Incarnation, want)
		}
		must(t, u.DeleteLogstore(ctx, "proj", "store"))
		must(t, u.CreateLogstore(ctx, "proj", sls.Logstore{Name: "store", TTL: 7, ShardCount: 1}))
	}
}

func TestIndexLifecycle(t *testing.T) {
	s := newService(t)
	u, ctx := s.user("a"), context.Background()
	must(t, u.CreateProject(ctx, "proj", ""))
	must(t, u.CreateLogstore(ctx, "proj", sls.Logstore{Name: "store", TTL: 7, ShardCount: 1}))
	_, err := u.GetIndex(ctx, "proj", "store")
	wantCode(t, err, sls.CodeIndexConfigNotExist)
	wantCode(t, u.UpdateIndex(ctx, "proj", "store", &sls.Index{Line: &sls.IndexLine{}}), sls.CodeIndexConfigNotExist)
	wantCode(t, u.DeleteIndex(ctx, "proj", "store"), sls.CodeIndexConfigNotExist)
	_, err = u.GetLogs(ctx, "proj", "store", sls.GetLogsRequest{From: 1, To: 2})
	wantCode(t, err, sls.CodeIndexConfigNotExist)

	body := `{"keys":{"status":{"type":"long","doc_value":true},"msg":{"type":"text","token":[" ",","],"chn":true},` +
		`"j":{"type":"json","token":[],"json_keys":{"a":{"type":"long"}}}},"line":{"token":[" "],"caseSensitive":true},"max_text_len":2048,"new_field":{"x":1}}`
	if r := u.do("POST", "proj", "/logstores/store/index", nil, []byte(body)); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	if r := u.do("GET", "proj", "/logstores/store/index", nil, nil); string(r.body) != body {
		t.Errorf("got %s", r.body)
	}
	wantCode(t, u.CreateIndex(ctx, "proj", "store", &sls.Index{Line: &sls.IndexLine{}}), sls.CodeIndexAlreadyExist)
	must(t, u.UpdateIndex(ctx, "proj", "store", &sls.Index{Line: &sls.IndexLine{Token: []string{";"}}}))
	ix, err := u.GetIndex(ctx, "proj", "store")
	must(t, err)
	if ix.Line == nil || len(ix.Line.Token) != 1 || ix.Line.Token[0] != ";" || len(ix.Keys) != 0 {
		t.Errorf("got %+v", ix)
	}
	must(t, u.DeleteIndex(ctx, "proj", "store"))
	for _, target := range []string{"/logstores/none/index"} {
		if r := u.do("GET", "proj", target, nil, nil); r.code() != sls.CodeLogStoreNotExist {
			t.Errorf("got %s", r.code())
		}
	}
	for body, tells := range map[string]string{
		`{}`:                               "line",
		`{"keys":{}}`:                      "line",
		`{"keys":{"a":{"type":"number"}}}`: "text long double json",
		`{"keys":{"a":{"type":"text","token":["ab"]}}}`:                                        "one ASCII character",
		`{"keys":{"":{"type":"text"}}}`:                                                        "name",
		`{"keys":{"a":{"type":"text","json_keys":{"b":{"type":"long"}}}}}`:                     "json_keys",
		`{"keys":{"a":{"type":"json","json_keys":{"b":{"type":"json"}}}}}`:                     "text long double",
		`{"line":{"token":[" "],"include_keys":["a"],"exclude_keys":["b"]}}`:                   "exclude one another",
		`{"line":{"token":[" "]},"max_text_len":10}`:                                           "max_text_len",
		`{"line":{"token":[" "]},"ttl":-1}`:                                                    "ttl",
		`{"line":{"token":" "}}`:                                                               "list",
		`{"line":[]}`:                                                                          "object",
		`{"keys":{"a":{"type":"long","caseSensitive":1}}}`:                                     "true or false",
		`{"keys":{"` + strings.Repeat("a", 10) + `":{"type":"text","token":["` + "é" + `"]}}}`: "ASCII",
	} {
		r := u.do("POST", "proj", "/logstores/store/index", nil, []byte(body))
		if r.status != 400 || !strings.Contains(r.message(), tells) {
			t.Errorf("%s: got %d %s: %s", body, r.status, r.code(), r.message())
		}
	}
}

// leavingCatalog has the client of a creation go away when the logstore has
// just been made.
type leavingCatalog struct {
	catalog.Catalog
	leave context.CancelFunc
}

func (c *leavingCatalog) CreateLogstore(ctx context.Context, l catalog.Logstore, shards int) error {
	err := c.Catalog.CreateLogstore(ctx, l, shards)
	c.leave()
	<-ctx.Done()
	return err
}

func (c *leavingCatalog) Logstore(ctx context.Context, project, name string) (catalog.Logstore, error) {
	if err := ctx.Err(); err != nil {
		return catalog.Logstore{}, err
	}
	return c.Catalog.Logstore(ctx, project, name)
}

// TestLogstoreWhoseMakerLeftIsIndexed: it exists and takes logs, so they have to
// be searchable, too.
func TestLogstoreWhoseMakerLeftIsIndexed(t *testing.T) {
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	s := newService(t, func(c *api.Config) { c.Catalog = &leavingCatalog{c.Catalog, leave} })
	u := s.user("somebody")
	must(t, u.CreateProject(context.Background(), "proj", ""))
	if err := u.CreateLogstore(ctx, "proj", sls.Logstore{Name: "store", TTL: 1, ShardCount: 1}); err == nil {
		t.Error("there was an answer")
	}
	s.http.Close() // waits for the handler
	if len(s.created) != 1 || s.created[0].Name != "store" {
		t.Errorf("the indexers were told of %v", s.created)
	}
}
