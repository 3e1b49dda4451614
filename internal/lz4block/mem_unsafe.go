//go:build (amd64 || arm64) && !lz4safe

package lz4block

import "unsafe"

// The callers keep every index in range; TestGuardPages and the fuzz target
// prove it with pages that must not be touched. Both machines are
// little-endian here and load unaligned words.

func load8(b []byte, i int) byte {
	return *(*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i))
}

func load32(b []byte, i int) uint32 {
	return *(*uint32)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i))
}

func load64(b []byte, i int) uint64 {
	return *(*uint64)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i))
}

func store8(b []byte, i int, v byte) {
	*(*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i)) = v
}

func copy16(dst []byte, di int, src []byte, si int) {
	*(*[16]byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(dst)), di)) = *(*[16]byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(src)), si))
}
