package agent

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// inUse returns the bytes of memory that are in use.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestManyFilesHoldLittleMemoryWhileTheDestinationIsAway: files must not hold
// what they have read for as long as nobody takes it.
func TestManyFilesHoldLittleMemoryWhileTheDestinationIsAway(t *testing.T) {
	files, most := 12_000, uint64(120<<20)
	if testing.Short() {
		files, most = 2_000, 90<<20
	}
	f := newFixture(t)
	f.append("first.log", "first")
	before := inUse()
	a := f.start()
	f.store.await(t, "first")
	f.store.change(func() { f.store.down = true })
	body := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 60))
	total := int64(6)
	for i := range files {
		b := append([]byte(fmt.Sprintf("file %d\n", i)), body...)
		if err := os.WriteFile(f.path(fmt.Sprintf("%d.log", i)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		total += int64(len(b))
	}
	parked := func() bool { // all are known, and nothing is read any more
		return a.stats.Files.Load() == int64(files)+1 && a.queue.quiet()
	}
	until(t, "all files are known", parked)
	if open := a.handles.Load(); open > a.maxHandles+int64(a.opt.Workers) {
		t.Errorf("%d files are open, of at most %d", open, a.maxHandles)
	}
	if got := inUse() - before; got > most {
		t.Errorf("%d MB for %d files of which %d MB are read", got>>20, files, a.Summary().ReadBytes>>20)
	}
	f.store.change(func() { f.store.down = false })
	until(t, "all is read", func() bool { return a.Summary().ReadBytes == total })
	until(t, "all is delivered", func() bool { return a.Summary().Delivered == int64(1+files*61) })
}
