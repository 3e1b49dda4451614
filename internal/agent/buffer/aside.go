package buffer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"logtail/internal/wal"
)

const (
	lockName    = "LOCK" // as wal.LockFolder has it
	asideSuffix = ".damaged"
	asideMark   = asideSuffix + "-" // and the unix time, for good
)

// stamp returns the ending of the names of what is put aside now, which no file has.
func (b *Buffer) stamp() (string, error) {
	files, err := os.ReadDir(b.o.Dir)
	if err != nil {
		return "", err
	}
	now := b.o.Now().Unix()
	for i := 1; ; i++ {
		stamp := fmt.Sprintf("%s%d", asideMark, now)
		if i > 1 {
			stamp = fmt.Sprintf("%s-%d", stamp, i)
		}
		if !slices.ContainsFunc(files, func(f os.DirEntry) bool { return strings.HasSuffix(f.Name(), stamp) }) {
			return stamp, nil
		}
	}
}

// putAside renames all files of the buffer, and removes those of earlier times.
// The log is closed.
func (b *Buffer) putAside() (stamp string, err error) {
	files, err := os.ReadDir(b.o.Dir)
	if err != nil {
		return "", err
	}
	if stamp, err = b.stamp(); err != nil {
		return "", err
	}
	for _, f := range files {
		name := f.Name()
		if f.IsDir() || name == lockName || name == reserveName || strings.Contains(name, asideMark) {
			continue
		}
		from := filepath.Join(b.o.Dir, name)
		name, _, _ = strings.Cut(name, asideSuffix)
		to := filepath.Join(b.o.Dir, name+stamp)
		for i := 2; exists(to); i++ {
			to = filepath.Join(b.o.Dir, fmt.Sprintf("%s.%d%s", name, i, stamp))
		}
		if err := b.o.Faults.Rename(from, to); err != nil {
			return stamp, err
		}
	}
	b.dropAside(stamp)
	return stamp, b.o.Faults.SyncDir(b.o.Dir)
}

// dropAside removes what was put aside before: more of it would fill the disk.
func (b *Buffer) dropAside(stamp string) {
	files, err := filepath.Glob(filepath.Join(b.o.Dir, "*"+asideMark+"*"))
	for _, path := range files {
		if !strings.HasSuffix(path, stamp) {
			err = errors.Join(err, b.o.Faults.Remove(path))
		}
	}
	if err != nil {
		b.o.Log.Warn("older damaged files of the disk buffer cannot be removed", "dir", b.o.Dir, "error", err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// count says how much there is in the files, as far as it can be read without
// the log and without the key.
func (b *Buffer) count() (records, logs int, err error) {
	files, err := filepath.Glob(filepath.Join(b.o.Dir, "*.wal*"))
	for _, path := range files {
		if strings.Contains(path, asideMark) {
			continue
		}
		err = errors.Join(err, wal.Salvage(path, func(_ uint64, w wal.Record) bool {
			records++
			if h, err := decodeHead(w.Head); err == nil {
				logs += h.item.Logs
			}
			return true
		}))
	}
	if b.log != nil {
		for _, x := range b.log.Lost() {
			if x.Path == "" {
				records += int(x.Next - x.First)
			}
		}
	}
	return records, logs, err
}

// anew puts all files aside and goes on with an empty buffer; records and logs
// are given up with them. The log is closed, and the caller holds commit.
func (b *Buffer) anew(cause error, records, logs int) error {
	if err := os.MkdirAll(b.o.Dir, 0o700); err != nil {
		return err
	}
	if !exists(filepath.Join(b.o.Dir, lockName)) { // the folder was removed
		lock, err := wal.LockFolder(b.o.Dir)
		if err != nil {
			return err
		}
		b.lock.Close()
		b.lock = lock
	}
	stamp, err := b.putAside()
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.index = newIndex()
	if b.log != nil {
		_, next := b.log.Bounds()
		b.shift += next // numbers are never used again
	}
	key := b.key
	b.key = nil
	b.lostRecords += records
	b.lostLogs += logs
	b.mu.Unlock()
	if !errors.Is(cause, wal.ErrClosed) { // then this is told already
		b.alarm(AlarmDiscard, "the disk buffer in %s cannot be used any more (%s): its files, with %d records (%d logs), are put aside as *%s, and it goes on empty",
			b.o.Dir, cause, records, logs, stamp)
	}
	if err := b.openLog(); err != nil {
		return err
	}
	if key != nil {
		if err := key.write(b.o.Faults, b.o.Dir); err != nil {
			return err
		}
		b.mu.Lock()
		b.key = key
		b.mu.Unlock()
	}
	b.refresh()
	return nil
}

// rescue begins anew after an error of the log that does not get better: its files
// were removed, or are damaged so that nothing can be written. The caller holds commit.
func (b *Buffer) rescue(cause error) {
	if !errors.Is(cause, wal.ErrDamaged) && !errors.Is(cause, os.ErrNotExist) && !errors.Is(cause, wal.ErrClosed) {
		return
	}
	b.mu.Lock()
	records, logs := b.live, b.logs
	b.mu.Unlock()
	err := b.log.Close()
	if err != nil {
		b.o.Log.Debug("closing the log of the disk buffer", "dir", b.o.Dir, "error", err)
	}
	if err := b.anew(cause, records, logs); err != nil {
		b.o.Log.Error("the disk buffer cannot begin anew; it is tried again", "dir", b.o.Dir, "error", err)
	}
}
