package raftwal

import (
	"slices"
	"time"

	"logtail/internal/delivery"
)

const (
	// closedFor is how long a lane is remembered after it was closed, and
	// silentFor how long one that is not written to (delivery contract).
	closedFor = 48 * time.Hour
	silentFor = 60 * 24 * time.Hour
)

// lane is what is known of a lane: its progress, and the record that made it.
type lane struct {
	delivery.Progress
	seq uint64
}

// expired says whether the lane is to be forgotten at now (unix seconds).
func (l *lane) expired(now int64) bool {
	if l.Closed {
		return now-l.Time > int64(closedFor/time.Second)
	}
	return now-l.Time > int64(silentFor/time.Second)
}

// lanes are the lanes of a shard. Changes can be taken back until they are
// settled, because they are decided before they are durable.
type lanes struct {
	m    map[delivery.LaneID]lane
	undo []change
}

// change is a lane as it was before.
type change struct {
	id    delivery.LaneID
	old   lane
	known bool
}

// get returns the lane, nil if it is not known.
func (ls *lanes) get(id delivery.LaneID, now int64) *lane {
	l, ok := ls.m[id]
	if !ok || l.expired(now) {
		return nil
	}
	return &l
}

// set changes a lane. The reader state is copied: it may be part of a request.
func (ls *lanes) set(id delivery.LaneID, l lane) {
	old, known := ls.m[id]
	ls.undo = append(ls.undo, change{id: id, old: old, known: known})
	l.State = slices.Clone(l.State)
	ls.m[id] = l
}

// mark is the place to which rollBack can go back.
func (ls *lanes) mark() int { return len(ls.undo) }

// rollBack takes back the changes since the mark, the latest first.
func (ls *lanes) rollBack(mark int) {
	for i := len(ls.undo) - 1; i >= mark; i-- {
		if c := ls.undo[i]; c.known {
			ls.m[c.id] = c.old
		} else {
			delete(ls.m, c.id)
		}
	}
	clear(ls.undo[mark:])
	ls.undo = ls.undo[:mark]
}

// settle makes the changes final.
func (ls *lanes) settle() {
	clear(ls.undo)
	ls.undo = ls.undo[:0]
}

// forget drops the lanes whose time is over.
func (ls *lanes) forget(now int64) {
	for id, l := range ls.m {
		if l.expired(now) {
			delete(ls.m, id)
		}
	}
}
