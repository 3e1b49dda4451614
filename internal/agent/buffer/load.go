package buffer

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"logtail/internal/wal"
)

// errForeign says that the records were sealed with another key.
var errForeign = errors.New("the key does not fit the records")

// load takes up what is on the disk.
func (b *Buffer) load() error {
	err := b.openLog()
	if errors.Is(err, wal.ErrDamaged) {
		err = b.begin(err)
	}
	if err != nil {
		return err
	}
	if err = b.loadKey(); err == nil {
		err = b.loadIndex()
	}
	if errors.Is(err, errDamaged) || errors.Is(err, errForeign) {
		err = errors.Join(b.log.Close(), b.begin(err))
	}
	if err != nil && b.log != nil {
		return errors.Join(err, b.log.Close())
	}
	if err == nil {
		b.leave()
	}
	return err
}

// begin puts aside what cannot be used, counted as far as it can be read.
func (b *Buffer) begin(cause error) error {
	records, logs, err := b.count()
	if err != nil {
		return err
	}
	return b.anew(cause, records, logs)
}

func (b *Buffer) openLog() error {
	log, err := wal.Open(b.o.Dir, wal.Options{
		SegmentSize: int(b.o.FileBytes), Salvage: true, Now: b.o.Now, Logger: b.o.Log.With("dir", b.o.Dir), Faults: b.o.Faults,
	})
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.log = log
	b.mu.Unlock()
	return nil
}

// loadKey reads the key. The error wraps errDamaged if there are records and no key for them.
func (b *Buffer) loadKey() error {
	k, err := readKey(b.o.Dir)
	if err != nil {
		return err
	}
	first, next := b.log.Bounds()
	if k == nil && (first < next || len(b.log.Lost()) > 0) {
		return fmt.Errorf("the key file %s is missing: %w", filepath.Join(b.o.Dir, keyName), errForeign)
	}
	b.key = k
	return nil
}

// loadIndex reads the heads of all records, and takes over what can be read of
// damaged files. The error is errForeign if no record fits the key.
func (b *Buffer) loadIndex() error {
	b.refresh()
	if b.key == nil { // there are no records
		return nil
	}
	damaged, foreign := 0, 0
	err := b.log.Heads(func(seq uint64, head []byte, _ int) error {
		f := b.files[0]
		for _, o := range b.files {
			if o.base <= seq {
				f = o
			}
		}
		if len(f.entries) == 0 {
			f.seq = seq
		}
		h, err := decodeHead(head)
		switch {
		case err == nil && h.key == b.key.id:
			b.add(f, &h.item)
			return nil
		case err == nil:
			foreign++
		case errors.Is(err, errDamaged):
			damaged++
		default:
			return err
		}
		b.add(f, nil)
		return nil
	})
	if err != nil {
		return err
	}
	if foreign > 0 && b.live == 0 {
		return errForeign
	}
	if damaged+foreign > 0 {
		b.lostRecords += damaged + foreign
		b.alarm(AlarmDiscard, "%d records of the disk buffer in %s are given up: %d are damaged, %d were written with another key", damaged+foreign, b.o.Dir, damaged, foreign)
	}
	seen, err := b.salvage()
	if err != nil {
		return err
	}
	end, err := b.readEnd()
	if err == nil && end > seen {
		lost := int(end - seen)
		b.lostRecords += lost
		b.alarm(AlarmDiscard, "the end of the disk buffer in %s is lost: %d records were there when it was closed, and are given up", b.o.Dir, lost)
	}
	return err
}

// salvage takes over what can be read of the files that the log has put aside.
// It returns the number behind the last record that is known to have been.
func (b *Buffer) salvage() (seen uint64, err error) {
	list := b.log.Lost()
	if _, seen = b.log.Bounds(); len(list) == 0 {
		return seen, nil
	}
	stamp, err := b.stamp()
	if err != nil {
		return seen, err
	}
	found, lost, logs := 0, 0, 0
	var causes []string
	for _, x := range list {
		n, missing, l, err := b.takeOver(&x)
		seen = max(seen, x.Next)
		if err != nil {
			// It stays as it is, and the next start tries again.
			b.alarm(AlarmReadWrite, "the damaged file %s of the disk buffer cannot be taken over now (%s); it is tried again at the next start", x.Path, err)
			continue
		}
		found, lost, logs = found+n, lost+missing, logs+l
		causes = append(causes, x.Cause)
		if x.Path == "" {
			continue
		}
		if missing == 0 {
			err = b.o.Faults.Remove(x.Path)
		} else {
			path, _, _ := strings.Cut(x.Path, asideSuffix)
			err = b.o.Faults.Rename(x.Path, path+stamp)
		}
		if err != nil {
			return seen, err
		}
	}
	if err := b.o.Faults.SyncDir(b.o.Dir); err != nil {
		return seen, err
	}
	if lost > 0 {
		b.lostRecords += lost
		b.lostLogs += logs
		b.alarm(AlarmDiscard, "the disk buffer in %s is damaged: %d records of the damaged files could be read, %d were given up (%s)", b.o.Dir, found, lost, strings.Join(causes, "; "))
		b.dropAside(stamp)
	}
	return seen, nil
}

// takeOver appends what can be read of a file that was put aside, and sets x.Next
// if that was not known. It returns how many records that were, and how many were
// lost, with the logs that are known of these.
func (b *Buffer) takeOver(x *wal.Loss) (found, lost, logs int, err error) {
	if x.Path == "" {
		return 0, int(x.Next - x.First), 0, nil
	}
	var batch put
	flush := func() error {
		if len(batch.recs) == 0 {
			return nil
		}
		first, err := b.log.Append(batch.recs)
		if err == nil {
			err = b.stored(first, []*put{&batch})
		}
		batch = put{}
		return err
	}
	expect, failed := x.First, error(nil)
	err = wal.Salvage(x.Path, func(seq uint64, w wal.Record) bool {
		if expect == 0 { // it was put aside at an earlier start
			expect = seq
		}
		if seq < expect { // left over from an earlier write at that place
			return true
		}
		lost += int(seq - expect)
		expect = seq + 1
		h, err := decodeHead(w.Head)
		if err == nil {
			// The record must be whole: what is stored of it counts as written.
			_, err = unseal(wal.Record{Head: w.Head, Data: slices.Clone(w.Data)}, b.key.aead)
		}
		if errors.Is(err, errDamaged) {
			lost++
			logs += h.item.Logs
			return true
		}
		if failed = err; err != nil {
			return false
		}
		found++
		batch.recs, batch.heads = append(batch.recs, w), append(batch.heads, h.item)
		if batch.bytes += int64(len(w.Data)); batch.bytes > batchBytes {
			failed = flush()
		}
		return failed == nil
	})
	if err = errors.Join(err, failed); err == nil {
		err = flush()
	}
	if x.Next > expect {
		lost += int(x.Next - expect)
	}
	x.Next = max(x.Next, expect)
	return found, lost, logs, err
}
