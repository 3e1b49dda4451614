package segment

import (
	"fmt"
	"strings"
	"testing"

	"logtail/internal/server/query"
	"logtail/internal/sls"
)

// TestManyShapesAndConditions: rows that all have another key, and a query of
// the largest size. What a matcher remembers of them is bounded, and it finds
// what it should.
func TestManyShapesAndConditions(t *testing.T) {
	const rows = 5000
	tab := newTable(1)
	var lg sls.LogGroup
	for i := range rows {
		lg.Logs = append(lg.Logs, sls.Log{Sec: 1, Nsec: -1, Contents: []sls.Content{{Key: fmt.Appendf(nil, "k%d", i), Value: []byte("v")}}})
	}
	tab.add(1, &lg)
	conditions := make([]string, query.MaxConditions)
	for i := range conditions {
		conditions[i] = fmt.Sprintf("k%d:v", 2*i)
	}
	e, err := query.Parse(strings.Join(conditions, " or "))
	if err != nil {
		t.Fatal(err)
	}
	m := newTableMatcher(compile(e, nil), tab.view())
	m.startGroup(tab.groups[0])
	for i := range tab.groups[0].rows {
		if got, want := m.match(&tab.groups[0].rows[i]), i%2 == 0 && i < 2*query.MaxConditions; got != want {
			t.Fatalf("row %d: %v", i, got)
		}
	}
	if n := len(m.places) * rows; n > maxPlaces {
		t.Errorf("room for %d places is held, at most %d should be", n, maxPlaces)
	}
}
