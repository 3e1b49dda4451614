package stdout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"logtail/internal/sls"
)

func group(values ...string) []byte {
	var b []byte
	for _, v := range values {
		b = sls.AppendLog(b, 1, -1, []sls.Content{{Key: []byte("k"), Value: []byte(v)}})
	}
	return b
}

func lines(values ...string) string {
	var b strings.Builder
	for _, v := range values {
		fmt.Fprintf(&b, `{"__time__":1,"k":"%s"}`+"\n", v)
	}
	return b.String()
}

// narrow takes as many bytes as it has room for.
type narrow struct {
	strings.Builder
	room int
}

var errFull = errors.New("no space left on device")

func (n *narrow) Write(b []byte) (int, error) {
	take := min(len(b), n.room)
	n.room -= take
	n.Builder.Write(b[:take])
	if take < len(b) {
		return take, errFull
	}
	return take, nil
}

func TestGroupsBecomeLines(t *testing.T) {
	var out strings.Builder
	s := New(&out)
	if err := s.Write(t.Context(), [][]byte{group("a", "b"), group("c")}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != lines("a", "b", "c") {
		t.Errorf("got %q", got)
	}
}

// Wherever a write is cut, the same groups again give every line once.
func TestAWriteThatWasCutGoesOnWhereItStopped(t *testing.T) {
	want := lines("a", "b", "c", "d")
	for cut := range len(lines("a", "b", "c")) {
		for again := range 30 {
			out := &narrow{room: cut}
			s := New(out)
			if err := s.Write(t.Context(), [][]byte{group("a", "b"), group("c")}); !errors.Is(err, errFull) {
				t.Fatal(err)
			}
			// The next try may be cut, too.
			out.room = again
			_ = s.Write(t.Context(), [][]byte{group("a", "b"), group("c"), group("d")})
			out.room = 1 << 20
			if out.String() != want {
				if err := s.Write(t.Context(), [][]byte{group("a", "b"), group("c"), group("d")}); err != nil {
					t.Fatal(err)
				}
			}
			if got := out.String(); got != want {
				t.Fatalf("cut after %d and %d bytes: got %q", cut, again, got)
			}
		}
	}
}

func TestAfterACutFewerGroupsAreNotRepeatedEither(t *testing.T) {
	all := []string{"a", "b", "c", "d"}
	for cut := range len(lines(all...)) {
		out := &narrow{room: cut}
		s := New(out)
		if err := s.Write(t.Context(), [][]byte{group(all...)}); err == nil {
			t.Fatal("no error")
		}
		out.room = 1 << 20
		for _, g := range [][]byte{nil, group("a"), group("b", "c"), group("d")} {
			if err := s.Write(t.Context(), [][]byte{g}); err != nil {
				t.Fatal(err)
			}
		}
		if got := out.String(); got != lines(all...) {
			t.Fatalf("cut after %d bytes: got %q", cut, got)
		}
	}
}

// Given other groups, it finishes the cut line and writes those.
func TestAfterACutOtherGroupsBeginOnALineOfTheirOwn(t *testing.T) {
	for cut := range len(lines("a", "b")) {
		for again := range 30 {
			out := &narrow{room: cut}
			s := New(out)
			if err := s.Write(t.Context(), [][]byte{group("a", "b")}); err == nil {
				t.Fatal("no error")
			}
			out.room = again
			err := s.Write(t.Context(), [][]byte{group("x")})
			out.room = 1 << 20
			if err != nil {
				if err := s.Write(t.Context(), [][]byte{group("x")}); err != nil {
					t.Fatal(err)
				}
			}
			whole := cut / len(lines("a"))
			if cut%len(lines("a")) > 0 {
				whole++
			}
			want := lines([]string{"a", "b"}[:whole]...) + lines("x")
			if got := out.String(); got != want {
				t.Fatalf("cut after %d and %d bytes: got %q, want %q", cut, again, got, want)
			}
		}
	}
}

func TestAClosedPipeIsSaidClearly(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	err = New(w).Write(t.Context(), [][]byte{group("a")})
	if !errors.Is(err, ErrClosed) || !errors.Is(err, syscall.EPIPE) || !strings.Contains(err.Error(), "flusher_stdout") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsNoGroupIsTheGroupsFault(t *testing.T) {
	var out strings.Builder
	s := New(&out)
	err := s.Write(t.Context(), [][]byte{group("a"), {0x0a, 0xff}})
	if _, ok := sls.AsError(err); !ok || out.Len() > 0 {
		t.Errorf("%v; written: %q", err, out.String())
	}
}

func TestNothingIsWrittenAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	if err := New(&out).Write(ctx, [][]byte{group("a")}); !errors.Is(err, context.Canceled) || out.Len() > 0 {
		t.Errorf("%v; written: %q", err, out.String())
	}
}
