package wal

import (
	"errors"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/raft-wal/types"
)

// Segment is a file of the log.
type Segment struct {
	Base  uint64 // the number that its first record had; it names the segment
	First uint64 // the first record of it that is kept
	Next  uint64 // the number behind its last record
	Bytes int64  // its size on the disk; 0 if that is not known
	Gone  bool   // its file is not made yet, or somebody removed it
	path  string
}

// Segments returns the files of the log, the oldest first. The last one is the
// one that is written, or a full one behind which the next is about to be begun.
// There is none after Close.
func (l *Log) Segments() []Segment {
	l.write.Lock()
	defer l.write.Unlock()
	if l.handle == nil {
		return nil
	}
	state := l.handle.list.current()
	list := make([]Segment, len(state.Segments))
	for i, info := range state.Segments {
		s := &list[i]
		*s = Segment{Base: info.BaseIndex, First: info.MinIndex, Next: info.MaxIndex + 1, path: l.handle.list.segmentPath(&info)}
		if info.SealTime.IsZero() {
			s.Next = max(l.next.Load(), info.BaseIndex)
		}
		stat, err := os.Stat(s.path)
		if err == nil {
			s.Bytes = stat.Size()
		}
		s.Gone = errors.Is(err, os.ErrNotExist)
	}
	return list
}

// Remove drops whole segments, named by their Base, wherever in the log they
// are. Their records are gone for readers, and the disk has the space back, when
// it returns. If the segment that is written is among them, a new one is begun.
func (l *Log) Remove(bases ...uint64) error {
	l.write.Lock()
	defer l.write.Unlock()
	if l.handle == nil {
		return ErrClosed
	}
	if err := l.heal(); err != nil {
		return err
	}
	if err := l.tidy(); err != nil {
		return err
	}
	list := l.handle.list
	state := list.current()
	tail := state.Segments[len(state.Segments)-1]
	kept := slices.DeleteFunc(slices.Clone(state.Segments), func(s types.SegmentInfo) bool {
		return slices.Contains(bases, s.BaseIndex)
	})
	if len(kept) == len(state.Segments) {
		return nil
	}
	next := l.next.Load()
	if slices.Contains(bases, tail.BaseIndex) {
		if tail.BaseIndex == next { // it is empty
			return nil
		}
		kept = append(kept, nextSegment(&state, next, tail.SizeLimit))
	}
	for _, info := range state.Segments {
		if slices.Contains(bases, info.BaseIndex) {
			l.garbage = append(l.garbage, list.segmentPath(&info))
		}
	}
	state.Segments = kept
	// From here on the open log changes nothing any more, in its background
	// neither. Readers have it until the new one is in its place.
	list.freeze()
	l.handle.files.forget()
	fresh := &segmentList{log: list.log, faults: list.faults, dir: list.dir}
	if err := fresh.CommitState(state); err != nil {
		l.broken = err
		return errors.Join(err, l.heal())
	}
	if err := l.reopen(); err != nil {
		return err
	}
	return l.tidy()
}

// tidy removes files that are not listed any more and could not be removed when
// they were taken off the list. The next Open would, too.
func (l *Log) tidy() error {
	if len(l.garbage) == 0 {
		return nil
	}
	for _, info := range l.handle.list.current().Segments {
		path := l.handle.list.segmentPath(&info)
		l.garbage = slices.DeleteFunc(l.garbage, func(p string) bool { return p == path })
	}
	var err error
	l.garbage = slices.DeleteFunc(l.garbage, func(path string) bool {
		if _, err2 := os.Lstat(path); errors.Is(err2, os.ErrNotExist) {
			return true
		}
		err2 := l.opts.Faults.Remove(path)
		err = errors.Join(err, err2)
		return err2 == nil
	})
	return err
}

// nextSegment is a new last segment, whose first record gets the number base.
func nextSegment(state *types.PersistentState, base uint64, limit uint32) types.SegmentInfo {
	info := types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: base, MinIndex: base, Codec: codec, CreateTime: time.Now(), SizeLimit: limit,
	}
	state.NextSegmentID++
	return info
}
