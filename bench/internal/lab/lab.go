//go:build linux

// Package lab is what the benchmarks share: a scratch folder, the real binary
// as a child whose use of the machine is measured, and figures that are honest
// about a noisy machine.
package lab

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// MB and GB are the units of all results; KiB and MiB those of buffers.
const (
	MB = 1_000_000
	GB = 1_000_000_000
)

// Folder makes a scratch folder in the folder that BENCH_SCRATCH names, else in
// memory (/dev/shm) if the system has that, else in TMPDIR: in memory a disk
// decides nothing. remove deletes it.
func Folder() (dir string, remove func(), err error) {
	parent := os.Getenv("BENCH_SCRATCH")
	if fi, err := os.Stat("/dev/shm"); parent == "" && err == nil && fi.IsDir() {
		parent = "/dev/shm"
	}
	if dir, err = os.MkdirTemp(parent, "logtail-bench-"); err != nil {
		return "", nil, fmt.Errorf("no scratch folder: %w; set BENCH_SCRATCH to a folder that can be written to", err)
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}

// Quantile returns the value below which a part q of the values lie (the
// nearest one that was measured); NaN is never returned, 0 for no values.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// Median is the value in the middle.
func Median(values []float64) float64 {
	if n := len(values); n > 0 && n%2 == 0 {
		s := slices.Sorted(slices.Values(values))
		return (s[n/2-1] + s[n/2]) / 2
	}
	return Quantile(values, 0.5)
}

// Table is a table of Markdown whose columns are aligned for the terminal too.
type Table struct{ rows [][]string }

// NewTable returns a table with the given heads.
func NewTable(heads ...string) *Table {
	rule := make([]string, len(heads))
	for i := range rule {
		rule[i] = "---"
	}
	return &Table{rows: [][]string{heads, rule}}
}

// Add appends a row; numbers are to be formatted by the caller.
func (t *Table) Add(cells ...string) { t.rows = append(t.rows, cells) }

// Print writes the table.
func (t *Table) Print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	for _, r := range t.rows {
		fmt.Fprintln(tw, "| "+strings.Join(r, "\t| ")+"\t|")
	}
	_ = tw.Flush() // to a terminal or a file; nothing is done about it
	fmt.Fprintln(w)
}

// Verdict says whether a target was met.
func Verdict(ok bool) string {
	if ok {
		return "met"
	}
	return "**missed**"
}

// Machine describes the machine and the Go version in one line.
func Machine() string {
	model, cores := "unknown processor", 0
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, ":")
			switch strings.TrimSpace(key) {
			case "processor":
				cores++
			case "model name":
				model = strings.TrimSpace(value)
			}
		}
	}
	kernel := ""
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("%d cores of %s, Linux %s, %s", cores, model, kernel, runtime.Version())
}
