package status

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"logtail/internal/agent/ledger"
	"logtail/internal/agent/read"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// record is a stream of the file at path, delivered up to end.
func record(t *testing.T, path string, end uint64) state.Stream {
	t.Helper()
	f, facts, _, err := read.Look(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	return state.Stream{
		ID: delivery.NewStreamID(), Pipeline: "p", Path: path, Dev: facts.Dev, Inode: facts.Inode, Birth: facts.Birth, Seen: 7,
		Lanes: state.Lanes{{Flusher: "b", Checkpoint: delivery.Checkpoint{Point: delivery.Point{End: end}}}, {Flusher: "a", Checkpoint: delivery.Checkpoint{Point: delivery.Point{End: end + 1}}}},
	}
}

func TestStoredStatusOfAnAgentThatDoesNotRun(t *testing.T) {
	dir := t.TempDir()
	logs := t.TempDir()
	path := func(name string) string {
		p := filepath.Join(logs, name)
		if err := os.WriteFile(p, []byte("0123456789"), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	busy, idle, gone, moved, pending, ended := record(t, path("busy"), 4), record(t, path("idle"), 9), record(t, path("gone"), 3), record(t, path("moved"), 10), record(t, path("pending"), 0), record(t, path("ended"), 2)
	idle.Lanes = state.Lanes{{Flusher: "a", Checkpoint: delivery.Checkpoint{Point: delivery.Point{End: 10}}}}
	gone.SizeSeen = 8
	pending.Pending, pending.Lanes = true, nil
	ended.Ended, ended.High = delivery.ReasonTruncated, 6
	if err := os.Remove(gone.Path); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(moved.Path, moved.Path+".1"); err != nil {
		t.Fatal(err)
	}
	path("moved") // another file has its place
	counts := []ledger.Entry{{Key: ledger.Key{Pipeline: "p", Path: "/a", Reason: ledger.Refused}, Count: ledger.Count{Logs: 1, Bytes: 2, Times: 3}}}
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Commit(state.Change{Put: []state.Stream{busy, idle, gone, moved, pending, ended}, Scanned: []string{"empty"}, Counts: counts, Now: 1}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Stored(dir, nil); err == nil {
		t.Error("the state of a running agent is read")
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	s, list, err := Stored(dir, nil)
	want := Status{Files: 6, Counts: counts, Destinations: []Destination{}, Pipelines: []Pipeline{{Name: "empty"}, {Name: "p", Files: 6}}}
	if err != nil || list != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("status %+v, %v, %v", s, list, err)
	}
	if _, list, err = Stored(dir, func(f *File) bool { return f.Path != idle.Path }); err != nil || len(list) != 5 {
		t.Errorf("%d files, %v", len(list), err)
	}
	if _, list, err = Stored(dir, func(*File) bool { return true }); err != nil {
		t.Fatal(err)
	}
	type brief struct {
		State        string
		Size, Lag    int64
		Offset       uint64
		Acked        string
		Inode, Birth bool
	}
	got := map[string]brief{}
	for _, f := range list {
		acked, _ := f.Acked.MarshalJSON()
		got[filepath.Base(f.Path)] = brief{f.State, f.Size, f.Lag, f.Offset, string(acked), f.Inode == busy.Inode, f.Birth == busy.Birth}
	}
	for name, want := range map[string]brief{
		"busy":    {FileBusy, 10, 6, 5, `{"a":5,"b":4}`, true, true},
		"idle":    {FileIdle, 10, 0, 10, `{"a":10}`, false, false},
		"gone":    {FileGone, 8, 5, 4, `{"a":4,"b":3}`, false, false},
		"moved":   {FileGone, 0, 1, 11, `{"a":11,"b":10}`, false, false},
		"pending": {FilePending, 10, 0, 0, `{}`, false, false},
		"ended":   {FileEnded, 0, 4, 6, `{"a":3,"b":2}`, false, false},
	} {
		g := got[name]
		g.Birth = want.Birth // not every file system tells
		if g != want {
			t.Errorf("%s: %+v, want %+v", name, g, want)
		}
	}
}

func TestWithoutAStateThereIsNothingStored(t *testing.T) {
	if _, _, err := Stored(filepath.Join(t.TempDir(), "none"), nil); !os.IsNotExist(unwrap(err)) {
		t.Errorf("%v", err)
	}
}

func unwrap(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error }) //nolint:errorlint // it is what is unwrapped
		if !ok {
			return err
		}
		if _, ok := err.(*os.PathError); ok { //nolint:errorlint // likewise
			return err
		}
		err = u.Unwrap()
	}
}
