package sqlite

import (
	"context"
	"database/sql"
	"time"

	"logtail/internal/server/catalog"
)

// CreateProject implements catalog.Catalog; ErrNotFound without the account.
func (s *store) CreateProject(ctx context.Context, p catalog.Project) error {
	return s.change(ctx, "making project "+p.Name, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO projects (name, account, description, created, modified) VALUES (?, ?, ?, ?, ?)",
			p.Name, p.Account, p.Description, nanos(p.Created), nanos(p.Modified))
		return err
	})
}

const projectColumns = "name, account, description, created, modified"

func scanProject(scan func(...any) error) (p catalog.Project, err error) {
	var created, modified int64
	err = scan(&p.Name, &p.Account, &p.Description, &created, &modified)
	p.Created, p.Modified = instant(created), instant(modified)
	return p, err
}

// Project implements catalog.Catalog.
func (s *store) Project(ctx context.Context, name string) (catalog.Project, error) {
	p, err := scanProject(s.db.QueryRowContext(ctx, "SELECT "+projectColumns+" FROM projects WHERE name = ?", name).Scan)
	if err != nil {
		return catalog.Project{}, s.fail("project "+name, err)
	}
	return p, nil
}

// UpdateProject implements catalog.Catalog; the time of modification is now.
func (s *store) UpdateProject(ctx context.Context, name, description string) error {
	return s.change(ctx, "changing project "+name, func(tx *sql.Tx) error {
		return mustOne(tx.ExecContext(ctx, "UPDATE projects SET description = ?, modified = ? WHERE name = ?",
			description, nanos(time.Now()), name))
	})
}

// Projects implements catalog.Catalog.
func (s *store) Projects(ctx context.Context, account string, page catalog.Page) (list []catalog.Project, total int, err error) {
	const where = " FROM projects WHERE account = ? AND instr(name, ?) > 0"
	err = s.view(ctx, "listing projects", func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT count(*)"+where, account, page.Contains).Scan(&total)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, "SELECT "+projectColumns+where+" ORDER BY name LIMIT ? OFFSET ?",
			account, page.Contains, max(page.Size, 0), max(page.Offset, 0))
		list, err = collect(rows, err, func(r *sql.Rows) (catalog.Project, error) { return scanProject(r.Scan) })
		return err
	})
	return list, total, err
}

// DeleteProject implements catalog.Catalog.
func (s *store) DeleteProject(ctx context.Context, name string) error {
	return s.change(ctx, "deleting project "+name, func(tx *sql.Tx) error {
		var logstores int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM logstores WHERE project = ?", name).Scan(&logstores); err != nil {
			return err
		}
		if logstores > 0 {
			return catalog.ErrNotEmpty
		}
		return mustOne(tx.ExecContext(ctx, "DELETE FROM projects WHERE name = ?", name))
	})
}
