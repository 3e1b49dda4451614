//go:build linux

// Command hotpath measures what it costs to collect a log: the real binary
// reads files, finds and parses records, encodes and compresses log groups and
// throws them away. The CPU time is set in relation to that of the LZ4 encoder
// alone on the same log groups, measured in turns with it: the speed of a
// virtual machine drifts, the ratio does not.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"logtail/bench/internal/lab"
	"logtail/internal/agent"
	"logtail/internal/loggen"
)

// kinds are the pipelines, with the most that the CPU time may be of that of
// the encoder alone.
var kinds = []kind{
	{"single line", loggen.Nginx, "", "", 1.4},
	{"multi-line", loggen.Java, "    Multiline:\n      StartPattern: '" + loggen.JavaStartPattern + "'\n", "", 1.6},
	{"regex, 10 groups", loggen.Nginx, "", "  - Type: processor_parse_regex_native\n    Regex: '" + loggen.NginxRegex + "'\n    Keys: [" + strings.Join(loggen.NginxKeys, ", ") + "]\n", 3},
	{"JSON", loggen.JSON, "", "  - Type: processor_parse_json_native\n", 3.5},
	{"delimiter", loggen.Delimiter, "", "  - Type: processor_parse_delimiter_native\n    Separator: ','\n    Quote: '\"'\n    Keys: [" + strings.Join(loggen.DelimiterKeys, ", ") + "]\n", 3.5},
}

type kind struct {
	name, lines string
	input       string // settings of the input
	processors  string
	target      float64
}

// yaml is the pipeline over files that match the pattern.
func (k *kind) yaml(pattern string) []byte {
	s := "inputs:\n  - Type: input_static_file_onetime\n    FilePaths: ['" + pattern + "']\n" + k.input
	if k.processors != "" {
		s += "processors:\n" + k.processors
	}
	return []byte(s + "flushers:\n  - Type: flusher_blackhole\n    CompressType: lz4\n")
}

func main() {
	var (
		bin     = flag.String("bin", "bin/logtail", "the program to measure")
		size    = flag.Int("mb", 512, "size of each file in MB")
		repeats = flag.Int("repeats", 5, "quiet runs of each kind, or the quietest of twice as many; the medians count")
		only    = flag.String("only", "", "part of the name of the kinds to run; empty for all")
	)
	flag.Parse()
	if err := run(*bin, int64(*size)*lab.MB, *repeats, *only); err != nil {
		fmt.Fprintln(os.Stderr, "hotpath:", err)
		os.Exit(1)
	}
}

func run(bin string, size int64, repeats int, only string) error {
	dir, remove, err := lab.Folder()
	if err != nil {
		return err
	}
	defer remove()
	var results []*result
	for i := range kinds {
		k := &kinds[i]
		if !strings.Contains(k.name, only) {
			continue
		}
		fmt.Fprintln(os.Stderr, "hotpath:", k.name)
		r, err := measure(context.Background(), k, bin, dir, size, repeats)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		results = append(results, r)
	}
	report(results, size)
	return nil
}

// sample is one turn of everything.
type sample struct {
	one, two lab.Use // one core on one file; two cores on two files
	lz4      float64 // CPU seconds of the encoder for one file
	lz4Two   float64 // the same, measured around the run on two cores
}

// quietEnough is how many cores others may use for a turn to count as quiet.
const quietEnough = 0.3

// noise is how many cores others used.
func (s *sample) noise() float64 { return max(s.one.Other, s.two.Other) }

type result struct {
	*kind
	samples []sample
	groups  *groups
	allocs  allocs
	records int64 // of one file
}

// measure makes the files of a kind and takes the turns on them.
func measure(ctx context.Context, k *kind, bin, dir string, size int64, repeats int) (*result, error) {
	dir = filepath.Join(dir, k.lines)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &result{kind: k}
	var records [2]int64
	var err error
	for i, name := range []string{"a.log", "b.log"} {
		if records[i], _, err = lab.WriteLogs(filepath.Join(dir, name), loggen.New(k.lines, int64(i+1)), 0, size); err != nil {
			return nil, err
		}
	}
	r.records = records[0]
	if r.groups, err = makeGroups(k, filepath.Join(dir, "a.log")); err != nil {
		return nil, err
	}
	if r.allocs, err = countAllocs(ctx, k, dir, size); err != nil {
		return nil, err
	}
	one := runner{bin: bin, dir: dir, config: k.yaml(filepath.Join(dir, "a.log")), procs: 1, files: 1, records: records[0]}
	two := runner{bin: bin, dir: dir, config: k.yaml(filepath.Join(dir, "?.log")), procs: 2, files: 2, records: records[0] + records[1]}
	if _, err := one.run(ctx); err != nil { // brings the program into memory
		return nil, err
	}
	encode := func() float64 { return r.groups.encode(size / 2) }
	before := encode()
	// Turns in which others used the machine are repeated, and the quietest count.
	for quiet := 0; quiet < repeats && len(r.samples) < 2*repeats; {
		var s sample
		if s.one, err = one.run(ctx); err != nil {
			return nil, err
		}
		between := encode()
		s.lz4 = before + between // twice half of the file
		if s.two, err = two.run(ctx); err != nil {
			return nil, err
		}
		before = encode()
		s.lz4Two = between + before
		r.samples = append(r.samples, s)
		if s.noise() < quietEnough {
			quiet++
		}
	}
	slices.SortStableFunc(r.samples, func(a, b sample) int { return cmp.Compare(a.noise(), b.noise()) })
	r.samples = r.samples[:repeats]
	return r, nil
}

// runner runs the program on some cores.
type runner struct {
	bin, dir     string
	config       []byte
	procs, files int
	records      int64 // that the files hold
}

// run runs it once, from nothing, and checks that it did all its work.
func (r *runner) run(ctx context.Context) (lab.Use, error) {
	data, config := filepath.Join(r.dir, "data"), filepath.Join(r.dir, "pipeline.yaml")
	if err := os.WriteFile(config, r.config, 0o600); err != nil {
		return lab.Use{}, err
	}
	defer os.RemoveAll(data)
	u, stderr, err := lab.Run(ctx, []string{"GOMAXPROCS=" + strconv.Itoa(r.procs)}, r.bin, "run", "--stats", "--data", data, config)
	if err != nil {
		return u, err
	}
	var s agent.Summary
	if err := json.Unmarshal(stderr, &s); err != nil {
		return u, fmt.Errorf("%w in what it printed: %s", err, stderr)
	}
	if s.Files != int64(r.files) || s.Records != r.records || s.Delivered != r.records || s.LostBytes+s.SkippedBytes > 0 {
		return u, fmt.Errorf("it did not deliver the %d records of the files exactly: %s", r.records, stderr)
	}
	return u, nil
}
