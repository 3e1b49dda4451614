package state

import (
	"crypto/rand"
	"fmt"
	"sync"
	"testing"

	"logtail/internal/delivery"
)

// many are n streams as they are in a large installation.
func many(n int) []Stream {
	list := make([]Stream, n)
	for i := range list {
		list[i] = Stream{
			ID: delivery.NewStreamID(), Pipeline: "containers", Dev: 64769, Inode: uint64(1e6 + i), Birth: 1795255309123456789, Seen: 1795255309, Born: 1795255309123456789,
			Path:    fmt.Sprintf("/var/log/containers/payment-service-7d9f8b6c5d-%05d_production_app-0123456789abcdef.log", i),
			HeadLen: 1024, Head: 0x123456789abcdef, SizeSeen: 987654321,
			Lanes: Lanes{{"flusher_sls", delivery.Checkpoint{Point: delivery.Point{End: 987654321, Hash: 0x123456789abcdef}, Incarnation: "0123456789abcdef", AbandonedFrom: 987654321}}},
		}
	}
	return list
}

// BenchmarkCommit is the saver's second: n streams of 100,000 have moved.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			list := many(max(n, 20_000))
			if err := s.Commit(Change{Put: list}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				for i := range n {
					list[i].High++
				}
				if err := s.Commit(Change{Put: list[:n]}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFirstScan is one commit of n new streams into an empty state.
func BenchmarkFirstScan(b *testing.B) {
	list := many(100_000)
	for b.Loop() {
		s, err := Open(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Commit(Change{Put: list}); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

// BenchmarkOpen opens and reads a state of 100,000 streams: every start of the agent.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Commit(Change{Put: many(100_000)}); err != nil {
		b.Fatal(err)
	}
	s.Close()
	for b.Loop() {
		s, err := Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		if c, err := s.Read(); err != nil || len(c.Streams) != 100_000 {
			b.Fatal(len(c.Streams), err)
		}
		s.Close()
	}
}

// BenchmarkPutSeq is one sequence number prepared by each of 64 lanes at once.
func BenchmarkPutSeq(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	lanes := make([]delivery.LaneID, 64)
	for i := range lanes {
		_, _ = rand.Read(lanes[i][:])
	}
	for b.Loop() {
		var all sync.WaitGroup
		for _, id := range lanes {
			all.Go(func() {
				if err := s.PutSeq(map[delivery.LaneID]Seq{id: {Key: "0123456789abcdef0123456789abcdef", Next: 1, Pend: []SeqIntent{{SeqPlace: SeqPlace{End: 100}}}}}); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
}
