package onepass

import "testing"

// regressions are cases that an implementation of this idea gets wrong easily, or once did.
var regressions = []struct {
	why   string
	expr  string
	texts []string
}{
	{
		"a copy that another one has to follow does not accept, so its run is not decided",
		`^(?:a[ab]*){2}`,
		[]string{"ab", "aab", "abab", "aa"},
	},
	{
		"the same in a loop that needs at least one more",
		`(?:\w+ ?){2,}`,
		[]string{"ab", "a b", "abc "},
	},
	{
		"the end of a run may lie in the middle of a rune",
		`^([^a]*)[^b]`,
		[]string{"你", "é你", "\xe4\xbd", "\xe4\xbd\xa0\xbd", "你a", "x\xf0\x9f\x98\x80"},
	},
	{
		"an invalid byte is U+FFFD and one byte wide",
		`^(\x{fffd}+)(.)$`,
		[]string{"\xff\xff", "\ufffd\xff", "\xe4\xbda", "\xff"},
	},
	{
		"U+FFFD in a class",
		`([^\x{fffd}]+)[a\x{fffd}]`,
		[]string{"b\xff", "你\xe4a", "\ufffda", "baa"},
	},
	{
		"K and the long s fold to ASCII letters",
		`(?i)^(ask|sick)s*$`,
		[]string{"ASK", "a\u017f\u212a", "\u017fic\u212a\u017f\u017f", "ask\u212a"},
	},
	{
		"a match begins at runes only",
		`[^a]{2}`,
		[]string{"a你a", "a\xa0\xbda", "你", "é\xff"},
	},
	{
		"a place is noted as tried only if it was reached from there",
		`^(?:\w+ ?)*?([^a-z]*?)=x(.*?)-$`,
		[]string{"a b =x-", "aa bb cc dd ee ff gg hh ii jj kk ll mm nn =x -", "a=xa=xa=xa=xa=xa=xa=xa=xa=xa=xa=xa=xa=xa=xa=xa=xa=xa=xa 1=x-"},
	},
	{
		"a loop scans forced runes only where there is no other way",
		`^((?:[^"]|\\.)*)"(.*)$`,
		[]string{`a\"b"c`, `a\`, `a\"`, `\\"\"`, `"`, "你\\你\"", "\xff\\\xff\""},
	},
	{
		"the same for a lazy loop that may stop at a space",
		`"(?:\S+)(?: +((?:[^"]|\\.)*?)(?: +\S*)?)?"`,
		[]string{`"GET /a b HTTP/1.1"`, `"GET"`, `"GET "`, `"GET  / "`, `"GET /\" x"`},
	},
	{
		"an optional group that can be empty takes part nevertheless",
		`^(a*)?(b*)??c$`,
		[]string{"c", "bc", "aac", "abbc"},
	},
	{
		"captures of a path that failed are taken back",
		`^(?:(a)|(a)b|(ab)(c))d$`,
		[]string{"abd", "abcd", "ad"},
	},
	{
		"captures of an earlier round of a loop stay",
		`^(?:(a)|(b)|c)+$`,
		[]string{"abc", "cab", "ba"},
	},
	{
		"a group that is repeated zero times has no captures",
		`^(a){0}(b){2}$`,
		[]string{"bb", "abb"},
	},
	{
		"a try may only be skipped within the run it began with",
		`\d+-\d+`,
		[]string{"123 45-6", "1-", "12-x 3-4", "---1-2"},
	},
	{
		"the lazy run at the end takes as little as it can",
		`^(\w+) (\w{2,}?)`,
		[]string{"ab cdef", "ab c", "a bc"},
	},
	{
		"assertions look at the bytes on both sides",
		`\b(\w+)\b(\W*)\B`,
		[]string{"ab  ", "é a é", "a", "_-_ -", "a你"},
	},
	{
		"lines end at newlines only with (?m)",
		`(?m)^(.*)$\n?^b`,
		[]string{"a\nb", "b", "\nb", "a\r\nb", "ab"},
	},
	{
		"an end of text that is no end of the expression",
		`$(a)?|^b$`,
		[]string{"", "b", "a"},
	},
	{
		"nothing matches nothing",
		`[^\x00-\x{10ffff}]|a`,
		[]string{"", "a", "\xff"},
	},
}

func TestRegressions(t *testing.T) {
	for _, c := range regressions {
		t.Run(c.why, func(t *testing.T) {
			o, ok := newOracle(c.expr)
			if !ok {
				t.Fatalf("package regexp does not take %q", c.expr)
			}
			r := mustCompile(t, c.expr)
			for _, text := range c.texts {
				if d := o.difference(r, nil, []byte(text)); d != "" {
					t.Errorf("%s\n%s", d, listing(r.shared.find.program))
				}
			}
		})
	}
}
