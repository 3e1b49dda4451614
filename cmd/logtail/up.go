package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"logtail/internal/agent"
	"logtail/internal/pipeline"
	"logtail/internal/server"
	"logtail/internal/sls"
)

// Where the logs of up go.
const (
	upProject  = "default"
	upLogstore = "default"
)

func newUp() *cobra.Command {
	var paths []string
	c := &cobra.Command{
		Use:   "up",
		Short: "Collect this machine's own logs and make them searchable",
		Long: `Start the Log Service and the agent on this machine, collect the machine's own
logs (or the given files), and run until Ctrl-C. The next start goes on where
this one stopped.`,
		Example: `  logtail up
  logtail up --path '/srv/app/logs/**/*.log' --path /var/log/syslog`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, listen, err := listenFlags(cmd)
			if err != nil {
				return err
			}
			logger, err := newLogger(cmd, slog.LevelWarn)
			if err != nil {
				return err
			}
			patterns, err := absolutePatterns(paths)
			if err != nil {
				return err
			}
			u := &up{out: cmd.OutOrStdout(), logger: logger, patterns: patterns, data: data, listen: listen}
			if u.own = len(patterns) == 0; u.own {
				u.patterns = ownLogs()
			}
			return u.run(cmd)
		},
	}
	addListenFlags(c)
	addMetricsFlag(c)
	c.Flags().StringArrayVar(&paths, "path", nil, "file or pattern to collect, in quotes, instead of the machine's own logs; may be repeated")
	return c
}

// up is both halves in one process.
type up struct {
	out          io.Writer
	logger       *slog.Logger
	patterns     []string
	own          bool // the patterns are those of the machine's own logs
	data, listen string
}

func (u *up) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	abs, err := filepath.Abs(u.data)
	if err != nil {
		return fmt.Errorf("the data folder %s: %w", u.data, err)
	}
	service, err := server.New(server.Options{Data: u.data, Listen: u.listen, InsecureHTTP: isLoopback(u.listen), Logger: u.logger})
	if err != nil {
		return err
	}
	if err := service.Start(ctx); err != nil {
		return err
	}
	// The agent stops first, so that the service can still take what it drains.
	return errors.Join(u.collect(cmd, service, abs), service.Shutdown(context.WithoutCancel(ctx)))
}

// collect runs the agent against the service until ctx ends.
func (u *up) collect(cmd *cobra.Command, service *server.Server, data string) error {
	ctx := cmd.Context()
	if err := service.Ensure(ctx, upProject, upLogstore); err != nil {
		return err
	}
	creds := &credentials{Credentials: service.Credentials(), path: filepath.Join(u.data, server.CredentialsFile)}
	inputs := upInputs(u.patterns, data)
	tlsConfig, err := creds.tlsConfig()
	if err != nil {
		return err
	}
	o := agent.Options{
		Data: filepath.Join(u.data, "agent"), Endpoint: creds.Endpoint, TLS: tlsConfig, Log: u.logger, UserAgent: userAgent(),
		Credentials: sls.Credentials{AccessKeyID: creds.AccessKeyID, AccessKeySecret: creds.AccessKeySecret},
	}
	for i, in := range inputs {
		name := "up"
		if i > 0 {
			name = fmt.Sprintf("up-%d", i+1)
		}
		p := pipeline.New(name).Add(in).Add(pipeline.NewFlusherSLS(creds.Endpoint, upProject, upLogstore))
		if err := p.Validate(); err != nil {
			return err
		}
		o.Pipelines = append(o.Pipelines, p)
	}
	if err := makeDir(o.Data); err != nil {
		return err
	}
	collector, err := agent.New(o)
	if err != nil {
		return err
	}
	u.welcome(creds, inputs)
	if err := collect(cmd, collector, o.Data, u.logger); err != nil {
		return fmt.Errorf("the agent stopped: %w", err)
	}
	return nil
}

// welcome prints where everything is and what to do next. The secret is shown
// to a person at a terminal only: output that is piped ends up in logs.
func (u *up) welcome(c *credentials, inputs []*pipeline.InputFile) {
	secret := "in " + c.path
	if isTerminal(u.out) {
		secret = c.AccessKeySecret + "  (also in " + c.path + ")"
	}
	fmt.Fprintln(u.out, "logtail is up")
	fmt.Fprintln(u.out)
	for _, line := range [][2]string{
		{"endpoint", c.Endpoint},
		{"project", upProject},
		{"logstore", upLogstore},
		{"access key id", c.AccessKeyID},
		{"access key secret", secret},
	} {
		fmt.Fprintf(u.out, "  %-17s  %s\n", line[0], line[1])
	}
	fmt.Fprintln(u.out)
	total := 0
	for _, in := range inputs {
		for _, pattern := range in.FilePaths {
			found, unreadable := countFiles(in, pattern)
			if found == 0 && u.own {
				continue // not every system has each of them
			}
			total += found
			note := ""
			if unreadable > 0 {
				note = fmt.Sprintf(", %d of them not readable by this user", unreadable)
			}
			fmt.Fprintf(u.out, "  collecting %s (%s%s)\n", pattern, plural(found, "file"), note)
		}
	}
	if total == 0 {
		fmt.Fprintln(u.out, "  No file matches yet; files that appear will be collected.\n  To collect others, stop and start again with --path, for example:\n    "+program()+" up --path '/srv/app/logs/*.log'")
	}
	flags := ""
	if filepath.Clean(u.data) != filepath.Clean(defaultData) {
		flags = " --credentials " + shellQuote(c.path)
	}
	fmt.Fprintf(u.out, "\n  search   %s query%s '*'\n  follow   %s tail%s\n  stop     Ctrl-C\n", program(), flags, program(), flags)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// program is how this program was called, so that a printed line can be copied.
func program() string {
	if len(os.Args) > 0 && strings.Contains(filepath.Base(os.Args[0]), "logtail") {
		return shellQuote(os.Args[0])
	}
	return "logtail"
}

func shellQuote(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-", r)
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
