package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logtail/internal/agent/guard"
	"logtail/internal/agent/state"
	"logtail/internal/pipeline"
)

// agentCommand is the name of the command that runs supervised.
const agentCommand = "agent"

// takeOver is how long an agent waits for another one that stops: one whose
// supervisor was killed still ends its requests.
const takeOver = 30 * time.Second

func newAgent() *cobra.Command {
	var (
		data, conf string
		alone      bool
	)
	c := &cobra.Command{
		Use:   agentCommand,
		Short: "Run the agent on the pipelines of a folder",
		Long: `Run the agent until Ctrl-C, on every *.yaml, *.yml and *.json of the folder that
--conf names. A file that is wrong is reported and left out; the others run. The
folder is read once, at the start.

The agent is two processes, a worker and a supervisor that starts the worker again
when it crashes or is killed.`,
		Example: `  logtail agent --conf /etc/logtail/conf --data /var/lib/logtail --credentials /etc/logtail/credentials.json`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := newLogger(cmd, slog.LevelInfo)
			if err != nil {
				return err
			}
			if conf == "" {
				return usagef("--conf is missing; name the folder of the pipelines")
			}
			if !alone && guard.WorkerOf(cmd.Context()) == nil {
				return supervise(cmd, logger)
			}
			return runAgent(cmd, filepath.Join(data, "agent"), conf, logger)
		},
	}
	addCredentialsFlag(c)
	addMetricsFlag(c)
	addBufferFlags(c)
	c.Flags().StringVar(&data, "data", defaultData, "folder for checkpoints (in its subfolder agent)")
	c.Flags().String("server", "", "the Log Service's URL, for flusher_sls without an Endpoint (default: the endpoint of the credentials file)")
	c.Flags().StringVar(&conf, "conf", "", "folder of pipelines")
	c.Flags().BoolVar(&alone, "no-supervisor", false, "run in one process, where something else starts it again (in containers)")
	return c
}

// supervise runs the same command line as a worker. What went wrong there was said there.
func supervise(cmd *cobra.Command, logger *slog.Logger) error {
	args, _ := cmd.Context().Value(argsKey{}).([]string)
	switch guard.Supervise(cmd.Context(), guard.Options{Args: args, Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(), Log: logger}) {
	case exitDone:
		return nil
	case exitUsage:
		return usageError{errSilent}
	}
	return errSilent
}

// runAgent collects in this process.
func runAgent(cmd *cobra.Command, data, conf string, logger *slog.Logger) error {
	boundHeap()
	pipelines, errs := pipeline.LoadDir(conf)
	for _, err := range errs {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(cmd.ErrOrStderr(), "logtail: %s\n", line)
		}
	}
	if len(pipelines) == 0 {
		if len(errs) > 0 {
			return errSilent
		}
		return errors.New("there is no pipeline in " + conf + "; add a *.yaml file (logtail config example prints some)")
	}
	// If it stays in use, the agent says what to do.
	state.Await(cmd.Context(), data, takeOver, func() {
		logger.Info("another agent uses the data folder; waiting for it to stop", "folder", data, "at_most", takeOver.String())
	})
	agent, err := newCollector(cmd, data, pipelines, false, logger)
	if err != nil {
		return err
	}
	return collect(cmd, agent, data, logger)
}
