package agent

import (
	"cmp"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"time"

	"logtail/internal/agent/status"
)

// reportPatience is how long a report waits for streams that are in a turn. A
// turn takes milliseconds, unless its disk does not answer.
const reportPatience = time.Second

// maxWaiting bounds the reports that wait for streams, each in a goroutine.
const maxWaiting = 100

var _ status.Source = (*Agent)(nil)

// Status implements status.Source.
func (a *Agent) Status() status.Status {
	s := status.Status{OpenFiles: int(a.handles.Load()), ReadBytes: a.stats.ReadBytes.Load(), Logs: a.stats.Logs.Load(), Counts: a.ledger.Snapshot()}
	list := a.files.of(nil)
	s.Files = len(list)
	count := make(map[*pipelineRun]int, len(a.runs))
	for _, st := range list {
		count[st.run]++
	}
	for _, run := range a.runs {
		s.Pipelines = append(s.Pipelines, status.Pipeline{
			Name: run.p.Name, Files: count[run],
			ReadBytes: int64(run.stats.BytesIn.Load()), Records: int64(run.stats.RecordsIn.Load()), Logs: int64(run.stats.RecordsOut.Load()),
		})
	}
	slices.SortFunc(s.Pipelines, func(a, b status.Pipeline) int { return cmp.Compare(a.Name, b.Name) })
	for _, d := range a.order {
		n := d.Snapshot()
		s.Destinations = append(s.Destinations, status.Destination{
			Name: n.Name, State: n.State, QueuedPackages: n.QueuedPackages, QueuedBytes: n.QueuedBytes, BufferedPackages: n.BufferedPackages,
			BufferedBytes: n.BufferedBytes, DeliveredLogs: n.DeliveredLogs, DeliveredBytes: n.DeliveredBytes, Requests: n.Requests,
			Failures: n.Failures, Concurrency: n.Concurrency, Error: n.Error,
		})
	}
	if b := a.buffer.Stats(); b.Records > 0 {
		s.Buffer = status.Buffer{Files: b.Files, Bytes: b.Bytes, Records: b.Records, Oldest: time.Unix(b.Oldest, 0)}
	}
	a.files.each(list, func(st *stream) {
		if n, held := st.held(); held {
			s.Held.Files++
			s.Held.Bytes += n
		}
	})
	return s
}

// Files implements status.Source.
func (a *Agent) Files() []status.File {
	list := a.files.of(nil)
	files := make([]status.File, 0, len(list))
	for _, s := range a.files.each(list, func(s *stream) {
		if !s.done {
			files = append(files, s.report())
		}
	}) {
		files = append(files, status.File{Pipeline: s.run.p.Name, Path: a.files.where(s), State: status.FileHangs})
	}
	return files
}

// each calls do for each stream while it is locked, one at a time, and returns those
// that could not be locked: they are read from a disk that does not answer.
func (x *files) each(list []*stream, do func(*stream)) (hanging []*stream) {
	busy := map[*stream]struct{}{}
	for _, s := range list {
		if s.mu.TryLock() {
			do(s)
			s.mu.Unlock()
		} else {
			busy[s] = struct{}{}
		}
	}
	if len(busy) == 0 {
		return nil
	}
	var mu sync.Mutex // guards busy and over, and is held while do runs
	over := false
	done := make(chan struct{}, len(busy)) // one for each that ends
	asked := 0
	for s := range maps.Clone(busy) {
		if x.waiting.Add(1) > maxWaiting { // others hang, so this one may well
			x.waiting.Add(-1)
			continue
		}
		asked++
		go func() { // ends with the turn
			defer x.waiting.Add(-1)
			s.mu.Lock()
			defer s.mu.Unlock()
			mu.Lock()
			defer mu.Unlock()
			if !over {
				do(s)
				delete(busy, s)
				done <- struct{}{}
			}
		}()
	}
	limit := time.NewTimer(reportPatience)
	defer limit.Stop()
	for ; asked > 0; asked-- {
		select {
		case <-done:
			continue
		case <-limit.C:
		}
		break
	}
	mu.Lock()
	defer mu.Unlock()
	over = true
	return slices.Collect(maps.Keys(busy))
}

// where returns a path of a stream without locking it; "" if none is known.
func (x *files) where(s *stream) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, p := range x.byPath {
		if p.s == s {
			return k.path
		}
	}
	return ""
}

// held says whether the stream's file is kept open though it is gone from its
// path, and how many bytes of it are not delivered. The caller holds mu.
func (s *stream) held() (bytes int64, ok bool) {
	if s.done || s.frozen || s.f == nil || !s.gone && !s.unlinked {
		return 0, false
	}
	end := max(s.seen, s.pos)
	low := end
	for _, l := range s.lanes {
		if l.given.End != unlimited {
			low = min(low, l.Checkpoint().End)
		}
	}
	return int64(end - low), end > low
}

// report says what is known of the stream's file. The caller holds mu.
func (s *stream) report() status.File {
	f := status.File{
		Pipeline: s.run.p.Name, Path: s.rec.Path, Stream: hex.EncodeToString(s.rec.ID[:]), Dev: s.rec.Dev, Inode: s.rec.Inode, Birth: s.rec.Birth,
		Size: int64(max(s.seen, s.rec.SizeSeen, s.pos)), Offset: s.pos, Seen: s.rec.Seen, State: status.FileIdle,
	}
	f.Acked = s.acked()
	if !s.attached() { // nothing has been read yet
		f.Offset = s.rec.Base
		for _, o := range f.Acked {
			f.Offset = max(f.Offset, o.End)
		}
	}
	held, isHeld := s.held()
	switch {
	case s.rec.Pending:
		f.State, f.Size = status.FilePending, s.rec.Size
	case len(s.lanes) > 0 && s.stopped():
		f.State = status.FileStopped
	case s.frozen:
		f.State, f.Offset = status.FileEnded, max(f.Offset, s.high)
	}
	f.SetLag()
	switch {
	case f.State != status.FileIdle:
	case isHeld:
		f.State, f.Held = status.FileHeld, held
	case s.before != nil && !s.before.passed.Load():
		f.State = status.FileWaiting
	case f.Lag > 0:
		f.State = status.FileBusy
	}
	return f
}

// acked returns up to where each destination has the stream.
func (s *stream) acked() status.Offsets {
	if s.lanes == nil {
		list := make(status.Offsets, 0, len(s.rec.Lanes))
		for _, l := range s.rec.Lanes {
			list = append(list, status.Offset{Flusher: l.Flusher, End: l.End})
		}
		return list
	}
	list := make(status.Offsets, len(s.lanes))
	for i, l := range s.lanes {
		list[i] = status.Offset{Flusher: s.run.flushers[i].name, End: l.Checkpoint().End}
	}
	return list
}
