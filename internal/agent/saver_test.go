package agent

import (
	"bytes"
	"os"
	"testing"
	"time"

	"logtail/internal/agent/ledger"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// The streams of a first scan are stored in parts, the mark with the last one.
func TestAFirstScanThatWasCutOffBeginsAgain(t *testing.T) {
	f := newFixture(t)
	f.append("a.log", "a 1")
	f.append("b.log", "b 1")
	f.append("old.log", "old 1")
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(f.path("old.log"), past, past); err != nil {
		t.Fatal(err)
	}
	f.store.down = true
	a := f.start()
	until(t, "all files are known", func() bool { return a.stats.Files.Load() == 3 && a.runs["p"].complete.Load() })
	f.stop()
	st, err := state.Open(f.data)
	if err != nil {
		t.Fatal(err)
	}
	list, scanned, err := st.Load()
	if err != nil || len(list) != 3 || len(scanned) != 1 {
		t.Fatalf("%d streams and %d marks are stored: %v", len(list), len(scanned), err)
	}
	cut := state.Change{Forget: []string{"p"}}
	for i := range list {
		if list[i].Path == f.path("b.log") {
			cut.Delete = append(cut.Delete, list[i].ID)
		}
	}
	if err := st.Commit(cut); err != nil {
		t.Fatal(err)
	}
	st.Close()
	f.store.down = false
	a = f.start()
	f.store.await(t, "a 1", "b 1")
	f.append("a.log", "a 2")
	f.append("old.log", "old 2")
	f.store.await(t, "a 1", "a 2", "b 1", "old 1", "old 2")
	f.stop()
	if c := f.counted(a, "old.log", ledger.Unmodified); c.Times != 1 {
		t.Errorf("the idle file is counted %d times", c.Times)
	}
}

func TestManyStreamsAreStoredInPartsOfTheFile(t *testing.T) {
	st, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	v := newSaver(nil, st)
	for _, n := range []int{0, 1, saveBatch, saveBatch + 1, 3 * saveBatch} {
		list := make([]*stream, n)
		for i := range list {
			list[i] = &stream{rec: state.Stream{ID: delivery.NewStreamID()}}
		}
		seen, ended := 0, false
		var highest delivery.StreamID
		err := v.inParts(list, func(part []*stream, last bool) error {
			if ended || len(part) > saveBatch || !last && len(part) == 0 {
				t.Errorf("of %d streams: a part of %d, the last one: %v", n, len(part), last)
			}
			for _, s := range part {
				if n > saveBatch && bytes.Compare(s.rec.ID[:], highest[:]) < 0 {
					t.Fatalf("of %d streams: a part is out of order", n)
				}
				highest = s.rec.ID
			}
			seen, ended = seen+len(part), last
			return nil
		})
		if err != nil || seen != n || !ended {
			t.Errorf("%d of %d streams, the last part: %v: %v", seen, n, ended, err)
		}
	}
}
