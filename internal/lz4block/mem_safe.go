//go:build (!amd64 && !arm64) || lz4safe

package lz4block

import "encoding/binary"

// mem is the memory of a block.
type mem = []byte

func memOf(b []byte) mem { return b }

func load8(m mem, i int) byte { return m[i] }

func load32(m mem, i int) uint32 { return binary.LittleEndian.Uint32(m[i:]) }

func load64(m mem, i int) uint64 { return binary.LittleEndian.Uint64(m[i:]) }

func store8(m mem, i int, v byte) { m[i] = v }

func copy16(dst mem, di int, src mem, si int) { copy(dst[di:di+16], src[si:si+16]) }

func copyN(dst mem, di int, src mem, si, n int) { copy(dst[di:di+n], src[si:si+n]) }
