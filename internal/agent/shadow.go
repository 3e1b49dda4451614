package agent

import (
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"logtail/internal/agent/monitor"
	"logtail/internal/agent/read"
)

// A copy is made before its original is truncated, and its name may match the pattern. Till
// the truncation shows what it is, it is a shadow.

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
