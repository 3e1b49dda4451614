package agent

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/ledger"
	"logtail/internal/agent/read"
	"logtail/internal/delivery"
)

// maxAliases is how many other paths of a file are remembered.
const maxAliases = 16

// same says whether the stream's file has this identity. An inode that was used
// again differs by its birth time.
func (s *stream) same(id read.Identity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.done && !s.frozen && s.rec.Dev == id.Dev && (s.rec.Birth == 0 || id.Birth == 0 || s.rec.Birth == id.Birth)
}

// renumbered returns the stream whose file is at path under another device
// number than before: after a reboot, or when its file system was mounted again.
func (a *Agent) renumbered(run *pipelineRun, path string, id read.Identity, size, mtime int64) *stream {
	for _, s := range a.files.numbered(run, id.Inode) {
		if s.renumber(path, id, size, mtime) {
			return s
		}
	}
	return nil
}

// renumber takes a file for the stream's own if only its device has another
// number, the content confirms it, and nothing has the old number any more.
func (s *stream) renumber(path string, id read.Identity, size, mtime int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done || s.frozen || id.Dev == s.rec.Dev || s.rec.Birth != 0 && id.Birth != 0 && s.rec.Birth != id.Birth {
		return false
	}
	if was, _, _, err := read.Peek(s.rec.Path); err == nil && was.Dev == s.rec.Dev && was.Inode == s.rec.Inode {
		return false // it is where it was, on a device of its own
	}
	if s.rec.Pending { // nothing of it was ever read that could be compared
		if s.rec.Birth == 0 && (size != s.rec.Size || mtime != s.rec.Mtime) {
			return false
		}
	} else {
		f, facts, _, err := read.Look(path)
		if err != nil {
			return false
		}
		same := facts.Identity == id && read.Decide(s.known(), &facts) == read.Same
		f.Close()
		if !same {
			return false
		}
	}
	s.rec.Dev = id.Dev
	s.closeFile() // it belongs to what was mounted before
	s.a.saver.dirty(s)
	return true
}

// reissued returns the stream of the file that was at path last, if the file there
// now is that one under another identity: file systems that are not stable give files new numbers.
func (a *Agent) reissued(run *pipelineRun, path string, id read.Identity) *stream {
	s := a.files.last(run, path)
	if s == nil || !s.reissue(path, id) {
		return nil
	}
	return s
}

// reissue takes a file for the stream's own if the file system makes numbers up, the
// content confirms it, and the file that was known is nowhere any more.
func (s *stream) reissue(path string, id read.Identity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done || s.frozen || s.rec.Pending || s.compressed() {
		return false
	}
	f, facts, _, err := read.Look(path)
	if err != nil {
		return false
	}
	defer f.Close()
	k := s.known()
	if facts.Identity != id || s.a.stable(f) || !read.SameContent(k, &facts) {
		return false
	}
	if was, _, err := read.Search(k, s.rec.Path, s.run.input.MaxCheckpointDirSearchDepth, s.rec.Real); err == nil {
		was.Close()
		return false
	} else if !errors.Is(err, os.ErrNotExist) {
		return false
	}
	s.a.files.drop(s, s.rec.Inode, s.rec.Path)
	s.rec.Dev, s.rec.Inode, s.rec.Birth = id.Dev, id.Inode, id.Birth
	s.birth.Store(id.Birth)
	s.closeFile()
	s.a.files.put(s, id.Inode, path)
	s.a.saver.dirty(s)
	return true
}

// here says that the stream's file is at path and may have changed. It says
// whether the file is empty and was modified: what was written to it meanwhile
// may have been rotated away by copytruncate.
func (s *stream) here(path string, size, mtime int64) (emptied bool) {
	s.mu.Lock()
	if s.done || s.frozen { // since it was looked up: the path is to be looked at again
		s.mu.Unlock()
		s.a.again.add(look{filePath: filePath{s.run, path}})
		return false
	}
	emptied = size == 0 && s.rec.HeadLen == 0 && s.mtime != mtime && !s.run.input.Once
	s.mtime = mtime
	switch {
	case s.rec.Path == path:
		s.rec.Path = path // the monitor's string, so that there is one of it
	case !s.gone && s.leads(s.rec.Path):
		if !slices.Contains(s.aliases(), path) && len(s.aliases()) < maxAliases {
			s.set().aliases = append(s.aliases(), path)
		}
	default:
		s.a.files.leave(s, s.rec.Path)
		s.move(path)
	}
	s.gone, s.sought, s.missing = false, false, 0
	s.rec.Seen = mtime / int64(time.Second)
	if s.rec.Compressed == "" || s.rec.SizeSeen == 0 { // else it is of the content
		s.rec.SizeSeen = max(s.rec.SizeSeen, uint64(size))
	}
	if s.run.input.Once && s.limit == unlimited {
		s.limit = uint64(size)
	}
	wake, activate, attach := false, false, false
	switch {
	case s.fresh:
		s.touched = true
	case s.rec.Pending:
		if size != s.rec.Size || mtime != s.rec.Mtime {
			s.rec.Pending, s.fresh, activate = false, true, true
			s.tailFrom(size)
		}
	case s.lanes == nil:
		attach = true
	default:
		wake = true
	}
	s.a.files.put(s, s.rec.Inode, path)
	s.mu.Unlock()
	switch {
	case activate:
		s.a.stats.Files.Add(1)
		s.a.saver.add(s)
	case attach:
		s.a.stats.Files.Add(1)
		s.attach(true)
	case wake:
		s.a.queue.add(s)
	}
	return emptied
}

// leads says whether the stream's file is at path.
func (s *stream) leads(path string) bool {
	id, _, _, err := read.Peek(path)
	return err == nil && id == read.Identity{Dev: s.rec.Dev, Inode: s.rec.Inode, Birth: s.rec.Birth}
}

// move notes that the stream's file is at another path now.
func (s *stream) move(path string) {
	if s.rec.Origin == "" {
		s.rec.Origin = s.rec.Path
	}
	s.rec.Path = path
}

// left says that the stream's file is not at path any more: it was renamed or
// deleted. What is unread of it is still read, by the open handle or where it
// went in its folder.
func (s *stream) left(path string) {
	s.a.files.leave(s, path)
	s.mu.Lock()
	if s.rare != nil {
		s.rare.aliases = slices.DeleteFunc(s.rare.aliases, func(a string) bool { return a == path })
	}
	if s.rec.Path == path && !s.gone {
		if i := slices.IndexFunc(s.aliases(), s.leads); i >= 0 {
			s.move(s.rare.aliases[i])
			s.rare.aliases = slices.Delete(s.rare.aliases, i, i+1)
		} else {
			s.gone, s.sought = true, false
		}
	}
	s.mu.Unlock()
	s.a.queue.add(s)
}

// tailFrom sets where collection starts at a first contact with a file that
// existed before its pipeline: at its beginning, or, if it is large, at the
// first line of its end.
func (s *stream) tailFrom(size int64) {
	tail := s.run.input.TailSizeKB << 10
	if size <= tail {
		return
	}
	f, err := read.Open(s.rec.Path)
	if err != nil {
		return // the turn will find out why; nothing was skipped then
	}
	defer f.Close()
	start, hash, err := read.AlignTail(f, uint64(size-tail))
	if err != nil {
		return
	}
	s.rec.Base, s.rec.BaseHash = start, hash
	s.a.stats.Skipped.Add(int64(start))
	s.first(ledger.FirstContact, ledger.Count{Bytes: int64(start)})
	s.a.alarms.Raise(alarm.SkipReadLog, s.run.scope, 1,
		fmt.Sprintf("%s had %d bytes when it was first seen; by the rule of the first contact (TailSizeKB %d) its first %d bytes are skipped. To collect them, raise TailSizeKB or import the file",
			s.rec.Path, size, s.run.input.TailSizeKB, start), nil)
}

// openFile makes sure that f is the stream's file. It reports whether there is
// something to read from.
func (s *stream) openFile() bool {
	if s.f != nil {
		return true
	}
	if s.rec.Compressed != "" {
		return s.openArchive()
	}
	s.archived, s.unsure = false, false
	k := s.known()
	if !s.gone {
		f, facts, _, err := read.Look(s.rec.Path)
		if err == nil {
			switch read.Decide(k, &facts) {
			case read.Same:
				s.rec.Dev = facts.Dev // it may have another number after a reboot
				s.resolve()
				s.use(f)
				return true
			case read.Truncated:
				f.Close()
				s.truncated()
				return false
			case read.Other:
				f.Close()
				s.gone = true
				s.a.files.leave(s, s.rec.Path)
				s.a.again.add(look{filePath: filePath{s.run, s.rec.Path}})
			}
		} else if !errors.Is(err, os.ErrNotExist) {
			s.a.alarms.Raise(alarm.OpenLogfileFail, s.run.scope, 1, fmt.Sprintf("%v; the file waits, and is tried again every %v", err, retryRead), nil)
			return false
		} else {
			s.gone = true
		}
	}
	f, path, err := read.Search(k, s.rec.Path, s.run.input.MaxCheckpointDirSearchDepth, s.rec.Real)
	if err != nil {
		switch {
		case errors.Is(err, read.ErrTruncated):
			s.truncated()
		case !errors.Is(err, os.ErrNotExist):
			s.unsure = true
			s.a.alarms.Raise(alarm.OpenLogfileFail, s.run.scope, 1, fmt.Sprintf("%v; the file may be there still, so it is tried again every %v", err, retryRead), nil)
		}
		return false
	}
	if path != s.rec.Path {
		s.move(path)
	}
	s.sought = true
	if s.grew == 0 { // of the last run, or never read: its writer may have it open still
		if _, _, mtime, err := read.Stat(f); err == nil {
			s.grew = momentOf(time.Unix(0, mtime))
		}
	}
	s.use(f)
	return true
}

// use takes over an open file that was found to be the stream's.
func (s *stream) use(f read.File) {
	s.f, s.missing = f, 0
	s.a.handles.Add(1)
}

// resolve notes where the file is behind symbolic links, to find it there when they
// lead to another one.
func (s *stream) resolve() {
	if path, err := read.Resolve(s.rec.Path); err == nil && path != s.rec.Path {
		s.rec.Real = path
	}
}

// closeFile gives the file back, if it is open.
func (s *stream) closeFile() {
	if s.f != nil {
		s.f.Close()
		s.f = nil
		s.a.handles.Add(-1)
	}
}

// locate finds where the stream's file is now, if it has left its path and the monitor
// has not seen it yet: copies of it are there too.
func (s *stream) locate() {
	if s.rec.Compressed != "" || s.leads(s.rec.Path) {
		return
	}
	f, path, err := read.Search(&read.Known{Identity: s.identity()}, s.rec.Path, s.run.input.MaxCheckpointDirSearchDepth, s.rec.Real)
	if err != nil {
		return
	}
	f.Close()
	if path != s.rec.Path {
		s.a.files.leave(s, s.rec.Path)
		s.move(path)
		s.gone = true // the monitor has not told of it
	}
}

// truncated is called when the content that was read is not in the file any
// more. If a copy was made before, the stream goes on with that; else it ends,
// and what was read before is still delivered. Another stream begins
// for the file, from its beginning.
func (s *stream) truncated() {
	s.locate()
	next := look{filePath: filePath{s.run, s.rec.Path}, reborn: true, id: s.identity(), origin: s.rec.Origin}
	unread := uint64(0)
	if s.seen > s.high { // SizeSeen may be of what came after
		unread = s.seen - s.high
	}
	switch {
	case s.adopt():
		s.a.log.Info("a truncated file goes on with the copy that was made of it", "path", next.path, "copy", s.rec.Path)
	case s.restored && !s.attached():
		// How much of it the destinations have is not known yet, so neither is
		// what is lost.
		s.closeFile()
		return
	default:
		s.rec.Missed, s.missing = unread, 0 // counted when no copy has appeared for a while
		s.freeze(delivery.ReasonTruncated)
		s.closeFile()
		s.a.files.drop(s, s.rec.Inode, s.rec.Path)
		if unread == 0 {
			s.a.alarms.Raise(alarm.LogTruncate, s.run.scope, 1, fmt.Sprintf("%s was truncated or rewritten; it is read again from its beginning (nothing is known to be unread)", s.rec.Path), nil)
		}
	}
	s.a.again.add(next)
}
