package sls

import (
	"errors"
	"strings"
	"testing"
)

func TestPartOfALogGroupKeepsItsTags(t *testing.T) {
	g := LogGroup{Topic: "t", Source: "s", Tags: []Tag{{"k", "v"}}}
	for _, v := range []string{"a", "b", "c", "d"} {
		g.Logs = append(g.Logs, Log{Sec: 7, Nsec: -1, Contents: []Content{{[]byte("content"), []byte(v)}}})
	}
	raw := g.AppendTo(nil)
	for _, c := range []struct {
		from, to int
		want     string
	}{{0, 4, "abcd"}, {0, 1, "a"}, {1, 3, "bc"}, {3, 4, "d"}, {2, 2, ""}, {4, 4, ""}} {
		for _, typ := range []CompressType{CompressNone, CompressLZ4, CompressZstd, CompressDeflate} {
			var z Compressor
			data, err := z.Append(nil, raw, typ)
			if err != nil {
				t.Fatal(err)
			}
			part, err := CutLogs(&Package{Data: data, RawSize: len(raw), Compress: typ}, 4, c.from, c.to, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if len(part.Data) > 0 || part.RawSize != 0 {
					t.Errorf("%d to %d: got %d bytes", c.from, c.to, len(part.Data))
				}
				continue
			}
			b, err := Decompress(nil, part.Data, part.Compress, part.RawSize, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			var got LogGroup
			if err := got.Decode(b, DefaultLimits); err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, l := range got.Logs {
				text.Write(l.Contents[0].Value)
			}
			if text.String() != c.want || got.Topic != "t" || got.Source != "s" || len(got.Tags) != 1 || got.Logs[0].Sec != 7 {
				t.Errorf("%d to %d: got %q of %+v", c.from, c.to, text.String(), got)
			}
		}
	}
}

func TestPartOfALogGroupThatIsNotWhatItSaysIsRefused(t *testing.T) {
	g := LogGroup{Logs: []Log{{Sec: 1, Nsec: -1}, {Sec: 2, Nsec: -1}}}
	raw := g.AppendTo(nil)
	for name, c := range map[string]struct {
		p              Package
		logs, from, to int
	}{
		"another number of logs": {Package{Data: raw, RawSize: len(raw)}, 3, 1, 3},
		"a part behind its end":  {Package{Data: raw, RawSize: len(raw)}, 2, 1, 3},
		"another size":           {Package{Data: raw, RawSize: len(raw) + 1}, 2, 1, 2},
		"damaged":                {Package{Data: []byte("\xff\xff"), RawSize: 2}, 2, 1, 2},
		"too large":              {Package{Data: raw, RawSize: 1 << 30, Compress: CompressZstd}, 2, 1, 2},
	} {
		var e *Error
		if _, err := CutLogs(&c.p, c.logs, c.from, c.to, 1<<20); !errors.As(err, &e) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
