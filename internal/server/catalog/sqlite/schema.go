package sqlite

import (
	"context"
	"database/sql"
	"fmt"
)

// applicationID marks the file as a catalog (PRAGMA application_id): "ltca".
const applicationID = 0x6c746361

// migrations make the schema; the number of those applied is the version of
// the file (PRAGMA user_version). A released one is never changed.
var migrations = []string{
	`
CREATE TABLE accounts (
	id      TEXT NOT NULL PRIMARY KEY,
	name    TEXT NOT NULL,
	admin   INTEGER NOT NULL,
	created INTEGER NOT NULL -- all times are unix nanoseconds, 0 for none
) STRICT, WITHOUT ROWID;

CREATE TABLE access_keys (
	id       TEXT NOT NULL PRIMARY KEY,
	secret   TEXT NOT NULL,
	account  TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	disabled INTEGER NOT NULL,
	created  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX access_keys_account ON access_keys (account);

CREATE TABLE projects (
	name        TEXT NOT NULL PRIMARY KEY,
	account     TEXT NOT NULL REFERENCES accounts (id),
	description TEXT NOT NULL,
	created     INTEGER NOT NULL,
	modified    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX projects_account ON projects (account, name);

CREATE TABLE logstores (
	project  TEXT NOT NULL REFERENCES projects (name),
	name     TEXT NOT NULL,
	id       TEXT NOT NULL UNIQUE,
	ttl_days INTEGER NOT NULL,
	settings TEXT,
	created  INTEGER NOT NULL,
	modified INTEGER NOT NULL,
	PRIMARY KEY (project, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE shards (
	logstore  TEXT NOT NULL REFERENCES logstores (id) ON DELETE CASCADE,
	id        INTEGER NOT NULL,
	writable  INTEGER NOT NULL,
	begin_key TEXT NOT NULL,
	end_key   TEXT NOT NULL,
	created   INTEGER NOT NULL,
	PRIMARY KEY (logstore, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE index_settings (
	logstore TEXT NOT NULL PRIMARY KEY REFERENCES logstores (id) ON DELETE CASCADE,
	settings TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dropped (
	id TEXT NOT NULL PRIMARY KEY -- of a logstore whose data is still to be deleted
) STRICT, WITHOUT ROWID;
`,
}

// migrate brings the file to the version of this program.
func (s *store) migrate(ctx context.Context) error {
	return s.change(ctx, "opening", func(tx *sql.Tx) error {
		var version, app, tables int
		if err := tx.QueryRowContext(ctx, "SELECT user_version FROM pragma_user_version").Scan(&version); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, "SELECT application_id FROM pragma_application_id").Scan(&app); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
			return err
		}
		if app != applicationID && (version > 0 || tables > 0) {
			return fmt.Errorf("%s is the database of another program", s.path)
		}
		if version > len(migrations) {
			return fmt.Errorf("%s has schema version %d, and this program knows versions up to %d: run the newer program that wrote it",
				s.path, version, len(migrations))
		}
		for ; version < len(migrations); version++ {
			if _, err := tx.ExecContext(ctx, migrations[version]); err != nil {
				return fmt.Errorf("migrating the schema to version %d: %w", version+1, err)
			}
			// Pragmas take no parameters; both numbers are ours.
			set := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version+1)
			if _, err := tx.ExecContext(ctx, set); err != nil {
				return err
			}
		}
		return nil
	})
}
