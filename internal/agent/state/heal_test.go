package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"logtail/internal/agent/ledger"
	"logtail/internal/delivery"
)

// example fills every bucket, n records of most kinds.
func example(n int) (Change, map[delivery.LaneID]Seq) {
	c := Change{Scanned: []string{"p", "q"}, Now: 42}
	seq := map[delivery.LaneID]Seq{}
	for i := range n {
		id := delivery.StreamID{byte(i * 7), byte(i), byte(i >> 8), 1}
		c.Put = append(c.Put, Stream{
			ID: id, Pipeline: "p", Path: fmt.Sprintf("/var/log/app-%d.log", i), Dev: 1, Inode: uint64(i), Birth: 3, Seen: 5,
			HeadLen: 9, Head: 1 << 63, Base: 7, Born: 11, Real: "/srv/x", Compressed: "gzip", Was: []delivery.StreamID{{1}, {2}}, IDs: map[string]delivery.StreamID{"f": {3}}, SizeSeen: 12, Missed: 13,
			Lanes: Lanes{{"f", delivery.Checkpoint{Point: delivery.Point{End: uint64(i), Hash: 1<<64 - 1, State: []byte{1}}, Incarnation: "i", AbandonedFrom: 9}}},
		})
		c.PutTombs = append(c.PutTombs, Tomb{Pipeline: "p", Dir: "/var/log", HeadLen: 10, Head: uint64(i), End: 99, Tail: 98, At: 40})
		c.PutHints = append(c.PutHints, Hint{Path: fmt.Sprint("/h", i), Dev: 1, Inode: uint64(i), Offset: 3, From: "filebeat", At: 4})
		c.Counts = append(c.Counts, ledger.Entry{Key: ledger.Key{Pipeline: "p", Path: fmt.Sprint("/c", i), Reason: ledger.Filtered}, Count: ledger.Count{Logs: 1, Bytes: 2, Times: 3}})
		seq[id.Lane("f", "")] = Seq{Key: "k", Next: uint64(i), SeqPlace: SeqPlace{End: 5, State: []byte{2}}, Pend: []SeqIntent{{SeqPlace: SeqPlace{End: 6}}}}
	}
	return c, seq
}

// all is everything in a store, as text, so that states can be compared.
func all(t testing.TB, s *Store) string {
	t.Helper()
	c, err := s.Read()
	seq, err2 := s.LoadSeq()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return text(t, &c, seq)
}

func text(t testing.TB, c *Content, seq map[delivery.LaneID]Seq) string {
	t.Helper()
	if len(c.Damaged) > 0 {
		t.Errorf("damaged: %q", c.Damaged)
	}
	var lines []string
	for i := range c.Streams {
		v, _ := json.Marshal(c.Streams[i])
		lines = append(lines, c.Streams[i].ID.String()+string(v))
	}
	slices.Sort(lines)
	for _, list := range []any{c.Scanned, c.Counts, c.Tombs, c.Hints} {
		v, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(v))
	}
	for _, id := range slices.SortedFunc(maps.Keys(seq), func(a, b delivery.LaneID) int { return bytes.Compare(a[:], b[:]) }) {
		lines = append(lines, fmt.Sprintf("%v %+v", id, seq[id]))
	}
	return strings.Join(lines, "\n")
}

// lived is a folder with a state of some commits, closed, and what is in it.
func lived(t *testing.T, n int) (dir, content string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir)
	c, seq := example(n)
	if err := errors.Join(s.Commit(c), s.PutSeq(seq)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // every record in a page of its own age
		if err := errors.Join(s.Commit(Change{Put: c.Put[:n/2]}), s.PutSeq(seq)); err != nil {
			t.Fatal(err)
		}
	}
	content = all(t, s)
	s.Close()
	return dir, content
}

func stateFile(dir string) string { return filepath.Join(dir, fileName) }

// edit changes the bytes of a closed state.
func edit(t *testing.T, dir string, change func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(stateFile(dir))
	if err == nil {
		err = os.WriteFile(stateFile(dir), change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestEverythingIsThereAfterReopening(t *testing.T) {
	dir, want := lived(t, 50)
	s := open(t, dir)
	if got := all(t, s); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if o := s.Opened(); o.Alarm() != "" || o.Aside != "" {
		t.Errorf("an alarm without a cause: %+v", o)
	}
	want50, _ := example(50)
	c, _ := s.Read()
	if !reflect.DeepEqual(c.Counts, sortedCounts(want50.Counts)) || len(c.Tombs) != 50 || len(c.Hints) != 50 || c.Scanned["q"] != 42 {
		t.Errorf("%d counts, %d tombstones, %d hints, %v", len(c.Counts), len(c.Tombs), len(c.Hints), c.Scanned)
	}
	if i := slices.IndexFunc(c.Streams, func(s Stream) bool { return s.ID == want50.Put[3].ID }); !reflect.DeepEqual(c.Streams[i], want50.Put[3]) {
		t.Errorf("got %+v\nwant %+v", c.Streams[i], want50.Put[3])
	}
}

func sortedCounts(list []ledger.Entry) []ledger.Entry {
	return slices.SortedFunc(slices.Values(list), func(a, b ledger.Entry) int { return strings.Compare(a.Path, b.Path) })
}

func TestWhatIsDroppedIsGone(t *testing.T) {
	dir, _ := lived(t, 5)
	s := open(t, dir)
	c, seq := example(5)
	change := Change{DropTombs: c.PutTombs, DropHints: c.PutHints, Forget: []string{"p", "q"}}
	for i := range c.Put {
		change.Delete = append(change.Delete, c.Put[i].ID)
	}
	if err := errors.Join(s.Commit(change), s.DeleteSeq(slices.Collect(maps.Keys(seq)))); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, dir)
	got, err := s.Read()
	left, err2 := s.LoadSeq()
	if err := errors.Join(err, err2); err != nil || len(got.Streams)+len(got.Tombs)+len(got.Hints)+len(got.Scanned)+len(left) != 0 {
		t.Errorf("%+v, %v, %v", got, left, err)
	}
}

func TestTombstonesAreBounded(t *testing.T) {
	s := open(t, t.TempDir())
	const week = 7 * 24 * 3600
	list := []Tomb{{Pipeline: "too old", At: 100}, {Pipeline: "just in time", At: 101}}
	if err := s.Commit(Change{PutTombs: list, Now: 101 + week}); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Read(); err != nil || len(c.Tombs) != 1 || c.Tombs[0].Pipeline != "just in time" {
		t.Fatalf("%+v, %v", c.Tombs, err)
	}
	list = list[:0]
	for i := range maxTombs {
		list = append(list, Tomb{Pipeline: "p", Head: uint64(i), At: 200})
	}
	if err := s.Commit(Change{PutTombs: list, Now: 300}); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Read(); err != nil || len(c.Tombs) != maxTombs || c.Tombs[0].At != 200 {
		t.Errorf("%d tombstones, the oldest %+v, %v", len(c.Tombs), c.Tombs[0], err)
	}
}

// old makes a state of format 1.
func old(t *testing.T, dir string, streams map[string][]byte) {
	t.Helper()
	db, err := bolt.Open(stateFile(dir), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error {
		for _, name := range []string{metaBucket, "pipelines", "streams"} {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		for k, v := range streams {
			if err := tx.Bucket([]byte("streams")).Put([]byte(k), v); err != nil {
				return err
			}
		}
		return errors.Join(tx.Bucket([]byte(metaBucket)).Put([]byte(keyVersion), []byte{1}),
			tx.Bucket([]byte("pipelines")).Put([]byte("p"), binary.AppendVarint(nil, 42)))
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAnOlderFormatIsRead(t *testing.T) {
	dir := t.TempDir()
	id := delivery.NewStreamID()
	old(t, dir, map[string][]byte{string(id[:]): []byte(`{"pipeline":"p","path":"/a","dev":1,"ino":2,"seen":3}`)})
	for range 2 { // it stays what it became
		s := open(t, dir)
		c, err := s.Read()
		if err != nil || len(c.Streams) != 1 || c.Streams[0].ID != id || c.Streams[0].Inode != 2 || c.Scanned["p"] != 42 {
			t.Fatalf("%+v, %v", c, err)
		}
		if s.Opened().Alarm() != "" {
			t.Error(s.Opened().Alarm())
		}
		s.Close()
	}
	if list, _ := filepath.Glob(filepath.Join(dir, "*")); len(list) != 2 {
		t.Errorf("left in the folder: %v", list)
	}
}

func TestADamagedRecordOfAnOlderFormatIsToldAndKept(t *testing.T) {
	dir := t.TempDir()
	id, bad := delivery.NewStreamID(), delivery.NewStreamID()
	old(t, dir, map[string][]byte{string(id[:]): []byte(`{"pipeline":"p"}`), string(bad[:]): []byte("{")})
	s := open(t, dir)
	c, err := s.Read()
	o := s.Opened()
	if err != nil || len(c.Streams) != 1 || c.Streams[0].ID != id || o.LostRecords != 1 || !strings.Contains(o.Alarm(), bad.String()) {
		t.Errorf("%+v, %v, %+v", c, err, o)
	}
	if _, err := os.Stat(o.Aside); err != nil {
		t.Error(err)
	}
	if err := s.db.View(func(tx *bolt.Tx) error {
		if v := tx.Bucket([]byte("damaged")).Get(damagedKey(inStreams, bad[:])); v == nil {
			t.Error("the damaged record was not kept")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestADamagedFileIsPutAsideAndSalvaged(t *testing.T) {
	page := os.Getpagesize()
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		whole  bool // nothing is lost
		anew   bool
		alarm  string
	}{
		{"both meta pages", func(b []byte) []byte { clear(b[:2*page]); return b }, false, false, "neither of its two meta pages"},
		{"not a state at all", func([]byte) []byte { return []byte("hello") }, false, true, "first contact"},
		{"all zeros", func(b []byte) []byte { clear(b); return b }, false, true, "first contact"},
		{"cut off in the meta pages", func(b []byte) []byte { return b[:page+7] }, false, true, "first contact"},
		{"cut off behind them", func(b []byte) []byte { return b[:2*page] }, false, true, "cut off"},
		{"cut off in the middle", func(b []byte) []byte { return b[:len(b)/4] }, false, false, "cut off"},
		{"wrong magic", func(b []byte) []byte { b[16], b[page+16] = 1, 1; return b }, false, false, "neither of its two meta pages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := lived(t, 200)
			edit(t, dir, c.change)
			s := open(t, dir)
			o := s.Opened()
			if o.Anew != c.anew || !strings.Contains(o.Alarm(), c.alarm) || o.LostRecords == 0 {
				t.Errorf("%+v: %s", o, o.Alarm())
			}
			got, err := s.Read()
			if err != nil || (len(got.Streams) == 0) != c.anew {
				t.Errorf("%d streams, %v", len(got.Streams), err)
			}
			if _, err := os.Stat(o.Aside); err != nil {
				t.Error(err)
			}
			s.Close()
			s = open(t, dir) // nothing was committed: it is told again
			if again := s.Opened(); !reflect.DeepEqual(again, o) {
				t.Errorf("told %+v at the second opening", again)
			}
			if err := s.Commit(Change{Scanned: []string{"new"}}); err != nil {
				t.Fatal(err)
			}
			s.Close()
			if s = open(t, dir); s.Opened().Alarm() != "" {
				t.Errorf("told again: %s", s.Opened().Alarm())
			}
		})
	}
}
