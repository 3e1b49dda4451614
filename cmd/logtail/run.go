package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"
)

func newRun() *cobra.Command {
	var (
		data  string
		stats bool
	)
	c := &cobra.Command{
		Use:   "run PIPELINE.yaml...",
		Short: "Run pipelines in the foreground, without a service",
		Long: `Run pipelines in the foreground. Ends when every one-time input is finished and
its logs are acknowledged; pipelines that follow files run until Ctrl-C. The
next run goes on where this one stopped.`,
		Example: `  logtail config example stdout > p.yaml && logtail run p.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no pipeline is given; name one or more files (logtail config example prints some)")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			logger, err := newLogger(cmd, slog.LevelWarn)
			if err != nil {
				return err
			}
			pipelines, err := loadAll(args)
			if err != nil {
				return err
			}
			if len(pipelines) == 0 {
				return errors.New("every given pipeline has enable: false, so there is nothing to run")
			}
			boundHeap()
			dir := filepath.Join(data, "run")
			agent, err := newCollector(cmd, dir, pipelines, true, logger)
			if err != nil {
				return err
			}
			err = collect(cmd, agent, dir, logger)
			if stats {
				// On standard error, so that flusher_stdout has standard output to itself.
				err = errors.Join(err, json.NewEncoder(cmd.ErrOrStderr()).Encode(agent.Summary()))
			}
			return err
		},
	}
	addCredentialsFlag(c)
	addMetricsFlag(c)
	c.Flags().StringVar(&data, "data", defaultData, "folder for checkpoints (in its subfolder run)")
	c.Flags().BoolVar(&stats, "stats", false, "print counts as one line of JSON on standard error at the end")
	return c
}
