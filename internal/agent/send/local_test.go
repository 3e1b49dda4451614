package send

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// aloneSink notices when it is written to twice at once.
type aloneSink struct{ writing, together atomic.Int64 }

func (s *aloneSink) Write(context.Context, [][]byte) error {
	if s.writing.Add(1) > 1 {
		s.together.Add(1)
	}
	for range 10 {
		runtime.Gosched()
	}
	s.writing.Add(-1)
	return nil
}

func (s *aloneSink) Close() error { return nil }

// A destination has many requests in flight, and a sink writes to one file.
func TestSinkIsWrittenToByOneRequestAtATime(t *testing.T) {
	sink := &aloneSink{}
	local := NewLocal(sink)
	var requests sync.WaitGroup
	for range 20 {
		requests.Go(func() {
			for range 100 {
				if _, err := local.Send(t.Context(), []*Package{{Logs: 1, Buf: &Buffer{}}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	requests.Wait()
	if n := sink.together.Load(); n > 0 {
		t.Errorf("%d writes began while another one went on", n)
	}
}
