package ledger

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"

	"logtail/internal/agent/event"
	"logtail/internal/delivery"
)

func entry(path string, r Reason, logs, bytes, times int64) Entry {
	return Entry{Key{"p", path, r}, Count{logs, bytes, times}}
}

func TestCountsAddUpByKeyAndAreSorted(t *testing.T) {
	l := New(nil)
	l.Add(Key{"p", "/b", Filtered}, Count{Logs: 2})
	l.Add(Key{"p", "/a", FileDeleted}, Count{Bytes: 10})
	l.Add(Key{"p", "/b", Filtered}, Count{Logs: 3, Times: 4})
	l.Add(Key{"p", "/a", Filtered}, Count{Logs: 1})
	want := []Entry{entry("/a", FileDeleted, 0, 10, 1), entry("/a", Filtered, 1, 0, 1), entry("/b", Filtered, 5, 0, 5)}
	if got := l.Snapshot(); !reflect.DeepEqual(got, want) {
		t.Errorf("snapshot %v, want %v", got, want)
	}
}

func TestNothingThatWasKeptIsCounted(t *testing.T) {
	l := New(nil)
	l.Add(Key{"p", "/a", Dropped(event.Kept)}, Count{Logs: 1})
	l.Add(Key{"p", "/a", Filtered}, Count{Logs: -5, Bytes: -1, Times: -1})
	if got, want := l.Snapshot(), []Entry{entry("/a", Filtered, 0, 0, 1)}; !reflect.DeepEqual(got, want) {
		t.Errorf("snapshot %v, want %v", got, want)
	}
}

func TestChangedHasTotalsAndEachChangeOnce(t *testing.T) {
	l := New([]Entry{entry("/a", Refused, 7, 70, 1), entry("/b", Refused, 1, 1, 1)})
	if got := l.Changed(); got != nil {
		t.Errorf("what is stored counts as changed: %v", got)
	}
	l.Add(Key{"p", "/a", Refused}, Count{Logs: 1, Bytes: 10})
	want := []Entry{entry("/a", Refused, 8, 80, 2)}
	if got := l.Changed(); !reflect.DeepEqual(got, want) {
		t.Errorf("changed %v, want %v", got, want)
	}
	if got := l.Changed(); got != nil {
		t.Errorf("changed again: %v", got)
	}
}

func TestWhatCouldNotBeStoredIsChangedAgainWithItsNewTotal(t *testing.T) {
	l := New(nil)
	l.Add(Key{"p", "/a", Expired}, Count{Logs: 1})
	failed := l.Changed()
	l.Add(Key{"p", "/b", Expired}, Count{Logs: 1})
	l.Restore(failed)
	l.Add(Key{"p", "/a", Expired}, Count{Logs: 1})
	want := []Entry{entry("/a", Expired, 2, 0, 2), entry("/b", Expired, 1, 0, 1)}
	if got := l.Changed(); !reflect.DeepEqual(got, want) {
		t.Errorf("changed %v, want %v", got, want)
	}
	l.Restore([]Entry{entry("/never", Expired, 1, 1, 1)})
	if got := l.Changed(); got != nil {
		t.Errorf("a key that was never counted: %v", got)
	}
}

// No count is lost to the bound: what has no place of its own goes to other files.
func TestPathsAreBoundedAndTheSumStays(t *testing.T) {
	l := New(nil)
	const extra = 500
	for i := range MaxPaths + extra {
		l.Add(Key{"p", fmt.Sprintf("/log/%d", i), FileDeleted}, Count{Bytes: 2})
	}
	l.Add(Key{"p", "/log/0", Filtered}, Count{Logs: 1}) // known, so another reason has its place
	l.Add(Key{"p", "/new", Filtered}, Count{Logs: 1})
	list := l.Snapshot()
	var bytes int64
	named := map[Key]Count{}
	for _, e := range list {
		bytes += e.Bytes
		named[e.Key] = e.Count
	}
	if len(list) != MaxPaths+3 {
		t.Errorf("%d entries", len(list))
	}
	if bytes != 2*(MaxPaths+extra) {
		t.Errorf("%d bytes counted", bytes)
	}
	for k, want := range map[Key]Count{
		{"p", "", FileDeleted}:    {0, 2 * extra, extra},
		{"p", "", Filtered}:       {1, 0, 1},
		{"p", "/log/0", Filtered}: {1, 0, 1},
	} {
		if named[k] != want {
			t.Errorf("%v: %v, want %v", k, named[k], want)
		}
	}
	// Stored and taken up again, it is the same.
	if got := New(list).Snapshot(); !reflect.DeepEqual(got, list) {
		t.Errorf("taken up again there are %d entries, stored were %d", len(got), len(list))
	}
}

// Were they counted together, the stored ones would be added once more by the next start.
func TestStoredPathsAboveTheBoundKeepTheirCounts(t *testing.T) {
	stored := []Entry{entry("", Refused, 5, 0, 1)}
	for i := range MaxPaths + 2 {
		stored = append(stored, entry(fmt.Sprintf("/%05d", i), Refused, 1, 0, 1))
	}
	l := New(stored)
	if got := l.Snapshot(); !reflect.DeepEqual(got, stored) {
		t.Errorf("%d entries, stored were %d", len(got), len(stored))
	}
	l.Add(Key{"p", "/new", Refused}, Count{Logs: 1})
	if got, want := l.Changed(), []Entry{entry("", Refused, 6, 0, 2)}; !reflect.DeepEqual(got, want) {
		t.Errorf("changed %v, want %v", got, want)
	}
}

func TestAPathThatIsTooLongIsAnotherFile(t *testing.T) {
	l := New(nil)
	l.Add(Key{"p", "/" + strings.Repeat("x", maxPath), Filtered}, Count{Logs: 1})
	if got, want := l.Snapshot(), []Entry{entry("", Filtered, 1, 0, 1)}; !reflect.DeepEqual(got, want) {
		t.Errorf("snapshot %v, want %v", got, want)
	}
}

func TestCountsDoNotWrapAround(t *testing.T) {
	l := New([]Entry{entry("/a", Refused, math.MaxInt64-1, 0, 1)})
	l.Add(Key{"p", "/a", Refused}, Count{Logs: 5})
	if got := l.Snapshot()[0].Logs; got != math.MaxInt64 {
		t.Errorf("%d logs", got)
	}
}

func TestConcurrentCountsAddUp(t *testing.T) {
	l := New(nil)
	var wg sync.WaitGroup
	const workers, each = 8, 500
	for range workers {
		wg.Go(func() {
			for i := range each {
				l.Add(Key{"p", fmt.Sprintf("/%d", i%7), Split}, Count{Logs: 1, Bytes: 2})
				if i%50 == 0 {
					l.Restore(l.Changed())
					l.Snapshot()
				}
			}
		})
	}
	wg.Wait()
	var logs, bytes int64
	for _, e := range l.Changed() {
		logs += e.Logs
		bytes += e.Bytes
	}
	if logs != workers*each || bytes != 2*workers*each {
		t.Errorf("%d logs, %d bytes", logs, bytes)
	}
}

func TestEveryReasonIsDescribedOnce(t *testing.T) {
	seen := map[Reason]bool{}
	for _, i := range Table() {
		if seen[i.Reason] {
			t.Errorf("%s stands twice", i.Reason)
		}
		seen[i.Reason] = true
		if i.Doc == "" || !strings.HasSuffix(i.Doc, ".") || strings.Trim(string(i.Reason), "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%+v", i)
		}
		if Describe(i.Reason) != i {
			t.Errorf("%s is described otherwise: %+v", i.Reason, Describe(i.Reason))
		}
	}
	if d := Describe("of_a_newer_version"); d.Class != Lost || d.Reason != "of_a_newer_version" || d.Doc == "" {
		t.Errorf("a reason that is not known: %+v", d)
	}
}

// Each reason of the steps has a word of its own, so that nothing is counted as unknown.
func TestReasonsOfTheStepsHaveTheirWords(t *testing.T) {
	for r := event.Kept + 1; r < event.NumReasons; r++ {
		if Dropped(r) == Unknown || Dropped(r) == "" {
			t.Errorf("processing: %s is %q", r, Dropped(r))
		}
	}
	for r, want := range map[delivery.Reason]Reason{
		delivery.ReasonTruncated: FileTruncated, delivery.ReasonDeleted: FileDeleted, delivery.ReasonBuffer: BufferFull,
		delivery.ReasonRefused: Refused, delivery.ReasonTooOld: Expired, delivery.ReasonNone: Unknown, 200: Unknown,
	} {
		if got := Abandoned(r); got != want {
			t.Errorf("delivery: %s is %q, want %q", r, got, want)
		}
	}
	for r := delivery.ReasonNone + 1; !strings.HasPrefix(r.String(), "reason_"); r++ {
		if Abandoned(r) == Unknown {
			t.Errorf("delivery: %s has no word", r)
		}
	}
	if got := Dropped(event.NumReasons); got != Unknown {
		t.Errorf("a reason of processing that is not known is %q", got)
	}
}

func TestAnEntryIsOneFlatObject(t *testing.T) {
	got, err := json.Marshal(entry("/a", Refused, 1, 2, 3))
	if err != nil || string(got) != `{"pipeline":"p","path":"/a","reason":"refused","logs":1,"bytes":2,"times":3}` {
		t.Errorf("%s, %v", got, err)
	}
}
