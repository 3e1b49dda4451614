package onepass

import (
	"fmt"
	"math/rand"
	"regexp"
	"regexp/syntax"
	"testing"
	"unicode/utf8"
)

// randomBytes returns text with whole runes, halves of runes and control bytes.
func randomBytes(rnd *rand.Rand, n int) []byte {
	var b []byte
	for len(b) < n {
		switch rnd.Intn(4) {
		case 0:
			b = append(b, byte(rnd.Intn(256)))
		case 1:
			b = append(b, byte(0x20+rnd.Intn(0x5f)))
		case 2:
			b = append(b, "aaaaaaaaa"...)
		case 3:
			b = append(b, pieces[rnd.Intn(len(pieces))]...)
		}
	}
	return b
}

// TestClassRunsAreThoseOfRegexp covers every way to scan.
func TestClassRunsAreThoseOfRegexp(t *testing.T) {
	tests := []struct {
		expr string
		scan scan
		wide wide
	}{
		{`(?s).`, scanAll, wideAll},
		{`.`, scanStop, wideAll},
		{`[^"]`, scanStop, wideAll},
		{`\S`, scanControl, wideAll},
		{`[^\x00-\x1f]`, scanControl, wideAll},
		{`[^" ]`, scanControl, wideAll},
		{`[^\x00-\x20~]`, scanControl, wideAll},
		{`[^\x00-\x20\x7f]`, scanControl, wideAll},
		{`[^"\\]`, scanTable, wideAll},
		{`\W`, scanTable, wideAll},
		{`\d`, scanTable, wideNone},
		{`[a-z]`, scanTable, wideNone},
		{`(?i)k`, scanRunes, wideSome},
		{`\p{Han}`, scanRunes, wideSome},
		{`[^\p{Han}]`, scanRunes, wideSome},
		{`[^\x{fffd}]`, scanRunes, wideSome},
		{`[a\x{fffd}]`, scanRunes, wideSome},
		{`[a\x{80}-\x{10fffe}]`, scanRunes, wideSome},
		{`[\x{80}-\x{10ffff}]`, scanTable, wideAll},
		{`[\x{d7ff}-\x{e000}]`, scanRunes, wideSome},
	}
	oracle := spanOracle{}
	rnd := rand.New(rand.NewSource(5))
	for _, tt := range tests {
		re, err := syntax.Parse(tt.expr, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		ranges, ok := classRanges(re)
		if !ok {
			t.Fatalf("%s is no class", tt.expr)
		}
		c := newClass(ranges)
		if c.scan != tt.scan || c.wide != tt.wide {
			t.Errorf("%s: scan %d, wide %d; want %d, %d", tt.expr, c.scan, c.wide, tt.scan, tt.wide)
		}
		for range 2000 {
			b := randomBytes(rnd, rnd.Intn(60))
			least, most := rnd.Intn(4), -1
			if rnd.Intn(2) == 0 {
				most = least + rnd.Intn(20)
			}
			longest := oracle.of(tt.expr, least, most, "").FindIndex(b)
			shortest := oracle.of(tt.expr, least, most, "?").FindIndex(b)
			from, to, ok := c.span(b, 0, least, most)
			if ok != (longest != nil) || ok && (to != longest[1] || from != shortest[1]) {
				t.Fatalf("%s{%d,%d} on %q: %d to %d, %v; want %v to %v", tt.expr, least, most, b, from, to, ok, shortest, longest)
			}
		}
	}
}

// spanOracle matches what runeClass.span does.
type spanOracle map[string]*regexp.Regexp

func (o spanOracle) of(class string, least, most int, lazy string) *regexp.Regexp {
	expr := fmt.Sprintf(`\A(?:%s){%d,}%s`, class, least, lazy)
	if most >= 0 {
		expr = fmt.Sprintf(`\A(?:%s){%d,%d}%s`, class, least, most, lazy)
	}
	if o[expr] == nil {
		o[expr] = regexp.MustCompile(expr)
	}
	return o[expr]
}

func TestBeginsRuneIsWhereSteppingStops(t *testing.T) {
	rnd := rand.New(rand.NewSource(9))
	for range 5000 {
		b := randomBytes(rnd, rnd.Intn(20))
		stops := make([]bool, len(b)+1)
		for p := 0; p < len(b); {
			stops[p] = true
			_, n := utf8.DecodeRune(b[p:])
			p += n
		}
		stops[len(b)] = true
		for p, want := range stops {
			if got := beginsRune(b, p); got != want {
				t.Fatalf("%q at %d: %v, want %v", b, p, got, want)
			}
		}
	}
}
