package agent

import (
	"slices"
	"sync"

	"logtail/internal/agent/read"
	"logtail/internal/agent/state"
)

// files knows which stream a file is, by its identity, and which stream is at
// a path. It calls nothing while it is locked.
type files struct {
	mu     sync.Mutex
	byID   map[fileID]*stream
	byPath map[filePath]*stream
	// byInode has the streams of an inode number on whatever device: device
	// numbers change with a reboot or a mount.
	byInode map[inode][]*stream
	all     map[*stream]struct{} // also those whose file is gone or was truncated
}

type fileID struct {
	run        *pipelineRun
	dev, inode uint64
}

type inode struct {
	run   *pipelineRun
	inode uint64
}

type filePath struct {
	run  *pipelineRun
	path string
}

func newFiles() *files {
	return &files{byID: map[fileID]*stream{}, byPath: map[filePath]*stream{}, byInode: map[inode][]*stream{}, all: map[*stream]struct{}{}}
}

// put notes that s is the file id and is at path; path is "" if that is not known.
func (x *files) put(s *stream, id read.Identity, path string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all[s] = struct{}{}
	x.byID[fileID{s.run, id.Dev, id.Inode}] = s
	if k := (inode{s.run, id.Inode}); !slices.Contains(x.byInode[k], s) {
		x.byInode[k] = append(x.byInode[k], s)
	}
	if path != "" {
		x.byPath[filePath{s.run, path}] = s
	}
}

// is returns the stream of a file.
func (x *files) is(run *pipelineRun, id read.Identity) *stream {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byID[fileID{run, id.Dev, id.Inode}]
}

// numbered returns the streams of an inode number, on whatever device.
func (x *files) numbered(run *pipelineRun, number uint64) []*stream {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.byInode[inode{run, number}])
}

// renumber notes that the device of s has another number now.
func (x *files) renumber(s *stream, was, is uint64, number uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if k := (fileID{s.run, was, number}); x.byID[k] == s {
		delete(x.byID, k)
	}
	x.byID[fileID{s.run, is, number}] = s
}

// at returns the stream whose file is at path.
func (x *files) at(run *pipelineRun, path string) *stream {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byPath[filePath{run, path}]
}

// leave notes that s is not at path any more.
func (x *files) leave(s *stream, path string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if k := (filePath{s.run, path}); x.byPath[k] == s {
		delete(x.byPath, k)
	}
}

// drop forgets s.
func (x *files) drop(s *stream, rec *state.Stream, path string) {
	x.leave(s, path)
	x.mu.Lock()
	defer x.mu.Unlock()
	if k := (fileID{s.run, rec.Dev, rec.Inode}); x.byID[k] == s {
		delete(x.byID, k)
	}
	k := inode{s.run, rec.Inode}
	if rest := slices.DeleteFunc(x.byInode[k], func(o *stream) bool { return o == s }); len(rest) > 0 {
		x.byInode[k] = rest
	} else {
		delete(x.byInode, k)
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
