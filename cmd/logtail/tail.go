package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"logtail/internal/server/query"
	"logtail/internal/sls"
)

const (
	tailGroups   = 100 // log groups of one pull
	tailIdle     = 300 * time.Millisecond
	tailRetry    = 2 * time.Second
	tailShards   = 15 * time.Second // new shards are looked for this often
	maxPullFails = 150              // five minutes of tailRetry
)

type tailOptions struct {
	fields []string
	output outputFlag
	wait   func(context.Context, time.Duration) error
	now    func() time.Time
}

func newTail() *cobra.Command {
	o := tailOptions{wait: sleep, now: time.Now}
	c := &cobra.Command{
		Use:   "tail [QUERY]",
		Short: "Show logs as they arrive, until Ctrl-C",
		Long: `Show the logs of a logstore as they arrive, until Ctrl-C. Logs come in the order
of their arrival in each shard, each once: they are pulled from the shards, not
searched for. A query (see logtail query) shows only the logs that match; it is
applied here, so the logstore needs no index.`,
		Example: `  logtail tail
  logtail tail 'error' -o json`,
		Args: oneQuery,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, queryText(args)) },
	}
	addTargetFlags(c)
	c.Flags().StringSliceVar(&o.fields, "fields", nil, "fields to print, in this order (default: the log's own; json: all)")
	// CSV needs all rows before it knows its columns, and a tail has no end.
	o.output.add(c, "table", "json")
	return c
}

func (o *tailOptions) run(cmd *cobra.Command, text string) error {
	expr, err := query.Parse(text)
	if err != nil {
		return usageError{err}
	}
	ctx := cmd.Context()
	t, err := openTarget(ctx, cmd)
	if err != nil {
		return err
	}
	defer t.Close()
	f := &follower{
		options: o, target: t, match: query.Compile(expr), cursors: map[int]string{},
		out: newRowWriter(o.output.format, cmd.OutOrStdout(), o.fields),
		say: func(s string) { fmt.Fprintln(cmd.ErrOrStderr(), "logtail: "+s) },
	}
	err = f.follow(ctx)
	if ctx.Err() != nil {
		return nil // Ctrl-C is how a tail ends
	}
	return err
}

// follower pulls all shards of a logstore from their ends on.
type follower struct {
	options *tailOptions
	target  *target
	match   *query.Matcher
	out     rowWriter
	say     func(string)
	cursors map[int]string // by shard
	fails   int            // in a row
}

func (f *follower) follow(ctx context.Context) error {
	// Shards that are there at the start are read from their ends, those that a
	// split makes later from their beginnings.
	if err := f.findShards(ctx, "end"); err != nil {
		return f.target.explain(err)
	}
	looked := f.options.now()
	for {
		var err error
		if f.options.now().Sub(looked) > tailShards {
			looked = f.options.now()
			err = f.findShards(ctx, "begin")
		}
		moved := false
		if err == nil {
			moved, err = f.round(ctx)
		}
		pause := tailIdle
		switch {
		case err == nil:
			f.fails = 0
		case ctx.Err() != nil:
			return ctx.Err()
		case !f.goOn(err):
			return f.target.explain(err)
		default:
			pause = tailRetry
		}
		if !moved {
			if err := f.options.wait(ctx, pause); err != nil {
				return err
			}
		}
	}
}

// goOn decides on an error: a service that is away or busy comes back, all else
// ends the tail.
func (f *follower) goOn(err error) bool {
	e, ok := sls.AsError(err)
	away := errors.Is(err, sls.ErrNetwork) || ok && e.Status >= 500 || ok && (e.Code == sls.CodeReadQuotaExceed || e.Code == sls.CodeShardReadQuotaExceed)
	if !away || f.fails >= maxPullFails {
		return false
	}
	if f.fails == 0 {
		f.say(f.target.explain(err).Error() + "; trying again")
	}
	f.fails++
	return true
}

func (f *follower) findShards(ctx context.Context, from string) error {
	shards, err := f.target.ListShards(ctx, f.target.project, f.target.logstore)
	if err != nil {
		return err
	}
	for _, s := range shards {
		if _, known := f.cursors[s.ID]; known {
			continue
		}
		cursor, err := f.target.GetCursor(ctx, f.target.project, f.target.logstore, s.ID, from)
		if err != nil {
			return err
		}
		f.cursors[s.ID] = cursor
	}
	return nil
}

// round pulls once from every shard; moved says that there was something.
func (f *follower) round(ctx context.Context) (moved bool, err error) {
	for shard, cursor := range f.cursors {
		groups, next, err := f.target.PullLogs(ctx, f.target.project, f.target.logstore, shard, cursor, tailGroups)
		if err != nil {
			return moved, err
		}
		for i := range groups {
			if err := f.print(&groups[i]); err != nil {
				return moved, err
			}
		}
		moved = moved || next != cursor
		f.cursors[shard] = next
	}
	if err := f.out.Flush(); err != nil {
		return moved, fmt.Errorf("cannot write: %w", err)
	}
	return moved, nil
}

func (f *follower) print(g *sls.LogGroup) error {
	tags := make([]sls.Content, len(g.Tags))
	for i, t := range g.Tags {
		tags[i] = sls.Content{Key: []byte(query.TagPrefix + t.Key), Value: []byte(t.Value)}
	}
	line := query.Row{Topic: []byte(g.Topic), Source: []byte(g.Source), Tags: tags}
	for i := range g.Logs {
		log := &g.Logs[i]
		line.Contents = log.Contents
		if !f.match.Match(&line) {
			continue
		}
		r := row{fieldTime: strconv.FormatUint(uint64(log.Sec), 10)}
		if log.Nsec >= 0 {
			r[fieldTimeNs] = strconv.Itoa(int(log.Nsec))
		}
		for _, c := range tags {
			r[string(c.Key)] = string(c.Value)
		}
		r[fieldTopic], r[fieldSource] = g.Topic, g.Source
		for _, c := range log.Contents {
			r[string(c.Key)] = string(c.Value)
		}
		if err := f.out.Row(r); err != nil {
			return fmt.Errorf("cannot write: %w", err)
		}
	}
	return nil
}
