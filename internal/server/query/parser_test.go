package query

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func word(key, v string) Expr   { return Text{Key: key, Value: v} }
func phrase(key, v string) Expr { return Text{Key: key, Kind: Phrase, Value: v} }
func prefix(key, v string) Expr { return Text{Key: key, Kind: Prefix, Value: v} }

func TestParse(t *testing.T) {
	n := IntNumber
	for _, c := range []struct {
		in   string
		want Expr
	}{
		{"", All{}},
		{"  \t\n", All{}},
		{"*", All{}},
		{"error", word("", "error")},
		{"disk full", And{[]Expr{word("", "disk"), word("", "full")}}},
		{`"disk full"`, word("", "disk full")},
		{`#"disk full"`, phrase("", "disk full")},
		{"err*", prefix("", "err")},
		{"key:value", word("key", "value")},
		{"key : value", word("key", "value")},
		{"key:err*", prefix("key", "err")},
		{`key:"a b"`, word("key", "a b")},
		{`key: #"a b"`, phrase("key", "a b")},
		{`"my key":x`, word("my key", "x")},
		{"key:*", Exists{"key"}},
		{`key:"*"`, word("key", "*")},
		{`key:""`, word("key", "")},
		{"key>5", Compare{"key", Greater, n(5)}},
		{"key>=-5", Compare{"key", GreaterEqual, n(-5)}},
		{"key < 2.5", Compare{"key", Less, Number{Float: 2.5}}},
		{"key<=1e2", Compare{"key", LessEqual, n(100)}},
		{"key = 5", Compare{"key", Equal, n(5)}},
		{"key in [200 300)", Range{Key: "key", Low: n(200), High: n(300), HighOpen: true}},
		{"key in (200 300]", Range{Key: "key", Low: n(200), High: n(300), LowOpen: true}},
		{"key IN (-2.5,3)", Range{Key: "key", Low: Number{Float: -2.5}, High: n(3), LowOpen: true, HighOpen: true}},
		{"key:[200,300]", Range{Key: "key", Low: n(200), High: n(300)}},
		{"key:[200 , 300]", Range{Key: "key", Low: n(200), High: n(300)}},
		{"key:(200 300)", Range{Key: "key", Low: n(200), High: n(300), LowOpen: true, HighOpen: true}},
		{"a or b and not c", Or{[]Expr{word("", "a"), And{[]Expr{word("", "b"), Not{word("", "c")}}}}}},
		{"a OR b AND NOT c", Or{[]Expr{word("", "a"), And{[]Expr{word("", "b"), Not{word("", "c")}}}}}},
		{"(a or b) c", And{[]Expr{Or{[]Expr{word("", "a"), word("", "b")}}, word("", "c")}}},
		{"not a b", And{[]Expr{Not{word("", "a")}, word("", "b")}}},
		{"not not a", Not{Not{word("", "a")}}},
		{"not (a b)", Not{And{[]Expr{word("", "a"), word("", "b")}}}},
		{"(a and b) and (c)", And{[]Expr{word("", "a"), word("", "b"), word("", "c")}}},
		{"* and not status:200", And{[]Expr{All{}, Not{word("status", "200")}}}},
		{"__topic__:t", word(TopicKey, "t")},
		{"__source__:10.0.0.1", word(SourceKey, "10.0.0.1")},
		{"__tag__:__path__:/var/log/x", word("__tag__:__path__", "/var/log/x")},
		{`__tag__:"a b": "c"`, word("__tag__:a b", "c")},
		{`"__tag__:name":c`, word("__tag__:name", "c")},
		{"__tag__:n > 3", Compare{"__tag__:n", Greater, n(3)}},
		{`"a \"b\" \\ C:\temp"`, word("", `a "b" \ C:\temp`)},
		{"用户:登录 失败", And{[]Expr{word("用户", "登录"), word("", "失败")}}},
		{`#"登录 失败"`, phrase("", "登录 失败")},
		{`"and" or "not"`, Or{[]Expr{word("", "and"), word("", "not")}}},
		{"a in b", And{[]Expr{word("", "a"), word("", "in"), word("", "b")}}},
		{"request_uri:/api/v1,x", word("request_uri", "/api/v1,x")},
		{"a\"b\"c", And{[]Expr{word("", "a"), word("", "b"), word("", "c")}}},
		{"\"\xff\xfe\"", word("", "\xff\xfe")},
	} {
		got, err := Parse(c.in)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.in, err)
			continue
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("Parse(%q) = %#v, want %#v", c.in, got, c.want)
		}
		again, err := Parse(got.String())
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("Parse(%q): String %q reads back as %#v, %v", c.in, got.String(), again, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		in    string
		pos   int
		found string
		want  string // part of the message
	}{
		{"a |select count(*)", 3, "|", "SQL after `|` is not supported"},
		{"* | select 1", 3, "|", "SQL"},
		{"| select 1", 1, "|", "SQL"},
		{"a and", 6, "", "expected a word"},
		{"a or or b", 6, "or", "word of the query language"},
		{"(a", 3, "", "column 1"},
		{"a)", 2, ")", "expected `and`"},
		{`"abc`, 1, `"abc`, "closing quote"},
		{`登录 "abc`, 4, `"abc`, "closing quote"},
		{"key:", 5, "", "expected a value"},
		{"key:and", 5, "and", "quotes"},
		{"not:x", 1, "not", "quotes"},
		{":x", 1, ":", "expected a word"},
		{`"":x`, 1, `""`, "empty"},
		{`""`, 1, `""`, "no word"},
		{"/", 1, "/", "no word"},
		{`key:"//"`, 5, `"//"`, "no word"},
		{"w*d", 1, "w*d", "wildcard"},
		{"*rd", 1, "*rd", "wildcard"},
		{"wo?d", 1, "wo?d", "wildcard"},
		{"k*y:x", 1, "k*y", "wildcards"},
		{"key>x", 5, "x", "decimal number"},
		{"key>", 5, "", "decimal number"},
		{"key>0x10", 5, "0x10", "decimal number"},
		{"key != 5", 5, "!=", "not key"},
		{"key=\"5\"", 5, `"5"`, "decimal number"},
		{"key in [1]", 10, "]", "two numbers"},
		{"key in [1 2 3]", 13, "3", "two numbers"},
		{"key:[1,,2]", 10, "]", "two numbers"},
		{"key:[1 2", 9, "", "two numbers"},
		{"key in [a b]", 9, "a", "decimal number"},
		{"key:(a or b)", 6, "a", "decimal number"},
		{"a [b]", 3, "[", "brackets in quotes"},
		{"http://x", 5, ":", ""},
		{"__tag__:a", 10, "", "expected `:`, a comparison"},
		{"__tag__:", 9, "", "__tag__:name:value"},
		{"key:a:b", 6, ":", "colon in quotes"},
		{strings.Repeat("(", 65) + "a" + strings.Repeat(")", 65), 65, "(", "nested"},
		{strings.Repeat("a ", 257), 513, "a", "at most 256"},
		{strings.Repeat("a", MaxLength+1), 1, strings.Repeat("a", 40) + "...", "at most 32768"},
	} {
		got, err := Parse(c.in)
		var e *Error
		if !errors.As(err, &e) {
			if c.want == "" && err == nil {
				continue
			}
			t.Errorf("Parse(%.60q) = %v, %v; want an *Error", c.in, got, err)
			continue
		}
		if e.Pos != c.pos || e.Found != c.found || !strings.Contains(e.Error(), c.want) {
			t.Errorf("Parse(%.60q): %v (found %q); want column %d, found %q, %q", c.in, e, e.Found, c.pos, c.found, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"a and (b or not c) d", `key:#"x y" "q\"\\"`, "k in [1 -2.5e3)", "k:(1,2]", "__tag__:__path__:/x err* k:*",
		"登录:失败 or *", "k>=9223372036854775808", `k:""`, "in in [1 2]", "a!=b", "#\"", "k = -0.0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := Parse(s)
		if err != nil {
			var pe *Error
			if !errors.As(err, &pe) || pe.Pos < 1 || pe.Want == "" {
				t.Fatalf("Parse(%q): error %#v has no position or reason", s, err)
			}
			return
		}
		out := e.String()
		again, err := Parse(out)
		if err != nil {
			if len(out) > MaxLength {
				return // quotes and brackets may make a long query longer
			}
			t.Fatalf("Parse(%q).String() = %q does not parse: %v", s, out, err)
		}
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("Parse(%q) = %#v, but its String %q gives %#v", s, e, out, again)
		}
		Compile(e).Match(&Row{Topic: []byte(s), Source: []byte("x")})
	})
}
