package state

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"logtail/internal/delivery"
)

func TestAFailedCommitChangesNothingAndTheNextOneWorks(t *testing.T) {
	dir, want := lived(t, 20)
	s := open(t, dir)
	s.file.Close() // every write fails, as on a disk that is gone
	a := Stream{ID: delivery.NewStreamID(), Pipeline: "p"}
	if err := s.Commit(Change{Put: []Stream{a}}); err == nil || !strings.Contains(err.Error(), s.path) {
		t.Fatalf("got %v", err)
	}
	if got := all(t, s); got != want {
		t.Error("a failed commit is seen")
	}
	if err := s.Commit(Change{Put: []Stream{a}}); err != nil {
		t.Fatal(err)
	}
	want = all(t, s)
	s.Close()
	if s = open(t, dir); all(t, s) != want || s.Opened().Alarm() != "" {
		t.Errorf("after reopening: %s", s.Opened().Alarm())
	}
}

func TestAFileThatIsDamagedWhileItIsUsedHeals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file that is mapped cannot be cut off there")
	}
	page := int64(os.Getpagesize())
	for name, damage := range map[string]func(f *os.File, size int64) error{
		"noise": func(f *os.File, size int64) error {
			_, err := f.WriteAt(bytes.Repeat([]byte{0xFF}, int(size-2*page)), 2*page)
			return err
		},
		"zeros":   func(f *os.File, size int64) error { _, err := f.WriteAt(make([]byte, size), 0); return err },
		"cut off": func(f *os.File, _ int64) error { return f.Truncate(2 * page) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := lived(t, 200)
			s := open(t, dir)
			f, err := os.OpenFile(stateFile(dir), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err == nil {
				err = damage(f, info.Size())
			}
			if err != nil {
				t.Fatal(err)
			}
			c, _ := example(200)
			if err := s.Commit(c); err == nil {
				t.Fatal("a commit into a damaged file went well")
			}
			if err := s.Commit(c); !errors.Is(err, ErrHealed) {
				t.Fatalf("got %v", err)
			}
			if o := s.Opened(); o.Aside == "" || o.Alarm() == "" {
				t.Errorf("%+v", o)
			}
			if err := s.Commit(c); err != nil {
				t.Fatal(err)
			}
			got, err := s.Read()
			if err != nil || len(got.Streams) != 200 {
				t.Errorf("%d streams, %v", len(got.Streams), err)
			}
		})
	}
}

func TestCommitsOfManyCallersAreAllThere(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var callers sync.WaitGroup
	const count, each = 16, 20
	for i := range count {
		callers.Go(func() {
			for j := range each {
				lane := delivery.LaneID{byte(i), byte(j)}
				st := Stream{ID: delivery.StreamID{byte(i), byte(j)}, Pipeline: "p"}
				if err := errors.Join(s.PutSeq(map[delivery.LaneID]Seq{lane: {Next: uint64(j)}}), s.Commit(Change{Put: []Stream{st}})); err != nil {
					t.Error(err)
				}
				if j%5 == 4 {
					if err := s.DeleteSeq([]delivery.LaneID{lane}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	callers.Wait()
	want := all(t, s)
	s.Close()
	s = open(t, dir)
	if got := all(t, s); got != want {
		t.Error("the state is another one after reopening")
	}
	seq, err := s.LoadSeq()
	streams, _, err2 := s.Load()
	if err := errors.Join(err, err2); err != nil || len(seq) != count*each*4/5 || len(streams) != count*each {
		t.Errorf("%d sequence numbers, %d streams, %v", len(seq), len(streams), err)
	}
}

func TestACommitOfNothingWritesNothing(t *testing.T) {
	dir, _ := lived(t, 3)
	s := open(t, dir)
	before, err := os.ReadFile(stateFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Commit(Change{Now: 7}), s.PutSeq(nil), s.DeleteSeq(nil)); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(stateFile(dir)); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file changed, %v", err)
	}
}

func TestAClosedStateSaysSo(t *testing.T) {
	s := open(t, t.TempDir())
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(Change{Scanned: []string{"p"}}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Read(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestAFolderThatCannotBeWrittenIsAnErrorWithARemedy(t *testing.T) {
	if runtime.GOOS == "windows" || os.Getuid() == 0 {
		t.Skip("rights do not bind this user")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "give the agent's user the right") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyTheNewestDamagedFilesAreKept(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 * maxAside {
		if err := os.WriteFile(stateFile(dir), []byte(fmt.Sprint("damaged ", i)), 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		o := s.Opened()
		s.Close()
		if b, err := os.ReadFile(o.Aside); err != nil || string(b) != fmt.Sprint("damaged ", i) {
			t.Errorf("%q, %v", b, err)
		}
	}
	if list, _ := filepath.Glob(filepath.Join(dir, asideName+"*")); len(list) != maxAside {
		t.Errorf("kept %v", list)
	}
}

func TestWhoOnlyReadsSeesTheSame(t *testing.T) {
	dir, _ := lived(t, 30)
	s := open(t, dir)
	want, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReadOnly(dir); err == nil || !strings.Contains(err.Error(), "in use by a running agent") {
		t.Errorf("beside an agent: %v", err)
	}
	s.Close()
	got, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	if text(t, &got, nil) != text(t, &want, nil) {
		t.Error("it sees another state")
	}
	edit(t, dir, func(b []byte) []byte { clear(b[:2*os.Getpagesize()]); return b })
	before, err := os.ReadFile(stateFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	got, err = OpenReadOnly(dir)
	if err != nil || len(got.Streams) != 30 || !strings.Contains(strings.Join(got.Damaged, " "), "meta page") {
		t.Errorf("of a damaged file it sees %d streams, %q, %v", len(got.Streams), got.Damaged, err)
	}
	if after, err := os.ReadFile(stateFile(dir)); err != nil || !bytes.Equal(before, after) {
		t.Errorf("it changed the file, %v", err)
	}
	if _, err := OpenReadOnly(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a state: %v", err)
	}
}

// What was deleted long ago must not come back when a page is damaged, and
// sequence numbers must never go back.
func TestOlderCopiesStandInForLostStreamsAndNotForSequenceNumbers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	c, seq := example(150)
	if err := errors.Join(s.Commit(c), s.PutSeq(seq)); err != nil {
		t.Fatal(err)
	}
	for id, q := range seq {
		q.Next += 1000
		seq[id] = q
	}
	for i := range c.Put {
		c.Put[i].High = 77
	}
	if err := errors.Join(s.PutSeq(seq), s.Commit(Change{Put: c.Put})); err != nil {
		t.Fatal(err)
	}
	s.Close()
	size := int64(os.Getpagesize())
	edit(t, dir, func(b []byte) []byte { // every page with newest copies is lost
		im, err := readImage(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		gone := map[uint64]bool{}
		w := walk{im: im, meta: im.metas[0], fault: func(string, keyRange, string, ...any) {}, record: func(string, []byte, []byte) {}}
		w.run()
		for id := range w.seen {
			p, err := im.read(id, im.metas[0].pages)
			if err != nil || p.flags != flagLeaf || p.count == 0 {
				continue
			}
			key, value, isBucket, _ := p.item(0)
			for _, name := range []string{"streams", "seqid"} {
				if _, _, ok := unseal(name, key, value); ok && !isBucket {
					gone[id] = true
				}
			}
		}
		for id := range maps.Keys(gone) {
			clear(b[int64(id)*size : int64(id+1)*size])
		}
		return b
	})
	s = open(t, dir)
	got, err := s.Read()
	if err != nil || s.Opened().Older == 0 || s.Opened().LostRecords == 0 {
		t.Fatalf("%v, %+v", err, s.Opened())
	}
	if len(got.Streams) < 100 {
		t.Errorf("older copies of %d streams of 150", len(got.Streams))
	}
	left, err := s.LoadSeq()
	if err != nil {
		t.Fatal(err)
	}
	for id, q := range left {
		if q.Next != seq[id].Next {
			t.Errorf("lane %v goes back to %d, it was at %d", id, q.Next, seq[id].Next)
		}
	}
}
