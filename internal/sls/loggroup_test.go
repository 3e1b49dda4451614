package sls

import (
	"bytes"
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// wantCode fails the test unless err is an *Error with the code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	e, ok := AsError(err)
	if !ok {
		t.Fatalf("got the error %v, want one with the code %s", err, code)
	}
	if e.Code != code {
		t.Fatalf("got the code %s (%v), want %s", e.Code, err, code)
	}
}

// content makes a Content of texts.
func content(key, value string) Content { return Content{[]byte(key), []byte(value)} }

// pb builds a message from fields, for comparison with the encoder.
type pb []byte

func (m pb) varint(num protowire.Number, v uint64) pb {
	return protowire.AppendVarint(protowire.AppendTag(m, num, protowire.VarintType), v)
}

func (m pb) bytes(num protowire.Number, v []byte) pb {
	return protowire.AppendBytes(protowire.AppendTag(m, num, protowire.BytesType), v)
}

func (m pb) fixed32(num protowire.Number, v uint32) pb {
	return protowire.AppendFixed32(protowire.AppendTag(m, num, protowire.Fixed32Type), v)
}

func (m pb) fixed64(num protowire.Number, v uint64) pb {
	return protowire.AppendFixed64(protowire.AppendTag(m, num, protowire.Fixed64Type), v)
}

func pair(key, value []byte) pb { return pb{}.bytes(1, key).bytes(2, value) }

// oracleGroup encodes a group with protowire, in the order of the stock
// marshaller.
func oracleGroup(g *LogGroup) pb {
	var m pb
	for _, l := range g.Logs {
		lm := pb{}.varint(1, uint64(l.Sec))
		for _, c := range l.Contents {
			lm = lm.bytes(2, pair(c.Key, c.Value))
		}
		if l.Nsec >= 0 {
			lm = lm.fixed32(4, uint32(l.Nsec))
		}
		m = m.bytes(1, lm)
	}
	for i, v := range []string{g.Category, g.Topic, g.Source, g.MachineUUID} {
		if v != "" {
			m = m.bytes(protowire.Number(2+i), []byte(v))
		}
	}
	for _, t := range g.Tags {
		m = m.bytes(6, pair([]byte(t.Key), []byte(t.Value)))
	}
	return m
}

// oracleFields takes a message apart with protowire.
func oracleFields(b []byte, f func(num protowire.Number, typ protowire.Type, v []byte, n uint64) bool) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		m := protowire.ConsumeFieldValue(num, typ, b)
		if m < 0 {
			return false
		}
		var v []byte
		var x uint64
		switch typ {
		case protowire.BytesType:
			v, _ = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			x, _ = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			y, _ := protowire.ConsumeFixed32(b)
			x = uint64(y)
		case protowire.Fixed64Type:
			x, _ = protowire.ConsumeFixed64(b)
		}
		if !f(num, typ, v, x) {
			return false
		}
		b = b[m:]
	}
	return true
}

func oraclePair(b []byte) (key, value []byte, ok bool) {
	var k, v bool
	ok = oracleFields(b, func(num protowire.Number, typ protowire.Type, x []byte, _ uint64) bool {
		switch num {
		case 1:
			key, k = x, true
			return typ == protowire.BytesType
		case 2:
			value, v = x, true
			return typ == protowire.BytesType
		}
		return true
	})
	return key, value, ok && k && v
}

// oracleDecode reads a group with protowire, without limits.
func oracleDecode(b []byte) (g LogGroup, ok bool) {
	ok = oracleFields(b, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) bool {
		if num <= 6 && typ != protowire.BytesType {
			return false
		}
		switch num {
		case 1:
			l := Log{Nsec: -1}
			timed := false
			ok := oracleFields(v, func(num protowire.Number, typ protowire.Type, v []byte, n uint64) bool {
				switch num {
				case 1:
					l.Sec, timed = uint32(n), true
					return typ == protowire.VarintType
				case 2:
					key, value, ok := oraclePair(v)
					l.Contents = append(l.Contents, Content{key, value})
					return ok && typ == protowire.BytesType
				case 4:
					l.Nsec = -1
					if n < 1e9 {
						l.Nsec = int32(n)
					}
					return typ == protowire.Fixed32Type
				}
				return true
			})
			g.Logs = append(g.Logs, l)
			return ok && timed
		case 2:
			g.Category = string(v)
		case 3:
			g.Topic = string(v)
		case 4:
			g.Source = string(v)
		case 5:
			g.MachineUUID = string(v)
		case 6:
			key, value, ok := oraclePair(v)
			g.Tags = append(g.Tags, Tag{string(key), string(value)})
			return ok
		}
		return true
	})
	return g, ok
}

// sameGroup compares what the wire knows of two groups.
func sameGroup(a, b *LogGroup) bool {
	if len(a.Logs) != len(b.Logs) || len(a.Tags) != len(b.Tags) {
		return false
	}
	for i := range a.Logs {
		x, y := &a.Logs[i], &b.Logs[i]
		if x.Sec != y.Sec || x.Nsec != y.Nsec || len(x.Contents) != len(y.Contents) {
			return false
		}
		for j := range x.Contents {
			if !bytes.Equal(x.Contents[j].Key, y.Contents[j].Key) || !bytes.Equal(x.Contents[j].Value, y.Contents[j].Value) {
				return false
			}
		}
	}
	for i := range a.Tags {
		if a.Tags[i] != b.Tags[i] {
			return false
		}
	}
	return a.Topic == b.Topic && a.Source == b.Source && a.MachineUUID == b.MachineUUID && a.Category == b.Category
}

// sampleGroups are groups of every shape.
func sampleGroups() map[string]LogGroup {
	long := strings.Repeat("v", 20_000)
	return map[string]LogGroup{
		"empty":    {},
		"one log":  {Logs: []Log{{Sec: 1_700_000_000, Nsec: -1, Contents: []Content{content("content", "hello")}}}},
		"no field": {Logs: []Log{{Sec: 0, Nsec: -1}}},
		"nanoseconds": {Logs: []Log{
			{Sec: 1, Nsec: 0, Contents: []Content{content("a", "b")}},
			{Sec: 2, Nsec: 999_999_999, Contents: []Content{content("a", "b")}},
		}},
		"repeated and empty keys": {Logs: []Log{{Sec: 4_294_967_295, Nsec: -1, Contents: []Content{
			content("k", "1"), content("k", "2"), content("", ""), content("empty", ""),
		}}}},
		"not text": {Logs: []Log{{Sec: 5, Nsec: -1, Contents: []Content{content("\xff\x00", "\x80\x80\n")}}}},
		"lengths of one, two and three bytes": {Logs: []Log{{Sec: 5, Nsec: -1, Contents: []Content{
			content(long[:127], long[:128]), content(long[:16_383], long[:16_384]), content("k", long),
		}}}},
		"everything": {
			Logs: []Log{
				{Sec: 1_700_000_000, Nsec: 5, Contents: []Content{content("method", "GET"), content("status", "200")}},
				{Sec: 1_700_000_001, Nsec: -1, Contents: []Content{content("method", "PUT")}},
			},
			Topic: "nginx", Source: "10.0.0.1", MachineUUID: "0A1B", Category: "old",
			Tags: []Tag{{"__hostname__", "web-1"}, {"__path__", "/var/log/nginx/access.log"}, {"empty", ""}},
		},
	}
}

func TestLogGroupEncodesAsProtobuf(t *testing.T) {
	for name, g := range sampleGroups() {
		t.Run(name, func(t *testing.T) {
			got := g.AppendTo([]byte("before"))
			if want := append([]byte("before"), oracleGroup(&g)...); !bytes.Equal(got, want) {
				t.Fatalf("encoded\n%x\nwant\n%x", got, want)
			}
		})
	}
}

func TestLogGroupComesBack(t *testing.T) {
	var reused LogGroup
	for name, g := range sampleGroups() {
		t.Run(name, func(t *testing.T) {
			if err := reused.Decode(g.AppendTo(nil), DefaultLimits); err != nil {
				t.Fatal(err)
			}
			if !sameGroup(&reused, &g) {
				t.Fatalf("came back as %+v", reused)
			}
		})
	}
}

func TestDecodeTakesPartsInAnyOrderAndSkipsTheUnknown(t *testing.T) {
	lg := pb{}.bytes(2, pair([]byte("k"), []byte("v"))).fixed32(4, 7).bytes(3, []byte("values")).fixed64(77, 1).varint(1, 9)
	m := pb{}.bytes(6, pair([]byte("t"), []byte("1"))).bytes(3, []byte("first")).bytes(1, lg).
		varint(100, 5).fixed32(101, 5).fixed64(102, 5).bytes(103, []byte("?")).bytes(3, []byte("last"))
	m = protowire.AppendTag(m, 104, protowire.StartGroupType)
	m = protowire.AppendTag(m.varint(1, 1), 104, protowire.EndGroupType)
	var g LogGroup
	if err := g.Decode(m, DefaultLimits); err != nil {
		t.Fatal(err)
	}
	want := LogGroup{Logs: []Log{{Sec: 9, Nsec: 7, Contents: []Content{content("k", "v")}}}, Topic: "last", Tags: []Tag{{"t", "1"}}}
	if !sameGroup(&g, &want) {
		t.Fatalf("got %+v", g)
	}
}

func TestDecodeIgnoresNanosecondsThatAreNone(t *testing.T) {
	var g LogGroup
	if err := g.Decode(pb{}.bytes(1, pb{}.varint(1, 9).fixed32(4, 1_000_000_000)), DefaultLimits); err != nil {
		t.Fatal(err)
	}
	if g.Logs[0].Nsec != -1 {
		t.Fatalf("Nsec is %d, want -1", g.Logs[0].Nsec)
	}
}

func TestDecodeRefusesWhatIsNoLogGroup(t *testing.T) {
	good := LogGroup{Logs: []Log{{Sec: 1, Nsec: 3, Contents: []Content{content("key", "value")}}}, Topic: "t", Tags: []Tag{{"a", "b"}}}
	b := good.AppendTo(nil)
	cases := map[string][]byte{
		"text":                     []byte("hello, world"),
		"field number zero":        {0x02, 0x00},
		"log as number":            pb{}.varint(1, 3),
		"topic as number":          pb{}.varint(3, 3),
		"tag as number":            pb{}.varint(6, 3),
		"log without time":         pb{}.bytes(1, pb{}.bytes(2, pair([]byte("k"), []byte("v")))),
		"time as bytes":            pb{}.bytes(1, pb{}.bytes(1, []byte("9"))),
		"nanoseconds as number":    pb{}.bytes(1, pb{}.varint(1, 9).varint(4, 9)),
		"content as number":        pb{}.bytes(1, pb{}.varint(1, 9).varint(2, 9)),
		"content without key":      pb{}.bytes(1, pb{}.varint(1, 9).bytes(2, pb{}.bytes(2, []byte("v")))),
		"content without value":    pb{}.bytes(1, pb{}.varint(1, 9).bytes(2, pb{}.bytes(1, []byte("k")))),
		"tag without value":        pb{}.bytes(6, pb{}.bytes(1, []byte("k"))),
		"key as number":            pb{}.bytes(1, pb{}.varint(1, 9).bytes(2, pb{}.varint(1, 9))),
		"length beyond the end":    {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"length beyond any number": append([]byte{0x0a}, bytes.Repeat([]byte{0xff}, 12)...),
		"end of no group":          protowire.AppendTag(nil, 50, protowire.EndGroupType),
	}
	for n := 1; n < len(b); n++ {
		if _, ok := oracleDecode(b[:n]); !ok {
			cases[fmt.Sprintf("cut at %d", n)] = b[:n]
		}
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			var g LogGroup
			wantCode(t, g.Decode(b, DefaultLimits), CodePostBodyInvalid)
		})
	}
}

func TestDecodeKeepsToItsLimits(t *testing.T) {
	g := LogGroup{
		Logs: []Log{
			{Sec: 1, Nsec: -1, Contents: []Content{content("key", "value"), content("k", "v")}},
			{Sec: 1, Nsec: -1, Contents: []Content{content("k", "v")}},
		},
		Topic: "topic", Tags: []Tag{{"tag", "value"}, {"t", "v"}},
	}
	b := g.AppendTo(nil)
	exact := Limits{MaxRaw: len(b), MaxLogs: 2, MaxContents: 2, MaxFields: 3, MaxTags: 2, MaxKey: 3, MaxValue: 5}
	var got LogGroup
	if err := got.Decode(b, exact); err != nil || !sameGroup(&got, &g) {
		t.Fatalf("a group that just fits: %v, %+v", err, got)
	}
	for _, name := range []string{"MaxRaw", "MaxLogs", "MaxContents", "MaxFields", "MaxTags", "MaxKey", "MaxValue"} {
		t.Run(name, func(t *testing.T) {
			lim := exact
			f := reflect.ValueOf(&lim).Elem().FieldByName(name)
			f.SetInt(f.Int() - 1)
			var got LogGroup
			wantCode(t, got.Decode(b, lim), CodePostBodyTooLarge)
		})
	}
	for name, g := range map[string]LogGroup{
		"tag key":   {Tags: []Tag{{"long", "v"}}},
		"tag value": {Tags: []Tag{{"k", "longer"}}},
		"source":    {Source: "longer"},
		"machine":   {MachineUUID: "longer"},
		"category":  {Category: "longer"},
	} {
		t.Run(name, func(t *testing.T) {
			lim := exact
			lim.MaxRaw = 100
			var got LogGroup
			wantCode(t, got.Decode(g.AppendTo(nil), lim), CodePostBodyTooLarge)
		})
	}
}

func TestLogGroupListComesBack(t *testing.T) {
	var list []byte
	var want []LogGroup
	for _, g := range sampleGroups() {
		list = AppendLogGroupListEntry(list, g.AppendTo(nil))
		want = append(want, g)
	}
	got, err := DecodeLogGroupList(pb(list).varint(9, 1), DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d groups, want %d", len(got), len(want))
	}
	for i := range want {
		if !sameGroup(&got[i], &want[i]) {
			t.Fatalf("group %d came back as %+v", i, got[i])
		}
	}
	lim := DefaultLimits
	lim.MaxGroups = len(want) - 1
	_, err = DecodeLogGroupList(list, lim)
	wantCode(t, err, CodePostBodyTooLarge)
	_, err = DecodeLogGroupList(list[:len(list)-1], DefaultLimits)
	wantCode(t, err, CodePostBodyInvalid)
	_, err = DecodeLogGroupList(pb{}.varint(1, 1), DefaultLimits)
	wantCode(t, err, CodePostBodyInvalid)
	_, err = DecodeLogGroupList(pb{}.bytes(1, []byte{0xff}), DefaultLimits)
	wantCode(t, err, CodePostBodyInvalid)
	_, err = DecodeLogGroupList([]byte{0x18}, DefaultLimits)
	wantCode(t, err, CodePostBodyInvalid)
}

// benchContents are the fields of the i-th line of an access log.
func benchContents(i int) []Content {
	r := rand.New(rand.NewSource(int64(i)))
	return []Content{
		content("remote_addr", fmt.Sprintf("10.%d.%d.%d", r.Intn(4), r.Intn(256), r.Intn(256))), content("remote_user", "-"),
		content("time_local", fmt.Sprintf("21/Nov/2026:10:%02d:%02d +0000", i/60%60, i%60)), content("method", "GET"),
		content("path", fmt.Sprintf("/api/v1/items/%d?page=%d", r.Intn(5000), r.Intn(20))),
		content("status", "200"), content("bytes", fmt.Sprint(r.Intn(60_000))),
		content("referer", "https://shop.example.com/list?sort=price"),
		content("user_agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"),
		content("request_time", fmt.Sprintf("%.3f", r.Float64())), content("request_id", fmt.Sprintf("%016x", r.Uint64())),
	}
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	contents := benchContents(0)
	buf := make([]byte, 0, 64<<10)
	if n := testing.AllocsPerRun(100, func() {
		b := buf
		b = AppendLog(b, 1_700_000_000, -1, contents)
		b = AppendLog(b, 1_700_000_000, 5, contents)
		b = AppendTopic(b, "topic")
		b = AppendSource(b, "10.0.0.1")
		b = AppendMachineUUID(b, "uuid")
		AppendTag(b, "__path__", "/var/log/access.log")
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestDecodingIntoAUsedGroupDoesNotAllocate(t *testing.T) {
	b := benchGroup()
	var g LogGroup
	if n := testing.AllocsPerRun(100, func() {
		if err := g.Decode(b, DefaultLimits); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func benchGroup() []byte {
	var b []byte
	for i := range 1500 {
		b = AppendLog(b, 1_700_000_000, -1, benchContents(i))
	}
	b = AppendTopic(b, "nginx")
	return AppendTag(b, "__path__", "/var/log/nginx/access.log")
}

func FuzzLogGroupDecode(f *testing.F) {
	for _, g := range sampleGroups() {
		f.Add(g.AppendTo(nil))
	}
	f.Add([]byte{0x0a, 0x02, 0x08, 0x01, 0x83, 0x06, 0x84, 0x06})
	var reused LogGroup
	f.Fuzz(func(t *testing.T, b []byte) {
		want, ok := oracleDecode(b)
		err := reused.Decode(b, DefaultLimits)
		if err == nil != ok {
			if e, is := AsError(err); is && e.Code == CodePostBodyTooLarge {
				return
			}
			t.Fatalf("decoded with %v, while the reference says %v", err, ok)
		}
		if err != nil {
			return
		}
		if !sameGroup(&reused, &want) {
			t.Fatalf("decoded %+v, the reference %+v", reused, want)
		}
		var again LogGroup
		if err := again.Decode(reused.AppendTo(nil), DefaultLimits); err != nil || !sameGroup(&again, &want) {
			t.Fatalf("encoded again and decoded: %v, %+v", err, again)
		}
		if _, err := DecodeLogGroupList(AppendLogGroupListEntry(nil, b), DefaultLimits); err != nil {
			t.Fatalf("in a list: %v", err)
		}
	})
}

func BenchmarkAppendLog(b *testing.B) {
	for _, bc := range []struct {
		name     string
		contents []Content
	}{
		{"1 field", []Content{{[]byte("content"), bytes.Repeat([]byte("x"), 288)}}},
		{"11 fields", benchContents(0)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			buf := make([]byte, 0, 1<<20)
			size := len(AppendLog(nil, 1_700_000_000, -1, bc.contents))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if len(buf)+size > cap(buf) {
					buf = buf[:0]
				}
				buf = AppendLog(buf, 1_700_000_000, -1, bc.contents)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	data := benchGroup()
	var g LogGroup
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Decode(data, DefaultLimits); err != nil {
			b.Fatal(err)
		}
	}
}
