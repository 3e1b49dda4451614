package raftwal

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
)

var bg = context.Background()

// BenchmarkAppend appends records of 64 KB with so many callers at once, each
// with its own lane.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 8, 64} {
		for _, size := range []int{1 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("callers=%d/size=%d", callers, size), func(b *testing.B) {
				s := benchShard(b)
				data := make([]byte, size)
				for i := range data {
					data[i] = byte(rand.Uint32())
				}
				var left atomic.Int64
				left.Store(int64(b.N))
				done := make(chan error, callers)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for c := range callers {
					go func() {
						at := uint64(0)
						for left.Add(-1) >= 0 {
							r := &shardlog.Record{Data: data, RawSize: len(data), Range: &delivery.Range{
								Lane: delivery.LaneID{15: byte(c)}, Session: 1, Start: at, End: at + 100, State: []byte("x"),
							}}
							res, err := s.Append(bg, []*shardlog.Record{r})
							if err != nil || res[0].Action != delivery.Append {
								done <- fmt.Errorf("%+v, %w", res, err)
								return
							}
							at += 100
						}
						done <- nil
					}()
				}
				for range callers {
					if err := <-done; err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			})
		}
	}
}

func benchShard(b *testing.B) *shard {
	e, err := open(b.TempDir(), Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	s, err := e.Shard(key)
	if err != nil {
		b.Fatal(err)
	}
	return s.(*shard)
}

// BenchmarkRead reads records of 64 KB in order.
func BenchmarkRead(b *testing.B) {
	s := benchShard(b)
	const n = 200
	for range n {
		if _, err := s.Append(bg, []*shardlog.Record{bulk(64 << 10)}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(64 << 10)
	b.ReportAllocs()
	at := uint64(1)
	for b.Loop() {
		recs, err := s.Read(at, 1, 1)
		if err != nil || len(recs) != 1 {
			b.Fatal(len(recs), err)
		}
		at = at%n + 1
	}
}

// BenchmarkDecide measures what a batch costs without the disk: 64 requests
// that are all duplicates, as after a network failure.
func BenchmarkDecide(b *testing.B) {
	s := benchShard(b)
	if _, err := s.Append(bg, []*shardlog.Record{lines(0, 10)}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Append(bg, []*shardlog.Record{lines(0, 1)}); err != nil {
			b.Fatal(err)
		}
	}
}
