package agent

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"logtail/internal/agent/read"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// Rotation by copytruncate copies a file and then empties it. What was not read
// by then is in the copy only, and what was read is in it once more. So a copy is
// not collected: the stream of the truncated file goes on with it.

// compareLimit bounds how much of two files is compared to find out whether one
// is a copy of the other.
const compareLimit = 16 << 20

// isCopy says whether the rotated file at where holds what was read of the files
// at path already. If it goes on where a stream had to end, base is where. ended
// says to ask only the streams that have ended.
func (a *Agent) isCopy(run *pipelineRun, path, where string, ended bool) (known bool, base, hash uint64) {
	none := delivery.TailHash(nil)
	f, facts, _, err := read.Look(where)
	if err != nil {
		return false, 0, none
	}
	defer f.Close()
	size := uint64(facts.Size)
	var list []state.Tomb // of the ended ones
	for _, s := range a.files.of(run) {
		s.mu.Lock()
		mine := s.called(path)
		k, at, frozen, begins := s.known(), s.rec.Path, s.frozen, false
		if mine && s.rec.Compressed == "" {
			begins = s.begins(&facts)
		}
		if frozen && mine {
			list = append(list, s.tomb())
		}
		s.mu.Unlock()
		if ended || frozen || !mine || k.HeadLen == 0 {
			continue
		}
		if begins || read.SameContent(k, &facts) {
			return true, 0, none // it goes on with it when it finds that its file was truncated
		}
		if h, ok := facts.Head(k.HeadLen); !ok || h != k.Head {
			continue
		}
		if o, _, _, err := read.Look(at); err == nil {
			equal, _, err := read.Compare(o, f, 0, min(size, compareLimit), make([]byte, 256<<10))
			o.Close()
			if equal && err == nil {
				return true, 0, none
			}
		}
	}
	for _, t := range append(list, a.buried()...) {
		if t.Pipeline != run.p.Name || t.Dir != filepath.Dir(path) || t.HeadLen == 0 {
			continue
		}
		k := read.Known{HeadLen: t.HeadLen, Head: t.Head, End: t.End, Tail: t.Tail}
		switch {
		case size < t.End:
			if beginning(&facts, k.HeadLen, k.Head, t.Marks) {
				return true, 0, none
			}
		case t.End > base && read.SameContent(&k, &facts):
			if h, ok := facts.Tail(t.End); ok {
				base, hash = t.End, h
			}
		}
	}
	if base == 0 {
		return false, 0, none
	}
	return size == base, base, hash
}

// recovered says that a file, or archive, of size bytes with the content of a truncated one
// is collected from the offset at on, where that had to end: what it has is not lost.
func (a *Agent) recovered(run *pipelineRun, facts *read.Facts, at uint64, size uint64) {
	for _, s := range a.files.of(run) {
		s.mu.Lock()
		if s.frozen && s.rec.Missed > 0 && s.tomb().End == at {
			if h, ok := facts.Head(s.rec.HeadLen); ok && h == s.rec.Head {
				s.rec.Missed -= min(s.rec.Missed, size-at)
				a.saver.dirty(s)
				a.queue.add(s)
			}
		}
		s.mu.Unlock()
	}
}

// markEvery is how far apart the marks of a stream are at least.
const markEvery = 200 * time.Millisecond

// maxMarks is how many marks a stream has: its first, and the last ones.
const maxMarks = 8

// markBack is how far behind what was read the marks of a chunk are: a copy ends a
// little earlier, by as much as was written while it was made.
var markBack = [...]uint64{128 << 10, 16 << 10, 2 << 10, 0}

// mark remembers places of a chunk, and of what stands before it, that ends where the
// stream stands. A copy of the file that ends before what was read, as the copy was made
// earlier, is known by the marks that it reaches.
func (s *stream) mark(chunk []byte, now time.Time) {
	if s.marked.age(now) < markEvery || s.tail == 0 {
		return
	}
	s.marked = momentOf(now)
	marks := s.rec.Marks
	if len(marks) > 0 && marks[len(marks)-1].End >= s.pos {
		return // it is read again
	}
	marks = slices.Clone(marks) // the old ones may be being stored
	for _, back := range markBack {
		at, n := s.pos-back, len(chunk)-int(back)
		if n < delivery.TailBytes && back > 0 || len(marks) > 0 && marks[len(marks)-1].End >= at {
			continue
		}
		marks = append(marks, state.Mark{End: at, Hash: delivery.TailHash(chunk[:n])})
	}
	if over := len(marks) - maxMarks; over > 0 {
		marks = append(marks[:1], marks[1+over:]...)
	}
	s.rec.Marks = marks
}

// begins says whether a file, which is shorter than what was read of the
// stream's, is the beginning of that.
func (s *stream) begins(facts *read.Facts) bool {
	k := s.known()
	marks := s.rec.Marks
	lanes := s.rec.Lanes
	if s.lanes != nil {
		lanes, _ = s.kept()
	}
	for _, c := range lanes {
		marks = append(slices.Clip(marks), state.Mark{End: c.End, Hash: c.Hash})
	}
	return uint64(facts.Size) < k.End && beginning(facts, k.HeadLen, k.Head, marks)
}

// beginning says whether a file begins as what has the marks: it has all of a full head or
// reaches a mark at least, and has there, and at each mark that it reaches, what was read.
func beginning(facts *read.Facts, headLen int, head uint64, marks []state.Mark) bool {
	found := false
	if facts.Size >= int64(headLen) {
		if h, ok := facts.Head(headLen); !ok || h != head {
			return false
		}
		found = headLen >= read.HeadBytes
	}
	for _, m := range marks {
		if m.End == 0 || m.Hash == 0 || facts.Size < int64(m.End) {
			continue
		}
		if h, ok := facts.Tail(m.End); !ok || h != m.Hash {
			return false
		}
		found = true
	}
	return found
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
	c := s.copy()
	if s.run.input.Once || k.HeadLen == 0 && c == nil {
		return false
	}
	if c != nil {
		s.rare.copy = nil
	}
	owned := func(id read.Identity) bool { return s.a.files.owned(s.run, id) }
	for _, name := range s.names() {
		f, path, err := read.FindCopy(k, name, s.run.input.MaxCheckpointDirSearchDepth, owned)
		if err != nil {
			continue
		}
		id, _, _, err := read.Stat(f)
		if err != nil || !s.takeOver(path, id) {
			f.Close()
			return false
		}
		s.use(f)
		return true
	}
	return c != nil && s.adoptKnown(k, c) || s.adoptArchive(k) || s.adoptShort()
}

// names returns the paths that the stream's file has and had: whoever copies it calls
// the copy after one of them.
func (s *stream) names() []string {
	list := []string{s.rec.Path}
	for _, path := range append([]string{s.origin()}, s.aliases()...) {
		if !slices.Contains(list, path) {
			list = append(list, path)
		}
	}
	return list
}

// called says whether path is one of names.
func (s *stream) called(path string) bool {
	return s.rec.Path == path || s.rec.Origin == path || slices.Contains(s.aliases(), path)
}

// adoptKnown goes on with a file that was compared with the stream's before.
func (s *stream) adoptKnown(k *read.Known, c *copied) bool {
	f, facts, _, err := read.Look(c.path)
	if err != nil || facts.Identity != c.id || facts.Size == 0 {
		if err == nil {
			f.Close()
		}
		return false
	}
	var ok bool
	short := uint64(facts.Size) < k.End
	if short { // what was written behind the copy was read before it was truncated
		ok = uint64(facts.Size) == c.same || s.begins(&facts)
	} else {
		h, known := facts.Tail(k.End)
		ok = known && (k.Tail == 0 || h == k.Tail)
	}
	if !ok || !s.takeOver(c.path, c.id) {
		f.Close()
		return false
	}
	if s.rec.Sealed = false; short {
		s.seal(&facts)
	}
	s.use(f)
	return true
}

// seal says that the stream's file is a copy that ends before what was read. It may not
// even have all of the head.
func (s *stream) seal(facts *read.Facts) {
	s.rec.Sealed = true
	if n := int(facts.Size); n < s.rec.HeadLen {
		if h, ok := facts.Head(n); ok {
			s.rec.HeadLen, s.rec.Head = n, h
		}
	}
}

// adoptShort goes on with a copy that ends before what was read: the program wrote
// on between the copy and the truncation, and that was read too.
func (s *stream) adoptShort() bool {
	for _, base := range s.names() {
		list, err := read.Chain(base)
		if err != nil {
			continue
		}
		for _, e := range slices.Backward(list) {
			if e.Size == 0 || s.a.files.owned(s.run, e.Identity) {
				continue
			}
			if e.Compressed {
				if s.adoptShortArchive(e.Path) {
					return true
				}
				continue
			}
			f, facts, _, err := read.Look(e.Path)
			if err != nil {
				continue
			}
			if !s.begins(&facts) || !s.takeOver(e.Path, facts.Identity) {
				f.Close()
				continue
			}
			s.seal(&facts)
			s.use(f)
			return true
		}
	}
	return false
}

// adoptShortArchive is adoptShort for a copy that was compressed already.
func (s *stream) adoptShortArchive(path string) bool {
	c, err := read.OpenCompressed(path)
	if err != nil {
		return false
	}
	if facts, ok := shorter(c, s.known()); ok && s.begins(&facts) {
		s.useArchive(c, path)
		return true
	}
	_ = c.Close()
	return false
}

// shorter says whether a compressed file may be the beginning of what is known, and
// ends before that; facts has its length then.
func shorter(c *read.Compressed, k *read.Known) (facts read.Facts, ok bool) {
	facts, err := c.Facts()
	if err != nil {
		return facts, false
	}
	if h, ok := facts.Head(k.HeadLen); ok && h != k.Head {
		return facts, false
	}
	if _, ok := facts.Tail(k.End); ok {
		return facts, false
	}
	facts.Size = c.Len()
	return facts, facts.Size >= 0
}

// takeOver makes another file the stream's.
func (s *stream) takeOver(path string, id read.Identity) bool {
	old, was := s.rec.Inode, s.rec.Path
	if !s.a.files.adopt(s, id, path) {
		return false // a stream was made for it just now
	}
	s.a.files.drop(s, old, was)
	s.closeFile()
	s.move(path)
	s.rec.Dev, s.rec.Inode, s.rec.Birth, s.rec.Copy = id.Dev, id.Inode, id.Birth, true
	s.birth.Store(id.Birth)
	s.gone, s.sought = true, true
	s.seen, s.grew = 0, momentOf(s.a.now())
	if _, size, _, err := read.Peek(path); err == nil { // what was seen may be of what came after the truncation
		s.rec.SizeSeen = max(s.high, uint64(size))
	}
	s.a.saver.dirty(s)
	return true
}

// adoptArchive goes on with the compressed copy of the file.
func (s *stream) adoptArchive(k *read.Known) bool {
	c, path, err := s.findArchive(k)
	if err != nil {
		return false
	}
	s.useArchive(c, path)
	return true
}

// useArchive makes a compressed file the one that the stream reads from.
func (s *stream) useArchive(c *read.Compressed, path string) {
	s.a.files.drop(s, s.rec.Inode, s.rec.Path)
	s.closeFile()
	s.gone, s.sought, s.archived, s.grew = true, true, true, momentOf(s.a.now())
	s.use(c)
	s.a.log.Info("the rest of a rotated file is read from its archive", "path", s.rec.Path, "archive", path)
}

// short says whether a copy ends where the stream stands or before. What the original
// had behind that, and a destination lacks, cannot be read again.
func (w *worker) short(s *stream) bool {
	size, err := read.Len(s.f)
	if err != nil || size < 0 || s.pos < uint64(size) || s.archived && s.pos == uint64(size) {
		return false
	}
	if s.pos < s.high {
		w.flush(s)
		s.lost = delivery.ReasonTruncated
		w.giveUp(s)
	}
	if s.archived {
		w.endArchive(s)
	}
	return true
}

// begins says whether the file still begins as it did: one that was truncated
// and has grown to where it was read may by chance have equal bytes there.
func (w *worker) begins(s *stream) bool {
	if s.rec.HeadLen == 0 || s.compressed() {
		return true
	}
	n, err := s.f.ReadAt(w.buf[:s.rec.HeadLen], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return true // reading on finds out what is wrong
	}
	return n == s.rec.HeadLen && xxhash.Sum64(w.buf[:n]) == s.rec.Head
}
