package buffer

import (
	"fmt"
	"os"
	"slices"

	"logtail/internal/wal"
)

// put is one call of Put.
type put struct {
	key     *key // that seals the records
	recs    []wal.Record
	heads   []Item
	bytes   int64 // on the disk, at most
	items   []Item
	err     error
	settled bool // guarded by Buffer.commit
}

// frameBytes is at most what the log needs for a record beside its two parts.
const frameBytes = 80

// Put makes the records durable, all of them or none. Callers that come while
// another one's records are written share the next write and its one sync.
// Records without a time get the present one. The error wraps ErrFull if there is no
// room, ErrClosed, or comes from the disk; wal.IsNoSpace tells a full disk. Then
// the caller still has the records, and the next Put may succeed.
func (b *Buffer) Put(recs []Record) ([]Item, error) {
	if len(recs) == 0 {
		return nil, nil
	}
	for i := range recs {
		if err := check(&recs[i]); err != nil {
			return nil, err
		}
	}
	key, err := b.useKey()
	if err != nil {
		return nil, err
	}
	p := &put{key: key}
	now := b.o.Now().Unix()
	for i := range recs {
		r := recs[i]
		if r.Time == 0 {
			r.Time = now
		}
		w := seal(&r, key)
		p.recs = append(p.recs, w)
		p.heads = append(p.heads, Item{Lane: r.Range.Lane, Start: r.Range.Start, End: r.Range.End, Logs: r.Logs, Size: len(r.Data), Time: r.Time})
		p.bytes += int64(len(w.Head)+len(w.Data)) + frameBytes
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, ErrClosed
	}
	b.queue = append(b.queue, p)
	b.mu.Unlock()
	b.commit.Lock()
	defer b.commit.Unlock()
	for !p.settled { // else who was before took it along
		b.write(b.take())
	}
	return p.items, p.err
}

// useKey returns the key of the buffer, which it makes at the first use.
func (b *Buffer) useKey() (*key, error) {
	b.mu.Lock()
	k := b.key
	b.mu.Unlock()
	if k != nil {
		return k, nil
	}
	b.commit.Lock()
	defer b.commit.Unlock()
	b.mu.Lock()
	k, closed := b.key, b.closed
	b.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if k != nil {
		return k, nil
	}
	k, err := makeKey(b.o.Faults, b.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("buffer: making the key of the disk buffer: %w", err)
	}
	b.mu.Lock()
	b.key = k
	b.mu.Unlock()
	return k, nil
}

// take returns the puts of the next write, in the order in which they came.
func (b *Buffer) take() []*put {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, bytes := 0, int64(0)
	for _, p := range b.queue {
		if bytes += p.bytes; n > 0 && bytes > batchBytes {
			break
		}
		n++
	}
	batch := b.queue[:n:n]
	if b.queue = b.queue[n:]; len(b.queue) == 0 {
		b.queue = nil
	}
	return batch
}

// write makes a batch durable. The caller holds commit.
func (b *Buffer) write(batch []*put) {
	var records []wal.Record
	var bytes int64
	var fit []*put
	for _, p := range batch {
		p.settled = true
		if p.key != b.key { // the buffer began anew, without its key
			p.err = errForeign
		} else if p.err = b.room(bytes+p.bytes, len(records)+len(p.recs)); p.err == nil {
			fit = append(fit, p)
			records = append(records, p.recs...)
			bytes += p.bytes
		}
		p.recs = nil
	}
	if len(fit) == 0 {
		return
	}
	first, err := b.log.Append(records)
	if err == nil {
		err = b.stored(first, fit)
	}
	if err != nil {
		b.rescue(err)
		err = fmt.Errorf("buffer: writing to the disk buffer in %s: %w", b.o.Dir, err)
		for _, p := range fit {
			p.items, p.err = nil, err
		}
		return
	}
	b.reserve.Fill()
	b.sweep()
}

// room says whether so many bytes and records fit in.
func (b *Buffer) room(bytes int64, records int) error {
	for try := 0; ; try++ {
		b.mu.Lock()
		used, live, have, closed := b.bytes(), b.live, b.entries(), b.closed
		// A file that gets full ends with an index of its records.
		used += 4*int64(len(b.files[len(b.files)-1].entries)+records) + frameBytes
		b.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case used+bytes <= b.limit && have+records <= b.o.Records:
			return nil
		case try > 0 || live > 0 && !b.finished():
			return fmt.Errorf("%w: its files in %s take %d bytes of at most %d, and have %d records of at most %d", ErrFull, b.o.Dir, used, b.limit, have, b.o.Records)
		}
		b.mu.Lock()
		bases := b.removable(true)
		b.mu.Unlock()
		_ = b.remove(bases) // if that fails, there is no room
	}
}

// stored notes what was written.
func (b *Buffer) stored(first uint64, fit []*put) error {
	b.refresh()
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.files[len(b.files)-1]
	if f.base > first { // the write was the last one of its file, and the next has begun
		f = b.files[len(b.files)-2]
	}
	if f.gone {
		return fmt.Errorf("somebody removed the file that is written: %w", os.ErrNotExist)
	}
	for _, p := range fit {
		p.items = p.heads
		for i := range p.items {
			p.items[i].Seq = b.add(f, &p.items[i])
		}
	}
	return nil
}

// refresh takes over which files the log has. Records whose file is gone, though
// they were not done, are given up.
func (b *Buffer) refresh() {
	segments := b.log.Segments()
	var gone []Item
	b.mu.Lock()
	old := b.files
	b.files = make([]*file, 0, len(segments))
	for i, s := range segments {
		f := &file{base: s.Base, seq: s.Base + b.shift}
		for _, o := range old {
			if o.base == s.Base {
				f = o
			}
		}
		if f.gone = s.Gone; s.Bytes > 0 {
			f.size = s.Bytes
		}
		b.files = append(b.files, f)
		if f.gone && i < len(segments)-1 {
			gone = append(gone, b.drop([]*file{f}, func(*entry) bool { return true })...)
		}
	}
	for _, o := range old {
		if !slices.Contains(b.files, o) {
			gone = append(gone, b.drop([]*file{o}, func(*entry) bool { return true })...)
		}
	}
	b.mu.Unlock()
	b.gaveUp(gone, "their file is gone")
}

// gaveUp counts and tells records that were lost.
func (b *Buffer) gaveUp(list []Item, why string) {
	if len(list) == 0 {
		return
	}
	logs := 0
	for _, it := range list {
		logs += it.Logs
	}
	b.mu.Lock()
	b.lostRecords += len(list)
	b.lostLogs += logs
	b.mu.Unlock()
	b.alarm(AlarmDiscard, "%d records (%d logs) of the disk buffer in %s are given up: %s", len(list), logs, b.o.Dir, why)
}
