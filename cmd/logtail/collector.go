package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"logtail/internal/agent"
	"logtail/internal/agent/buffer"
	"logtail/internal/agent/guard"
	"logtail/internal/agent/status"
	"logtail/internal/pipeline"
	"logtail/internal/sls"
)

// An access key in the environment goes before the one of the credentials file,
// for agents that are given theirs by something else. (A key is never a flag:
// every user of a machine can read the arguments of a program.)
const (
	keyIDEnv     = "LOGTAIL_ACCESS_KEY_ID"
	keySecretEnv = "LOGTAIL_ACCESS_KEY_SECRET"
)

// newCollector makes an agent in the foreground, with the key that its pipelines
// need.
func newCollector(cmd *cobra.Command, data string, pipelines []*pipeline.Pipeline, once bool, logger *slog.Logger) (*agent.Agent, error) {
	o := agent.Options{Data: data, Pipelines: pipelines, Once: once, Log: logger, UserAgent: userAgent(), Now: clock}
	if usesService(pipelines) {
		if err := setKey(cmd, &o); err != nil {
			return nil, err
		}
	}
	if err := setBuffer(cmd, &o); err != nil {
		return nil, err
	}
	guard.WorkerOf(cmd.Context()).Configured()
	if err := makeDir(data); err != nil {
		return nil, err
	}
	return agent.New(o)
}

// maxBufferFiles and maxBufferFileSize bound what the flags of the disk buffer may ask for.
const (
	maxBufferFiles    = 10_000
	minBufferFileSize = 1 << 20
	maxBufferFileSize = 1 << 30
)

// addBufferFlags adds the bounds of the disk buffer, by the names of Logtail's parameters.
func addBufferFlags(c *cobra.Command) {
	c.Flags().Int("buffer-file-num", buffer.DefaultFiles, "at most so many files in the disk buffer, 1 to 10000 (buffer_file_num)")
	c.Flags().Int64("buffer-file-size", buffer.DefaultFileBytes, "bytes of each of them, 1048576 to 1073741824 (buffer_file_size)")
	c.Flags().String("buffer-file-path", "", "folder of the disk buffer (buffer_file_path; default: buffer in the agent's data folder)")
}

// setBuffer takes the bounds of the disk buffer from the flags, where the command has them.
func setBuffer(cmd *cobra.Command, o *agent.Options) error {
	if cmd.Flags().Lookup("buffer-file-num") == nil {
		return nil
	}
	o.BufferFiles, _ = cmd.Flags().GetInt("buffer-file-num")
	o.BufferFileBytes, _ = cmd.Flags().GetInt64("buffer-file-size")
	o.BufferDir, _ = cmd.Flags().GetString("buffer-file-path")
	if o.BufferFiles < 1 || o.BufferFiles > maxBufferFiles {
		return usagef("--buffer-file-num is %d; it must be from 1 to %d", o.BufferFiles, maxBufferFiles)
	}
	if o.BufferFileBytes < minBufferFileSize || o.BufferFileBytes > maxBufferFileSize {
		return usagef("--buffer-file-size is %d; it must be from %d to %d bytes", o.BufferFileBytes, minBufferFileSize, maxBufferFileSize)
	}
	return nil
}

// addMetricsFlag adds the flag of all commands that collect.
func addMetricsFlag(c *cobra.Command) {
	c.Flags().String("metrics-listen", "", "serve /metrics for Prometheus and /healthz at host:port or, on this machine only, :port; without encryption")
}

// gcPercent lets the heap of an agent grow by so much between collections. What it
// reads and sends lives in buffers that are used again, so that little garbage is made, while
// the records of very many idle files should not count twice.
const gcPercent = 25

// boundHeap sets gcPercent, unless the environment says otherwise.
func boundHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// collect runs the agent, and meanwhile answers logtail status and serves metrics.
func collect(cmd *cobra.Command, a *agent.Agent, data string, logger *slog.Logger) error {
	ctx := cmd.Context()
	metrics, _ := cmd.Flags().GetString("metrics-listen")
	server, err := status.Listen(data, a, status.Options{MetricsListen: metrics, Version: readVersion().Version, Log: logger})
	if err != nil {
		ended, end := context.WithCancel(ctx)
		end()
		return errors.Join(err, a.Run(ended)) // gives everything back
	}
	// To the end of the stop: it is then that people look.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var done sync.WaitGroup
	done.Go(func() { server.Serve(serving) })
	guard.WorkerOf(ctx).Started()
	err = a.Run(ctx)
	stop()
	done.Wait()
	return err
}

func usesService(pipelines []*pipeline.Pipeline) bool {
	for _, p := range pipelines {
		for _, f := range p.Flushers {
			if f.SLS != nil {
				return true
			}
		}
	}
	return false
}

// setKey takes the key from the environment, else from the credentials file,
// which also says where flusher_sls sends if its pipeline does not.
func setKey(cmd *cobra.Command, o *agent.Options) error {
	o.Credentials = sls.Credentials{AccessKeyID: os.Getenv(keyIDEnv), AccessKeySecret: os.Getenv(keySecretEnv)}
	fromEnv := o.Credentials.AccessKeyID != "" && o.Credentials.AccessKeySecret != ""
	named, _ := cmd.Flags().GetString("credentials")
	server := ""
	if f := cmd.Flags().Lookup("server"); f != nil {
		server = f.Value.String()
	}
	if fromEnv && named == "" && os.Getenv(credentialsEnv) == "" {
		o.Endpoint = server
		return nil
	}
	path, err := findCredentials(named)
	if err != nil {
		return fmt.Errorf("flusher_sls needs an access key: %w, or set %s and %s", err, keyIDEnv, keySecretEnv)
	}
	c, err := readCredentials(cmd, path)
	if err != nil {
		return err
	}
	if !fromEnv {
		o.Credentials = sls.Credentials{AccessKeyID: c.AccessKeyID, AccessKeySecret: c.AccessKeySecret}
	}
	if o.Endpoint = c.Endpoint; server != "" {
		o.Endpoint = server
	}
	o.TLS, err = c.tlsConfig()
	return err
}

// makeDir makes a data folder that only its owner can read.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the data folder %s cannot be made: %w; choose another one with --data", dir, pathReason(err))
	}
	return nil
}

// pathReason is an error without the path that the message has already.
func pathReason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// loadAll reads pipeline files; every mistake of every file is reported.
func loadAll(files []string) ([]*pipeline.Pipeline, error) {
	var (
		pipelines []*pipeline.Pipeline
		lines     []string
		owner     = map[string]string{}
	)
	for _, f := range files {
		p, err := pipeline.ParseFile(f)
		switch {
		case err != nil:
			lines = append(lines, err.Error())
		case owner[p.Name] != "":
			lines = append(lines, fmt.Sprintf("%s: names the pipeline %q, as %s does; rename one of the files", f, p.Name, owner[p.Name]))
		case p.Enable:
			owner[p.Name] = f
			pipelines = append(pipelines, p)
		}
	}
	if len(lines) > 0 {
		return nil, errors.New(strings.Join(lines, "\n"))
	}
	return pipelines, nil
}
