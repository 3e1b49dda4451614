// Package ledger counts what did not arrive as it was written: every log and
// every byte that was dropped, split, cut or lost unread, by pipeline, path and
// reason. The totals outlive the process, as they are part of the agent's state, so
// that written = delivered + counted holds over restarts.
package ledger

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// MaxPaths bounds the paths that have counts of their own. What comes for more
// of them is counted under Path "", "other files", of its pipeline and reason.
const MaxPaths = 10_000

// maxPath bounds the length of a path in bytes, as the ledger keeps them for
// good. Systems allow 4,096; what is longer counts as "other files".
const maxPath = 4096

// Key says what a count is of.
type Key struct {
	Pipeline string `json:"pipeline"`
	Path     string `json:"path"` // of the file; "" = other files, or no file
	Reason   Reason `json:"reason"`
}

// Count is how much it was. Counts only grow.
type Count struct {
	Logs  int64 `json:"logs"`  // 0 = none, or not known: unread bytes are no logs yet
	Bytes int64 `json:"bytes"` // raw bytes of the file; 0 = none or not known
	Times int64 `json:"times"` // how often it happened
}

// Entry is a key and its count since the pipeline was first applied.
type Entry struct {
	Key
	Count
}

// Ledger keeps the counts. It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex
	counts  map[Key]*Count
	paths   map[place]struct{} // those with counts of their own
	changed map[Key]struct{}
}

// place is a path in a pipeline.
type place struct{ pipeline, path string }

// New makes a ledger that goes on from stored totals. All of them are kept, also
// reasons of a newer version and paths above the bound: a total that moved to
// another key would be counted twice after the next start.
func New(stored []Entry) *Ledger {
	l := &Ledger{counts: map[Key]*Count{}, paths: map[place]struct{}{}, changed: map[Key]struct{}{}}
	for _, e := range stored {
		l.add(e.Key, e.Count)
		if e.Path != "" {
			l.paths[place{e.Pipeline, e.Path}] = struct{}{}
		}
	}
	return l
}

// Add adds a count to a key. Negative parts, and a key without a reason, count
// nothing. Times is 1 at least.
func (l *Ledger) Add(k Key, c Count) {
	if k.Reason == "" {
		return
	}
	c.Times = max(c.Times, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	k = l.key(k)
	l.add(k, c)
	l.changed[k] = struct{}{}
}

// key returns the key that is counted under, and notes its path. The caller holds mu.
func (l *Ledger) key(k Key) Key {
	if k.Path == "" {
		return k
	}
	p := place{k.Pipeline, k.Path}
	if _, known := l.paths[p]; known {
		return k
	}
	if len(l.paths) >= MaxPaths || len(k.Path) > maxPath {
		k.Path = ""
		return k
	}
	// The caller's string may be a part of a large one.
	k.Path = strings.Clone(k.Path)
	p.path = k.Path
	l.paths[p] = struct{}{}
	return k
}

// add adds to a key. The caller holds mu, or has the only reference.
func (l *Ledger) add(k Key, c Count) {
	have := l.counts[k]
	if have == nil {
		have = &Count{}
		l.counts[k] = have
	}
	have.Logs = sum(have.Logs, c.Logs)
	have.Bytes = sum(have.Bytes, c.Bytes)
	have.Times = sum(have.Times, c.Times)
}

// sum is a + b for b > 0, and stays at the largest number.
func sum(a, b int64) int64 {
	s := a + max(b, 0)
	if s < a {
		return 1<<63 - 1
	}
	return s
}

// Changed returns the totals of the keys that changed since the last call,
// sorted, for the state's next commit.
func (l *Ledger) Changed() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.changed) == 0 {
		return nil
	}
	list := make([]Entry, 0, len(l.changed))
	for k := range l.changed {
		list = append(list, Entry{k, *l.counts[k]})
	}
	clear(l.changed)
	sortEntries(list)
	return list
}

// Restore makes the keys of a list that Changed returned count as changed
// again, as they could not be stored.
func (l *Ledger) Restore(list []Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range list {
		if l.counts[e.Key] != nil {
			l.changed[e.Key] = struct{}{}
		}
	}
}

// Snapshot returns all totals, sorted by pipeline, path and reason.
func (l *Ledger) Snapshot() []Entry {
	l.mu.Lock()
	list := make([]Entry, 0, len(l.counts))
	for k, c := range l.counts {
		list = append(list, Entry{k, *c})
	}
	l.mu.Unlock()
	sortEntries(list)
	return list
}

func sortEntries(list []Entry) {
	slices.SortFunc(list, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Pipeline, b.Pipeline), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Reason, b.Reason))
	})
}
