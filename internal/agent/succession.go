package agent

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"time"

	"logtail/internal/agent/monitor"
	"logtail/internal/agent/read"
	"logtail/internal/delivery"
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
		base := a.rotatedFrom(run, n.s.path)
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
			base = n.s.path
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
	dir, name := filepath.Split(path)
	ext := filepath.Ext(name)
	for i := 1; i < len(name); i++ {
		for _, base := range [...]string{name[:i], name[:i] + ext} {
			if base != name && a.files.last(run, dir+base) != nil && read.Rotated(base, name) {
				return dir + base
			}
		}
	}
	return ""
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
	known, base, hash := a.isCopy(run, path, e)
	if known {
		return nil
	}
	s := a.newStream(run, e.Path, e.Identity, false)
	if s == nil {
		return nil
	}
	s.gone, s.rec.Origin, s.rec.Base, s.rec.BaseHash = true, path, base, hash
	s.trailer = run.trailer(a, path, e.Inode)
	a.log.Info("a rotated file is collected that was not seen before", "path", e.Path, "rotated_from", path, "from", base)
	return s
}

// compareLimit bounds how much of two files is compared to find out whether one
// is a copy of the other.
const compareLimit = 16 << 20

// isCopy says whether a rotated file holds what was read from the files at path
// already. If it goes on where a stream had to end, base is where.
func (a *Agent) isCopy(run *pipelineRun, path string, e *read.Entry) (known bool, base, hash uint64) {
	none := delivery.TailHash(nil)
	f, facts, _, err := read.Look(e.Path)
	if err != nil {
		return false, 0, none
	}
	defer f.Close()
	for _, s := range a.files.of(run) {
		s.mu.Lock()
		mine := s.path == path || s.rec.Origin == path
		k, where, ended := s.known(), s.path, s.frozen
		s.mu.Unlock()
		if !mine || k.HeadLen == 0 || facts.Size < int64(k.HeadLen) {
			continue
		}
		if h, ok := facts.Head(k.HeadLen); !ok || h != k.Head {
			continue
		}
		if uint64(facts.Size) >= k.End {
			if h, ok := facts.Tail(k.End); ok && (k.Tail == 0 || h == k.Tail) {
				if ended && uint64(facts.Size) > k.End {
					return false, k.End, h
				}
				return true, 0, none
			}
			continue
		}
		if o, _, _, err := read.Look(where); err == nil {
			equal, _, err := read.Compare(o, f, 0, min(uint64(facts.Size), compareLimit), make([]byte, 256<<10))
			o.Close()
			if equal && err == nil {
				return true, 0, none
			}
		}
	}
	for _, t := range a.buried() {
		if t.Pipeline != run.p.Name || t.Dir != filepath.Dir(path) || t.HeadLen == 0 || t.End <= base || uint64(facts.Size) < t.End {
			continue
		}
		if h, ok := facts.Head(t.HeadLen); !ok || h != t.Head {
			continue
		}
		if h, ok := facts.Tail(t.End); ok && h == t.Tail {
			base, hash = t.End, h
		}
	}
	if base == 0 {
		return false, 0, none
	}
	return uint64(facts.Size) == base, base, hash
}

const (
	// shadowTime is how long a file that begins as another one, and has a name that
	// rotation makes of the other's, may be a copy of it that is being made. When
	// nothing has changed for so long, it is a file of its own.
	shadowTime = 5 * time.Second
	// shadowStep is how much of it is compared before other files get their turn.
	shadowStep = 8 << 20
)

// shadow is a file that may be the copy that copytruncate makes of another one:
// so far its content is the beginning of the other's. It is not collected while
// that is so. When the other file is truncated, its stream goes on with the copy.
type shadow struct {
	filePath
	id      read.Identity
	of      *stream
	same    uint64 // bytes that were compared and are equal
	size    int64
	changed time.Time
}

// shadowed says whether the file at path is, so far, the copy of another one.
func (a *Agent) shadowed(run *pipelineRun, path string, id read.Identity, size int64) bool {
	key := filePath{run, path}
	sh := a.shadows[key]
	if sh != nil && sh.id != id {
		delete(a.shadows, key)
		sh = nil
	}
	if sh == nil {
		of := a.original(run, path)
		if of == nil {
			return false
		}
		sh = &shadow{filePath: key, id: id, of: of, size: -1}
		a.shadows[key] = sh
	}
	if size != sh.size {
		sh.size, sh.changed = size, a.now()
	}
	if !sh.compare() || a.now().Sub(sh.changed) > shadowTime {
		delete(a.shadows, key)
		return false
	}
	if sh.same < uint64(sh.size) {
		a.again.add(look{filePath: key})
	}
	return true
}

// original returns the stream of the file whose copy path may be by its name:
// of several that were at the path, the one that begins as the copy does.
func (a *Agent) original(run *pipelineRun, path string) *stream {
	base := a.rotatedFrom(run, path)
	if base == "" {
		return nil
	}
	list := []*stream{a.files.last(run, base)}
	for _, f := range run.former[base] {
		list = append(list, f.s)
	}
	list = slices.DeleteFunc(list, func(s *stream) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.done || s.frozen || s.rec.Pending || s.rec.Compressed != ""
	})
	if len(list) > 1 {
		f, facts, _, err := read.Look(path)
		if err != nil {
			return nil
		}
		defer f.Close()
		for _, s := range list {
			s.mu.Lock()
			length, head := s.rec.HeadLen, s.rec.Head
			s.mu.Unlock()
			if h, ok := facts.Head(length); length > 0 && ok && h == head {
				return s
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// formerTime is how long it is remembered that a file was at a path, for copies
// of it that appear; at a start, until the first scan is complete at least.
const formerTime = time.Minute

// formerly is a stream of a file that was at a path till a time.
type formerly struct {
	s    *stream
	till time.Time
}

// remember notes that the file of s, which may be nil, was at path.
func (run *pipelineRun) remember(path string, s *stream, now time.Time) {
	if s == nil {
		return
	}
	if run.former == nil {
		run.former = map[string][]formerly{}
	}
	list := run.former[path]
	run.former[path] = append(list[max(0, len(list)-maxFormer):], formerly{s, now})
}

// forgetFormer forgets what was at paths a while ago.
func (a *Agent) forgetFormer() {
	now := a.now()
	if now.Sub(a.lookedAt) < formerTime/4 { // at a start there may be 100,000
		return
	}
	a.lookedAt = now
	for _, run := range a.runs {
		if !run.complete.Load() {
			continue
		}
		for path, list := range run.former {
			list = slices.DeleteFunc(list, func(f formerly) bool { return now.Sub(f.till) > formerTime })
			if run.former[path] = list; len(list) == 0 {
				delete(run.former, path)
			}
		}
		if len(run.former) == 0 {
			run.former = nil
		}
	}
}

// compare compares the next part of the two files, and says whether they are still equal.
func (sh *shadow) compare() bool {
	s := sh.of
	s.mu.Lock()
	path, k, over := s.path, s.known(), s.done || s.frozen
	s.mu.Unlock()
	if over {
		return false
	}
	f, mine, _, err := read.Look(sh.path)
	if err != nil || mine.Identity != sh.id {
		if err == nil {
			f.Close()
		}
		return true
	}
	defer f.Close()
	orig, facts, _, err := read.Look(path)
	if err != nil {
		return true // the next look tells
	}
	defer orig.Close()
	end := min(uint64(mine.Size), sh.same+shadowStep)
	if read.Decide(k, &facts) != read.Same || uint64(facts.Size) < end {
		// It is truncated, and its own turn finds out and adopts the copy; or it never was the original.
		h, ok := mine.Head(k.HeadLen)
		return k.HeadLen > 0 && ok && h == k.Head
	}
	equal, n, err := read.Compare(orig, f, sh.same, end, make([]byte, 256<<10))
	if err != nil {
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) // truncated meanwhile
	}
	if !equal {
		return false
	}
	sh.same = n
	s.mu.Lock()
	s.copy = &copied{path: sh.path, id: sh.id, same: sh.same}
	s.mu.Unlock()
	return true
}

// reshadow looks at all shadows again.
func (a *Agent) reshadow() {
	a.forgetFormer()
	for key := range a.shadows {
		a.found(key.run, &monitor.Event{Watch: key.run.p.Name, Kind: monitor.Changed, Path: key.path})
	}
}

// copied is a file that was found to begin as the stream's file.
type copied struct {
	path string
	id   read.Identity
	same uint64 // bytes
}

// adopt makes the stream go on with the copy that was made of its file before
// that was truncated, as copytruncate does, and says whether there is one.
func (s *stream) adopt() bool {
	k := s.known()
	if s.run.input.Once || k.HeadLen == 0 && s.copy == nil {
		return false
	}
	if c := s.copy; c != nil {
		s.copy = nil
		if s.adoptKnown(k, c) {
			return true
		}
	}
	owned := func(id read.Identity) bool { return s.a.files.owned(s.run, id) }
	f, path, err := read.FindCopy(k, s.path, s.run.input.MaxCheckpointDirSearchDepth, owned)
	if err != nil && s.origin() != s.path {
		f, path, err = read.FindCopy(k, s.origin(), s.run.input.MaxCheckpointDirSearchDepth, owned)
	}
	if err != nil {
		return s.adoptArchive(k)
	}
	id, _, _, err := read.Stat(f)
	if err != nil || !s.takeOver(path, id) {
		f.Close()
		return false
	}
	s.use(f)
	return true
}

// adoptKnown goes on with a file that was compared with the stream's before.
func (s *stream) adoptKnown(k *read.Known, c *copied) bool {
	f, facts, _, err := read.Look(c.path)
	if err != nil || facts.Identity != c.id {
		if err == nil {
			f.Close()
		}
		return false
	}
	var ok bool
	short := uint64(facts.Size) < k.End
	if short { // what was written behind the copy was read before it was truncated
		ok = uint64(facts.Size) == c.same
	} else {
		h, known := facts.Tail(k.End)
		ok = known && (k.Tail == 0 || h == k.Tail)
	}
	if !ok || !s.takeOver(c.path, c.id) {
		f.Close()
		return false
	}
	s.rec.Sealed = short
	s.use(f)
	return true
}

// takeOver makes another file the stream's.
func (s *stream) takeOver(path string, id read.Identity) bool {
	old, was := s.rec.Inode, s.path
	if !s.a.files.adopt(s, id, path) {
		return false // a stream was made for it just now
	}
	s.a.files.drop(s, old, was)
	s.closeFile()
	s.move(path)
	s.rec.Dev, s.rec.Inode, s.rec.Birth = id.Dev, id.Inode, id.Birth
	s.birth.Store(id.Birth)
	s.gone, s.sought = true, true
	s.seen, s.grew = 0, s.a.now()
	s.a.saver.dirty(s)
	return true
}

// adoptArchive goes on with the compressed copy of the file.
func (s *stream) adoptArchive(k *read.Known) bool {
	c, path, err := read.SearchCompressed(k, s.path, s.origin(), s.run.input.MaxCheckpointDirSearchDepth)
	if err != nil {
		return false
	}
	s.a.files.drop(s, s.rec.Inode, s.path)
	s.closeFile()
	s.gone, s.sought, s.archived, s.grew = true, true, true, s.a.now()
	s.use(c)
	s.a.log.Info("the rest of a rotated file is read from its archive", "path", s.path, "archive", path)
	return true
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
