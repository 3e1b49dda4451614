//go:build linux

package main

import (
	"fmt"
	"os"

	"logtail/bench/internal/lab"
)

// of returns a figure of every sample.
func of(samples []sample, figure func(*sample) float64) []float64 {
	list := make([]float64, len(samples))
	for i := range samples {
		list[i] = figure(&samples[i])
	}
	return list
}

// report prints the tables.
func report(results []*result, size int64) {
	gb := float64(size) / lab.GB
	fmt.Printf("%s\n\n%d MB a file; medians of the runs, in brackets the lowest and the highest ratio.\n\n", lab.Machine(), size/lab.MB)
	cores := []struct {
		title string
		files float64
		use   func(*sample) *lab.Use
		lz4   func(*sample) float64
	}{
		{"One core, one file (GOMAXPROCS=1)", 1, func(s *sample) *lab.Use { return &s.one }, func(s *sample) float64 { return s.lz4 }},
		{"Two cores, two files (GOMAXPROCS=2)", 2, func(s *sample) *lab.Use { return &s.two }, func(s *sample) float64 { return 2 * s.lz4Two }},
	}
	for _, c := range cores {
		t := lab.NewTable("kind", "ratio to LZ4 alone", "target", "MB/s", "CPU s/GB", "MB per CPU s", "LZ4 alone CPU s/GB", "peak RSS MB", "other load, cores")
		for _, r := range results {
			ratios := of(r.samples, func(s *sample) float64 { return c.use(s).CPU.Seconds() / c.lz4(s) })
			cpu := lab.Median(of(r.samples, func(s *sample) float64 { return c.use(s).CPU.Seconds() / (c.files * gb) }))
			t.Add(r.name,
				fmt.Sprintf("**%.2f** (%.2f-%.2f)", lab.Median(ratios), lab.Quantile(ratios, 0), lab.Quantile(ratios, 1)),
				fmt.Sprintf("%.1f, %s", r.target, lab.Verdict(lab.Median(ratios) <= r.target)),
				fmt.Sprintf("%.0f", lab.Median(of(r.samples, func(s *sample) float64 { return c.files * gb * 1e3 / c.use(s).Wall.Seconds() }))),
				fmt.Sprintf("%.2f", cpu), fmt.Sprintf("%.0f", 1e3/cpu),
				fmt.Sprintf("%.2f", lab.Median(of(r.samples, func(s *sample) float64 { return c.lz4(s) / (c.files * gb) }))),
				fmt.Sprintf("%.0f", lab.Median(of(r.samples, func(s *sample) float64 { return float64(c.use(s).RSS) / lab.MB }))),
				fmt.Sprintf("%.1f", lab.Median(of(r.samples, func(s *sample) float64 { return c.use(s).Other }))))
		}
		fmt.Printf("%s\n\n", c.title)
		t.Print(os.Stdout)
	}
	t := lab.NewTable("kind", "bytes a record", "group bytes per log byte", "compressed to", "allocations a record", "a group", "target 0 a record")
	for _, r := range results {
		t.Add(r.name, fmt.Sprintf("%.0f", float64(size)/float64(r.records)),
			fmt.Sprintf("%.2f", float64(r.groups.bytes)/float64(r.groups.raw)),
			fmt.Sprintf("%.1f%%", 100*float64(r.groups.compressed)/float64(r.groups.raw)),
			fmt.Sprintf("%.3f", r.allocs.perRecord), fmt.Sprintf("%.1f", r.allocs.perGroup),
			// What a group and its request allocate is shared by its records.
			lab.Verdict(r.allocs.perRecord < 0.1))
	}
	fmt.Printf("The data, and allocations (of a long run less those of a short one)\n\n")
	t.Print(os.Stdout)
}
