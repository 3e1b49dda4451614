package wal

import (
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft-wal/types"
)

// sealedHandles is how many sealed segments of a log are kept open for
// reading; a few, since readers go through a log in order. raft-wal itself
// would keep one descriptor for every segment of every log.
const sealedHandles = 4

// files is the file system as raft-wal sees it for one log. It differs from
// the one of raft-wal in that
//   - nothing is allocated ahead, so that a thousand idle logs cost a
//     thousand small files and not 64 GB;
//   - sealed segments are opened when they are read;
//   - the folder is synced before the first write into a file is called
//     durable, also when an earlier attempt failed or the file was made by a
//     process that crashed;
//   - it works on Windows, where a folder cannot be synced.
type files struct {
	faults *Faults
	list   *segmentList

	mu      sync.Mutex
	writers map[*segmentFile]struct{}
	sealed  []*sealedFile // the ones with an open handle, the latest used last
}

func newFiles(f *Faults, list *segmentList) *files {
	return &files{faults: f, list: list, writers: map[*segmentFile]struct{}{}}
}

// ListDir implements types.VFS.
func (fs *files) ListDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Create implements types.VFS. The size is only a hint there, and not used.
func (fs *files) Create(dir, name string, _ uint64) (types.WritableFile, error) {
	// A log that was opened anew makes the file itself.
	fs.list.mu.Lock()
	defer fs.list.mu.Unlock()
	if fs.list.frozen {
		return nil, errFrozen
	}
	if err := fs.faults.step(OpCreate, filepath.Join(dir, name)); err != nil {
		return nil, err
	}
	return fs.open(dir, name, os.O_CREATE|os.O_EXCL|os.O_RDWR)
}

// OpenWriter implements types.VFS.
func (fs *files) OpenWriter(dir, name string) (types.WritableFile, error) {
	return fs.open(dir, name, os.O_RDWR)
}

func (fs *files) open(dir, name string, flags int) (types.WritableFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	s := &segmentFile{fs: fs, dir: dir, f: f}
	fs.mu.Lock()
	fs.writers[s] = struct{}{}
	fs.mu.Unlock()
	return s, nil
}

// OpenReader implements types.VFS.
func (fs *files) OpenReader(dir, name string) (types.ReadableFile, error) {
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return &sealedFile{fs: fs, path: path}, nil
}

// Delete implements types.VFS.
func (fs *files) Delete(dir, name string) error {
	path := filepath.Join(dir, name)
	fs.mu.Lock()
	for i := len(fs.sealed) - 1; i >= 0; i-- { // Windows deletes no open file
		if fs.sealed[i].path == path {
			fs.dropLocked(i)
		}
	}
	fs.mu.Unlock()
	if err := fs.faults.Remove(path); err != nil {
		return err
	}
	return fs.faults.SyncDir(dir)
}

// close closes what raft-wal left open: after an error it forgets files.
func (fs *files) close() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for s := range fs.writers {
		s.f.Close()
	}
	clear(fs.writers)
	fs.forgetLocked()
}

// forget closes the sealed segments, which open themselves when they are read.
func (fs *files) forget() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.forgetLocked()
}

func (fs *files) forgetLocked() {
	for len(fs.sealed) > 0 {
		fs.dropLocked(len(fs.sealed) - 1)
	}
}

func (fs *files) dropLocked(i int) {
	s := fs.sealed[i]
	s.f.Close()
	s.f = nil
	fs.sealed = append(fs.sealed[:i], fs.sealed[i+1:]...)
}

// segmentFile is the segment that is written, which raft-wal also reads from.
type segmentFile struct {
	fs     *files
	dir    string
	f      *os.File
	listed bool // the folder was synced with this file in it; only the one writer looks
}

// ReadAt implements types.WritableFile.
func (s *segmentFile) ReadAt(p []byte, off int64) (int, error) { return s.fs.readAt(s.f, p, off) }

// WriteAt implements types.WritableFile.
func (s *segmentFile) WriteAt(p []byte, off int64) (int, error) {
	return s.fs.faults.writeAt(s.f, p, off)
}

// Sync implements types.WritableFile.
func (s *segmentFile) Sync() error {
	var err error
	if sync := s.fs.faults.get().Sync; sync != nil {
		err = sync(s.f)
	} else {
		err = s.f.Sync()
	}
	if err != nil || s.listed {
		return err
	}
	if err := s.fs.faults.SyncDir(s.dir); err != nil {
		return err
	}
	s.listed = true
	return nil
}

// Close implements types.WritableFile.
func (s *segmentFile) Close() error {
	s.fs.mu.Lock()
	_, open := s.fs.writers[s]
	delete(s.fs.writers, s)
	s.fs.mu.Unlock()
	if !open {
		return nil
	}
	return s.f.Close()
}

// sealedFile is a segment that is only read.
type sealedFile struct {
	fs   *files
	path string
	f    *os.File // nil while not open; guarded by fs.mu
}

// ReadAt implements types.ReadableFile. Reads of one log's sealed segments
// take turns: they are rare, and the handles need an owner.
func (s *sealedFile) ReadAt(p []byte, off int64) (int, error) {
	s.fs.mu.Lock()
	defer s.fs.mu.Unlock()
	if s.f == nil {
		f, err := os.Open(s.path)
		if err != nil {
			return 0, err
		}
		s.f = f
		if len(s.fs.sealed) == sealedHandles {
			s.fs.dropLocked(0)
		}
		s.fs.sealed = append(s.fs.sealed, s)
	} else if last := len(s.fs.sealed) - 1; s.fs.sealed[last] != s {
		for i, o := range s.fs.sealed {
			if o == s {
				s.fs.sealed = append(append(s.fs.sealed[:i], s.fs.sealed[i+1:]...), s)
				break
			}
		}
	}
	return s.fs.readAt(s.f, p, off)
}

// Close implements types.ReadableFile.
func (s *sealedFile) Close() error {
	s.fs.mu.Lock()
	defer s.fs.mu.Unlock()
	for i, o := range s.fs.sealed {
		if o == s {
			s.fs.dropLocked(i)
			break
		}
	}
	return nil
}
