package read

import (
	"os"

	"golang.org/x/sys/windows"
)

// OnDevice says whether the folder dir is there and on the volume dev: a file
// that is not in it was deleted, and is not only out of reach for a while.
func OnDevice(dir string, dev uint64) bool {
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
