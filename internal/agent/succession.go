package agent

import (
	"iter"
	"path/filepath"
	"time"

	"logtail/internal/agent/monitor"
	"logtail/internal/agent/read"
)

// A path sees many files: rotation renames one away and begins the next. This
// file keeps them in their order, and finds those that were at the path only
// while nobody looked: between two events, or while the agent was down.

// maxArrivals bounds the folders that are listed at a start, and maxStrangers
// those that are listed for the events of a moment, for the sake of files at paths where none was before.
const (
	maxArrivals  = 1000
	maxStrangers = 64
)

// arrived notes a new file. Nothing of it is sent before its place among the
// rotated files is known: at a start, when the first scan is complete, else at once.
func (run *pipelineRun) arrived(s, was *stream) {
	if run.gate == nil {
		run.gate = &stream{a: s.a, run: run}
	}
	s.follow(run.gate)
	run.arrivals = append(run.arrivals, arrival{s, was})
}

// behind says whether a stream of the last run has something to send of its file.
func (s *stream) behind(size int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes == nil && !s.fresh && !s.rec.Pending && uint64(size) > s.known().End
}

// arrival is a new file, and the stream of the file that was at its path before, or nil.
type arrival struct{ s, was *stream }

// arrangeAll puts new files in order.
func (a *Agent) arrangeAll() {
	for _, run := range a.runs {
		if len(run.arrivals) > 0 && run.complete.Load() {
			a.arrange(run)
		}
	}
}

// arrange puts new files in order, and those that were at their paths before.
func (a *Agent) arrange(run *pipelineRun) {
	strangers := 0
	for _, n := range run.arrivals {
		base := a.rotatedFrom(run, n.s.rec.Path)
		if n.was == nil && base == "" {
			// Listing a folder for each of very many new files would take long.
			limit := maxArrivals
			if run.complete.Load() {
				limit = maxStrangers
			}
			if strangers++; strangers > limit {
				continue
			}
		}
		if base == "" {
			base = n.s.rec.Path
		}
		n.s.follow(n.was)
		a.succession(run, base, a.files.at(run, base))
	}
	run.arrivals = nil
	if g := run.gate; g != nil {
		g.mu.Lock()
		g.pass()
		g.mu.Unlock()
		run.gate = nil
	}
}

// rotatedFrom returns the path that a file was rotated from, by its name, if
// there is or was a stream at that; else "".
func (a *Agent) rotatedFrom(run *pipelineRun, path string) string {
	for base := range stems(path) {
		if a.files.last(run, base) != nil && read.Rotated(filepath.Base(base), filepath.Base(path)) {
			return base
		}
	}
	return ""
}

// stems returns the paths of which rotation may make path by adding something to the name.
func stems(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		dir, name := filepath.Split(path)
		ext := filepath.Ext(name)
		for i := 1; i < len(name); i++ {
			if !yield(dir+name[:i]) || name[:i]+ext != name && !yield(dir+name[:i]+ext) {
				return
			}
		}
	}
}

// meetBase looks first at the file that the one at path was rotated or copied from, by its
// name, where both came in one folder that got another name: what a copy is
// can be told only when it is known what its original is.
func (a *Agent) meetBase(run *pipelineRun, path string) {
	if a.rotatedFrom(run, path) != "" {
		return
	}
	for base := range stems(path) {
		if !read.Rotated(filepath.Base(base), filepath.Base(path)) {
			continue
		}
		id, _, _, err := read.Peek(base)
		if err != nil || len(a.files.numbered(run, id.Inode)) == 0 {
			continue
		}
		if ok, _ := monitor.Match(run.spec(), base); ok {
			a.found(run, &monitor.Event{Watch: run.p.Name, Kind: monitor.Changed, Path: base})
		}
		return
	}
}

// succession looks for files that were at path and have been rotated away
// before anybody saw them there, gives them streams, and makes each wait for the
// one before it; last is the stream of the file at path now, or nil.
func (a *Agent) succession(run *pipelineRun, path string, last *stream) {
	list, err := read.Chain(path)
	if err != nil {
		return // the folder is gone or cannot be listed: nothing to be found there
	}
	var prev *stream
	for i := range list {
		e := &list[i]
		s := a.streamOf(run, e.Path, e.Identity)
		if s == last && last != nil {
			continue
		}
		isNew := false
		if s == nil {
			if s = a.unseen(run, path, e); s == nil {
				continue
			}
			isNew = true
		}
		if isNew || s.isWaiting() {
			s.follow(prev)
		}
		if isNew {
			a.saver.add(s)
		}
		prev = s
	}
	if last != nil {
		last.follow(prev)
	}
}

// begin looks for what was rotated away from files that were empty when they
// were looked at last: a part at a time, as each costs the listing of a folder.
func (a *Agent) begin() {
	n := 0
	for key := range a.chains {
		if n++; n > maxStrangers {
			break
		}
		delete(a.chains, key)
		a.succession(key.run, key.path, a.files.at(key.run, key.path))
	}
}

// isWaiting says whether the stream was found while the agent was not running and has
// not got its place yet.
func (s *stream) isWaiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.before != nil && s.before == s.run.gate
}

// unseen makes a stream for a rotated file that nobody has seen at path, where
// its pipeline would have collected it. It returns nil for all others: those that
// the pipeline finds where they are, those that are older than the pipeline, and
// copies of what is known.
func (a *Agent) unseen(run *pipelineRun, path string, e *read.Entry) *stream {
	born := e.Birth
	if born == 0 {
		born = e.Mtime
	}
	if run.since == 0 || born <= run.since {
		return nil
	}
	if ok, _ := monitor.Match(run.spec(), e.Path); ok {
		return nil
	}
	if kind := archiveKind(e.Path); kind != "" {
		return a.newArchive(run, e.Path, path, e.Identity, kind)
	}
	if e.Size == 0 && a.now().Sub(time.Unix(0, born)).Abs() < shadowTime {
		// It may be a copy that is about to be made: what it holds will tell.
		a.empty[filePath{run, path}] = struct{}{}
		return nil
	}
	known, base, hash := a.isCopy(run, path, e.Path, false)
	if known {
		return nil
	}
	s := a.newStream(run, e.Path, e.Identity, false)
	if s == nil {
		return nil
	}
	if base > 0 {
		if f, facts, _, err := read.Look(e.Path); err == nil {
			a.recovered(run, &facts, base, uint64(facts.Size))
			f.Close()
		}
	}
	s.gone, s.rec.Origin, s.rec.Base, s.rec.BaseHash = true, path, base, hash
	a.log.Info("a rotated file is collected that was not seen before", "path", e.Path, "rotated_from", path, "from", base)
	return s
}

// origin is where the file was first seen.
func (s *stream) origin() string {
	if s.rec.Origin != "" {
		return s.rec.Origin
	}
	return s.rec.Path
}

func (s *stream) identity() read.Identity {
	return read.Identity{Dev: s.rec.Dev, Inode: s.rec.Inode, Birth: s.rec.Birth}
}
