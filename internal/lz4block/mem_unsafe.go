//go:build (amd64 || arm64) && !lz4safe

package lz4block

import "unsafe"

// mem is the memory of a block. The callers keep every index in range;
// TestGuardPages proves it with pages that must not be touched. Both machines
// are little-endian here and load unaligned words. A bare pointer instead of a
// slice leaves two registers more to the inner loop, which is worth a tenth of
// the time.
type mem = unsafe.Pointer

func memOf(b []byte) mem { return unsafe.Pointer(unsafe.SliceData(b)) }

func load8(m mem, i int) byte { return *(*byte)(unsafe.Add(m, i)) }

func load32(m mem, i int) uint32 { return *(*uint32)(unsafe.Add(m, i)) }

func load64(m mem, i int) uint64 { return *(*uint64)(unsafe.Add(m, i)) }

func store8(m mem, i int, v byte) { *(*byte)(unsafe.Add(m, i)) = v }

func copy16(dst mem, di int, src mem, si int) {
	*(*[16]byte)(unsafe.Add(dst, di)) = *(*[16]byte)(unsafe.Add(src, si))
}

func copyN(dst mem, di int, src mem, si, n int) {
	copy(unsafe.Slice((*byte)(unsafe.Add(dst, di)), n), unsafe.Slice((*byte)(unsafe.Add(src, si)), n))
}
