package agent

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"logtail/internal/loggen"
	"logtail/internal/pipeline"
)

// BenchmarkFileToBlackhole is the whole hot path: a file of 128 MB is read,
// split, processed, encoded, compressed and thrown away. MB/s is of raw logs.
func BenchmarkFileToBlackhole(b *testing.B) {
	for _, c := range []struct{ name, kind, with string }{
		{"line", loggen.Nginx, ""},
		{"multi-line", loggen.Java, "    Multiline: {StartPattern: '\\[\\d+-\\d+-\\d+T.*'}\n"},
		{"regex", loggen.Nginx, ""},
		{"json", loggen.JSON, ""},
		{"delimiter", loggen.Delimiter, ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "a.log")
			data := loggen.New(c.kind, 1).AppendBytes(nil, 128<<20)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				p, err := pipeline.Parse("bench", []byte("inputs:\n  - Type: input_static_file_onetime\n    FilePaths: ["+path+"]\n"+c.with+processors(c.name)+
					"flushers:\n  - Type: flusher_blackhole\n"))
				if err != nil {
					b.Fatal(err)
				}
				a, err := New(Options{Data: b.TempDir(), Pipelines: []*pipeline.Pipeline{p}, Once: true, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
				if err != nil {
					b.Fatal(err)
				}
				if err := a.Run(b.Context()); err != nil {
					b.Fatal(err)
				}
				if s := a.Summary(); s.ReadBytes != int64(len(data)) || s.Delivered == 0 {
					b.Fatalf("%d of %d bytes were read, %d logs delivered", s.ReadBytes, len(data), s.Delivered)
				}
			}
		})
	}
}

func processors(name string) string {
	switch name {
	case "regex":
		return "processors:\n  - Type: processor_parse_regex_native\n    SourceKey: content\n" +
			`    Regex: '(\S+) - - \[([^\]]+)\] "(\w+) (\S+) ([^"]*)" (\d+) (\d+) "([^"]*)" "([^"]*)" (.*)'` + "\n" +
			"    Keys: [ip, time, method, url, protocol, status, size, referer, agent, rest]\n"
	case "json":
		return "processors:\n  - Type: processor_parse_json_native\n    SourceKey: content\n"
	case "delimiter":
		return "processors:\n  - Type: processor_parse_delimiter_native\n    SourceKey: content\n    Separator: ','\n" +
			"    Keys: [time, id, ip, method, path, status, size, took, note, agent, referer, user]\n"
	}
	return ""
}
