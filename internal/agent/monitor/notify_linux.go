package monitor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// inotify watches directories only: a watch per file would cost kernel memory
// by the hundred thousand and tell nothing more.
type inotify struct {
	fd       int      // for add and remove; os.File.Fd would make it blocking
	file     *os.File // holds fd in the runtime's poller
	sink     *sink
	coalesce time.Duration
	done     chan struct{} // closed by close
	ended    chan struct{} // closed when the reading goroutine has ended
}

const (
	maskDir   = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_MASK_ADD
	maskFiles = maskDir | unix.IN_MODIFY
)

func newNotifier(s *sink, coalesce time.Duration) (notifier, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify_init1: %w", err)
	}
	n := &inotify{
		fd: fd, file: os.NewFile(uintptr(fd), "inotify"), sink: s, coalesce: coalesce,
		done: make(chan struct{}), ended: make(chan struct{}),
	}
	go n.read()
	return n, nil
}

func (n *inotify) add(path string, files bool) (int32, error) {
	mask := uint32(maskDir)
	if files {
		mask = maskFiles
	}
	wd, err := unix.InotifyAddWatch(n.fd, path, mask)
	return int32(wd), err
}

func (n *inotify) remove(wd int32) {
	// An error means that the kernel removed it first.
	_, _ = unix.InotifyRmWatch(n.fd, uint32(wd))
}

func (n *inotify) close() {
	close(n.done)
	n.file.Close()
	<-n.ended
}

// read moves events from the kernel to the sink. After each round it rests, so
// that a file that is written to all the time costs some 20 wake-ups a second
// and not one per write; in the rest the kernel joins and queues.
func (n *inotify) read() {
	defer close(n.ended)
	buf := make([]byte, 64<<10)
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		got, err := n.file.Read(buf)
		if err != nil {
			return // closed: nothing else ends an inotify descriptor
		}
		parseInotify(buf[:got], n.sink)
		n.sink.wake()
		rest.Reset(n.coalesce)
		select {
		case <-n.done:
			return
		case <-rest.C:
		}
	}
}

// parseInotify walks over records of struct inotify_event: wd, mask, cookie,
// length of the name, name padded with zeros.
func parseInotify(b []byte, s *sink) {
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		mask := binary.NativeEndian.Uint32(b[4:])
		size := binary.NativeEndian.Uint32(b[12:])
		b = b[unix.SizeofInotifyEvent:]
		if uint64(size) > uint64(len(b)) {
			return
		}
		name := b[:size]
		b = b[size:]
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		if mask&unix.IN_Q_OVERFLOW != 0 {
			s.lose()
			continue
		}
		var bits changeBits
		if mask&(unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_DELETE|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0 {
			bits |= bitEntry
		}
		if mask&unix.IN_MODIFY != 0 {
			bits |= bitWritten
		}
		if mask&unix.IN_IGNORED != 0 {
			bits |= bitLost
		}
		s.tell(wd, name, bits)
	}
}

// limitReached says whether an error of add means that no more watches can be
// had, and what to do about it.
func limitReached(err error) (bool, string) {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOMEM):
		return true, "raise it with: sysctl fs.inotify.max_user_watches=524288"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return true, "raise it with: sysctl fs.inotify.max_user_instances=1024 (or ulimit -n)"
	}
	return false, ""
}

// defaultMaxWatches is half of what the kernel allows this user, so that other
// programs find watches too.
func defaultMaxWatches() int {
	const most = 100_000
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_user_watches")
	if err != nil {
		return 4096
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n < 2 {
		return 4096
	}
	return min(n/2, most)
}

// Magic numbers of file systems (linux/magic.h and the systems' own sources)
// in which other machines or a user-space server change files without the
// kernel here knowing.
var remoteFS = map[uint32]bool{
	0x6969:     true, // NFS
	0x517b:     true, // SMB
	0xff534d42: true, // CIFS
	0xfe534d42: true, // SMB2
	0x65735546: true, // FUSE, virtiofs
	0x01021997: true, // 9P
	0x00c36400: true, // Ceph
	0x0bd00bd0: true, // Lustre
	0x5346414f: true, // AFS
	0x6b414653: true, // kAFS
	0x47504653: true, // GPFS
	0x7461636f: true, // OCFS2
	0x01161970: true, // GFS2
	0x786f4256: true, // VirtualBox shared folders
	0x73757245: true, // Coda
}

// eventsComplete says whether every change in a directory is made through this
// kernel, so that its events tell of all of them.
func eventsComplete(path string) bool {
	var st unix.Statfs_t
	if err := retryInterrupted(func() error { return unix.Statfs(path, &st) }); err != nil {
		return false
	}
	return !remoteFS[uint32(st.Type)]
}
