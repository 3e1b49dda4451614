package monitor

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// mounts is the table of mounted file systems. No event tells that something
// was mounted over a directory, and none of the files below it.
type mounts struct {
	fd int // of the table, to be told of changes; -1 without
	// points has the number of the mount that is uppermost at each mount point.
	points map[string]uint64
}

const mountTable = "/proc/self/mountinfo"

func newMounts() *mounts {
	t := &mounts{fd: -1}
	if fd, err := unix.Open(mountTable, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		t.fd = fd
	}
	t.points = readMounts()
	return t
}

func (t *mounts) close() {
	if t.fd >= 0 {
		_ = unix.Close(t.fd)
		t.fd = -1
	}
}

// changed returns the mount points where something was mounted or unmounted
// since the last call. It costs a microsecond if there are none.
func (t *mounts) changed() (points []string) {
	if t.fd < 0 {
		return nil
	}
	fds := []unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLPRI}}
	if n, err := unix.Poll(fds, 0); err != nil || n == 0 || fds[0].Revents&(unix.POLLPRI|unix.POLLERR) == 0 {
		return nil
	}
	now := readMounts()
	for point, id := range now {
		if t.points[point] != id {
			points = append(points, point)
		}
	}
	for point := range t.points {
		if _, there := now[point]; !there {
			points = append(points, point)
		}
	}
	t.points = now
	return points
}

// of returns the mount point that a path lies on, as its text says: links are
// not followed.
func (t *mounts) of(path string) string {
	for path != "" {
		if _, ok := t.points[path]; ok {
			return path
		}
		if path == "/" {
			break
		}
		if path, _ = splitLast(path); path == "" {
			path = "/"
		}
	}
	return "/"
}

func readMounts() map[string]uint64 {
	points := make(map[string]uint64)
	b, err := os.ReadFile(mountTable)
	if err != nil {
		return points
	}
	for line := range bytes.Lines(b) {
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
		fields := bytes.Fields(line)
		if len(fields) < 5 {
			continue
		}
		id, err := strconv.ParseUint(string(fields[0]), 10, 64)
		if err == nil {
			points[unescapeMount(fields[4])] = id // the last one is uppermost
		}
	}
	return points
}

// unescapeMount undoes what the kernel does to blanks and backslashes: \040.
func unescapeMount(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) {
			if n, err := strconv.ParseUint(string(b[i+1:i+4]), 8, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, b[i])
	}
	return string(out)
}
