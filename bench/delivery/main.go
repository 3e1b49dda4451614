//go:build linux

// Command delivery measures what exactly-once and durable acknowledgement cost:
// the real agent sends to the real server, with both, with one of them, and
// with neither, in turns.
//
// Neither can be switched off in the product. Between the two stands a relay
// that measures how long acknowledgements take, and that can hide from the agent
// that the server knows ranges; and a server without durable acknowledgement is
// one for which the kernel skips fsync (see withFilter).
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"logtail/bench/internal/lab"
)

// maxCost is how much more CPU time everything may take than nothing of it.
const maxCost = 1.10

// variant is one way to deliver.
type variant struct {
	name           string
	ranges, fsyncs bool
}

// variants are what is compared; the first one is the product as it is.
var variants = []variant{
	{"A: all as it is", true, true},
	{"B: without ranges", false, true},
	{"C: without fsync", true, false},
	{"D: without both", false, false},
}

func main() {
	if real := os.Getenv(filterEnv); real != "" {
		fmt.Fprintln(os.Stderr, "delivery:", withFilter(real))
		os.Exit(1)
	}
	b := &bench{}
	flag.StringVar(&b.bin, "bin", "bin/logtail", "the program to measure")
	flag.StringVar(&b.disk, "disk", "", "folder on a disk for the data of agent and server (default: TMPDIR or /tmp)")
	flag.IntVar(&b.rounds, "rounds", 5, "how often each variant is measured")
	flag.IntVar(&b.repeats, "repeats", 5, "how many rounds are repeated at most because others used the machine meanwhile")
	mb := flag.Int64("mb", 256, "MB of logs in each run at full speed")
	paced := flag.Int64("paced", 60, "MB of logs in each run at a steady rate, 10 MB/s")
	only := flag.String("only", "", "measure only the loads that have this in their names")
	flag.Parse()
	if err := run(context.Background(), b, *mb*lab.MB, *paced*lab.MB, *only); err != nil {
		fmt.Fprintln(os.Stderr, "delivery:", err)
		os.Exit(1)
	}
}

// run measures all loads and prints the tables.
func run(ctx context.Context, b *bench, size, paced int64, only string) error {
	if b.disk == "" {
		b.disk = os.TempDir()
	}
	if err := b.prepare(max(size, paced)); err != nil {
		return err
	}
	fmt.Printf("%s\n\nData of agent and server on %s, logs in memory. Medians of %d rounds, in brackets the lowest and the highest; p99 of all their acknowledgements together.\n\n", lab.Machine(), b.device.name, b.rounds)
	for _, l := range loads(size, paced) {
		if !strings.Contains(l.name, only) {
			continue
		}
		list, err := b.byTurns(ctx, l)
		if err != nil {
			return err
		}
		report(l, list)
	}
	return nil
}

// round is a run of each variant, in their order.
type round []*result

// noise is how many cores others used.
func (r round) noise() float64 {
	var n float64
	for _, x := range r {
		n = max(n, x.other)
	}
	return n
}

// quietEnough is how many cores others may use for a round to count as quiet.
// The kernel's own work for the disk is among it.
const quietEnough = 0.3

// byTurns measures all variants by turns. Rounds in which others used the machine
// are repeated, and the quietest count.
func (b *bench) byTurns(ctx context.Context, l load) ([]round, error) {
	var list []round
	for quiet := 0; quiet < b.rounds && len(list) < b.rounds+b.repeats; {
		r := make(round, len(variants))
		for _, i := range order(len(list)) {
			var err error
			if r[i], err = b.measure(ctx, l, variants[i]); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", l.name, variants[i].name, err)
			}
			fmt.Fprintf(os.Stderr, "delivery: %s, round %d, %s: agent %.2f and server %.2f CPU s/GB, %.0f MB/s, acknowledged after %.1f ms, others %.1f cores\n",
				l.name, len(list)+1, variants[i].name, r[i].agent, r[i].server, r[i].rate, lab.Median(r[i].acks), r[i].other)
		}
		list = append(list, r)
		if r.noise() < quietEnough {
			quiet++
		}
	}
	slices.SortStableFunc(list, func(a, b round) int { return cmp.Compare(a.noise(), b.noise()) })
	return list[:b.rounds], nil
}

// order is in which order the variants of a round are measured: each round
// begins with another one, and every other one goes backwards, so that a machine
// that becomes slower or faster favours none.
func order(round int) []int {
	list := make([]int, len(variants))
	for i := range list {
		list[i] = (i + round/2) % len(variants)
	}
	if round%2 == 1 {
		slices.Reverse(list)
	}
	return list
}
