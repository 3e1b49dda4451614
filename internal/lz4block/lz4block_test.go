package lz4block

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// decode is a plain, bounds-checked decoder, written from the description of
// the format and independent of the encoder. It also checks the rules for the
// end of a block, which lenient decoders do not.
func decode(src []byte) ([]byte, error) {
	var dst []byte
	lastMatchStart := -1
	for i := 0; ; {
		if i >= len(src) {
			return nil, errors.New("no token")
		}
		token := src[i]
		i++
		lits := int(token >> 4)
		if lits == 15 {
			for more := true; more; i++ {
				if i >= len(src) {
					return nil, errors.New("cut within a length of literals")
				}
				lits += int(src[i])
				more = src[i] == 255
			}
		}
		if i+lits > len(src) {
			return nil, errors.New("cut within literals")
		}
		dst = append(dst, src[i:i+lits]...)
		i += lits
		if i == len(src) {
			if token&15 != 0 {
				return nil, errors.New("the last sequence announces a match")
			}
			if lastMatchStart >= 0 && (lits < lastLiterals || lastMatchStart > len(dst)-matchMargin) {
				return nil, fmt.Errorf("%d literals at the end, last match starts at %d of %d", lits, lastMatchStart, len(dst))
			}
			return dst, nil
		}
		if i+2 > len(src) {
			return nil, errors.New("cut within an offset")
		}
		dist := int(src[i]) | int(src[i+1])<<8
		i += 2
		if dist == 0 || dist > len(dst) {
			return nil, fmt.Errorf("offset %d at %d", dist, len(dst))
		}
		length := int(token & 15)
		if length == 15 {
			for more := true; more; i++ {
				if i >= len(src) {
					return nil, errors.New("cut within the length of a match")
				}
				length += int(src[i])
				more = src[i] == 255
			}
		}
		lastMatchStart = len(dst)
		for range length + minMatch {
			dst = append(dst, dst[len(dst)-dist])
		}
	}
}

// nginxLines makes deterministic access-log lines.
func nginxLines(size int) []byte {
	r := rand.New(rand.NewSource(7))
	agents := []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148",
		"curl/8.4.0", "Go-http-client/2.0",
	}
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "10.%d.%d.%d - - [21/Nov/2026:10:%02d:%02d +0000] \"GET /api/v1/items/%d?page=%d HTTP/1.1\" %d %d \"-\" \"%s\" %.3f %08x%08x\n",
			r.Intn(4), r.Intn(256), r.Intn(256), i/60%60, i%60, r.Intn(5000), r.Intn(20), []int{200, 200, 200, 304, 404, 500}[r.Intn(6)],
			r.Intn(60000), agents[r.Intn(len(agents))], r.Float64(), r.Uint32(), r.Uint32())
	}
	return b.Bytes()[:size]
}

// corpus is what the tests encode: every shape that takes another way through
// the encoder.
func corpus() map[string][]byte {
	r := rand.New(rand.NewSource(3))
	noise := make([]byte, 300_000)
	r.Read(noise)
	far := append(bytes.Clone(noise[:70_000]), noise[:1000]...) // a repetition beyond the largest distance
	edge := append(bytes.Clone(noise[:maxDistance]), noise[:1000]...)
	c := map[string][]byte{
		"empty":       {},
		"one byte":    {'x'},
		"zeros":       make([]byte, 100_000),
		"noise":       noise,
		"far":         far,
		"max offset":  edge,
		"nginx":       nginxLines(200_000),
		"period 3":    bytes.Repeat([]byte("abc"), 20_000),
		"long noise":  append(bytes.Clone(noise[:255+15]), bytes.Repeat([]byte("q"), 255+19)...),
		"text":        []byte(strings.Repeat("the quick brown fox jumps over the lazy dog; ", 40)),
		"short words": []byte(strings.Repeat("aab", 4)),
	}
	for n := 10; n <= 40; n++ {
		c[fmt.Sprintf("zeros %d", n)] = make([]byte, n)
		c[fmt.Sprintf("noise %d", n)] = noise[n : 2*n]
	}
	return c
}

func check(t *testing.T, c *Compressor, src []byte) []byte {
	t.Helper()
	dst := make([]byte, Bound(len(src)))
	dst = dst[:c.Compress(dst, src)]
	got, err := decode(dst)
	if err != nil {
		t.Fatalf("block of %d bytes: %v", len(src), err)
	}
	if !bytes.Equal(got, src) {
		t.Fatalf("block of %d bytes comes back different", len(src))
	}
	out := make([]byte, len(src)+1)
	n, err := lz4.UncompressBlock(dst, out)
	if err != nil || !bytes.Equal(out[:n], src) {
		t.Fatalf("pierrec/lz4 reads a block of %d bytes differently: %v", len(src), err)
	}
	return dst
}

func TestRoundTrip(t *testing.T) {
	var c Compressor
	for name, src := range corpus() {
		t.Run(name, func(t *testing.T) { check(t, &c, src) })
	}
}

func TestRoundTripOfRandomBlocks(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	var c Compressor
	for i := range 20_000 {
		n := r.Intn(400)
		if i%100 == 0 {
			n = r.Intn(200_000)
		}
		check(t, &c, randomBlock(r, n))
	}
}

// randomBlock mixes literals, short repetitions and a long one.
func randomBlock(r *rand.Rand, n int) []byte {
	s := make([]byte, n)
	k := r.Intn(255) + 1
	for i := range s {
		if i < 10 || r.Intn(3) == 0 {
			s[i] = byte(r.Intn(k))
		} else {
			s[i] = s[i-1-r.Intn(min(i, 9))]
		}
	}
	if n > 50 && r.Intn(2) == 0 {
		copy(s[n/2:], s[r.Intn(n/2):])
	}
	return s
}

// TestGolden pins the bytes that the encoder writes. It runs with and without
// the tag lz4safe, so it also proves that the two variants write the same.
func TestGolden(t *testing.T) {
	r := rand.New(rand.NewSource(11))
	h := sha256.New()
	var c Compressor
	for _, size := range []int{0, 1, 12, 13, 14, 63, 1000, 70_000, 300_000} {
		for range 5 {
			src := randomBlock(r, size)
			dst := make([]byte, Bound(size))
			h.Write(dst[:c.Compress(dst, src)])
		}
	}
	src := nginxLines(512 << 10)
	dst := make([]byte, Bound(len(src)))
	h.Write(dst[:c.Compress(dst, src)])
	const want = "fd04662a0e0d380104869140347655e863956a751b0c705ee3a63338f66ab6c3"
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Fatalf("the encoder writes other bytes than before: digest %s, want %s", got, want)
	}
}

// TestOutputDependsOnTheBlockAlone proves that positions of earlier blocks,
// which are still in the table, are never taken for ones of this block.
func TestOutputDependsOnTheBlockAlone(t *testing.T) {
	r := rand.New(rand.NewSource(5))
	var used Compressor
	for range 300 {
		src := randomBlock(r, r.Intn(3000))
		var fresh Compressor
		if !bytes.Equal(check(t, &used, src), check(t, &fresh, src)) {
			t.Fatalf("a used compressor writes a block of %d bytes differently", len(src))
		}
	}
}

func TestBaseWrapsAround(t *testing.T) {
	src := nginxLines(100_000)
	var fresh Compressor
	want := check(t, &fresh, src)
	for _, left := range []uint32{0, 1, 100_000, 100_000 + maxDistance, 100_000 + maxDistance + 1, 100_000 + maxDistance + 2, 300_000} {
		var c Compressor
		check(t, &c, src)
		c.base = math.MaxUint32 - left
		for range 3 {
			if !bytes.Equal(check(t, &c, src), want) {
				t.Fatalf("with %d positions left before the wrap the block comes out different", left)
			}
		}
	}
}

func TestWorstCaseFitsBound(t *testing.T) {
	var c Compressor
	r := rand.New(rand.NewSource(9))
	for n := range 2000 {
		src := make([]byte, n)
		r.Read(src)
		if got := len(check(t, &c, src)); got > Bound(n) {
			t.Fatalf("%d bytes became %d, more than Bound = %d", n, got, Bound(n))
		}
	}
	// Many sequences with the fewest bytes each: 12 noise bytes and a match of 4.
	var src []byte
	noise := make([]byte, 1<<16)
	r.Read(noise)
	for i := 0; i+12 < len(noise); i += 12 {
		src = append(src, noise[i:i+12]...)
		src = append(src, noise[i/2:i/2+4]...)
	}
	check(t, &c, src)
}

func TestRefusesTooSmallDestination(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a destination shorter than Bound was accepted")
		}
	}()
	var c Compressor
	c.Compress(make([]byte, Bound(100)-1), make([]byte, 100))
}

func TestCompressDoesNotAllocate(t *testing.T) {
	src := nginxLines(100_000)
	dst := make([]byte, Bound(len(src)))
	var c Compressor
	if n := testing.AllocsPerRun(10, func() { c.Compress(dst, src) }); n != 0 {
		t.Fatalf("%v allocations for a block", n)
	}
}

func FuzzRoundTrip(f *testing.F) {
	for _, src := range corpus() {
		if len(src) <= 2000 {
			f.Add(src)
		}
	}
	var c Compressor
	f.Fuzz(func(t *testing.T, src []byte) {
		check(t, &c, src)
		check(t, &c, bytes.Repeat(src, 3))
	})
}

func BenchmarkCompress(b *testing.B) {
	for _, size := range []int{200, 4 << 10, 64 << 10, 512 << 10} {
		src := nginxLines(size)
		dst := make([]byte, max(Bound(size), lz4.CompressBlockBound(size)))
		b.Run(fmt.Sprintf("lz4block/%d", size), func(b *testing.B) {
			var c Compressor
			b.SetBytes(int64(size))
			var n int
			for b.Loop() {
				n = c.Compress(dst, src)
			}
			b.ReportMetric(float64(size)/float64(n), "ratio")
		})
		b.Run(fmt.Sprintf("pierrec/%d", size), func(b *testing.B) {
			var c lz4.Compressor
			b.SetBytes(int64(size))
			var n int
			for b.Loop() {
				n, _ = c.CompressBlock(src, dst)
			}
			b.ReportMetric(float64(size)/float64(max(n, 1)), "ratio")
		})
	}
}
