//go:build linux

package soak

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// illness is what a disk does instead of its work.
type illness struct {
	errno  syscall.Errno
	onSync bool    // fsync fails, nothing else
	torn   bool    // a write that fails has been done in part
	part   float64 // of the calls that fail
}

// ward is a mounted file system that can be made ill.
type ward struct {
	now atomic.Pointer[illness]
}

// hurt returns the error of a call, 0 for none.
func (w *ward) hurt(sync bool) (syscall.Errno, *illness) {
	i := w.now.Load()
	if i == nil || i.onSync != sync || rand.Float64() >= i.part {
		return 0, nil
	}
	return i.errno, i
}

// sickNode is a file or folder of a ward.
type sickNode struct {
	fs.LoopbackNode
	ward *ward
}

// WrapChild makes what is found in the folder part of the ward too.
func (n *sickNode) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &sickNode{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, ward: n.ward}
}

func (n *sickNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, more, errno := n.LoopbackNode.Open(ctx, flags)
	return n.wrap(f), more, errno
}

func (n *sickNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if e, _ := n.ward.hurt(false); e != 0 {
		return nil, nil, 0, e
	}
	ino, f, more, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return ino, n.wrap(f), more, errno
}

func (n *sickNode) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	if e, _ := n.ward.hurt(false); e != 0 {
		return e
	}
	return n.LoopbackNode.Rename(ctx, name, parent, to, flags)
}

func (n *sickNode) Unlink(ctx context.Context, name string) syscall.Errno {
	if e, _ := n.ward.hurt(false); e != 0 {
		return e
	}
	return n.LoopbackNode.Unlink(ctx, name)
}

func (n *sickNode) wrap(f fs.FileHandle) fs.FileHandle {
	if l, ok := f.(*fs.LoopbackFile); ok {
		return &sickFile{l, n.ward}
	}
	return f
}

// sickFile is an open file of a ward.
type sickFile struct {
	*fs.LoopbackFile
	ward *ward
}

func (f *sickFile) PassthroughFd() (int, bool) { return -1, false }

func (f *sickFile) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if e, i := f.ward.hurt(false); e != 0 {
		if i.torn {
			_, _ = f.LoopbackFile.Write(ctx, data[:len(data)/2], off)
		}
		return 0, e
	}
	return f.LoopbackFile.Write(ctx, data, off)
}

func (f *sickFile) Writev(ctx context.Context, data [][]byte, off int64) (uint32, syscall.Errno) {
	if e, _ := f.ward.hurt(false); e != 0 {
		return 0, e
	}
	return f.LoopbackFile.Writev(ctx, data, off)
}

func (f *sickFile) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if e, _ := f.ward.hurt(true); e != 0 {
		return e
	}
	return f.LoopbackFile.Fsync(ctx, flags)
}

func (f *sickFile) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	if e, _ := f.ward.hurt(false); e != 0 {
		return e
	}
	return f.LoopbackFile.Allocate(ctx, off, size, mode)
}

// fuseReady puts the agent's data on a file system that can be made ill, on top
// of its volume if it has one.
func (s *soak) fuseReady() error {
	if err := asRoot(s); err != nil {
		return err
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return errors.New("there is no /dev/fuse")
	}
	below, at := filepath.Join(s.root, "agent-below"), filepath.Join(s.root, "agent-fuse")
	if v := s.volumes["agent"]; v != nil {
		below = filepath.Join(v.dir, "below")
	}
	for _, dir := range []string{below, at} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	w := &ward{}
	var st syscall.Stat_t
	if err := syscall.Stat(below, &st); err != nil {
		return err
	}
	root := &fs.LoopbackRoot{Path: below, Dev: st.Dev}
	node := &sickNode{LoopbackNode: fs.LoopbackNode{RootData: root}, ward: w}
	root.RootNode = node
	mounted, err := fs.Mount(at, node, &fs.Options{MountOptions: fuse.MountOptions{DirectMount: true, FsName: "logtail-soak", AllowOther: true}})
	if err != nil {
		return err
	}
	s.undo(func() {
		w.now.Store(nil)
		_ = mounted.Unmount() // busy if a program did not end; the next line ends it
		_ = run("umount", "-l", at)
	})
	s.ward, s.agentData = w, filepath.Join(at, "data")
	return nil
}

// sicken makes the agent's disk fail some or all of its calls for a while.
func (s *soak) sicken(r *rand.Rand) (string, error) {
	i := &illness{errno: syscall.EIO, part: 1, torn: r.IntN(2) == 0}
	what := "EIO"
	switch r.IntN(4) {
	case 0:
		i.errno, what = syscall.ENOSPC, "ENOSPC"
	case 1:
		i.onSync, what = true, "fsync EIO"
	case 2:
		i.errno, what = syscall.EROFS, "EROFS"
	}
	if r.IntN(2) == 0 {
		i.part = 0.02 + 0.3*r.Float64()
	}
	d := s.short(r, 15*time.Second)
	if s.ward.now.Load() != nil {
		return "", nil
	}
	s.ward.now.Store(i)
	s.note("the disk of the agent fails with %s for %v, part %.2f, torn %v", what, d, i.part, i.torn)
	s.wardIll.Add(1)
	s.after(d, func() error {
		s.ward.now.Store(nil)
		s.after(2*time.Second, func() error { s.wardIll.Add(-1); return nil })
		return nil
	})
	return "fuse " + what, nil
}
