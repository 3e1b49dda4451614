package loggen

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"regexp"
	"testing"
	"time"
)

func lines(g *Gen, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = g.AppendLine(nil)
	}
	return all
}

func TestTheSameSeedGivesTheSameLines(t *testing.T) {
	for _, kind := range Kinds() {
		t.Run(kind, func(t *testing.T) {
			one, again, other := New(kind, 1).AppendBytes(nil, 1<<16), New(kind, 1).AppendBytes(nil, 1<<16), New(kind, 2).AppendBytes(nil, 1<<16)
			if !bytes.Equal(one, again) {
				t.Error("the same seed gave other lines")
			}
			if bytes.Equal(one, other) {
				t.Error("another seed gave the same lines")
			}
			if len(one) < 1<<16 || one[len(one)-1] != '\n' {
				t.Errorf("%d bytes that do not end a record", len(one))
			}
		})
	}
}

func TestLinesDifferAndHaveTheirSize(t *testing.T) {
	for kind, size := range map[string]int{Nginx: 500, Java: 513, JSON: 400, Delimiter: 250} {
		t.Run(kind, func(t *testing.T) {
			const n = 10_000
			seen := map[string]bool{}
			total := 0
			for _, line := range lines(New(kind, 7), n) {
				seen[string(line)] = true
				total += len(line)
				if bytes.IndexByte(line, '\n') != len(line)-1 && kind != Java {
					t.Fatalf("not one line: %q", line)
				}
			}
			if len(seen) != n {
				t.Errorf("%d of %d records are different", len(seen), n)
			}
			if mean := total / n; mean < size*9/10 || mean > size*11/10 {
				t.Errorf("mean size %d, want about %d", mean, size)
			}
		})
	}
}

func TestNumbersCanBeReadBack(t *testing.T) {
	for _, kind := range Kinds() {
		t.Run(kind, func(t *testing.T) {
			for i, line := range lines(New(kind, 3).Number("file_1.log", 40), 100) {
				stream, n, ok := ParseNumber(line)
				if !ok || stream != "file_1.log" || n != uint64(40+i) {
					t.Fatalf("%q: stream %q, number %d, %v", line, stream, n, ok)
				}
			}
			if _, _, ok := ParseNumber(New(kind, 3).AppendLine(nil)); ok {
				t.Error("a line without a number has one")
			}
		})
	}
}

func TestParseNumberRefusesWhatIsNone(t *testing.T) {
	for _, s := range []string{"", "seq=", "seq=a", "seq=a-12", "seq=a-12345678x0123456"} {
		if _, _, ok := ParseNumber([]byte(s)); ok {
			t.Errorf("%q was taken for a number", s)
		}
	}
}

func TestNginxLinesMatchTheirRegex(t *testing.T) {
	re := regexp.MustCompile("^(?:" + NginxRegex + ")$")
	if re.NumSubexp() != 10 || len(NginxKeys) != 10 {
		t.Fatalf("%d groups, %d keys", re.NumSubexp(), len(NginxKeys))
	}
	start := time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, g := range []*Gen{New(Nginx, 1), New(Nginx, 2).Number("s", 1)} {
		for _, line := range lines(g.StartAt(start), 1000) {
			m := re.FindSubmatch(bytes.TrimSuffix(line, []byte("\n")))
			if m == nil {
				t.Fatalf("no match: %s", line)
			}
			at, err := time.Parse("02/Jan/2006:15:04:05 -0700", string(m[2]))
			if err != nil || at.Before(start) || at.After(start.Add(time.Minute)) {
				t.Fatalf("time %s, %v", m[2], err)
			}
		}
	}
}

func TestOnlyTheFirstLineOfAStackTraceMatches(t *testing.T) {
	re := regexp.MustCompile("^(?:" + JavaStartPattern + ")$")
	for _, record := range lines(New(Java, 5).Number("s", 0), 1000) {
		parts := bytes.Split(bytes.TrimSuffix(record, []byte("\n")), []byte("\n"))
		if len(parts) != 6 {
			t.Fatalf("%d lines: %s", len(parts), record)
		}
		for i, p := range parts {
			if re.Match(p) != (i == 0) {
				t.Fatalf("line %d: match is %v: %s", i, i != 0, p)
			}
		}
	}
}

func TestJSONLinesAreObjects(t *testing.T) {
	for _, line := range lines(New(JSON, 5).Number("s", 0), 1000) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil || len(fields) != 13 {
			t.Fatalf("%d fields, %v: %s", len(fields), err, line)
		}
	}
}

func TestDelimiterLinesHaveTheirColumns(t *testing.T) {
	for _, line := range lines(New(Delimiter, 5).Number("s", 0), 1000) {
		row, err := csv.NewReader(bytes.NewReader(line)).Read()
		if err != nil || len(row) != len(DelimiterKeys) {
			t.Fatalf("%d columns, %v: %s", len(row), err, line)
		}
	}
}

func TestUnknownKindPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	New("syslog", 1)
}

func TestAppendLineDoesNotAllocate(t *testing.T) {
	for _, kind := range Kinds() {
		g := New(kind, 1).Number("s", 0)
		buf := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(1000, func() { buf = g.AppendLine(buf[:0]) }); n != 0 {
			t.Errorf("%s: %v allocations a record", kind, n)
		}
	}
}

func BenchmarkAppendLine(b *testing.B) {
	for _, kind := range Kinds() {
		b.Run(kind, func(b *testing.B) {
			g := New(kind, 1)
			buf := make([]byte, 0, 4096)
			total := 0
			for b.Loop() {
				buf = g.AppendLine(buf[:0])
				total += len(buf)
			}
			b.SetBytes(int64(total / b.N))
		})
	}
}
