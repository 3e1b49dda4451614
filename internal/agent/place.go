package agent

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"logtail/internal/agent/alarm"
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
	if was, _, _, err := read.Peek(s.path); err == nil && was.Dev == s.rec.Dev && was.Inode == s.rec.Inode {
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

// here says that the stream's file is at path and may have changed.
func (s *stream) here(path string, size, mtime int64) {
	s.mu.Lock()
	if s.done || s.frozen { // since it was looked up: the path is to be looked at again
		s.mu.Unlock()
		s.a.again.add(filePath{s.run, path}, nil)
		return
	}
	switch {
	case s.path == path:
	case !s.gone && s.leads(s.path):
		if !slices.Contains(s.aliases, path) && len(s.aliases) < maxAliases {
			s.aliases = append(s.aliases, path)
		}
	default:
		s.a.files.leave(s, s.path)
		s.move(path)
	}
	s.gone, s.sought, s.missing = false, false, time.Time{}
	s.rec.Seen = mtime / int64(time.Second)
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
	s.path, s.rec.Path = path, path
}

// left says that the stream's file is not at path any more: it was renamed or
// deleted. What is unread of it is still read, by the open handle or where it
// went in its folder.
func (s *stream) left(path string) {
	s.a.files.leave(s, path)
	s.mu.Lock()
	s.aliases = slices.DeleteFunc(s.aliases, func(a string) bool { return a == path })
	if s.path == path && !s.gone {
		if i := slices.IndexFunc(s.aliases, s.leads); i >= 0 {
			s.path = s.aliases[i]
			s.aliases = slices.Delete(s.aliases, i, i+1)
			s.rec.Path = s.path
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
	f, err := read.Open(s.path)
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
	s.a.alarms.Raise(alarm.SkipReadLog, s.run.scope, 1,
		fmt.Sprintf("%s had %d bytes when it was first seen; by the rule of the first contact (TailSizeKB %d) its first %d bytes are skipped. To collect them, raise TailSizeKB or import the file",
			s.path, size, s.run.input.TailSizeKB, start), nil)
}

// openFile makes sure that f is the stream's file. It reports whether there is
// something to read from.
func (s *stream) openFile() bool {
	if s.f != nil {
		return true
	}
	k := s.known()
	if !s.gone {
		f, facts, _, err := read.Look(s.path)
		if err == nil {
			switch read.Decide(k, &facts) {
			case read.Same:
				s.use(f, facts.Identity)
				return true
			case read.Truncated:
				f.Close()
				s.truncated()
				return false
			case read.Other:
				f.Close()
				s.gone = true
				s.a.files.leave(s, s.path)
				s.a.again.add(filePath{s.run, s.path}, nil)
			}
		} else if !errors.Is(err, os.ErrNotExist) {
			s.a.alarms.Raise(alarm.OpenLogfileFail, s.run.scope, 1, fmt.Sprintf("%v; the file waits, and is tried again every %v", err, retryRead), nil)
			return false
		} else {
			s.gone = true
		}
	}
	f, path, err := read.Search(k, s.path, s.run.input.MaxCheckpointDirSearchDepth)
	if err != nil {
		if errors.Is(err, read.ErrTruncated) {
			s.truncated()
		}
		return false
	}
	if s.rec.Origin == "" {
		s.rec.Origin = s.rec.Path
	}
	s.rec.Path = path
	s.path, s.sought = path, true
	s.use(f, read.Identity{})
	return true
}

// use takes over an open file that was found to be the stream's.
func (s *stream) use(f *os.File, id read.Identity) {
	s.f, s.missing = f, time.Time{}
	s.a.handles.Add(1)
	if id.Inode != 0 {
		s.rec.Dev = id.Dev // it may have another number after a reboot
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

// truncated ends this stream and begins another one for the same file, from
// its beginning. What was read before is still delivered.
func (s *stream) truncated() {
	unread := int64(0)
	if s.seen > s.pos {
		unread = int64(s.seen - s.pos)
	}
	s.a.stats.LostBytes.Add(unread)
	s.a.alarms.Raise(alarm.LogTruncate, s.run.scope, 1,
		fmt.Sprintf("%s was truncated or rewritten; it is read again from its beginning (known to be unread before: %d bytes)", s.path, unread), nil)
	s.freeze(delivery.ReasonTruncated)
	s.closeFile()
	s.a.files.drop(s, s.rec.Inode, s.path)
	s.a.again.add(filePath{s.run, s.path}, s)
}
