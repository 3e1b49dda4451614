//go:build linux

package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"logtail/internal/server"
	"logtail/internal/sls"
)

// Project and Logstore are what a Service holds.
const (
	Project  = "bench"
	Logstore = "logs"
)

// Service is the real Log Service on loopback, with one logstore of one shard
// that has an index.
type Service struct {
	*Child
	Client      *sls.Client
	Endpoint    string
	Credentials string // path of the credentials file
	Data        string
}

// StartService starts the program's server with a data folder that is made in dir.
func StartService(ctx context.Context, bin, dir string, index *sls.Index) (*Service, error) {
	s := &Service{Data: filepath.Join(dir, "service")}
	s.Credentials = filepath.Join(s.Data, server.CredentialsFile)
	err := s.start(ctx, bin)
	if err == nil {
		if err = s.create(ctx, index); err != nil {
			s.Kill()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the server: %w", err)
	}
	return s, nil
}

// Restart starts a server again that was stopped.
func (s *Service) Restart(ctx context.Context, bin string) error {
	if err := s.start(ctx, bin); err != nil {
		return fmt.Errorf("the server, started again: %w", err)
	}
	return nil
}

// start starts the server and waits until it answers.
func (s *Service) start(ctx context.Context, bin string) error {
	var err error
	if s.Child, err = Start(nil, bin, "server", "--data", s.Data, "--listen", "127.0.0.1:0", "--insecure-http"); err != nil {
		return err
	}
	// It writes its credentials file, with the port that it got, when it listens.
	if err = s.await(10*time.Second, func() bool { return s.connect(ctx) == nil }); err != nil {
		s.Kill()
		err = fmt.Errorf("%w\n%s", err, s.stderr.Bytes())
	}
	return err
}

// connect makes a client and tries it.
func (s *Service) connect(ctx context.Context) error {
	c, err := server.ReadCredentials(s.Credentials)
	if err != nil {
		return err
	}
	client, err := sls.NewClient(sls.ClientOptions{
		Endpoint: c.Endpoint, Timeout: time.Minute, MaxConns: 8,
		Signer: sls.Signer{Credentials: sls.Credentials{AccessKeyID: c.AccessKeyID, AccessKeySecret: c.AccessKeySecret}},
	})
	if err != nil {
		return err
	}
	if _, err := client.ListProjects(ctx, 0, 1); err != nil {
		client.Close()
		return err
	}
	if s.Client != nil {
		s.Client.Close()
	}
	s.Client, s.Endpoint = client, c.Endpoint
	return nil
}

// create makes the logstore.
func (s *Service) create(ctx context.Context, index *sls.Index) error {
	if err := s.Client.CreateProject(ctx, Project, ""); err != nil {
		return err
	}
	if err := s.Client.CreateLogstore(ctx, Project, sls.Logstore{Name: Logstore, TTL: 30, ShardCount: 1}); err != nil {
		return err
	}
	return s.Client.CreateIndex(ctx, Project, Logstore, index)
}

// await waits until ready says true, the child ends, or the time is over.
func (s *Service) await(limit time.Duration, ready func() bool) error {
	deadline := time.After(limit)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !ready() {
		select {
		case <-poll.C:
		case <-s.Ended():
			return fmt.Errorf("it ended: %w", s.err)
		case <-deadline:
			return fmt.Errorf("it is not ready after %v", limit)
		}
	}
	return nil
}

// AwaitRows waits until a query for everything counts the rows, and returns how
// many there are if the time is over before.
func (s *Service) AwaitRows(ctx context.Context, rows int64, limit time.Duration) (int64, error) {
	var got int64
	var err error
	if e := s.await(limit, func() bool {
		var h *sls.GetHistogramsReply
		h, err = s.Client.GetHistograms(ctx, Project, Logstore, sls.GetHistogramsRequest{From: 0, To: 1 << 32, Query: "*", Interval: 1 << 30})
		if err == nil {
			got = h.Count
		}
		return err != nil || h.Progress == sls.ProgressComplete && got >= rows
	}); e != nil && err == nil && got < rows {
		return got, fmt.Errorf("%d of %d rows can be found: %w", got, rows, e)
	}
	return got, err
}
