package state

import (
	"time"

	"logtail/internal/delivery"
)

// Lifetime is how long after its file was last seen to change a stream is
// forgotten at the earliest.
const Lifetime = 30 * 24 * time.Hour

// Expired returns the streams that can be forgotten: those that were not modified
// for Lifetime, unless needed says that they are needed still. It has to say so of
// a stream with unread bytes, one that is held or open, one of which the disk buffer
// has records, and one whose file still exists: a file without its stream
// would be taken for a new one and read from its first byte.
//
// A time of change that lies ahead of now, as after a clock was set back, is no age.
func Expired(streams []Stream, now time.Time, needed func(*Stream) bool) []delivery.StreamID {
	var list []delivery.StreamID
	before := now.Add(-Lifetime)
	for i := range streams {
		st := &streams[i]
		changed := time.Unix(st.Seen, 0)
		for _, t := range []time.Time{time.Unix(0, st.Mtime), time.Unix(0, st.Born)} {
			if t.After(changed) {
				changed = t
			}
		}
		if changed.Before(before) && !needed(st) {
			list = append(list, st.ID)
		}
	}
	return list
}
