package sls

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// ListShards returns the shards of a logstore.
func (c *Client) ListShards(ctx context.Context, project, logstore string) ([]Shard, error) {
	var out []Shard
	_, err := c.callJSON(ctx, call{method: http.MethodGet, project: project, path: logstorePath(logstore, "/shards")}, nil, &out)
	return out, err
}

// CreateProject makes a project. The code is ProjectAlreadyExist if there is
// one of that name.
func (c *Client) CreateProject(ctx context.Context, project, description string) error {
	in := struct {
		Name        string `json:"projectName"`
		Description string `json:"description"`
	}{project, description}
	_, err := c.callJSON(ctx, call{method: http.MethodPost, project: project, path: "/"}, in, nil)
	return err
}

// GetProject describes a project.
func (c *Client) GetProject(ctx context.Context, project string) (*Project, error) {
	var out Project
	if _, err := c.callJSON(ctx, call{method: http.MethodGet, project: project, path: "/"}, nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// ListProjects returns a page of the projects of the access key's account.
func (c *Client) ListProjects(ctx context.Context, offset, size int) (*ProjectList, error) {
	var out ProjectList
	if _, err := c.callJSON(ctx, call{method: http.MethodGet, bare: true, path: "/", query: page(offset, size)}, nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// DeleteProject deletes a project.
func (c *Client) DeleteProject(ctx context.Context, project string) error {
	_, err := c.callJSON(ctx, call{method: http.MethodDelete, project: project, path: "/"}, nil, nil)
	return err
}

// CreateLogstore makes a logstore; its name, TTL and ShardCount are needed.
// The code is LogStoreAlreadyExist if there is one of that name.
func (c *Client) CreateLogstore(ctx context.Context, project string, l Logstore) error {
	_, err := c.callJSON(ctx, call{method: http.MethodPost, project: project, path: "/logstores"}, l, nil)
	return err
}

// GetLogstore describes a logstore.
func (c *Client) GetLogstore(ctx context.Context, project, logstore string) (*Logstore, error) {
	var out Logstore
	if _, err := c.callJSON(ctx, call{method: http.MethodGet, project: project, path: logstorePath(logstore, "")}, nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// UpdateLogstore changes the settings of the logstore l.Name.
func (c *Client) UpdateLogstore(ctx context.Context, project string, l Logstore) error {
	_, err := c.callJSON(ctx, call{method: http.MethodPut, project: project, path: logstorePath(l.Name, "")}, l, nil)
	return err
}

// ListLogstores returns a page of the names of a project's logstores.
func (c *Client) ListLogstores(ctx context.Context, project string, offset, size int) (*LogstoreList, error) {
	var out LogstoreList
	k := call{method: http.MethodGet, project: project, path: "/logstores", query: page(offset, size)}
	if _, err := c.callJSON(ctx, k, nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// DeleteLogstore deletes a logstore with all its logs.
func (c *Client) DeleteLogstore(ctx context.Context, project, logstore string) error {
	_, err := c.callJSON(ctx, call{method: http.MethodDelete, project: project, path: logstorePath(logstore, "")}, nil, nil)
	return err
}

// CreateIndex makes the index settings of a logstore. The code is
// IndexAlreadyExist if there are some.
func (c *Client) CreateIndex(ctx context.Context, project, logstore string, ix *Index) error {
	return c.putIndex(ctx, http.MethodPost, project, logstore, ix)
}

// UpdateIndex replaces the index settings of a logstore.
func (c *Client) UpdateIndex(ctx context.Context, project, logstore string, ix *Index) error {
	return c.putIndex(ctx, http.MethodPut, project, logstore, ix)
}

func (c *Client) putIndex(ctx context.Context, method, project, logstore string, ix *Index) error {
	_, err := c.callJSON(ctx, call{method: method, project: project, path: logstorePath(logstore, "/index")}, ix, nil)
	return err
}

// GetIndex returns the index settings of a logstore. The code is
// IndexConfigNotExist if there are none.
func (c *Client) GetIndex(ctx context.Context, project, logstore string) (*Index, error) {
	var out Index
	if _, err := c.callJSON(ctx, call{method: http.MethodGet, project: project, path: logstorePath(logstore, "/index")}, nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// DeleteIndex deletes the index settings of a logstore.
func (c *Client) DeleteIndex(ctx context.Context, project, logstore string) error {
	_, err := c.callJSON(ctx, call{method: http.MethodDelete, project: project, path: logstorePath(logstore, "/index")}, nil, nil)
	return err
}

func page(offset, size int) url.Values {
	return url.Values{"offset": {strconv.Itoa(offset)}, "size": {strconv.Itoa(size)}}
}
