package sls

import (
	"math/rand"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDamagedLZ4StaysInItsBuffers: the decoder is written in assembly and gets
// bytes from the network. Damaged blocks are decoded where the next page, on
// either side, must not be touched; a step outside ends the test with a fault.
func TestDamagedLZ4StaysInItsBuffers(t *testing.T) {
	page := unix.Getpagesize()
	guarded := func() []byte {
		m, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Munmap(m) })
		for _, g := range [][]byte{m[:page], m[2*page:]} {
			if err := unix.Mprotect(g, unix.PROT_NONE); err != nil {
				t.Fatal(err)
			}
		}
		return m[page : 2*page : 2*page]
	}
	srcPage, dstPage := guarded(), guarded()
	var c Compressor
	var blocks [][]byte
	var sizes []int
	for _, raw := range bodies() {
		for _, n := range []int{5, 60, 700, 3000} {
			raw := raw[:min(n, len(raw))]
			z, err := c.Append(nil, raw, CompressLZ4)
			if err != nil {
				t.Fatal(err)
			}
			if len(z) <= page {
				blocks, sizes = append(blocks, z), append(sizes, len(raw))
			}
		}
	}
	r := rand.New(rand.NewSource(8))
	damaged := make([]byte, page)
	refused := 0
	for range 200_000 {
		i := r.Intn(len(blocks))
		z := damaged[:copy(damaged, blocks[i])]
		for range r.Intn(4) {
			switch r.Intn(3) {
			case 0:
				z[r.Intn(len(z))] = byte(r.Intn(256))
			case 1:
				z[r.Intn(len(z))] = 255
			case 2:
				z = z[:1+r.Intn(len(z))]
			}
		}
		size := sizes[i]
		src, dst := srcPage[page-len(z):], dstPage[page-size:]
		if r.Intn(2) == 0 {
			src, dst = srcPage[:len(z):len(z)], dstPage[:size:size]
		}
		copy(src, z)
		if decodeLZ4(dst, src) != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Fatal("no damage was noticed")
	}
}
