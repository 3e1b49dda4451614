//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// device is the disk on which a folder is.
type device struct {
	name string // of the device and the file system, for people
	stat string // path of its counters; "" if it has none, as tmpfs
	dir  string
}

// used is what was done to a disk since the start of the machine.
type used struct{ written, flushes float64 } // bytes; requests to flush its cache

// deviceOf finds the disk of a folder.
func deviceOf(dir string) (*device, error) {
	var s unix.Stat_t
	if err := unix.Stat(dir, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(s.Dev), unix.Minor(s.Dev))
	d := &device{dir: dir, name: "a file system without a disk"}
	link, err := os.Readlink("/sys/dev/block/" + number)
	if err != nil {
		return d, nil //nolint:nilerr // then there is nothing to count
	}
	d.stat = "/sys/dev/block/" + number + "/stat"
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	kind := fmt.Sprintf("a file system of type %#x", fs.Type)
	switch int64(fs.Type) { //nolint:unconvert // its type differs between architectures
	case unix.EXT4_SUPER_MAGIC:
		kind = "ext4"
	case unix.XFS_SUPER_MAGIC:
		kind = "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		kind = "btrfs"
	}
	d.name = kind + ", disk " + filepath.Base(link)
	return d, nil
}

// use brings all that waits to be written to the disk and reads the counters.
// They count what other programs did, too.
func (d *device) use() (used, error) {
	var u used
	f, err := os.Open(d.dir)
	if err != nil {
		return u, err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return u, fmt.Errorf("%s: %w", d.dir, err)
	}
	if d.stat == "" {
		return u, nil
	}
	b, err := os.ReadFile(d.stat)
	if err != nil {
		return u, err
	}
	// Sectors of 512 bytes that were written, and (since Linux 5.5) flushes.
	fields := strings.Fields(string(b))
	if len(fields) > 6 {
		u.written, _ = strconv.ParseFloat(fields[6], 64) // the kernel writes numbers
		u.written *= 512
	}
	if len(fields) > 15 {
		u.flushes, _ = strconv.ParseFloat(fields[15], 64)
	}
	return u, nil
}
