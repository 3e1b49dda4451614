package api

import (
	"context"
	"sync"
	"time"

	"logtail/internal/server/auth"
	"logtail/internal/server/catalog"
)

const (
	// directoryTime is how long an object of the catalog is trusted. Changes
	// made through this process are seen at once; with several servers over one
	// catalog, a deletion elsewhere is seen after this time.
	directoryTime = 2 * time.Second
	// directorySize bounds the cache; beyond it, it starts anew.
	directorySize = 10_000
)

// directory finds projects and logstores for the hot path without asking the
// catalog for each request.
type directory struct {
	catalog catalog.Catalog
	auth    *auth.Authenticator
	now     func() time.Time

	mu         sync.Mutex
	generation uint64 // counts changes, so that what was read before one is not kept after it
	projects   map[projectKey]time.Time
	logstores  map[logstoreKey]*logstore
}

// projectKey holds the account, so that a hit is also the proof of ownership.
type projectKey struct{ account, name string }

type logstoreKey struct{ project, name string }

// logstore is a logstore with what a request needs of it.
type logstore struct {
	catalog.Logstore
	shards     []catalog.Shard
	appendMeta bool
	until      time.Time
}

func newDirectory(c catalog.Catalog, a *auth.Authenticator, now func() time.Time) *directory {
	d := &directory{catalog: c, auth: a, now: now}
	d.changed()
	return d
}

// changed forgets everything: an object was made, altered or deleted.
func (d *directory) changed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.generation++
	d.projects = make(map[projectKey]time.Time)
	d.logstores = make(map[logstoreKey]*logstore)
}

// project checks that the project exists and is the caller's; it returns the
// time until which that is trusted.
func (d *directory) project(ctx context.Context, c auth.Caller, name string) (time.Time, error) {
	now, key := d.now(), projectKey{account: c.Account.ID, name: name}
	d.mu.Lock()
	until, generation := d.projects[key], d.generation
	d.mu.Unlock()
	if now.Before(until) {
		return until, nil
	}
	if _, err := d.auth.Project(ctx, c, name); err != nil {
		return time.Time{}, err
	}
	until = now.Add(directoryTime)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.generation == generation {
		if len(d.projects) >= directorySize {
			clear(d.projects)
		}
		d.projects[key] = until
	}
	return until, nil
}

// logstore returns a logstore of a project that was checked before. The result
// is shared: it must not be altered.
func (d *directory) logstore(ctx context.Context, project, name string) (*logstore, error) {
	now, key := d.now(), logstoreKey{project: project, name: name}
	d.mu.Lock()
	l, generation := d.logstores[key], d.generation
	d.mu.Unlock()
	if l != nil && now.Before(l.until) {
		return l, nil
	}
	entry, err := d.catalog.Logstore(ctx, project, name)
	if err != nil {
		return nil, notFound(err, logstoreNotExist(project, name))
	}
	shards, err := d.catalog.Shards(ctx, project, name)
	if err != nil {
		return nil, notFound(err, logstoreNotExist(project, name))
	}
	l = &logstore{Logstore: entry, shards: shards, appendMeta: appendMeta(entry.Settings), until: now.Add(directoryTime)}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.generation == generation {
		if len(d.logstores) >= directorySize {
			clear(d.logstores)
		}
		d.logstores[key] = l
	}
	return l, nil
}

// logstore returns the logstore that the path names.
func (h *Handler) logstore(rq *request) (*logstore, error) {
	return h.dir.logstore(rq.ctx(), rq.project, rq.r.PathValue("logstore"))
}
