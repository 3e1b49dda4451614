package takeover

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"

	"github.com/twmb/murmur3"
)

// LoongCollector's checkpoints (and iLogtail's, version 200) are one JSON
// document, data/file_check_point below the program (before that
// /tmp/logtail_check_point):
//
//	{"check_point": {"PATH*DEV*INODE*CONFIG": {"file_name":..., "real_file_name":...,
//	  "offset":"123", "sig_size":1024, "sig_hash":..., "inode":..., "dev":..., ...}},
//	 "dir_check_point": {...}, "version": 200}
//
// The signature is that of the file's first sig_size bytes, at most 1,024:
// MurmurHash3 (x64, 128 bits, its first half).

const (
	loongSeed    = 0xdeadbeaf
	maxSignature = 1024
	// maxLoongVersion is the first version of another format.
	maxLoongVersion = 10_000
)

type loongEntry struct {
	File      string  `json:"file_name"`
	Real      string  `json:"real_file_name"`     // where the file is now, if it was renamed
	Resolved  string  `json:"resolved_file_name"` // behind symbolic links
	Offset    *number `json:"offset"`             // a string
	SigSize   number  `json:"sig_size"`
	SigHash   number  `json:"sig_hash"`
	Signature string  `json:"sig"` // old versions: the bytes themselves
	Inode     number  `json:"inode"`
	Dev       number  `json:"dev"`
}

// readLoongCollector reads the checkpoints. path is the file, or a folder with it.
func readLoongCollector(path string) (*Found, error) {
	file := path
	for _, sub := range []string{"file_check_point", "data/file_check_point", "logtail_check_point"} {
		if p := filepath.Join(path, filepath.FromSlash(sub)); isFile(p) {
			file = p
			break
		}
	}
	b, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("LoongCollector's checkpoints: %w; name the file, such as /usr/local/loongcollector/data/file_check_point", err) //nolint:staticcheck // a name
	}
	found, err := parseLoong(b)
	if err != nil {
		return nil, fmt.Errorf("%s is not LoongCollector's checkpoints: %w; name the file file_check_point (or logtail_check_point), and stop LoongCollector first, so that it is written to its end", file, err)
	}
	return found, nil
}

func parseLoong(b []byte) (*Found, error) {
	var doc struct {
		Files   map[string]json.RawMessage `json:"check_point"`
		Version *number                    `json:"version"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	if doc.Version == nil && doc.Files == nil {
		return nil, fmt.Errorf("it has neither check_point nor version")
	}
	if doc.Version != nil && *doc.Version >= maxLoongVersion {
		return nil, fmt.Errorf("it has version %d; versions below %d can be read", *doc.Version, maxLoongVersion)
	}
	found := &Found{}
	for _, key := range slices.Sorted(maps.Keys(doc.Files)) {
		var e loongEntry
		if err := json.Unmarshal(doc.Files[key], &e); err != nil {
			found.unreadable("the entry %q cannot be read: %v", key, err)
			continue
		}
		if e.File == "" || e.Offset == nil {
			found.unreadable("the entry %q names no file or no offset", key)
			continue
		}
		found.Places = append(found.Places, Place{
			Path: e.File, Other: paths(e.Real, e.Resolved), Dev: uint64(e.Dev), Inode: uint64(e.Inode), Offset: uint64(*e.Offset),
			Content: e.content(),
		})
	}
	return found, nil
}

// content compares the signature, if there is one.
func (e *loongEntry) content() func(io.ReaderAt, int64) Match {
	size, hash := uint64(e.SigSize), uint64(e.SigHash)
	if size == 0 && e.Signature != "" {
		size, hash = uint64(len(e.Signature)), loongHash([]byte(e.Signature))
	}
	if size == 0 || size > maxSignature {
		return nil
	}
	return func(f io.ReaderAt, _ int64) Match {
		b := make([]byte, size)
		if n, _ := f.ReadAt(b, 0); n < len(b) || loongHash(b) != hash {
			return No
		}
		return Yes
	}
}

func loongHash(b []byte) uint64 {
	h, _ := murmur3.SeedSum128(loongSeed, loongSeed, b)
	return h
}
