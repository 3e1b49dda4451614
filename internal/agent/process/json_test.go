package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

func TestJSONParser(t *testing.T) {
	const bad = "<unparsed>"
	for _, c := range []struct{ name, text, want string }{
		{"strings", `{"a":"1","b":"x y"}`, "a=1|b=x y"},
		{"numbers stay as they are", `{"a":1,"b":-0.50e+10,"c":123456789012345678901234567890,"d":0}`, "a=1|b=-0.50e+10|c=123456789012345678901234567890|d=0"},
		{"words", `{"a":true,"b":false}`, "a=true|b=false"},
		{"null is empty", `{"a":null,"b":1}`, "a=|b=1"},
		{"nested values stay JSON text", `{"a":{"b": [1, {"c":"\n"}]},"d":[],"e":{}}`, `a={"b": [1, {"c":"\n"}]}|d=[]|e={}`},
		{"blanks", " \t{ \"a\" : 1 ,\n\"b\" : [ 1 , 2 ] } \r\n", "a=1|b=[ 1 , 2 ]"},
		{"escapes", `{"a":"\"\\\/\b\f\n\r\t","k\u0041\n":"\u4f60好"}`, "a=\"\\/\b\f\n\r\t|kA\n=你好"},
		{"surrogate pair", `{"a":"\ud83d\ude00"}`, "a=😀"},
		{"surrogates alone", `{"a":"\ud83dx\ude00\ud83d\u0041"}`, "a=\uFFFDx\uFFFD\uFFFDA"},
		{"NUL by escape", `{"a":"\u0000"}`, "a=\x00"},
		{"bytes that are no UTF-8 stay", "{\"a\":\"\xff\xfe\\n\",\"\xc3\":1}", "a=\xff\xfe\n|\xc3=1"},
		{"the last of equal names counts", `{"a":1,"b":2,"a":3}`, "a=3|b=2"},
		{"equal names written differently", `{"a":1,"\u0061":2}`, "a=2"},
		{"empty name", `{"":1}`, "=1"},
		{"long strings", `{"key of more than eight bytes":"value of more than eight bytes \" and on it goes"}`, `key of more than eight bytes=value of more than eight bytes " and on it goes`},

		{"no object", `[1]`, bad},
		{"string", `"a"`, bad},
		{"nothing", ``, bad},
		{"blanks alone", `  `, bad},
		{"cut", `{"a":1`, bad},
		{"cut string", `{"a":"1`, bad},
		{"cut in a name", `{"a`, bad},
		{"cut behind a comma", `{"a":1,`, bad},
		{"cut behind a name", `{"a"`, bad},
		{"cut behind a colon", `{"a":`, bad},
		{"cut nested", `{"a":[1,`, bad},
		{"more behind it", `{"a":1} x`, bad},
		{"two objects", `{"a":1}{"b":2}`, bad},
		{"comma at the end", `{"a":1,}`, bad},
		{"no comma", `{"a":1 "b":2}`, bad},
		{"no colon", `{"a" 1}`, bad},
		{"name without quotes", `{a:1}`, bad},
		{"single quotes", `{'a':1}`, bad},
		{"control character", "{\"a\":\"\t\"}", bad},
		{"control character in a long string", "{\"a\":\"0123456789\x1f\"}", bad},
		{"escape by x", `{"a":"\xE5"}`, bad},
		{"short escape", `{"a":"\u12"}`, bad},
		{"wrong escape", `{"a":"\u12g4"}`, bad},
		{"leading zero", `{"a":01}`, bad},
		{"plus", `{"a":+1}`, bad},
		{"minus alone", `{"a":-}`, bad},
		{"dot at the end", `{"a":1.}`, bad},
		{"no exponent", `{"a":1e}`, bad},
		{"word", `{"a":nul}`, bad},
		{"word too long", `{"a":nulll}`, bad},
		{"NaN", `{"a":NaN}`, bad},
		{"nested comma at the end", `{"a":[1,]}`, bad},
		{"nested mismatch", `{"a":[1}}`, bad},
		{"nested name", `{"a":{1:2}}`, bad},
		{"nested escape", `{"a":["\x"]}`, bad},
	} {
		chain := chainOf(t, Options{}, pipeline.NewParseJSON())
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

func TestJSONNesting(t *testing.T) {
	chain := chainOf(t, Options{}, pipeline.NewParseJSON())
	for _, c := range []struct {
		levels int
		fine   bool
	}{{62, true}, {63, true}, {64, true}, {65, true}, {9_999, true}, {10_000, false}} {
		for _, kind := range [][2]string{{"[", "]"}, {`{"a":`, "}"}} {
			inner := ""
			if kind[0] != "[" {
				inner = "1"
			}
			text := `{"x":` + strings.Repeat(kind[0], c.levels) + inner + strings.Repeat(kind[1], c.levels) + `}`
			if json.Valid([]byte(text)) != c.fine {
				t.Fatalf("package encoding/json does not agree with the table at %d", c.levels)
			}
			if got := run(chain, text).Records[0].Drop == event.Kept; got != c.fine {
				t.Errorf("%d levels of %s: parsed %v, want %v", c.levels, kind[0], got, c.fine)
			}
		}
	}
}

func TestJSONWithManyMembers(t *testing.T) {
	chain := chainOf(t, Options{}, pipeline.NewParseJSON())
	for _, n := range []int{31, 32, 33, 64, 65, 1000, 50_000} {
		var b strings.Builder
		b.WriteString(`{"a0":-1`)
		for i := range n {
			fmt.Fprintf(&b, `,"a%d":%d`, i, i)
		}
		fmt.Fprintf(&b, `,"a%d":"last"}`, n/2)
		r := &run(chain, b.String()).Records[0]
		if len(r.Fields) != n {
			t.Fatalf("%d members give %d fields", n, len(r.Fields))
		}
		for i, f := range r.Fields {
			want := fmt.Sprintf("a%d=%d", i, i)
			if i == n/2 {
				want = fmt.Sprintf("a%d=last", i)
			}
			if got := string(f.Key) + "=" + string(f.Value); got != want {
				t.Fatalf("field %d of %d is %q, want %q", i, n, got, want)
			}
		}
	}
}

func TestJSONOfALongObjectLeavesTheNextAlone(t *testing.T) {
	chain := chainOf(t, Options{}, pipeline.NewParseJSON())
	var long strings.Builder
	long.WriteString(`{"x":0`)
	for i := range 100 {
		fmt.Fprintf(&long, `,"a%d":%d`, i, i)
	}
	long.WriteString("}")
	b := run(chain, long.String(), `{"a5":1,"a6":2}`, long.String())
	if got := show(&b.Records[1]); got != "a5=1|a6=2" {
		t.Errorf("got %q", got)
	}
	if n := len(b.Records[2].Fields); n != 101 {
		t.Errorf("%d fields, want 101", n)
	}
}

// checkJSON compares a record with what package encoding/json says about text.
func checkJSON(t *testing.T, chain *Chain, text []byte) {
	t.Helper()
	r := &run(chain, string(text)).Records[0]
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	fine := json.Valid(text) && len(trimmed) > 0 && trimmed[0] == '{'
	if fine != (r.Drop == event.Kept) {
		t.Fatalf("%q: an object by encoding/json: %v, the record: %q", text, fine, show(r))
	}
	if !fine || !utf8.Valid(text) {
		return // encoding/json replaces what is no UTF-8
	}
	var want map[string]json.RawMessage
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if len(want) != len(r.Fields) {
		t.Fatalf("%q: %d fields, want %d", text, len(r.Fields), len(want))
	}
	for _, f := range r.Fields {
		raw, ok := want[string(f.Key)]
		if !ok {
			t.Fatalf("%q: there is no member %q", text, f.Key)
		}
		value := string(raw)
		switch {
		case raw[0] == '"':
			if err := json.Unmarshal(raw, &value); err != nil {
				t.Fatal(err)
			}
		case value == "null":
			value = ""
		}
		if string(f.Value) != value {
			t.Fatalf("%q: member %q is %q, want %q", text, f.Key, f.Value, value)
		}
	}
}

func TestJSONAgreesWithPackageJSON(t *testing.T) {
	chain := chainOf(t, Options{}, pipeline.NewParseJSON())
	r := rand.New(rand.NewPCG(3, 4))
	for _, line := range bytes.Split(bytes.TrimSpace(genLines(300, jsonLine)), []byte("\n")) {
		checkJSON(t, chain, line)
		// The same with a byte changed, left out or repeated somewhere.
		for range 20 {
			m := bytes.Clone(line)
			switch i := r.IntN(len(m)); r.IntN(3) {
			case 0:
				m[i] = "{}[]\",:\\0-e.tn u\x00\xff"[r.IntN(18)]
			case 1:
				m = append(m[:i], m[i+1:]...)
			default:
				m = append(m[:i+1], m[i:]...)
			}
			checkJSON(t, chain, m)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":1,"b":[true,{"c":null}],"d":"\ud83d\ude00\n"}`, `{"a":-0.1e+5}`, `{}`, ` {"":{}} `, `{"a":"\ud83d"}`, `[1]`, "{\"\xff\":\"\x7f\"}",
	} {
		f.Add([]byte(s))
	}
	chain := chainOf(f, Options{}, pipeline.NewParseJSON())
	f.Fuzz(func(t *testing.T, text []byte) { checkJSON(t, chain, text) })
}

func TestJSONAllocatesNothing(t *testing.T) {
	noAllocs(t, chainOf(t, Options{}, pipeline.NewParseJSON()), genLines(200, jsonLine))
}
