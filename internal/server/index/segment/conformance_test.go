package segment

import (
	"io"
	"log/slog"
	"os"
	"testing"

	"logtail/internal/server/index"
	"logtail/internal/server/index/indextest"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func conformance(opts Options) indextest.Engine {
	opts.Logger, opts.noSync = quiet(), true
	return indextest.Engine{
		Open: func(dir string) (index.Index, error) { return Open(dir, opts) },
		Move: func(x index.Index) error {
			err := x.(*Index).Flush()
			x.(*Index).sealDue() // merges
			return err
		},
		Crash: copyFolder,
	}
}

// copyFolder copies the folder between two changes of the manifests; what a
// crash within a change leaves is tested apart.
func copyFolder(x index.Index, dir, dst string) error {
	for _, sh := range x.(*Index).allShards() {
		sh.commit.Lock()
		defer sh.commit.Unlock()
	}
	return os.CopyFS(dst, os.DirFS(dir))
}

func TestConformance(t *testing.T) {
	indextest.Run(t, conformance(Options{}))
}

// Tiny limits send rows through every side path: row groups of a few rows, few columns and shapes, so
// that fields go to _rest; tables that are sealed by the goroutine at once; a
// cache that forgets; merges all the time.
func TestConformanceWithTinyLimits(t *testing.T) {
	indextest.Run(t, conformance(Options{MaxColumns: 3, MaxShapes: 4, SealRows: 5, CacheFiles: 1, mergeFan: 2, groupRows: 40}))
}
