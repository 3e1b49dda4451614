//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"logtail/bench/internal/lab"
	"logtail/internal/sls"
)

// place is where a server has its data.
type place struct {
	name, dir string
	ingests   []ingested
}

// ingested is what came of writing everything once.
type ingested struct {
	acknowledged, searchable time.Duration // until all were
	cpu                      time.Duration // of the server, until all were searchable
	rss                      int64
	shardLog, index          int64 // bytes on disk, when the server has stopped
	other                    float64
}

// words are the delimiters of words of the index, those of the service's console.
var words = []string{",", " ", "'", "\"", ";", "=", "(", ")", "[", "]", "{", "}", "?", "@", "&", "<", ">", "/", ":", "\n", "\t", "\r"}

// index is full text, with two numeric fields and two of text.
func indexOf() *sls.Index {
	return &sls.Index{
		Line: &sls.IndexLine{Token: words},
		Keys: map[string]sls.IndexKey{
			"status": {Type: "long", Token: []string{}}, "bytes": {Type: "long", Token: []string{}},
			"method": {Type: "text", Token: words}, "uri": {Type: "text", Token: words},
		},
	}
}

// ingest starts a new server in dir, writes the load to it, and stops it. Then
// it starts the server again, for use, and deletes everything.
func ingest(ctx context.Context, bin, dir string, l *load, clients int, use func(*lab.Service) error) (*ingested, error) {
	s, err := lab.StartService(ctx, bin, dir, indexOf())
	if err != nil {
		return nil, err
	}
	defer func() {
		s.Kill()
		os.RemoveAll(s.Data)
	}()
	before, err := lab.CPU(s.PID())
	if err != nil {
		return nil, err
	}
	busy, start := lab.MachineCPU(), time.Now()
	if err := write(ctx, s, l, clients); err != nil {
		return nil, err
	}
	r := &ingested{acknowledged: time.Since(start)}
	n, err := s.AwaitRows(ctx, l.rows, time.Minute)
	if err != nil {
		return nil, err
	}
	if n != l.rows {
		return nil, fmt.Errorf("%d rows were written and %d can be found", l.rows, n)
	}
	r.searchable = time.Since(start)
	after, err := lab.CPU(s.PID())
	if err != nil {
		return nil, err
	}
	r.cpu, r.rss = after-before, lab.PeakRSS(s.PID())
	r.other = lab.Others(lab.MachineCPU()-busy-r.cpu, r.searchable)
	if _, err := s.Stop(); err != nil {
		return nil, err
	}
	if r.shardLog, err = sizeOf(filepath.Join(s.Data, "shardlog")); err != nil {
		return nil, err
	}
	if r.index, err = sizeOf(filepath.Join(s.Data, "index")); err != nil {
		return nil, err
	}
	if err := s.Restart(ctx, bin); err != nil {
		return nil, err
	}
	return r, use(s)
}

// write sends all requests over some connections.
func write(ctx context.Context, s *lab.Service, l *load, clients int) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, clients)
	for i := range clients {
		wg.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= len(l.requests) {
					return
				}
				if _, err := s.Client.PutPackages(ctx, lab.Project, lab.Logstore, l.requests[n]); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// sizeOf is how many bytes the files of a folder hold.
func sizeOf(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		sum += fi.Size()
		return nil
	})
	return sum, err
}
