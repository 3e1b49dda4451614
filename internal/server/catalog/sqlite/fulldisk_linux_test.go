package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFullDisk fills a real one: changes fail with a clear error and leave
// nothing, reading goes on, and with room again so do changes.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "2m")
	path := filepath.Join(dir, "c.db")
	c := mustOpen(t, path)
	if err := addAccount(t, c, "a"); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	err := os.WriteFile(filler, make([]byte, 4<<20), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	stored := 1
	for range 1000 {
		if err = addAccount(t, c, strings.Repeat("x", 2000+stored)); err != nil {
			break
		}
		stored++
	}
	if err == nil || !strings.Contains(err.Error(), "is full") || !strings.Contains(err.Error(), path) {
		t.Fatalf("got %v", err)
	}
	if all, err := c.Accounts(t.Context()); err != nil || len(all) != stored {
		t.Fatalf("%d accounts, %v; want %d", len(all), err, stored)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := addAccount(t, c, "after"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := mustOpen(t, path).Accounts(t.Context()); err != nil || len(all) != stored+1 {
		t.Fatalf("after reopening %d accounts, %v; want %d", len(all), err, stored+1)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	dir := smallDisk(t, "2m")
	path := filepath.Join(dir, "c.db")
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("it cannot be made read-only: %v", err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "read-only") || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}
