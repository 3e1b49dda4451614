package raftwal

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
)

const childDir = "LOGTAIL_TEST_SHARDLOG_CHILD"

// TestMain turns the test binary into the child that TestKilledProcess kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := appendForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// appendForever appends to several lanes at once and says each end that was
// acknowledged.
func appendForever(dir string) error {
	e, err := open(dir, Options{SegmentSize: 64 << 10})
	if err != nil {
		return err
	}
	s, err := e.Shard(key)
	if err != nil {
		return err
	}
	errs := make(chan error)
	var mu sync.Mutex
	for lane := range 6 {
		go func() {
			id := delivery.LaneID{15: byte(lane + 1)}
			p, err := s.Resume(1, []delivery.LaneID{id})
			if err != nil {
				errs <- err
				return
			}
			at := uint64(0)
			if p[0] != nil {
				at = p[0].End
			}
			for n := 1; ; n = n%40 + 1 {
				r := lines(at, n)
				r.Range.Lane = id
				res, err := s.Append(bg, []*shardlog.Record{r, bulk(16 * n)})
				if err != nil || res[0].Action != delivery.Append {
					errs <- fmt.Errorf("lane %d at %d: %+v, %w", lane, at, res, err)
					return
				}
				at = res[0].Progress.End
				mu.Lock()
				fmt.Printf("%d %d\n", lane+1, at)
				mu.Unlock()
			}
		}()
	}
	return <-errs
}

// TestKilledProcess kills a process again and again in the middle of its
// appends: what it said to be stored is there, once, and nothing has a hole.
func TestKilledProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	acked := map[byte]uint64{}
	for round := range 6 {
		child := exec.CommandContext(t.Context(), self)
		child.Env = append(os.Environ(), childDir+"="+dir)
		var stderr strings.Builder
		child.Stderr = &stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			lane, end, ok := strings.Cut(lines.Text(), " ")
			l, err1 := strconv.Atoi(lane)
			e, err2 := strconv.ParseUint(end, 10, 64)
			if !ok || err1 != nil || err2 != nil { // cut off by the kill
				break
			}
			acked[byte(l)] = max(acked[byte(l)], e)
			if n == 200+round*50 {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := child.Wait(); err == nil || stderr.Len() > 0 {
			t.Fatalf("the child ended by itself: %v, %s", err, stderr.String())
		}
		compareKilled(t, dir, acked)
	}
	t.Logf("acknowledged: %v", acked)
}

// compareKilled opens what the child left.
func compareKilled(t *testing.T, dir string, acked map[byte]uint64) {
	t.Helper()
	e, err := open(dir, Options{SegmentSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	s, err := e.Shard(key)
	if err != nil {
		t.Fatal(err)
	}
	found := map[byte]uint64{}
	for seq, next := s.Bounds(); seq < next; {
		recs, err := s.Read(seq, 1000, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			seq++
			if r.Range == nil {
				continue
			}
			lane := r.Range.Lane[15]
			if r.Range.Start != found[lane] {
				t.Fatalf("lane %d: record %d begins at %d, the one before ended at %d", lane, r.Seq, r.Range.Start, found[lane])
			}
			found[lane] = r.Range.End
		}
	}
	for lane, end := range acked {
		p, err := s.Resume(0, []delivery.LaneID{{15: lane}})
		if err != nil || p[0] == nil || p[0].End != found[lane] || found[lane] < end {
			t.Fatalf("lane %d: acknowledged up to %d, found up to %d, progress %+v, %v", lane, end, found[lane], p[0], err)
		}
	}
}
