package sqlite

import (
	"context"
	"database/sql"

	"logtail/internal/server/catalog"
)

// CreateAccount implements catalog.Catalog. The key belongs to the account,
// whatever it says.
func (s *store) CreateAccount(ctx context.Context, a catalog.Account, key catalog.AccessKey) error {
	return s.change(ctx, "making account "+a.ID, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO accounts (id, name, admin, created) VALUES (?, ?, ?, ?)",
			a.ID, a.Name, a.Admin, nanos(a.Created))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO access_keys (id, secret, account, disabled, created) VALUES (?, ?, ?, ?, ?)",
			key.ID, key.Secret, a.ID, key.Disabled, nanos(key.Created))
		return err
	})
}

// Accounts implements catalog.Catalog; in the order of their ids.
func (s *store) Accounts(ctx context.Context) ([]catalog.Account, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, name, admin, created FROM accounts ORDER BY id")
	all, err := collect(rows, err, func(r *sql.Rows) (a catalog.Account, err error) {
		var created int64
		err = r.Scan(&a.ID, &a.Name, &a.Admin, &created)
		a.Created = instant(created)
		return a, err
	})
	return all, s.fail("listing accounts", err)
}

// AccessKey implements catalog.Catalog. Disabled keys are found too.
func (s *store) AccessKey(ctx context.Context, id string) (catalog.AccessKey, catalog.Account, error) {
	k, a := catalog.AccessKey{ID: id}, catalog.Account{}
	var keyCreated, accountCreated int64
	err := s.db.QueryRowContext(ctx, `SELECT k.secret, k.account, k.disabled, k.created, a.id, a.name, a.admin, a.created
		FROM access_keys k JOIN accounts a ON a.id = k.account WHERE k.id = ?`, id).
		Scan(&k.Secret, &k.Account, &k.Disabled, &keyCreated, &a.ID, &a.Name, &a.Admin, &accountCreated)
	if err != nil {
		return catalog.AccessKey{}, catalog.Account{}, s.fail("finding an access key", err)
	}
	k.Created, a.Created = instant(keyCreated), instant(accountCreated)
	return k, a, nil
}
