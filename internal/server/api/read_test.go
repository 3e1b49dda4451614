package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/server/api"
	"logtail/internal/server/servertest"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

func TestPullReadsWhatWasPut(t *testing.T) {
	s := newService(t)
	u, ctx := s.withStore("proj", "store", 1), context.Background()
	for i := range 5 {
		if r := u.put("proj", "/logstores/store", group(100, fmt.Sprint("log ", i)), sls.CompressLZ4); r.status != 200 {
			t.Fatalf("got %d %s", r.status, r.body)
		}
		s.clock.advance(10 * time.Second)
	}
	cursor, err := u.GetCursor(ctx, "proj", "store", 0, "begin")
	must(t, err)
	var got []string
	for range 10 {
		groups, next, err := u.PullLogs(ctx, "proj", "store", 0, cursor, 2)
		must(t, err)
		for _, g := range groups {
			got = append(got, string(g.Logs[0].Contents[0].Value))
		}
		if len(groups) == 0 && next != cursor {
			t.Errorf("at the end the cursor moved from %s to %s", cursor, next)
		}
		cursor = next
	}
	if strings.Join(got, ",") != "log 0,log 1,log 2,log 3,log 4" {
		t.Errorf("got %v", got)
	}
	end, err := u.GetCursor(ctx, "proj", "store", 0, "end")
	must(t, err)
	if end != cursor {
		t.Errorf("end is %s, pulled to %s", end, cursor)
	}
	// By time of receipt.
	at, err := u.GetCursor(ctx, "proj", "store", 0, strconv.FormatInt(s.clock.now().Add(-25*time.Second).Unix(), 10))
	must(t, err)
	groups, _, err := u.PullLogs(ctx, "proj", "store", 0, at, 1)
	must(t, err)
	if v := string(groups[0].Logs[0].Contents[0].Value); v != "log 3" {
		t.Errorf("from 25 s ago on the first is %q", v)
	}
	for from, want := range map[string]string{"0": "1", "9000000000": "6", "9223372036854775807": "6"} {
		got, err := u.GetCursor(ctx, "proj", "store", 0, from)
		must(t, err)
		if seq, ok := api.DecodeCursor(got); !ok || strconv.FormatUint(seq, 10) != want {
			t.Errorf("from %s: cursor %d, want %s", from, seq, want)
		}
	}
}

// TestPullHeadersAreComplete as the Go SDK wants them, for an empty reply, too.
func TestPullHeadersAreComplete(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	pull := func(cursor, accept, more string) reply {
		t.Helper()
		head := map[string]string{"Accept": sls.ContentTypePB, "Accept-Encoding": accept}
		return u.do("GET", "proj", "/logstores/store/shards/0?type=logs&count=10&cursor="+base64.StdEncoding.EncodeToString([]byte(cursor))+more, head, nil)
	}
	r := pull("1", "lz4", "")
	if r.status != 200 || r.head.Get("X-Log-Cursor") != base64.StdEncoding.EncodeToString([]byte("1")) || r.head.Get("X-Log-Count") != "0" ||
		r.head.Get("X-Log-Bodyrawsize") != "0" || r.head.Get("X-Log-Compresstype") != "lz4" || len(r.body) != 0 {
		t.Errorf("empty: got %d %v", r.status, r.head)
	}
	raw := group(100, strings.Repeat("abc ", 50))
	u.put("proj", "/logstores/store", raw, sls.CompressZstd)
	// A range without logs is an empty group, so that counting back works.
	u.putList("proj", rangePackage(t, lane(1), 1, 0, 10, delivery.Empty))
	u.put("proj", "/logstores/store", raw, sls.CompressNone)
	for accept, want := range map[string]sls.CompressType{"lz4": sls.CompressLZ4, "zstd": sls.CompressZstd, "gzip, zstd;q=0.5": sls.CompressZstd, "identity": sls.CompressNone, "lz4;q=0": sls.CompressNone} {
		r := pull("1", accept, "")
		if r.head.Get("X-Log-Compresstype") != want.String() || r.head.Get("X-Log-Count") != "3" || r.head.Get("X-Log-Read-Last-Cursor") != "3" {
			t.Errorf("%s: got %v", accept, r.head)
		}
		size, err := strconv.Atoi(r.head.Get("X-Log-Bodyrawsize"))
		must(t, err)
		body, err := sls.Decompress(nil, r.body, want, size, 1<<20)
		must(t, err)
		groups, err := sls.DecodeLogGroupList(body, sls.DefaultLimits)
		must(t, err)
		if len(groups) != 3 || len(groups[0].Logs) != 1 || len(groups[1].Logs) != 0 || len(groups[2].Logs) != 1 || groups[0].Topic != "nginx" {
			t.Errorf("%s: got %+v", accept, groups)
		}
	}
	for more, want := range map[string]string{"&end_cursor=Mg==": "1", "&end_cursor=MQ==": "0", "&end_cursor=OTk=": "3"} {
		if r := pull("1", "lz4", more); r.head.Get("X-Log-Count") != want {
			t.Errorf("%s: got %s groups, want %s", more, r.head.Get("X-Log-Count"), want)
		}
	}
}

// TestPullKeepsRepliesSmall: groups are large, the reply is bounded, and nothing
// is left out on the way.
func TestPullKeepsRepliesSmall(t *testing.T) {
	s := newService(t)
	u, ctx := s.withStore("proj", "store", 1), context.Background()
	large := strings.Repeat("x", 3<<20)
	for range 6 {
		u.put("proj", "/logstores/store", group(1, large), sls.CompressZstd)
	}
	cursor, total := api.EncodeCursor(1), 0
	for range 20 {
		groups, next, err := u.PullLogs(ctx, "proj", "store", 0, cursor, 1000)
		must(t, err)
		if len(groups) > 2 {
			t.Fatalf("%d groups of 3 MB in one reply", len(groups))
		}
		total += len(groups)
		cursor = next
	}
	if total != 6 {
		t.Errorf("pulled %d groups, want 6", total)
	}
}

func TestCursorsThatDoNotFit(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	for range 5 {
		u.put("proj", "/logstores/store", group(1, "x"), sls.CompressLZ4)
	}
	shard, err := s.log.Shard(shardlog.Key{Store: s.created[0].ID})
	must(t, err)
	must(t, shard.Truncate(3))
	b64 := func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct{ query, code, tells string }{
		{"type=logs&count=1&cursor=" + b64("2"), sls.CodeInvalidCursor, "from=begin"},
		{"type=logs&count=1&cursor=" + b64("7"), sls.CodeInvalidCursor, "beyond the end"},
		{"type=logs&count=1&cursor=" + b64("-1"), sls.CodeInvalidCursor, "no cursor"},
		{"type=logs&count=1&cursor=" + b64("03"), sls.CodeInvalidCursor, "no cursor"},
		{"type=logs&count=1&cursor=!", sls.CodeInvalidCursor, "no cursor"},
		{"type=logs&count=1", sls.CodeInvalidCursor, "no cursor"},
		{"type=logs&count=0&cursor=" + b64("3"), sls.CodeParameterInvalid, "count"},
		{"type=logs&count=x&cursor=" + b64("3"), sls.CodeParameterInvalid, "count"},
		{"type=logs&count=1&end_cursor=x&cursor=" + b64("3"), sls.CodeInvalidCursor, "end_cursor"},
		{"type=logs&count=1&query=*&cursor=" + b64("3"), sls.CodeNotSupported, "query"},
		{"type=cursor&from=yesterday", sls.CodeParameterInvalid, "begin, end"},
		{"type=cursor&from=-5", sls.CodeParameterInvalid, "begin, end"},
		{"type=cursor_time&cursor=" + b64("7"), sls.CodeInvalidCursor, "beyond the end"},
	} {
		if r := u.do("GET", "proj", "/logstores/store/shards/0?"+c.query, nil, nil); r.code() != c.code || !strings.Contains(r.message(), c.tells) {
			t.Errorf("%s: got %d %s: %s", c.query, r.status, r.code(), r.message())
		}
	}
}

func TestCursorTime(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	start := s.clock.now().Unix()
	for range 3 {
		u.put("proj", "/logstores/store", group(1, "x"), sls.CompressLZ4)
		s.clock.advance(10 * time.Second)
	}
	// 0 is the cursor before the first one, which SDKs make by subtracting.
	for cursor, want := range map[string]int64{"0": start, "1": start, "2": start + 10, "3": start + 20, "4": start + 30} {
		r := u.do("GET", "proj", "/logstores/store/shards/0?type=cursor_time&cursor="+base64.StdEncoding.EncodeToString([]byte(cursor)), nil, nil)
		if want := fmt.Sprintf(`{"cursor_time":%d}`, want); string(r.body) != want {
			t.Errorf("cursor %s: got %s, want %s", cursor, r.body, want)
		}
	}
}

func FuzzDecodeCursor(f *testing.F) {
	for _, s := range []string{"MQ==", "", "MDE=", "LTE=", "OTIyMzM3MjAzNjg1NDc3NTgwNw==", "OTIyMzM3MjAzNjg1NDc3NTgwOA==", "!", "KzE="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		seq, ok := api.DecodeCursor(s)
		if !ok {
			return
		}
		if back, ok := api.DecodeCursor(api.EncodeCursor(seq)); !ok || back != seq || int64(seq) < 0 {
			t.Errorf("%q: %d does not survive", s, seq)
		}
	})
}

func queryService(t *testing.T) (*service, *user) {
	t.Helper()
	s := newService(t)
	u := s.withStore("proj", "store", 2)
	for i := range 5 {
		values := make([]string, 50)
		for j := range values {
			values[j] = fmt.Sprintf("request %d status=%d", i*50+j, 200+(i*50+j)%2*300)
		}
		if r := u.put("proj", "/logstores/store", group(uint32(1000+i*50), values...), sls.CompressLZ4); r.status != 200 {
			t.Fatalf("got %d %s", r.status, r.body)
		}
	}
	s.indexAll("proj", "store")
	return s, u
}

func TestGetLogsPagesInOrder(t *testing.T) {
	_, u := queryService(t)
	ctx := context.Background()
	for _, reverse := range []bool{false, true} {
		var times []int64
		for offset := int64(0); ; offset += 100 {
			reply, err := u.GetLogs(ctx, "proj", "store", sls.GetLogsRequest{From: 1000, To: 2000, Query: "request", Offset: offset, Reverse: reverse})
			must(t, err)
			m := reply.Meta
			if m.Progress != sls.ProgressComplete || m.Count != int64(len(reply.Logs)) || m.HasSQL || m.ProcessedRows != 250 || m.WhereQuery != "request" {
				t.Errorf("meta is %+v", m)
			}
			if len(reply.Logs) == 0 {
				break
			}
			for _, l := range reply.Logs {
				sec, err := strconv.ParseInt(l["__time__"], 10, 64)
				must(t, err)
				times = append(times, sec)
				if l["__topic__"] != "nginx" || l["__source__"] != "10.0.0.1" || !strings.HasPrefix(l["content"], "request ") {
					t.Fatalf("got %v", l)
				}
			}
			if strings.Join(m.Keys, " ") != "content __source__ __time__ __topic__" || len(m.Terms) != 1 || m.Terms[0].Term != "request" {
				t.Errorf("keys %v, terms %v", m.Keys, m.Terms)
			}
		}
		if len(times) != 250 {
			t.Fatalf("%d rows, want 250", len(times))
		}
		for i := range times {
			want := int64(1000 + i)
			if reverse {
				want = int64(1249 - i)
			}
			if times[i] != want {
				t.Fatalf("reverse %v: row %d has the time %d, want %d", reverse, i, times[i], want)
			}
		}
	}
}

func TestGetLogsShapes(t *testing.T) {
	_, u := queryService(t)
	third := func(body string, head map[string]string) reply {
		return u.do("POST", "proj", "/logstores/store/logs", head, []byte(body))
	}
	count := func(r reply) int {
		t.Helper()
		if r.status != 200 {
			t.Fatalf("got %d %s", r.status, r.body)
		}
		var got struct{ Data []map[string]string }
		must(t, json.Unmarshal(r.body, &got))
		if r.head.Get("X-Log-Count") != strconv.Itoa(len(got.Data)) || r.head.Get("X-Log-Progress") != "Complete" {
			t.Errorf("headers are %v", r.head)
		}
		return len(got.Data)
	}
	for body, want := range map[string]int{
		`{"from":1000,"to":2000}`:                                        100,
		`{"from":1000,"to":2000,"line":7}`:                               7,
		`{"from":1000,"to":2000,"line":0}`:                               100,
		`{"from":"1000","to":"1010","line":"100","reverse":"true"}`:      10,
		`{"from":1000,"to":1010,"topic":"nginx","reverse":null}`:         10,
		`{"from":1000,"to":1010,"topic":"other"}`:                        0,
		`{"from":1000,"to":1010,"query":"content:500"}`:                  5,
		`{"from":1000,"to":1010,"query":"500","unknown_field":[1]}`:      5,
		`{"from":1000,"to":1010,"toNs":5,"fromNs":5}`:                    11,
		`{"from":1000,"to":2000,"offset":245,"powerSql":false,"line":9}`: 5,
		`{"from":1000,"to":2000,"offset":300}`:                           0,
	} {
		if got := count(third(body, map[string]string{"Accept-Encoding": "identity"})); got != want {
			t.Errorf("%s: %d rows, want %d", body, got, want)
		}
	}
	for _, c := range []sls.CompressType{sls.CompressLZ4, sls.CompressZstd} {
		r := third(`{"from":1000,"to":2000}`, map[string]string{"Accept-Encoding": c.String()})
		size, err := strconv.Atoi(r.head.Get("X-Log-Bodyrawsize"))
		must(t, err)
		body, err := sls.Decompress(nil, r.body, c, size, 1<<20)
		must(t, err)
		if r.head.Get("X-Log-Compresstype") != c.String() || !json.Valid(body) || len(r.body) >= len(body) {
			t.Errorf("%s: got %v", c, r.head)
		}
	}
	r := u.do("GET", "proj", "/logstores/store?type=log&from=1000&to=1010&query=500&line=3&offset=0&reverse=false&topic=", nil, nil)
	var rows []map[string]string
	must(t, json.Unmarshal(r.body, &rows))
	if len(rows) != 3 || r.head.Get("X-Log-Count") != "3" || r.head.Get("X-Log-Progress") != "Complete" ||
		r.head.Get("X-Log-Query-Info") != `{"keys":["content","__source__","__time__","__topic__"],"terms":[["500",""]],"limited":"3","mode":0}` {
		t.Errorf("got %d %s %v", r.status, r.body, r.head)
	}
}

func TestGetLogsRefusesWhatIsWrong(t *testing.T) {
	_, u := queryService(t)
	for body, want := range map[string][2]string{
		`{"from":1000,"to":1000}`:                    {sls.CodeInvalidTimeRange, "from before to"},
		`{"from":-1,"to":1000}`:                      {sls.CodeInvalidTimeRange, "unix seconds"},
		`{}`:                                         {sls.CodeInvalidTimeRange, "unix seconds"},
		`{"from":1,"to":2,"line":101}`:               {sls.CodeInvalidLine, "100"},
		`{"from":1,"to":2,"line":-1}`:                {sls.CodeInvalidLine, "100"},
		`{"from":1,"to":2,"offset":-1}`:              {sls.CodeInvalidOffset, "offset"},
		`{"from":"x","to":2}`:                        {sls.CodePostBodyInvalid, "integer"},
		`{"from":1,"to":2,"offset":1000001}`:         {sls.CodeInvalidOffset, "split the time range"},
		`{"from":1,"to":2,"reverse":"up"}`:           {sls.CodePostBodyInvalid, "true nor false"},
		`{"from":1,"to":2,"query":"a and"}`:          {sls.CodeParameterInvalid, "column"},
		`{"from":1,"to":2,"query":"* | select 1"}`:   {sls.CodeParameterInvalid, "column 3"},
		`{"from":1,"to":2,"query":"a"`:               {sls.CodePostBodyInvalid, "byte"},
		`{"from":1e99,"to":2}`:                       {sls.CodePostBodyInvalid, "integer"},
		`{"from":1,"to":9223372036854775808}`:        {sls.CodePostBodyInvalid, "integer"},
		`{"from":1,"to":2,"query":["not a string"]}`: {sls.CodePostBodyInvalid, "query"},
	} {
		r := u.do("POST", "proj", "/logstores/store/logs", nil, []byte(body))
		if r.status != 400 || r.code() != want[0] || !strings.Contains(r.message(), want[1]) {
			t.Errorf("%s: got %d %s: %s", body, r.status, r.code(), r.message())
		}
	}
	for _, target := range []string{"/logstores/store?type=log&from=x&to=1", "/logstores/store?type=histogram&from=1&to=2&interval=x"} {
		if r := u.do("GET", "proj", target, nil, nil); r.code() != sls.CodeParameterInvalid {
			t.Errorf("%s: got %d %s", target, r.status, r.body)
		}
	}
	for _, to := range []string{"9223372036854775807", "1800000000000"} {
		r := u.do("GET", "proj", "/logstores/store?type=histogram&from=1&to="+to, nil, nil)
		if r.status != 400 || r.code() != sls.CodeInvalidTimeRange {
			t.Errorf("histogram to %s: got %d %s", to, r.status, r.body)
		}
	}
}

// TestRowsHideNothing: what JSON cannot say as it is, it says otherwise.
func TestRowsHideNothing(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	content := func(k, v string) sls.Content { return sls.Content{Key: []byte(k), Value: []byte(v)} }
	g := sls.LogGroup{
		Tags: []sls.Tag{{Key: "__path__", Value: "/var/log/x"}},
		Logs: []sls.Log{{Sec: 50, Nsec: 7, Contents: []sls.Content{
			content("k", "1"), content("k", "2"), content("k", "3"), content("__time__", "not the time"),
			content("quote\"\n<", "\x00\u2028\xff"), content("", "no key"), content("zh", "日志😀"),
		}}},
	}
	raw := g.AppendTo(nil)
	if r := u.put("proj", "/logstores/store", raw, sls.CompressNone); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	s.indexAll("proj", "store")
	reply, err := u.GetLogs(context.Background(), "proj", "store", sls.GetLogsRequest{From: 1, To: 100})
	must(t, err)
	want := map[string]string{
		"__time__": "50", "__time_ns_part__": "7", "__source__": "", "__topic__": "", "k": "1", "k_1": "2", "k_2": "3", "__time___1": "not the time",
		"quote\"\n<": "\x00\u2028\ufffd", "": "no key", "zh": "日志😀", "__tag__:__path__": "/var/log/x",
	}
	if len(reply.Logs) != 1 || fmt.Sprint(reply.Logs[0]) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", reply.Logs, want)
	}
	r := u.do("GET", "proj", "/logstores/store?type=log&from=1&to=100&query=%E6%97%A5%E5%BF%97", nil, nil)
	if info := r.head.Get("x-log-query-info"); !json.Valid([]byte(info)) || !strings.Contains(info, `\u65e5\u5fd7`) {
		t.Errorf("got %q", info)
	}
}

func TestHistogram(t *testing.T) {
	_, u := queryService(t)
	ctx := context.Background()
	got, err := u.GetHistograms(ctx, "proj", "store", sls.GetHistogramsRequest{From: 1003, To: 1103, Query: "500", Interval: 50})
	must(t, err)
	want := []sls.Histogram{
		{From: 1003, To: 1050, Count: 24, Progress: "Complete"}, {From: 1050, To: 1100, Count: 25, Progress: "Complete"}, {From: 1100, To: 1103, Count: 1, Progress: "Complete"},
	}
	if got.Progress != "Complete" || got.Count != 50 || fmt.Sprint(got.Histograms) != fmt.Sprint(want) {
		t.Errorf("got %+v", got)
	}
	for _, target := range []string{"/logstores/store?type=histogram", "/logstores/store/index?type=histogram"} {
		r := u.do("GET", "proj", target+"&from=1000&to=1060&query=*&topic=", nil, nil)
		var out []sls.Histogram
		must(t, json.Unmarshal(r.body, &out))
		if r.head.Get("X-Log-Progress") != "Complete" || r.head.Get("X-Log-Count") != "60" || len(out) != 60 || out[59].Count != 1 {
			t.Errorf("%s: got %s %v", target, r.body, r.head)
		}
	}
	for _, more := range []string{"&from=1000&to=1000", "&from=1000&to=900", "&from=1&to=2000000&interval=1", "&from=1&to=20&interval=-1", "&from=1&to=20&query=a+or"} {
		if r := u.do("GET", "proj", "/logstores/store?type=histogram"+more, nil, nil); r.status != 400 {
			t.Errorf("%s: got %d %s", more, r.status, r.body)
		}
	}
}

func TestHistogramChoosesReadableIntervals(t *testing.T) {
	_, u := queryService(t)
	for span, want := range map[int64]int64{1: 1, 60: 1, 900: 15, 3600: 60, 86400: 1800, 7 * 86400: 3 * 3600, 365 * 86400: 7 * 86400, 40 * 365 * 86400: 244 * 86400} {
		from := int64(86400 * 1000)
		r := u.do("GET", "proj", fmt.Sprintf("/logstores/store?type=histogram&from=%d&to=%d", from, from+span), nil, nil)
		var out []sls.Histogram
		must(t, json.Unmarshal(r.body, &out))
		if len(out) == 0 || len(out) > 61 {
			t.Errorf("%d s: %d intervals", span, len(out))
			continue
		}
		width := out[0].To - out[0].From
		if len(out) > 2 {
			width = out[1].To - out[1].From
		}
		if width != want {
			t.Errorf("%d s: intervals of %d s, want %d", span, width, want)
		}
		if out[0].From != from || out[len(out)-1].To != from+span {
			t.Errorf("%d s: the intervals go from %d to %d", span, out[0].From, out[len(out)-1].To)
		}
	}
}

// TestDamagedRecordIsAnEmptyGroup: clients count groups to know their cursors,
// and one record that the disk lost must not stop them for ever.
func TestDamagedRecordIsAnEmptyGroup(t *testing.T) {
	var lines bytes.Buffer
	s := newService(t, func(c *api.Config) { c.Logger = slog.New(slog.NewTextHandler(&lines, nil)) })
	u, ctx := s.withStore("proj", "store", 1), context.Background()
	for i := range 5 {
		u.put("proj", "/logstores/store", group(100, fmt.Sprint("log ", i)), sls.CompressLZ4)
	}
	l, err := s.catalog.Logstore(ctx, "proj", "store")
	must(t, err)
	shard, err := s.log.Shard(shardlog.Key{Store: l.ID})
	must(t, err)
	for _, seq := range []uint64{1, 3, 5} {
		shard.(*servertest.Shard).Damage(seq)
	}
	for range 2 {
		var got []string
		for cursor := api.EncodeCursor(1); ; {
			groups, next, err := u.PullLogs(ctx, "proj", "store", 0, cursor, 10)
			must(t, err)
			if len(groups) == 0 {
				break
			}
			for _, g := range groups {
				if len(g.Logs) == 0 {
					got = append(got, "-")
					continue
				}
				got = append(got, string(g.Logs[0].Contents[0].Value))
			}
			cursor = next
		}
		if strings.Join(got, ",") != "-,log 1,-,log 3,-" {
			t.Errorf("got %v", got)
		}
	}
	if n := strings.Count(lines.String(), "level=ERROR"); n != 3 || !strings.Contains(lines.String(), "store="+l.ID+" shard=0 sequence=3") {
		t.Errorf("%d errors were logged, want one for each damaged record:\n%s", n, lines.String())
	}
	for _, cursor := range []uint64{1, 3, 5} {
		r := u.do("GET", "proj", "/logstores/store/shards/0?type=cursor_time&cursor="+api.EncodeCursor(cursor), nil, nil)
		if want := fmt.Sprintf(`{"cursor_time":%d}`, s.clock.now().Unix()); string(r.body) != want {
			t.Errorf("time of %d: got %s, want %s", cursor, r.body, want)
		}
	}
}

// TestPageOfHugeLogsIsRefused with what to do about it: a hundred logs of 10 MB
// would take gigabytes.
func TestPageOfHugeLogsIsRefused(t *testing.T) {
	s := newService(t, func(c *api.Config) { c.Limits.PageBytes = 1000 })
	u, ctx := s.withStore("proj", "store", 1), context.Background()
	for range 3 {
		u.put("proj", "/logstores/store", group(100, strings.Repeat("x", 2000)), sls.CompressLZ4)
	}
	s.indexAll("proj", "store")
	_, err := u.GetLogs(ctx, "proj", "store", sls.GetLogsRequest{From: 1, To: 200})
	wantCode(t, err, sls.CodeInvalidLine)
	if err == nil || !strings.Contains(err.Error(), "fewer with line") {
		t.Errorf("got %v", err)
	}
	for offset := range int64(3) { // one by one they come
		reply, err := u.GetLogs(ctx, "proj", "store", sls.GetLogsRequest{From: 1, To: 200, Line: 1, Offset: offset})
		must(t, err)
		if len(reply.Logs) != 1 || len(reply.Logs[0]["content"]) != 2000 {
			t.Errorf("offset %d: %d logs", offset, len(reply.Logs))
		}
	}
}

// TestManyKeysInTheOldForm: the header that lists them must not grow beyond what
// HTTP clients take.
func TestManyKeysInTheOldForm(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	l := sls.Log{Sec: 50, Nsec: -1}
	for i := range 9000 {
		l.Contents = append(l.Contents, sls.Content{Key: fmt.Appendf(nil, "a-rather-long-key-of-a-log-%d", i), Value: []byte("v")})
	}
	raw := (&sls.LogGroup{Logs: []sls.Log{l}}).AppendTo(nil)
	if r := u.put("proj", "/logstores/store", raw, sls.CompressLZ4); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	s.indexAll("proj", "store")
	r := u.do("GET", "proj", "/logstores/store?type=log&from=1&to=100", nil, nil)
	if r.status != 200 || len(r.head.Get("x-log-query-info")) > 64<<10 || !bytes.Contains(r.body, []byte("key-of-a-log-8999")) {
		t.Errorf("got %d, a header of %d bytes, a body of %d", r.status, len(r.head.Get("x-log-query-info")), len(r.body))
	}
}
