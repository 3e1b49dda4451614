package takeover

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"

	"logtail/internal/agent/read"
)

// logs is a folder with log files.
type logs struct {
	t   *testing.T
	dir string
}

func newLogs(t *testing.T) logs { return logs{t, t.TempDir()} }

func (l logs) path(name string) string { return filepath.Join(l.dir, name) }

func (l logs) write(name, content string) read.Identity {
	l.t.Helper()
	if err := os.WriteFile(l.path(name), []byte(content), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return l.id(name)
}

func (l logs) id(name string) read.Identity {
	l.t.Helper()
	id, _, _, err := read.Peek(l.path(name))
	if err != nil {
		l.t.Fatal(err)
	}
	return id
}

// put writes a file of another agent.
func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func none(uint64, uint64) bool { return false }

func plan(t *testing.T, from, path string, o Options) (map[string]Row, *Found) {
	t.Helper()
	found, err := Read(from, path, o)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]Row{}
	for _, r := range Plan(from, found.Places, none, 42) {
		rows[filepath.Base(r.Path)] = r
	}
	return rows, found
}

// is checks a row, and the hint that the agent gets.
func is(t *testing.T, rows map[string]Row, name string, want Status, now string, offset uint64) {
	t.Helper()
	r, ok := rows[name]
	if !ok {
		t.Errorf("%s is missing", name)
		return
	}
	if r.Status != want || filepath.Base(r.Now) != now && (r.Now != "" || now != "") || r.Offset != offset {
		t.Errorf("%s: %s at %q, offset %d (%s); want %s at %q, offset %d", name, r.Status, r.Now, r.Offset, r.Note, want, now, offset)
	}
	if (r.Hint != nil) != want.Taken() {
		t.Errorf("%s: hint %+v", name, r.Hint)
	}
	if h := r.Hint; h != nil {
		f, facts, _, err := read.Look(r.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		hash, _ := read.HashBefore(f, offset)
		if h.Dev != facts.Dev || h.Inode != facts.Inode || h.Offset != offset || h.Hash != hash || h.Path != r.Now || h.At != 42 {
			t.Errorf("%s: hint %+v", name, h)
		}
	}
	if r.Note == "" {
		t.Errorf("%s: nothing is said of it", name)
	}
}

func TestFilebeatsRegistryIsTakenOver(t *testing.T) {
	l := newLogs(t)
	a, b := l.write("a.log", "one\ntwo\n"), l.write("b.log.1", "three\n")
	l.write("b.log", "new\n")
	short := l.write("short.log", "x")
	c := l.write("c.log", "container\n")
	long := strings.Repeat("fingerprint ", 200)
	l.write("f.log", "other "+long)
	l.write("f.log.1", long)
	l.write("g.log", "growing\n")
	l.write("p.log", "path\n")
	old := l.write("old.log", "old\n")
	sum := sha256.Sum256([]byte(long[:1024]))
	part := sha256.Sum256([]byte(long[100:200]))
	dir := t.TempDir()
	put(t, filepath.Join(dir, "registry/filebeat/meta.json"), `{"version":"1"}`)
	put(t, filepath.Join(dir, "registry/filebeat/7.json"), `[{"_key":"filebeat::logs::native::1-1","source":"/older/snapshot","offset":1,"FileStateOS":{"inode":1,"device":1}}]`)
	put(t, filepath.Join(dir, "registry/filebeat/100.json"), fmt.Sprintf(`[
{"_key":"filebeat::logs::native::%d-%d","source":%q,"offset":4,"ttl":-1,"type":"log","timestamp":[1,2],"FileStateOS":{"inode":%d,"device":%d},"identifier_name":"native"},
{"_key":"filebeat::logs::native::%d-%d","source":%q,"offset":1e+01,"ttl":-2,"FileStateOS":{"inode":%d,"device":%d},"identifier_name":"native"},
{"_key":"filebeat::logs::native::5-5","source":"/removed/later","offset":4,"FileStateOS":{"inode":5,"device":5}},
{"_key":"winlogbeat::x","cursor":{}}
]`, a.Inode, a.Dev, l.path("a.log"), a.Inode, a.Dev, short.Inode, short.Dev, l.path("short.log"), short.Inode, short.Dev))
	native := func(id string, f read.Identity) string {
		return fmt.Sprintf("filestream::%s::native::%d-%d", id, f.Inode, f.Dev)
	}
	put(t, filepath.Join(dir, "registry/filebeat/log.json"), strings.Join([]string{
		`{"op":"set","id":100}`, `{"k":"filebeat::logs::native::6-6","v":{"source":"/before/the/snapshot","offset":1,"FileStateOS":{"inode":6,"device":6}}}`,
		`{"op":"set","id":101}`, fmt.Sprintf(`{"k":%q,"v":{"ttl":1800000000000,"updated":[1,2],"cursor":{"offset":6,"eof":true},"meta":{"source":%q,"identifier_name":"native"}}}`, native("my::native::id", b), l.path("b.log")),
		`{"op":"remove","id":102}`, `{"k":"filebeat::logs::native::5-5"}`,
		`{"op":"set","id":103}`, fmt.Sprintf(`{"k":"filestream::x::fingerprint::%s","v":{"ttl":-1,"cursor":{"offset":1100},"meta":{"source":%q,"identifier_name":"fingerprint"}}}`, hex.EncodeToString(sum[:]), l.path("f.log")),
		`{"op":"set","id":104}`, fmt.Sprintf(`{"k":"filestream::x::fingerprint::%s","v":{"ttl":-1,"cursor":{"offset":7},"meta":{"source":%q,"identifier_name":"fingerprint","fingerprint":%q}}}`, hex.EncodeToString(part[:]), l.path("g.log"), hex.EncodeToString([]byte("grow"))),
		`{"op":"set","id":105}`, fmt.Sprintf(`{"k":"filestream::x::path::%s","v":{"ttl":-1,"cursor":{"offset":5},"meta":{"source":%q,"identifier_name":"path"}}}`, l.path("p.log"), l.path("p.log")),
		`{"op":"set","id":106}`, `{"k":"filestream::x::native::77-1","v":{"ttl":0,"cursor":{"offset":5},"meta":{"source":"/soft/deleted","identifier_name":"native"}}}`,
		`{"op":"set","id":107}`, `{"k":"filestream::x::native::78-1","v":{"ttl":-1,"cursor":null,"meta":{"source":"/not/read","identifier_name":"native"}}}`,
		`{"op":"set","id":108}`, `{"k":"filestream::x::native::79-1","v":{"ttl":-1,"cursor":{"offset":9},"meta":{"source":"` + filepath.ToSlash(l.path("gone.log")) + `","identifier_name":"native"}}}`,
		`{"op":"set","id":109}`, `{"k":"filestream::x::native::80-1","v":{"ttl":-1,"cursor":{"offset":-9},"meta":{"source":"/negative","identifier_name":"native"}}}`,
		// stdout and stderr of one file
		`{"op":"set","id":110}`, fmt.Sprintf(`{"k":"filebeat::logs::1b59052b95e61943-native::%d-%d","v":{"source":%q,"offset":9,"meta":{"stream":"stdout"},"FileStateOS":{"inode":%d,"device":%d,"uid":1000},"identifier_name":"native"}}`, c.Inode, c.Dev, l.path("c.log"), c.Inode, c.Dev),
		`{"op":"set","id":111}`, fmt.Sprintf(`{"k":"filebeat::logs::d35e05a633229937-native::%d-%d","v":{"source":%q,"offset":5,"meta":{"stream":"stderr"},"FileStateOS":{"inode":%d,"device":%d,"uid":1000},"identifier_name":"native"}}`, c.Inode, c.Dev, l.path("./c.log")+"", c.Inode, c.Dev),
		`{"op":"set","id":112}`, fmt.Sprintf(`{"k":"filestream::x::inode_marker::%d-machine-7","v":{"cursor":{"offset":2},"meta":{"source":%q,"identifier_name":"inode_marker"}}}`, old.Inode, l.path("old.log")),
		`{"op":"set","id":113}`, `{"k":"filestream::cut o`,
	}, "\n"))
	for _, path := range []string{dir, filepath.Join(dir, "registry"), filepath.Join(dir, "registry/filebeat"), filepath.Join(dir, "registry/filebeat/log.json")} {
		rows, found := plan(t, Filebeat, path, Options{})
		is(t, rows, "a.log", Continues, "a.log", 4)
		is(t, rows, "b.log", Complete, "b.log.1", 6)
		is(t, rows, "short.log", Shorter, "short.log", 10)
		is(t, rows, "f.log", Continues, "f.log.1", 1100)
		is(t, rows, "g.log", Continues, "g.log", 7)
		is(t, rows, "p.log", Complete, "p.log", 5)
		is(t, rows, "gone.log", Gone, "", 9)
		is(t, rows, "old.log", Continues, "old.log", 2)
		if len(found.Places) != 10 || found.Unreadable != 1 {
			t.Errorf("%d places, %d unreadable: %+v", len(found.Places), found.Unreadable, found.Places)
		}
		if notes := strings.Join(found.Notes, "\n"); !strings.Contains(notes, "operation 112 only") || !strings.Contains(notes, "1 entries are of inputs that read no files") || !strings.Contains(notes, "80-1") {
			t.Errorf("notes: %s", notes)
		}
		status := map[Status]uint64{}
		for _, r := range Plan(Filebeat, found.Places, none, 42) {
			if filepath.Base(r.Path) == "c.log" {
				status[r.Status] = r.Offset
			}
		}
		if len(status) != 2 || status[Continues] != 5 || status[Doubled] != 9 {
			t.Errorf("of two places in one file: %v", status)
		}
	}
	// Another part of the file is fingerprinted.
	put(t, filepath.Join(dir, "registry/filebeat/log.json"), `{"op":"set","id":101}`+
		fmt.Sprintf(`{"k":"filestream::x::fingerprint::%s","v":{"cursor":{"offset":1100},"meta":{"source":%q,"identifier_name":"fingerprint"}}}`, hex.EncodeToString(part[:]), l.path("f.log")))
	rows, _ := plan(t, Filebeat, dir, Options{})
	is(t, rows, "f.log", Unconfirmed, "f.log", 1100)
	rows, _ = plan(t, Filebeat, dir, Options{FingerprintOffset: 100, FingerprintLength: 100})
	is(t, rows, "f.log", Continues, "f.log.1", 1100)
}

func TestTheRegistryOfAnOldFilebeatIsTakenOver(t *testing.T) {
	l := newLogs(t)
	a := l.write("a.log", "one\ntwo\n")
	content := fmt.Sprintf(`[{"source":%q,"offset":4,"timestamp":"2018-02-03T04:05:06Z","ttl":-1,"type":"log","meta":null,"FileStateOS":{"inode":%d,"device":%d}}]`, l.path("a.log"), a.Inode, a.Dev)
	for _, name := range []string{"registry/filebeat/data.json", "registry"} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, name), content)
		for _, path := range []string{dir, filepath.Join(dir, name)} {
			rows, _ := plan(t, Filebeat, path, Options{})
			is(t, rows, "a.log", Continues, "a.log", 4)
		}
	}
}

func TestIdentitiesOfFilebeat(t *testing.T) {
	for _, c := range []struct {
		id              string
		windows, device bool
		inode, dev      uint64
	}{
		{"12-34", false, true, 12, 34},
		{"12-34-stdout", false, true, 12, 34},
		{"12", false, true, 0, 0},
		{"12-marker-3", false, false, 12, 0},
		{"1-2-77", true, true, 1<<32 | 2, 77},
		{"1-2", true, true, 0, 0},
		{"", false, true, 0, 0},
	} {
		if inode, dev := beatNumbers(c.id, c.windows, c.device); inode != c.inode || dev != c.dev {
			t.Errorf("%q (Windows: %v): inode %d, device %d", c.id, c.windows, inode, dev)
		}
	}
}

// database makes one of Fluent Bit.
func database(t *testing.T, schema string, rows ...[]any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a db.sqlite")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(query string, args ...any) {
		if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec("PRAGMA journal_mode=WAL")
	exec(schema)
	for _, r := range rows {
		exec("INSERT INTO in_tail_files VALUES (?"+strings.Repeat(",?", len(r)-1)+")", r...)
	}
	return path
}

const oldSchema = `CREATE TABLE in_tail_files (id INTEGER PRIMARY KEY, name TEXT NOT NULL, offset INTEGER, inode INTEGER, created INTEGER, rotated INTEGER DEFAULT 0)`

func TestFluentBitsDatabaseIsTakenOver(t *testing.T) {
	l := newLogs(t)
	a, b, x := l.write("a.log", "one\ntwo\n"), l.write("b.log.1", "three\n"), l.write("x.log", "new content\n")
	l.write("b.log", "new\n")
	marker := func(before string) int64 { return int64(xxh3.Hash([]byte(before))) }
	t.Run("with markers", func(t *testing.T) {
		path := database(t, strings.TrimSuffix(oldSchema, ")")+`, offset_marker INTEGER DEFAULT 0, offset_marker_size INTEGER DEFAULT 0)`,
			[]any{1, "/stale/row", 1, int64(a.Inode), 5, 0, 0, 0},
			[]any{2, l.path("a.log"), 4, int64(a.Inode), 5, 0, marker("one\n"), 4},
			[]any{3, l.path("b.log"), 6, int64(b.Inode), 5, 1, 0, 0},
			[]any{4, l.path("x.log"), 4, int64(x.Inode), 5, 0, marker("old\n"), 4},
			[]any{5, l.path("neg.log"), -1, 99, 5, 0, 0, 0},
		)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rows, found := plan(t, FluentBit, path, Options{})
		is(t, rows, "a.log", Continues, "a.log", 4)
		is(t, rows, "b.log", Complete, "b.log.1", 6)
		is(t, rows, "x.log", Other, "x.log", 4)
		if len(found.Places) != 3 || found.Unreadable != 1 || !strings.Contains(found.Notes[0], "row 5") {
			t.Errorf("%+v", found)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Errorf("the database changed, %v", err)
		}
	})
	t.Run("without markers", func(t *testing.T) {
		rows, _ := plan(t, FluentBit, database(t, oldSchema, []any{1, l.path("a.log"), 8, int64(a.Inode), 5, 0}), Options{})
		is(t, rows, "a.log", Complete, "a.log", 8)
	})
}

func TestLoongCollectorsCheckpointsAreTakenOver(t *testing.T) {
	l := newLogs(t)
	a, b, x := l.write("a.log", "one\ntwo\n"), l.write("b.log.1", "three\n"), l.write("x.log", "new content\n")
	l.write("b.log", "new\n")
	entry := func(name, real string, id read.Identity, offset int, signature string) string {
		return fmt.Sprintf(`%q: {"file_name":%q,"real_file_name":%q,"resolved_file_name":"","offset":"%d","sig_size":%d,"sig_hash":%d,"inode":%d,"dev":%d,"sig":"","update_time":1,"config_name":"c"}`,
			fmt.Sprintf("%s*%d*%d*c", name, id.Dev, id.Inode), l.path(name), l.path(real), offset, len(signature), loongHash([]byte(signature)), id.Inode, id.Dev)
	}
	dir := t.TempDir()
	moved := a
	moved.Dev += 7 // as after a reboot
	put(t, filepath.Join(dir, "data/file_check_point"), `{"check_point": {`+strings.Join([]string{
		entry("a.log", "a.log", moved, 4, "one\ntwo\n"),
		entry("b.log", "b.log.1", b, 6, "three\n"),
		entry("x.log", "x.log", x, 4, "old content\n"),
		`"bad": {"file_name":"/bad","offset":"much"}`, `"none": {"offset":"1"}`,
	}, ",")+`}, "dir_check_point": null, "version": 200}`)
	for _, path := range []string{dir, filepath.Join(dir, "data"), filepath.Join(dir, "data/file_check_point")} {
		rows, found := plan(t, LoongCollector, path, Options{})
		is(t, rows, "a.log", Continues, "a.log", 4)
		is(t, rows, "b.log", Complete, "b.log.1", 6)
		is(t, rows, "x.log", Other, "x.log", 4)
		if found.Unreadable != 2 || len(found.Notes) != 2 {
			t.Errorf("%+v", found)
		}
	}
}

// The values are those of LoongCollector's own tests.
func TestSignaturesAreThoseOfLoongCollector(t *testing.T) {
	for want, content := range map[uint64]string{
		5407334769256465540: strings.Repeat("c", 500) + "\n",
		2508160163735440748: strings.Repeat("d", 1024),
	} {
		if got := loongHash([]byte(content)); got != want {
			t.Errorf("%.3q...: %d, want %d", content, got, want)
		}
	}
}

func TestWhatIsNoneOfTheFormatsIsNamed(t *testing.T) {
	dir := t.TempDir()
	empty, text := filepath.Join(dir, "empty"), filepath.Join(dir, "text")
	put(t, empty, "")
	put(t, text, "hello")
	put(t, filepath.Join(dir, "newer", "file_check_point"), `{"check_point":{},"version":20000}`)
	put(t, filepath.Join(dir, "beat", "meta.json"), `{"version":"2"}`)
	put(t, filepath.Join(dir, "beat", "log.json"), ``)
	put(t, filepath.Join(dir, "torn", "5.json"), `[{"_key":`)
	for _, c := range []struct{ from, path, want string }{
		{Filebeat, filepath.Join(dir, "nope"), "name its folder"},
		{Filebeat, t.TempDir(), "holds no registry"},
		{Filebeat, text, "is not a registry of Filebeat"},
		{Filebeat, filepath.Join(dir, "beat"), `version "2"`},
		{Filebeat, filepath.Join(dir, "torn"), "start Filebeat once"},
		{FluentBit, filepath.Join(dir, "nope"), "name the file that DB says"},
		{FluentBit, dir, "is a folder"},
		{FluentBit, text, "is not a database of Fluent Bit"},
		{FluentBit, empty, "is not a database of Fluent Bit"},
		{LoongCollector, filepath.Join(dir, "nope"), "name the file"},
		{LoongCollector, text, "is not LoongCollector's checkpoints"},
		{LoongCollector, filepath.Join(dir, "newer"), "version 20000"},
		{"logstash", text, "filebeat, fluent-bit, loongcollector"},
	} {
		if _, err := Read(c.from, c.path, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %s: %v; want %q in it", c.path, c.from, err, c.want)
		}
	}
}

func TestPlacesAreComparedWithTheFiles(t *testing.T) {
	l := newLogs(t)
	a := l.write("a.log", "one\ntwo\n")
	l.write("zip.gz", "\x1f\x8b\x08 and so on")
	for _, c := range []struct {
		name      string
		place     Place
		collected bool
		want      Status
	}{
		{"within a line", Place{Path: l.path("a.log"), Dev: a.Dev, Inode: a.Inode, Offset: 6}, false, Continues},
		{"nothing was read", Place{Path: l.path("a.log"), Dev: a.Dev, Inode: a.Inode}, false, Continues},
		{"to the end", Place{Path: l.path("a.log"), Dev: a.Dev, Inode: a.Inode, Offset: 8}, false, Complete},
		{"beyond the end", Place{Path: l.path("a.log"), Dev: a.Dev, Inode: a.Inode, Offset: 9}, false, Shorter},
		{"another device number", Place{Path: l.path("a.log"), Dev: a.Dev + 1, Inode: a.Inode, Offset: 4}, false, Continues},
		{"another device and another name", Place{Path: l.path("b.log"), Dev: a.Dev + 1, Inode: a.Inode, Offset: 4}, false, Other},
		{"renamed", Place{Path: l.path("b.log"), Dev: a.Dev, Inode: a.Inode, Offset: 4}, false, Continues},
		{"another inode", Place{Path: l.path("a.log"), Dev: a.Dev, Inode: 1<<63 + 1, Offset: 4}, false, Other},
		{"gone", Place{Path: l.path("c.log"), Dev: a.Dev, Inode: 1<<63 + 1, Offset: 4}, false, Gone},
		{"no such folder", Place{Path: l.path("no/c.log"), Inode: 5, Offset: 4}, false, Gone},
		{"a folder", Place{Path: l.dir, Offset: 4}, false, Gone},
		{"compressed", Place{Path: l.path("zip.gz"), Offset: 4}, false, Compressed},
		{"collected already", Place{Path: l.path("a.log"), Dev: a.Dev, Inode: a.Inode, Offset: 4}, true, Collected},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Plan("x", []Place{c.place}, func(dev, inode uint64) bool { return c.collected && dev == a.Dev && inode == a.Inode }, 1)[0]
			if r.Status != c.want || (r.Hint != nil) != c.want.Taken() || r.Note == "" {
				t.Errorf("%s (%s), hint %+v; want %s", r.Status, r.Note, r.Hint, c.want)
			}
		})
	}
}

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("everything can be read")
	}
	l := newLogs(t)
	l.write("a.log", "x")
	if err := os.Chmod(l.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	r := Plan("x", []Place{{Path: l.path("a.log")}}, none, 1)[0]
	if r.Status != Failed || !strings.Contains(r.Note, "a.log") || !strings.Contains(r.Note, "right to read") {
		t.Errorf("%s: %s", r.Status, r.Note)
	}
}
