//go:build linux

package main

import (
	"fmt"
	"os"

	"logtail/bench/internal/lab"
)

// report prints the tables.
func report(l *load, places []place, clients int, queries []latency, runs int) {
	raw := float64(l.raw)
	fmt.Printf("%s\n\n%d logs, %.0f MB as text, %.0f MB as %d log groups of parsed fields, %.0f MB sent (LZ4), %d connections; one shard; medians.\n\n",
		lab.Machine(), l.rows, raw/lab.MB, float64(l.encoded)/lab.MB, len(l.requests), float64(l.sent)/lab.MB, clients)
	t := lab.NewTable("data in", "acknowledged MB/s", "searchable MB/s", "CPU s/GB", "peak RSS MB", "index bytes per log byte", "shard log bytes per log byte", "other load, cores")
	for _, p := range places {
		of := func(figure func(*ingested) float64) float64 {
			list := make([]float64, len(p.ingests))
			for i := range p.ingests {
				list[i] = figure(&p.ingests[i])
			}
			return lab.Median(list)
		}
		t.Add(p.name,
			fmt.Sprintf("**%.0f**", of(func(g *ingested) float64 { return raw / lab.MB / g.acknowledged.Seconds() })),
			fmt.Sprintf("**%.0f**", of(func(g *ingested) float64 { return raw / lab.MB / g.searchable.Seconds() })),
			fmt.Sprintf("**%.1f**", of(func(g *ingested) float64 { return g.cpu.Seconds() / (raw / lab.GB) })),
			fmt.Sprintf("%.0f", of(func(g *ingested) float64 { return float64(g.rss) / lab.MB })),
			fmt.Sprintf("%.3f", of(func(g *ingested) float64 { return float64(g.index) / raw })),
			fmt.Sprintf("%.3f", of(func(g *ingested) float64 { return float64(g.shardLog) / raw })),
			fmt.Sprintf("%.1f", of(func(g *ingested) float64 { return g.other })))
	}
	t.Print(os.Stdout)

	fmt.Printf("Queries over all %d rows, %d runs each, over HTTP, the caches warm; milliseconds.\n\n", l.rows, runs)
	t = lab.NewTable("query", "text", "rows", "p50", "p99")
	for _, q := range queries {
		t.Add(q.what, "`"+q.query+"`", fmt.Sprint(q.rows), fmt.Sprintf("%.1f", lab.Quantile(q.millis, 0.5)), fmt.Sprintf("%.1f", lab.Quantile(q.millis, 0.99)))
	}
	t.Print(os.Stdout)
}
