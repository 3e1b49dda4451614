package read

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

const (
	// headLimit is how many archives of a folder have their first KB decompressed.
	headLimit = 256
	// tailLimit is how many of them are decompressed up to where the known file was read.
	tailLimit = 8
)

// readable are the suffixes of the archives that can be read.
var readable = []string{".gz", ".gzip", ".zst", ".zstd"}

// SearchCompressed looks for the archive that the known file was compressed to: in the
// folder where it was last seen, and depth levels below. lastPath and origin ("" = the
// same) are the last and the first path of the file; archives whose names follow from
// theirs are tried first, others only if so much of the content is known that it
// proves them. It returns the archive opened, with its path. The error is os.ErrNotExist
// if there is none, ErrIncomplete if one may be it that is still being written, and
// ErrDamagedArchive if one seems to be it that cannot be decoded that far.
func SearchCompressed(k *Known, lastPath, origin string, depth int) (*Compressed, string, error) {
	none := fmt.Errorf("no archive of %s: %w", lastPath, os.ErrNotExist)
	if k.HeadLen == 0 {
		return nil, "", none
	}
	last, first := filepath.Base(lastPath), filepath.Base(lastPath)
	if origin != "" {
		first = filepath.Base(origin)
	}
	list, err := candidates(filepath.Dir(lastPath), depth, func(name string) (rank int, ok bool) {
		if !slices.Contains(readable, filepath.Ext(name)) {
			return 0, false
		}
		plain, _ := cutArchive(name)
		switch {
		case plain == last:
			return 0, true
		case Rotated(first, name), Rotated(last, name):
			return 1, true
		}
		return 2, k.strong()
	})
	tails := 0
	for i, c := range dated(k, list) {
		if i == headLimit || tails == tailLimit {
			err = errors.Join(err, fmt.Errorf("%w: archives in %s", ErrTooMany, filepath.Dir(lastPath)))
			break
		}
		if k.older(c.mtime) && !k.strong() {
			continue
		}
		a, headed, aerr := confirm(k, c.path)
		if a != nil {
			return a, c.path, nil
		}
		if headed {
			tails++
		}
		if aerr != nil && (headed || c.rank < 2) && !errors.Is(aerr, os.ErrNotExist) && !errors.Is(aerr, ErrNotArchive) {
			err = better(err, aerr)
		}
	}
	if err != nil {
		return nil, "", err
	}
	return nil, "", none
}

// better returns the error that tells more: an archive that will be complete, then
// one that never will, then the rest.
func better(a, b error) error {
	for _, kind := range []error{ErrIncomplete, ErrDamagedArchive} {
		if errors.Is(a, kind) {
			return a
		}
		if errors.Is(b, kind) {
			return b
		}
	}
	if a == nil {
		return b
	}
	return a
}

// confirm opens the archive at path and returns it if it has the known content. headed
// says whether it begins like it; err why that, or the rest, cannot be told.
func confirm(k *Known, path string) (c *Compressed, headed bool, err error) {
	c, err = OpenCompressed(path)
	if err != nil {
		return nil, false, err
	}
	facts, err := c.Facts()
	if err == nil {
		var h uint64
		if h, headed = facts.Head(k.HeadLen); headed {
			headed = h == k.Head
		} else {
			err = c.Err()
		}
	}
	if headed {
		if SameContent(k, &facts) {
			return c, true, nil
		}
		err = c.Err()
	}
	_ = c.Close()
	return nil, headed, err
}
