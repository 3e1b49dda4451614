package state

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"logtail/internal/delivery"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestCommittedStateIsThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	a := Stream{
		ID: delivery.NewStreamID(), Pipeline: "p", Path: "/a.log", Dev: 1, Inode: 2, Birth: 3, HeadLen: 9, Head: 1 << 63, Base: 7, Seen: 5,
		Lanes: Lanes{{"f", delivery.Checkpoint{Point: delivery.Point{End: 9, Hash: 1<<64 - 1, State: []byte{1}}, Incarnation: "i", AbandonedFrom: 9}}},
	}
	b := Stream{ID: delivery.NewStreamID(), Pipeline: "p", Path: "/b.log", Pending: true}
	if err := s.Commit(Change{Put: []Stream{a, b}, Scanned: []string{"p"}, Now: 42}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(Change{Delete: []delivery.StreamID{b.ID}}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	streams, scanned, err := open(t, dir).Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(streams) != 1 || !reflect.DeepEqual(streams[0], a) {
		t.Errorf("got %+v, want %+v", streams, a)
	}
	if scanned["p"] != 42 {
		t.Errorf("first scan of p at %d, want 42", scanned["p"])
	}
}

func TestAForgottenPipelineIsScannedAnew(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.Commit(Change{Scanned: []string{"p"}, Now: 42}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(Change{Forget: []string{"p"}}); err != nil {
		t.Fatal(err)
	}
	if _, scanned, err := s.Load(); err != nil || len(scanned) != 0 {
		t.Errorf("got %v, %v", scanned, err)
	}
}

func TestASecondAgentIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := Open(dir)
	if err == nil || !strings.Contains(err.Error(), "in use by another agent") {
		t.Errorf("got %v", err)
	}
}

func TestANewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	db, err := bolt.Open(filepath.Join(dir, "state.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error {
		newer := seal(nil, metaBucket, []byte(keySums), 7, binary.AppendUvarint(nil, version+1))
		b := tx.Bucket([]byte(metaBucket))
		return errors.Join(b.Put([]byte(keySums), newer), b.Put([]byte(keyVersion), binary.AppendUvarint(nil, version+1)))
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "newer logtail") {
		t.Errorf("got %v", err)
	}
}

func TestARecordThatMakesNoSenseIsPutAsideAndNamed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	id, good := delivery.NewStreamID(), Stream{ID: delivery.NewStreamID(), Pipeline: "p"}
	b := &batch{}
	b.put[inStreams] = []item{{id[:], []byte("{")}}
	if err := errors.Join(s.commit(b), s.Commit(Change{Put: []Stream{good}})); err != nil {
		t.Fatal(err)
	}
	c, err := s.Read()
	if err != nil || len(c.Damaged) != 1 || !strings.Contains(c.Damaged[0], id.String()) {
		t.Errorf("damaged %q, %v", c.Damaged, err)
	}
	if len(c.Streams) != 1 || c.Streams[0].ID != good.ID {
		t.Errorf("the other streams are %+v", c.Streams)
	}
	s.Close()
	s = open(t, dir) // the sums are right
	if c, err := s.Read(); err != nil || len(c.Damaged) != 0 || s.Opened().Alarm() != "" {
		t.Errorf("told again: %q, %v, %q", c.Damaged, err, s.Opened().Alarm())
	}
}

func TestAFileWithManyFreePagesIsWhole(t *testing.T) {
	for _, n := range []int{1000, 2000, 4000, 8000} {
		dir := t.TempDir()
		s := open(t, dir)
		var c, gone Change
		for range n {
			c.Put = append(c.Put, Stream{ID: delivery.NewStreamID(), Pipeline: "p", Path: "/" + strings.Repeat("x", 300)})
			gone.Delete = append(gone.Delete, c.Put[len(c.Put)-1].ID)
		}
		for _, change := range []Change{c, gone, {Scanned: []string{"p"}, Now: 42}} {
			if err := s.Commit(change); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		if o := open(t, dir).Opened(); o.Aside != "" {
			t.Errorf("after %d streams that were forgotten: %s", n, o.Alarm())
		}
	}
}
