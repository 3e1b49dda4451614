package query

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"logtail/internal/sls"
)

func contents(kv ...string) []sls.Content {
	var c []sls.Content
	for i := 0; i < len(kv); i += 2 {
		c = append(c, sls.Content{Key: []byte(kv[i]), Value: []byte(kv[i+1])})
	}
	return c
}

func TestMatch(t *testing.T) {
	row := &Row{
		Topic: []byte("web"), Source: []byte("10.0.0.1"),
		Contents: contents("status", "404", "time", "0.25", "msg", "Disk full: /dev/sda1 is FULL", "empty", "",
			"dup", "one", "dup", "2", "用户", "登录 失败", "bin", "a\xff\xfe b", "neg", "-5", "big", "9223372036854775807"),
		Tags: contents("__tag__:__path__", "/var/log/x.log", "__tag__:pod", "web-1"),
	}
	for _, c := range []struct {
		query string
		want  bool
	}{
		{"*", true},
		{"not *", false},
		{"disk", true},
		{"DISK full", true},
		{"dis", false},
		{"dis*", true},
		{"isk*", false},
		{"404", true},
		{"web", true},
		{"10.0.0.1", true},
		{"10.0.*", true},
		{"x.log", true},
		{"web-1", true},
		{"status:404", true},
		{"status:40*", true},
		{"status:40", false},
		{"Status:404", false},
		{`msg:"full disk"`, true},
		{`#"full disk"`, false},
		{`#"disk full"`, true},
		{`msg:#"full dev sda1 is full"`, true},
		{`#"is full"`, true},
		{`#"full is"`, false},
		{`#"404 web"`, false}, // words of two values
		{`"404 web"`, true},
		{"msg:/dev/sda1", true},
		{"msg:/dev/sd*", true},
		{"msg:/dev/*", true},
		{"msg:/etc/sda1", false},
		{"empty:*", true},
		{`empty:""`, true},
		{"absent:*", false},
		{`absent:""`, false},
		{`msg:""`, false},
		{"not absent:x", true},
		{"dup:one", true},
		{"dup:2", true},
		{"dup>1", true},
		{"dup:1", false},
		{"status>403", true},
		{"status>404", false},
		{"status>=404", true},
		{"status<404", false},
		{"status<=404", true},
		{"status=404", true},
		{"status=404.0", true},
		{"status=405", false},
		{"status in [400 404]", true},
		{"status in [400 404)", false},
		{"status in (404 500]", false},
		{"status in [404 500]", true},
		{"time<0.3", true},
		{"time>=0.25", true},
		{"time in (0 0.25)", false},
		{"msg>0", false},
		{"absent>0", false},
		{"neg < 0", true},
		{"neg:-5", true},
		{"neg:5", false},
		{"big > 9223372036854775806", true},
		{"__topic__:web", true},
		{"__topic__:*", true},
		{"__source__:10.0.0.2", false},
		{"__source__:10.*", true},
		{"__tag__:__path__:/var/log/x.log", true},
		{"__tag__:__path__:/var/lib", false},
		{"__tag__:pod:*", true},
		{"登录", true},
		{"登", false},
		{"登*", true},
		{"用户:失败", true},
		{`#"登录 失败"`, true},
		{"status:404 and (msg:none or dup:one)", true},
		{"bin:b", true},
	} {
		e, err := Parse(c.query)
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		if got := Compile(e).Match(row); got != c.want {
			t.Errorf("%s: matches %v, want %v", c.query, got, c.want)
		}
	}
	bare := &Row{Contents: contents("a", "b")}
	for _, q := range []string{"__topic__:*", `__topic__:""`, "__source__:*"} {
		e, _ := Parse(q)
		if Compile(e).Match(bare) {
			t.Errorf("%s: matches a row without topic and source", q)
		}
	}
}

func TestPrefixAfterDelimiterAsksForTheWordBefore(t *testing.T) {
	m := Compile(Text{Key: "u", Kind: Prefix, Value: "/api/"})
	if !m.Match(&Row{Contents: contents("u", "/api")}) || m.Match(&Row{Contents: contents("u", "/apis")}) {
		t.Error("u:/api/* is to match the whole word api")
	}
}

func TestParseNumber(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string // "" = not a number
	}{
		{"0", "0"},
		{"-0", "0"},
		{"007", "7"},
		{"+5", "5"},
		{"-12", "-12"},
		{"1.50", "1.5"},
		{".5", "0.5"},
		{"5.", "5"},
		{"1e3", "1000"},
		{"1E-2", "0.01"},
		{"9223372036854775807", "9223372036854775807"},
		{"-9223372036854775808", "-9223372036854775808"},
		{"9223372036854775808", "9.223372036854775808e+18"},
		{"1e300", "1e+300"},
		{"", ""},
		{"-", ""},
		{".", ""},
		{"1e", ""},
		{"1e400", ""},
		{"0x1", ""},
		{"1_0", ""},
		{" 1", ""},
		{"1 ", ""},
		{"inf", ""},
		{"nan", ""},
		{"--1", ""},
		{"1.2.3", ""},
	} {
		n, ok := ParseNumber([]byte(c.in))
		if ok != (c.want != "") {
			t.Errorf("ParseNumber(%q): ok = %v", c.in, ok)
		} else if f, _ := strconv.ParseFloat(c.want, 64); ok && n.float() != f {
			t.Errorf("ParseNumber(%q) = %v, want %v", c.in, n, c.want)
		}
	}
}

func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"1", "-0", "1e5", "9223372036854775808", ".5", "00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, ok := ParseCanonicalInt(b); ok && strconv.FormatInt(v, 10) != string(b) {
			t.Fatalf("ParseCanonicalInt(%q) = %d", b, v)
		}
		n, ok := ParseNumber(b)
		want, err := strconv.ParseFloat(string(b), 64)
		if ok && (err != nil || n.float() != want) {
			t.Fatalf("ParseNumber(%q) = %v, want %v %v", b, n, want, err)
		}
		if ok {
			if m, ok := ParseNumber([]byte(n.String())); !ok || m != n {
				t.Fatalf("ParseNumber(%q) = %v, but its String gives %v", b, n, m)
			}
		}
	})
}

// TestIntsMatchAsTheirText checks the integer forms of a condition, which
// column engines use, against its form for text.
func TestIntsMatchAsTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.Int64Range(-12, 120)
		num := rapid.OneOf(
			rapid.Map(small, IntNumber),
			rapid.Map(rapid.Float64Range(-12, 12), func(f float64) Number { n, _ := ParseNumber([]byte(strconv.FormatFloat(f, 'g', -1, 64))); return n }),
		)
		text := rapid.Map(small, func(v int64) string { return strconv.FormatInt(v, 10) })
		e := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) Expr { return word("k", text.Draw(t, "word")) }),
			rapid.Custom(func(t *rapid.T) Expr { return prefix("k", text.Draw(t, "prefix")) }),
			rapid.Custom(func(t *rapid.T) Expr { return Compare{"k", Op(rapid.IntRange(0, 4).Draw(t, "op")), num.Draw(t, "n")} }),
			rapid.Custom(func(t *rapid.T) Expr {
				return Range{"k", num.Draw(t, "low"), num.Draw(t, "high"), rapid.Bool().Draw(t, "lo"), rapid.Bool().Draw(t, "ho")}
			}),
			rapid.Just(word("k", "")), rapid.Just(phrase("k", "1 2")), rapid.Just(Expr(Exists{"k"})),
		).Draw(t, "expr")
		l := Compile(e).Leaves[0]
		low, any := small.Draw(t, "low"), false
		high := low + rapid.Int64Range(0, 20).Draw(t, "width")
		for v := low; v <= high; v++ {
			want := l.Match([]byte(strconv.FormatInt(v, 10)))
			if got := l.MatchInt(v, make([]byte, 0, 24)); got != want {
				t.Fatalf("%v: MatchInt(%d) = %v, Match = %v", e, v, got, want)
			}
			any = any || want
		}
		if any && !l.MayMatchInts(low, high) {
			t.Fatalf("%v: pruned [%d, %d], which has a match", e, low, high)
		}
	})
}

// naiveTokens is another way to say what words are.
func naiveTokens(v []byte) [][]byte {
	var low []byte
	for _, c := range v {
		if 'A' <= c && c <= 'Z' {
			c += 32
		}
		low = append(low, c)
	}
	return bytes.FieldsFunc(bytes.ToValidUTF8(low, []byte("\x01")), func(r rune) bool { return r < 128 && IsDelimiter(byte(r)) })
}

func FuzzTokens(f *testing.F) {
	f.Add([]byte("a b/C"), []byte("c"))
	f.Add([]byte("x=EE e"), []byte("ee"))
	f.Add([]byte("\xff登 登录"), []byte("登"))
	f.Fuzz(func(t *testing.T, v, w []byte) {
		var got [][]byte
		for s, e := NextToken(v, 0); s >= 0; s, e = NextToken(v, e) {
			got = append(got, AppendLower(nil, v[s:e]))
		}
		if bytes.Equal(v, bytes.ToValidUTF8(v, nil)) {
			if want := naiveTokens(v); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("tokens of %q are %q, want %q", v, got, want)
			}
		}
		words := tokens(string(w))
		if len(words) == 0 {
			return
		}
		n := newNeedle(words[0])
		whole, begin := false, false
		for _, g := range got {
			whole = whole || bytes.Equal(g, words[0])
			begin = begin || bytes.HasPrefix(g, words[0])
		}
		if (n.index(v, 0, false) >= 0) != whole || (n.index(v, 0, true) >= 0) != begin {
			t.Fatalf("%q in %q: whole %v, beginning %v", words[0], v, whole, begin)
		}
		// A phrase of all words of w against the token lists.
		if len(words) > 1 {
			l := Compile(phrase("", string(w))).Leaves[0]
			want := false
			for i := 0; i+len(words) <= len(got) && !want; i++ {
				want = true
				for j := range words {
					want = want && bytes.Equal(got[i+j], words[j])
				}
			}
			if l.Match(v) != want {
				t.Fatalf("phrase %q in %q: %v, want %v", w, v, !want, want)
			}
		}
	})
}

func TestMatchAllocatesNothing(t *testing.T) {
	row := &Row{Topic: []byte("t"), Contents: contents("status", "404", "rt", "0.125", "msg", "GET /index.html HTTP/1.1")}
	e, err := Parse(`status>=400 rt<1 msg:#"index.html http" ind* not (needle or foo:*)`)
	if err != nil {
		t.Fatal(err)
	}
	m := Compile(e)
	if n := testing.AllocsPerRun(100, func() { m.Match(row) }); n != 0 {
		t.Errorf("Match allocates %v times", n)
	}
}

func BenchmarkMatchWord(b *testing.B) {
	v := []byte(`10.11.12.13 - - [21/Nov/2026:10:11:12 +0800] "GET /api/v1/users/12345/orders?page=7 HTTP/1.1" 200 5316 "https://example.com/start" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"`)
	for _, w := range []string{"needle", "0af93bc77de1", "error", "GET"} {
		l := Compile(word("", w)).Leaves[0]
		b.Run(w, func(b *testing.B) {
			b.SetBytes(int64(len(v)))
			b.ReportAllocs()
			for b.Loop() {
				l.Match(v)
			}
		})
	}
}
