package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft-wal/types"
)

// rebuild makes the list of the segments from the segments, which have in them and in
// their names all that is listed, except which records of the oldest one were dropped:
// those are back. The damaged list, and segments that do not follow on one another, are
// put aside.
func (l *segmentList) rebuild(cause error) (types.PersistentState, error) {
	var state types.PersistentState
	paths, err := filepath.Glob(filepath.Join(l.dir, "*"+segmentSuffix))
	if err != nil {
		return state, err
	}
	var infos []types.SegmentInfo
	for _, path := range paths {
		var info types.SegmentInfo
		if n, err := fmt.Sscanf(filepath.Base(path), "%020d-%016x"+segmentSuffix, &info.BaseIndex, &info.ID); err != nil || n != 2 {
			return state, fmt.Errorf("%s is not the name of a segment; move it away: %w", path, cause)
		}
		info.MinIndex, info.Codec, info.SizeLimit = info.BaseIndex, codec, l.size
		info.CreateTime = time.Now()
		state.NextSegmentID = max(state.NextSegmentID, info.ID+1)
		infos = append(infos, info)
	}
	// The newest one first: what it follows on is part of the log.
	slices.SortFunc(infos, func(a, b types.SegmentInfo) int {
		if a.BaseIndex != b.BaseIndex {
			return int(int64(b.BaseIndex) - int64(a.BaseIndex))
		}
		return int(int64(b.ID) - int64(a.ID))
	})
	var alien []string
	for i := range infos {
		info := &infos[i]
		if k := len(state.Segments); k > 0 {
			ok, err := l.seal(info, state.Segments[k-1].BaseIndex)
			if err != nil {
				return state, fmt.Errorf("segment %s: %w", l.segmentPath(info), err)
			}
			if !ok {
				alien = append(alien, l.segmentPath(info))
				continue
			}
		}
		state.Segments = append(state.Segments, *info)
	}
	slices.Reverse(state.Segments)
	l.log.Error("the list of the segments is damaged; it is made anew from the segments", "list", filepath.Join(l.dir, segmentsName),
		"cause", cause, "segments", len(state.Segments), "put_aside", len(alien))
	for _, path := range append(alien, filepath.Join(l.dir, segmentsName)) {
		if err := l.faults.Rename(path, freshName(path)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return state, err
		}
	}
	return state, l.CommitState(state)
}

// seal fills in what is listed of a full segment that is followed by the record next. It
// is false if it is none.
func (l *segmentList) seal(info *types.SegmentInfo, next uint64) (bool, error) {
	if info.BaseIndex >= next {
		return false, nil
	}
	f, err := os.Open(l.segmentPath(info))
	if err != nil {
		return false, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return false, err
	}
	commits, _, err := scanCommits(faultyFile{f, l.faults}, stat.Size(), info.BaseIndex, next-info.BaseIndex)
	if err != nil {
		return false, err
	}
	var end commit
	if k := len(commits); k > 0 {
		end = commits[k-1]
	}
	if end.index == 0 || end.entries != next-info.BaseIndex {
		b, _, err := l.readAll(f, stat.Size(), false)
		if err != nil || len(b) < fileHeader {
			return false, err
		}
		end, _ = newMender(b, info).keep(next-info.BaseIndex, true)
	}
	info.SealTime = stat.ModTime()
	info.MaxIndex, info.IndexStart = next-1, end.index
	return end.index > 0 && end.entries == next-info.BaseIndex, nil
}
