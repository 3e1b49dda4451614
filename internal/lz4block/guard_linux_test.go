package lz4block

import (
	"bytes"
	"math/rand"
	"testing"

	"golang.org/x/sys/unix"
)

// guarded returns size bytes between two pages that must not be touched, once
// right after the first and once right before the second.
func guarded(t *testing.T, size int) (low, high []byte) {
	t.Helper()
	page := unix.Getpagesize()
	inner := (size + page - 1) / page * page
	m, err := unix.Mmap(-1, 0, inner+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(m) })
	for _, g := range [][]byte{m[:page], m[page+inner:]} {
		if err := unix.Mprotect(g, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return m[page : page+size : page+size], m[page+inner-size : page+inner : page+inner]
}

// TestGuardPages encodes blocks that touch, at either end, memory that must
// not be read or written: a step outside ends the test with a fault.
func TestGuardPages(t *testing.T) {
	var c Compressor
	try := func(data []byte) {
		var fresh Compressor
		want := check(t, &fresh, data)
		srcLow, srcHigh := guarded(t, len(data))
		dstLow, dstHigh := guarded(t, Bound(len(data)))
		for _, src := range [][]byte{srcLow, srcHigh} {
			copy(src, data)
			for _, dst := range [][]byte{dstLow, dstHigh} {
				if !bytes.Equal(dst[:c.Compress(dst, src)], want) {
					t.Fatalf("block of %d bytes comes out different", len(data))
				}
			}
		}
	}
	for _, data := range corpus() {
		if len(data) > 0 {
			try(data)
		}
	}
	r := rand.New(rand.NewSource(2))
	for range 2000 {
		try(randomBlock(r, 1+r.Intn(300)))
	}
	for n := range 300 { // literals only, then a match as late as the format allows
		data := make([]byte, n+13)
		r.Read(data[:n])
		try(data)
	}
}
