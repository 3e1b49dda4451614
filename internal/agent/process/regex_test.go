package process

import (
	"regexp"
	"strings"
	"testing"

	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

func TestRegexParser(t *testing.T) {
	with := func(regex string, keys []string, change func(*pipeline.ParseRegex)) *pipeline.ParseRegex {
		c := pipeline.NewParseRegex(regex, keys...)
		if change != nil {
			change(c)
		}
		return c
	}
	kv := []string{"k", "v"}
	for _, c := range []struct {
		name string
		conf *pipeline.ParseRegex
		text string
		want string
	}{
		{"groups become fields", with(`(\w+)=(\d+)`, kv, nil), "a=1", "k=a|v=1"},
		{"the whole text has to match", with(`(\w+)=(\d+)`, kv, nil), "a=1 ", "<unparsed>"},
		{"anchors are fine", with(`^(\w+)=(\d+)$`, kv, nil), "a=1", "k=a|v=1"},
		{"more groups than keys", with(`(\w+)=(\d+)(.*)`, kv, nil), "a=1;", "k=a|v=1"},
		{"a group that took no part is empty", with(`(\w+)(?:=(\d+))?`, kv, nil), "a", "k=a|v="},
		{"whole line", with(`(.*)`, []string{"line"}, nil), "any \x00 text", "line=any \x00 text"},
		{"whole line, empty", with(`(.*)`, []string{"line"}, nil), "", "line="},
		{"dot matches line ends", with(`(\w+) (.*)`, kv, nil), "a b\n\tc", "k=a|v=b\n\tc"},
		{"a key given twice has the last value", with(`(\w+)=(\d+)`, []string{"k", "k"}, nil), "a=1", "k=1"},
		{"a key named as the source", with(`(\w+)=(\d+)`, []string{"content", "v"}, nil), "a=1", "content=a|v=1"},
	} {
		chain := chainOf(t, Options{}, c.conf)
		for _, chain := range []*Chain{chain, chain.Clone()} {
			b := run(chain, c.text, c.text)
			for i := range b.Records {
				if got := show(&b.Records[i]); got != c.want {
					t.Errorf("%s: %q gives %q, want %q", c.name, c.text, got, c.want)
				}
			}
		}
	}
}

func TestRegexConfigurationIsRefused(t *testing.T) {
	for _, c := range []struct {
		conf *pipeline.ParseRegex
		says string
	}{
		{pipeline.NewParseRegex("", "a"), "Regex is empty"},
		{pipeline.NewParseRegex("(a", "a"), "missing closing )"},
		{pipeline.NewParseRegex("(a)", "a", "b"), "1 groups, but there are 2 Keys"},
		{pipeline.NewParseRegex("(a)"), "list Keys is empty"},
		{pipeline.NewParseRegex("(a)", ""), "entry 1 of Keys"},
		{&pipeline.ParseRegex{Regex: "(a)", Keys: []string{"a"}}, "SourceKey"},
	} {
		_, err := New(pipeline.New("web").Add(c.conf), Options{})
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), `processor 1 of pipeline "web" (processor_parse_regex_native)`) {
			t.Errorf("New(%+v): error %v, want one with %q", c.conf, err, c.says)
		}
	}
}

func TestRegexAgreesWithPackageRegexp(t *testing.T) {
	std := regexp.MustCompile(`(?s)\A(?:` + nginxRegex + `)\z`)
	chain := chainOf(t, Options{}, pipeline.NewParseRegex(nginxRegex, nginxKeys...))
	for _, line := range strings.Split(strings.TrimSpace(string(genLines(300, nginxLine))), "\n") {
		r := &run(chain, line).Records[0]
		m := std.FindStringSubmatch(line)
		if len(m) < 1+len(nginxKeys) || len(r.Fields) != len(nginxKeys) {
			t.Fatalf("%q: %d groups and %d fields", line, len(m), len(r.Fields))
		}
		for i, f := range r.Fields {
			if string(f.Key) != nginxKeys[i] || string(f.Value) != m[i+1] {
				t.Errorf("%q: field %d is %s=%q, want %s=%q", line, i, f.Key, f.Value, nginxKeys[i], m[i+1])
			}
		}
	}
}

func FuzzRegex(f *testing.F) {
	exprs := []string{nginxRegex, `(\w+)=(\d+)(;.*)?`, `(.*?) (.*)`, `\[(.*)\] (\S*)(x|yz)?`, `(.*)`}
	var chains []*Chain
	var std []*regexp.Regexp
	for _, e := range exprs {
		re := regexp.MustCompile(`(?s)\A(?:` + e + `)\z`)
		std = append(std, re)
		chains = append(chains, chainOf(f, Options{}, pipeline.NewParseRegex(e, []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}[:re.NumSubexp()]...)))
	}
	f.Add(uint8(0), []byte(`1.2.3.4 - - [x] "GET / HTTP/1.1" 200 1 "-" "-" 0.1 ab`))
	f.Add(uint8(1), []byte("a=1;\n"))
	f.Add(uint8(3), []byte("[a]] \xffyz"))
	f.Fuzz(func(t *testing.T, n uint8, text []byte) {
		i := int(n) % len(exprs)
		r := &run(chains[i], string(text)).Records[0]
		m := std[i].FindSubmatch(text)
		if (m == nil) != (r.Drop == event.Unparsed) {
			t.Fatalf("%s on %q: regexp matches %v, the record is %q", exprs[i], text, m != nil, show(r))
		}
		for k := range max(len(m)-1, 0) {
			if string(m[k+1]) != string(r.Fields[k].Value) {
				t.Fatalf("%s on %q: group %d is %q, want %q", exprs[i], text, k+1, r.Fields[k].Value, m[k+1])
			}
		}
	})
}

func TestRegexAllocatesNothing(t *testing.T) {
	noAllocs(t, chainOf(t, Options{}, pipeline.NewParseRegex(nginxRegex, nginxKeys...)), genLines(200, nginxLine))
}
