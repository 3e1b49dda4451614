package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"
)

// ErrNotRunning is what Dial answers when no agent runs on the folder.
var ErrNotRunning = errors.New("no agent runs on this folder")

const (
	answerTime = 30 * time.Second // for an answer to begin
	maxStatus  = 64 << 20         // bytes of a status
)

// Client asks an agent for its status.
type Client struct {
	http  *http.Client
	token string
	pid   int
}

// Dial connects to the agent with the data folder dir. ErrNotRunning says that
// there is none; other errors that it cannot be asked.
func Dial(ctx context.Context, dir string) (*Client, error) {
	list, err := addresses(dir)
	if err != nil {
		return nil, fmt.Errorf("the agent cannot be asked: %w; ask as its user", err)
	}
	var dialer net.Dialer
	for _, a := range list {
		try, cancel := context.WithTimeout(ctx, dialTime)
		conn, err := dialer.DialContext(try, a.Network, a.Address)
		cancel()
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("the agent cannot be asked: %w; ask as its user", err)
		}
		if err != nil {
			continue
		}
		conn.Close()
		transport := &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, a.Network, a.Address)
			},
			ResponseHeaderTimeout: answerTime, DisableCompression: true,
		}
		return &Client{http: &http.Client{Transport: transport}, token: a.Token, pid: a.PID}, nil
	}
	return nil, ErrNotRunning
}

// Close ends the connection.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks what the agent does.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	body, err := c.get(ctx, "/status")
	if err != nil {
		return s, err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxStatus)).Decode(&s); err != nil {
		return s, fmt.Errorf("the agent's status cannot be read: %w", err)
	}
	return s, nil
}

// Files asks for files, which are handed to each as they come. next is where the
// next page begins, "" if there is none. An error means that some are missing.
func (c *Client) Files(ctx context.Context, q Query, each func(*File) error) (next string, err error) {
	body, err := c.get(ctx, "/files?"+q.encode())
	if err != nil {
		return "", err
	}
	defer body.Close()
	d := json.NewDecoder(body)
	for _, want := range []json.Token{json.Delim('{'), "file_list", json.Delim('[')} {
		if t, err := d.Token(); err != nil || t != want {
			return "", fmt.Errorf("the agent's list of files begins with %v: %w", t, errors.Join(err))
		}
	}
	for d.More() {
		var f File
		if err := d.Decode(&f); err != nil {
			return "", fmt.Errorf("the agent's list of files is incomplete: %w", err)
		}
		if err := each(&f); err != nil {
			return "", err
		}
	}
	for range 3 { // the end of the list, the name and the value of next
		t, err := d.Token()
		if err != nil {
			return "", fmt.Errorf("the agent's list of files is incomplete: %w", err)
		}
		next, _ = t.(string)
	}
	return next, nil
}

// get asks for a path.
func (c *Client) get(ctx context.Context, path string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the agent (process %d) does not answer: %w", c.pid, err)
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return nil, fmt.Errorf("the agent (process %d) answers %s: %s", c.pid, res.Status, strings.TrimSpace(string(text)))
	}
	return res.Body, nil
}
