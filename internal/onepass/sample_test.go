package onepass

import (
	"math/rand"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// sample appends a text that re may match: assertions are not heeded.
func sample(rnd *rand.Rand, dst []byte, re *syntax.Regexp) []byte {
	times := func(least, most int) {
		if most < 0 {
			most = least + 3
		}
		for n := least + rnd.Intn(most-least+1); n > 0; n-- {
			dst = sample(rnd, dst, re.Sub[0])
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if re.Flags&syntax.FoldCase != 0 {
				for n := rnd.Intn(3); n > 0; n-- {
					r = unicode.SimpleFold(r)
				}
			}
			dst = utf8.AppendRune(dst, r)
		}
	case syntax.OpCharClass:
		if len(re.Rune) > 0 {
			i := 2 * rnd.Intn(len(re.Rune)/2)
			width := int(re.Rune[i+1]-re.Rune[i]) + 1
			dst = utf8.AppendRune(dst, re.Rune[i]+rune(rnd.Intn(min(width, 90))))
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		dst = append(dst, pieces[rnd.Intn(len(pieces))]...)
	case syntax.OpCapture:
		dst = sample(rnd, dst, re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			dst = sample(rnd, dst, sub)
		}
	case syntax.OpAlternate:
		dst = sample(rnd, dst, re.Sub[rnd.Intn(len(re.Sub))])
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		least, most, _ := repeatBounds(re)
		times(least, most)
	}
	return dst
}
