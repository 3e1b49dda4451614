package agent

import (
	"errors"
	"io/fs"
	"time"

	"logtail/internal/agent/read"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// forgetEvery is how often streams are looked for that can be forgotten.
const forgetEvery = time.Hour

// forget drops the streams that the 30-day rule lets go: their files have not
// changed for so long and are found nowhere, and everything of them is delivered. A
// file that is there is never forgotten, or it would be read anew.
func (a *Agent) forget() {
	now := a.now()
	byID := map[delivery.StreamID]*stream{}
	var list []state.Stream
	for _, s := range a.files.of(nil) {
		s.mu.Lock()
		if now.Unix()-s.rec.Seen >= int64(state.Lifetime/time.Second) {
			byID[s.rec.ID] = s
			list = append(list, s.rec)
		}
		s.mu.Unlock()
	}
	for _, id := range state.Expired(list, now, func(rec *state.Stream) bool { return byID[rec.ID].needed() }) {
		s := byID[id]
		s.mu.Lock()
		s.end(true)
		s.mu.Unlock()
	}
}

// needed says whether the stream has something to deliver or its file may be there.
func (s *stream) needed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done || s.fresh || s.f != nil || s.frozen || s.unsure {
		return true
	}
	if !s.rec.Pending && (!s.attached() || s.rec.SizeSeen > s.safe() || s.group != nil) {
		return true
	}
	for _, l := range s.lanes {
		if l.Pending() {
			return true
		}
	}
	if s.leads(s.rec.Path) {
		return true
	}
	f, _, err := read.Search(s.known(), s.rec.Path, s.run.input.MaxCheckpointDirSearchDepth, s.rec.Real)
	if err == nil {
		f.Close()
	}
	return !errors.Is(err, fs.ErrNotExist)
}
