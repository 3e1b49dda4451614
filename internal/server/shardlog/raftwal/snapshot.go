package raftwal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"

	"logtail/internal/delivery"
	"logtail/internal/wal"
)

// The snapshot of a shard holds its lanes as they were after some record:
//
//	magic     4 bytes "LTLN"
//	version   1 byte
//	sequence  uvarint, of that record
//	received  varint, of that record, unix nanoseconds
//	sum       4 bytes, the checksum of that record, 0 if it is not known; since version 2
//	lanes     uvarint, then for each
//	  lane     16 bytes
//	  sequence uvarint, of the record that made its progress
//	  end      uvarint
//	  hash     8 bytes
//	  session  uvarint
//	  closed   1 byte
//	  time     varint, unix seconds
//	  state    uvarint length, bytes
//	checksum  4 bytes, CRC-32C of all before
//
// It is written from lanes that are settled, so it never claims more than the
// log durably holds. It may claim less: what follows is in the log.
const (
	snapshotName    = "lanes"
	snapshotMagic   = "LTLN"
	snapshotVersion = 2
	snapshotPrefix  = len(snapshotMagic) + 1
	minLaneBytes    = 16 + 1 + 1 + 8 + 1 + 1 + 1 + 1
)

type snapshot struct {
	seq      uint64
	received int64
	sum      uint32
	lanes    map[delivery.LaneID]lane
}

func appendSnapshot(dst []byte, s *snapshot) []byte {
	dst = append(dst, snapshotMagic...)
	dst = append(dst, snapshotVersion)
	dst = binary.AppendUvarint(dst, s.seq)
	dst = binary.AppendVarint(dst, s.received)
	dst = binary.LittleEndian.AppendUint32(dst, s.sum)
	dst = binary.AppendUvarint(dst, uint64(len(s.lanes)))
	for id, l := range s.lanes {
		dst = append(dst, id[:]...)
		dst = binary.AppendUvarint(dst, l.seq)
		dst = binary.AppendUvarint(dst, l.End)
		dst = binary.LittleEndian.AppendUint64(dst, l.Hash)
		dst = binary.AppendUvarint(dst, l.Session)
		closed := byte(0)
		if l.Closed {
			closed = 1
		}
		dst = append(dst, closed)
		dst = binary.AppendVarint(dst, l.Time)
		dst = binary.AppendUvarint(dst, uint64(len(l.State)))
		dst = append(dst, l.State...)
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst, castagnoli))
}

// decodeSnapshot reads what appendSnapshot wrote. The error is a *wal.VersionError
// or wal.ErrDamaged.
func decodeSnapshot(b []byte) (*snapshot, error) {
	if len(b) < snapshotPrefix+4 || string(b[:len(snapshotMagic)]) != snapshotMagic {
		return nil, wal.ErrDamaged
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum { // first, as it is of the version too
		return nil, wal.ErrDamaged
	}
	version := b[len(snapshotMagic)]
	if version > snapshotVersion {
		return nil, &wal.VersionError{What: "snapshot of the lanes", Found: int(version), Own: snapshotVersion}
	}
	d := decoder{b: body[snapshotPrefix:]}
	s := &snapshot{seq: d.uvarint(), received: d.varint()}
	if version > 1 {
		s.sum = d.fixed32()
	}
	n := d.size(len(d.b) / minLaneBytes)
	s.lanes = make(map[delivery.LaneID]lane, n)
	for range n {
		var id delivery.LaneID
		copy(id[:], d.take(len(id)))
		l := lane{seq: d.uvarint()}
		l.End = d.uvarint()
		l.Hash = d.fixed64()
		l.Session = d.uvarint()
		l.Closed = d.byte() != 0
		l.Time = d.varint()
		if state := d.view(delivery.MaxState); state != nil {
			l.State = append([]byte(nil), state...) // not a view: b is large
		}
		if d.bad {
			return nil, wal.ErrDamaged
		}
		s.lanes[id] = l
	}
	if d.bad || len(d.b) > 0 {
		return nil, wal.ErrDamaged
	}
	return s, nil
}

func writeSnapshot(f *wal.Faults, path string, s *snapshot) error {
	b := appendSnapshot(make([]byte, 0, 64+len(s.lanes)*64), s)
	return wal.WriteFile(f, path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// readSnapshot returns an empty snapshot if there is none, or if it cannot be
// used, in which case it is put aside: the log itself tells what it held, as
// far as the log is kept.
func readSnapshot(log *slog.Logger, path string) (*snapshot, error) {
	empty := &snapshot{lanes: map[delivery.LaneID]lane{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return empty, nil
	}
	var s *snapshot
	if err == nil {
		s, err = decodeSnapshot(b)
	}
	if err == nil {
		return s, nil
	}
	if !errors.Is(err, wal.ErrDamaged) && !wal.IsBadSector(err) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	log.Error("the snapshot of a shard's lanes is damaged; it is put aside and rebuilt from the log", "file", path, "aside", path+".damaged", "error", err)
	if err := os.Rename(path, path+".damaged"); err != nil {
		return nil, err
	}
	return empty, nil
}
