package takeover

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func FuzzFilebeat(f *testing.F) {
	f.Add([]byte(`{"op":"set","id":8}{"k":"filebeat::logs::native::1-2","v":{"source":"/a","offset":1e3,"FileStateOS":{"inode":1,"device":2}}}`))
	f.Add([]byte(`{"op":"set","id":8}{"k":"filestream::x::fingerprint::ab","v":{"ttl":-1,"cursor":{"offset":3},"meta":{"source":"/a","fingerprint":"6f6e65"}}} {"op":"remove","id":9}{"k":"x"}`))
	f.Add([]byte(`[{"_key":"filestream::x::path::/a","cursor":null}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		table := map[string]json.RawMessage{}
		last, err := beatLog(bytes.NewReader(b), 7, table)
		if last < 7 || err == nil && uint64(len(table)) > last-7 {
			t.Errorf("%d entries after operation %d", len(table), last)
		}
		_ = beatSnapshot(b, table)
		found := &Found{}
		for _, key := range sortedKeys(table) {
			found.beatEntry(key, table[key], Options{})
		}
		checkPlaces(t, found)
	})
}

func FuzzLoongCollector(f *testing.F) {
	f.Add([]byte(`{"check_point":{"a*1*2*c":{"file_name":"/a","offset":"12","sig_size":3,"sig_hash":18446744073709551615,"inode":2,"dev":1}},"version":200}`))
	f.Add([]byte(`{"check_point":{"a":{"file_name":"/a","offset":"-1","sig":"one"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if found, err := parseLoong(b); err == nil {
			checkPlaces(t, found)
		}
	})
}

func FuzzFluentBit(f *testing.F) {
	f.Add([]byte("SQLite format 3\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := readFluentBit(path); err == nil {
			checkPlaces(t, found)
		}
	})
}

// checkPlaces compares every place with some content: nothing may panic, and
// no place may be without a file.
func checkPlaces(t *testing.T, found *Found) {
	t.Helper()
	for _, p := range found.Places {
		if p.Path == "" {
			t.Errorf("a place without a file: %+v", p)
		}
		if p.Content != nil {
			for _, content := range []string{"", "one\ntwo\n"} {
				p.Content(bytes.NewReader([]byte(content)), int64(len(content)))
			}
		}
	}
	if found.Unreadable > 0 && len(found.Notes) == 0 {
		t.Error("something was left out in silence")
	}
}
