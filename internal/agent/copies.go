package agent

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"logtail/internal/agent/monitor"
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
	if sh == nil || sh.same == 0 { // an empty file may be the copy of what comes to the path later
		of := a.original(run, path)
		switch {
		case of == nil && sh == nil:
			return false
		case sh == nil:
			sh = &shadow{filePath: key, id: id, of: of, size: -1}
			a.shadows[key] = sh
		case of != nil:
			sh.of = of
		}
	}
	if size != sh.size {
		sh.size, sh.changed = size, a.now()
	}
	same := sh.same
	switch sh.compare() {
	case apart:
		delete(a.shadows, key)
		return false
	case cut:
		a.queue.add(sh.of) // it goes on with the copy, or ends
	case alike:
		if a.now().Sub(sh.changed) > shadowTime {
			delete(a.shadows, key)
			return false
		}
		if sh.same > same && sh.same < uint64(sh.size) { // else the next tick tells
			a.again.add(look{filePath: key})
		}
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
	var list []*stream
	if s := a.files.last(run, base); s != nil { // it may have ended since
		list = append(list, s)
	}
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

// maxFormerly bounds how many of them are remembered for a path. At a start those of the
// last run come in no order, so all of a month must find room.
const maxFormerly = 1000

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
	run.former[path] = append(list[max(0, len(list)-maxFormerly):], formerly{s, now})
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

// likeness is what a shadow and its original have in common.
type likeness uint8

const (
	apart likeness = iota // they are two files
	alike                 // they are equal so far
	cut                   // the original was truncated, and the shadow begins as it did
)

// compare compares the next part of the two files.
func (sh *shadow) compare() likeness {
	s := sh.of
	s.mu.Lock()
	path, k, over := s.rec.Path, s.known(), s.done || s.frozen || s.lanes != nil && s.stopped()
	s.mu.Unlock()
	if over {
		return apart
	}
	f, mine, _, err := read.Look(sh.path)
	if err != nil || mine.Identity != sh.id {
		if err == nil {
			f.Close()
		}
		return alike
	}
	defer f.Close()
	for range 2 { // again where it may have been truncated and written anew while it was compared
		like, done := sh.compareWith(path, k, f, &mine)
		if done {
			return like
		}
	}
	return apart
}

// compareWith compares the shadow's file f with the one at path, of which k is known. done is
// false where they are not equal, but were when both were looked at.
func (sh *shadow) compareWith(path string, k *read.Known, f *os.File, mine *read.Facts) (like likeness, done bool) {
	s := sh.of
	orig, facts, _, err := read.Look(path)
	if err != nil {
		return alike, true // the next look tells
	}
	defer orig.Close()
	end := min(uint64(mine.Size), sh.same+shadowStep)
	if read.Decide(k, &facts) != read.Same || uint64(facts.Size) < end {
		// It is truncated, and its own turn finds out and adopts the copy; or it never was the original.
		if k.HeadLen == 0 {
			return apart, true
		}
		s.mu.Lock()
		h, ok := mine.Head(k.HeadLen)
		isCopy := ok && h == k.Head || s.begins(mine)
		if isCopy && s.copy() == nil { // its name may say nothing to the stream, which has several
			s.set().copy = &copied{path: sh.path, id: sh.id, same: sh.same}
		}
		s.mu.Unlock()
		if isCopy {
			return cut, true
		}
		// It may be the copy of what the path has by now, whose stream is not made yet.
		n := uint64(min(mine.Size, facts.Size, shadowStep))
		if equal, _, err := read.Compare(orig, f, 0, n, make([]byte, 256<<10)); equal || err != nil {
			return alike, true
		}
		return apart, true
	}
	equal, n, err := read.Compare(orig, f, sh.same, end, make([]byte, 256<<10))
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // truncated meanwhile
		return alike, true
	case err != nil:
		return apart, true
	case !equal:
		return apart, false
	}
	sh.same = n
	s.mu.Lock()
	if c := s.copy(); n > 0 && (c == nil || n >= c.same) { // an empty file begins as any other
		s.set().copy = &copied{path: sh.path, id: sh.id, same: sh.same}
	}
	s.mu.Unlock()
	return alike, true
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
	if short {
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
