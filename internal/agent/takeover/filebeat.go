package takeover

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Filebeat's registry, of version 7.9 and later, is a folder with
//
//	meta.json   {"version":"1"}
//	N.json      all entries as of operation N: [{"_key":K, ...entry}, ...]
//	log.json    the operations since, two documents each:
//	            {"op":"set","id":N+1} {"k":K,"v":{...entry}}, or {"op":"remove",...} {"k":K}
//
// Before that it was one file, an array of entries of the log input:
// registry/filebeat/data.json, and before 7.0 a file registry.
//
// The keys of files are filebeat::logs::IDENTITY (inputs log and container) and
// filestream::INPUT::IDENTITY (input filestream). An IDENTITY is native::INODE-DEVICE
// (on Windows native::HIGH-LOW-VOLUME), path::PATH, inode_marker::INODE-MARKER, or
// fingerprint::SHA256 of a part of the file, by default its first 1,024 bytes.

const (
	logKeys    = "filebeat::logs::"
	streamKeys = "filestream::"

	// defaultFingerprint is how many bytes a fingerprint covers.
	defaultFingerprint = 1024
	maxFingerprint     = 16 << 20
)

// beatEntry is an entry of either input; they have different fields.
type beatEntry struct {
	TTL json.Number `json:"ttl"` // 0 = to be removed

	// Inputs log and container.
	Source     string `json:"source"`
	Offset     number `json:"offset"`
	Identifier string `json:"identifier_name"`
	OS         struct {
		Inode  number `json:"inode"`
		Device number `json:"device"`
		High   number `json:"idxhi"` // Windows
		Low    number `json:"idxlo"`
		Volume number `json:"vol"`
	} `json:"FileStateOS"`

	// Input filestream.
	Cursor *struct {
		Offset number `json:"offset"`
	} `json:"cursor"`
	Meta json.RawMessage `json:"meta"`
}

// beatMeta is meta of filestream; the log input has other things there.
type beatMeta struct {
	Source      string `json:"source"`
	Identifier  string `json:"identifier_name"`
	Fingerprint string `json:"fingerprint"` // hex digits of the first bytes, while a file is short
}

// readFilebeat reads a registry. path is its folder, one above it (registry,
// the data folder), or the file of an older one.
func readFilebeat(path string, o Options) (*Found, error) {
	found := &Found{}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("Filebeat's registry: %w; name its folder, such as /var/lib/filebeat/registry", err) //nolint:staticcheck // a name
	}
	if !info.IsDir() {
		if base := filepath.Base(path); base == "log.json" || base == "meta.json" {
			return readFilebeat(filepath.Dir(path), o)
		}
		return found, found.beatArray(path, o)
	}
	for _, sub := range []string{".", "filebeat", "registry/filebeat", "data/registry/filebeat", "registry"} {
		dir := filepath.Join(path, filepath.FromSlash(sub))
		switch {
		case isFile(filepath.Join(dir, "log.json")) || len(beatSnapshots(dir)) > 0:
			return found, found.beatStore(dir, o)
		case isFile(filepath.Join(dir, "data.json")):
			return found, found.beatArray(filepath.Join(dir, "data.json"), o)
		case isFile(dir):
			return found, found.beatArray(dir, o)
		}
	}
	return nil, fmt.Errorf("%s holds no registry of Filebeat (no log.json); name its folder, such as /var/lib/filebeat/registry", path)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// beatArray reads the registry of an old Filebeat.
func (f *Found) beatArray(path string, o Options) error {
	b, err := readFile(path)
	if err != nil {
		return err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("%s is not a registry of Filebeat: %w", path, err)
	}
	for i, raw := range list {
		f.beatEntry(fmt.Sprintf("%sentry %d", logKeys, i+1), raw, o)
	}
	return nil
}

// beatSnapshots are the N.json of a registry, the newest last.
func beatSnapshots(dir string) []uint64 {
	entries, _ := os.ReadDir(dir)
	var list []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if n, err := strconv.ParseUint(name, 10, 64); ok && err == nil && e.Type().IsRegular() {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}

// beatStore reads a registry: the newest snapshot, and the log on top of it.
func (f *Found) beatStore(dir string, o Options) error {
	meta := filepath.Join(dir, "meta.json")
	if b, err := readFile(meta); err == nil {
		var m struct{ Version string }
		if err := json.Unmarshal(b, &m); err != nil || m.Version != "1" {
			return fmt.Errorf("%s says version %q; versions 0 and 1 of Filebeat's registry can be read", meta, m.Version)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	table, last := map[string]json.RawMessage{}, uint64(0)
	if list := beatSnapshots(dir); len(list) > 0 {
		last = list[len(list)-1]
		path := filepath.Join(dir, fmt.Sprintf("%d.json", last))
		b, err := readFile(path)
		if err != nil {
			return err
		}
		if err := beatSnapshot(b, table); err != nil {
			return fmt.Errorf("%s is damaged: %w; start Filebeat once, so that it mends its registry, and stop it", path, err)
		}
	}
	path := filepath.Join(dir, "log.json")
	b, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if n, err := beatLog(bytes.NewReader(b), last, table); err != nil {
		// Filebeat itself goes on with what stands before it.
		f.note("%s can be read up to operation %d only (%v); what stands before counts", path, n, err)
	}
	others := 0
	for _, key := range sortedKeys(table) {
		if strings.HasPrefix(key, logKeys) || strings.HasPrefix(key, streamKeys) {
			f.beatEntry(key, table[key], o)
		} else {
			others++
		}
	}
	if others > 0 {
		f.note("%d entries are of inputs that read no files", others)
	}
	return nil
}

// beatSnapshot reads N.json.
func beatSnapshot(b []byte, table map[string]json.RawMessage) error {
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	for _, raw := range list {
		var e struct {
			Key string `json:"_key"`
		}
		if json.Unmarshal(raw, &e) == nil && e.Key != "" {
			table[e.Key] = raw
		}
	}
	return nil
}

// beatLog applies log.json to the entries as of operation last. It returns the
// number of the last operation that counts, and why no more of them do.
func beatLog(r io.Reader, last uint64, table map[string]json.RawMessage) (uint64, error) {
	d := json.NewDecoder(r)
	for {
		var op struct {
			Op string
			ID uint64
		}
		if err := d.Decode(&op); errors.Is(err, io.EOF) {
			return last, nil
		} else if err != nil {
			return last, err
		}
		var e struct {
			K string
			V json.RawMessage
		}
		if err := d.Decode(&e); err != nil {
			return last, err
		}
		switch {
		case op.ID <= last: // the log was not emptied when the snapshot was written
			continue
		case op.ID != last+1:
			return last, fmt.Errorf("operation %d follows %d", op.ID, last)
		}
		switch last = op.ID; op.Op {
		case "set":
			table[e.K] = e.V
		case "remove":
			delete(table, e.K)
		default:
			return last, fmt.Errorf("there is an operation %q", op.Op)
		}
	}
}

// beatEntry adds the place of an entry.
func (f *Found) beatEntry(key string, raw json.RawMessage, o Options) {
	var e beatEntry
	if err := json.Unmarshal(raw, &e); err != nil {
		f.unreadable("the entry %q cannot be read: %v", key, err)
		return
	}
	p := Place{Path: e.Source, Offset: uint64(e.Offset)}
	var id, kind string
	if strings.HasPrefix(key, streamKeys) {
		var m beatMeta
		if len(e.Meta) > 0 && json.Unmarshal(e.Meta, &m) != nil {
			f.unreadable("the entry %q cannot be read: its meta makes no sense", key)
			return
		}
		p.Path, p.Offset = m.Source, 0
		if e.Cursor == nil {
			return // the file was seen and nothing of it read
		}
		p.Offset = uint64(e.Cursor.Offset)
		kind, id = beatIdentity(key, m.Identifier)
		if m.Fingerprint != "" {
			p.Content = prefixIs(m.Fingerprint)
		} else if kind == "fingerprint" {
			p.Content = fingerprintIs(id, o)
		} else if kind == "growing_fingerprint" {
			p.Content = prefixIs(id)
		}
	} else {
		kind, id = beatIdentity(key, e.Identifier)
	}
	switch {
	case e.TTL == "0":
		return // removed; only the registry does not know it yet
	case p.Path == "":
		f.unreadable("the entry %q names no file", key)
		return
	}
	if kind == "native" || kind == "inode_marker" || kind == "" {
		if p.Inode, p.Dev = e.identity(); p.Inode == 0 {
			p.Inode, p.Dev = beatNumbers(id, runtime.GOOS == "windows", kind == "native")
		}
		if p.Inode == 0 {
			f.unreadable("the entry %q names no inode", key)
			return
		}
	}
	f.Places = append(f.Places, p)
}

// identity is what the log input keeps of a file.
func (e *beatEntry) identity() (inode, dev uint64) {
	if e.OS.Inode == 0 {
		return uint64(e.OS.High)<<32 | uint64(e.OS.Low)&(1<<32-1), uint64(e.OS.Volume)
	}
	return uint64(e.OS.Inode), uint64(e.OS.Device)
}

// beatIdentity takes the identity out of a key. The id of an input, which
// stands before it, may have any characters.
func beatIdentity(key, kind string) (name, id string) {
	kinds := []string{"native", "path", "fingerprint", "growing_fingerprint", "inode_marker"}
	if kind != "" {
		kinds = []string{kind}
	}
	at := -1
	for _, k := range kinds {
		// The log input may have a hash and a dash before it.
		for _, before := range []string{"::", "-"} {
			if i := strings.LastIndex(key, before+k+"::"); i > at {
				at, name, id = i, k, key[i+len(before+k+"::"):]
			}
		}
	}
	return name, id
}

// beatNumbers reads INODE-DEVICE or, on Windows, HIGH-LOW-VOLUME; more may follow.
func beatNumbers(id string, windows, device bool) (inode, dev uint64) {
	var n []uint64
	for part := range strings.SplitSeq(id, "-") {
		v, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			break
		}
		n = append(n, v)
	}
	switch {
	case windows && len(n) >= 3:
		return n[0]<<32 | n[1]&(1<<32-1), n[2]
	case !windows && device && len(n) >= 2:
		return n[0], n[1]
	case !windows && !device && len(n) >= 1:
		return n[0], 0
	}
	return 0, 0
}

// prefixIs compares a file's first bytes with hex digits.
func prefixIs(digits string) func(io.ReaderAt, int64) Match {
	want, err := hex.DecodeString(digits)
	return func(f io.ReaderAt, _ int64) Match {
		if err != nil || len(want) == 0 || len(want) > maxFingerprint {
			return Unknown
		}
		have := make([]byte, len(want))
		if n, _ := f.ReadAt(have, 0); n < len(have) || !bytes.Equal(have, want) {
			return No
		}
		return Yes
	}
}

// fingerprintIs compares the fingerprint of a file. The registry does not say
// which part of the file it covers, so that another one proves nothing.
func fingerprintIs(digits string, o Options) func(io.ReaderAt, int64) Match {
	length := o.FingerprintLength
	if length == 0 {
		length = defaultFingerprint
	}
	return func(f io.ReaderAt, size int64) Match {
		if length < 0 || length > maxFingerprint || o.FingerprintOffset < 0 || size-o.FingerprintOffset < length {
			return Unknown
		}
		b := make([]byte, length)
		if n, _ := f.ReadAt(b, o.FingerprintOffset); n < len(b) {
			return Unknown
		}
		// A suffix may follow the digits.
		if sum := sha256.Sum256(b); strings.HasPrefix(digits, hex.EncodeToString(sum[:])) {
			return Yes
		}
		return Unknown
	}
}

func sortedKeys(table map[string]json.RawMessage) []string {
	keys := make([]string, 0, len(table))
	for k := range table {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
