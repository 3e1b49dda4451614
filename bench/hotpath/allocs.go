//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"logtail/internal/agent"
	"logtail/internal/pipeline"
)

// allocs are the allocations of a long run less those of a short one: what
// remains is due to the records, groups and requests of the difference.
type allocs struct {
	perRecord, perGroup float64
}

// countAllocs runs the agent in this process on the beginning of a file and on
// all of it.
func countAllocs(ctx context.Context, k *kind, dir string, size int64) (allocs, error) {
	short := filepath.Join(dir, "short.log")
	if err := copyStart(short, filepath.Join(dir, "a.log"), size/8); err != nil {
		return allocs{}, err
	}
	defer os.Remove(short)
	var mallocs [2]uint64
	var sums [2]agent.Summary
	for i, path := range []string{short, filepath.Join(dir, "a.log")} {
		p, err := pipeline.Parse("bench", k.yaml(path))
		if err != nil {
			return allocs{}, err
		}
		a, err := agent.New(agent.Options{
			Data: filepath.Join(dir, fmt.Sprint("data", i)), Pipelines: []*pipeline.Pipeline{p}, Once: true,
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			return allocs{}, err
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := a.Run(ctx); err != nil {
			return allocs{}, err
		}
		runtime.ReadMemStats(&after)
		mallocs[i], sums[i] = after.Mallocs-before.Mallocs, a.Summary()
	}
	more := float64(mallocs[1]) - float64(mallocs[0])
	return allocs{
		perRecord: more / float64(sums[1].Records-sums[0].Records),
		perGroup:  more / float64(sums[1].Groups-sums[0].Groups),
	}, nil
}

// copyStart copies the first n bytes of a file.
func copyStart(to, from string, n int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.CopyN(out, in, n); err != nil {
		return err
	}
	return out.Close()
}
