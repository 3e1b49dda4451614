package onepass

import "testing"

// FuzzEqual compares all four questions with package regexp.
func FuzzEqual(f *testing.F) {
	for _, s := range shapes {
		f.Add(s.expr, s.line)
	}
	for _, c := range regressions {
		for _, text := range c.texts {
			f.Add(c.expr, text)
		}
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		if len(expr) > 300 || len(text) > 2000 {
			return // compiling and the oracle would take most of the time
		}
		o, ok := newOracle(expr)
		if !ok {
			return
		}
		r := mustCompile(t, expr)
		if d := o.difference(r, nil, []byte(text)); d != "" {
			t.Error(d)
		}
	})
}

// FuzzEqualText looks for texts with which the expressions of the shapes differ.
func FuzzEqualText(f *testing.F) {
	for i, s := range shapes {
		f.Add(uint(i), []byte(s.line))
	}
	f.Fuzz(func(t *testing.T, i uint, text []byte) {
		s := shapes[i%uint(len(shapes))]
		o, _ := newOracle(s.expr)
		if d := o.difference(mustCompile(t, s.expr), nil, text); d != "" {
			t.Error(d)
		}
	})
}
