package raftwal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
	"logtail/internal/wal"
)

// A record is stored as two byte strings: a head, made by appendHead, and the
// log group as it came. The head is
//
//	version      1 byte
//	checksum     4 bytes, CRC-32C of what follows in the head and of the group
//	received     varint (zigzag), unix nanoseconds
//	compression  1 byte
//	raw size     uvarint
//	logs         uvarint
//	has range    1 byte, 0 or 1; what follows is there only for 1
//	lane         16 bytes
//	session      uvarint
//	start        uvarint
//	length       uvarint, end - start
//	start hash   8 bytes
//	end hash     8 bytes
//	flags        1 byte
//	reason       1 byte
//	state        uvarint length, bytes
//	ends         uvarint length, bytes
//
// The checksum is ours because raft-wal verifies only the last write, and only
// when it opens. In later versions it has to stand in the same place and to begin
// with the version, so that a damaged version does not look like a newer one.
const (
	recordVersion = 1
	recordPrefix  = 1 + 4
	// maxRecordBytes bounds the log group of one record; raft-wal cannot read
	// entries over 64 MiB, and the service takes groups of 10 MB.
	maxRecordBytes = 32 << 20
	// maxHeadBytes bounds the head, whose longest part are the ends of the logs.
	maxHeadBytes = 4 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendHead appends the head of r, whose group is r.Data.
func appendHead(dst []byte, r *shardlog.Record) []byte {
	at := len(dst)
	dst = append(dst, recordVersion, 0, 0, 0, 0)
	dst = binary.AppendVarint(dst, r.Received)
	dst = append(dst, byte(r.Compress))
	dst = binary.AppendUvarint(dst, uint64(r.RawSize))
	dst = binary.AppendUvarint(dst, uint64(r.Logs))
	if g := r.Range; g == nil {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1)
		dst = append(dst, g.Lane[:]...)
		dst = binary.AppendUvarint(dst, g.Session)
		dst = binary.AppendUvarint(dst, g.Start)
		dst = binary.AppendUvarint(dst, g.End-g.Start)
		dst = binary.LittleEndian.AppendUint64(dst, g.StartHash)
		dst = binary.LittleEndian.AppendUint64(dst, g.EndHash)
		dst = append(dst, byte(g.Flags), byte(g.Reason))
		dst = binary.AppendUvarint(dst, uint64(len(g.State)))
		dst = append(dst, g.State...)
		dst = binary.AppendUvarint(dst, uint64(len(g.Ends)))
		dst = append(dst, g.Ends...)
	}
	sum := crc32.Update(crc32.Checksum(dst[at+recordPrefix:], castagnoli), castagnoli, r.Data)
	binary.LittleEndian.PutUint32(dst[at+1:], sum)
	return dst
}

// lostHead is the head of a record that stands for one that is lost.
var lostHead = []byte("\x00lost: the disk returned something else than was written")

// sumOf is the checksum in a head.
func sumOf(head []byte) uint32 { return binary.LittleEndian.Uint32(head[1:]) }

// decodeRecord reads a record; its Data, state and ends are views into the
// arguments. The error is a *wal.VersionError or wal.ErrDamaged.
func decodeRecord(head, data []byte) (shardlog.Record, error) {
	var r shardlog.Record
	if len(head) == 0 {
		return r, wal.ErrDamaged
	}
	if bytes.Equal(head, lostHead) {
		return r, fmt.Errorf("%w: it was lost before", wal.ErrDamaged)
	}
	if len(head) < recordPrefix || len(head) > maxHeadBytes || len(data) > maxRecordBytes {
		return r, wal.ErrDamaged
	}
	stored := sumOf(head)
	if crc32.Update(crc32.Checksum(head[recordPrefix:], castagnoli), castagnoli, data) != stored {
		sum := crc32.Update(crc32.Checksum(head[:1], castagnoli), castagnoli, head[recordPrefix:])
		if head[0] > recordVersion && crc32.Update(sum, castagnoli, data) == stored {
			return r, &wal.VersionError{What: "record", Found: int(head[0]), Own: recordVersion}
		}
		return r, wal.ErrDamaged
	}
	// With this checksum it is of version 1, also if that byte says something else.
	d := decoder{b: head[recordPrefix:]}
	r.Received = d.varint()
	r.Compress = sls.CompressType(d.byte())
	r.RawSize = d.size(maxRecordBytes)
	r.Logs = d.size(maxRecordBytes)
	if d.byte() != 0 {
		g := &delivery.Range{}
		copy(g.Lane[:], d.take(len(g.Lane)))
		g.Session = d.uvarint()
		g.Start = d.uvarint()
		length := d.uvarint()
		g.End = g.Start + length
		g.StartHash = d.fixed64()
		g.EndHash = d.fixed64()
		g.Flags = delivery.Flags(d.byte())
		g.Reason = delivery.Reason(d.byte())
		g.State = d.view(delivery.MaxState)
		g.Ends = d.view(maxHeadBytes)
		if g.End < g.Start {
			d.bad = true
		}
		r.Range = g
	}
	if d.bad || len(d.b) > 0 {
		return shardlog.Record{}, wal.ErrDamaged
	}
	if len(data) > 0 {
		r.Data = data
	}
	return r, nil
}

// decoder takes fields off a byte string. After the first that does not fit,
// bad is set and all further ones are zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) fixed64() uint64 {
	if v := d.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) fixed32() uint32 {
	if v := d.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || d.bad {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 || d.bad {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// size reads a number of at most limit.
func (d *decoder) size(limit int) int {
	v := d.uvarint()
	if v > uint64(limit) {
		d.bad = true
		return 0
	}
	return int(v)
}

// view reads a length of at most limit and as many bytes; nil for none.
func (d *decoder) view(limit int) []byte {
	n := d.size(limit)
	if n == 0 {
		return nil
	}
	return d.take(n)
}
