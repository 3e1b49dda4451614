//go:build linux

// Command scale measures what the agent costs on a machine with very many log
// files, and how much memory it takes at worst: the real binary, with its supervisor,
// watches 100,000 idle files in 10,000 directories; alone it follows 20,000 files that grow at once, reads
// a backlog, a line without an end, and sends to a service that hardly answers.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"logtail/bench/internal/lab"
)

// The most that the agent may use.
const (
	maxCPU     = 1.0             // percent of a core, with idle files
	maxRSS     = 200.0           // MB
	maxLatency = 1.0             // seconds from the write of a line to its delivery
	quietLimit = 3 * time.Minute // to read everything once and close it
)

func main() {
	b := &bench{}
	flag.StringVar(&b.bin, "bin", "bin/logtail", "the program to measure")
	flag.IntVar(&b.dirs, "dirs", 10_000, "directories")
	flag.IntVar(&b.perDir, "files", 10, "idle files in each")
	flag.IntVar(&b.probes, "probes", 300, "lines whose way is timed")
	flag.IntVar(&b.growing, "growing", 20_000, "files that grow at once")
	backlog := flag.Int("backlog", 2000, "MB of the backlog")
	long := flag.Int("line", 100, "MB of the line without an end")
	idle := flag.Int("idle", 60, "how long to look at the idle agent, in seconds")
	load := flag.Int("load", 30, "how long files grow and the slow service is sent to, in seconds")
	only := flag.String("only", "", "idle or load alone")
	flag.Parse()
	b.backlog, b.long = int64(*backlog)*lab.MB, int64(*long)*lab.MB
	b.idle, b.load = time.Duration(*idle)*time.Second, time.Duration(*load)*time.Second
	if err := b.run(context.Background(), *only); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

type bench struct {
	bin                           string
	dirs, perDir, probes, growing int
	backlog, long                 int64 // bytes
	idle, load                    time.Duration
}

func (b *bench) run(ctx context.Context, only string) error {
	fmt.Printf("%s\n\n", lab.Machine())
	if only != "load" {
		if err := b.idleTable(); err != nil {
			return err
		}
	}
	if only == "idle" {
		return nil
	}
	fmt.Printf("Memory at worst; target: below %.0f MB.\n\n", maxRSS)
	t := lab.NewTable("what", "seconds", "CPU s", "RSS peak MB", "target", "logs delivered / written")
	for _, c := range b.loads() {
		fmt.Fprintln(os.Stderr, "scale:", c.name)
		r, err := b.measure(ctx, &c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		delivered := "-"
		if r.written > 0 {
			delivered = fmt.Sprintf("%d / %d", r.delivered, r.written)
		}
		t.Add(c.name, fmt.Sprintf("%.1f", r.wall.Seconds()), fmt.Sprintf("%.1f", r.cpu.Seconds()), fmt.Sprintf("**%.0f**", r.peak), lab.Verdict(r.peak < maxRSS), delivered)
	}
	t.Print(os.Stdout)
	return nil
}

// idleTable measures many files of which nothing is heard.
func (b *bench) idleTable() error {
	fmt.Printf("%d idle files in %d directories; targets: below %.0f%% of a core and %.0f MB, a new line delivered within %.0f s.\n\n", b.dirs*b.perDir, b.dirs, maxCPU, maxRSS, maxLatency)
	t := lab.NewTable("files", "until quiet, s", "its CPU s", "CPU % of a core, idle", "target", "memory MB, idle (PSS)", "target", "of it private", "RSS peak MB", "open descriptors",
		"line to delivery, median ms", "p99", "most", "target", "other load, cores")
	for _, c := range []struct {
		name    string
		history bool
	}{{"older than the agent, never read", true}, {"read to their ends", false}} {
		dir, remove, err := lab.Folder()
		if err != nil {
			return err
		}
		err = b.idleRows(t, dir, c.name, c.history)
		remove()
		if err != nil {
			return fmt.Errorf("files that are %s: %w", c.name, err)
		}
	}
	t.Print(os.Stdout)
	return nil
}

// idleRows measures one tree of files, by an agent that finds it and by one that knows it.
func (b *bench) idleRows(t *lab.Table, dir, name string, history bool) error {
	fmt.Fprintln(os.Stderr, "scale: making files that are", name)
	tree, err := makeTree(filepath.Join(dir, "logs"), b.dirs, b.perDir, history)
	if err != nil {
		return err
	}
	out := filepath.Join(dir, "out.json")
	config := filepath.Join(dir, "conf", "pipeline.yaml")
	if err := os.Mkdir(filepath.Dir(config), 0o750); err != nil {
		return err
	}
	if err := pipelineFor(config, filepath.Join(dir, "logs", "**", "*.log"), fmt.Sprintf("  - {Type: flusher_file, FilePath: '%s', MaxFileSize: %d}\n", out, 10*lab.GB)); err != nil {
		return err
	}
	for _, when := range []string{name, "the same, after a restart"} {
		fmt.Fprintln(os.Stderr, "scale: idle:", when)
		r, err := b.idleRun(tree, config, filepath.Join(dir, "agent"), out)
		if err != nil {
			return err
		}
		ms := func(q float64) string { return fmt.Sprintf("%.0f", 1000*lab.Quantile(r.latency, q)) }
		most := lab.Quantile(r.latency, 1)
		t.Add(when, fmt.Sprintf("%.1f", r.quiet.Seconds()), fmt.Sprintf("%.1f", r.quietCPU.Seconds()), fmt.Sprintf("**%.2f**", r.cpu), lab.Verdict(r.cpu < maxCPU), fmt.Sprintf("**%.0f**", r.rss),
			lab.Verdict(r.rss < maxRSS), fmt.Sprintf("%.0f", r.private), fmt.Sprintf("%.0f", r.peak), fmt.Sprint(r.descriptors), ms(0.5), ms(0.99), "**"+ms(1)+"**", lab.Verdict(most < maxLatency), fmt.Sprintf("%.1f", r.other))
	}
	return nil
}

// pipelineFor writes a pipeline for files that match a pattern. Files are closed
// soon, as that is waited for.
func pipelineFor(config, pattern, flusher string) error {
	yaml := "inputs:\n  - Type: input_file\n    FilePaths: ['" + pattern + "']\n    MaxDirSearchDepth: 5\n    TailSizeKB: 104857600\n" +
		"    FlushTimeoutSecs: 5\n    CloseUnusedReaderIntervalSec: 5\nflushers:\n" + strings.TrimRight(flusher, "\n") + "\n"
	return os.WriteFile(config, []byte(yaml), 0o600)
}
