package segment

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"logtail/internal/server/index"
	"logtail/internal/server/index/indextest"
	"logtail/internal/server/query"
	"logtail/internal/server/shardlog"
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

// TestPagesAreBounded in memory and on disk, but for a single row.
func TestPagesAreBounded(t *testing.T) {
	lg := &sls.LogGroup{}
	for i := range 8 {
		lg.Logs = append(lg.Logs, sls.Log{Sec: uint32(i), Nsec: -1, Contents: []sls.Content{pair("big", strings.Repeat("x", 1000))}})
	}
	for name, x := range map[string]*Index{"sealed": sealed(t, Options{}, lg), "memory": openTest(t, t.TempDir(), Options{})} {
		if name == "memory" {
			rec := indextest.Encode(lg, sls.CompressZstd)
			rec.Seq = 1
			mustApply(t, x, []shardlog.Record{rec})
		}
		for _, c := range []struct {
			limit, bytes int
			tooLarge     bool
		}{{8, 0, false}, {8, 8024, false}, {8, 8023, true}, {2, 1500, true}, {1, 10, false}} {
			res, err := x.Search(testCtx, testKey.Store, index.SearchRequest{From: 0, To: 100, Where: query.All{}, Limit: c.limit, MaxBytes: c.bytes})
			if c.tooLarge != errors.Is(err, index.ErrTooLarge) || err == nil && len(res.Rows) != c.limit {
				t.Errorf("%s: %d rows of %d bytes at most: %d rows, %v", name, c.limit, c.bytes, len(res.Rows), err)
			}
		}
	}
}
