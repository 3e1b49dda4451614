package buffer

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/wal"
)

// keepEmpty is up to which size the file that is written stays where all its
// records are done: a new one costs some syncs.
const keepEmpty = 1 << 20

// Take returns what the last run left of a lane, in the order of its ranges; once.
func (b *Buffer) Take(lane delivery.LaneID) []Item {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.index.take(lane)
}

// Waiting returns the lanes of the last run that nobody took yet, those with the
// oldest records first.
func (b *Buffer) Waiting() []delivery.LaneID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.remaining()
}

// Load reads a record. The error wraps ErrGone if it is not there any more, and
// ErrClosed; any other comes from the disk, and may pass. A record whose bytes are
// damaged is given up, counted and told.
func (b *Buffer) Load(seq uint64) (Record, error) {
	b.mu.Lock()
	log, key, shift, closed := b.log, b.key, b.shift, b.closed
	_, e := b.find(seq)
	b.mu.Unlock()
	switch {
	case closed:
		return Record{}, ErrClosed
	case e == nil:
		return Record{}, fmt.Errorf("%w: record %d", ErrGone, seq)
	}
	w, err := log.Get(seq - shift)
	if err == nil {
		var r Record
		if r, err = unseal(w, key.aead); err == nil {
			return r, nil
		}
	}
	b.mu.Lock()
	f, e := b.find(seq)
	if e == nil { // meanwhile
		b.mu.Unlock()
		return Record{}, fmt.Errorf("%w: record %d", ErrGone, seq)
	}
	if !errors.Is(err, errDamaged) && !errors.Is(err, wal.ErrDamaged) && !errors.Is(err, wal.ErrNotFound) {
		b.mu.Unlock()
		return Record{}, fmt.Errorf("buffer: reading record %d of the disk buffer in %s: %w", seq, b.o.Dir, err)
	}
	it := b.item(seq, e)
	b.done(f, e)
	b.mu.Unlock()
	b.gaveUp([]Item{it}, fmt.Sprintf("record %d of lane %s, bytes %d to %d: %s", seq, it.Lane, it.Start, it.End, err))
	return Record{}, fmt.Errorf("%w: record %d: %w", ErrGone, seq, err)
}

// Done says that records are not needed any more. The disk gets back the files
// of which all records are done.
func (b *Buffer) Done(seqs ...uint64) {
	b.mu.Lock()
	for _, seq := range seqs {
		if f, e := b.find(seq); e != nil {
			b.done(f, e)
		}
	}
	due := len(b.removable(false)) > 0
	b.mu.Unlock()
	if due {
		b.commit.Lock()
		b.sweep()
		b.commit.Unlock()
	}
}

// DropOldest gives up the oldest file that has records, which is the documented rule
// when the buffer is full, and returns those. It returns nothing if there are none, or if
// the disk does not let go of the file: then nothing is given up.
func (b *Buffer) DropOldest() []Item {
	b.commit.Lock()
	defer b.commit.Unlock()
	b.mu.Lock()
	var oldest *file
	for _, f := range b.files {
		if f.live > 0 {
			oldest = f
			break
		}
	}
	if oldest == nil || b.closed {
		b.mu.Unlock()
		return nil
	}
	bases := append(b.removable(true), oldest.base)
	b.mu.Unlock()
	var list []Item // Done may come for some meanwhile
	err := b.unlist(bases, func() {
		list = b.drop([]*file{oldest}, func(*entry) bool { return true })
	})
	if err != nil {
		b.tell(err)
		return nil
	}
	return list
}

// Expire gives up the records that were buffered before a time, and returns them.
// Those in a file with younger ones come again after a crash, to be given up again.
func (b *Buffer) Expire(before time.Time) []Item {
	b.mu.Lock()
	list := b.drop(b.files, func(e *entry) bool { return int64(e.time) < before.Unix() })
	b.mu.Unlock()
	if len(list) > 0 {
		b.commit.Lock()
		b.sweep()
		b.commit.Unlock()
	}
	return list
}

// finished says whether a file could be removed.
func (b *Buffer) finished() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.removable(true)) > 0
}

// removable returns the files whose records are done: of the one that is written
// only if it is large and there is nothing else, or if all is set. The caller holds mu.
func (b *Buffer) removable(all bool) []uint64 {
	var bases []uint64
	for i, f := range b.files {
		if f.live > 0 {
			continue
		}
		if i == len(b.files)-1 && (len(f.entries) == 0 || !all && (b.live > 0 || f.size < keepEmpty)) {
			continue
		}
		bases = append(bases, f.base)
	}
	return bases
}

// sweep removes the files that are done. The caller holds commit.
func (b *Buffer) sweep() {
	if b.o.Now().Before(b.retryAt) {
		return
	}
	b.mu.Lock()
	bases := b.removable(false)
	if b.closed {
		bases = nil
	}
	b.mu.Unlock()
	_ = b.remove(bases) // it is told there, and tried again
}

// remove removes files, and tells it if that fails. The caller holds commit.
func (b *Buffer) remove(bases []uint64) error {
	if len(bases) == 0 {
		return nil
	}
	err := b.unlist(bases, func() {})
	b.tell(err)
	return err
}

// tell notes how removing files went.
func (b *Buffer) tell(err error) {
	if err == nil {
		b.retryAt, b.noted = time.Time{}, false
		return
	}
	b.retryAt = b.o.Now().Add(time.Second)
	if !b.noted {
		b.noted = true
		b.alarm(AlarmReadWrite, "files of the disk buffer in %s cannot be removed (%s); their room counts as taken until that works", b.o.Dir, err)
	}
	b.rescue(err)
}

// unlist takes files out of the log; drop is called with mu when they are gone.
// The caller holds commit.
func (b *Buffer) unlist(bases []uint64, drop func()) error {
	err := b.reserve.Spend(func() error { return b.log.Remove(bases...) })
	for _, s := range b.log.Segments() {
		if slices.Contains(bases, s.Base) {
			return errors.Join(err, fmt.Errorf("file %d is still there", s.Base))
		}
	}
	b.mu.Lock()
	drop()
	b.mu.Unlock()
	if err != nil {
		// They are gone all the same; what else is wrong comes out with the next write.
		b.o.Log.Warn("after removing files of the disk buffer", "dir", b.o.Dir, "error", err)
	}
	b.refresh()
	return nil
}
