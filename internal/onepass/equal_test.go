package onepass

import (
	"fmt"
	"math/rand"
	"os"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// oracle answers with package regexp what a Regexp is asked.
type oracle struct{ find, whole, prefix *regexp.Regexp }

// newOracle returns false if package regexp does not take expr, or not between anchors.
func newOracle(expr string) (oracle, bool) {
	find, err1 := regexp.Compile(expr)
	whole, err2 := regexp.Compile(`\A(?:` + expr + `)\z`)
	prefix, err3 := regexp.Compile(`\A(?:` + expr + `)`)
	return oracle{find, whole, prefix}, err1 == nil && err2 == nil && err3 == nil
}

// difference returns in which answer r differs from o for text, "" if in none.
func (o oracle) difference(r *Regexp, dst []int, text []byte) string {
	var s strings.Builder
	if got, want := r.FindSubmatchIndex(dst, text), o.find.FindSubmatchIndex(text); !slices.Equal(got, want) || (got == nil) != (want == nil) {
		fmt.Fprintf(&s, "FindSubmatchIndex: got %v, want %v\n", got, want)
	}
	if got, want := r.FullMatch(dst, text), o.whole.FindSubmatchIndex(text); !slices.Equal(got, want) || (got == nil) != (want == nil) {
		fmt.Fprintf(&s, "FullMatch: got %v, want %v\n", got, want)
	}
	if got, want := r.Match(text), o.find.Match(text); got != want {
		fmt.Fprintf(&s, "Match: got %v, want %v\n", got, want)
	}
	if got, want := r.MatchPrefix(text), o.prefix.Match(text); got != want {
		fmt.Fprintf(&s, "MatchPrefix: got %v, want %v\n", got, want)
	}
	if s.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("%q on %q\n%s%s", r.String(), text, s.String(), r.Explain())
}

func mustCompile(t testing.TB, expr string) *Regexp {
	t.Helper()
	r, err := Compile(expr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fromEnv lets a long run ask for more than the moderate number of cases of a normal one.
func fromEnv(t *testing.T, name string, normal int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return normal
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// scraps are what mutate puts into lines: separators, halves of runes, runes that fold to ASCII.
var scraps = []string{
	" ", "  ", `"`, `\`, "]", "[", "-", " - ", "\n", "\t", "\xff", "\xe4", "\xbd", "你", "é", ":", ",", ".", "123", "GET",
	"a", "0", "", `" "`, `" `, "ERROR", "=", "\ufffd", "\u212a", "\u017f", "k", "+", "<", ">", "\x00", "Id: ", "\r",
}

// mutate returns line with a few random changes.
func mutate(rnd *rand.Rand, line []byte) []byte {
	b := slices.Clone(line)
	for n := 1 + rnd.Intn(5); n > 0 && len(b) > 0; n-- {
		i := rnd.Intn(len(b))
		scrap := scraps[rnd.Intn(len(scraps))]
		switch rnd.Intn(8) {
		case 0:
			b = slices.Delete(b, i, min(len(b), i+1+rnd.Intn(4)))
		case 1, 2:
			b = slices.Insert(b, i, []byte(scrap)...)
		case 3:
			b[i] = byte(rnd.Intn(256))
		case 4:
			piece := slices.Clone(b[i:min(len(b), i+rnd.Intn(30))])
			b = slices.Insert(b, rnd.Intn(len(b)), piece...)
		case 5:
			b[i] = b[rnd.Intn(len(b))]
		case 6:
			b = slices.Replace(b, i, min(len(b), i+len(scrap)), []byte(scrap)...)
		case 7:
			if rnd.Intn(4) == 0 {
				b = b[:i]
			}
		}
	}
	return b
}

func TestEqualsRegexpOnMutatedLines(t *testing.T) {
	n := fromEnv(t, "ONEPASS_LINES", 1500)
	seed := fromEnv(t, "ONEPASS_SEED", 1)
	for k, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			o, _ := newOracle(s.expr)
			r := mustCompile(t, s.expr)
			rnd := rand.New(rand.NewSource(int64(1000*seed + k)))
			var dst []int
			found := 0
			for range n {
				line := mutate(rnd, []byte(s.line))
				if d := o.difference(r, dst, line); d != "" {
					t.Fatal(d)
				}
				if dst = r.FindSubmatchIndex(dst, line); dst != nil {
					found++
				}
			}
			if found == 0 || found == n {
				t.Errorf("%d of %d lines match: the lines test one side only", found, n)
			}
		})
	}
}

// grammar makes random expressions of the kind people write for logs, and some they do not.
type grammar struct {
	rnd *rand.Rand
}

func (g grammar) pick(from ...string) string { return from[g.rnd.Intn(len(from))] }

var (
	// atoms that may be repeated, and those that may not or need not be.
	atoms = []string{
		"a", "b", " ", `\d`, `\w`, `\S`, `\s`, ".", "[^b]", "[ab]", "[^ ]", `\[`, "(?s:.)", "[^a ]", "(?i:k)", "(?i:s)", "[^\"]", "你", "é",
		`\p{Han}`, "[^你]", `\pL`, `[a\x{fffd}]`, `[^\x00-\x1f]`, `\x{fffd}`, "[é-你]", `\D`, `\W`, "-",
	}
	others = []string{`\b`, `\B`, "ab", "a b", "(?m:^)", "(?m:$)", "$", "^", "你b", "(?i:ask)", " - ", `\[`, "(?:)", "aaa", "é你"}
	repeat = []string{"", "", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,3}", "{2,}", "{1,3}?", "{0}", "{3,}?"}
)

// expr returns a random expression with groups up to depth.
func (g grammar) expr(depth int) string {
	var s strings.Builder
	for k := 1 + g.rnd.Intn(5); k > 0; k-- {
		switch {
		case depth > 0 && g.rnd.Intn(4) == 0:
			s.WriteString("(" + g.pick("", "?:", "?i:", "?s:", "?U:") + g.expr(depth-1) + ")" + g.pick(repeat...))
		case depth > 0 && g.rnd.Intn(8) == 0:
			s.WriteString("(" + g.pick("", "?:") + g.expr(depth-1) + "|" + g.expr(depth-1) + g.pick("", "|"+g.expr(0), "|") + ")" + g.pick(repeat...))
		case depth > 0 && g.rnd.Intn(10) == 0:
			s.WriteString(g.pick(`(?:[^"]|\\.)*`, `(?:[^a]|a b)*?`, `(?:a|[^ ])+`, `(?:[ab]|ab|\d)*`, `(?:.|\n)*`, `(?:\w+|-)+`))
		case g.rnd.Intn(4) == 0:
			s.WriteString(g.pick(others...))
		default:
			atom := g.pick(atoms...) + g.pick(repeat...)
			if g.rnd.Intn(4) == 0 {
				atom = "(" + atom + ")"
			}
			s.WriteString(atom)
		}
	}
	return s.String()
}

// pieces are what random texts consist of.
var pieces = []string{
	"a", "b", " ", "1", "ab", "[", "你", "\xff", "\xe4", "\xe4\xbd", "\xbd", "\n", "aa", "bb", "  ", "é", "\ufffd", "k", "S", "\u212a", "\u017f",
	`"`, `\"`, `\`, "-", " - ", "_", "\xc3", "\xf0\x9f\x98\x80", "\xf0\x9f", "\x00", "ask",
}

func (g grammar) text() []byte {
	var s []byte
	some := pieces
	if g.rnd.Intn(2) == 0 { // few different pieces: more matches
		i := g.rnd.Intn(len(pieces))
		some = append([]string{"a", "b", " ", "1"}, pieces[i])
	}
	n := g.rnd.Intn(12)
	if g.rnd.Intn(10) == 0 {
		n = g.rnd.Intn(80) // long enough for memory and budget
	}
	for ; n > 0; n-- {
		s = append(s, g.pick(some...)...)
	}
	return s
}

func TestEqualsRegexpOnRandomExpressions(t *testing.T) {
	n := fromEnv(t, "ONEPASS_EXPRESSIONS", 3000)
	seed := fromEnv(t, "ONEPASS_SEED", 1)
	g := grammar{rand.New(rand.NewSource(int64(seed)))}
	valid, planned, texts, found, gaveUp, asked := 0, 0, 0, 0, 0, 0
	for range n {
		expr := g.pick("", "^", "^") + g.expr(2) + g.pick("", "$", ".*", "(.*)$")
		o, ok := newOracle(expr)
		if !ok {
			continue
		}
		valid++
		r := mustCompile(t, expr)
		if r.shared.find.refused == "" {
			planned++
		}
		parsed, err := syntax.Parse(expr, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		var dst []int
		for i := range 30 {
			var text []byte
			if i%2 == 0 {
				text = g.text()
			} else if text = sample(g.rnd, nil, parsed); i%4 == 1 {
				text = mutate(g.rnd, text)
			}
			if d := o.difference(r, dst, text); d != "" {
				t.Fatalf("%s\n%s", d, listing(r.shared.find.program))
			}
			if dst = r.FindSubmatchIndex(dst, text); dst != nil {
				found++
			}
			texts++
		}
		gaveUp += r.findGauge.gaveUp + r.wholeGauge.gaveUp + r.matchGauge.gaveUp + r.prefixGauge.gaveUp
		asked += r.findGauge.texts + r.wholeGauge.texts + r.matchGauge.texts + r.prefixGauge.texts
	}
	t.Logf("%d expressions valid, %d of them compiled; %d texts, %d matched; %d of %d questions given up", valid, planned, texts, found, gaveUp, asked)
	if planned < valid/3 || found < texts/10 || found > texts*9/10 {
		t.Error("the expressions or texts are too lopsided to test much")
	}
}

var opNames = [...]string{
	opByte: "byte", opText: "text", opOne: "one", opSet: "set", opRun: "run", opSpan: "span", opChoose: "choose", opSplit: "split",
	opJump: "jump", opBeginText: "begin text", opEndText: "end text", opBeginLine: "begin line", opEndLine: "end line",
	opWordBoundary: "word boundary", opNotWordBoundary: "no word boundary", opFail: "fail", opMatch: "match",
}

// listing shows a program for the message of a failed test.
func listing(p *program) string {
	var s strings.Builder
	for i := range p.code {
		in := &p.code[i]
		fmt.Fprintf(&s, "%3d %s", i, opNames[in.op])
		switch in.op {
		case opByte:
			fmt.Fprintf(&s, " %q", in.char)
		case opText:
			fmt.Fprintf(&s, " %q", in.text)
		case opSplit, opJump:
			fmt.Fprintf(&s, " %d %d", in.x, in.y)
		case opRun, opSpan, opChoose:
			fmt.Fprintf(&s, " {%d,%d} lazy %v groups %d %d rest %q", in.min, in.max, in.lazy, in.open, in.close, in.text)
		}
		s.WriteByte('\n')
	}
	return s.String()
}
