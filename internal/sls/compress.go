package sls

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"logtail/internal/lz4block"
)

// CompressType is the compression of a log group, with the numbers of
// SlsCompressType on the wire.
type CompressType uint8

// The compressions.
const (
	CompressNone    CompressType = 0
	CompressDeflate CompressType = 1 // the zlib format, RFC 1950
	CompressLZ4     CompressType = 2 // a raw block, without a frame
	CompressZstd    CompressType = 3
)

// String returns the value of the header x-log-compresstype: empty for
// CompressNone, for which the header is left out.
func (t CompressType) String() string {
	switch t {
	case CompressNone:
		return ""
	case CompressDeflate:
		return "deflate"
	case CompressLZ4:
		return "lz4"
	case CompressZstd:
		return "zstd"
	}
	return fmt.Sprintf("compress_type_%d", uint8(t))
}

// ParseCompressType reads a value of x-log-compresstype, in any case of
// letters; "" and "none" are CompressNone. The error is an *Error,
// InvalidCompressType.
func ParseCompressType(s string) (CompressType, error) {
	switch strings.ToLower(s) {
	case "", "none":
		return CompressNone, nil
	case "deflate":
		return CompressDeflate, nil
	case "lz4":
		return CompressLZ4, nil
	case "zstd":
		return CompressZstd, nil
	}
	return 0, NewError(CodeInvalidCompressType, "the compression %q is not known; use lz4, zstd, deflate or none", s)
}

// zstdWindow bounds how far back zstd looks for matches, and so the memory of
// an encoder. Groups are about half a megabyte.
const zstdWindow = 1 << 20

// Compressor compresses log groups and owns the scratch for it: 16 KB for LZ4,
// some megabytes for zstd and deflate from their first use. The zero value is
// ready. It is not safe for concurrent use.
type Compressor struct {
	lz4  lz4block.Compressor
	zstd *zstd.Encoder
	zlib *zlib.Writer
	buf  bytes.Buffer // what zlib writes
}

// Append compresses src and appends the result to dst. src and the room behind
// dst must not overlap. The error is an *Error, InvalidCompressType, for a
// type that is not one of the constants; nothing else fails.
func (c *Compressor) Append(dst, src []byte, t CompressType) ([]byte, error) {
	switch t {
	case CompressNone:
		return append(dst, src...), nil
	case CompressLZ4:
		n := len(dst)
		dst = slices.Grow(dst, lz4block.Bound(len(src)))
		m := c.lz4.Compress(dst[n:n+lz4block.Bound(len(src))], src)
		return dst[:n+m], nil
	case CompressZstd:
		if c.zstd == nil {
			var err error
			c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
				zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true))
			if err != nil {
				return dst, err
			}
		}
		return c.zstd.EncodeAll(src, dst), nil
	case CompressDeflate:
		c.buf.Reset()
		if c.zlib == nil {
			c.zlib = zlib.NewWriter(&c.buf)
		} else {
			c.zlib.Reset(&c.buf)
		}
		if _, err := c.zlib.Write(src); err != nil {
			return dst, err
		}
		if err := c.zlib.Close(); err != nil {
			return dst, err
		}
		return append(dst, c.buf.Bytes()...), nil
	}
	return dst, NewError(CodeInvalidCompressType, "the compression number %d is not known", t)
}

// zstdDecoder is shared: DecodeAll is safe for concurrent use and keeps no
// state between calls. It never goes over the capacity that it is given.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
})

// Decompress appends what src decompresses to, which has to be exactly rawSize
// bytes, to dst. Whatever src claims, dst grows by rawSize at most, and by
// nothing if rawSize is over maxSize. The error is an *Error:
// PostBodyTooLarge for a rawSize over maxSize, InvalidBodyRawSize for a negative one,
// PostBodyUncompressError for bytes that do not decompress to rawSize bytes,
// InvalidCompressType.
func Decompress(dst, src []byte, t CompressType, rawSize, maxSize int) ([]byte, error) {
	if rawSize < 0 {
		return dst, NewError(CodeInvalidBodyRawSize, "a size before compression of %d", rawSize)
	}
	if rawSize > maxSize {
		return dst, NewError(CodePostBodyTooLarge, "%d bytes before compression; at most %d are taken", rawSize, maxSize)
	}
	if limit := mostRaw(len(src), t); rawSize > limit {
		return dst, NewError(CodePostBodyUncompressError, "%d bytes of %s cannot become the %d bytes announced", len(src), t, rawSize)
	}
	n := len(dst)
	var err error
	switch t {
	case CompressNone:
		if len(src) != rawSize {
			return dst, NewError(CodeInvalidBodyRawSize, "%d bytes that are not compressed were announced as %d", len(src), rawSize)
		}
		return append(dst, src...), nil
	case CompressLZ4:
		dst = slices.Grow(dst, rawSize)[:n+rawSize]
		err = decodeLZ4(dst[n:], src)
	case CompressZstd:
		dst = slices.Grow(dst, rawSize)[:n+rawSize]
		err = decodeZstd(dst[n:], src)
	case CompressDeflate:
		dst = slices.Grow(dst, rawSize)[:n+rawSize]
		err = decodeZlib(dst[n:], src)
	default:
		return dst, NewError(CodeInvalidCompressType, "the compression number %d is not known", t)
	}
	if err != nil {
		return dst[:n], NewError(CodePostBodyUncompressError, "%d bytes of %s do not decompress to the %d bytes announced: %v", len(src), t, rawSize, err)
	}
	return dst, nil
}

// mostRaw is the most bytes that n compressed bytes can become, so that a small
// body cannot have a large buffer made for it.
func mostRaw(n int, t CompressType) int {
	switch t {
	case CompressLZ4:
		return n * 255 // a byte of a length stands for 255
	case CompressDeflate:
		return n * 1032 // https://zlib.net/zlib_tech.html: the theoretical limit
	}
	return math.MaxInt
}

// errSize says that a stream decompresses well, but to another size.
var errSize = errors.New("the size differs")

func decodeLZ4(dst, src []byte) error {
	n, err := lz4.UncompressBlock(src, dst)
	if err == nil && n != len(dst) {
		err = errSize
	}
	return err
}

func decodeZstd(dst, src []byte) error {
	d, err := zstdDecoder()
	if err != nil {
		return err
	}
	out, err := d.DecodeAll(src, dst[:0:len(dst)])
	if err == nil && len(out) != len(dst) {
		err = errSize
	}
	return err
}

// zlibReaders hold the 40 KB that inflating takes.
var zlibReaders sync.Pool

func decodeZlib(dst, src []byte) error {
	in := bytes.NewReader(src)
	zr, ok := zlibReaders.Get().(io.ReadCloser)
	var err error
	if ok {
		err = zr.(zlib.Resetter).Reset(in, nil)
	} else {
		zr, err = zlib.NewReader(in)
	}
	if err != nil {
		return err
	}
	defer zlibReaders.Put(zr)
	if _, err := io.ReadFull(zr, dst); err != nil {
		return err
	}
	var more [1]byte
	if _, err := io.ReadFull(zr, more[:]); err == nil {
		return errSize
	} else if !errors.Is(err, io.EOF) { // the checksum is compared at the end
		return err
	}
	if in.Len() > 0 {
		return errors.New("something follows the compressed data")
	}
	return nil
}
