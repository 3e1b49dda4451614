// Package sqlite is the embedded engine of the catalog: one SQLite file, in WAL
// mode, synced with every change.
//
// The file holds the secrets of access keys in clear, which the signatures of
// SLS need, so it and its companions can only be read by their owner.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"logtail/internal/server/catalog"
)

const (
	// busyTimeout is how long a call waits for another process, such as a
	// backup, that has the file.
	busyTimeout = 10 * time.Second
	// maxConns bounds the connections, at about 2 MB of page cache each; the
	// hot path of the service caches what it reads.
	maxConns = 4
)

// store implements catalog.Catalog.
type store struct {
	db   *sql.DB
	path string
	// writing holds a token while a change is made: changes of this process
	// take turns here and not by polling the file's lock.
	writing chan struct{}
}

// Open opens the catalog in a file, making it and its folder if need be. A
// file that a newer program wrote is refused.
func Open(path string) (catalog.Catalog, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	if err := prepare(abs); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(abs))
	if err != nil {
		return nil, fmt.Errorf("catalog: opening %s: %w", abs, err)
	}
	db.SetMaxOpenConns(maxConns)
	s := &store{db: db, path: abs, writing: make(chan struct{}, 1)}
	if err := s.migrate(context.Background()); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// prepare makes the file, so that it is never readable by others: SQLite gives
// its companions -wal and -shm the mode of the file.
func prepare(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	for _, p := range []string{path, path + "-wal", path + "-shm"} {
		stat, err := os.Stat(p)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if stat.Mode().Perm()&0o077 != 0 { // as a copy from elsewhere may be
			if err := os.Chmod(p, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// dsn is the data source name, in which the path may hold any character.
func dsn(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // C:/...
		path = "/" + path
	}
	u := url.URL{Scheme: "file", Path: path}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"foreign_keys(1)",
		"trusted_schema(0)",
	}}
	u.RawQuery = q.Encode()
	return u.String()
}

// Close implements catalog.Catalog.
func (s *store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("catalog: closing %s: %w", s.path, err)
	}
	return nil
}

// change runs f in a transaction that writes. What the error says begins with
// what was tried.
func (s *store) change(ctx context.Context, what string, f func(*sql.Tx) error) error {
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-ctx.Done():
		return s.fail(what, ctx.Err())
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return s.fail(what, err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	if err := f(tx); err != nil {
		return s.fail(what, err)
	}
	return s.fail(what, tx.Commit())
}

// view runs f in a transaction that sees one state of the catalog.
func (s *store) view(ctx context.Context, what string, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return s.fail(what, err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return s.fail(what, f(tx))
}

// fail says what was tried and, for what an operator can mend, how. Errors of
// SQLite name tables and columns, never their values.
func (s *store) fail(what string, err error) error {
	if err == nil {
		return nil
	}
	for _, own := range []error{catalog.ErrNotFound, catalog.ErrExists, catalog.ErrNotEmpty} {
		if errors.Is(err, own) {
			return fmt.Errorf("%w: %s", own, what)
		}
	}
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: %s", catalog.ErrNotFound, what)
	}
	var e *driver.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("catalog: %s: %w", what, err)
	}
	switch e.Code() {
	case lib.SQLITE_CONSTRAINT_UNIQUE, lib.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w: %s", catalog.ErrExists, what)
	case lib.SQLITE_CONSTRAINT_FOREIGNKEY: // what it should belong to
		return fmt.Errorf("%w: %s: what it belongs to", catalog.ErrNotFound, what)
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_FULL:
		return fmt.Errorf("catalog: %s: the disk of %s is full; it goes on when there is room: %w", what, s.path, err)
	case lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM:
		return fmt.Errorf("catalog: %s: %s cannot be written; check the permissions of the file and its folder, and that the file system is not mounted read-only: %w", what, s.path, err)
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return fmt.Errorf("catalog: %s: another process has kept %s locked for %v: %w", what, s.path, busyTimeout, err)
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return fmt.Errorf("catalog: %s: %s is damaged or no catalog; restore it from a copy: %w", what, s.path, err)
	}
	return fmt.Errorf("catalog: %s: %s: %w", what, s.path, err)
}

// nanos and instant store a time; the zero time is 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// mustOne turns "no row changed" into ErrNotFound.
func mustOne(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err == nil && n == 0 {
		err = catalog.ErrNotFound
	}
	return err
}

// collect reads all rows.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells of what went wrong
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
