package read

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// OnDevice says whether the folder dir, or, if it was removed, the next one above
// it, is there and on the volume dev: a file that is not in it was deleted, and is
// not only out of reach for a while.
func OnDevice(dir string, dev uint64) bool {
	for {
		_, err := os.Stat(dir)
		if err == nil {
			return folderOn(dir, dev)
		}
		up := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || up == dir {
			return false
		}
		dir = up
	}
}

func folderOn(dir string, dev uint64) bool {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return false
	}
	h, err := windows.CreateFile(p, 0, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
		nil, windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(h), dir)
	defer f.Close()
	id, _, _, err := Stat(f)
	return err == nil && id.Dev == dev
}
