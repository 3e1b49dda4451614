package raftwal

import (
	"bytes"
	"errors"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/wal"
)

// openLog opens the log of the shard, which was durable up to a record. What is lost of
// that is filled with records that say so: a number must never be used twice, as
// readers, the index among them, are past it.
func (s *shard) openLog(dir string, durable uint64) (*wal.Log, error) {
	return wal.Open(dir, wal.Options{
		SegmentSize: s.e.opts.SegmentSize, Next: s.next.Load(), Durable: durable, Lost: &wal.Record{Head: lostHead}, Bad: &s.bad, Now: s.e.now,
		Logger: s.e.log.With("store", s.key.Store, "shard", s.key.Shard), Faults: s.e.opts.faults,
	})
}

// replay makes the lanes of the shard from the snapshot and the log behind it.
func (s *shard) replay(l *wal.Log, snap *snapshot, first, next uint64) error {
	ls := &lanes{m: snap.lanes}
	from := max(snap.seq+1, first)
	snapped, received, sum := snap.seq, snap.received, snap.sum
	lostFrom, err := unlike(l, snap, first)
	switch {
	case err != nil:
		return err
	case lostFrom > 0:
		// What the snapshot knows is not what the log has: records were lost, or one of
		// the two was restored from a copy. Lanes are known as far as the log goes, so
		// their agents send the rest again.
		s.e.log.Error("the shard log has not what its snapshot was made of; the progress of the lanes is taken back to the log",
			"shard", s.path, "from", lostFrom, "snapshot_at", snap.seq)
		for id, l := range ls.m {
			if l.seq >= lostFrom {
				delete(ls.m, id)
			}
		}
		from, snapped, received, sum = first, 0, 0, 0
	case snap.seq+1 < first:
		s.e.log.Error("records that the snapshot of the lanes lacks were dropped; lanes may be unknown", "shard", s.path, "snapshot_at", snap.seq, "first_kept", first)
	}
	damaged := uint64(0)
	for seq := from; seq < next; seq++ {
		b, r, err := both(l, seq)
		if errors.Is(err, wal.ErrDamaged) {
			// Its lane stays where it was, so the agent sends the range again.
			if damaged++; damaged == 1 {
				s.e.log.Error("a record of the shard log is damaged and counts as not stored", "shard", s.path, "record", seq)
			}
			sum = 0
			continue
		}
		if err != nil {
			return err
		}
		sum = sumOf(b.Head)
		received = max(received, r.Received)
		if r.Range == nil {
			continue
		}
		ls.set(r.Range.Lane, lane{Progress: delivery.Advance(r.Range, r.Received/int64(time.Second)), seq: seq})
		ls.settle()
	}
	if damaged > 1 {
		s.e.log.Error("more records of the shard log are damaged and count as not stored", "shard", s.path, "records", damaged)
	}
	ls.forget(s.e.now().Unix())
	s.lanes, s.snapped, s.received, s.sum, s.sessions = ls, snapped, received, sum, false
	return nil
}

// unlike returns the first record from which on the log is not the one of which the
// snapshot was made; 0 if it is, as far as that can be told.
func unlike(l *wal.Log, snap *snapshot, first uint64) (uint64, error) {
	if snap.seq < first {
		return 0, nil
	}
	b, err := l.Get(snap.seq)
	switch {
	case errors.Is(err, wal.ErrDamaged): // it was there
		return 0, nil
	case err != nil:
		return 0, err
	case bytes.Equal(b.Head, lostHead):
		return firstLost(l, snap.seq, first)
	}
	_, err = decodeRecord(b.Head, b.Data)
	switch {
	case errors.Is(err, wal.ErrDamaged):
		return 0, nil
	case err != nil:
		return 0, err
	case snap.sum != 0 && sumOf(b.Head) != snap.sum:
		return first, nil
	}
	return 0, nil
}

// firstLost goes back from a record that is lost to the first of the lost ones.
func firstLost(l *wal.Log, seq, first uint64) (uint64, error) {
	for ; seq > first; seq-- {
		b, err := l.Get(seq - 1)
		switch {
		case errors.Is(err, wal.ErrDamaged):
			return seq, nil
		case err != nil:
			return 0, err
		case !bytes.Equal(b.Head, lostHead):
			return seq, nil
		}
	}
	return seq, nil
}
