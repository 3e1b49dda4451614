package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	stock "github.com/aliyun/aliyun-log-go-sdk"
	"github.com/gogo/protobuf/proto"

	"logtail/internal/sls"
	"logtail/test/sdk/sdkclient"
)

// request is what the service got from the SDK.
type request struct {
	line, host string
	header     http.Header
	body       []byte
}

// service verifies the signature of each request, records it, and answers with
// answer; a request that does not verify fails the test.
type service struct {
	*httptest.Server
	got    []request
	answer http.HandlerFunc
}

func newService(t *testing.T, answer http.HandlerFunc) *service {
	s := &service{answer: answer}
	lookup := func(_ context.Context, id string) (string, error) {
		if id != keyID {
			return "", sls.ErrUnknownKey
		}
		return secret, nil
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.got = append(s.got, request{r.Method + " " + r.URL.String(), r.Host, r.Header, body})
		w.Header().Set(sls.HeaderRequestID, "REQUEST")
		if _, err := sls.Verify(r, body, lookup, time.Now(), 15*time.Minute); err != nil {
			t.Errorf("%s %s is refused: %v", r.Method, r.URL, err)
			e, _ := sls.AsError(err)
			sls.WriteError(w, e)
			return
		}
		s.answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// clients returns clients of the SDK for each version of signature.
func clients(s *service) map[string]stock.ClientInterface {
	v4 := sdkclient.New(s.URL, keyID, secret)
	v4.SetAuthVersion(stock.AuthV4)
	v4.SetRegion(region)
	return map[string]stock.ClientInterface{"v1": sdkclient.New(s.Listener.Addr().String(), keyID, secret), "v4": v4}
}

func answering(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// TestWritesOfTheSDK: signature, compression and log group of each way in
// which the SDK writes.
func TestWritesOfTheSDK(t *testing.T) {
	noise := make([]byte, 5000)
	rand.New(rand.NewSource(1)).Read(noise)
	incompressible := &stock.LogGroup{Logs: []*stock.Log{{Time: proto.Uint32(1), Contents: []*stock.LogContent{{Key: proto.String("k"), Value: proto.String(string(noise))}}}}}
	key := "000000000000000000000000000000ff"
	s := newService(t, answering(""))
	for version, c := range clients(s) {
		for name, g := range map[string]*stock.LogGroup{"text": groups()["everything"], "long": groups()["long"], "incompressible": incompressible} {
			for compress, header := range map[int]string{stock.Compress_LZ4: "lz4", stock.Compress_ZSTD: "zstd", stock.Compress_None: ""} {
				for way, put := range map[string]func() error{
					"/logstores/app": func() error { return c.PutLogsWithCompressType("project", "app", g, compress) },
					"/logstores/app/shards/route?key=" + key: func() error {
						return c.PostLogStoreLogsV2("project", "app", &stock.PostLogStoreLogsRequest{LogGroup: g, HashKey: &key, CompressType: compress})
					},
				} {
					t.Run(fmt.Sprintf("%s %s %q %s", version, name, header, way), func(t *testing.T) {
						s.got = nil
						if err := put(); err != nil {
							t.Fatal(err)
						}
						r := s.got[0]
						if r.line != "POST "+way || r.host != "project."+s.Listener.Addr().String() {
							t.Fatalf("%s at %s", r.line, r.host)
						}
						typ, err := sls.ParseCompressType(r.header.Get(sls.HeaderCompressType))
						if err != nil || typ.String() != header {
							t.Fatalf("compression %q, %v", r.header.Get(sls.HeaderCompressType), err)
						}
						size, err := strconv.Atoi(r.header.Get(sls.HeaderBodyRawSize))
						if err != nil {
							t.Fatal(err)
						}
						raw, err := sls.Decompress(nil, r.body, typ, size, sls.DefaultLimits.MaxRaw)
						if err != nil {
							t.Fatal(err)
						}
						var read sls.LogGroup
						if err := read.Decode(raw, sls.DefaultLimits); err != nil || !bytes.Equal(read.AppendTo(nil), marshal(t, g)) {
							t.Fatalf("the group arrives as %+v, %v", read, err)
						}
					})
				}
			}
		}
	}
}

// TestCallsOfTheSDK: each other call verifies, and the SDK reads the objects
// of our API.
func TestCallsOfTheSDK(t *testing.T) {
	toJSON := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	ix := sls.Index{Line: &sls.IndexLine{Token: []string{" ", "\n"}}, Keys: map[string]sls.IndexKey{
		"status": {Type: "long", Token: []string{}, DocValue: true}, "j": {Type: "json", Token: []string{","}, JSONKeys: map[string]sls.IndexJSONKey{"a": {Type: "text"}}},
	}, TTL: 30}
	logstore := sls.Logstore{Name: "app", TTL: 30, ShardCount: 2, AutoSplit: true, MaxSplitShard: 8, Mode: "standard", CreateTime: 1_700_000_000}
	for _, tc := range []struct {
		line   string
		answer string
		call   func(c stock.ClientInterface) (any, error)
		want   any
	}{
		{"POST /", "", func(c stock.ClientInterface) (any, error) { _, err := c.CreateProject("project", "d"); return nil, err }, nil},
		{"GET /", toJSON(sls.Project{Name: "project", Description: "d", Status: "Normal", CreateTime: "5"}), func(c stock.ClientInterface) (any, error) {
			p, err := c.GetProject("project")
			return []string{p.Name, p.Description, p.Status, p.CreateTime}, err
		}, []string{"project", "d", "Normal", "5"}},
		{"DELETE /", "", func(c stock.ClientInterface) (any, error) { return nil, c.DeleteProject("project") }, nil},
		{"POST /logstores", "", func(c stock.ClientInterface) (any, error) {
			return nil, c.CreateLogStore("project", "app", 30, 2, true, 8)
		}, nil},
		{"GET /logstores/app", toJSON(logstore), func(c stock.ClientInterface) (any, error) {
			l, err := c.GetLogStore("project", "app")
			return []any{l.Name, l.TTL, l.ShardCount, l.AutoSplit, l.MaxSplitShard, l.Mode, l.CreateTime}, err
		}, []any{"app", 30, 2, true, 8, "standard", uint32(1_700_000_000)}},
		{"GET /logstores", toJSON(sls.LogstoreList{Logstores: []string{"a", "b"}, Count: 2, Total: 2}), func(c stock.ClientInterface) (any, error) {
			return c.ListLogStore("project")
		}, []string{"a", "b"}},
		{"PUT /logstores/app", "", func(c stock.ClientInterface) (any, error) { return nil, c.UpdateLogStore("project", "app", 60, 2) }, nil},
		{"DELETE /logstores/app", "", func(c stock.ClientInterface) (any, error) { return nil, c.DeleteLogStore("project", "app") }, nil},
		{"GET /logstores/app/shards", toJSON([]sls.Shard{{ID: 1, Status: "readwrite", BeginKey: "00", EndKey: "80", CreateTime: 7}}), func(c stock.ClientInterface) (any, error) {
			return c.ListShards("project", "app")
		}, []*stock.Shard{{ShardID: 1, Status: "readwrite", InclusiveBeginKey: "00", ExclusiveBeginKey: "80", CreateTime: 7}}},
		{"POST /logstores/app/index", "", func(c stock.ClientInterface) (any, error) {
			return nil, c.CreateIndex("project", "app", *stock.CreateDefaultIndex())
		}, nil},
		{"PUT /logstores/app/index", "", func(c stock.ClientInterface) (any, error) {
			return nil, c.UpdateIndex("project", "app", *stock.CreateDefaultIndex())
		}, nil},
		{"GET /logstores/app/index", toJSON(ix), func(c stock.ClientInterface) (any, error) {
			got, err := c.GetIndex("project", "app")
			if err != nil {
				return nil, err
			}
			var again sls.Index // what the SDK read, as it would write it
			err = json.Unmarshal([]byte(toJSON(got)), &again)
			return again, err
		}, ix},
		{"DELETE /logstores/app/index", "", func(c stock.ClientInterface) (any, error) { return nil, c.DeleteIndex("project", "app") }, nil},
		{"GET /logstores/app/shards/3?type=cursor&from=begin", `{"cursor":"MTI="}`, func(c stock.ClientInterface) (any, error) {
			return c.GetCursor("project", "app", 3, "begin")
		}, "MTI="},
		{"GET /logstores/app/shards/3?cursor=MTI%3D&type=cursor_time", `{"cursor_time":1700000000}`, func(c stock.ClientInterface) (any, error) {
			when, err := c.GetCursorTime("project", "app", 3, "MTI=")
			return when.Unix(), err
		}, int64(1_700_000_000)},
		{"POST /logstores/app/logs", toJSON(sls.GetLogsReply{
			Meta: sls.GetLogsMeta{Progress: sls.ProgressComplete, Count: 1, Keys: []string{"k"}, TelemetryType: "logs", ProcessedRows: 9},
			Logs: []map[string]string{{"k": "v", "__time__": "5"}},
		}), func(c stock.ClientInterface) (any, error) {
			got, err := c.GetLogsV3("project", "app", &stock.GetLogRequest{From: 1, To: 2, Query: `a:"b c" | select 1`, Lines: 100})
			if err != nil {
				return nil, err
			}
			return []any{got.IsComplete(), got.Meta.Count, got.Meta.Keys, got.Meta.TelemetryType, got.Meta.ProcessedRows, got.Logs}, nil
		}, []any{true, int64(1), []string{"k"}, "logs", int64(9), []map[string]string{{"k": "v", "__time__": "5"}}}},
	} {
		s := newService(t, answering(tc.answer))
		for version, c := range clients(s) {
			t.Run(version+" "+tc.line, func(t *testing.T) {
				s.got = nil
				got, err := tc.call(c)
				if err != nil {
					t.Fatal(err)
				}
				if len(s.got) != 1 || s.got[0].line != tc.line {
					t.Fatalf("requests %v", s.got)
				}
				if !reflect.DeepEqual(got, tc.want) {
					t.Fatalf("the SDK reads %+v, want %+v", got, tc.want)
				}
			})
		}
	}
}

func TestHistogramsAndQueriesOverGET(t *testing.T) {
	s := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(sls.HeaderProgress, sls.ProgressComplete)
		w.Header().Set(sls.HeaderCount, "3")
		_ = json.NewEncoder(w).Encode([]sls.Histogram{{From: 0, To: 60, Count: 3, Progress: sls.ProgressComplete}})
	})
	for version, c := range clients(s) {
		got, err := c.GetHistograms("project", "app", "", 0, 60, `status: 500 and "a+b/c" é | x`)
		if err != nil || !got.IsComplete() || got.Count != 3 || len(got.Histograms) != 1 || got.Histograms[0].To != 60 {
			t.Errorf("%s: the SDK reads %+v, %v", version, got, err)
		}
	}
}

// TestSDKReadsOurLogGroupLists: PullLogs with each compression that the SDK
// knows, and at the end of a shard.
func TestSDKReadsOurLogGroupLists(t *testing.T) {
	for _, typ := range []sls.CompressType{sls.CompressLZ4, sls.CompressZstd} {
		for _, count := range []int{0, 1, 5} {
			want := &stock.LogGroupList{}
			var list []byte
			for range count {
				want.LogGroups = append(want.LogGroups, groups()["everything"])
				list = sls.AppendLogGroupListEntry(list, ours(groups()["everything"]).AppendTo(nil))
			}
			s := newService(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Accept-Encoding") != typ.String() {
					t.Errorf("asked for %q", r.Header.Get("Accept-Encoding"))
				}
				var z sls.Compressor
				body, err := z.Append(nil, list, typ)
				if err != nil {
					t.Error(err)
				}
				w.Header().Set(sls.HeaderCursor, "Mg==")
				w.Header().Set(sls.HeaderCount, strconv.Itoa(count))
				w.Header().Set(sls.HeaderBodyRawSize, strconv.Itoa(len(list)))
				w.Header().Set(sls.HeaderCompressType, typ.String())
				_, _ = w.Write(body)
			})
			for version, c := range clients(s) {
				req := &stock.PullLogRequest{Project: "project", Logstore: "app", ShardID: 1, Cursor: "MQ==", LogGroupMaxCount: 10}
				if typ == sls.CompressZstd {
					req.CompressType = stock.Compress_ZSTD
				}
				got, meta, err := c.PullLogsWithQuery(req)
				if err != nil || meta.NextCursor != "Mg==" || !bytes.Equal(marshal(t, got), marshal(t, want)) {
					t.Errorf("%s, %s, %d groups: the SDK reads %v, %+v, %v", version, typ, count, got, meta, err)
				}
			}
		}
	}
}

// TestSDKReadsOurErrors: the codes by which clients decide arrive, with the id
// of the request.
func TestSDKReadsOurErrors(t *testing.T) {
	var refusal *sls.Error
	s := newService(t, func(w http.ResponseWriter, _ *http.Request) { sls.WriteError(w, refusal) })
	c := clients(s)["v1"]
	for code, check := range map[string]func() (bool, error){
		sls.CodeProjectNotExist:  func() (bool, error) { return c.CheckProjectExist("project") },
		sls.CodeLogStoreNotExist: func() (bool, error) { return c.CheckLogstoreExist("project", "app") },
		sls.CodeConfigNotExist:   func() (bool, error) { return c.CheckConfigExist("project", "config") },
	} {
		refusal = sls.NewError(code, "there is none")
		if exists, err := check(); exists || err != nil {
			t.Errorf("%s: the SDK says %v, %v", code, exists, err)
		}
	}
	refusal = sls.NewError(sls.CodeShardWriteQuotaExceed, "wait")
	err := c.PutLogs("project", "app", groups()["one log"])
	var e *stock.Error
	if !errors.As(err, &e) || e.Code != sls.CodeShardWriteQuotaExceed || e.HTTPCode != 403 || e.Message != "wait" || e.RequestID != "REQUEST" {
		t.Errorf("the SDK reads %v", err)
	}
}

func TestSDKClientSpeaksTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Host, "project.") {
			t.Errorf("Host is %q", r.Host)
		}
		_, _ = io.WriteString(w, `{"projectName":"project"}`)
	}))
	defer srv.Close()
	if _, err := sdkclient.New(srv.URL, keyID, secret).GetProject("project"); err != nil {
		t.Fatal(err)
	}
}
