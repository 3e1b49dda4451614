package sqlite

import (
	"context"
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"logtail/internal/server/catalog"
	"logtail/internal/server/catalog/catalogtest"
)

func TestConformance(t *testing.T) {
	catalogtest.Run(t, func(dir string) (catalog.Catalog, error) {
		return Open(filepath.Join(dir, "catalog.db"))
	})
}

func mustOpen(t *testing.T, path string) *store {
	t.Helper()
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*store)
}

func addAccount(t *testing.T, c catalog.Catalog, id string) error {
	t.Helper()
	return c.CreateAccount(context.Background(), catalog.Account{ID: id}, catalog.AccessKey{ID: "key-" + id, Secret: "s"})
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no modes")
	}
	for _, existed := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "data")
		path := filepath.Join(dir, "catalog.db")
		if existed {
			c := mustOpen(t, path)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c := mustOpen(t, path)
		if err := addAccount(t, c, "a"); err != nil {
			t.Fatal(err)
		}
		files := 0
		err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			files++
			if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[e.IsDir()]; info.Mode().Perm() != want {
				t.Errorf("%s has the mode %v, want %v", p, info.Mode(), want)
			}
			return nil
		})
		if err != nil || files != 4 { // folder, file, -wal, -shm
			t.Errorf("%d files, %v", files, err)
		}
	}
}

func TestPathMayHoldAnyCharacter(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows allows few characters")
	}
	for _, name := range []string{"a b.db", "50%25.db", "who?.db", "x#y.db", "日志&q=1.db"} {
		path := filepath.Join(t.TempDir(), name)
		if err := addAccount(t, mustOpen(t, path), "a"); err != nil {
			t.Fatal(err)
		}
		if stat, err := os.Stat(path); err != nil || stat.Size() == 0 {
			t.Errorf("%s was not used: %v", path, err)
		}
	}
}

func TestSettingsOfEveryConnection(t *testing.T) {
	c := mustOpen(t, filepath.Join(t.TempDir(), "c.db"))
	var conns []*sql.Conn
	for range maxConns {
		conn, err := c.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		for pragma, want := range map[string]string{
			"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000",
		} {
			var got string
			if err := conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, %v; want %q", pragma, got, err, want)
			}
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRefusesWhatItDoesNotKnow(t *testing.T) {
	exec := func(t *testing.T, path, statement string) {
		t.Helper()
		db, err := sql.Open("sqlite", dsn(path))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"newer schema": {func(t *testing.T, path string) {
			if err := mustOpen(t, path).Close(); err != nil {
				t.Fatal(err)
			}
			exec(t, path, "PRAGMA user_version = 99")
		}, "schema version 99"},
		"another database": {func(t *testing.T, path string) {
			exec(t, path, "CREATE TABLE mine (x)")
		}, "another program"},
		"no database": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("text ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "no catalog"},
		"a folder": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.db")
			c.make(t, path)
			_, err := Open(path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want an error with %q and the path", err, c.want)
			}
		})
	}
}

// TestFullAndReadOnly uses SQLite's own limits, which give the errors of a full
// and of a read-only disk.
func TestFullAndReadOnly(t *testing.T) {
	for name, c := range map[string]struct{ set, heal, want string }{
		"full":      {"PRAGMA max_page_count = 1", "PRAGMA max_page_count = 100000", "is full"},
		"read-only": {"PRAGMA query_only = 1", "PRAGMA query_only = 0", "cannot be written"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.db")
			s := mustOpen(t, path)
			s.db.SetMaxOpenConns(1)
			if err := addAccount(t, s, "a"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.db.ExecContext(t.Context(), c.set); err != nil {
				t.Fatal(err)
			}
			var err error
			stored := 0
			for i := range 1000 { // until the pages that there are are full
				if err = addAccount(t, s, strings.Repeat("x", 200)+string(rune('a'+i))); err != nil {
					break
				}
				stored++
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want an error with %q and the path", err, c.want)
			}
			if all, err := s.Accounts(t.Context()); err != nil || len(all) != stored+1 {
				t.Errorf("%d accounts, %v; want %d", len(all), err, stored+1)
			}
			if _, err := s.db.ExecContext(t.Context(), c.heal); err != nil {
				t.Fatal(err)
			}
			if err := addAccount(t, s, "after"); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func BenchmarkAccessKey(b *testing.B) {
	c, err := Open(filepath.Join(b.TempDir(), "c.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.CreateAccount(b.Context(), catalog.Account{ID: "a"}, catalog.AccessKey{ID: "k", Secret: "s"}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := c.AccessKey(b.Context(), "k"); err != nil {
			b.Fatal(err)
		}
	}
}
