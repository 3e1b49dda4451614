package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"logtail/internal/agent/ledger"
	"logtail/internal/agent/status"
)

// statusFlags are the flags of status.
type statusFlags struct {
	data, pipeline, path string
	files                bool
	output               outputFlag
}

func newStatus() *cobra.Command {
	var f statusFlags
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what the agent does now, and how far it has come",
		Long: `Show what the agent of a data folder does: where it sends to and what waits, what
did not arrive as it was written and why, and with --files how far each file is
delivered. Without a running agent, what its last run has stored. Run it as the
agent's user.`,
		Example: `  logtail status --data /var/lib/logtail
  logtail status --data /var/lib/logtail --path '/srv/app/logs/**/*.log' -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	c.Flags().StringVar(&f.data, "data", defaultData, "data folder of logtail up, agent or run")
	c.Flags().BoolVar(&f.files, "files", false, "list the files too")
	c.Flags().StringVar(&f.path, "path", "", "list the files of this path or pattern, in quotes")
	c.Flags().StringVar(&f.pipeline, "pipeline", "", "list the files of this pipeline")
	f.output.add(c, "table", "json")
	return c
}

// report is what there is to show.
type report struct {
	dir    string
	status status.Status
	// files hands each file to a function; nil if none are wanted.
	files func(ctx context.Context, each func(*status.File) error) error
}

func (f *statusFlags) run(cmd *cobra.Command) error {
	q, err := f.query()
	if err != nil {
		return err
	}
	r, err := findAgent(cmd, f.data, q)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	var listed int
	if f.output.format == "json" {
		listed, err = r.writeJSON(cmd.Context(), out)
	} else {
		listed, err = r.writeTable(cmd.Context(), out)
	}
	if err := errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if q != nil && listed == 0 && (q.Path != "" || q.Pipeline != "") {
		return errors.New("the agent knows no such file; see all of them with logtail status --files")
	}
	return nil
}

// query is the files to list; nil means none.
func (f *statusFlags) query() (*status.Query, error) {
	if f.data == "" {
		return nil, usagef("--data is empty; name a folder")
	}
	if !f.files && f.path == "" && f.pipeline == "" {
		return nil, nil
	}
	q := &status.Query{Pipeline: f.pipeline}
	if f.path != "" {
		abs, err := filepath.Abs(f.path)
		if err != nil {
			return nil, fmt.Errorf("--path %q cannot be made absolute: %w; write it from the root", f.path, err)
		}
		if q.Path = abs; !doublestar.ValidatePathPattern(abs) {
			return nil, usagef("--path %q is no pattern; write for example '/var/log/**/*.log'", f.path)
		}
	}
	return q, nil
}

// findAgent finds the agent of a data folder: that of agent or up, else that of
// run, else of one that does not run the state. Also the subfolder may be given.
func findAgent(cmd *cobra.Command, data string, q *status.Query) (*report, error) {
	dirs := []string{filepath.Join(data, "agent"), filepath.Join(data, "run"), data}
	var found *report
	for _, dir := range dirs {
		c, err := status.Dial(cmd.Context(), dir)
		if errors.Is(err, status.ErrNotRunning) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found != nil {
			c.Close()
			fmt.Fprintf(cmd.ErrOrStderr(), "logtail: another agent runs too; see it with --data %s\n", shellQuote(dir))
			continue
		}
		if found, err = askAgent(cmd.Context(), dir, c, q); err != nil {
			return nil, err
		}
	}
	for _, dir := range dirs {
		if found != nil {
			break
		}
		r, err := readStored(dir, q)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		found = r
	}
	if found == nil {
		return nil, fmt.Errorf("no agent runs on %s, and none has; name the data folder of logtail up, agent or run with --data", data)
	}
	return found, nil
}

// askAgent asks an agent that runs.
func askAgent(ctx context.Context, dir string, c *status.Client, q *status.Query) (*report, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	r := &report{dir: dir, status: s}
	if q != nil {
		r.files = func(ctx context.Context, each func(*status.File) error) error {
			_, err := c.Files(ctx, *q, each)
			return err
		}
	}
	return r, nil
}

// readStored reads what an agent has stored that does not run.
func readStored(dir string, q *status.Query) (*report, error) {
	var wanted func(*status.File) bool
	if q != nil {
		wanted = q.Match
	}
	s, list, err := status.Stored(dir, wanted)
	if err != nil {
		return nil, err
	}
	r := &report{dir: dir, status: s}
	if q != nil {
		r.files = func(_ context.Context, each func(*status.File) error) error {
			page, _, err := q.Page(list)
			for i := range page {
				if err == nil {
					err = each(&page[i])
				}
			}
			return err
		}
	}
	return r, nil
}

// writeJSON writes one object. The list of files goes out as it comes in.
func (r *report) writeJSON(ctx context.Context, w *bufio.Writer) (listed int, err error) {
	text, err := json.Marshal(&r.status)
	if err != nil {
		return 0, err
	}
	if r.files == nil {
		_, err = w.Write(append(text, '\n'))
		return 0, err
	}
	if _, err := w.WriteString(strings.TrimSuffix(string(text), "}") + `,"file_list":[`); err != nil {
		return 0, err
	}
	if err := r.files(ctx, func(f *status.File) error {
		if listed++; listed > 1 {
			if err := w.WriteByte(','); err != nil {
				return err
			}
		}
		text, err := json.Marshal(f)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}); err != nil {
		return listed, err
	}
	_, err = w.WriteString("]}\n")
	return listed, err
}

// writeTable writes tables for people.
func (r *report) writeTable(ctx context.Context, w *bufio.Writer) (listed int, err error) {
	r.writeHead(w)
	rows := [][]string{{"DESTINATION", "STATE", "QUEUED", "BUFFERED", "DELIVERED", "REQUESTS", "FAILED", "AT ONCE", "LAST ERROR"}}
	for i := range r.status.Destinations {
		d := &r.status.Destinations[i]
		rows = append(rows, []string{
			d.Name, d.State, packages(d.QueuedPackages, d.QueuedBytes), packages(d.BufferedPackages, d.BufferedBytes),
			fmt.Sprintf("%s logs, %s", humanize.Comma(d.DeliveredLogs), size(d.DeliveredBytes)), humanize.Comma(d.Requests), humanize.Comma(d.Failures),
			strconv.Itoa(d.Concurrency), orDash(d.Error),
		})
	}
	writeRows(w, rows)
	rows = [][]string{{"PIPELINE", "FILES", "READ", "RECORDS", "LOGS"}}
	for _, p := range r.status.Pipelines {
		rows = append(rows, []string{p.Name, humanize.Comma(int64(p.Files)), size(p.ReadBytes), humanize.Comma(p.Records), humanize.Comma(p.Logs)})
	}
	if !r.status.Running { // the others count from the start
		for i := range rows {
			rows[i] = rows[i][:2]
		}
	}
	writeRows(w, rows)
	writeRows(w, lossRows(r.status.Counts))
	if r.files == nil {
		return 0, nil
	}
	return r.writeFiles(ctx, w)
}

// writeHead writes what concerns the whole agent.
func (r *report) writeHead(w io.Writer) {
	s := &r.status
	lines := [][2]string{{"agent", fmt.Sprintf("does not run on %s; this is what the last run has stored", r.dir)}}
	if s.Running {
		lines[0][1] = fmt.Sprintf("%s, process %d, running since %s (%s)", s.Version, s.PID, s.Since.Local().Format(time.DateTime), time.Since(s.Since).Round(time.Second))
	}
	lines = append(lines, [2]string{"data", r.dir})
	if !s.Running {
		lines = append(lines, [2]string{"files", humanize.Comma(int64(s.Files))})
	} else {
		lines = append(lines, [2]string{"files", fmt.Sprintf("%s, %s open", humanize.Comma(int64(s.Files)), humanize.Comma(int64(s.OpenFiles)))},
			[2]string{"held", fmt.Sprintf("%s gone from their paths, %s not delivered", plural(s.Held.Files, "file"), size(s.Held.Bytes))},
			[2]string{"read", fmt.Sprintf("%s, %s logs", size(s.ReadBytes), humanize.Comma(s.Logs))})
		buffer := "empty"
		if s.Buffer.Records > 0 {
			buffer = fmt.Sprintf("%s in %s, %s, the oldest from %s", plural(s.Buffer.Records, "package"), plural(s.Buffer.Files, "file"), size(s.Buffer.Bytes), s.Buffer.Oldest.Local().Format(time.DateTime))
		}
		lines = append(lines, [2]string{"disk buffer", buffer})
	}
	for _, l := range lines {
		fmt.Fprintf(w, "%-11s  %s\n", l[0], printable(l[1]))
	}
}

// lossRows sums the counts by pipeline and reason, the worst first.
func lossRows(counts []ledger.Entry) [][]string {
	sums := map[ledger.Key]ledger.Count{}
	for _, e := range counts {
		k := ledger.Key{Pipeline: e.Pipeline, Reason: e.Reason}
		s := sums[k]
		sums[k] = ledger.Count{Logs: s.Logs + e.Logs, Bytes: s.Bytes + e.Bytes, Times: s.Times + e.Times}
	}
	keys := make([]ledger.Key, 0, len(sums))
	for k := range sums {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b ledger.Key) int {
		return cmp.Or(cmp.Compare(ledger.Describe(b.Reason).Class, ledger.Describe(a.Reason).Class), cmp.Compare(a.Pipeline, b.Pipeline), cmp.Compare(a.Reason, b.Reason))
	})
	rows := [][]string{{"NOT AS WRITTEN", "PIPELINE", "TIMES", "LOGS", "BYTES", "WHY"}}
	for _, k := range keys {
		info, c := ledger.Describe(k.Reason), sums[k]
		class := map[ledger.Class]string{ledger.Lost: "lost", ledger.ByRule: "left out by rule", ledger.Changed: "changed"}[info.Class]
		rows = append(rows, []string{class, orDash(k.Pipeline), humanize.Comma(c.Times), humanize.Comma(c.Logs), humanize.Comma(c.Bytes), string(k.Reason) + ": " + info.Doc})
	}
	return rows
}

// writeFiles writes a table of files.
func (r *report) writeFiles(ctx context.Context, w *bufio.Writer) (listed int, err error) {
	fmt.Fprintln(w)
	columns := []string{"STATE", "PIPELINE", "SIZE", "OFFSET", "LAG", "HELD", "ACKNOWLEDGED", "DEVICE:INODE", "STREAM", "PATH"}
	table := newRowWriter("table", w, columns)
	err = r.files(ctx, func(f *status.File) error {
		listed++
		acked := make([]string, len(f.Acked))
		for i, o := range f.Acked {
			acked[i] = fmt.Sprintf("%s %d", o.Flusher, o.End)
		}
		return table.Row(row{
			"STATE": f.State, "PIPELINE": f.Pipeline, "SIZE": strconv.FormatInt(f.Size, 10), "OFFSET": strconv.FormatUint(f.Offset, 10), "LAG": strconv.FormatInt(f.Lag, 10),
			"HELD": strconv.FormatInt(f.Held, 10), "ACKNOWLEDGED": orDash(strings.Join(acked, ", ")), "DEVICE:INODE": fmt.Sprintf("%d:%d", f.Dev, f.Inode),
			"STREAM": f.Stream, "PATH": f.Path,
		})
	})
	return listed, errors.Join(err, table.Close())
}

// writeRows writes a table below an empty line; the first row is its head. A table
// without other rows is not written.
func writeRows(w io.Writer, rows [][]string) {
	if len(rows) < 2 {
		return
	}
	fmt.Fprintln(w)
	for _, cells := range rows {
		for i := range cells {
			cells[i] = printable(cells[i])
		}
	}
	fit(rows)
	for _, cells := range rows {
		fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "  "), " "))
	}
}

func orDash(s string) string { return cmp.Or(s, "-") }

// size is a number of bytes for people, in units of 1,000.
func size(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

func packages(n int, bytes int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%s)", humanize.Comma(int64(n)), size(bytes))
}
