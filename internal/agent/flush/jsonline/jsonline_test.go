package jsonline

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"logtail/internal/sls"
)

func content(key, value string) sls.Content {
	return sls.Content{Key: []byte(key), Value: []byte(value)}
}

func encode(t testing.TB, g *sls.LogGroup) string {
	t.Helper()
	var e Encoder
	b, err := e.Append([]byte("before\n"), g.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	rest, ok := strings.CutPrefix(string(b), "before\n")
	if !ok {
		t.Fatalf("what was there before is gone: %q", b)
	}
	return rest
}

func TestLines(t *testing.T) {
	for name, c := range map[string]struct {
		group sls.LogGroup
		want  string
	}{
		"no logs": {sls.LogGroup{Topic: "t"}, ""},
		"everything, in order": {
			sls.LogGroup{
				Topic: "top", Source: "10.0.0.1", Tags: []sls.Tag{{Key: "__path__", Value: "/a"}, {Key: "x", Value: ""}},
				Logs: []sls.Log{
					{Sec: 1700000000, Nsec: 5, Contents: []sls.Content{content("b", "1"), content("a", "2"), content("b", "3")}},
					{Sec: 0, Nsec: -1},
				},
			},
			`{"__time__":1700000000,"__time_ns_part__":5,"__topic__":"top","__source__":"10.0.0.1","__tag__:__path__":"/a","__tag__:x":"","b":"1","a":"2","b":"3"}` + "\n" +
				`{"__time__":0,"__topic__":"top","__source__":"10.0.0.1","__tag__:__path__":"/a","__tag__:x":""}` + "\n",
		},
		"nothing but a log": {
			sls.LogGroup{Logs: []sls.Log{{Sec: 7, Nsec: -1, Contents: []sls.Content{content("content", "hello")}}}},
			`{"__time__":7,"content":"hello"}` + "\n",
		},
		"escapes": {
			sls.LogGroup{Logs: []sls.Log{{Sec: 7, Nsec: 0, Contents: []sls.Content{content("q\"k\\", "a\nb\r\tc\x00\x1f\x7f/<é日😀\u2028")}}}},
			`{"__time__":7,"__time_ns_part__":0,"q\"k\\":"a\nb\r\tc\u0000\u001f` + "\x7f/<é日😀\u2028" + `"}` + "\n",
		},
		"not UTF-8": {
			sls.LogGroup{Logs: []sls.Log{{Sec: 7, Nsec: -1, Contents: []sls.Content{content("k", "a\xff\xc3(\xe6\x97b\xed\xa0\x80\ufffd\xf0\x9f\x98")}}}},
			`{"__time__":7,"k":"a` + "\ufffd\ufffd(\ufffd\ufffdb\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd" + `"}` + "\n",
		},
	} {
		if got := encode(t, &c.group); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}

func TestAGroupThatIsNoneChangesNothing(t *testing.T) {
	var e Encoder
	b, err := e.Append([]byte("before"), []byte{0x0a, 0xff})
	if _, isSLS := sls.AsError(err); !isSLS || string(b) != "before" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestEncoderIsReusedWithoutAllocation(t *testing.T) {
	group := (&sls.LogGroup{
		Topic: "t", Source: "s", Tags: []sls.Tag{{Key: "k", Value: "v"}},
		Logs: []sls.Log{{Sec: 1, Nsec: -1, Contents: []sls.Content{content("k", "v\n"), content("é", "\xff")}}},
	}).AppendTo(nil)
	var e Encoder
	dst, err := e.Append(nil, group)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { dst, _ = e.Append(dst[:0], group) }); n != 0 {
		t.Errorf("%v allocations per group", n)
	}
}

// Every line is JSON and says what went in, as encoding/json would.
func FuzzLine(f *testing.F) {
	f.Add("topic", "key", "value\n\x00\xff", uint32(1), int32(-1))
	f.Add("", "\"", "\\u0000", uint32(0xffffffff), int32(999_999_999))
	f.Fuzz(func(t *testing.T, tag, key, value string, sec uint32, nsec int32) {
		if nsec < -1 || nsec > 999_999_999 {
			return
		}
		if key == "" || strings.HasPrefix(key, "__t") {
			key = "k" + key
		}
		g := sls.LogGroup{Tags: []sls.Tag{{Key: "t", Value: tag}}, Logs: []sls.Log{{Sec: sec, Nsec: nsec, Contents: []sls.Content{content(key, value)}}}}
		line := encode(t, &g)
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Fatalf("not one line: %q", line)
		}
		var got, want map[string]any
		dec := json.NewDecoder(strings.NewReader(line))
		dec.UseNumber()
		if err := dec.Decode(&got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		in := map[string]any{"__time__": sec, "__tag__:t": tag, key: value}
		if nsec >= 0 {
			in["__time_ns_part__"] = nsec
		}
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		dec = json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		for k, v := range want {
			if got[k] != v {
				t.Fatalf("%q: got %q, want %q", k, got[k], v)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	var g sls.LogGroup
	line := strings.Repeat(`GET /index.html?id=42 HTTP/1.1" 200 `, 14)
	for range 1000 {
		g.Logs = append(g.Logs, sls.Log{Sec: 1700000000, Nsec: -1, Contents: []sls.Content{content("content", line)}})
	}
	group := g.AppendTo(nil)
	var e Encoder
	var dst []byte
	b.SetBytes(int64(len(group)))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = e.Append(dst[:0], group); err != nil {
			b.Fatal(err)
		}
	}
}
