package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logtail/internal/agent/state"
	"logtail/internal/agent/takeover"
)

func newCheckpoint() *cobra.Command {
	c := &cobra.Command{Use: "checkpoint", Short: "Show the agent's checkpoints, and take over those of another agent"}
	c.AddCommand(newCheckpointList(), newCheckpointImport())
	return c
}

// agentData is the folder that logtail agent and logtail up keep their checkpoints in.
func agentData(data string) string { return filepath.Join(data, "agent") }

// importFlags are the flags of checkpoint import.
type importFlags struct {
	from, data, fingerprint string
	dry                     bool
	output                  outputFlag
}

func newCheckpointImport() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import --from AGENT PATH...",
		Short: "Go on where another agent stood in its files",
		Long: `Take over the checkpoints of another agent: when the agent meets a file for the
first time, it goes on where the other one stood. Stop both agents first, and run this
as the user that the agent runs as. What becomes of each file is printed.

  filebeat         the folder of its registry, such as /var/lib/filebeat/registry
  fluent-bit       the file that DB says in the configuration of its tail input
  loongcollector   its data/file_check_point; of iLogtail, /tmp/logtail_check_point`,
		Example: `  logtail checkpoint import --from filebeat /var/lib/filebeat/registry --data /var/lib/logtail`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no path is given; name the other agent's registry, database or checkpoint file")
			}
			return nil
		},
		RunE: f.run,
	}
	c.Flags().StringVar(&f.from, "from", "", "the other agent: "+strings.Join(takeover.Agents(), ", "))
	c.Flags().StringVar(&f.data, "data", defaultData, "folder for checkpoints (in its subfolder agent)")
	c.Flags().StringVar(&f.fingerprint, "fingerprint", "0:1024", "part of a file that Filebeat's fingerprint covers, OFFSET:LENGTH in bytes")
	c.Flags().BoolVar(&f.dry, "dry-run", false, "only show what would become of each file")
	f.output.add(c, "table", "json", "csv")
	return c
}

func (f *importFlags) run(cmd *cobra.Command, args []string) error {
	if !slices.Contains(takeover.Agents(), f.from) {
		return usagef("--from %q is not an agent that can be taken over; allowed: %s", f.from, strings.Join(takeover.Agents(), ", "))
	}
	options, err := f.options()
	if err != nil {
		return err
	}
	var places []takeover.Place
	unreadable := 0
	for _, path := range args {
		found, err := takeover.Read(f.from, path, options)
		if err != nil {
			return err
		}
		for _, note := range found.Notes {
			fmt.Fprintf(cmd.ErrOrStderr(), "logtail: %s: %s\n", printable(path), printable(note))
		}
		places, unreadable = append(places, found.Places...), unreadable+found.Unreadable
	}
	rows, err := f.plan(places)
	if err != nil {
		return err
	}
	if err := f.print(cmd, rows); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "logtail: %s\n", f.summary(rows, unreadable))
	return nil
}

// options reads --fingerprint.
func (f *importFlags) options() (takeover.Options, error) {
	offset, length, ok := strings.Cut(f.fingerprint, ":")
	from, err := strconv.ParseInt(offset, 10, 64)
	n, err2 := strconv.ParseInt(length, 10, 64)
	if !ok || errors.Join(err, err2) != nil || from < 0 || n <= 0 {
		return takeover.Options{}, usagef("--fingerprint %q is not OFFSET:LENGTH in bytes, such as 0:1024", f.fingerprint)
	}
	return takeover.Options{FingerprintOffset: from, FingerprintLength: n}, nil
}

// plan compares the places with the files, and stores what is taken over. The
// agent must not run: it reads the hints when it starts.
func (f *importFlags) plan(places []takeover.Place) (rows []takeover.Row, err error) {
	dir, now := agentData(f.data), time.Now().Unix()
	if f.dry {
		content, err := state.OpenReadOnly(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return takeover.Plan(f.from, places, collected(&content), now), nil
	}
	store, err := state.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	content, err := store.Read()
	if err != nil {
		return nil, err
	}
	rows = takeover.Plan(f.from, places, collected(&content), now)
	change := state.Change{Now: now}
	for i := range rows {
		if rows[i].Hint != nil {
			change.PutHints = append(change.PutHints, *rows[i].Hint)
		}
	}
	return rows, store.Commit(change)
}

// collected says of which files the agent has streams.
func collected(c *state.Content) func(dev, inode uint64) bool {
	have := map[[2]uint64]bool{}
	for i := range c.Streams {
		have[[2]uint64{c.Streams[i].Dev, c.Streams[i].Inode}] = true
	}
	return func(dev, inode uint64) bool { return have[[2]uint64{dev, inode}] }
}

func (f *importFlags) print(cmd *cobra.Command, rows []takeover.Row) error {
	w := newRowWriter(f.output.format, cmd.OutOrStdout(), []string{"status", "offset", "size", "note", "file"})
	for i := range rows {
		r := &rows[i]
		out := row{"status": string(r.Status), "offset": strconv.FormatUint(r.Offset, 10), "file": r.Path, "note": r.Note}
		if r.Now != "" {
			out["size"] = strconv.FormatUint(r.Size, 10)
		}
		if r.Status.Taken() && r.Now != r.Path {
			out["file"] = r.Now + " (was " + filepath.Base(r.Path) + ")"
		}
		if err := w.Row(out); err != nil {
			return err
		}
	}
	return w.Close()
}

func (f *importFlags) summary(rows []takeover.Row, unreadable int) string {
	counts := map[takeover.Status]int{}
	taken := 0
	for i := range rows {
		if counts[rows[i].Status]++; rows[i].Status.Taken() {
			taken++
		}
	}
	verb := "were"
	if f.dry {
		verb = "would be"
	}
	text := fmt.Sprintf("of %d files, %d %s taken over", len(rows), taken, verb)
	for _, s := range takeover.Statuses() {
		if n := counts[s]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, s)
		}
	}
	if unreadable > 0 {
		text += fmt.Sprintf("; %d entries could not be read", unreadable)
	}
	return text
}

func newCheckpointList() *cobra.Command {
	var (
		data   string
		output outputFlag
	)
	c := &cobra.Command{
		Use:   "list",
		Short: "Show the checkpoints of an agent that does not run",
		Long: `Show how far the agent has delivered each file, and the places of other agents that
were taken over and of which it has not met the file yet. While the agent runs,
logtail status --files shows more.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			content, err := state.OpenReadOnly(agentData(data))
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there are no checkpoints in %s; name the agent's folder with --data", agentData(data))
			} else if err != nil {
				return err
			}
			for _, name := range content.Damaged {
				fmt.Fprintf(cmd.ErrOrStderr(), "logtail: damaged: %s\n", printable(name))
			}
			return listCheckpoints(newRowWriter(output.format, cmd.OutOrStdout(), []string{"status", "pipeline", "offset", "delivered", "file"}), &content)
		},
	}
	c.Flags().StringVar(&data, "data", defaultData, "folder for checkpoints (in its subfolder agent)")
	output.add(c, "table", "json", "csv")
	return c
}

// listCheckpoints writes a row for each stream, and for each hint.
func listCheckpoints(w rowWriter, c *state.Content) error {
	slices.SortFunc(c.Streams, func(a, b state.Stream) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Pipeline, b.Pipeline), cmp.Compare(a.Born, b.Born))
	})
	for i := range c.Streams {
		st := &c.Streams[i]
		status, offset := "collected", st.Base
		var delivered []string
		for _, lane := range st.Lanes {
			delivered = append(delivered, fmt.Sprintf("%s=%d", lane.Flusher, lane.End))
			if len(delivered) == 1 || lane.End < offset {
				offset = lane.End
			}
		}
		slices.Sort(delivered)
		switch {
		case st.Pending:
			status = "idle"
		case st.Ended != 0:
			status = st.Ended.String()
		}
		if err := w.Row(row{
			"status": status, "pipeline": st.Pipeline, "offset": strconv.FormatUint(offset, 10), "delivered": strings.Join(delivered, " "), "file": st.Path,
		}); err != nil {
			return err
		}
	}
	slices.SortFunc(c.Hints, func(a, b state.Hint) int { return cmp.Compare(a.Path, b.Path) })
	for i := range c.Hints {
		h := &c.Hints[i]
		if err := w.Row(row{"status": "from " + h.From, "offset": strconv.FormatUint(h.Offset, 10), "file": h.Path}); err != nil {
			return err
		}
	}
	return w.Close()
}
