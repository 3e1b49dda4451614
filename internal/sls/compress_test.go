package sls

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"runtime"
	"strings"
	"sync"
	"testing"
)

var allTypes = []CompressType{CompressNone, CompressDeflate, CompressLZ4, CompressZstd}

// bodies are contents of every shape that compresses differently.
func bodies() map[string][]byte {
	noise := make([]byte, 100_000)
	rand.New(rand.NewSource(4)).Read(noise)
	return map[string][]byte{
		"empty": {}, "one byte": {'x'}, "short": []byte("GET / HTTP/1.1"), "zeros": make([]byte, 200_000),
		"noise": noise, "logs": benchGroup(), "text": []byte(strings.Repeat("hello ", 5000)),
	}
}

func TestCompressTypeNames(t *testing.T) {
	for _, typ := range allTypes {
		got, err := ParseCompressType(typ.String())
		if err != nil || got != typ {
			t.Errorf("%d is %q, which is read as %d, %v", typ, typ.String(), got, err)
		}
	}
	for _, s := range []string{"none", "LZ4", "Zstd"} {
		if _, err := ParseCompressType(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"gzip", "lz4 ", "lz"} {
		_, err := ParseCompressType(s)
		wantCode(t, err, CodeInvalidCompressType)
	}
}

func TestCompressionComesBack(t *testing.T) {
	var c Compressor
	for name, raw := range bodies() {
		for _, typ := range allTypes {
			t.Run(fmt.Sprintf("%s %d", name, typ), func(t *testing.T) {
				for range 2 { // also with used scratch
					z, err := c.Append([]byte("before"), raw, typ)
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.HasPrefix(z, []byte("before")) {
						t.Fatalf("what stood in dst is gone: %q", z[:6])
					}
					got, err := Decompress([]byte("kept"), z[6:], typ, len(raw), len(raw))
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got, append([]byte("kept"), raw...)) {
						t.Fatalf("%d bytes came back as %d different ones", len(raw), len(got))
					}
				}
			})
		}
	}
}

func TestDecompressDemandsTheExactSize(t *testing.T) {
	var c Compressor
	raw := bodies()["logs"]
	for _, typ := range allTypes {
		t.Run(fmt.Sprint(typ), func(t *testing.T) {
			z, err := c.Append(nil, raw, typ)
			if err != nil {
				t.Fatal(err)
			}
			code := CodePostBodyUncompressError
			if typ == CompressNone {
				code = CodeInvalidBodyRawSize
			}
			for _, size := range []int{0, 1, len(raw) - 1, len(raw) + 1, 2 * len(raw)} {
				dst, err := Decompress([]byte("kept"), z, typ, size, 10<<20)
				wantCode(t, err, code)
				if string(dst) != "kept" {
					t.Fatalf("after an error dst holds %d bytes", len(dst))
				}
			}
		})
	}
}

func TestDecompressRefuses(t *testing.T) {
	var c Compressor
	raw := bodies()["text"]
	_, err := Decompress(nil, raw, CompressNone, len(raw), len(raw)-1)
	wantCode(t, err, CodePostBodyTooLarge)
	_, err = Decompress(nil, raw, CompressNone, -1, 100)
	wantCode(t, err, CodeInvalidBodyRawSize)
	_, err = Decompress(nil, raw, 9, len(raw), len(raw))
	wantCode(t, err, CodeInvalidCompressType)
	_, err = c.Append(nil, raw, 9)
	wantCode(t, err, CodeInvalidCompressType)
	for _, typ := range []CompressType{CompressDeflate, CompressLZ4, CompressZstd} {
		z, err := c.Append(nil, raw, typ)
		if err != nil {
			t.Fatal(err)
		}
		for name, bad := range map[string][]byte{
			"cut":      z[:len(z)-1],
			"nothing":  {},
			"text":     []byte("this was never compressed"),
			"followed": append(bytes.Clone(z), "tail"...),
		} {
			t.Run(fmt.Sprintf("%s %s", typ, name), func(t *testing.T) {
				_, err := Decompress(nil, bad, typ, len(raw), 10<<20)
				wantCode(t, err, CodePostBodyUncompressError)
			})
		}
	}
}

// TestDecompressBomb: a small body that becomes huge must not make us take
// more memory than was announced.
func TestDecompressBomb(t *testing.T) {
	var c Compressor
	huge := make([]byte, 64<<20)
	for _, typ := range []CompressType{CompressDeflate, CompressLZ4, CompressZstd} {
		t.Run(typ.String(), func(t *testing.T) {
			z, err := c.Append(nil, huge, typ)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = Decompress(nil, z, typ, 10, 10<<20) // the pools are filled
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err = Decompress(nil, z, typ, 1000, 10<<20)
			runtime.ReadMemStats(&after)
			wantCode(t, err, CodePostBodyUncompressError)
			if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20 {
				t.Fatalf("%d bytes were allocated for 1,000", took)
			}
		})
	}
	t.Run("size out of proportion", func(t *testing.T) {
		for _, typ := range []CompressType{CompressDeflate, CompressLZ4} {
			dst, err := Decompress(nil, []byte{0x10, 0x20}, typ, 9<<20, 10<<20)
			wantCode(t, err, CodePostBodyUncompressError)
			if cap(dst) != 0 {
				t.Fatalf("%s: a buffer of %d bytes was made for 2", typ, cap(dst))
			}
		}
	})
}

func TestDecompressIsSafeForConcurrentUse(t *testing.T) {
	var c Compressor
	raw := bodies()["logs"]
	var wg sync.WaitGroup
	errs := make(chan error, 12)
	for _, typ := range []CompressType{CompressDeflate, CompressLZ4, CompressZstd} {
		z, err := c.Append(nil, raw, typ)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			wg.Go(func() {
				for range 20 {
					got, err := Decompress(nil, z, typ, len(raw), len(raw))
					if err == nil && !bytes.Equal(got, raw) {
						err = errors.New("came back different")
					}
					if err != nil {
						errs <- fmt.Errorf("%s: %w", typ, err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

func TestCompressionDoesNotAllocate(t *testing.T) {
	raw := bodies()["logs"]
	var c Compressor
	for _, typ := range []CompressType{CompressNone, CompressLZ4, CompressZstd} {
		buf, err := c.Append(nil, raw, typ)
		if err != nil {
			t.Fatal(err)
		}
		buf = append(buf, make([]byte, len(raw)*2)...)[:0]
		if n := testing.AllocsPerRun(10, func() { _, _ = c.Append(buf, raw, typ) }); n != 0 {
			t.Errorf("%q: %v allocations to compress", typ, n)
		}
	}
	z, _ := c.Append(nil, raw, CompressLZ4)
	out := make([]byte, 0, len(raw))
	if n := testing.AllocsPerRun(10, func() { _, _ = Decompress(out, z, CompressLZ4, len(raw), len(raw)) }); n != 0 {
		t.Errorf("lz4: %v allocations to decompress", n)
	}
}

func FuzzDecompress(f *testing.F) {
	var c Compressor
	for _, raw := range bodies() {
		raw = raw[:min(len(raw), 500)]
		for _, typ := range allTypes {
			z, _ := c.Append(nil, raw, typ)
			f.Add(z, uint8(typ), len(raw))
		}
	}
	const most = 1 << 16
	f.Fuzz(func(t *testing.T, src []byte, typ uint8, rawSize int) {
		out, err := Decompress(nil, src, CompressType(typ), rawSize, most)
		if err != nil {
			if _, ok := AsError(err); !ok {
				t.Fatalf("%v is no *Error", err)
			}
			if len(out) != 0 {
				t.Fatalf("%d bytes besides the error", len(out))
			}
		} else if len(out) != rawSize || rawSize > most {
			t.Fatalf("%d bytes for the %d announced", len(out), rawSize)
		}
		for _, typ := range allTypes {
			z, err := c.Append(nil, src, typ)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := Decompress(nil, z, typ, len(src), len(src)); err != nil || !bytes.Equal(back, src) {
				t.Fatalf("%q: does not come back: %v", typ, err)
			}
		}
	})
}

func BenchmarkCompressor(b *testing.B) {
	raw := benchGroup()
	var c Compressor
	for _, typ := range []CompressType{CompressLZ4, CompressZstd, CompressDeflate} {
		b.Run(typ.String(), func(b *testing.B) {
			var buf []byte
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = c.Append(buf[:0], raw, typ)
			}
			b.ReportMetric(float64(len(raw))/float64(len(buf)), "ratio")
		})
	}
}

func BenchmarkDecompress(b *testing.B) {
	raw := benchGroup()
	var c Compressor
	for _, typ := range []CompressType{CompressLZ4, CompressZstd, CompressDeflate} {
		z, _ := c.Append(nil, raw, typ)
		b.Run(typ.String(), func(b *testing.B) {
			var buf []byte
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = Decompress(buf[:0], z, typ, len(raw), len(raw))
			}
		})
	}
}
