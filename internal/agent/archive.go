package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/ledger"
	"logtail/internal/agent/monitor"
	"logtail/internal/agent/read"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// Rotation compresses files, often before they were read to their end. A
// compressed file is never collected as text. If its content is known to be
// that of a stream, the stream reads its rest from it when the plain file is
// gone; if not, it is the file of a time when nobody looked, and has a stream of its own.

// archiveKind tells from its name what a file is compressed with: "gzip",
// "zstd", or "" for a plain one. The content has the last word when it is opened.
func archiveKind(path string) string {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gz", ".gzip":
		return "gzip"
	case ".zst", ".zstd":
		return "zstd"
	}
	return ""
}

// archive takes care of a compressed file that a pipeline's pattern matches,
// and says whether it is one.
func (a *Agent) archive(run *pipelineRun, e *monitor.Event, id read.Identity, mtime int64) bool {
	kind := archiveKind(e.Path)
	if kind == "" {
		return false
	}
	if _, ok := a.archives[id]; ok {
		return true
	}
	c, err := read.OpenCompressed(e.Path)
	switch {
	case err == nil:
		_ = c.Close() // it was only looked at
	case errors.Is(err, read.ErrNotArchive):
		return false
	}
	if !run.input.Once && (run.firstScan || max(id.Birth, mtime) <= run.since) {
		return true // it was there before the pipeline: history
	}
	if !run.input.Once && !run.listed {
		run.archives = append(run.archives, *e)
		return true
	}
	if err != nil {
		// One that cannot be opened, as it was renamed this moment, is not text for that.
		if !errors.Is(err, read.ErrIncomplete) && !errors.Is(err, fs.ErrNotExist) {
			a.alarms.Raise(alarm.OpenLogfileFail, run.scope, 1, fmt.Sprintf("%v; the file waits, and is tried again", err), nil)
		}
		a.unclear[filePath{run, e.Path}] = struct{}{}
		return true
	}
	s := a.newArchive(run, e.Path, "", id, kind)
	if s == nil {
		return true
	}
	if !run.input.Once {
		run.arrived(s, nil)
	}
	a.saver.add(s)
	return true
}

// newArchive makes a stream for a compressed file, unless its content is known
// or cannot be told yet; then it is looked at again. path is where it is, and origin, if not "", the path that it was rotated from.
func (a *Agent) newArchive(run *pipelineRun, path, origin string, id read.Identity, kind string) *stream {
	if _, ok := a.archives[id]; ok {
		return nil
	}
	c, err := read.OpenCompressed(path)
	if errors.Is(err, read.ErrIncomplete) {
		a.unclear[filePath{run, path}] = struct{}{}
	}
	if err != nil {
		return nil
	}
	defer func() { _ = c.Close() }()
	base, baseHash := uint64(0), delivery.TailHash(nil)
	if !run.input.Once {
		there := a.beside(run, path, c) // asked first: what is gone now was opened before, or never will be
		known, at, hash, err := a.content(run, filepath.Dir(path), c)
		switch {
		case err != nil && !errors.Is(err, read.ErrDamagedArchive):
			a.unclear[filePath{run, path}] = struct{}{} // it is still being written
			return nil
		case known:
			a.archives[id] = struct{}{}
			return nil
		case there:
			if origin != "" {
				a.empty[filePath{run, origin}] = struct{}{} // its chain is looked at again
			} else {
				a.unclear[filePath{run, path}] = struct{}{}
			}
			return nil
		}
		base, baseHash = at, hash
	}
	s := a.newStream(run, path, id, origin == "")
	if s == nil {
		return nil
	}
	if base > 0 {
		if facts, err := c.Facts(); err == nil {
			size := uint64(unlimited) // it has all that the file had, if it is as long as that
			if n := c.Len(); n >= 0 {
				size = uint64(n)
			}
			a.recovered(run, &facts, base, size)
		}
	}
	s.rec.Compressed, s.rec.Base = kind, base
	s.rec.BaseHash = baseHash
	if origin != "" {
		s.gone, s.rec.Origin = true, origin
	}
	a.log.Info("a compressed file is collected whose content was not seen before", "path", path, "from", base)
	return s
}

// beside says whether the file that was compressed is there still, as until the end of
// its compression, so that it has to wait whose the archive is. The stream of the file, which is
// to go on with the archive, may not be there yet or not know its head. Where the file
// stays although the archive is complete, as some compressors let it, that is known after a while.
func (a *Agent) beside(run *pipelineRun, path string, c *read.Compressed) bool {
	plain := strings.TrimSuffix(path, filepath.Ext(path))
	f, facts, _, err := read.Look(plain)
	if err != nil {
		return false
	}
	defer f.Close()
	var buf [read.HeadBytes]byte
	n, _ := c.ReadAt(buf[:min(facts.Size, read.HeadBytes)], 0)
	if h, ok := facts.Head(n); n == 0 || !ok || h != xxhash.Sum64(buf[:n]) {
		return false
	}
	if s := a.streamOf(run, plain, facts.Identity); s != nil && s.unproved() {
		return true
	}
	_, _, mtime, err := read.Peek(path)
	return err == nil && a.now().Sub(time.Unix(0, mtime)).Abs() < shadowTime
}

// unproved says whether the stream's file is collected, but its head is not stored yet.
func (s *stream) unproved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.proved && !s.rec.Pending && s.rec.Compressed == ""
}

// content says whether the content of a compressed file is that of a stream, or
// of one that has ended. Where one has ended before the content does, the rest, from
// the offset at, is still to be collected.
func (a *Agent) content(run *pipelineRun, dir string, c *read.Compressed) (known bool, at, hash uint64, err error) {
	var buf [read.HeadBytes]byte
	n, err := c.ReadAt(buf[:], 0)
	if n < len(buf) && errors.Is(err, read.ErrIncomplete) || n == 0 && errors.Is(err, read.ErrDamagedArchive) {
		return false, 0, 0, err
	}
	heads := map[int]uint64{}
	begins := func(length int, head uint64) bool {
		if length == 0 || length > n {
			return false
		}
		h, ok := heads[length]
		if !ok {
			h = xxhash.Sum64(buf[:length])
			heads[length] = h
		}
		return h == head
	}
	may := func(t *state.Tomb) bool {
		return begins(t.HeadLen, t.Head) || t.HeadLen > n && len(t.Marks) > 0
	}
	type owner struct {
		state.Tomb
		s *stream // nil: it has ended
	}
	var list []owner
	for _, s := range a.files.of(run) {
		s.mu.Lock()
		o, skip := owner{Tomb: s.tomb()}, s.rec.Compressed != ""
		if !s.frozen {
			o.s = s
		}
		s.mu.Unlock()
		if !skip && may(&o.Tomb) {
			list = append(list, o)
		}
	}
	// After the live ones: one that ends leaves its tombstone before it is no more among them.
	for _, t := range a.buried() {
		// The folder may have another name now, which does not matter where the content is proof enough.
		here := t.Dir == dir || t.HeadLen >= read.HeadBytes && t.Tail != 0
		if t.Pipeline == run.p.Name && here && may(&t) {
			list = append(list, owner{Tomb: t})
		}
	}
	// Going back in a compressed file means to begin anew.
	slices.SortFunc(list, func(a, b owner) int { return cmp.Compare(a.End, b.End) })
	at, hash = 0, delivery.TailHash(nil)
	for i := range list {
		t := &list[i]
		h, ok := read.HashBefore(c, t.End)
		if !ok && errors.Is(c.Err(), read.ErrIncomplete) {
			return false, 0, 0, c.Err()
		}
		if !ok {
			if facts, short := shorter(c, &read.Known{HeadLen: t.HeadLen, Head: t.Head, End: t.End}); short && beginning(&facts, t.HeadLen, t.Head, t.Marks) {
				return true, 0, 0, nil
			}
			continue
		}
		if t.Tail != 0 && h != t.Tail || !begins(t.HeadLen, t.Head) {
			continue
		}
		var more [1]byte
		if t.s != nil {
			t.s.compressedTo(c.Name())
			return true, 0, 0, nil
		} else if m, _ := c.ReadAt(more[:], int64(t.End)); m == 0 {
			if errors.Is(c.Err(), read.ErrIncomplete) {
				return false, 0, 0, c.Err()
			}
			return true, 0, 0, nil
		}
		at, hash = t.End, h
	}
	return false, at, hash, nil
}

// compressedTo notes where the archive of the stream's file is: its folder may have been renamed.
func (s *stream) compressedTo(path string) {
	s.mu.Lock()
	s.set().archive = path
	s.mu.Unlock()
	s.a.queue.add(s)
}

// findArchive opens the compressed file that the stream's file was turned into.
func (s *stream) findArchive(k *read.Known) (*read.Compressed, string, error) {
	c, path, err := read.SearchCompressed(k, s.rec.Path, s.origin(), s.run.input.MaxCheckpointDirSearchDepth)
	if err == nil || s.rare == nil || s.rare.archive == "" {
		return c, path, err
	}
	c, oerr := read.OpenCompressed(s.rare.archive)
	if oerr != nil {
		return nil, "", err
	}
	if facts, ferr := c.Facts(); ferr == nil && read.SameContent(k, &facts) {
		return c, s.rare.archive, nil
	}
	_ = c.Close()
	return nil, "", err
}

// maxTombs bounds how many ended streams are known, as the state file does.
const maxTombs = 10_000

// buried returns what stays of all streams that have ended.
func (a *Agent) buried() []state.Tomb {
	a.tombs = append(a.tombs, a.again.buried()...)
	a.tombs = a.tombs[max(0, len(a.tombs)-maxTombs):]
	return a.tombs
}

// reconsider looks again at compressed files that could not be told yet.
func (a *Agent) reconsider() {
	for key := range a.unclear {
		delete(a.unclear, key)
		a.found(key.run, &monitor.Event{Watch: key.run.p.Name, Kind: monitor.Changed, Path: key.path})
	}
}

// bury keeps what is needed to know the file's content again.
func (s *stream) bury() {
	if s.rec.HeadLen == 0 || s.rec.Compressed != "" {
		return
	}
	t := s.tomb()
	s.a.saver.bury(t)
	s.a.again.bury(t)
}

// tomb is what is needed to know the file's content again.
func (s *stream) tomb() state.Tomb {
	k := s.known()
	t := state.Tomb{
		Pipeline: s.run.p.Name, Dir: filepath.Dir(s.rec.Path), HeadLen: s.rec.HeadLen, Head: s.rec.Head,
		End: k.End, Tail: k.Tail, At: s.a.now().Unix(), Marks: s.rec.Marks,
	}
	if s.done || s.rec.Sealed {
		t.End, t.Tail = s.pos, s.tail
	}
	if s.frozen && s.high > t.End {
		t.End, t.Tail = s.high, 0
	}
	return t
}

// openArchive opens the compressed file of a stream, wherever it is now.
func (s *stream) openArchive() bool {
	path := s.rec.Path
	if id, _, _, err := read.Peek(path); err != nil || id != s.identity() {
		if !s.gone {
			s.gone = true
			s.a.files.leave(s, s.rec.Path)
			s.a.again.add(look{filePath: filePath{s.run, s.rec.Path}})
		}
		f, found, err := read.Search(&read.Known{Identity: s.identity()}, s.rec.Path, s.run.input.MaxCheckpointDirSearchDepth)
		if err != nil {
			return false
		}
		f.Close()
		path = found
	}
	c, err := read.OpenCompressed(path)
	if err != nil {
		s.a.alarms.Raise(alarm.OpenLogfileFail, s.run.scope, 1, fmt.Sprintf("%v; the file waits, and is tried again every %v", err, retryRead), nil)
		return false
	}
	if path != s.rec.Path {
		s.move(path)
		s.sought = true
	}
	s.use(c)
	return true
}

// fromArchive goes on with the compressed file that the stream's file was turned into.
func (s *stream) fromArchive() bool {
	if s.archived || s.rec.Compressed != "" || s.rec.HeadLen == 0 || s.run.input.Once {
		return false
	}
	c, path, err := s.findArchive(s.known())
	if err != nil {
		s.unsure = s.unsure || !errors.Is(err, fs.ErrNotExist)
		return false
	}
	s.archived, s.grew = true, momentOf(s.a.now())
	s.use(c)
	s.a.log.Info("the rest of a rotated file is read from its archive", "path", s.rec.Path, "archive", path)
	return true
}

// endArchive ends a stream that has read the compressed file that its file was turned into
// to its end. It does not before all of it is delivered: after a crash it is read again.
func (w *worker) endArchive(s *stream) {
	w.flush(s)
	if s.delivered() {
		s.freeze(delivery.ReasonDeleted)
	}
}

// brokenArchive is called when a compressed file cannot be read on at the stream's place.
func (w *worker) brokenArchive(s *stream, err error, now time.Time) {
	if errors.Is(err, read.ErrIncomplete) {
		if s.failures++; s.failures < archiveTries {
			w.a.queue.at(s, now.Add(retryRead)) // it is still being written
			return
		}
	}
	w.a.alarms.Raise(alarm.DropLog, s.run.scope, 1,
		fmt.Sprintf("the compressed file of %s cannot be read behind offset %d: %v; what follows there is lost", s.rec.Path, s.pos, err), nil)
	s.lose(s.pos, ledger.FileDamaged, 0, 0)
	s.freeze(delivery.ReasonDeleted)
}

// archiveTries is how often a compressed file is tried that ends too early.
const archiveTries = 12
