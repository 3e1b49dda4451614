package process

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"testing"

	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

func TestDelimiterParser(t *testing.T) {
	const bad = "<unparsed>"
	type change = func(*pipeline.ParseDelimiter)
	abc := []string{"a", "b", "c"}
	full := func(c *pipeline.ParseDelimiter) { c.AllowingShortenedFields = false }
	treat := func(how string) change {
		return func(c *pipeline.ParseDelimiter) { c.OverflowedFieldsTreatment = how }
	}
	quote := func(q string) change { return func(c *pipeline.ParseDelimiter) { c.Quote = q } }
	for _, c := range []struct {
		name   string
		sep    string
		keys   []string
		change change
		text   string
		want   string
	}{
		{"columns", ",", abc, nil, "1,2,3", "a=1|b=2|c=3"},
		{"empty columns", ",", abc, nil, ",,", "a=|b=|c="},
		{"tab", "\t", abc, nil, "1\t\t3", "a=1|b=|c=3"},
		{"tab, written out", `\t`, abc, nil, "1\t\t3", "a=1|b=|c=3"},
		{"not printable", "\x01", abc, nil, "1\x012\x013", "a=1|b=2|c=3"},
		{"blanks around the text", ",", abc, nil, "  1, 2 ,3 \r", "a=1|b= 2 |c=3"},
		{"separator blank", " ", abc, nil, "1 2 3 ", "a=1|b=2|c=3"},
		{"nothing", ",", abc, nil, "", bad},
		{"blanks alone", ",", abc, nil, "   ", bad},

		{"quoted", ",", abc, nil, `"1,1",2,"3"`, "a=1,1|b=2|c=3"},
		{"quoted empty", ",", abc, nil, `"",2,""`, "a=|b=2|c="},
		{"quote doubled", ",", abc, nil, `"say ""hi""","""",3`, `a=say "hi"|b="|c=3`},
		{"quote of another kind", ",", abc, quote("'"), `'1,''1',"2",3`, `a=1,'1|b="2"|c=3`},
		{"quote like the separator: none", ",", abc, quote(","), `"1,2",3`, `a="1|b=2"|c=3`},
		{"no quote", ",", abc, quote(""), `"1,2",3`, `a="1|b=2"|c=3`},
		{"quote inside a column", ",", abc, nil, `1"1,2,3`, bad},
		{"quote behind the column", ",", abc, nil, `1",2,3`, bad},
		{"text behind the quote", ",", abc, nil, `"1"1,2,3`, bad},
		{"quote not closed", ",", abc, nil, `"1,2,3`, bad},
		{"quote not closed by a doubled one", ",", abc, nil, `1,2,"3""`, bad},
		{"quote at the end of a long column", ",", abc, nil, `0123456789abcdef",2,3`, bad},

		{"fewer columns", ",", abc, nil, "1,2", "a=1|b=2"},
		{"fewer columns are not allowed", ",", abc, full, "1,2", bad},
		{"enough columns", ",", abc, full, "1,2,", "a=1|b=2|c="},
		{"extend", ",", abc, nil, `1,2,3,4,"5,5"`, "a=1|b=2|c=3|__column0__=4|__column1__=5,5"},
		{"keep", ",", abc, treat("keep"), `1,2,3,4,"5,""5"`, `a=1|b=2|c=3|__column0__=4,"5,""5"`},
		{"keep, nothing over", ",", abc, treat("keep"), `1,2,3`, "a=1|b=2|c=3"},
		{"keep, an empty one over", ",", abc, treat("keep"), `1,2,3,`, "a=1|b=2|c=3|__column0__="},
		{"keep, but wrong quotes", ",", abc, treat("keep"), `1,2,3,4,"5`, bad},
		{"discard", ",", abc, treat("discard"), `1,2,3,4,5`, "a=1|b=2|c=3"},
		{"discard, but wrong quotes", ",", abc, treat("discard"), `1,2,3,4"`, bad},
		{"column left out", ",", []string{"_", "b", "_"}, nil, "1,2,3,4", "b=2|__column0__=4"},
		{"key given twice", ",", []string{"a", "b", "a"}, nil, "1,2,3", "a=3|b=2"},

		{"two characters", "||", abc, nil, "1||2|2||3", "a=1|b=2|2|c=3"},
		{"two characters know no quotes", "||", abc, nil, `"1||1"||3`, `a="1|b=1"|c=3`},
		{"three characters", "^_^", abc, nil, "1^_^^_^3", "a=1|b=|c=3"},
		{"four characters", "&&&&", abc, nil, "1&&&&2", "a=1|b=2"},
		{"two characters, fewer columns are not allowed", "||", abc, full, "1||2", bad},
		{"two characters, extend", "||", abc, nil, "1||2||3||4||5", "a=1|b=2|c=3|__column0__=4|__column1__=5"},
		{"two characters, keep", "||", abc, treat("keep"), "1||2||3||4||5", "a=1|b=2|c=3|__column0__=4||5"},
		{"two characters, discard", "||", abc, treat("discard"), "1||2||3||4||5", "a=1|b=2|c=3"},
		{"a character of several bytes", "，", abc, nil, "1，2", "a=1|b=2"},
	} {
		conf := pipeline.NewParseDelimiter(c.sep, c.keys...)
		if c.change != nil {
			c.change(conf)
		}
		chain := chainOf(t, Options{}, conf)
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

func TestDelimiterConfigurationIsRefused(t *testing.T) {
	for _, c := range []struct {
		says   string
		change func(*pipeline.ParseDelimiter)
	}{
		{"Separator", func(c *pipeline.ParseDelimiter) { c.Separator = "" }},
		{"Separator", func(c *pipeline.ParseDelimiter) { c.Separator = "12345" }},
		{"Quote", func(c *pipeline.ParseDelimiter) { c.Quote = "''" }},
		{"list Keys is empty", func(c *pipeline.ParseDelimiter) { c.Keys = nil }},
		{"entry 2 of Keys", func(c *pipeline.ParseDelimiter) { c.Keys = []string{"a", ""} }},
		{"OverflowedFieldsTreatment", func(c *pipeline.ParseDelimiter) { c.OverflowedFieldsTreatment = "drop" }},
		{"SourceKey", func(c *pipeline.ParseDelimiter) { c.SourceKey = "" }},
	} {
		conf := pipeline.NewParseDelimiter(",", "a")
		c.change(conf)
		if _, err := New(pipeline.New("p").Add(conf), Options{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("New(%+v): error %v, want one with %q", conf, err, c.says)
		}
	}
}

// checkCSV compares a record with what package encoding/csv reads from text,
// where the two mean the same: one line, and not only blanks or blanks at its ends.
func checkCSV(t *testing.T, chain *Chain, sep rune, text []byte) {
	t.Helper()
	if len(text) == 0 || bytes.ContainsAny(text, "\r\n") || len(trimBlanks(text)) != len(text) {
		return
	}
	in := csv.NewReader(bytes.NewReader(text))
	in.Comma, in.FieldsPerRecord = sep, -1
	want, err := in.Read()
	if errors.Is(err, io.EOF) {
		return
	}
	r := &run(chain, string(text)).Records[0]
	if (err == nil) != (r.Drop == event.Kept) {
		t.Fatalf("%q: encoding/csv says %v, the record is %q", text, err, show(r))
	}
	if err != nil {
		return
	}
	if len(want) != len(r.Fields) {
		t.Fatalf("%q: %d fields, want %q", text, len(r.Fields), want)
	}
	for i, f := range r.Fields {
		if string(f.Value) != want[i] {
			t.Fatalf("%q: column %d is %q, want %q", text, i, f.Value, want[i])
		}
	}
}

func TestDelimiterAgreesWithPackageCSV(t *testing.T) {
	chain := chainOf(t, Options{}, pipeline.NewParseDelimiter(",", delimiterKeys...))
	for _, line := range bytes.Split(bytes.TrimSpace(genLines(300, delimiterLine)), []byte("\n")) {
		checkCSV(t, chain, ',', line)
		for i := range line { // cut anywhere: quotes are left open
			checkCSV(t, chain, ',', line[:i])
		}
	}
}

func FuzzDelimiter(f *testing.F) {
	f.Add([]byte(`a,"b,""c""",,d"e`))
	f.Add([]byte(`0123456789,"0123456789""0123456789",01234567`))
	f.Add([]byte("\"a\"b,c;\xff"))
	comma := chainOf(f, Options{}, pipeline.NewParseDelimiter(",", "a", "b"))
	semicolon := chainOf(f, Options{}, pipeline.NewParseDelimiter(";", "a", "b"))
	long := pipeline.NewParseDelimiter("ab", "a", "b")
	longer := chainOf(f, Options{}, long)
	f.Fuzz(func(t *testing.T, text []byte) {
		checkCSV(t, comma, ',', text)
		checkCSV(t, semicolon, ';', text)
		if trimmed := trimBlanks(text); len(trimmed) > 0 {
			r := &run(longer, string(text)).Records[0]
			want := bytes.Split(trimmed, []byte("ab"))
			if len(r.Fields) != len(want) {
				t.Fatalf("%q: %d columns, want %d", text, len(r.Fields), len(want))
			}
			for i := range want {
				if !bytes.Equal(r.Fields[i].Value, want[i]) {
					t.Fatalf("%q: column %d is %q, want %q", text, i, r.Fields[i].Value, want[i])
				}
			}
		}
	})
}

func TestDelimiterAllocatesNothing(t *testing.T) {
	noAllocs(t, chainOf(t, Options{}, pipeline.NewParseDelimiter(",", delimiterKeys...)), genLines(200, delimiterLine))
	noAllocs(t, chainOf(t, Options{}, pipeline.NewParseDelimiter(",", "a", "b")), genLines(200, delimiterLine))
	noAllocs(t, chainOf(t, Options{}, pipeline.NewParseDelimiter(", ", delimiterKeys...)), genLines(200, delimiterLine))
}
