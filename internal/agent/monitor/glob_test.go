package monitor

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

func TestMatchName(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a.log", "a.log", true},
		{"a.log", "a.logx", false},
		{"a.log", "xa.log", false},
		{"*", "", true},
		{"*", "anything", true},
		{"*.log", ".log", true},
		{"*.log", "a.log.1", false},
		{"*.log*", "a.log.1", true},
		{"a*b*c", "axxbyyc", true},
		{"a*b*c", "axxbyy", false},
		{"a*b*c", "abbc", true},
		{"**", "abc", true},
		{"?", "", false},
		{"?", "a", true},
		{"?", "ab", false},
		{"?", "é", true},
		{"??", "é", false},
		{"a?c", "a日c", true},
		{"?", "\xff", true},
		{"a*", "a\xff\xfe", true},
		{"\xff?.log", "\xff1.log", true},
		{"[ab].log", "a.log", false},
		{"[ab].log", "[ab].log", true},
		{"{a,b}", "a", false},
		{`a\*`, `a\b`, true},
		{"", "", true},
		{"", "a", false},
		{strings.Repeat("a*", 30) + "b", strings.Repeat("a", 2000), false}, // no blow-up
	} {
		if got := matchName(c.pattern, c.name); got != c.want {
			t.Errorf("matchName(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

func TestMatchPartsNeverCrossesASeparatorWithOneStar(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/home/admin/*/dir", "/home/admin/a/dir", true},
		{"/home/admin/*/dir", "/home/admin/a/b/dir", false},
		{"/home/**/dir", "/home/dir", true},
		{"/home/**/dir", "/home/a/b/c/dir", true},
		{"/home/**/dir", "/home/a/b/c/dirx", false},
		{"/**/x/**/y", "/a/x/b/y", true},
		{"/**/x/**/y", "/a/y/b/x", false},
		{"/a/**", "/a/b/c", true},
		{"/*", "/a/b", false},
		{"/a*c", "/a/c", false},
		{"/a?c", "/a/c", false},
	} {
		if got := matchParts(split(c.pattern), split(c.path)); got != c.want {
			t.Errorf("matchParts(%q, %q) = %v", c.pattern, c.path, got)
		}
	}
}

// The oracle is doublestar, with its additional syntax escaped.
func FuzzMatchAgainstDoublestar(f *testing.F) {
	f.Add("/a*/b?/**/c.log", "/ax/by/1/2/c.log")
	f.Add("/*[a]{b}!", "/x[a]{b}!")
	f.Add("/**/**/a", "/a")
	f.Add("/*?*", "/é")
	escape := strings.NewReplacer(`[`, `\[`, `]`, `\]`, `{`, `\{`, `}`, `\}`, `\`, `\\`)
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(path) || len(pattern) > 200 || len(path) > 200 {
			return // doublestar's idea of a character in broken text is another one
		}
		pp, np := split(pattern), split(path)
		for _, part := range pp {
			if part != "**" && strings.Contains(part, "**") {
				return // refused by the parser
			}
		}
		want, err := doublestar.Match("/"+escape.Replace(strings.Join(pp, "/")), "/"+strings.Join(np, "/"))
		if err != nil {
			t.Skip()
		}
		if len(np) == 0 || len(pp) == 0 {
			return
		}
		if got := matchParts(pp, np); got != want {
			t.Errorf("matchParts(%q, %q) = %v, doublestar says %v", pp, np, got, want)
		}
	})
}

func BenchmarkMatchName(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if !matchName("access*.log*", "access-2024-05-01.log.12") {
			b.Fatal("no match")
		}
	}
}
