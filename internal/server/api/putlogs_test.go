package api_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"logtail/internal/delivery"
	"logtail/internal/server/api"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// stored returns the contents of all logs of the logstore, shard by shard.
func (s *service) stored(project, logstore string) (values []string, tags map[string]string) {
	s.t.Helper()
	ctx := context.Background()
	l, err := s.catalog.Logstore(ctx, project, logstore)
	must(s.t, err)
	shards, err := s.catalog.Shards(ctx, project, logstore)
	must(s.t, err)
	tags = make(map[string]string)
	for _, sh := range shards {
		shard, err := s.log.Shard(shardlog.Key{Store: l.ID, Shard: sh.ID})
		must(s.t, err)
		recs, err := shard.Read(1, 1<<20, 1<<30)
		must(s.t, err)
		for _, r := range recs {
			raw, err := sls.Decompress(nil, r.Data, r.Compress, r.RawSize, 1<<30)
			must(s.t, err)
			var g sls.LogGroup
			must(s.t, g.Decode(raw, sls.DefaultLimits))
			for _, log := range g.Logs {
				values = append(values, string(log.Contents[0].Value))
			}
			for _, tag := range g.Tags {
				tags[tag.Key] = tag.Value
			}
		}
	}
	return values, tags
}

func TestPutLogsTakesEveryPathAndCompression(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 2)
	want := 0
	for _, target := range []string{"/logstores/store", "/logstores/store/shards/lb", "/logstores/store/shards/route?key=" + strings.Repeat("a", 32)} {
		for _, c := range []sls.CompressType{sls.CompressNone, sls.CompressDeflate, sls.CompressLZ4, sls.CompressZstd} {
			if r := u.put("proj", target, group(100, "one", "two"), c); r.status != 200 || len(r.body) != 0 {
				t.Errorf("%s %s: got %d %s", target, c, r.status, r.body)
			}
			want += 2
		}
	}
	values, tags := s.stored("proj", "store")
	if len(values) != want || len(tags) != 0 {
		t.Errorf("stored %d logs with tags %v, want %d and none", len(values), tags, want)
	}
}

func TestPutLogsTakesPackageLists(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 2)
	var body []byte
	for i, c := range []sls.CompressType{sls.CompressLZ4, sls.CompressZstd, sls.CompressNone} {
		raw := group(100, fmt.Sprint("value ", i))
		body = sls.AppendPackage(body, &sls.Package{Data: pack(t, raw, c), RawSize: len(raw), Compress: c})
	}
	head := map[string]string{"Content-Type": sls.ContentTypePB, "x-log-mode": "batch_group", "x-log-compresstype": "lz4"}
	r := u.do("POST", "proj", "/logstores/store/shards/lb", head, body)
	if r.status != 200 || len(r.body) != 0 || r.head.Get(sls.HeaderDelivery) != "" {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	if values, _ := s.stored("proj", "store"); strings.Join(values, ",") != "value 0,value 1,value 2" {
		t.Errorf("stored %v", values)
	}
}

// TestBadPackageListStoresNothing: without ranges it is all or nothing.
func TestBadPackageListStoresNothing(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 2)
	raw := group(100, "good")
	body := sls.AppendPackage(nil, &sls.Package{Data: pack(t, raw, sls.CompressLZ4), RawSize: len(raw), Compress: sls.CompressLZ4})
	body = sls.AppendPackage(body, &sls.Package{Data: []byte("bad"), RawSize: 500, Compress: sls.CompressLZ4})
	head := map[string]string{"Content-Type": sls.ContentTypePB, "x-log-mode": "batch_group"}
	if r := u.do("POST", "proj", "/logstores/store", head, body); r.code() != sls.CodePostBodyUncompressError {
		t.Errorf("got %d %s", r.status, r.body)
	}
	if values, _ := s.stored("proj", "store"); len(values) != 0 {
		t.Errorf("stored %v", values)
	}
}

func TestPutLogsRefusesWhatIsWrong(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	raw := group(100, strings.Repeat("a log ", 100))
	lz4 := pack(t, raw, sls.CompressLZ4)
	good := map[string]string{"Content-Type": sls.ContentTypePB, "x-log-compresstype": "lz4", "x-log-bodyrawsize": strconv.Itoa(len(raw))}
	many := make([]string, sls.DefaultLimits.MaxLogs+1)
	tooMany := group(100, many...)
	for name, c := range map[string]struct {
		head map[string]string
		body []byte
		code string
	}{
		"no content type":      {map[string]string{"Content-Type": ""}, lz4, sls.CodeMissingContentType},
		"other content type":   {map[string]string{"Content-Type": "application/json"}, lz4, sls.CodeInvalidContentType},
		"no raw size":          {map[string]string{"x-log-bodyrawsize": ""}, lz4, sls.CodeMissingBodyRawSize},
		"raw size is text":     {map[string]string{"x-log-bodyrawsize": "big"}, lz4, sls.CodeInvalidBodyRawSize},
		"raw size is negative": {map[string]string{"x-log-bodyrawsize": "-5"}, lz4, sls.CodeInvalidBodyRawSize},
		"raw size too small":   {map[string]string{"x-log-bodyrawsize": "10"}, lz4, sls.CodePostBodyUncompressError},
		"raw size too large":   {map[string]string{"x-log-bodyrawsize": strconv.Itoa(len(raw) + 1)}, lz4, sls.CodePostBodyUncompressError},
		"raw size over limit":  {map[string]string{"x-log-bodyrawsize": strconv.Itoa(10<<20 + 1)}, lz4, sls.CodePostBodyTooLarge},
		"unknown compression":  {map[string]string{"x-log-compresstype": "brotli"}, lz4, sls.CodeInvalidCompressType},
		"not compressed so":    {map[string]string{"x-log-compresstype": "zstd"}, lz4, sls.CodePostBodyUncompressError},
		"unknown mode":         {map[string]string{"x-log-mode": "stream"}, lz4, sls.CodeParameterInvalid},
		"no package list":      {map[string]string{"x-log-mode": "batch_group"}, lz4, sls.CodePostBodyInvalid},
		"no log group":         {map[string]string{"x-log-compresstype": "", "x-log-bodyrawsize": "5"}, []byte("hello"), sls.CodePostBodyInvalid},
		"cut log group":        {map[string]string{"x-log-compresstype": "", "x-log-bodyrawsize": strconv.Itoa(len(raw) - 3)}, raw[:len(raw)-3], sls.CodePostBodyInvalid},
		"too many logs":        {map[string]string{"x-log-bodyrawsize": strconv.Itoa(len(tooMany))}, pack(t, tooMany, sls.CompressLZ4), sls.CodePostBodyTooLarge},
		"empty but announced":  {map[string]string{"x-log-bodyrawsize": "5"}, nil, sls.CodePostBodyUncompressError},
	} {
		t.Run(name, func(t *testing.T) {
			head := make(map[string]string)
			for k, v := range good {
				head[k] = v
			}
			for k, v := range c.head {
				head[k] = v
			}
			r := u.do("POST", "proj", "/logstores/store", head, c.body)
			if r.code() != c.code {
				t.Errorf("got %d %s (%s), want %s", r.status, r.code(), r.message(), c.code)
			}
		})
	}
	for _, target := range []string{"/logstores/store/shards/route", "/logstores/store/shards/route?key=12", "/logstores/store/shards/route?key=" + strings.Repeat("x", 32)} {
		if r := u.put("proj", target, raw, sls.CompressLZ4); r.code() != sls.CodeParameterInvalid {
			t.Errorf("%s: got %d %s", target, r.status, r.body)
		}
	}
	if r := u.put("proj", "/logstores/none", raw, sls.CompressLZ4); r.code() != sls.CodeLogStoreNotExist || r.status != 404 {
		t.Errorf("got %d %s", r.status, r.body)
	}
	if values, _ := s.stored("proj", "store"); len(values) != 0 {
		t.Errorf("stored %d logs", len(values))
	}
}

// TestDecompressionBombStaysSmall: what is announced is within the limit, but
// decompresses to much more.
func TestDecompressionBombStaysSmall(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	bomb := make([]byte, 64<<20)
	for _, c := range []sls.CompressType{sls.CompressZstd, sls.CompressDeflate, sls.CompressLZ4} {
		packed := pack(t, bomb, c)
		head := map[string]string{"Content-Type": sls.ContentTypePB, "x-log-compresstype": c.String(), "x-log-bodyrawsize": "1000"}
		if r := u.do("POST", "proj", "/logstores/store", head, packed); r.code() != sls.CodePostBodyUncompressError {
			t.Errorf("%s: got %d %s", c, r.status, r.body)
		}
	}
}

func TestRouteByKeyAndRoundRobin(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 4)
	count := func() string {
		var n []string
		for i := range 4 {
			shard, err := s.log.Shard(shardlog.Key{Store: s.created[0].ID, Shard: i})
			must(t, err)
			_, next := shard.Bounds()
			n = append(n, fmt.Sprint(next-1))
		}
		return strings.Join(n, " ")
	}
	for _, key := range []string{"00000000000000000000000000000000", "3fffffffffffffffffffffffffffffff", "40000000000000000000000000000000", "BFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", "ffffffffffffffffffffffffffffffff"} {
		if r := u.put("proj", "/logstores/store/shards/route?key="+key, group(1, "x"), sls.CompressLZ4); r.status != 200 {
			t.Errorf("%s: got %d %s", key, r.status, r.body)
		}
	}
	if got := count(); got != "2 1 1 1" {
		t.Errorf("by key: %s", got)
	}
	for range 8 {
		u.put("proj", "/logstores/store/shards/lb", group(1, "x"), sls.CompressLZ4)
	}
	if got := count(); got != "4 3 3 3" {
		t.Errorf("in turn: %s", got)
	}
}

// TestEmptyLogGroupIsTakenAndForgotten: agents may send groups without logs.
func TestEmptyLogGroupIsTakenAndForgotten(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	for _, raw := range [][]byte{nil, sls.AppendTopic(nil, "only a topic")} {
		head := map[string]string{"Content-Type": sls.ContentTypePB, "x-log-bodyrawsize": strconv.Itoa(len(raw))}
		if r := u.do("POST", "proj", "/logstores/store", head, raw); r.status != 200 {
			t.Errorf("got %d %s", r.status, r.body)
		}
	}
	shard, err := s.log.Shard(shardlog.Key{Store: s.created[0].ID})
	must(t, err)
	if _, next := shard.Bounds(); next != 1 {
		t.Errorf("%d records were stored", next-1)
	}
}

func TestFullDiskIsRetryableAndHeals(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	s.log.Fail(fmt.Errorf("write segment: %w", shardlog.ErrNoSpace))
	r := u.put("proj", "/logstores/store", group(1, "x"), sls.CompressLZ4)
	if r.status != 503 || r.code() != sls.CodeServerBusy || !strings.Contains(r.message(), "disk of the log service is full") {
		t.Errorf("got %d %s", r.status, r.body)
	}
	body := rangePackage(t, lane(1), 1, 0, 10, 0, "x")
	if r := u.putList("proj", body); r.status != 503 || r.code() != sls.CodeServerBusy {
		t.Errorf("with a range: got %d %s", r.status, r.body)
	}
	s.log.Fail(errors.New("broken"))
	if r := u.put("proj", "/logstores/store", group(1, "x"), sls.CompressLZ4); r.status != 500 || r.code() != sls.CodeInternalServerError {
		t.Errorf("got %d %s", r.status, r.body)
	}
	s.log.Fail(nil)
	if r := u.put("proj", "/logstores/store", group(1, "healed"), sls.CompressLZ4); r.status != 200 {
		t.Errorf("got %d %s", r.status, r.body)
	}
	if values, _ := s.stored("proj", "store"); len(values) != 1 || values[0] != "healed" {
		t.Errorf("stored %v", values)
	}
}

func TestAppendMetaAddsTags(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	if r := u.do("PUT", "proj", "/logstores/store", nil, []byte(`{"appendMeta":true}`)); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	for _, c := range []sls.CompressType{sls.CompressNone, sls.CompressLZ4, sls.CompressZstd} {
		if r := u.put("proj", "/logstores/store", group(1, "x"), c); r.status != 200 {
			t.Errorf("got %d %s", r.status, r.body)
		}
	}
	values, tags := s.stored("proj", "store")
	if len(values) != 3 || tags["__client_ip__"] != "127.0.0.1" || tags["__receive_time__"] != fmt.Sprint(s.clock.now().Unix()) {
		t.Errorf("got %v with %v", values, tags)
	}
}

// TestSequenceNumbersOfStockAgents: per key, what is not above the last number
// was sent before.
func TestSequenceNumbersOfStockAgents(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 2)
	key := strings.Repeat("1", 32)
	for _, c := range []struct{ key, seq, code string }{
		{key, "1", ""},
		{key, "1", sls.CodeInvalidSequenceID},
		{key, "2", ""},
		{key, "7", ""}, // the agent may have given up some
		{key, "6", sls.CodeInvalidSequenceID},
		{key, "7", sls.CodeInvalidSequenceID},
		{strings.Repeat("2", 32), "1", ""},
		{key, "8", ""},
		{key, "0", sls.CodeParameterInvalid},
		{key, "x", sls.CodeParameterInvalid},
	} {
		r := u.put("proj", "/logstores/store/shards/route?key="+c.key+"&seqid="+c.seq, group(1, "a "+c.seq, "b "+c.seq), sls.CompressLZ4)
		if r.code() != c.code {
			t.Errorf("key %s seqid %s: got %d %s (%s), want %q", c.key, c.seq, r.status, r.code(), r.message(), c.code)
		}
	}
	if values, _ := s.stored("proj", "store"); strings.Join(values, ",") != "a 1,b 1,a 2,b 2,a 7,b 7,a 1,b 1,a 8,b 8" {
		t.Errorf("stored %v", values)
	}
}

func lane(n byte) delivery.LaneID { return delivery.LaneID(md5.Sum([]byte{n})) }

// rangePackage encodes a package whose logs divide the range evenly.
func rangePackage(t *testing.T, id delivery.LaneID, session, start, end uint64, flags delivery.Flags, values ...string) []byte {
	t.Helper()
	p := sls.Package{Compress: sls.CompressLZ4, Range: &delivery.Range{Lane: id, Session: session, Start: start, End: end, Flags: flags}}
	if len(values) > 0 {
		raw := group(100, values...)
		p.Data, p.RawSize = pack(t, raw, sls.CompressLZ4), len(raw)
		for range values {
			p.Range.Ends = binary.AppendUvarint(p.Range.Ends, (end-start)/uint64(len(values)))
		}
	}
	return sls.AppendPackage(nil, &p)
}

func (u *user) putList(project string, body []byte) reply {
	u.s.t.Helper()
	return u.do(http.MethodPost, project, "/logstores/store/shards/lb",
		map[string]string{"Content-Type": sls.ContentTypePB, "x-log-mode": "batch_group", "x-log-compresstype": "lz4"}, body)
}

func TestRangesAreDecidedOneByOne(t *testing.T) {
	s := newService(t)
	u, ctx := s.withStore("proj", "store", 8), context.Background()
	resumed, speaks, err := u.Resume(ctx, "proj", "store", sls.ResumeRequest{Lanes: []string{lane(1).String(), lane(2).String(), lane(3).String()}})
	must(t, err)
	if !speaks || resumed.Session == 0 || len(resumed.Lanes) != 3 || resumed.Lanes[0].Known {
		t.Fatalf("got %+v", resumed)
	}
	session := resumed.Session
	body := rangePackage(t, lane(1), session, 0, 20, 0, "a1", "a2")
	body = append(body, rangePackage(t, lane(1), session, 20, 40, 0, "a3", "a4")...)
	body = append(body, rangePackage(t, lane(2), session, 5, 10, 0, "never")...)                 // unknown: starts above 0
	body = append(body, rangePackage(t, lane(3), session, 0, 30, delivery.Empty)...)             // filtered
	body = append(body, rangePackage(t, lane(3), session, 30, 60, 0, "c1", "c2", "c3")...)       //
	body = append(body, rangePackage(t, lane(1), session, 10, 50, 0, "a2", "a3", "a4", "a5")...) // overlaps: a5 is new
	body = append(body, rangePackage(t, lane(1), session, 60, 70, 0, "never")...)                // a hole
	body = append(body, rangePackage(t, lane(1), session, 20, 40, 0, "a3", "a4")...)             // sent before
	body = append(body, rangePackage(t, lane(1), session-1, 50, 60, 0, "never")...)              // an older session
	got, err := u.PutPackages(ctx, "proj", "store", body)
	must(t, err)
	if got == nil {
		t.Fatal("the reply tells nothing of the ranges")
	}
	var actions []string
	for _, r := range got.Results {
		actions = append(actions, r.Action)
	}
	if want := "append append unknown append append trim hole duplicate fenced"; strings.Join(actions, " ") != want {
		t.Errorf("got  %v\nwant %s", actions, want)
	}
	if p := got.Results[6].Progress; p == nil || !p.Known || p.End != 50 {
		t.Errorf("the hole comes with %+v, want the end 50", p)
	}
	if p := got.Results[2].Progress; p != nil {
		t.Errorf("an unknown lane comes with %+v", p)
	}
	if p := got.Results[0].Progress; p != nil {
		t.Errorf("an accepted range comes with %+v", p)
	}
	values, _ := s.stored("proj", "store")
	counts := make(map[string]int)
	for _, v := range values {
		counts[v]++
	}
	if len(values) != 8 || len(counts) != 8 || counts["never"] != 0 || counts["a5"] != 1 || counts["c3"] != 1 {
		t.Errorf("stored %v", values)
	}

	again, _, err := u.Resume(ctx, "proj", "store", sls.ResumeRequest{Lanes: []string{lane(3).String(), lane(2).String(), lane(1).String()}})
	must(t, err)
	if again.Session <= session {
		t.Errorf("session %d is not above %d", again.Session, session)
	}
	if l := again.Lanes; !l[0].Known || l[0].End != 60 || l[1].Known || !l[2].Known || l[2].End != 50 {
		t.Errorf("got %+v", again.Lanes)
	}
	// From now on the older session is fenced.
	reply, err := u.PutPackages(ctx, "proj", "store", rangePackage(t, lane(1), session, 50, 60, 0, "never"))
	must(t, err)
	if reply.Results[0].Action != "fenced" {
		t.Errorf("got %+v", reply.Results[0])
	}
}

// TestBadPackageAmongRangesFailsAlone, and what follows it in its lane is a hole.
func TestBadPackageAmongRangesFailsAlone(t *testing.T) {
	s := newService(t)
	u, ctx := s.withStore("proj", "store", 2), context.Background()
	list := func(p *sls.Package) []byte { return sls.AppendPackage(nil, p) }
	raw := group(100, "x", "y")
	bad := map[string]*sls.Package{
		sls.CodePostBodyUncompressError: {Data: []byte("bad"), RawSize: 100, Compress: sls.CompressLZ4, Range: &delivery.Range{Lane: lane(1), Session: 1, End: 10, Ends: []byte{5, 5}}},
		sls.CodePostBodyInvalid:         {Data: raw, RawSize: len(raw), Range: &delivery.Range{Lane: lane(1), Session: 1, End: 10, Ends: []byte{5}}},
	}
	for code, p := range bad {
		body := append(list(p), rangePackage(t, lane(1), 1, 10, 20, 0, "behind")...)
		body = append(body, rangePackage(t, lane(2), 1, 0, 10, 0, "good")...)
		reply, err := u.PutPackages(ctx, "proj", "store", body)
		must(t, err)
		r := reply.Results
		if r[0].Action != sls.ActionError || r[0].Code != code || r[0].Message == "" || r[1].Action != "unknown" || r[2].Action != "append" && r[2].Action != "duplicate" {
			t.Errorf("%s: got %+v", code, r)
		}
	}
	for name, r := range map[string]delivery.Range{
		"ends beyond the range": {End: 10, Ends: []byte{5, 6}},
		"too many ends":         {End: 10, Ends: []byte{1, 1, 1}},
		"cut end":               {End: 10, Ends: []byte{1, 0x80}},
		"no ends":               {End: 10},
	} {
		r.Lane, r.Session = lane(3), 1
		reply, err := u.PutPackages(ctx, "proj", "store", list(&sls.Package{Data: raw, RawSize: len(raw), Range: &r}))
		must(t, err)
		if reply.Results[0].Code != sls.CodePostBodyInvalid {
			t.Errorf("%s: got %+v", name, reply.Results[0])
		}
	}
	// An empty range must not tell of logs.
	reply, err := u.PutPackages(ctx, "proj", "store", list(&sls.Package{Range: &delivery.Range{Lane: lane(3), Session: 1, End: 10, Ends: []byte{1}, Flags: delivery.Empty}}))
	must(t, err)
	if reply.Results[0].Code != sls.CodePostBodyInvalid {
		t.Errorf("got %+v", reply.Results[0])
	}
}

func TestResumeRefusesWhatIsWrong(t *testing.T) {
	s := newService(t)
	u := s.withStore("proj", "store", 1)
	many := `"` + lane(1).String() + `"` + strings.Repeat(`,"`+lane(1).String()+`"`, sls.MaxResumeLanes)
	for _, c := range []struct{ target, body, code string }{
		{"/logstores/store/lanes", `{"session":"0","lanes":["xyz"]}`, sls.CodeParameterInvalid},
		{"/logstores/store/lanes", `{"session":"0","lanes":[` + many + `]}`, sls.CodeParameterInvalid},
		{"/logstores/store/lanes", `{"session":"-1","lanes":[]}`, sls.CodePostBodyInvalid},
		{"/logstores/store/lanes", `nonsense`, sls.CodePostBodyInvalid},
		{"/logstores/none/lanes", `{"session":"0","lanes":[]}`, sls.CodeLogStoreNotExist},
	} {
		if r := u.do("POST", "proj", c.target, nil, []byte(c.body)); r.code() != c.code {
			t.Errorf("%.60s: got %d %s", c.body, r.status, r.body)
		}
	}
}

// TestPanicIsAnAnswer: a request that trips over a bug gets an answer, and the
// service goes on.
func TestPanicIsAnAnswer(t *testing.T) {
	s := newService(t, func(c *api.Config) { c.Log = panickyLog{c.Log} })
	u := s.withStore("proj", "store", 1)
	for range 20 { // more often than there is scratch
		r := u.put("proj", "/logstores/store", group(1, "x"), sls.CompressLZ4)
		if r.status != 500 || r.code() != sls.CodeInternalServerError || r.head.Get("x-log-requestid") == "" || bytes.Contains(r.body, []byte("boom")) {
			t.Fatalf("got %d %s", r.status, r.body)
		}
	}
}

type panickyLog struct{ shardlog.Log }

func (panickyLog) Shard(shardlog.Key) (shardlog.Shard, error) { panic("boom") }
