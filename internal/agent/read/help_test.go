package read

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// lines returns numbered lines of at least n bytes together, that begin with prefix.
func lines(prefix string, n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%s %08d %x\n", prefix, i, i*2654435761)
	}
	return b.String()
}

func gzipped(t testing.TB, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t testing.TB, content string, o ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, append([]zstd.EOption{zstd.WithEncoderConcurrency(1)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// knownOf returns what is remembered of the file at path, read up to end.
func knownOf(t testing.TB, path string, end uint64) *Known {
	t.Helper()
	f, facts, mtime, err := Look(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	k := &Known{Identity: facts.Identity, HeadLen: int(min(facts.Size, HeadBytes)), End: end, Mtime: mtime}
	var ok, tok bool
	if k.Head, ok = HashHead(f, k.HeadLen); !ok {
		t.Fatal("no head")
	}
	if k.Tail, tok = HashBefore(f, end); !tok {
		t.Fatal("no tail")
	}
	return k
}

func rename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t testing.TB, path ...string) string {
	t.Helper()
	dir := filepath.Join(path...)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// modified sets when the file at path was modified, in seconds after the known file was.
func modified(t testing.TB, path string, k *Known, seconds int) {
	t.Helper()
	at := time.Unix(0, k.Mtime).Add(time.Duration(seconds) * time.Second)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}
