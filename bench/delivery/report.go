//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"

	"logtail/bench/internal/lab"
)

// of returns a figure of a variant in every round.
func of(rounds []round, variant int, figure func(*result) float64) []float64 {
	list := make([]float64, len(rounds))
	for i, r := range rounds {
		list[i] = figure(r[variant])
	}
	return list
}

// against is the product's figure relative to that of another variant, in every round.
func against(rounds []round, variant int, figure func(*result) float64) []float64 {
	out, than := of(rounds, 0, figure), of(rounds, variant, figure)
	for i := range out {
		out[i] /= than[i]
	}
	return out
}

// p99 is of the acknowledgements of all rounds, in ms: those of one are few.
func p99(rounds []round, variant int) float64 {
	var all []float64
	for _, r := range rounds {
		all = append(all, r[variant].acks...)
	}
	return lab.Quantile(all, 0.99)
}

// spread writes the median and, in brackets, the lowest and the highest.
func spread(values []float64) string {
	return fmt.Sprintf("**%.2f** (%.2f-%.2f)", lab.Median(values), lab.Quantile(values, 0), lab.Quantile(values, 1))
}

// figures are what is told of each variant, besides p99.
var figures = []struct {
	name   string
	format string
	ratio  bool // compared, too
	of     func(*result) float64
}{
	{"CPU s/GB", "**%.2f**", true, (*result).cpu},
	{"of the agent", "%.2f", true, func(r *result) float64 { return r.agent }},
	{"of the server", "%.2f", true, func(r *result) float64 { return r.server }},
	{"MB/s", "**%.0f**", true, func(r *result) float64 { return r.rate }},
	{"agent, peak RSS MB", "%.0f", false, func(r *result) float64 { return r.agentRSS }},
	{"server", "%.0f", false, func(r *result) float64 { return r.serverRSS }},
	{"sent, bytes per log byte", "%.3f", false, func(r *result) float64 { return r.sent }},
	{"disk, bytes per log byte", "%.2f", false, func(r *result) float64 { return r.written }},
	{"disk flushes", "%.0f", false, func(r *result) float64 { return r.flushes }},
	{"other load, cores", "%.1f", false, func(r *result) float64 { return r.other }},
	{"acknowledgements", "%.0f", false, func(r *result) float64 { return float64(len(r.acks)) }},
	{"median ms", "%.1f", true, func(r *result) float64 { return lab.Median(r.acks) }},
}

// report prints the tables of a load.
func report(l load, rounds []round) {
	fmt.Printf("%s%s\n\n", strings.ToUpper(l.name[:1]), l.name[1:])
	heads, ratios := []string{"delivery"}, []string{"A against"}
	for _, f := range figures {
		heads = append(heads, f.name)
		if f.ratio {
			ratios = append(ratios, f.name)
		}
	}
	t := lab.NewTable(append(heads, "p99")...)
	for i, v := range variants {
		cells := []string{v.name}
		for _, f := range figures {
			cells = append(cells, fmt.Sprintf(f.format, lab.Median(of(rounds, i, f.of))))
		}
		t.Add(append(cells, fmt.Sprintf("**%.1f**", p99(rounds, i)))...)
	}
	t.Print(os.Stdout)
	t = lab.NewTable(append(ratios, "p99", fmt.Sprintf("target: CPU below %.2f", maxCost))...)
	for i := 1; i < len(variants); i++ {
		cells := []string{variants[i].name}
		for _, f := range figures {
			if f.ratio {
				cells = append(cells, spread(against(rounds, i, f.of)))
			}
		}
		t.Add(append(cells, fmt.Sprintf("**%.2f**", p99(rounds, 0)/p99(rounds, i)), lab.Verdict(lab.Median(against(rounds, i, (*result).cpu)) < maxCost))...)
	}
	t.Print(os.Stdout)
}
