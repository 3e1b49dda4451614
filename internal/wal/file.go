package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// WriteFile replaces a file in one step that survives a crash: afterwards it
// holds either what it held or all that write gave.
func WriteFile(f *Faults, path string, write func(io.Writer) error) (err error) {
	tmp := path + ".tmp"
	if err := f.step(OpCreate, path); err != nil {
		return err
	}
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Close()
			_ = f.Remove(tmp)
		}
	}()
	if err := f.step(OpWrite, tmp); err != nil {
		return err
	}
	if err := write(out); err != nil {
		return err
	}
	if err := f.sync(out); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := f.Rename(tmp, path); err != nil {
		return err
	}
	return f.SyncDir(filepath.Dir(path))
}

func (f *Faults) sync(file *os.File) error {
	if err := f.step(OpSync, file.Name()); err != nil {
		return err
	}
	return file.Sync()
}

// Rename gives a file another name, which is not durable yet.
func (f *Faults) Rename(from, to string) error {
	if err := f.step(OpRename, to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// Remove removes a file; it is no error if there is none.
func (f *Faults) Remove(path string) error {
	if err := f.step(OpRemove, path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// SyncDir makes the names in a folder durable.
func (f *Faults) SyncDir(dir string) error {
	if err := f.step(OpSyncDir, dir); err != nil {
		return err
	}
	return syncDir(dir)
}

// LockFolder takes dir, which must exist, for this process alone until the file
// that it returns is closed, or the process ends. The error wraps ErrInUse if
// another process has it.
func LockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the folder: %w", err)
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return f, nil
}

// IsNoSpace says whether err means a full disk or an exhausted quota.
func IsNoSpace(err error) bool { return isNoSpace(err) }

// IsBadSector says whether err means that the disk could not read a place.
func IsBadSector(err error) bool { return isBadSector(err) }

// IsReadOnly says whether err means that the disk takes no changes.
func IsReadOnly(err error) bool { return isReadOnly(err) }

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error { return syncDir(dir) }

// copyFile copies a file durably, except for the name of the copy.
func copyFile(f *Faults, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return f.copyFrom(in, to)
}

func (f *Faults) copyFrom(in io.Reader, to string) error {
	if err := f.step(OpCreate, to); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := f.sync(out); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
