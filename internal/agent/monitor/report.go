package monitor

import (
	"io/fs"
	"os"
	"time"
)

// report is all that the monitor may ask about one directory, looked up in one
// go, for a place where each look may take long.
type report struct {
	dir     *dir   // only for the loop
	path    string // of the directory
	name    string // not empty: only this entry of it
	cursors []cursor

	status  map[statusKey]answer
	names   map[string]struct{} // in the directory; nil if it was not listed
	list    answer
	slowest time.Duration // the longest look
}

type statusKey struct {
	path   string
	follow bool
}

// make fills the report in.
func (r *report) make(a *asker) {
	r.status = make(map[statusKey]answer)
	if r.name != "" {
		r.look(a, join(r.path, r.name), false)
		r.look(a, join(r.path, r.name), true)
		return
	}
	r.look(a, r.path, true)
	lists := false
	for i := range r.cursors {
		c := &r.cursors[i]
		if c.needsList() {
			lists = true
			continue
		}
		r.look(a, join(r.path, c.literal()), false)
		r.look(a, join(r.path, c.literal()), true)
	}
	if !lists {
		return
	}
	start := time.Now()
	r.list = a.answer(&question{kind: askList, path: r.path})
	r.slowest = max(r.slowest, time.Since(start))
	if r.list.err != nil {
		return
	}
	// The next list is another report's: this one keeps its own.
	own := a.names
	a.names, r.list.list = listing{}, &own
	r.names = make(map[string]struct{}, len(own.entries))
	own.each(func(b []byte, kind entryKind, _ uint64) {
		name := string(b)
		r.names[name] = struct{}{}
		if kind == kindOther || !r.wants(name) {
			return
		}
		path := join(r.path, name)
		if kind == kindLink || kind == kindUnknown {
			r.look(a, path, false)
		}
		r.look(a, path, true)
	})
}

// wants says whether some pattern may want an entry.
func (r *report) wants(name string) bool {
	for i := range r.cursors {
		c := &r.cursors[i]
		if c.descends() || c.atFiles() && matchName(c.pattern().name, name) || !c.atFiles() && matchName(c.pattern().dirs[c.pos], name) {
			return true
		}
	}
	return false
}

func (r *report) look(a *asker, path string, follow bool) {
	key := statusKey{path, follow}
	if _, have := r.status[key]; have {
		return
	}
	start := time.Now()
	r.status[key] = a.answer(&question{kind: askStatus, path: path, follow: follow})
	r.slowest = max(r.slowest, time.Since(start))
}

// answer answers a question from the report. What it does not know is left as it is.
func (r *report) answer(q *question) answer {
	switch q.kind {
	case askList:
		if q.path == r.path && (r.list.err != nil || r.list.list != nil) {
			return r.list
		}
	case askStatus:
		if a, ok := r.status[statusKey{q.path, q.follow}]; ok {
			return a
		}
		if dir, name := splitLast(q.path); r.names != nil && dir == r.path {
			if _, there := r.names[name]; !there {
				return answer{err: &fs.PathError{Op: "stat", Path: q.path, Err: fs.ErrNotExist}}
			}
		}
	}
	return answer{err: errAside}
}

// splitLast takes the last part off a path.
func splitLast(path string) (dir, name string) {
	i := len(path) - 1
	for i >= 0 && !os.IsPathSeparator(path[i]) {
		i--
	}
	if i <= 0 {
		return path[:i+1], path[i+1:]
	}
	return path[:i], path[i+1:]
}
