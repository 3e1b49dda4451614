package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logtail/internal/sls"
)

const (
	queryPage = 100 // most rows of a reply, by the protocol
	// A service that answers "incomplete" goes on searching when it is asked
	// again. After this many tries, half a second apart, the command gives up.
	incompleteTries = 60
	incompleteWait  = 500 * time.Millisecond
)

type queryOptions struct {
	from, to       string
	limit          int
	oldest, newest bool
	fields         []string
	output         outputFlag
	now            func() time.Time
	wait           func(context.Context, time.Duration) error
	start, end     int64 // unix seconds, end exclusive
}

// settleSeconds is how old logs are when no more of their time arrive, as agents
// hold them for 3 seconds at most. A query of many pages ends there.
const settleSeconds = 4

func newQuery() *cobra.Command {
	o := queryOptions{now: time.Now, wait: sleep}
	c := &cobra.Command{
		Use:   "query [QUERY]",
		Short: "Search logs",
		Long: `Search the logs of a logstore. The query is in the search language of SLS: words,
"phrases", key: value, key > 5, key in [200 300), and, or, not, brackets; * or
none for all logs. Put it in single quotes.`,
		Example: `  logtail query 'error and not status: 404'
  logtail query 'status >= 500' --from -1h --oldest-first -o json`,
		Args: oneQuery,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, queryText(args)) },
	}
	addTargetFlags(c)
	f := c.Flags()
	f.StringVar(&o.from, "from", "-15m", "first time: "+timeHelp)
	f.StringVar(&o.to, "to", "now", "last time, written likewise")
	f.IntVar(&o.limit, "limit", queryPage, "most logs to print; 0 = all")
	f.BoolVar(&o.newest, "reverse", false, "newest first (the default)")
	f.BoolVar(&o.oldest, "oldest-first", false, "oldest first")
	f.StringSliceVar(&o.fields, "fields", nil, "fields to print, in this order (default: the log's own; json and csv: all)")
	o.output.add(c, "table", "json", "csv")
	return c
}

func oneQuery(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("unexpected argument %q; put the whole query in single quotes", args[1])
	}
	return nil
}

func queryText(args []string) string {
	if len(args) == 0 || strings.TrimSpace(args[0]) == "" {
		return "*"
	}
	return args[0]
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// check reads the flags that only make sense together.
func (o *queryOptions) check() error {
	now := o.now()
	from, err := parseTime(o.from, now)
	if err != nil {
		return usagef("--from %w", err)
	}
	to, err := parseTime(o.to, now)
	if err != nil {
		return usagef("--to %w", err)
	}
	if from.After(to) {
		return usagef("--from %s is after --to %s; exchange them", o.from, o.to)
	}
	if o.newest && o.oldest {
		return usagef("--reverse and --oldest-first exclude one another; give one of them")
	}
	if o.limit < 0 {
		return usagef("--limit %d is negative; write 0 for all logs", o.limit)
	}
	// The protocol's end is exclusive and in seconds: the second of --to belongs
	// to what was asked for.
	o.start, o.end = from.Unix(), to.Unix()+1
	if settled := now.Unix() - settleSeconds; o.limit == 0 || o.limit > 10*queryPage {
		// Logs that arrive while page follows page would shift the pages, and
		// some logs be printed twice.
		o.end = max(min(o.end, settled), o.start)
	}
	return nil
}

func (o *queryOptions) run(cmd *cobra.Command, query string) error {
	if err := o.check(); err != nil {
		return err
	}
	ctx := cmd.Context()
	t, err := openTarget(ctx, cmd)
	if err != nil {
		return err
	}
	defer t.Close()
	w := newRowWriter(o.output.format, cmd.OutOrStdout(), o.fields)
	progress := progressOn(cmd)
	printed, err := o.pages(ctx, t, query, w, progress)
	progress.clear()
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	if printed == 0 && isTerminal(cmd.OutOrStdout()) {
		fmt.Fprintf(cmd.ErrOrStderr(), "no log of %s/%s matches between %s and %s; widen the time with --from\n", t.project, t.logstore, o.from, o.to)
	}
	return nil
}

// pages fetches page after page and writes the rows as they come.
func (o *queryOptions) pages(ctx context.Context, t *target, query string, w rowWriter, progress *progress) (printed int, err error) {
	for {
		want := queryPage
		if o.limit > 0 {
			want = min(want, o.limit-printed)
		}
		reply, err := o.page(ctx, t, query, int64(want), int64(printed))
		if err != nil {
			return printed, err
		}
		for _, r := range reply.Logs {
			if err := w.Row(r); err != nil {
				return printed, fmt.Errorf("cannot write the result: %w", err)
			}
		}
		if err := w.Flush(); err != nil {
			return printed, fmt.Errorf("cannot write the result: %w", err)
		}
		printed += len(reply.Logs)
		progress.show("%d logs", printed)
		// The result of an analysis is one page, with its own limit.
		if len(reply.Logs) < want || reply.Meta.HasSQL || o.limit > 0 && printed >= o.limit {
			return printed, nil
		}
	}
}

// page asks until the service has searched everything. What is printed has to
// be the whole answer, or be called a part of it.
func (o *queryOptions) page(ctx context.Context, t *target, query string, line, offset int64) (*sls.GetLogsReply, error) {
	q := sls.GetLogsRequest{From: o.start, To: o.end, Query: query, Line: line, Offset: offset, Reverse: !o.oldest}
	for range incompleteTries {
		reply, err := t.GetLogs(ctx, t.project, t.logstore, q)
		if err != nil {
			return nil, t.explain(err)
		}
		if reply.Meta.Progress != sls.ProgressIncomplete {
			return reply, nil
		}
		if err := o.wait(ctx, incompleteWait); err != nil {
			return nil, t.explain(err)
		}
	}
	return nil, errors.New("the service did not finish the search; ask for a shorter time with --from and --to")
}

// progress is a line on the terminal that says how far a command is. It is
// shown only where a person watches and the results go elsewhere.
type progress struct {
	w     io.Writer
	shown bool
}

func progressOn(cmd *cobra.Command) *progress {
	if !isTerminal(cmd.ErrOrStderr()) || isTerminal(cmd.OutOrStdout()) {
		return &progress{}
	}
	return &progress{w: cmd.ErrOrStderr()}
}

func (p *progress) show(format string, a ...any) {
	if p.w != nil {
		fmt.Fprintf(p.w, "\r"+format+"\x1b[K", a...)
		p.shown = true
	}
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
