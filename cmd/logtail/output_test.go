package main

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParseTime(t *testing.T) {
	zone := time.FixedZone("x", 8*3600)
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, zone)
	for s, want := range map[string]time.Time{
		"now":                       now,
		"-15m":                      now.Add(-15 * time.Minute),
		"-1h30m":                    now.Add(-90 * time.Minute),
		"-2d":                       now.Add(-48 * time.Hour),
		"-1.5d":                     now.Add(-36 * time.Hour),
		"-1w":                       now.Add(-7 * 24 * time.Hour),
		"0":                         time.Unix(0, 0),
		"1700000000":                time.Unix(1700000000, 0),
		"1700000000123":             time.UnixMilli(1700000000123),
		"2026-01-02T03:04:05Z":      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05+02:00": time.Date(2026, 1, 2, 1, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05":       time.Date(2026, 1, 2, 3, 4, 5, 0, zone),
		"2026-01-02 03:04:05":       time.Date(2026, 1, 2, 3, 4, 5, 0, zone),
		"2026-01-02 03:04":          time.Date(2026, 1, 2, 3, 4, 0, 0, zone),
		"2026-01-02":                time.Date(2026, 1, 2, 0, 0, 0, 0, zone),
	} {
		if got, err := parseTime(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "yesterday", "15m", "-", "-5", "--5m", "-1y", "-99999999999d", "-NaNd", "2026-13-01", "-m"} {
		if got, err := parseTime(s, now); err == nil || !strings.Contains(err.Error(), "is not a time; write") {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"now", "-15m", "-2d", "1700000000", "2026-01-02T03:04:05Z"} {
		f.Add(s)
	}
	now := time.Unix(1700000000, 0)
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := parseTime(s, now); err == nil && strings.HasPrefix(s, "-") && got.After(now) {
			t.Errorf("%q is after now", s)
		}
	})
}

func table(t *testing.T, columns []string, rows ...row) string {
	t.Helper()
	var b strings.Builder
	w := newRowWriter("table", &b, columns)
	for _, r := range rows {
		if err := w.Row(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTableAlignsColumns(t *testing.T) {
	got := table(t, nil,
		row{"level": "WARN", "msg": "größer", fieldTopic: "t", "__tag__:__path__": "/a"},
		row{"level": "E", "msg": "x", "zone": "eu"})
	want := "level  msg     zone\nWARN   größer\nE      x       eu\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTableShowsTheFieldsThatAreAskedFor(t *testing.T) {
	got := table(t, []string{"__tag__:__path__", "msg"}, row{"msg": "m", "other": "o", "__tag__:__path__": "/a"})
	if want := "__path__  msg\n/a        m\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTableRepeatsTheHeaderOnlyWhenColumnsChange(t *testing.T) {
	var rows []row
	for range tablePage {
		rows = append(rows, row{"a": "1"})
	}
	rows = append(rows, row{"a": "1"})
	if got := table(t, nil, rows...); strings.Count(got, "a\n") != 1 {
		t.Errorf("header: %q", got)
	}
	rows[tablePage] = row{"b": "1"}
	if got := table(t, nil, rows...); !strings.HasSuffix(got, "1\nb\n1\n") {
		t.Errorf("no new header: %q", got)
	}
}

func TestTableCutsWideCellsButTheLast(t *testing.T) {
	long := strings.Repeat("x", 200)
	lines := strings.Split(table(t, []string{"a", "b"}, row{"a": long, "b": long}), "\n")
	if want := strings.Repeat("x", cellWidth-1) + "…  " + long; lines[1] != want {
		t.Errorf("row %q", lines[1])
	}
}

// A log can hold what would rewrite the screen of whoever looks at it.
func TestTableKeepsControlCharactersFromTheTerminal(t *testing.T) {
	got := table(t, nil, row{"a\x1b": "x\x1b[2J\r\ny\x00\u202e \"q\" \\ü", "b": "\xff"})
	if !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\r\x00\u202e") || strings.Count(got, "\n") != 2 {
		t.Errorf("%q", got)
	}
	if !strings.Contains(got, `x\x1b[2J\r\ny\x00\u202e "q"`) {
		t.Errorf("%q", got)
	}
}

func TestShowTime(t *testing.T) {
	sec := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local).Unix()
	at := time.Unix(sec, 0)
	for _, c := range []struct {
		r    row
		want string
	}{
		{row{fieldTime: itoa(sec)}, at.Format(time.DateTime)},
		{row{fieldTime: itoa(sec), fieldTimeNs: "123456789"}, at.Format(time.DateTime) + ".123456"},
		{row{fieldTime: "soon"}, "soon"},
	} {
		if got := showTime(c.r); got != c.want {
			t.Errorf("%v: %s, want %s", c.r, got, c.want)
		}
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func TestProgressIsForTerminalsOnly(t *testing.T) {
	var b strings.Builder
	(&progress{}).show("%d", 1)
	p := &progress{w: &b}
	p.show("%d logs", 7)
	p.clear()
	if got := b.String(); got != "\r7 logs\x1b[K\r\x1b[K" {
		t.Errorf("%q", got)
	}
	if isTerminal(&b) {
		t.Error("a buffer is no terminal")
	}
}

func TestUpFindsTheLogsOfAMachine(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"syslog", "a.log", "a.log.1.gz", "nginx/access.log", "deep/1/2/3/4/x.log", "deep/1/2/3/4/5/6/y.log", "journal.journal", "wtmp", "data/own.log"} {
		writeFile(t, filepath.Join(dir, filepath.FromSlash(name)), "x\n")
	}
	inputs := upInputs([]string{filepath.Join(dir, "**", "*.log"), filepath.Join(dir, "syslog"), filepath.Join(dir, "**", "*")}, filepath.Join(dir, "data"))
	if len(inputs) != 1 {
		t.Fatalf("%d inputs", len(inputs))
	}
	for i, want := range []int{3, 1, 4} {
		if got, unreadable := countFiles(inputs[0], inputs[0].FilePaths[i]); got != want || unreadable != 0 {
			t.Errorf("%s: %d files, want %d", inputs[0].FilePaths[i], got, want)
		}
	}
	if got, _ := countFiles(inputs[0], filepath.Join(dir, "none", "*.log")); got != 0 {
		t.Errorf("%d files in a directory that is not there", got)
	}
}

func TestManyPathsMakeSeveralInputs(t *testing.T) {
	var paths []string
	for i := range 25 {
		paths = append(paths, "/a/"+string(rune('a'+i))+".log")
	}
	inputs := upInputs(paths, "/data")
	if len(inputs) != 3 || len(inputs[2].FilePaths) != 5 {
		t.Errorf("%d inputs", len(inputs))
	}
}

func TestShellQuote(t *testing.T) {
	for s, want := range map[string]string{"./a-b_c/d.json": "./a-b_c/d.json", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := shellQuote(s); got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
}
