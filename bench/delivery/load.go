//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"logtail/bench/internal/lab"
	"logtail/internal/loggen"
)

// load is how logs are written.
type load struct {
	name  string
	files int
	size  int64 // bytes over all files, roughly
	write int   // bytes of a write, roughly if lines is set
	lines bool  // writes end at the ends of lines
	rate  float64
}

// paceRate is how fast a paced load is written, in bytes a second.
const paceRate = 10 * lab.MB

func loads(size, paced int64) []load {
	return []load{
		{name: fmt.Sprintf("one hot file, %d MB at full speed", size/lab.MB), files: 1, size: size, write: 64 << 10},
		// Smaller writes at full speed overflow the queue of file events.
		{name: fmt.Sprintf("200 files, %d MB by turns at full speed", size/lab.MB), files: 200, size: size, write: 32 << 10, lines: true},
		{name: fmt.Sprintf("200 files, by turns at %d MB/s", paceRate/lab.MB), files: 200, size: paced, write: 4 << 10, lines: true, rate: paceRate},
	}
}

// makeLines makes access lines of so many bytes.
func makeLines(size int64) []byte {
	g := loggen.New(loggen.Nginx, 1).StartAt(time.Now())
	out := make([]byte, 0, size+4096)
	for int64(len(out)) < size {
		out = g.AppendLine(out)
	}
	return out
}

// append writes the load to new files in dir, file after file by turns, and
// returns how many bytes and lines that were.
func (l *load) append(dir string, content []byte) (size, lines int64, err error) {
	content = content[:bytes.LastIndexByte(content[:min(l.size, int64(len(content)))], '\n')+1]
	files := make([]*os.File, l.files)
	for i := range files {
		if files[i], err = os.OpenFile(filepath.Join(dir, fmt.Sprintf("app-%03d.log", i)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
			return 0, 0, err
		}
		defer files[i].Close()
	}
	start := time.Now()
	for rest, turn := content, 0; len(rest) > 0; turn++ {
		n := min(l.write, len(rest))
		if end := bytes.IndexByte(rest[n-1:], '\n'); l.lines && end >= 0 {
			n += end
		}
		if l.rate > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(float64(len(content)-len(rest)) / l.rate * float64(time.Second)))))
		}
		if _, err := files[turn%l.files].Write(rest[:n]); err != nil {
			return 0, 0, err
		}
		rest = rest[n:]
	}
	return int64(len(content)), int64(bytes.Count(content, []byte("\n"))), nil
}
