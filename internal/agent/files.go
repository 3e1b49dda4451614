package agent

import (
	"slices"
	"sync"
	"sync/atomic"

	"logtail/internal/agent/read"
)

// files knows the streams of a file, by its inode number, and which stream is
// at a path. It calls nothing while it is locked.
type files struct {
	mu sync.Mutex
	// byInode has the streams of an inode number, whatever the device, whose
	// number changes with a reboot or a mount. There are several where an inode is
	// used again, or where two devices have files of one number: the others are in more.
	byInode map[inode]*stream
	more    map[inode][]*stream
	byPath  map[filePath]place
	adopted map[adoption]struct{} // files that streams went on with: copies of theirs
	all     map[*stream]struct{}  // also those whose file is gone or was truncated
	waiting atomic.Int32          // reports that wait for a stream
}

type adoption struct {
	run *pipelineRun
	id  read.Identity
}

// place is the stream of the file that is at a path, or, if it has left it, that
// was there last.
type place struct {
	s     *stream
	there bool
}

type inode struct {
	run    *pipelineRun
	number uint64
}

type filePath struct {
	run  *pipelineRun
	path string
}

func newFiles() *files {
	return &files{byInode: map[inode]*stream{}, more: map[inode][]*stream{}, byPath: map[filePath]place{}, adopted: map[adoption]struct{}{}, all: map[*stream]struct{}{}}
}

// put notes that s is the file of an inode and is at path; path is "" if that is not known.
func (x *files) put(s *stream, number uint64, path string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.putLocked(s, number, path)
}

func (x *files) putLocked(s *stream, number uint64, path string) {
	x.all[s] = struct{}{}
	x.ownLocked(inode{s.run, number}, s)
	if path != "" {
		x.byPath[filePath{s.run, path}] = place{s, true}
	}
}

// ownLocked notes that s is the file of an inode.
func (x *files) ownLocked(k inode, s *stream) {
	switch first := x.byInode[k]; {
	case first == nil:
		x.byInode[k] = s
	case first != s && !slices.Contains(x.more[k], s):
		x.more[k] = append(x.more[k], s)
	}
}

// ownersLocked returns the streams of an inode in a list of the caller's own.
func (x *files) ownersLocked(k inode) []*stream {
	if first := x.byInode[k]; first != nil {
		return append([]*stream{first}, x.more[k]...)
	}
	return nil
}

// putNew is put for a new stream; it is refused if another one has adopted the file.
func (x *files) putNew(s *stream, id read.Identity, path string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, taken := x.adopted[adoption{s.run, id}]; taken {
		return false
	}
	x.putLocked(s, id.Inode, path)
	return true
}

// adopt makes a file the one of s that no stream has; it is refused if one has.
func (x *files) adopt(s *stream, id read.Identity, path string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := inode{s.run, id.Inode}
	if x.ownedLocked(k, id) {
		return false
	}
	x.ownLocked(k, s)
	x.byPath[filePath{s.run, path}] = place{s, true}
	x.adopted[adoption{s.run, id}] = struct{}{}
	return true
}

// owned says whether a stream has the file with this identity.
func (x *files) owned(run *pipelineRun, id read.Identity) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ownedLocked(inode{run, id.Inode}, id)
}

// ownedLocked does not take streams for owners whose inode was used again.
func (x *files) ownedLocked(k inode, id read.Identity) bool {
	return slices.ContainsFunc(x.ownersLocked(k), func(s *stream) bool {
		b := s.birth.Load()
		return b == id.Birth || b == 0 || id.Birth == 0
	})
}

// remember notes where a stream of the last run was.
func (x *files) remember(s *stream, number uint64, path string) {
	x.put(s, number, "")
	x.mu.Lock()
	defer x.mu.Unlock()
	k := filePath{s.run, path}
	if old, ok := x.byPath[k]; !ok || !old.there && old.s.rec.Born < s.rec.Born {
		x.byPath[k] = place{s, false}
	}
}

// keep notes a stream that no file belongs to any more.
func (x *files) keep(s *stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all[s] = struct{}{}
}

// numbered returns the streams of an inode number, whatever the device.
func (x *files) numbered(run *pipelineRun, number uint64) []*stream {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ownersLocked(inode{run, number})
}

// at returns the stream whose file is at path.
func (x *files) at(run *pipelineRun, path string) *stream {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p := x.byPath[filePath{run, path}]; p.there {
		return p.s
	}
	return nil
}

// last returns the stream whose file is at path or, if none is, was there last.
func (x *files) last(run *pipelineRun, path string) *stream {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byPath[filePath{run, path}].s
}

// leave notes that s is not at path any more.
func (x *files) leave(s *stream, path string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if k := (filePath{s.run, path}); x.byPath[k].s == s {
		x.byPath[k] = place{s, false}
	}
}

// forget notes that nothing is to be remembered of s at path.
func (x *files) forget(s *stream, path string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if k := (filePath{s.run, path}); x.byPath[k].s == s {
		delete(x.byPath, k)
	}
}

// drop notes that no file belongs to s any more.
func (x *files) drop(s *stream, number uint64, path string) {
	x.leave(s, path)
	x.mu.Lock()
	defer x.mu.Unlock()
	k := inode{s.run, number}
	rest := slices.DeleteFunc(x.ownersLocked(k), func(o *stream) bool { return o == s })
	delete(x.byInode, k)
	delete(x.more, k)
	for _, o := range rest {
		x.ownLocked(k, o)
	}
	if len(rest) == 0 {
		for a := range x.adopted {
			if a.run == s.run && a.id.Inode == number {
				delete(x.adopted, a)
			}
		}
	}
}

// end forgets s altogether.
func (x *files) end(s *stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.all, s)
}

// of returns the streams of a pipeline; nil means all pipelines.
func (x *files) of(run *pipelineRun) []*stream {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make([]*stream, 0, len(x.all))
	for s := range x.all {
		if run == nil || s.run == run {
			list = append(list, s)
		}
	}
	return list
}
