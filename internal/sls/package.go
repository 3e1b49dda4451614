package sls

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"logtail/internal/delivery"
)

// Package is one log group of a package list, the body of a PutLogs in the
// mode "batch_group": each is compressed by itself and the list is not.
type Package struct {
	Data     []byte // the log group, compressed; empty for a range without logs
	RawSize  int    // bytes of the log group before compression
	Compress CompressType
	// Range says which piece of which lane the package covers. It travels in
	// field numbers that stock servers do not know and skip; nil for packages
	// of stock agents.
	Range *delivery.Range
}

// Field numbers of SlsLogPackage. Those from 100 up are ours.
const (
	fieldPackageData     protowire.Number = 1 // bytes, required by the schema
	fieldPackageRawSize  protowire.Number = 2 // int32
	fieldPackageCompress protowire.Number = 3 // enum SlsCompressType; absent means LZ4

	fieldLane      protowire.Number = 100 // bytes, 16; its presence makes a Range
	fieldSession   protowire.Number = 101 // varint
	fieldStart     protowire.Number = 102 // varint
	fieldEnd       protowire.Number = 103 // varint
	fieldEnds      protowire.Number = 104 // bytes
	fieldStartHash protowire.Number = 105 // fixed64
	fieldEndHash   protowire.Number = 106 // fixed64
	fieldState     protowire.Number = 107 // bytes, at most delivery.MaxState
	fieldFlags     protowire.Number = 108 // varint
	fieldReason    protowire.Number = 109 // varint

	fieldListPackage protowire.Number = 1 // SlsLogPackageList.packages
)

// AppendPackage appends p as a member of an encoded SlsLogPackageList. Fields
// of the range that are zero are left out.
func AppendPackage(dst []byte, p *Package) []byte {
	size := sizeBytes(fieldPackageData, len(p.Data)) +
		sizeVarint(fieldPackageRawSize, uint64(p.RawSize)) + sizeVarint(fieldPackageCompress, uint64(p.Compress))
	if p.Range != nil {
		size += rangeSize(p.Range)
	}
	dst = protowire.AppendTag(dst, fieldListPackage, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = protowire.AppendTag(dst, fieldPackageData, protowire.BytesType)
	dst = protowire.AppendBytes(dst, p.Data)
	dst = protowire.AppendTag(dst, fieldPackageRawSize, protowire.VarintType)
	dst = protowire.AppendVarint(dst, uint64(p.RawSize))
	dst = protowire.AppendTag(dst, fieldPackageCompress, protowire.VarintType)
	dst = protowire.AppendVarint(dst, uint64(p.Compress))
	if p.Range != nil {
		dst = appendRange(dst, p.Range)
	}
	return dst
}

func rangeSize(r *delivery.Range) int {
	size := sizeBytes(fieldLane, len(r.Lane))
	size += optionalVarintSize(fieldSession, r.Session) + optionalVarintSize(fieldStart, r.Start) + optionalVarintSize(fieldEnd, r.End)
	if len(r.Ends) > 0 {
		size += sizeBytes(fieldEnds, len(r.Ends))
	}
	if r.StartHash != 0 {
		size += protowire.SizeTag(fieldStartHash) + 8
	}
	if r.EndHash != 0 {
		size += protowire.SizeTag(fieldEndHash) + 8
	}
	if len(r.State) > 0 {
		size += sizeBytes(fieldState, len(r.State))
	}
	return size + optionalVarintSize(fieldFlags, uint64(r.Flags)) + optionalVarintSize(fieldReason, uint64(r.Reason))
}

func appendRange(dst []byte, r *delivery.Range) []byte {
	dst = protowire.AppendTag(dst, fieldLane, protowire.BytesType)
	dst = protowire.AppendBytes(dst, r.Lane[:])
	dst = appendOptionalVarint(dst, fieldSession, r.Session)
	dst = appendOptionalVarint(dst, fieldStart, r.Start)
	dst = appendOptionalVarint(dst, fieldEnd, r.End)
	if len(r.Ends) > 0 {
		dst = protowire.AppendTag(dst, fieldEnds, protowire.BytesType)
		dst = protowire.AppendBytes(dst, r.Ends)
	}
	if r.StartHash != 0 {
		dst = protowire.AppendTag(dst, fieldStartHash, protowire.Fixed64Type)
		dst = binary.LittleEndian.AppendUint64(dst, r.StartHash)
	}
	if r.EndHash != 0 {
		dst = protowire.AppendTag(dst, fieldEndHash, protowire.Fixed64Type)
		dst = binary.LittleEndian.AppendUint64(dst, r.EndHash)
	}
	if len(r.State) > 0 {
		dst = protowire.AppendTag(dst, fieldState, protowire.BytesType)
		dst = protowire.AppendBytes(dst, r.State)
	}
	dst = appendOptionalVarint(dst, fieldFlags, uint64(r.Flags))
	return appendOptionalVarint(dst, fieldReason, uint64(r.Reason))
}

func sizeBytes(num protowire.Number, n int) int {
	return protowire.SizeTag(num) + protowire.SizeBytes(n)
}

func sizeVarint(num protowire.Number, v uint64) int {
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}

func optionalVarintSize(num protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return sizeVarint(num, v)
}

func appendOptionalVarint(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.VarintType)
	return protowire.AppendVarint(dst, v)
}

// DecodePackages reads an encoded SlsLogPackageList. Data, and the byte slices
// of the ranges, are views into b. Ranges are checked for form (lane of 16
// bytes, start before end, length of the state), not against any progress. The
// error is an *Error: PostBodyInvalid for what is no package list,
// PostBodyTooLarge for what is over a limit, InvalidCompressType.
func DecodePackages(b []byte, lim Limits) ([]Package, error) {
	var list []Package
	for r := (reader{b: b}); len(r.b) > 0; {
		tag := r.varint()
		if tag == protowire.EncodeTag(fieldListPackage, protowire.BytesType) {
			one := r.bytes()
			if r.bad {
				return nil, invalidPackages("it is cut or malformed")
			}
			if len(list) == lim.MaxPackages {
				return nil, NewError(CodePostBodyTooLarge, "more than %d packages", lim.MaxPackages)
			}
			list = append(list, Package{})
			if err := list[len(list)-1].decode(one, &lim); err != nil {
				return nil, err
			}
		} else {
			r.skip(tag, fieldListPackage)
		}
		if r.bad {
			return nil, invalidPackages("it is cut or malformed")
		}
	}
	return list, nil
}

func invalidPackages(why string) *Error {
	return NewError(CodePostBodyInvalid, "the body is not an encoded package list: %s", why)
}

func (p *Package) decode(b []byte, lim *Limits) error {
	p.Compress = CompressLZ4
	var rg delivery.Range
	for r := (reader{b: b}); len(r.b) > 0; {
		tag := r.varint()
		switch num, typ := protowire.DecodeTag(tag); {
		case num == fieldPackageData && typ == protowire.BytesType:
			p.Data = r.bytes()
		case num == fieldPackageRawSize && typ == protowire.VarintType:
			size := r.varint()
			if size > math.MaxInt32 || int(size) > lim.MaxRaw {
				return NewError(CodePostBodyTooLarge, "a package announces a log group of %d bytes; at most %d are taken", size, lim.MaxRaw)
			}
			p.RawSize = int(size)
		case num == fieldPackageCompress && typ == protowire.VarintType:
			v := r.varint()
			if v > uint64(CompressZstd) {
				return NewError(CodeInvalidCompressType, "a package has the unknown compression %d; known are 0 (none), 1 (deflate), 2 (lz4) and 3 (zstd)", v)
			}
			p.Compress = CompressType(v)
		case num >= fieldLane && num <= fieldReason:
			if err := p.decodeRangeField(&rg, num, typ, &r); err != nil {
				return err
			}
		default:
			r.skip(tag, fieldPackageData, fieldPackageRawSize, fieldPackageCompress)
		}
		if r.bad {
			return invalidPackages("a package is cut or malformed")
		}
	}
	switch {
	case p.Data == nil && p.Range == nil:
		return invalidPackages("a package has no data")
	case p.Range != nil && rg.End < rg.Start:
		return invalidPackages("a range ends before it starts")
	case p.Range != nil:
		lane := p.Range.Lane
		*p.Range = rg
		p.Range.Lane = lane
	}
	return nil
}

// decodeRangeField reads one of our own fields. The lane makes p.Range, the
// others gather in rg, since they may come in any order.
func (p *Package) decodeRangeField(rg *delivery.Range, num protowire.Number, typ protowire.Type, r *reader) error {
	want := protowire.VarintType
	switch num {
	case fieldLane, fieldEnds, fieldState:
		want = protowire.BytesType
	case fieldStartHash, fieldEndHash:
		want = protowire.Fixed64Type
	}
	if typ != want {
		return invalidPackages("a field of a range has a wrong type")
	}
	switch num {
	case fieldLane:
		lane := r.bytes()
		if !r.bad && len(lane) != len(rg.Lane) {
			return invalidPackages("a lane id is not 16 bytes")
		}
		if p.Range == nil {
			p.Range = new(delivery.Range)
		}
		copy(p.Range.Lane[:], lane)
	case fieldSession:
		rg.Session = r.varint()
	case fieldStart:
		rg.Start = r.varint()
	case fieldEnd:
		rg.End = r.varint()
	case fieldEnds:
		rg.Ends = r.bytes()
	case fieldStartHash:
		rg.StartHash = r.fixed64()
	case fieldEndHash:
		rg.EndHash = r.fixed64()
	case fieldState:
		if rg.State = r.bytes(); len(rg.State) > delivery.MaxState {
			return invalidPackages(delivery.ErrState.Error())
		}
	case fieldFlags, fieldReason:
		v := r.varint()
		if v > math.MaxUint8 {
			return invalidPackages("the flags or the reason of a range are out of range")
		}
		if num == fieldFlags {
			rg.Flags = delivery.Flags(v)
		} else {
			rg.Reason = delivery.Reason(v)
		}
	}
	return nil
}
