package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/ledger"
	"logtail/internal/agent/monitor"
	"logtail/internal/agent/read"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// activeTime is how long before the first scan of a pipeline a file must have
// been modified to count as modified: older ones are history, which is not
// collected (existed_file_active_timeout of Logtail).
const activeTime = 120 * time.Second

// reconsiderEvery is how often files are looked at of which it is not known yet
// what they are.
const reconsiderEvery = time.Second

// discover turns the monitor's events, and paths that are to be looked at
// again, into streams until ctx ends. It is the only goroutine that
// makes streams, so a file never gets two.
func (a *Agent) discover(ctx context.Context, events <-chan []monitor.Event) {
	tick, clean := time.NewTicker(reconsiderEvery), time.NewTicker(forgetEvery)
	defer func() { tick.Stop(); clean.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return
		case batch, ok := <-events:
			if !ok {
				return
			}
			for i := range batch {
				a.event(&batch[i])
			}
			a.arrangeAll()
		case <-a.again.wake:
			list := a.again.take()
			for i := range list {
				l := &list[i]
				if l.begun {
					a.chains[l.filePath] = struct{}{}
				} else if !l.reborn || !a.reborn(l) {
					a.found(l.run, &monitor.Event{Watch: l.run.p.Name, Kind: monitor.Changed, Path: l.path})
				}
			}
			a.arrangeAll()
			a.begin()
		case <-clean.C:
			a.forget()
		case <-tick.C:
			a.reshadow()
			a.reconsider()
			a.arrangeAll()
			for key := range a.empty {
				a.chains[key] = struct{}{}
				delete(a.empty, key)
			}
			a.begin()
		}
	}
}

func (a *Agent) event(e *monitor.Event) {
	run := a.runs[e.Watch]
	if run == nil {
		return
	}
	switch e.Kind {
	case monitor.Found, monitor.Changed:
		a.found(run, e)
	case monitor.Gone:
		if s := a.files.at(run, e.Path); s != nil {
			s.left(e.Path)
		}
	case monitor.FirstScanDone:
		a.scanned(run)
	}
}

// again is the paths that are to be looked at again, and what was told of
// streams that have ended meanwhile.
type again struct {
	wake  chan struct{} // capacity 1: there are some
	mu    sync.Mutex
	list  []look
	tombs []state.Tomb
}

// look is a path that is to be looked at; reborn says that the file there, which
// had the identity id and came from origin, was truncated, and begun that it was
// empty when it was found and is not any more.
type look struct {
	filePath
	begun  bool
	reborn bool
	id     read.Identity
	origin string
}

func (g *again) add(l look) {
	g.mu.Lock()
	g.list = append(g.list, l)
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *again) bury(t state.Tomb) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tombs = append(g.tombs, t)
}

func (g *again) take() []look {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := g.list
	g.list = nil
	return list
}

// buried takes what was told of ended streams.
func (g *again) buried() []state.Tomb {
	g.mu.Lock()
	defer g.mu.Unlock()
	tombs := g.tombs
	g.tombs = nil
	return tombs
}

// reborn makes the stream that follows one whose file was truncated and is not
// at its path any more: its writer may go on writing to it. It says whether it did.
func (a *Agent) reborn(l *look) bool {
	now, _, _, err := read.Peek(l.path)
	if err == nil && now == l.id {
		// What is there is looked at as any file is, if it matches or may be a copy by its name.
		if ok, _ := monitor.Match(l.run.spec(), l.path); ok || a.rotatedFrom(l.run, l.path) != "" {
			return false
		}
	}
	if l.run.input.Once || l.id.Birth == 0 || a.streamOf(l.run, l.path, l.id) != nil {
		return false
	}
	s := a.newStream(l.run, l.path, l.id, false)
	if s == nil {
		return false
	}
	s.rec.Origin, s.gone = l.origin, true
	a.saver.add(s)
	return true
}

// found looks which file is at a path now.
func (a *Agent) found(run *pipelineRun, e *monitor.Event) {
	id, size, mtime, err := read.Peek(e.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, read.ErrNotRegular):
		return
	case err != nil:
		a.alarms.Raise(alarm.LogfilePermission, run.scope, 1,
			fmt.Sprintf("%v; give the agent's user the right to read it and to enter the folders above", err), nil)
		return
	}
	if run.input.Once && !e.First {
		return // it was not there when the one-time input started
	}
	if s := a.streamOf(run, e.Path, id); s != nil {
		if at := a.files.at(run, e.Path); at != nil && at != s {
			at.left(e.Path)
		}
		delete(a.shadows, filePath{run, e.Path})
		if !run.complete.Load() && s.behind(size) {
			run.arrived(s, nil) // it has its place among the rotated files, too
		}
		if s.here(e.Path, size, mtime) {
			a.chains[filePath{run, e.Path}], a.empty[filePath{run, e.Path}] = struct{}{}, struct{}{}
		}
		return
	}
	if !run.input.Once && !run.firstScan {
		a.meetBase(run, e.Path)
	}
	was := a.files.last(run, e.Path)
	if at := a.files.at(run, e.Path); at != nil {
		at.left(e.Path)
	}
	if s := a.renumbered(run, e.Path, id, size, mtime); s != nil {
		s.here(e.Path, size, mtime)
		return
	}
	if s := a.reissued(run, e.Path, id); s != nil {
		s.here(e.Path, size, mtime)
		return
	}
	if owner := a.owner(run, e.Path); owner != run {
		a.alarms.Raise(alarm.MultiConfigMatch, run.scope, 1,
			fmt.Sprintf("%s is collected by the pipeline %q, whose path is more precise; set AllowingIncludedByMultiConfigs: true to collect it here too", e.Path, owner.p.Name), nil)
		return
	}
	if a.archive(run, e, id, mtime) || !run.input.Once && !run.firstScan && a.shadowed(run, e.Path, id, size) {
		return
	}
	s := a.newStream(run, e.Path, id, true)
	if s == nil {
		a.again.add(look{filePath: filePath{run, e.Path}})
		return
	}
	if !run.input.Once && !run.firstScan {
		run.arrived(s, was)
		run.remember(e.Path, was, a.now())
	}
	if s.mtime = mtime; size == 0 && !run.input.Once {
		a.empty[filePath{run, e.Path}] = struct{}{} // modification times are too coarse to tell what was just emptied again
	}
	s.rec.Seen, s.rec.SizeSeen = mtime/int64(time.Second), uint64(size)
	switch {
	case run.input.Once:
		s.limit = uint64(size)
	case a.hinted(s, e.Path, id, size):
	case a.remnant(s, e.Path, size):
	case run.firstScan && !run.input.TailingAllMatchedFiles && a.now().Sub(time.Unix(0, mtime)) > activeTime:
		s.rec.Pending, s.rec.Size, s.rec.Mtime = true, size, mtime
		s.first(ledger.Unmodified, ledger.Count{Bytes: size})
	case run.firstScan:
		s.tailFrom(size)
	}
	if !s.rec.Pending && size > 0 {
		s.firstHead()
	}
	if run.firstScan {
		run.firstStreams = append(run.firstStreams, s)
		return
	}
	a.saver.add(s)
}

// remnant says whether a new file is the copy of one that has ended, and makes its stream
// go on where that was read to.
func (a *Agent) remnant(s *stream, path string, size int64) bool {
	base := ""
	if size > 0 && !s.run.firstScan {
		base = a.rotatedFrom(s.run, path)
	}
	if base == "" {
		return false
	}
	known, at, hash := a.isCopy(s.run, base, path, true)
	if !known && at == 0 {
		return false
	}
	f, facts, _, err := read.Look(path)
	if err != nil {
		return false
	}
	defer f.Close()
	end := uint64(facts.Size)
	if known && at == 0 { // it ends before what was read
		if hash, known = facts.Tail(end); !known || end == 0 {
			return false
		}
		at = end
	}
	a.recovered(s.run, &facts, at, end)
	s.rec.Base, s.rec.BaseHash = at, hash
	a.log.Info("a copy of what was read before is collected from where that ended", "path", path, "copy_of", base, "from", at)
	return true
}

// streamOf returns the stream of the file with an identity, which is at path; nil
// if there is none. Where the file system tells no birth time, an inode that was
// used again may have two streams: the content tells which is the file's.
func (a *Agent) streamOf(run *pipelineRun, path string, id read.Identity) *stream {
	list := slices.DeleteFunc(a.files.numbered(run, id.Inode), func(s *stream) bool { return !s.same(id) })
	if len(list) == 0 {
		return nil
	}
	for _, s := range list[1:] {
		if s.holds(path) {
			return s
		}
	}
	return list[0]
}

// holds says whether the content of the file at path is the stream's.
func (s *stream) holds(path string) bool {
	f, facts, _, err := read.Look(path)
	if err != nil {
		return false
	}
	defer f.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return read.Decide(s.known(), &facts) == read.Same
}

// owner says which pipeline collects a file that run matches: one file, one
// pipeline, unless a pipeline asks for files that others have too. The one with
// the longest base path wins, then the first by name.
func (a *Agent) owner(run *pipelineRun, path string) *pipelineRun {
	if run.input.AllowingIncludedByMultiConfigs {
		return run
	}
	best := run
	for _, r := range a.runs {
		if r == run || r.input.AllowingIncludedByMultiConfigs {
			continue
		}
		if ok, _ := monitor.Match(r.spec(), path); !ok {
			continue
		}
		if d := r.basePath(path) - best.basePath(path); d > 0 || d == 0 && r.p.Name < best.p.Name {
			best = r
		}
	}
	return best
}

// basePath is how much of path is spelled out by the pipeline's pattern for it,
// before the first wildcard.
func (r *pipelineRun) basePath(path string) int {
	best := 0
	for _, p := range r.input.FilePaths {
		spec := r.spec()
		spec.Paths = []string{p}
		if ok, _ := monitor.Match(spec, path); !ok {
			continue
		}
		n := len(p)
		if i := strings.IndexAny(p, "*?"); i >= 0 {
			n = i
		}
		best = max(best, n)
	}
	return best
}

// newStream makes a stream for a file that none is for yet, which is at path or
// was there last. It is not stored. It is nil if another stream has taken the
// file over this moment.
func (a *Agent) newStream(run *pipelineRun, path string, id read.Identity, there bool) *stream {
	s := &stream{
		a: a, run: run, fresh: true, limit: unlimited, boundary: unlimited,
		rec: state.Stream{
			ID: delivery.NewStreamID(), Born: a.now().UnixNano(), Pipeline: run.p.Name, Path: path, Dev: id.Dev, Inode: id.Inode, Birth: id.Birth,
			BaseHash: delivery.TailHash(nil), Seen: a.now().Unix(),
		},
	}
	if !there {
		path = ""
	}
	s.birth.Store(id.Birth)
	if !a.files.putNew(s, id, path) {
		return nil
	}
	a.stats.Files.Add(1)
	a.log.Debug("a stream begins", "stream", s.rec.ID, "path", s.rec.Path, "inode", id.Inode, "there", there)
	return s
}

// restore makes the stream of a stored record. Its lanes are made when the
// file is found.
func (a *Agent) restore(run *pipelineRun, rec *state.Stream) *stream {
	s := &stream{a: a, run: run, restored: true, proved: rec.HeadLen > 0, limit: unlimited, boundary: unlimited, rec: *rec}
	s.rec.Pipeline = run.p.Name // one string for all
	s.birth.Store(rec.Birth)
	s.high = rec.High
	if s.lost = rec.Ended; s.lost != delivery.ReasonNone {
		s.frozen = true
		s.passed.Store(true)
		a.files.keep(s)
		return s
	}
	a.files.remember(s, rec.Inode, rec.Path)
	return s
}

// scanned ends the first scan of a pipeline in this run of the agent: new
// files that come from now on are read from their beginning, and files that
// are known but were not at a matching path are looked for.
func (a *Agent) scanned(run *pipelineRun) {
	if run.firstScan {
		run.firstScan = false
		run.since = a.now().Unix() * int64(time.Second) // as stored; file systems lag some milliseconds behind the clock
		a.saver.scan(run, run.firstStreams)
		run.firstStreams = nil
	}
	run.listed = true
	for i := range run.archives {
		a.found(run, &run.archives[i])
	}
	run.archives = nil
	a.arrange(run)
	for _, s := range a.files.of(run) {
		s.mu.Lock()
		lost := s.lanes == nil && !s.fresh && !s.rec.Pending && !s.done
		if lost {
			s.gone = true // its path has another file, or none: the turn searches
		}
		s.mu.Unlock()
		if lost {
			if a.files.at(run, s.rec.Path) == nil {
				a.succession(run, s.rec.Path, nil) // files that came and went after it
			}
			s.attach(true)
		}
	}
	run.complete.Store(true)
	if a.settled() {
		a.shared.Settled()
	}
	a.checkFinished()
}
