package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"logtail/internal/pipeline"
)

func newAgent() *cobra.Command {
	var data, conf string
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent on the pipelines of a folder",
		Long: `Run the agent until Ctrl-C, on every *.yaml, *.yml and *.json of the folder that
--conf names. A file that is wrong is reported and left out; the others run. The
folder is read once, at the start.`,
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
			agent, err := newCollector(cmd, filepath.Join(data, "agent"), pipelines, false, logger)
			if err != nil {
				return err
			}
			return agent.Run(cmd.Context())
		},
	}
	addCredentialsFlag(c)
	c.Flags().StringVar(&data, "data", defaultData, "folder for checkpoints (in its subfolder agent)")
	c.Flags().String("server", "", "the Log Service's URL, for flusher_sls without an Endpoint (default: the endpoint of the credentials file)")
	c.Flags().StringVar(&conf, "conf", "", "folder of pipelines")
	return c
}
