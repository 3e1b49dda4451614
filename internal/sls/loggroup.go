// Package sls is the wire of the Simple Log Service: log group encoding,
// package lists, compression, signatures, error codes and an HTTP client.
package sls

// CompressType is the compression of a log group, with the numbers of
// SlsCompressType on the wire.
type CompressType uint8

// The compressions.
const (
	CompressNone    CompressType = 0
	CompressDeflate CompressType = 1
	CompressLZ4     CompressType = 2 // a raw block, without a frame
	CompressZstd    CompressType = 3
)

// Content is one key and value of a log; both are views.
type Content struct{ Key, Value []byte }
