//go:build linux

package main

import (
	"errors"
	"runtime"
	"time"

	"logtail/bench/internal/lab"
	"logtail/internal/sls"
)

// sampleRaw is how many bytes of logs become groups for the encoder alone: far
// more than the caches hold.
const sampleRaw = 96e6

// groups are log groups as the agent makes them, for the encoder alone.
type groups struct {
	list       [][]byte
	raw, bytes int64 // of the logs, and of the groups
	compressed int64
	next       int
	scratch    []byte
	out        []byte
	compressor sls.Compressor
}

// makeGroups builds the log groups of the beginning of a file.
func makeGroups(k *kind, path string) (*groups, error) {
	g := &groups{}
	var failed error
	err := lab.EachGroup(k.yaml(path), path, nil, func(encoded []byte, end int64) bool {
		g.list = append(g.list, append([]byte(nil), encoded...))
		g.raw, g.bytes = end, g.bytes+int64(len(encoded))
		g.out, failed = g.compressor.Append(g.out[:0], encoded, sls.CompressLZ4)
		g.compressed += int64(len(g.out))
		return failed == nil && g.raw < sampleRaw
	})
	return g, errors.Join(err, failed)
}

// encode compresses the groups of raw bytes of logs, again and again from the
// first as far as there are not enough, and returns the CPU seconds of the
// encoder. Each group is brought into the cache first, where it is in the agent
// too, as it was just made.
func (g *groups) encode(raw int64) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	todo := int64(float64(raw) * float64(g.bytes) / float64(g.raw))
	var spent time.Duration
	var done int64
	for done < todo {
		g.scratch = append(g.scratch[:0], g.list[g.next]...)
		start := lab.ThreadCPU()
		out, err := g.compressor.Append(g.out[:0], g.scratch, sls.CompressLZ4)
		spent += lab.ThreadCPU() - start
		if err != nil {
			panic(err) // makeGroups has compressed them already
		}
		g.out = out
		done += int64(len(g.scratch))
		g.next = (g.next + 1) % len(g.list)
	}
	return spent.Seconds() * float64(todo) / float64(done)
}
