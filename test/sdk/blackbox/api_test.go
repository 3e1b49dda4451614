package blackbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sls "github.com/aliyun/aliyun-log-go-sdk"
	"github.com/gogo/protobuf/proto"

	"logtail/test/sdk/sdkclient"
)

// code returns the error code of SLS.
func code(err error) string {
	var e *sls.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

func group(topic string, lines ...string) *sls.LogGroup {
	g := &sls.LogGroup{Topic: proto.String(topic), Source: proto.String("10.1.2.3"), LogTags: []*sls.LogTag{{Key: proto.String("zone"), Value: proto.String("eu")}}}
	for i, l := range lines {
		g.Logs = append(g.Logs, &sls.Log{
			Time: proto.Uint32(uint32(time.Now().Unix())),
			Contents: []*sls.LogContent{
				{Key: proto.String("content"), Value: proto.String(l)},
				{Key: proto.String("n"), Value: proto.String(fmt.Sprint(i))},
			},
		})
	}
	return g
}

func TestTheStockSDKManagesWritesAndReads(t *testing.T) {
	for _, version := range []sls.AuthVersionType{sls.AuthV1, sls.AuthV4} {
		t.Run(string(version), func(t *testing.T) {
			m := newMachine(t)
			m.up()
			c := sdkclient.New(m.Endpoint, m.AccessKeyID, m.AccessKeySecret)
			if version == sls.AuthV4 {
				c.SetAuthVersion(version)
				c.SetRegion("cn-hangzhou")
			}
			const project, store = "shop-logs", "orders"
			if _, err := c.CreateProject(project, "made by a test"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.CreateProject(project, ""); code(err) != "ProjectAlreadyExist" {
				t.Errorf("a project made twice: %v", err)
			}
			if p, err := c.GetProject(project); err != nil || p.Description != "made by a test" {
				t.Errorf("GetProject: %+v, %v", p, err)
			}
			if names, err := c.ListProject(); err != nil || !strings.Contains(fmt.Sprint(names), project) {
				t.Errorf("ListProject: %v, %v", names, err)
			}
			if err := c.CreateLogStore(project, store, 7, 3, false, 0); err != nil {
				t.Fatal(err)
			}
			if err := c.CreateLogStore(project, store, 7, 3, false, 0); code(err) != "LogStoreAlreadyExist" {
				t.Errorf("a logstore made twice: %v", err)
			}
			if l, err := c.GetLogStore(project, store); err != nil || l.TTL != 7 || l.ShardCount != 3 {
				t.Errorf("GetLogStore: %+v, %v", l, err)
			}
			if names, err := c.ListLogStore(project); err != nil || fmt.Sprint(names) != "[orders]" {
				t.Errorf("ListLogStore: %v, %v", names, err)
			}
			if _, err := c.GetIndex(project, store); code(err) != "IndexConfigNotExist" {
				t.Errorf("no index yet: %v", err)
			}
			if err := c.CreateIndex(project, store, *sls.CreateDefaultIndex()); err != nil {
				t.Fatal(err)
			}
			if ix, err := c.GetIndex(project, store); err != nil || ix.Line == nil {
				t.Errorf("GetIndex: %+v, %v", ix, err)
			}

			if err := c.PutLogs(project, store, group("a", "by put one", "by put two")); err != nil {
				t.Fatal(err)
			}
			key := "00000000000000000000000000000001"
			if err := c.PostLogStoreLogs(project, store, group("b", "by hash key"), &key); err != nil {
				t.Fatal(err)
			}
			for _, compress := range []int{sls.Compress_LZ4, sls.Compress_ZSTD, sls.Compress_None} {
				if err := c.PutLogsWithCompressType(project, store, group("c", fmt.Sprint("by compression ", compress)), compress); err != nil {
					t.Fatalf("compression %d: %v", compress, err)
				}
			}
			now := time.Now().Unix()
			find := func(query string) (rows []map[string]string) {
				t.Helper()
				r, err := c.GetLogs(project, store, "", now-600, now+600, query, 100, 0, true)
				if err != nil {
					t.Fatalf("%s: %v", query, err)
				}
				return r.Logs
			}
			m.wait("all logs to be found", func() error {
				if n := len(find("*")); n != 6 {
					return fmt.Errorf("%d of 6", n)
				}
				return nil
			})
			for query, n := range map[string]int{
				"put": 2, "PUT and two": 1, "by not put": 4, `content: "hash key"`: 1, `#"hash key"`: 1, "compression or one": 4, "n > 0": 1, "n in [0 1]": 6,
				"__topic__: c": 3, "__tag__:zone: eu": 6, "__source__: 10.1.2.3": 6, "nothing": 0, "comp*": 3, "(put or hash) and not one": 2,
			} {
				if rows := find(query); len(rows) != n {
					t.Errorf("%s finds %d logs, want %d", query, len(rows), n)
				}
			}
			if h, err := c.GetHistograms(project, store, "", now-600, now+600, "put"); err != nil || h.Count != 2 || !h.IsComplete() {
				t.Errorf("GetHistograms: %+v, %v", h, err)
			}
			if _, err := c.GetLogs(project, store, "", now-600, now+600, "a and", 100, 0, true); code(err) != "ParameterInvalid" {
				t.Errorf("a wrong query: %v", err)
			}
			shards, err := c.ListShards(project, store)
			if err != nil || len(shards) != 3 {
				t.Fatalf("ListShards: %v, %v", shards, err)
			}
			pulled := 0
			for _, s := range shards {
				cursor, err := c.GetCursor(project, store, s.ShardID, "begin")
				if err != nil {
					t.Fatal(err)
				}
				list, next, err := c.PullLogs(project, store, s.ShardID, cursor, "", 1000)
				if err != nil {
					t.Fatal(err)
				}
				for _, g := range list.LogGroups {
					pulled += len(g.Logs)
				}
				if again, same, err := c.PullLogs(project, store, s.ShardID, next, "", 1000); err != nil || same != next || len(again.LogGroups) != 0 {
					t.Errorf("behind the end of shard %d: %v, %v", s.ShardID, same, err)
				}
				if _, err := c.GetCursor(project, store, s.ShardID, fmt.Sprint(now)); err != nil {
					t.Error(err)
				}
			}
			if pulled != 6 {
				t.Errorf("pulled %d logs", pulled)
			}

			if err := c.DeleteIndex(project, store); err != nil {
				t.Error(err)
			}
			if err := c.DeleteLogStore(project, store); err != nil {
				t.Error(err)
			}
			if err := c.PutLogs(project, store, group("a", "x")); code(err) != "LogStoreNotExist" {
				t.Errorf("a write to a deleted logstore: %v", err)
			}
			if err := c.DeleteProject(project); err != nil {
				t.Error(err)
			}
			if ok, err := c.CheckProjectExist(project); err != nil || ok {
				t.Errorf("the deleted project: %v, %v", ok, err)
			}
			wrong := sdkclient.New(m.Endpoint, m.AccessKeyID, m.AccessKeySecret+"x")
			if _, err := wrong.ListLogStore(m.Project); code(err) != "SignatureNotMatch" {
				t.Errorf("a wrong secret: %v", err)
			}
			m.interrupt()
		})
	}
}

func TestWhatCannotStartSaysWhyInOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	wrong := filepath.Join(dir, "wrong.yaml")
	for path, text := range map[string]string{
		file:  "not a folder",
		wrong: "inputs:\n  - Type: input_file\n    FilePath: [/a/*.log]\nflushers:\n  - Type: flusher_stdout\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key, err := json.Marshal(map[string]string{"endpoint": "http://" + taken.Addr().String(), "access_key_id": "a"})
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, "half.json")
	if err := os.WriteFile(half, key, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"port in use", []string{"up", "--data", filepath.Join(dir, "a"), "--listen", taken.Addr().String()}, 1, taken.Addr().String()},
		{"data is a file", []string{"up", "--data", file, "--listen", "127.0.0.1:0"}, 1, file},
		{"unknown field", []string{"run", "--data", filepath.Join(dir, "b"), wrong}, 1, "FilePaths"},
		{"validate", []string{"config", "validate", wrong}, 1, "wrong.yaml:3"},
		{"no credentials", []string{"query", "--credentials", filepath.Join(dir, "none.json"), "*"}, 1, "none.json"},
		{"half of a key", []string{"query", "--credentials", half, "*"}, 1, "access_key_secret"},
		{"wrong flag", []string{"up", "--nope"}, 2, "nope"},
		{"wrong address", []string{"up", "--listen", "here"}, 2, "here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := exec.Command(binary, c.args...).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != c.code {
				t.Errorf("ended with %v, want exit code %d\n%s", err, c.code, out)
			}
			text := strings.TrimSpace(string(out))
			if !strings.Contains(text, c.want) || !strings.HasPrefix(text, "logtail: ") || strings.Contains(text, "\n") {
				t.Errorf("not one clear line that names %q:\n%s", c.want, text)
			}
		})
	}
}
