package onepass

import (
	"regexp"
	"testing"
)

// BenchmarkFindSubmatchIndex compares with package regexp. Every line differs from the
// one before only in being the same: what is measured is the matching, not the cache.
func BenchmarkFindSubmatchIndex(b *testing.B) {
	for _, s := range shapes {
		line := []byte(s.line)
		b.Run(s.name+"/onepass", func(b *testing.B) {
			r := mustCompile(b, s.expr)
			var dst []int
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				dst = r.FindSubmatchIndex(dst, line)
			}
		})
		b.Run(s.name+"/regexp", func(b *testing.B) {
			r := regexp.MustCompile(s.expr)
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				r.FindSubmatchIndex(line)
			}
		})
	}
}

// BenchmarkFullMatch is what the parsing plug-in does.
func BenchmarkFullMatch(b *testing.B) {
	for _, s := range []shape{shapes[0], shapes[1], shapes[7]} {
		line := []byte(s.line)
		b.Run(s.name+"/onepass", func(b *testing.B) {
			r := mustCompile(b, s.expr)
			var dst []int
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				dst = r.FullMatch(dst, line)
			}
		})
		b.Run(s.name+"/regexp", func(b *testing.B) {
			r := regexp.MustCompile(`\A(?:` + s.expr + `)\z`)
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				r.FindSubmatchIndex(line)
			}
		})
	}
}

// BenchmarkMatchPrefix is what finding the first lines of logs with several lines does: for
// one line that begins a log there are nine of a stack trace.
func BenchmarkMatchPrefix(b *testing.B) {
	first, trace := []byte(log4jLine), []byte(traceLine)
	b.Run("onepass", func(b *testing.B) {
		r := mustCompile(b, startExpr)
		b.SetBytes(int64(len(first) + 9*len(trace)))
		for b.Loop() {
			r.MatchPrefix(first)
			for range 9 {
				r.MatchPrefix(trace)
			}
		}
	})
	b.Run("regexp", func(b *testing.B) {
		r := regexp.MustCompile(`\A(?:` + startExpr + `)`)
		b.SetBytes(int64(len(first) + 9*len(trace)))
		for b.Loop() {
			r.Match(first)
			for range 9 {
				r.Match(trace)
			}
		}
	})
	b.Run("onepass, first lines only", func(b *testing.B) {
		r := mustCompile(b, startExpr)
		b.SetBytes(int64(len(first)))
		for b.Loop() {
			r.MatchPrefix(first)
		}
	})
}
