package raftwal

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"logtail/internal/server/shardlog"
	"logtail/internal/wal"
)

// badDisk cannot read a part of a file until that is written again, as a whole.
type badDisk struct {
	name     string // of the file
	from, to int64  // bytes
	dead     bool   // it takes no changes either
	reads    int
}

func (d *badDisk) hits(f *os.File, p []byte, off int64) bool {
	return filepath.Base(f.Name()) == d.name && off < d.to && off+int64(len(p)) > d.from
}

func (d *badDisk) hooks() wal.Hooks {
	return wal.Hooks{
		Read: func(f *os.File, p []byte, off int64) (int, error) {
			if !d.hits(f, p, off) {
				return f.ReadAt(p, off)
			}
			d.reads++
			n, err := f.ReadAt(p[:max(0, d.from-off)], off)
			return n, errors.Join(err, &os.PathError{Op: "read", Path: f.Name(), Err: errIO})
		},
		Write: func(f *os.File, p []byte, off int64) (int, error) {
			if d.dead {
				return 0, errIO
			}
			if d.hits(f, p, off) {
				if off > d.from || off+int64(len(p)) < d.to {
					return 0, errIO // the rest of it would have to be read
				}
				d.from, d.to = 0, 0
			}
			return f.WriteAt(p, off)
		},
		Step: func(wal.Op, string) error {
			if d.dead {
				return errIO
			}
			return nil
		},
	}
}

// TestRecordThatTheDiskCannotReadIsGivenUpInTheEnd: at first it is an error that may go
// away. When it was tried for some time, and the disk works otherwise, it is a damaged record,
// which readers pass. Its neighbours are read all the time.
func TestRecordThatTheDiskCannotReadIsGivenUpInTheEnd(t *testing.T) {
	l := lived(t, 1200, 20)
	path := l.segments()[0]
	b, err := os.ReadFile(path)
	l.ok(err)
	at := int64(nthEntry(b, 3))
	disk := &badDisk{name: filepath.Base(path), from: at + 4, to: at + 5}
	l.opts.faults.Set(disk.hooks())
	read := func(seq uint64) error {
		recs, err := l.shard().Read(seq, 1, 1)
		if err == nil && !reflect.DeepEqual(recs[0], l.acked[seq-1]) {
			t.Fatalf("record %d: %+v", seq, recs[0])
		}
		return err
	}
	neighbours := func() {
		t.Helper()
		for _, seq := range []uint64{1, 2, 4, 5, uint64(len(l.acked))} {
			l.ok(read(seq))
		}
	}
	for range 20 {
		if err := read(3); errors.Is(err, shardlog.ErrCorrupt) || !errors.Is(err, errIO) || !strings.Contains(err.Error(), "record 3") {
			t.Fatalf("at first: %v", err)
		}
	}
	neighbours()
	l.clock.Move(time.Minute)
	disk.dead = true // the disk as a whole is not well
	if err := read(3); errors.Is(err, shardlog.ErrCorrupt) || !errors.Is(err, errIO) {
		t.Fatalf("while the disk is gone: %v", err)
	}
	disk.dead = false
	if err := read(3); !errors.Is(err, shardlog.ErrCorrupt) {
		t.Fatalf("in the end: %v", err)
	}
	neighbours()
	disk.from, disk.to = 0, 0
	l.ok(read(3)) // it came back
}

// nthEntry is where the frame of the n-th record begins, counted from 1.
func nthEntry(b []byte, n int) int {
	for at := fileHeader; ; {
		size := int(b[at+4]) | int(b[at+5])<<8
		if b[at] == 3 {
			size = 0
		} else if n--; n == 0 {
			return at
		}
		at += frameHeader + (size+frameHeader-1)/frameHeader*frameHeader
	}
}

// TestShardOpensOnASectorThatCannotBeRead: in the newest segment, or where a full one
// begins. What stood there is damaged, all else is there.
func TestShardOpensOnASectorThatCannotBeRead(t *testing.T) {
	for _, c := range []struct {
		name    string
		segment int
		from    int64 // of the sector
		most    int   // damaged records
	}{
		{"newest segment", 1 << 20, 4096, 60},
		{"newest segment, its beginning", 1 << 20, 0, 60},
		{"full segment, its beginning", 9 << 10, 0, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := lived(t, c.segment, 80)
			l.ok(l.e.Close())
			stat, err := os.Stat(l.segments()[0])
			l.ok(err)
			disk := &badDisk{name: filepath.Base(l.segments()[0]), from: c.from, to: min(c.from+4096, stat.Size())}
			l.opts.faults.Set(disk.hooks())
			l.open()
			for try := 0; ; try++ {
				_, err := l.e.Shard(key)
				if err == nil {
					if try < 4 {
						t.Fatalf("it was given up after %d tries", try)
					}
					break
				}
				if !errors.Is(err, errIO) || try > 10 {
					t.Fatalf("try %d: %v", try, err)
				}
				l.clock.Move(3 * time.Second)
			}
			damaged, next := l.verify(t, c.name, l.rig)
			if len(damaged) == 0 || len(damaged) > c.most || next != uint64(len(l.acked))+1 || l.progress() != l.end {
				t.Errorf("%d of %d records are damaged, the next one is %d, progress %d", len(damaged), len(l.acked), next, l.progress())
			}
			if disk.to != 0 {
				t.Error("the sector was not written anew")
			}
			l.goOn(t, c.name, l.rig, damaged, next)
		})
	}
}

// TestReadOnlyDisk: nothing is stored, the error says why, reading goes on, and it
// heals by itself.
func TestReadOnlyDisk(t *testing.T) {
	r := newRig(t, t.TempDir(), 4<<10)
	r.put(lines(0, 3))
	readOnly := func(what, path string) error { return &os.PathError{Op: what, Path: path, Err: errReadOnly} }
	r.opts.faults.Set(wal.Hooks{
		Write: func(f *os.File, _ []byte, _ int64) (int, error) { return 0, readOnly("write", f.Name()) },
		Sync:  func(f *os.File) error { return readOnly("sync", f.Name()) },
		Step:  func(op wal.Op, path string) error { return readOnly(string(op), path) },
	})
	for range 5 {
		_, err := r.shard().Append(t.Context(), []*shardlog.Record{lines(30, 1)})
		if !errors.Is(err, errReadOnly) || !strings.Contains(err.Error(), "mounted read-only?") || !strings.Contains(err.Error(), "store/0") {
			t.Fatalf("got %v", err)
		}
		r.clock.Move(time.Second)
		r.maintain()
		if end, n := r.ends(); end != 30 || n != 1 || r.progress() != 30 {
			t.Fatalf("%d records up to %d, progress %d", n, end, r.progress())
		}
	}
	r.opts.faults.Set(wal.Hooks{})
	r.clock.Move(time.Second)
	r.put(lines(30, 1))
	r.reopen()
	if end, n := r.ends(); end != 40 || n != 2 {
		t.Fatalf("%d records up to %d", n, end)
	}
}
