package state

import (
	"encoding/json"
	"maps"
	"slices"

	"logtail/internal/delivery"
)

// Lanes are the checkpoints of a stream's lanes. They are a list, as a map takes 800
// bytes and there may be 100,000 streams; in the file they are an object by name.
type Lanes []Lane

// Lane is the checkpoint of one lane.
type Lane struct {
	Flusher string // its name
	delivery.Checkpoint
}

// Of returns the checkpoint of a flusher's lane.
func (l Lanes) Of(flusher string) (c delivery.Checkpoint, ok bool) {
	for i := range l {
		if l[i].Flusher == flusher {
			return l[i].Checkpoint, true
		}
	}
	return c, false
}

// MarshalJSON implements json.Marshaler.
func (l Lanes) MarshalJSON() ([]byte, error) {
	m := make(map[string]*delivery.Checkpoint, len(l))
	for i := range l {
		m[l[i].Flusher] = &l[i].Checkpoint
	}
	return json.Marshal(m)
}

// UnmarshalJSON implements json.Unmarshaler. The list is sorted by name.
func (l *Lanes) UnmarshalJSON(b []byte) error {
	var m map[string]delivery.Checkpoint
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*l = nil
	if len(m) > 0 {
		*l = make(Lanes, 0, len(m))
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		*l = append(*l, Lane{name, m[name]})
	}
	return nil
}
