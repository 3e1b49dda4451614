//go:build linux

// Command server measures the Log Service: the real binary takes log groups of
// access logs that were parsed into fields, over loopback, and answers queries.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"logtail/bench/internal/lab"
)

func main() {
	var (
		bin     = flag.String("bin", "bin/logtail", "the program to measure")
		rows    = flag.Int64("rows", 1_000_000, "logs to write")
		clients = flag.Int("clients", 4, "connections that write at the same time")
		repeats = flag.Int("repeats", 3, "how often to write them to a new server; the medians count")
		runs    = flag.Int("runs", 40, "runs of each query")
		disk    = flag.String("disk", os.TempDir(), "folder on a disk for a second measurement of writing; empty for none")
	)
	flag.Parse()
	if err := run(context.Background(), *bin, *rows, *clients, *repeats, *runs, *disk); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, rows int64, clients, repeats, runs int, disk string) error {
	memory, remove, err := lab.Folder()
	if err != nil {
		return err
	}
	defer remove()
	fmt.Fprintln(os.Stderr, "server: making", rows, "logs")
	load, err := makeLoad(memory, rows)
	if err != nil {
		return err
	}
	places := []place{{name: "memory (tmpfs)", dir: memory}}
	if disk != "" {
		dir, err := os.MkdirTemp(disk, "logtail-bench-")
		if err != nil {
			return fmt.Errorf("no folder on a disk: %w; name another one with -disk", err)
		}
		defer os.RemoveAll(dir)
		places = append(places, place{name: "disk", dir: dir})
	}
	var queries []latency
	for range repeats { // the places take turns
		for i := range places {
			p := &places[i]
			fmt.Fprintln(os.Stderr, "server: writing, with the data in", p.name)
			last := len(p.ingests) == repeats-1 && i == 0
			g, err := ingest(ctx, bin, p.dir, load, clients, func(s *lab.Service) error {
				if !last {
					return nil
				}
				fmt.Fprintln(os.Stderr, "server: queries")
				queries, err = ask(ctx, s, load, runs)
				return err
			})
			if err != nil {
				return err
			}
			p.ingests = append(p.ingests, *g)
		}
	}
	report(load, places, clients, queries, runs)
	return nil
}
