package agent

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// relaxEvery is how often it is looked whether the agent has come to rest.
	relaxEvery = 5 * time.Second
	// restBytes is the most that is allocated in that time by an agent at rest. One that
	// watches 100,000 idle files allocates some 0.1 MB a second.
	restBytes = 4 << 20
	// burstBytes is what must have been allocated since memory was given back last.
	burstBytes = 16 << 20
)

// relax gives memory back to the system whenever the agent comes to rest, until ctx
// ends: a start takes more of it than what follows, and without that the process would keep
// it for minutes, as nothing collects the garbage of a process that does nothing.
func (a *Agent) relax(ctx context.Context) {
	t := time.NewTicker(relaxEvery)
	defer t.Stop()
	last, before := uint64(0), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := allocated()
		if now-before < restBytes && now-last >= burstBytes {
			a.store.Trim()
			debug.FreeOSMemory()
			last = now
		}
		before = now
	}
}

// allocated is how many bytes of memory the process has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
