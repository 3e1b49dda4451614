package buffer

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"logtail/internal/delivery"
	"logtail/internal/sls"
	"logtail/internal/wal"
)

// A record stands in the log as a head, which is open, and a sealed body. The
// head says how much there is and of which lane, so that a buffer can be counted
// without its key:
//
//	version   1 byte
//	checksum  4 bytes, CRC-32C of the version and of what follows in the head
//	key       4 bytes, the id of the key of the body
//	time      uvarint, unix seconds
//	lane      16 bytes, a random name
//	start     uvarint
//	length    uvarint, end - start
//	logs      uvarint
//	size      uvarint, bytes of the data
//
// Version and checksum stand there in every version, so that one byte that the
// disk got wrong does not look like the record of a newer program.
//
// The body is a nonce of 12 bytes and, sealed with AES-256-GCM and bound to the
// head:
//
//	compression  1 byte
//	raw size     uvarint
//	session      uvarint
//	start hash   8 bytes
//	end hash     8 bytes
//	flags        1 byte
//	reason       1 byte
//	state        uvarint length, bytes
//	ends         uvarint length, bytes
//	destination  uvarint length, bytes
//	data         the rest
const (
	recordVersion = 1
	headPrefix    = 1 + 4
	// MaxRecord is the most bytes of the data, and of the log group before
	// compression, that a record may have.
	MaxRecord = 32 << 20
	maxEnds   = 8 << 20
	maxDest   = 1 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("its bytes are damaged")

// head is what the head of a record says.
type head struct {
	key  uint32
	item Item // without Seq
}

// check refuses records that cannot be stored.
func check(r *Record) error {
	g := &r.Range
	switch {
	case len(r.Data) > MaxRecord || r.RawSize > MaxRecord || r.RawSize < 0:
		return fmt.Errorf("buffer: a log group of %d bytes (%d before compression); at most %d are possible", len(r.Data), r.RawSize, MaxRecord)
	case r.Logs < 0 || r.Logs > MaxRecord:
		return fmt.Errorf("buffer: a record of %d logs", r.Logs)
	case g.End < g.Start:
		return delivery.ErrBackwards
	case len(g.State) > delivery.MaxState:
		return delivery.ErrState
	case len(g.Ends) > maxEnds:
		return delivery.ErrEnds
	case len(r.Dest) > maxDest:
		return fmt.Errorf("buffer: the name of a destination has %d bytes; at most %d are possible", len(r.Dest), maxDest)
	case r.Time < 0 || r.Time > math.MaxUint32:
		return fmt.Errorf("buffer: %d is not a time in unix seconds", r.Time)
	}
	return nil
}

// appendHead appends the head of r.
func appendHead(dst []byte, r *Record, key uint32) []byte {
	at := len(dst)
	dst = append(dst, recordVersion, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, key)
	dst = binary.AppendUvarint(dst, uint64(r.Time))
	dst = append(dst, r.Range.Lane[:]...)
	dst = binary.AppendUvarint(dst, r.Range.Start)
	dst = binary.AppendUvarint(dst, r.Range.End-r.Range.Start)
	dst = binary.AppendUvarint(dst, uint64(r.Logs))
	dst = binary.AppendUvarint(dst, uint64(len(r.Data)))
	binary.LittleEndian.PutUint32(dst[at+1:], headSum(dst[at:]))
	return dst
}

func headSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:1], castagnoli), castagnoli, b[headPrefix:])
}

// decodeHead reads a head. The error is a *wal.VersionError or errDamaged.
func decodeHead(b []byte) (head, error) {
	var h head
	if len(b) < headPrefix || headSum(b) != binary.LittleEndian.Uint32(b[1:]) || b[0] == 0 {
		return h, errDamaged
	}
	if b[0] > recordVersion {
		return h, &wal.VersionError{What: "record of the disk buffer", Found: int(b[0]), Own: recordVersion}
	}
	d := decoder{b: b[headPrefix:]}
	h.key = d.fixed32()
	h.item.Time = int64(d.upTo(math.MaxUint32))
	copy(h.item.Lane[:], d.take(len(h.item.Lane)))
	h.item.Start = d.uvarint()
	length := d.uvarint()
	h.item.End = h.item.Start + length
	h.item.Logs = int(d.upTo(MaxRecord))
	h.item.Size = int(d.upTo(MaxRecord))
	if d.bad || len(d.b) > 0 || h.item.End < h.item.Start {
		return head{}, errDamaged
	}
	return h, nil
}

// seal makes the record of the log.
func seal(r *Record, key *key) wal.Record {
	h := appendHead(make([]byte, 0, 96), r, key.id)
	plain := appendBody(make([]byte, 0, 128+len(r.Range.State)+len(r.Range.Ends)+len(r.Dest)+len(r.Data)+key.aead.Overhead()), r)
	return wal.Record{Head: h, Data: key.aead.Seal(plain[:0], nil, plain, h)}
}

// unseal reads a record of the log; its bytes may be part of the argument.
func unseal(w wal.Record, aead cipher.AEAD) (Record, error) {
	h, err := decodeHead(w.Head)
	if err != nil {
		return Record{}, err
	}
	plain, err := aead.Open(w.Data[:0], nil, w.Data, w.Head)
	if err != nil {
		return Record{}, errDamaged
	}
	return decodeBody(plain, &h.item)
}

func appendBody(dst []byte, r *Record) []byte {
	g := &r.Range
	dst = append(dst, byte(r.Compress))
	dst = binary.AppendUvarint(dst, uint64(r.RawSize))
	dst = binary.AppendUvarint(dst, g.Session)
	dst = binary.LittleEndian.AppendUint64(dst, g.StartHash)
	dst = binary.LittleEndian.AppendUint64(dst, g.EndHash)
	dst = append(dst, byte(g.Flags), byte(g.Reason))
	for _, b := range [][]byte{g.State, g.Ends, []byte(r.Dest)} {
		dst = binary.AppendUvarint(dst, uint64(len(b)))
		dst = append(dst, b...)
	}
	return append(dst, r.Data...)
}

// decodeBody reads an opened body; state, ends and data are parts of it. The error
// is errDamaged.
func decodeBody(b []byte, it *Item) (Record, error) {
	d := decoder{b: b}
	r := Record{Logs: it.Logs, Time: it.Time}
	g := &r.Range
	g.Lane, g.Start, g.End = it.Lane, it.Start, it.End
	r.Compress = sls.CompressType(d.byte())
	r.RawSize = int(d.upTo(MaxRecord))
	g.Session = d.uvarint()
	g.StartHash = d.fixed64()
	g.EndHash = d.fixed64()
	g.Flags = delivery.Flags(d.byte())
	g.Reason = delivery.Reason(d.byte())
	g.State = d.view(delivery.MaxState)
	g.Ends = d.view(maxEnds)
	r.Dest = string(d.view(maxDest))
	if d.bad || len(d.b) != it.Size {
		return Record{}, errDamaged
	}
	if it.Size > 0 {
		r.Data = d.b
	}
	return r, nil
}

// decoder takes fields off a byte string. After the first that does not fit, bad
// is set and all further ones are zero.
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

func (d *decoder) fixed32() uint32 {
	if v := d.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) fixed64() uint64 {
	if v := d.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
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

// upTo reads a number of at most limit.
func (d *decoder) upTo(limit uint64) uint64 {
	v := d.uvarint()
	if v > limit {
		d.bad = true
		return 0
	}
	return v
}

// view reads a length of at most limit and as many bytes; nil for none.
func (d *decoder) view(limit uint64) []byte {
	if n := d.upTo(limit); n > 0 {
		return d.take(int(n))
	}
	return nil
}
