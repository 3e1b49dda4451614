//go:build (!amd64 && !arm64) || lz4safe

package lz4block

import "encoding/binary"

func load8(b []byte, i int) byte { return b[i] }

func load32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }

func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

func store8(b []byte, i int, v byte) { b[i] = v }

func copy16(dst []byte, di int, src []byte, si int) {
	copy(dst[di:di+16], src[si:si+16])
}
