package onepass

import (
	"strings"
	"testing"
)

func TestShapes(t *testing.T) {
	begins := map[string]string{"straight": "straight line", "choices": "choice points", "standard": "standard library"}
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			r := mustCompile(t, s.expr)
			if got := r.Explain(); !strings.HasPrefix(got, begins[s.plan]) {
				t.Errorf("executed as %q, want %s\n%s", got, begins[s.plan], listing(r.shared.find.prog))
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
