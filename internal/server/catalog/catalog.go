// Package catalog is the seam behind which the small, transactional things are
// kept: accounts, access keys, projects, logstores, shards, index settings.
//
// Engines live in the folders below. Every engine passes the conformance suite
// in catalogtest.
package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Errors of the catalog; test with errors.Is.
var (
	ErrNotFound = errors.New("catalog: not found")
	ErrExists   = errors.New("catalog: exists already")
	ErrNotEmpty = errors.New("catalog: not empty")
)

// Account owns projects; accounts cannot see one another.
type Account struct {
	ID      string
	Name    string
	Admin   bool // may manage accounts
	Created time.Time
}

// AccessKey signs requests for its account.
type AccessKey struct {
	ID       string
	Secret   string // never logged; needed in clear to verify signatures
	Account  string // Account.ID
	Disabled bool
	Created  time.Time
}

// Project is the tenant-level container.
type Project struct {
	Name        string
	Account     string
	Description string
	Created     time.Time
	Modified    time.Time
}

// Logstore is a named log table in a project.
type Logstore struct {
	Project string
	Name    string
	// ID is the incarnation: random, safe as a folder name, never used again.
	ID       string
	TTLDays  int
	Settings json.RawMessage // the other fields of the API's logstore object, as given
	Created  time.Time
	Modified time.Time
}

// Shard is a write partition; it owns the keys [BeginKey, EndKey) of the MD5
// space, 32 hex digits each.
type Shard struct {
	ID       int
	Writable bool
	BeginKey string
	EndKey   string
	Created  time.Time
}

// Page selects part of a list; names are in ascending order.
type Page struct {
	Offset, Size int
	Contains     string // only names that contain this
}

// Catalog keeps the objects; each call is one transaction. Implementations
// are safe for concurrent use.
type Catalog interface {
	CreateAccount(ctx context.Context, a Account, key AccessKey) error
	Accounts(ctx context.Context) ([]Account, error)
	AccessKey(ctx context.Context, id string) (AccessKey, Account, error)

	CreateProject(ctx context.Context, p Project) error
	Project(ctx context.Context, name string) (Project, error)
	UpdateProject(ctx context.Context, name, description string) error
	Projects(ctx context.Context, account string, page Page) (list []Project, total int, err error)
	// DeleteProject fails with ErrNotEmpty while the project has logstores.
	DeleteProject(ctx context.Context, name string) error

	// CreateLogstore makes a logstore with the given number of shards of equal
	// width over the MD5 space.
	CreateLogstore(ctx context.Context, l Logstore, shards int) error
	Logstore(ctx context.Context, project, name string) (Logstore, error)
	UpdateLogstore(ctx context.Context, l Logstore) error
	Logstores(ctx context.Context, project string, page Page) (names []string, total int, err error)
	// AllLogstores lists every logstore of every project, for the start of the service.
	AllLogstores(ctx context.Context) ([]Logstore, error)
	// DeleteLogstore also notes the incarnation as to be dropped, so that a
	// crash before its data is gone is finished later.
	DeleteLogstore(ctx context.Context, project, name string) (Logstore, error)
	// Dropped lists incarnations whose data has still to be deleted;
	// ForgetDropped ends that.
	Dropped(ctx context.Context) ([]string, error)
	ForgetDropped(ctx context.Context, id string) error

	Shards(ctx context.Context, project, logstore string) ([]Shard, error)

	// Index settings are the API's JSON object; ErrNotFound if there are none.
	CreateIndex(ctx context.Context, project, logstore string, index json.RawMessage) error
	Index(ctx context.Context, project, logstore string) (json.RawMessage, error)
	UpdateIndex(ctx context.Context, project, logstore string, index json.RawMessage) error
	DeleteIndex(ctx context.Context, project, logstore string) error

	Close() error
}
