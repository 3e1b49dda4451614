package onepass

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestShapes(t *testing.T) {
	begins := map[string]string{"straight": "straight line", "choices": "choice points", "standard": "standard library"}
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			r := mustCompile(t, s.expr)
			if got := r.Explain(); !strings.HasPrefix(got, begins[s.plan]) {
				t.Errorf("executed as %q, want %s\n%s", got, begins[s.plan], listing(r.shared.find.program))
			}
			o, _ := newOracle(s.expr)
			if d := o.difference(r, nil, []byte(s.line)); d != "" {
				t.Error(d)
			}
			if r.FindSubmatchIndex(nil, []byte(s.line)) == nil {
				t.Error("the line does not match")
			}
			if n := r.findGauge.gaveUp; n > 0 && s.plan != "standard" {
				t.Error("given up for its own line")
			}
		})
	}
}

func TestCompileErrorIsThatOfRegexp(t *testing.T) {
	for _, expr := range []string{`(\d+`, `a**`, `[z-a]`, `\p{Nothing}`, `(?<n`, `x{1001}`, `a)(b`, "\xff", `(?=x)`} {
		_, want := regexp.Compile(expr)
		r, err := Compile(expr)
		if r != nil || err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("Compile(%q) = %v, %v; regexp says %v", expr, r, err, want)
		}
	}
}

func TestExpressionValidOnlyByItselfIsRefused(t *testing.T) {
	expr := strings.Repeat("(?:a|", 999) + "b" + strings.Repeat(")", 999)
	if _, err := regexp.Compile(expr); err != nil {
		t.Skip("package regexp refuses it by itself:", err)
	}
	if _, err := Compile(expr); err != nil && !strings.Contains(err.Error(), "nest") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}
}

func TestAnchorsRespectTheWholeExpression(t *testing.T) {
	tests := []struct {
		expr, text string
		whole      []int
		prefix     bool
	}{
		{`a|ab`, "ab", []int{0, 2}, true}, // the preferred branch cannot match the whole
		{`a|b`, "xb", nil, false},
		{`(a)|(b)`, "b", []int{0, 1, -1, -1, 0, 1}, true},
		{`(\d+)`, "12x", nil, true},
		{`(\d+).*`, "12x", []int{0, 3, 0, 2}, true},
		{`(\d+).*`, "12\nx", nil, true}, // the dot does not match a newline
		{`(?s)(\d+).*`, "12\nx", []int{0, 4, 0, 2}, true},
		{`(?i)abc`, "aBC", []int{0, 3}, true},
		{`\Qa.(`, "a.(", []int{0, 3}, true}, // a quotation that is never closed
		{`\Qa\`, `a\`, []int{0, 2}, true},
		{`x*`, "", []int{0, 0}, true},
		{`x*`, "y", nil, true},
		{`(.*?)`, "abc", []int{0, 3, 0, 3}, true},
		{`b`, "abc", nil, false},
		{``, "abc", nil, true},
	}
	for _, tt := range tests {
		r := mustCompile(t, tt.expr)
		if got := r.FullMatch(nil, []byte(tt.text)); !slices.Equal(got, tt.whole) {
			t.Errorf("FullMatch of %q on %q = %v, want %v", tt.expr, tt.text, got, tt.whole)
		}
		if got := r.MatchPrefix([]byte(tt.text)); got != tt.prefix {
			t.Errorf("MatchPrefix of %q on %q = %v, want %v", tt.expr, tt.text, got, tt.prefix)
		}
	}
}

func TestResultReusesItsMemory(t *testing.T) {
	r := mustCompile(t, `(\w+)=(\d+)`)
	dst := make([]int, 0, 10)
	got := r.FindSubmatchIndex(dst, []byte("  ab=12"))
	if want := []int{2, 7, 2, 4, 5, 7}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if &got[0] != &dst[:1][0] {
		t.Error("the result is not in the memory given")
	}
	if got := r.FindSubmatchIndex(dst, []byte("none")); got != nil {
		t.Errorf("no match gives %v, want nil", got)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	for _, s := range shapes {
		if s.plan == "standard" {
			continue
		}
		r := mustCompile(t, s.expr)
		line := []byte(s.line)
		almost := append([]byte(nil), line[:len(line)-1]...)
		var dst []int
		ask := func() {
			dst = r.FindSubmatchIndex(dst[:0:cap(dst)], line)
			for _, b := range [][]byte{line, almost} {
				r.FullMatch(dst, b)
				r.Match(b)
				r.MatchPrefix(b)
			}
		}
		ask() // the scratch grows to its size
		if n := testing.AllocsPerRun(100, ask); n != 0 {
			t.Errorf("%s: %v allocations", s.name, n)
		}
	}
}

func TestClonesWorkSideBySide(t *testing.T) {
	r := mustCompile(t, nginxSLS)
	line := []byte(nginxLine)
	want := regexp.MustCompile(nginxSLS).FindSubmatchIndex(line)
	var wg sync.WaitGroup
	for range 4 {
		c := r.Clone()
		wg.Go(func() {
			var dst []int
			for range 200 {
				if dst = c.FindSubmatchIndex(dst, line); !slices.Equal(dst, want) {
					t.Errorf("got %v, want %v", dst, want)
					return
				}
				if !c.Match(line) || !c.MatchPrefix(line) {
					t.Error("a clone does not match what the original does")
					return
				}
			}
		})
	}
	wg.Wait()
	if c := r.Clone(); c.String() != nginxSLS || c.NumSubexp() != 9 || c.Explain() != r.Explain() {
		t.Errorf("the clone is another expression: %s", c)
	}
}

func TestTooLargeGoesToTheStandardLibrary(t *testing.T) {
	tests := []struct {
		name, expr, text, reason string
	}{
		{"long", "^" + strings.Repeat("a?", maxExpression/2) + "b$", "aab", "longer than"},
		{"many copies", `^(?:(?:a|bcd|[ef]g){30}x?){30}$`, strings.Repeat("a", 1200), "instructions"},
		{"copies of nothing", `^(?:a` + strings.Repeat(`x{0}`, 1000) + `){500}$`, strings.Repeat("a", 500), "intricate"},
		{"deep", strings.Repeat("(?:a|b", 450) + strings.Repeat(")c", 450), "bbb", "instructions"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := mustCompile(t, tt.expr)
			if !strings.Contains(r.Explain(), "standard library") || !strings.Contains(r.Explain(), tt.reason) {
				t.Errorf("executed as %q, want the standard library for %q", r.Explain(), tt.reason)
			}
			o, _ := newOracle(tt.expr)
			if d := o.difference(r, nil, []byte(tt.text)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestExistenceNeedsNoMoreThanItsShortestMatch(t *testing.T) {
	tests := []struct{ expr, shortest string }{
		{`\d+-\d+-\d+ \d+:\d+:\d+.*`, `\d+-\d+-\d+ \d+:\d+:\d`},
		{`(\d+)-(.*)`, `\d+-`},
		{`[xy](?:bc)+`, `[xy]bc`},
		{`a(?:b\dc){2,}(x|y)?`, `a(?:b\dc){2}`},
		{`a\w{2,5}(?: .*)?`, `a\w{2}`},
		{`a(b*?)(c??)`, `a`},
	}
	for _, tt := range tests {
		got := listing(mustCompile(t, tt.expr).shared.prefix.program)
		want := listing(mustCompile(t, tt.shortest).shared.prefix.program)
		if got != want {
			t.Errorf("%s is executed as\n%swant as for %s\n%s", tt.expr, got, tt.shortest, want)
		}
	}
}

// hard makes its program give up on every long text of letters: the ways to cut up a text multiply,
// and no place is tried twice.
const hard = `(?:[a-z]+?[^0-9]+?[a-z]{2,5}[^0-9]?){4}0`

func TestGivesUpOnHardTextsAndThenDoesNotTry(t *testing.T) {
	r := mustCompile(t, hard)
	o, _ := newOracle(hard)
	text := []byte(strings.Repeat("abcdefghij ", 40))
	if o := r.m.search(r.shared.find.program, text, make([]int, 2)); o != gaveUp {
		t.Fatalf("outcome %v: the text is not hard enough for this test", o)
	}
	var dst []int
	for range gaugeWindow {
		if d := o.difference(r, dst, text); d != "" {
			t.Fatal(d)
		}
	}
	if r.findGauge.rest != gaugeRest {
		t.Fatalf("after %d texts given up %d are to go directly to package regexp, want %d", gaugeWindow, r.findGauge.rest, gaugeRest)
	}
	easy := []byte("abcd")
	for range gaugeRest {
		r.FindSubmatchIndex(dst, easy)
	}
	if r.findGauge.texts != 0 {
		t.Error("a text was tried while all were to go directly to package regexp")
	}
	for range 10 * gaugeWindow {
		r.FindSubmatchIndex(dst, easy)
	}
	if r.findGauge.rest != 0 {
		t.Error("easy texts are not trusted again")
	}
}

func TestOpenChoicePointsAreBounded(t *testing.T) {
	for _, expr := range []string{`^(?:(?:ab|a)b?)*$`, `^(?:[ab]*?b[^c]?)*$`} {
		r := mustCompile(t, expr)
		o, _ := newOracle(expr)
		text := []byte(strings.Repeat("ab", 4*maxStack))
		if d := o.difference(r, nil, text); d != "" {
			t.Errorf("%s differs", expr)
		}
		if n := cap(r.m.stack); n < maxStack/2 || n > 2*maxStack {
			t.Errorf("%s: room for %d choice points, want about %d", expr, n, maxStack)
		}
	}
}

func TestFewHardTextsDoNotSpoilTheOthers(t *testing.T) {
	var g gauge
	for i := range 100 * gaugeWindow {
		if !g.trusts() {
			t.Fatalf("text %d goes directly to package regexp", i)
		}
		g.note(i%11 == 0)
	}
}

// TestManyRunsDoNotMultiply is about texts for which plain backtracking takes time cubic or worse in
// their length. They have to be done within the budget.
func TestManyRunsDoNotMultiply(t *testing.T) {
	tests := []struct{ name, expr, text string }{
		{"greedy", `^(.*) (.*) (.*) (.*) (.*) x$`, strings.Repeat("word ", 100)},
		{"lazy", `^(.*?) (.*?) (.*?) (.*?) (.*?) x$`, strings.Repeat("word ", 100)},
		{"not anchored", `(.*)=(.*)=(.*)=(.*);`, strings.Repeat("k=v, ", 100)},
		{"loop", `^(?:(\w+)=(\S+) ?)+$`, strings.Repeat("a=b=c=d ", 20) + "?"},
		{"nested loop", `^(?:(?:a|b)+c?)+d$`, strings.Repeat("ab", 100)},
		{"run at the start", `\w+@x`, strings.Repeat("w", 5000)},
		{"lazy run at the start", `.*?@x`, strings.Repeat("w", 5000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := mustCompile(t, tt.expr)
			o, _ := newOracle(tt.expr)
			if d := o.difference(r, nil, []byte(tt.text)); d != "" {
				t.Error(d)
			}
			if n := r.findGauge.gaveUp + r.wholeGauge.gaveUp + r.matchGauge.gaveUp + r.prefixGauge.gaveUp; n != 0 {
				t.Errorf("%d questions given up", n)
			}
		})
	}
}

func TestScratchOfOneLongTextIsNotKept(t *testing.T) {
	r := mustCompile(t, `^(.*?)(?:(\w)=(\d);)+$`) // the choice point at the beginning stays open all the time
	r.FindSubmatchIndex(nil, []byte(strings.Repeat("k=1;", maxTrailKept)))
	if n := cap(r.m.trail); n <= maxTrailKept {
		t.Fatalf("only %d captures were noted: the text is too short for this test", n)
	}
	r.FindSubmatchIndex(nil, []byte("k=1;"))
	if n := cap(r.m.trail); n > maxTrailKept {
		t.Errorf("room for %d captures is kept, want at most %d", n, maxTrailKept)
	}
}
