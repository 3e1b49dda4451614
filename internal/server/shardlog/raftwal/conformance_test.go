package raftwal

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"logtail/internal/server/shardlog"
	"logtail/internal/server/shardlog/shardlogtest"
	"logtail/internal/wal"
)

// testEngine has segments of 4 KB, so that every test goes over some.
func testEngine() shardlogtest.Engine {
	return shardlogtest.Engine{
		Open: func(dir string, now func() time.Time, f *shardlogtest.Faults) (shardlog.Log, error) {
			return Open(dir, Options{SegmentSize: 4 << 10, Now: now, faults: injected(f)})
		},
		Maintain: func(l shardlog.Log) { l.(*engine).maintain() },
		Files:    true,
	}
}

// injected turns the faults of the conformance tests into what the disk does.
func injected(f *shardlogtest.Faults) *wal.Faults {
	failSync := false // only the committer writes
	disk := &wal.Faults{}
	disk.Set(wal.Hooks{
		Write: func(file *os.File, p []byte, off int64) (int, error) {
			switch f.Next() {
			case shardlogtest.FaultFull:
				return 0, &os.PathError{Op: "write", Path: file.Name(), Err: errFull}
			case shardlogtest.FaultTorn:
				n, err := file.WriteAt(p[:len(p)/2], off)
				return n, errors.Join(err, &os.PathError{Op: "write", Path: file.Name(), Err: errFull})
			case shardlogtest.FaultSync:
				failSync = true
			}
			return file.WriteAt(p, off)
		},
		Sync: func(file *os.File) error {
			if failSync {
				failSync = false
				return &os.PathError{Op: "sync", Path: file.Name(), Err: syscall.EIO}
			}
			return file.Sync()
		},
	})
	return disk
}

func TestConformance(t *testing.T) { shardlogtest.Run(t, testEngine()) }

func TestModel(t *testing.T) { shardlogtest.Model(t, testEngine()) }
