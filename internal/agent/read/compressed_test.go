package read

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"logtail/internal/delivery"
)

func openArchive(t testing.TB, content []byte) (c *Compressed, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "archive")
	write(t, path, string(content))
	c, err := OpenCompressed(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, path
}

// readAll reads f as a worker does, chunk by chunk, and returns the content and the error after it.
func readAll(f io.ReaderAt, size int) (string, error) {
	var got []byte
	buf := make([]byte, size+Overlap)
	tail := delivery.TailHash(nil)
	for {
		over := min(len(got), Overlap)
		_, content, err := Chunk(f, uint64(len(got)), tail, buf[:over+size])
		got = append(got, content...)
		if err != nil || len(content) == 0 {
			return string(got), err
		}
		tail = delivery.TailHash(got)
	}
}

func formats(t testing.TB, content string) map[string][]byte {
	return map[string][]byte{"gzip": gzipped(t, content), "zstd": zstded(t, content)}
}

func TestArchivesAreReadLikeFiles(t *testing.T) {
	content := lines("line", 3<<20)
	a, b := content[:1<<20], content[1<<20:]
	skippable := []byte("\x52\x2a\x4d\x18\x05\x00\x00\x00hello")
	for name, archive := range map[string][]byte{
		"gzip":                      gzipped(t, content),
		"zstd":                      zstded(t, content),
		"gzip, two members":         append(gzipped(t, a), gzipped(t, b)...),
		"gzip, an empty member":     append(append(gzipped(t, a), gzipped(t, "")...), gzipped(t, b)...),
		"gzip, padded":              append(gzipped(t, content), make([]byte, 1000)...),
		"gzip, padded in between":   append(append(gzipped(t, a), 0, 0), gzipped(t, b)...),
		"zstd, two frames":          append(zstded(t, a), zstded(t, b)...),
		"zstd, a skippable frame":   append(append(bytes.Clone(skippable), zstded(t, a)...), append(skippable, zstded(t, b)...)...),
		"zstd, best":                zstded(t, content, zstd.WithEncoderLevel(zstd.SpeedBestCompression)),
		"zstd, no checksum, window": zstded(t, content, zstd.WithEncoderCRC(false), zstd.WithWindowSize(16<<20)),
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1000, 64 << 10, 512 << 10} {
				c, _ := openArchive(t, archive)
				if n, err := Len(c); n != -1 || err != nil {
					t.Errorf("the length is known before: %d, %v", n, err)
				}
				got, err := readAll(c, size)
				if err != nil || got != content {
					t.Fatalf("chunks of %d: %d bytes, want %d: %v", size, len(got), len(content), err)
				}
				if n, err := Len(c); n != int64(len(content)) || err != nil {
					t.Errorf("the length is %d, %v", n, err)
				}
			}
		})
	}
}

func TestAnArchiveIsReadAtAnyPlace(t *testing.T) {
	content := lines("line", 4<<20)
	for name, archive := range formats(t, content) {
		t.Run(name, func(t *testing.T) {
			c, _ := openArchive(t, archive)
			for _, off := range []int{3 << 20, 0, 100, 2 << 20, 2<<20 - 600<<10, 10, 4<<20 - 5, 1 << 20, len(content), 1020} {
				buf := make([]byte, 3000)
				n, err := c.ReadAt(buf, int64(off))
				want := content[off:min(len(content), off+len(buf))]
				if string(buf[:n]) != want {
					t.Fatalf("at %d: other content, %d bytes", off, n)
				}
				if (n < len(buf)) != errors.Is(err, io.EOF) {
					t.Errorf("at %d: %d bytes and %v", off, n, err)
				}
			}
			if n, err := c.ReadAt(make([]byte, 10), int64(len(content))+100); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("behind the end: %d, %v", n, err)
			}
			if _, err := c.ReadAt(make([]byte, 10), -1); err == nil {
				t.Error("no error at a negative offset")
			}
		})
	}
}

// TestShortStepsBackDecodeNothingTwice covers a worker that reads an unfinished
// record again, and the confirmation of the head.
func TestShortStepsBackDecodeNothingTwice(t *testing.T) {
	content := lines("line", 4<<20)
	for name, archive := range formats(t, content) {
		t.Run(name, func(t *testing.T) {
			c, path := openArchive(t, archive)
			buf := make([]byte, 512<<10)
			if _, err := c.ReadAt(buf, 0); err != nil {
				t.Fatal(err)
			}
			junk := bytes.Clone(archive)
			copy(junk, "junk at the beginning")
			write(t, path, string(junk))
			for off := 0; off+len(buf) < len(content); off += 100 << 10 {
				if n, err := c.ReadAt(buf, int64(off)); err != nil || string(buf[:n]) != content[off:off+len(buf)] {
					t.Fatalf("at %d: %d, %v", off, n, err)
				}
				if h, ok := HashHead(c, HeadBytes); !ok || h == 0 {
					t.Fatal("no head")
				}
			}
		})
	}
}

func TestAnArchiveThatIsStillWrittenIsReadAsFarAsItGoes(t *testing.T) {
	content := lines("line", 2<<20)
	for name, archive := range formats(t, content) {
		t.Run(name, func(t *testing.T) {
			c, path := openArchive(t, archive[:100])
			var got string
			for _, part := range []int{100, 1000, len(archive) / 3, len(archive) / 2, len(archive) - 1, len(archive)} {
				write(t, path, string(archive[:part]))
				for range 2 { // the second look sees that it has rested
					buf := make([]byte, len(content))
					n, err := c.ReadAt(buf, int64(len(got)))
					got += string(buf[:n])
					if !strings.HasPrefix(content, got) {
						t.Fatalf("%d of %d bytes: other content", part, len(archive))
					}
					if len(got) == len(content) {
						break
					}
					if part < len(archive) && !errors.Is(err, ErrIncomplete) {
						t.Fatalf("%d of %d bytes: %v", part, len(archive), err)
					}
				}
				if part > len(archive)/4 && part < len(archive) && len(got) < part {
					t.Errorf("only %d bytes come out of %d", len(got), part)
				}
			}
			if got != content {
				t.Errorf("%d bytes, want %d", len(got), len(content))
			}
			if n, err := c.ReadAt(make([]byte, 1), int64(len(got))); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %d, %v", n, err)
			}
			// A member that is appended later is read too.
			more := "one line more\n"
			grown := append(bytes.Clone(archive), formats(t, more)[name]...)
			write(t, path, string(grown))
			buf := make([]byte, 100)
			for range 2 {
				if n, _ := c.ReadAt(buf, int64(len(content))); string(buf[:n]) == more {
					return
				}
			}
			t.Error("what was appended is not read")
		})
	}
}

func TestADamagedArchiveIsReadUpToTheDamage(t *testing.T) {
	content := lines("line", 2<<20)
	for name, archive := range formats(t, content) {
		for _, where := range []string{"middle", "checksum", "behind"} {
			t.Run(name+" "+where, func(t *testing.T) {
				bad := bytes.Clone(archive)
				switch where {
				case "middle":
					for i := len(bad) / 2; i < len(bad)/2+100; i++ {
						bad[i] ^= 0xa5
					}
				case "checksum":
					bad[len(bad)-1] ^= 1 // both formats end with it
				case "behind":
					bad = append(bad, "this is no archive"...)
				}
				c, _ := openArchive(t, bad)
				got, err := readAll(c, 100_000)
				var damaged *DamagedError
				if !errors.Is(err, ErrDamagedArchive) || !errors.As(err, &damaged) {
					t.Fatalf("got %v", err)
				}
				if damaged.Decoded != uint64(len(got)) || !strings.Contains(err.Error(), c.Name()) {
					t.Errorf("%v; %d bytes came", err, len(got))
				}
				if where == "behind" && got != content {
					t.Errorf("got %d bytes, want %d", len(got), len(content))
				}
				if len(got) < len(content)/4 || got[:len(content)/4] != content[:len(content)/4] {
					t.Errorf("only %d bytes before the damage, or others", len(got))
				}
				if n, err := Len(c); n != -1 || err != nil {
					t.Errorf("the length is said to be %d, %v", n, err)
				}
			})
		}
	}
}

func TestAnArchiveThatWasReplacedIsReadAnew(t *testing.T) {
	content, other := lines("line", 1<<20), lines("other", 1<<19)
	c, path := openArchive(t, gzipped(t, content))
	if got, err := readAll(c, 1<<20); err != nil || got != content {
		t.Fatal("not read", err)
	}
	write(t, path, string(gzipped(t, other)))
	tail := delivery.TailHash([]byte(content))
	if _, _, err := Chunk(c, uint64(len(content)), tail, make([]byte, 1000)); err != nil {
		t.Fatalf("the place is kept: %v", err)
	}
	// The second look sees that it has rested.
	var err error
	for range 2 {
		_, _, err = Chunk(c, uint64(len(content)), tail, make([]byte, 1000))
	}
	if !errors.Is(err, ErrTruncated) {
		t.Errorf("other content at the place: %v", err)
	}
}

func TestOnlyArchivesAreArchives(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		content string
		want    error
	}{
		{"", ErrIncomplete},
		{"\x1f\x8b", ErrIncomplete},
		{"\x28\xb5\x2f", ErrIncomplete},
		{"plain text\n", ErrNotArchive},
		{"\x1f\x8b\x01\x00\x00\x00", ErrNotArchive},
		{"BZh91AY&SY", ErrNotArchive},
	} {
		path := filepath.Join(dir, "a.gz")
		write(t, path, c.content)
		if a, err := OpenCompressed(path); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, %v", c.content, a, err)
		}
	}
	if _, err := OpenCompressed(dir); !errors.Is(err, ErrNotRegular) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := OpenCompressed(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

func TestAClosedArchiveIsClosed(t *testing.T) {
	for name, archive := range formats(t, lines("line", 1<<20)) {
		c, _ := openArchive(t, archive)
		if _, err := c.ReadAt(make([]byte, 100), 0); err != nil {
			t.Fatal(name, err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(name, err)
		}
		if _, err := c.ReadAt(make([]byte, 100), 0); !errors.Is(err, os.ErrClosed) {
			t.Error(name, err)
		}
		if err := c.Close(); !errors.Is(err, os.ErrClosed) {
			t.Error(name, err)
		}
	}
}

// TestABombCostsNoMemory decompresses 256 MB of zeros from less than 1 MB.
func TestABombCostsNoMemory(t *testing.T) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 256 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c, _ := openArchive(t, b.Bytes())
	buf := make([]byte, 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if n, err := c.ReadAt(buf, 256<<20-1); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

func TestAWindowThatIsTooLargeIsRefused(t *testing.T) {
	random := make([]byte, 1<<20)
	rand.Read(random)
	archive := zstded(t, string(random), zstd.WithWindowSize(128<<20))
	c, _ := openArchive(t, archive)
	got, err := readAll(c, 1000)
	if !errors.Is(err, ErrDamagedArchive) || got != "" || !strings.Contains(err.Error(), "--long") {
		t.Errorf("got %d bytes and %v", len(got), err)
	}
}

func FuzzOpenCompressed(f *testing.F) {
	text := lines("line", 5000)
	for _, a := range formats(f, text) {
		f.Add(a, uint16(100))
		f.Add(a[:len(a)/2], uint16(2000))
		f.Add(append(bytes.Clone(a), a...), uint16(6000))
	}
	f.Add([]byte("\x1f\x8b\x08"), uint16(0))
	f.Add([]byte("\x52\x2a\x4d\x18\xff\xff\xff\xff"), uint16(0))
	path := filepath.Join(f.TempDir(), "archive")
	f.Fuzz(func(t *testing.T, data []byte, off uint16) {
		write(t, path, string(data))
		c, err := OpenCompressed(path)
		if err != nil {
			return
		}
		defer c.Close()
		const most = 1 << 20 // of a bomb
		all := make([]byte, most)
		n, err := c.ReadAt(all, 0)
		if n < most && err == nil {
			t.Fatal("less than asked for, and no error")
		}
		all = all[:n]
		buf := make([]byte, 100)
		m, _ := c.ReadAt(buf, int64(off))
		if from := min(int(off), n); !bytes.Equal(buf[:m], all[from:min(n, from+m)]) {
			t.Fatalf("other content at %d", off)
		}
	})
}
