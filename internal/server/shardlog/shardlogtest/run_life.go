package shardlogtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
)

func testReopen(t *testing.T, b *bench) {
	want := ""
	for i := range 60 {
		b.want(recs(piece(Lane(1), 1, uint64(i)*10, 1), plain(fmt.Sprintf("p%d", i))), delivery.Append, delivery.Append)
		want += fmt.Sprintf("1/%d p%d ", (i+1)*10, i)
		if i%7 == 0 {
			b.reopen()
		}
	}
	b.reopen()
	b.logs(want[:len(want)-1])
	if p := b.progress(Lane(1)); p == nil || p.End != 600 || string(p.State) != "at 600" || p.Session != 1 {
		t.Fatalf("progress %+v", p)
	}
	b.want(recs(piece(Lane(1), 1, 0, 60)), delivery.Duplicate)
}

func testCrash(t *testing.T, b *bench) {
	if !b.engine.Files {
		t.Skip("the engine keeps more than a folder")
	}
	want := ""
	for i := range 60 {
		b.want(recs(piece(Lane(1), 1, uint64(i)*10, 1), piece(Lane(2), 1, uint64(i)*20, 2)), delivery.Append, delivery.Append)
		want += fmt.Sprintf("1/%d 2/%d 2/%d ", (i+1)*10, i*20+10, i*20+20)
		if i%10 == 5 && b.engine.Maintain != nil {
			b.clock.Move(time.Minute)
			b.engine.Maintain(b.log)
		}
		if i%7 == 0 {
			b.crash()
		}
	}
	b.crash()
	b.logs(want[:len(want)-1])
	b.want(recs(piece(Lane(1), 1, 0, 60), piece(Lane(2), 1, 1190, 2)), delivery.Duplicate, delivery.Trim)
}

func testFaults(t *testing.T, b *bench) {
	want := ""
	at := uint64(0)
	for i := range 6 * int(FaultCount) {
		kind := Fault(i%int(FaultCount-1) + 1)
		b.want(recs(piece(Lane(1), 1, at, 2)), delivery.Append)
		want += fmt.Sprintf("1/%d 1/%d ", at+10, at+20)
		at += 20
		fired := b.faults.Fired()
		b.faults.Arm(kind)
		failed := recs(plain("lost"), piece(Lane(1), 1, at, 5), piece(Lane(2), 1, 0, 1), piece(Lane(1), 1, 0, 1))
		_, err := b.shard().Append(t.Context(), failed)
		if b.faults.Fired() == fired {
			t.Skip("the engine has no faults")
		}
		if err == nil {
			t.Fatalf("fault %d: no error", kind)
		}
		if kind != FaultSync && !errors.Is(err, shardlog.ErrNoSpace) {
			t.Errorf("fault %d: %v is not ErrNoSpace", kind, err)
		}
		b.logs(want[:len(want)-1]) // readable meanwhile
		if p := b.progress(Lane(1)); p.End != at {
			t.Fatalf("fault %d: progress %+v", kind, p)
		}
		if p := b.progress(Lane(2)); p != nil {
			t.Fatalf("fault %d: progress %+v", kind, p)
		}
		if i%3 == 0 {
			b.clock.Move(time.Second)
			b.want(recs(piece(Lane(1), 1, at, 1)), delivery.Append) // shorter than what failed
			want += fmt.Sprintf("1/%d ", at+10)
			at += 10
		}
		if i%4 == 0 {
			b.clock.Move(time.Second)
			b.append(plain("x"))
			want += "x "
			if b.engine.Files {
				b.crash()
			} else {
				b.reopen()
			}
		}
	}
	b.reopen()
	b.logs(want[:len(want)-1])
}

func testDrop(t *testing.T, b *bench) {
	b.append(plain("a"), piece(Lane(1), 1, 0, 1))
	s := b.shard()
	other, err := b.log.Shard(shardlog.Key{Store: "store-2", Shard: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Append(t.Context(), recs(plain("b"))); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again is no error
		if err := b.log.Drop(testKey.Store); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Append(t.Context(), recs(plain("c"))); !errors.Is(err, shardlog.ErrClosed) {
		t.Errorf("Append after Drop: %v", err)
	}
	if _, err := s.Read(1, 1, 1); !errors.Is(err, shardlog.ErrClosed) {
		t.Errorf("Read after Drop: %v", err)
	}
	if _, err := b.log.Shard(testKey); !errors.Is(err, shardlog.ErrClosed) {
		t.Errorf("Shard after Drop: %v", err)
	}
	b.reopen()
	if first, next := b.shard().Bounds(); first != 1 || next != 1 {
		t.Errorf("the dropped log has the bounds %d, %d", first, next)
	}
	if other, err = b.log.Shard(shardlog.Key{Store: "store-2", Shard: 3}); err != nil || joined(t, other) != "b" {
		t.Errorf("the other log: %v", err)
	}
	for _, bad := range []string{"", ".", "..", "a/b", `a\b`, "../x", ".hidden"} {
		if _, err := b.log.Shard(shardlog.Key{Store: bad}); err == nil {
			t.Errorf("a store named %q was opened", bad)
		}
		if err := b.log.Drop(bad); err == nil {
			t.Errorf("a store named %q was dropped", bad)
		}
	}
}

func testClose(t *testing.T, b *bench) {
	s := b.shard()
	b.append(plain("a"))
	for range 2 {
		if err := b.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, appendErr := s.Append(t.Context(), recs(plain("b")))
	_, readErr := s.Read(1, 1, 1)
	_, resumeErr := s.Resume(1, nil)
	_, seekErr := s.SeekTime(0)
	_, shardErr := b.log.Shard(testKey)
	for name, err := range map[string]error{
		"Append": appendErr, "Read": readErr, "Resume": resumeErr, "SeekTime": seekErr, "Shard": shardErr,
		"Truncate": s.Truncate(2), "Wait": s.Wait(t.Context(), 9), "Drop": b.log.Drop("x"),
	} {
		if !errors.Is(err, shardlog.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	b.open()
	b.logs("a")
}

func testContext(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.shard().Append(ctx, recs(plain("a"))); !errors.Is(err, context.Canceled) {
		t.Fatalf("Append with a canceled context: %v", err)
	}
	// Canceled at any moment: what is reported as failed is not there.
	s := b.shard()
	var mu sync.Mutex
	done := map[string]bool{}
	var wg sync.WaitGroup
	for i := range 64 {
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { cancel() })
		wg.Go(func() {
			text := fmt.Sprint(i)
			_, err := s.Append(ctx, recs(plain(text)))
			mu.Lock()
			done[text] = err == nil
			mu.Unlock()
		})
	}
	wg.Wait()
	for _, r := range readAll(t, s) {
		logs, err := texts(&r)
		if err != nil {
			t.Fatal(err)
		}
		if !done[logs[0].text] {
			t.Errorf("%q is there and was reported as failed", logs[0].text)
		}
		delete(done, logs[0].text)
	}
	for text, ok := range done {
		if ok {
			t.Errorf("%q was reported as stored and is not there", text)
		}
	}
}

func testConcurrent(t *testing.T, b *bench) {
	const writers, rounds = 16, 40
	s := b.shard()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			id := Lane(w + 1)
			for i := range rounds {
				r := recs(piece(id, 1, uint64(i)*10, 1))
				if i > 0 && i%5 == 0 {
					r = recs(piece(id, 1, uint64(i-1)*10, 2))
				}
				if i%3 == 0 {
					r = append(r, plain("p"))
				}
				res, err := s.Append(t.Context(), r)
				if err != nil || !res[0].Action.Accepted() || res[0].Progress.End != uint64(i+1)*10 {
					t.Errorf("writer %d, round %d: %+v, %v", w, i, res, err)
					return
				}
				if i%10 == 0 {
					if p, err := s.Resume(1, []delivery.LaneID{id}); err != nil || p[0].End != uint64(i+1)*10 {
						t.Errorf("writer %d: resume %+v, %v", w, p, err)
					}
				}
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for at := uint64(1); ; {
				if s.Wait(ctx, at) != nil {
					return
				}
				got, err := s.Read(at, 10, 1<<20)
				if err != nil || len(got) == 0 {
					t.Errorf("reading at %d: %d records, %v", at, len(got), err)
					return
				}
				at += uint64(len(got))
				if _, err := s.SeekTime(got[0].Received); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	if b.engine.Maintain != nil {
		readers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if i < 1000 { // snapshots and idle closes in the middle of it, and no lane forgotten
					b.clock.Move(10 * time.Minute)
				}
				b.engine.Maintain(b.log)
			}
		})
	}
	wg.Wait()
	cancel()
	readers.Wait()
	seen := map[string]int{}
	for _, r := range readAll(t, s) {
		logs, err := texts(&r)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range logs {
			seen[l.text]++
		}
	}
	for w := range writers {
		for i := range rounds {
			if text := fmt.Sprintf("%d/%d", w+1, (i+1)*10); seen[text] != 1 {
				t.Errorf("%s is there %d times", text, seen[text])
			}
		}
	}
}
