package agent

import (
	"fmt"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/read"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// hints are the places where another agent stood, of which the checkpoints were
// taken over: where a stream is made for such a file, it goes on from there. Only the
// discovery goroutine uses it.
type hints struct {
	byInode map[[2]uint64]state.Hint
	byPath  map[string]state.Hint
}

func newHints(list []state.Hint) *hints {
	h := &hints{byInode: map[[2]uint64]state.Hint{}, byPath: map[string]state.Hint{}}
	for _, x := range list {
		if x.Inode != 0 {
			h.byInode[[2]uint64{x.Dev, x.Inode}] = x
		} else {
			h.byPath[x.Path] = x
		}
	}
	return h
}

// hinted makes a new stream go on where another agent stood in the file, and
// says whether one did.
func (a *Agent) hinted(s *stream, path string, id read.Identity, size int64) bool {
	if len(a.hints.byInode)+len(a.hints.byPath) == 0 {
		return false
	}
	h, ok := a.hints.byInode[[2]uint64{id.Dev, id.Inode}]
	if !ok {
		if h, ok = a.hints.byPath[path]; !ok {
			return false
		}
	}
	if h.Offset > uint64(size) {
		return false // another file has the inode or path now
	}
	f, err := read.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	hash, ok := read.HashBefore(f, h.Offset)
	if !ok || h.Hash != 0 && h.Hash != hash {
		a.alarms.Raise(alarm.Checkpoint, s.run.scope, 1,
			fmt.Sprintf("%s has other content than when the checkpoint of %s was taken over; it is read from its beginning", path, h.From), nil)
		return false
	}
	s.rec.Base, s.rec.BaseHash = h.Offset, hash
	if h.Offset == 0 {
		s.rec.BaseHash = delivery.TailHash(nil)
	}
	delete(a.hints.byInode, [2]uint64{h.Dev, h.Inode})
	delete(a.hints.byPath, h.Path)
	a.saver.used(h)
	a.log.Info("a file goes on where another agent stood", "path", path, "agent", h.From, "offset", h.Offset)
	return true
}
