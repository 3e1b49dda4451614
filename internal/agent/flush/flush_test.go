package flush_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"logtail/internal/agent/flush"
	"logtail/internal/agent/flush/blackhole"
	"logtail/internal/agent/flush/file"
	"logtail/internal/agent/flush/stdout"
	"logtail/internal/pipeline"
	"logtail/internal/sls"
)

func sinks(t *testing.T) map[string]flush.Sink {
	f, err := file.New(&pipeline.FlusherFile{FilePath: filepath.Join(t.TempDir(), "a.jsonl"), MaxFileSize: 1 << 20, MaxFiles: 2})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]flush.Sink{"file": f, "stdout": stdout.New(new(bytes.Buffer)), "blackhole": blackhole.New()}
}

func TestEverySinkTakesGroupsAndCloses(t *testing.T) {
	group := sls.AppendLog(nil, 1, -1, []sls.Content{{Key: []byte("k"), Value: []byte("v")}})
	for name, s := range sinks(t) {
		for range 3 {
			if err := s.Write(t.Context(), [][]byte{group, group}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := s.Write(t.Context(), nil); err != nil {
			t.Errorf("%s: nothing to write: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
	}
}
