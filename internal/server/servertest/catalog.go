package servertest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"

	"logtail/internal/server/catalog"
)

// Catalog is a catalog.Catalog in memory.
type Catalog struct {
	mu       sync.Mutex
	accounts map[string]catalog.Account
	keys     map[string]catalog.AccessKey
	projects map[string]catalog.Project
	stores   map[[2]string]*store
	dropped  map[string]bool
	fail     error
}

type store struct {
	catalog.Logstore
	shards []catalog.Shard
	index  json.RawMessage
}

// NewCatalog returns an empty catalog.
func NewCatalog() *Catalog {
	return &Catalog{
		accounts: make(map[string]catalog.Account), keys: make(map[string]catalog.AccessKey),
		projects: make(map[string]catalog.Project), stores: make(map[[2]string]*store), dropped: make(map[string]bool),
	}
}

// Fail makes the reads of projects and keys fail with err until it is called
// with nil.
func (c *Catalog) Fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

// DisableKey disables an access key.
func (c *Catalog) DisableKey(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[id]
	k.Disabled = true
	c.keys[id] = k
}

// CreateAccount makes an account with a key.
func (c *Catalog) CreateAccount(_ context.Context, a catalog.Account, key catalog.AccessKey) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.accounts[a.ID]; ok {
		return catalog.ErrExists
	}
	c.accounts[a.ID] = a
	key.Account = a.ID
	c.keys[key.ID] = key
	return nil
}

// Accounts lists the accounts.
func (c *Catalog) Accounts(context.Context) ([]catalog.Account, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.accounts)), nil
}

// AccessKey finds a key.
func (c *Catalog) AccessKey(_ context.Context, id string) (catalog.AccessKey, catalog.Account, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.keys[id]
	if c.fail != nil {
		return k, catalog.Account{}, c.fail
	}
	if !ok {
		return k, catalog.Account{}, catalog.ErrNotFound
	}
	return k, c.accounts[k.Account], nil
}

// CreateProject makes a project.
func (c *Catalog) CreateProject(_ context.Context, p catalog.Project) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.projects[p.Name]; ok {
		return catalog.ErrExists
	}
	c.projects[p.Name] = p
	return nil
}

// Project finds a project.
func (c *Catalog) Project(_ context.Context, name string) (catalog.Project, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return catalog.Project{}, c.fail
	}
	p, ok := c.projects[name]
	if !ok {
		return p, catalog.ErrNotFound
	}
	return p, nil
}

// UpdateProject changes the description.
func (c *Catalog) UpdateProject(_ context.Context, name, description string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.projects[name]
	if !ok {
		return catalog.ErrNotFound
	}
	p.Description = description
	c.projects[name] = p
	return nil
}

// Projects lists the projects of an account.
func (c *Catalog) Projects(_ context.Context, account string, page catalog.Page) ([]catalog.Project, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []catalog.Project
	for _, name := range slices.Sorted(maps.Keys(c.projects)) {
		if p := c.projects[name]; p.Account == account && strings.Contains(name, page.Contains) {
			all = append(all, p)
		}
	}
	return cut(all, page), len(all), nil
}

func cut[T any](all []T, page catalog.Page) []T {
	all = all[min(page.Offset, len(all)):]
	return all[:min(page.Size, len(all))]
}

// DeleteProject deletes an empty project.
func (c *Catalog) DeleteProject(_ context.Context, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.projects[name]; !ok {
		return catalog.ErrNotFound
	}
	for key := range c.stores {
		if key[0] == name {
			return catalog.ErrNotEmpty
		}
	}
	delete(c.projects, name)
	return nil
}

// CreateLogstore makes a logstore with shards of equal width.
func (c *Catalog) CreateLogstore(_ context.Context, l catalog.Logstore, shards int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := [2]string{l.Project, l.Name}
	if _, ok := c.projects[l.Project]; !ok {
		return catalog.ErrNotFound
	}
	if c.stores[key] != nil {
		return catalog.ErrExists
	}
	s := &store{Logstore: l}
	space := new(big.Int).Lsh(big.NewInt(1), 128)
	at := func(i int) string {
		if i == shards {
			return strings.Repeat("f", 32)
		}
		n := new(big.Int).Mul(space, big.NewInt(int64(i)))
		return fmt.Sprintf("%032x", n.Div(n, big.NewInt(int64(shards))))
	}
	for i := range shards {
		s.shards = append(s.shards, catalog.Shard{ID: i, Writable: true, BeginKey: at(i), EndKey: at(i + 1), Created: l.Created})
	}
	c.stores[key] = s
	return nil
}

func (c *Catalog) store(project, name string) (*store, error) {
	s := c.stores[[2]string{project, name}]
	if s == nil {
		return nil, catalog.ErrNotFound
	}
	return s, nil
}

// Logstore finds a logstore.
func (c *Catalog) Logstore(_ context.Context, project, name string) (catalog.Logstore, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.store(project, name)
	if err != nil {
		return catalog.Logstore{}, err
	}
	return s.Logstore, nil
}

// UpdateLogstore changes a logstore.
func (c *Catalog) UpdateLogstore(_ context.Context, l catalog.Logstore) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.store(l.Project, l.Name)
	if err != nil {
		return err
	}
	s.Logstore = l
	return nil
}

// Logstores lists the logstores of a project.
func (c *Catalog) Logstores(_ context.Context, project string, page catalog.Page) ([]string, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for key := range c.stores {
		if key[0] == project && strings.Contains(key[1], page.Contains) {
			all = append(all, key[1])
		}
	}
	slices.Sort(all)
	return cut(all, page), len(all), nil
}

// AllLogstores lists all logstores.
func (c *Catalog) AllLogstores(context.Context) ([]catalog.Logstore, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []catalog.Logstore
	for _, s := range c.stores {
		all = append(all, s.Logstore)
	}
	return all, nil
}

// DeleteLogstore deletes a logstore and notes its incarnation.
func (c *Catalog) DeleteLogstore(_ context.Context, project, name string) (catalog.Logstore, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.store(project, name)
	if err != nil {
		return catalog.Logstore{}, err
	}
	delete(c.stores, [2]string{project, name})
	c.dropped[s.ID] = true
	return s.Logstore, nil
}

// Dropped lists incarnations to be dropped.
func (c *Catalog) Dropped(context.Context) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.dropped)), nil
}

// ForgetDropped forgets one.
func (c *Catalog) ForgetDropped(_ context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.dropped, id)
	return nil
}

// Shards lists the shards of a logstore.
func (c *Catalog) Shards(_ context.Context, project, logstore string) ([]catalog.Shard, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.store(project, logstore)
	if err != nil {
		return nil, err
	}
	return slices.Clone(s.shards), nil
}

// CreateIndex sets the index of a logstore that has none.
func (c *Catalog) CreateIndex(_ context.Context, project, logstore string, index json.RawMessage) error {
	return c.setIndex(project, logstore, index, false)
}

// UpdateIndex sets the index of a logstore that has one.
func (c *Catalog) UpdateIndex(_ context.Context, project, logstore string, index json.RawMessage) error {
	return c.setIndex(project, logstore, index, true)
}

// DeleteIndex deletes it.
func (c *Catalog) DeleteIndex(_ context.Context, project, logstore string) error {
	return c.setIndex(project, logstore, nil, true)
}

func (c *Catalog) setIndex(project, logstore string, index json.RawMessage, has bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.store(project, logstore)
	switch {
	case err != nil:
		return err
	case has && s.index == nil:
		return catalog.ErrNotFound
	case !has && s.index != nil:
		return catalog.ErrExists
	}
	s.index = slices.Clone(index)
	return nil
}

// Index returns it.
func (c *Catalog) Index(_ context.Context, project, logstore string) (json.RawMessage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.store(project, logstore)
	if err != nil {
		return nil, err
	}
	if s.index == nil {
		return nil, catalog.ErrNotFound
	}
	return slices.Clone(s.index), nil
}

// Close does nothing.
func (c *Catalog) Close() error { return nil }
