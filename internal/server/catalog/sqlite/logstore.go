package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"logtail/internal/server/catalog"
)

// maxShards is the most shards that SLS gives a logstore.
const maxShards = 256

// CreateLogstore implements catalog.Catalog; ErrNotFound without the project.
func (s *store) CreateLogstore(ctx context.Context, l catalog.Logstore, shards int) error {
	what := "making logstore " + l.Project + "/" + l.Name
	if shards < 1 || shards > maxShards {
		return fmt.Errorf("catalog: %s: %d shards; from 1 to %d are possible", what, shards, maxShards)
	}
	if l.ID == "" {
		return fmt.Errorf("catalog: %s: it has no id", what)
	}
	return s.change(ctx, what, func(tx *sql.Tx) error {
		var used int // an id that is being dropped would take the new data with it
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM dropped WHERE id = ?", l.ID).Scan(&used); err != nil {
			return err
		}
		if used > 0 {
			return catalog.ErrExists
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO logstores (project, name, id, ttl_days, settings, created, modified) VALUES (?, ?, ?, ?, ?, ?, ?)",
			l.Project, l.Name, l.ID, l.TTLDays, text(l.Settings), nanos(l.Created), nanos(l.Modified))
		if err != nil {
			return err
		}
		for i := range shards {
			_, err := tx.ExecContext(ctx, "INSERT INTO shards (logstore, id, writable, begin_key, end_key, created) VALUES (?, ?, 1, ?, ?, ?)",
				l.ID, i, shardKey(i, shards), shardKey(i+1, shards), nanos(l.Created))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// shardKey is where shard i of n begins: i/n of the 128 bits of MD5. The end of
// the last one is written as SLS shows it, and belongs to it.
func shardKey(i, n int) string {
	if i == n {
		return strings.Repeat("f", 32)
	}
	key := big.NewInt(int64(i))
	key.Lsh(key, 128).Div(key, big.NewInt(int64(n)))
	return fmt.Sprintf("%032x", key)
}

// text stores JSON; NULL for none.
func text(j json.RawMessage) sql.NullString {
	return sql.NullString{String: string(j), Valid: j != nil}
}

const logstoreColumns = "project, name, id, ttl_days, settings, created, modified"

func scanLogstore(scan func(...any) error) (l catalog.Logstore, err error) {
	var created, modified int64
	var settings sql.NullString
	err = scan(&l.Project, &l.Name, &l.ID, &l.TTLDays, &settings, &created, &modified)
	if settings.Valid {
		l.Settings = json.RawMessage(settings.String)
	}
	l.Created, l.Modified = instant(created), instant(modified)
	return l, err
}

// Logstore implements catalog.Catalog.
func (s *store) Logstore(ctx context.Context, project, name string) (catalog.Logstore, error) {
	l, err := scanLogstore(s.db.QueryRowContext(ctx, "SELECT "+logstoreColumns+" FROM logstores WHERE project = ? AND name = ?", project, name).Scan)
	if err != nil {
		return catalog.Logstore{}, s.fail("logstore "+project+"/"+name, err)
	}
	return l, nil
}

// UpdateLogstore implements catalog.Catalog: days to live, settings and time of
// modification; the rest of a logstore does not change.
func (s *store) UpdateLogstore(ctx context.Context, l catalog.Logstore) error {
	return s.change(ctx, "changing logstore "+l.Project+"/"+l.Name, func(tx *sql.Tx) error {
		return mustOne(tx.ExecContext(ctx, "UPDATE logstores SET ttl_days = ?, settings = ?, modified = ? WHERE project = ? AND name = ?",
			l.TTLDays, text(l.Settings), nanos(l.Modified), l.Project, l.Name))
	})
}

// Logstores implements catalog.Catalog.
func (s *store) Logstores(ctx context.Context, project string, page catalog.Page) (names []string, total int, err error) {
	const where = " FROM logstores WHERE project = ? AND instr(name, ?) > 0"
	err = s.view(ctx, "listing logstores", func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT count(*)"+where, project, page.Contains).Scan(&total)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, "SELECT name"+where+" ORDER BY name LIMIT ? OFFSET ?",
			project, page.Contains, max(page.Size, 0), max(page.Offset, 0))
		names, err = collect(rows, err, scanString)
		return err
	})
	return names, total, err
}

func scanString(r *sql.Rows) (v string, err error) {
	err = r.Scan(&v)
	return v, err
}

// AllLogstores implements catalog.Catalog; in the order of project and name.
func (s *store) AllLogstores(ctx context.Context) ([]catalog.Logstore, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+logstoreColumns+" FROM logstores ORDER BY project, name")
	all, err := collect(rows, err, func(r *sql.Rows) (catalog.Logstore, error) { return scanLogstore(r.Scan) })
	return all, s.fail("listing all logstores", err)
}

// DeleteLogstore implements catalog.Catalog.
func (s *store) DeleteLogstore(ctx context.Context, project, name string) (l catalog.Logstore, err error) {
	err = s.change(ctx, "deleting logstore "+project+"/"+name, func(tx *sql.Tx) error {
		l, err = scanLogstore(tx.QueryRowContext(ctx, "DELETE FROM logstores WHERE project = ? AND name = ? RETURNING "+logstoreColumns, project, name).Scan)
		if err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO dropped (id) VALUES (?)", l.ID)
		return err
	})
	if err != nil {
		return catalog.Logstore{}, err
	}
	return l, nil
}

// Dropped implements catalog.Catalog.
func (s *store) Dropped(ctx context.Context) ([]string, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id FROM dropped ORDER BY id")
	ids, err := collect(rows, err, scanString)
	return ids, s.fail("listing dropped logstores", err)
}

// ForgetDropped implements catalog.Catalog; again is no error.
func (s *store) ForgetDropped(ctx context.Context, id string) error {
	return s.change(ctx, "forgetting dropped logstore "+id, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM dropped WHERE id = ?", id)
		return err
	})
}

// Shards implements catalog.Catalog; in the order of their ids.
func (s *store) Shards(ctx context.Context, project, logstore string) ([]catalog.Shard, error) {
	what := "shards of logstore " + project + "/" + logstore
	rows, err := s.db.QueryContext(ctx, `SELECT s.id, s.writable, s.begin_key, s.end_key, s.created
		FROM shards s JOIN logstores l ON l.id = s.logstore WHERE l.project = ? AND l.name = ? ORDER BY s.id`, project, logstore)
	all, err := collect(rows, err, func(r *sql.Rows) (sh catalog.Shard, err error) {
		var created int64
		err = r.Scan(&sh.ID, &sh.Writable, &sh.BeginKey, &sh.EndKey, &created)
		sh.Created = instant(created)
		return sh, err
	})
	if err == nil && len(all) == 0 { // every logstore has one
		err = catalog.ErrNotFound
	}
	return all, s.fail(what, err)
}

// CreateIndex implements catalog.Catalog; ErrNotFound without the logstore,
// ErrExists if it has an index.
func (s *store) CreateIndex(ctx context.Context, project, logstore string, index json.RawMessage) error {
	if index == nil {
		return errNoIndex
	}
	return s.change(ctx, "making the index of logstore "+project+"/"+logstore, func(tx *sql.Tx) error {
		return mustOne(tx.ExecContext(ctx, "INSERT INTO index_settings (logstore, settings) SELECT id, ? FROM logstores WHERE project = ? AND name = ?",
			string(index), project, logstore))
	})
}

// errNoIndex refuses to store nothing, which would read as no index.
var errNoIndex = errors.New("catalog: the index settings are empty; delete the index instead")

// Index implements catalog.Catalog.
func (s *store) Index(ctx context.Context, project, logstore string) (json.RawMessage, error) {
	var settings string
	err := s.db.QueryRowContext(ctx, `SELECT i.settings FROM index_settings i JOIN logstores l ON l.id = i.logstore
		WHERE l.project = ? AND l.name = ?`, project, logstore).Scan(&settings)
	if err != nil {
		return nil, s.fail("index of logstore "+project+"/"+logstore, err)
	}
	return json.RawMessage(settings), nil
}

const ofLogstore = " WHERE logstore = (SELECT id FROM logstores WHERE project = ? AND name = ?)"

// UpdateIndex implements catalog.Catalog; ErrNotFound if there is no index.
func (s *store) UpdateIndex(ctx context.Context, project, logstore string, index json.RawMessage) error {
	if index == nil {
		return errNoIndex
	}
	return s.change(ctx, "changing the index of logstore "+project+"/"+logstore, func(tx *sql.Tx) error {
		return mustOne(tx.ExecContext(ctx, "UPDATE index_settings SET settings = ?"+ofLogstore, string(index), project, logstore))
	})
}

// DeleteIndex implements catalog.Catalog; ErrNotFound if there is no index.
func (s *store) DeleteIndex(ctx context.Context, project, logstore string) error {
	return s.change(ctx, "deleting the index of logstore "+project+"/"+logstore, func(tx *sql.Tx) error {
		return mustOne(tx.ExecContext(ctx, "DELETE FROM index_settings"+ofLogstore, project, logstore))
	})
}
