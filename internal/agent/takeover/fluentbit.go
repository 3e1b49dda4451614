package takeover

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/zeebo/xxh3"
	_ "modernc.org/sqlite" // the driver
)

// Fluent Bit's tail input keeps its places in an SQLite database, the DB of its
// configuration, in the table
//
//	in_tail_files (id, name, offset, inode, created, rotated, offset_marker, offset_marker_size)
//
// where the last two, since version 5, are a hash (XXH3) of the up to 32 bytes
// before the offset. It has no device numbers; of several rows with an inode the newest counts.

// maxMarker is how many bytes before an offset a marker covers at most.
const maxMarker = 32

// readFluentBit reads a database. It is copied first, so that nothing of it
// changes: opening one that was not closed repairs it.
func readFluentBit(path string) (*Found, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("Fluent Bit's database: %w; name the file that DB says in the configuration of its tail input", err) //nolint:staticcheck // a name
	} else if info.IsDir() {
		return nil, fmt.Errorf("%s is a folder; name the file that DB says in the configuration of Fluent Bit's tail input", path)
	}
	dir, err := os.MkdirTemp("", "logtail-takeover-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for _, suffix := range []string{"", "-wal", "-journal"} {
		if err := copyFile(path+suffix, filepath.Join(dir, "db"+suffix)); err != nil && (suffix == "" || !errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
	}
	found, err := queryFluentBit(filepath.Join(dir, "db"))
	if err != nil {
		return nil, fmt.Errorf("%s is not a database of Fluent Bit's tail input: %w; name the file that DB says in its configuration, and stop Fluent Bit first", path, err)
	}
	return found, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, maxInput))
	return errors.Join(err, out.Close())
}

func queryFluentBit(path string) (*Found, error) {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(path)}).EscapedPath())
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	var report string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&report); err != nil {
		return nil, err
	} else if report != "ok" {
		return nil, fmt.Errorf("it is damaged: %s", report)
	}
	columns := "name, offset, inode, 0, 0"
	if ok, err := hasColumn(ctx, db, "offset_marker_size"); err != nil {
		return nil, err
	} else if ok {
		columns = "name, offset, inode, offset_marker, offset_marker_size"
	}
	rows, err := db.QueryContext(ctx, "SELECT id, "+columns+" FROM in_tail_files ORDER BY id DESC")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	found, seen := &Found{}, map[uint64]bool{}
	for rows.Next() {
		var (
			id                          int64
			name                        sql.NullString
			offset, inode, marker, size sql.NullInt64
		)
		switch err := rows.Scan(&id, &name, &offset, &inode, &marker, &size); {
		case err != nil:
			found.unreadable("row %d of in_tail_files cannot be read: %v", id, err)
		case name.String == "" || !offset.Valid || offset.Int64 < 0 || inode.Int64 == 0:
			found.unreadable("row %d of in_tail_files makes no sense: file %q, offset %d, inode %d", id, name.String, offset.Int64, inode.Int64)
		case !seen[uint64(inode.Int64)]:
			seen[uint64(inode.Int64)] = true
			p := Place{Path: name.String, Inode: uint64(inode.Int64), Offset: uint64(offset.Int64)}
			if n := size.Int64; n > 0 && n <= maxMarker {
				p.Content = markerIs(p.Offset, uint64(marker.Int64), int(n))
			}
			found.Places = append(found.Places, p)
		}
	}
	return found, rows.Err()
}

func hasColumn(ctx context.Context, db *sql.DB, name string) (bool, error) {
	var n int
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM pragma_table_info('in_tail_files') WHERE lower(name) = ?", strings.ToLower(name)).Scan(&n)
	return n > 0, err
}

// markerIs compares the n bytes before an offset.
func markerIs(offset, hash uint64, n int) func(io.ReaderAt, int64) Match {
	return func(f io.ReaderAt, size int64) Match {
		if uint64(n) > offset || offset > uint64(max(size, 0)) {
			return No
		}
		b := make([]byte, n)
		if m, _ := f.ReadAt(b, int64(offset)-int64(n)); m < n || xxh3.Hash(b) != hash {
			return No
		}
		return Yes
	}
}
