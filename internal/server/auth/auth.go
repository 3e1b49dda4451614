// Package auth decides who sent a request and what they may see. Every request
// is signed with an access key; the key belongs to an account, and an account
// sees its own projects and nothing else.
package auth

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"logtail/internal/server/catalog"
	"logtail/internal/sls"
)

const (
	// DefaultSkew is how far a client's clock may differ, as SLS documents it.
	DefaultSkew = 15 * time.Minute
	// DefaultCacheTime is how long a key that was looked up is trusted: as long
	// may a key work after it was disabled.
	DefaultCacheTime = 5 * time.Second

	// maxCached bounds the cache; only keys that exist get into it.
	maxCached = 10_000
)

// Catalog is what the authenticator reads; catalog.Catalog has it.
type Catalog interface {
	AccessKey(ctx context.Context, id string) (catalog.AccessKey, catalog.Account, error)
	Project(ctx context.Context, name string) (catalog.Project, error)
}

// Options of an Authenticator; zero values mean the defaults.
type Options struct {
	Now       func() time.Time // time.Now
	Skew      time.Duration    // DefaultSkew
	CacheTime time.Duration    // DefaultCacheTime; negative: no cache
}

// Authenticator verifies signatures against the catalog's access keys. It is
// safe for concurrent use.
type Authenticator struct {
	catalog Catalog
	opts    Options

	mu   sync.Mutex
	keys map[string]cachedKey
}

type cachedKey struct {
	key     catalog.AccessKey
	account catalog.Account
	until   time.Time
}

// New returns an authenticator over the catalog.
func New(c Catalog, o Options) *Authenticator {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Skew == 0 {
		o.Skew = DefaultSkew
	}
	if o.CacheTime == 0 {
		o.CacheTime = DefaultCacheTime
	}
	return &Authenticator{catalog: c, opts: o, keys: make(map[string]cachedKey)}
}

// Caller is who signed a request.
type Caller struct {
	Account     catalog.Account
	AccessKeyID string
}

// Verify checks date and signature of a request, before its body is read: a body
// is only kept in memory for somebody who knows the secret of a key. The
// caller has to be held against the body with VerifyBody of what is returned.
// Errors are *sls.Error, with the codes of SLS.
func (a *Authenticator) Verify(r *http.Request) (Caller, *sls.Signed, error) {
	var caller Caller
	var disabled bool
	var failed error
	signed, err := sls.VerifyHead(r, func(ctx context.Context, id string) (string, error) {
		key, account, err := a.lookup(ctx, id)
		if err != nil {
			failed = err
			return "", err
		}
		caller, disabled = Caller{Account: account, AccessKeyID: key.ID}, key.Disabled
		return key.Secret, nil
	}, a.opts.Now(), a.opts.Skew)
	switch {
	case failed != nil: // sls.VerifyHead would keep the answer and lose the cause
		return Caller{}, nil, failed
	case err != nil:
		if _, ok := sls.AsError(err); ok {
			return Caller{}, nil, err
		}
		return Caller{}, nil, internal("verify the signature", err)
	case signed == nil || caller.AccessKeyID == "" || caller.AccessKeyID != signed.AccessKeyID || caller.Account.ID == "":
		// VerifyHead has to ask for the key; should it ever not, nobody gets in.
		return Caller{}, nil, sls.NewError(sls.CodeUnauthorized, "the request is not signed; sign it with an access key of the service")
	case disabled:
		return Caller{}, nil, sls.NewError(sls.CodeUnauthorized, "the access key %s is disabled; use another one", caller.AccessKeyID)
	}
	return caller, signed, nil
}

// Project returns the caller's project. One of another account is answered
// exactly as one that does not exist.
func (a *Authenticator) Project(ctx context.Context, c Caller, name string) (catalog.Project, error) {
	p, err := a.catalog.Project(ctx, name)
	if err == nil && p.Account == c.Account.ID {
		return p, nil
	}
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		return catalog.Project{}, err
	}
	return catalog.Project{}, ProjectNotExist(name)
}

// ProjectNotExist is the answer for a project that does not exist, or that
// the caller must not know to exist.
func ProjectNotExist(name string) *sls.Error {
	return sls.NewError(sls.CodeProjectNotExist,
		"the project %q does not exist; create it first, or check the host name or the header x-log-project, which name the project", name)
}

// lookup finds a key, from the cache if it was found a moment ago. Keys that do
// not exist are not cached: they cost one read of the catalog.
func (a *Authenticator) lookup(ctx context.Context, id string) (catalog.AccessKey, catalog.Account, error) {
	now := a.opts.Now()
	a.mu.Lock()
	e, ok := a.keys[id]
	a.mu.Unlock()
	if ok && now.Before(e.until) {
		return e.key, e.account, nil
	}
	key, account, err := a.catalog.AccessKey(ctx, id)
	if errors.Is(err, catalog.ErrNotFound) {
		return key, account, sls.NewError(sls.CodeUnauthorized, "the access key id %q is not known; check the access key", id)
	}
	if err != nil {
		return key, account, internal("look up the access key", err)
	}
	if a.opts.CacheTime > 0 {
		a.mu.Lock()
		if len(a.keys) >= maxCached {
			clear(a.keys)
		}
		a.keys[id] = cachedKey{key: key, account: account, until: now.Add(a.opts.CacheTime)}
		a.mu.Unlock()
	}
	return key, account, nil
}

// internalError keeps the cause for the log while the client is told nothing of it.
type internalError struct {
	answer *sls.Error
	what   string
	cause  error
}

func internal(what string, cause error) error {
	return &internalError{
		answer: sls.NewError(sls.CodeInternalServerError, "the service could not %s; try again later", what),
		what:   what, cause: cause,
	}
}

func (e *internalError) Error() string   { return "cannot " + e.what + ": " + e.cause.Error() }
func (e *internalError) Unwrap() []error { return []error{e.answer, e.cause} }
