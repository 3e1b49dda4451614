//go:build !linux

package read

import (
	"errors"
	"io"
	"os"
)

// entryLimit is how many entries of folders a search looks at, each with a system call.
const entryLimit = slowLimit

// entriesTellInodes says that entries have inode numbers.
const entriesTellInodes = false

// entries calls each for the entries of dir until it returns false.
func entries(dir string, each func(e *entry) bool) error {
	d, err := openDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		list, err := d.ReadDir(256)
		for _, x := range list {
			if !each(&entry{name: []byte(x.Name()), kind: x.Type()}) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tellsInodes says whether the entries of dir have the inode numbers of its files.
func tellsInodes(string) bool { return false }

// Stable says whether a file keeps its inode number on the file system of f.
func Stable(*os.File) bool { return true }
