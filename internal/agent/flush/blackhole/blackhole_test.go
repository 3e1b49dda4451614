package blackhole

import (
	"context"
	"errors"
	"testing"
)

func TestBlackHoleCounts(t *testing.T) {
	s := New()
	for _, groups := range [][][]byte{{[]byte("123"), []byte("4567")}, nil, {[]byte("8")}} {
		if err := s.Write(t.Context(), groups); err != nil {
			t.Fatal(err)
		}
	}
	if g, b := s.Groups.Load(), s.Bytes.Load(); g != 3 || b != 8 {
		t.Errorf("%d groups, %d bytes", g, b)
	}
}

func TestBlackHoleTakesNothingAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := New()
	if err := s.Write(ctx, [][]byte{{1}}); !errors.Is(err, context.Canceled) || s.Groups.Load() != 0 {
		t.Errorf("%v, %d groups", err, s.Groups.Load())
	}
}

func TestBlackHoleDoesNotAllocate(t *testing.T) {
	s, groups, ctx := New(), [][]byte{{1}, {2}}, t.Context()
	if n := testing.AllocsPerRun(100, func() { _ = s.Write(ctx, groups) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
