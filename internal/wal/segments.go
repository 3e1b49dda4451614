package wal

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

const (
	// segmentsName is the file that lists the segments of a log. raft-wal's
	// own choice is a bbolt database for each log: 32 KB, a memory map and a
	// descriptor for what is one small JSON object.
	segmentsName    = "segments.json"
	segmentsVersion = 1
)

// segmentList is the types.MetaStore of one log: which segments make it up. Loading it also repairs the last segment, which raft-wal 0.4.0 does not
// do well enough by itself; see repair.go.
type segmentList struct {
	log    *slog.Logger
	faults *Faults
	dir    string

	// What the caller knows before it opens the log.
	known   bool   // acked is the last record of the log
	acked   uint64 // the last record that was reported as stored
	durable uint64 // a record up to which the log is known to have been durable
	size    uint32 // of a segment, in bytes
	bad     *BadSectors
	now     func() time.Time

	salvage

	mu     sync.Mutex
	frozen bool // a newer handle has the log
	state  types.PersistentState
}

// errFrozen keeps a rotation in the background of a log that was given up from
// changing what the log opened in its place works with.
var errFrozen = errors.New("wal: the log was opened anew")

// freeze makes every later CommitState fail.
func (l *segmentList) freeze() {
	l.mu.Lock()
	l.frozen = true
	l.mu.Unlock()
}

type segmentsFile struct {
	Version  int             `json:"version"`
	Checksum uint32          `json:"checksum"` // CRC-32C of State
	State    json.RawMessage `json:"state"`    // types.PersistentState
}

// Load implements types.MetaStore.
func (l *segmentList) Load(dir string) (types.PersistentState, error) {
	l.dir = dir
	state, err := l.load()
	if err == nil {
		l.mu.Lock()
		l.state = state
		l.mu.Unlock()
	}
	return state, err
}

func (l *segmentList) load() (types.PersistentState, error) {
	if l.salvaging && !l.known {
		if err := l.takePending(); err != nil {
			return types.PersistentState{}, err
		}
	}
	state, err := l.read()
	if l.salvaging && !l.known && (errors.Is(err, ErrDamaged) || errors.Is(err, errNoList)) {
		state, err = types.PersistentState{}, l.putAllAside(err)
	}
	if !l.salvaging && !l.known && (errors.Is(err, ErrDamaged) || errors.Is(err, errNoList) || err != nil && l.hopeless(segmentsName, err)) {
		state, err = l.rebuild(err)
	}
	if l.salvaging && err == nil {
		state, err = l.checkSegments(state)
	}
	if err != nil || len(state.Segments) == 0 {
		return state, err
	}
	tail := &state.Segments[len(state.Segments)-1]
	end, err := l.repairTail(tail)
	if err != nil || end.index == 0 {
		return state, err
	}
	// The last write filled the segment, and the process ended before the next
	// one was listed. raft-wal would refuse every further write.
	tail.SealTime = time.Now()
	tail.MaxIndex = tail.BaseIndex + end.entries - 1
	tail.IndexStart = end.index
	state.Segments = append(state.Segments, nextSegment(&state, tail.MaxIndex+1, tail.SizeLimit))
	return state, l.CommitState(state)
}

func (l *segmentList) read() (state types.PersistentState, err error) {
	path := filepath.Join(l.dir, segmentsName)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return state, l.checkEmpty()
	}
	if err != nil {
		return state, err
	}
	var file segmentsFile
	damaged := json.Unmarshal(raw, &file) != nil
	// In later versions the checksum has to cover the version too. So with this one it
	// is of this version, whatever a damaged byte says.
	if !damaged && (len(file.State) == 0 || crc32.Checksum(file.State, castagnoli) != file.Checksum) {
		if file.Version > segmentsVersion {
			return state, &VersionError{What: path, Found: file.Version, Own: segmentsVersion}
		}
		damaged = true
	}
	if damaged || json.Unmarshal(file.State, &state) != nil {
		return types.PersistentState{}, fmt.Errorf("%s: %w; restore it from a copy: without it the log cannot be read", path, ErrDamaged)
	}
	if n := len(state.Segments); n > 0 && !state.Segments[n-1].SealTime.IsZero() {
		return state, fmt.Errorf("%s lists no segment that is open for writing: %w", path, ErrDamaged)
	}
	return state, nil
}

// errNoList says that there are segments and no list of them.
var errNoList = errors.New("is missing")

// checkEmpty guards the records of a log whose list was lost: raft-wal
// deletes the segments that are not listed.
func (l *segmentList) checkEmpty() error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), segmentSuffix) {
			return fmt.Errorf("%s %w beside segment %s: restore it from a copy, or move the folder away to start an empty log",
				filepath.Join(l.dir, segmentsName), errNoList, e.Name())
		}
	}
	return nil
}

// CommitState implements types.MetaStore.
func (l *segmentList) CommitState(state types.PersistentState) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen {
		return errFrozen
	}
	raw, err := json.Marshal(state)
	if err != nil {
		return err
	}
	out, err := json.Marshal(segmentsFile{Version: segmentsVersion, Checksum: crc32.Checksum(raw, castagnoli), State: raw})
	if err != nil {
		return err
	}
	err = WriteFile(l.faults, filepath.Join(l.dir, segmentsName), func(w io.Writer) error {
		_, err := w.Write(out)
		return err
	})
	if err == nil {
		l.state = state
	}
	return err
}

// current returns the list as it was last loaded or stored.
func (l *segmentList) current() types.PersistentState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// base is the number that the first record of the last segment has or will get:
// the next one of the log if that segment is empty.
func (l *segmentList) base() uint64 {
	state := l.current()
	return state.Segments[len(state.Segments)-1].BaseIndex
}

// errNoStable answers the part of types.MetaStore that is for raft's votes.
var errNoStable = errors.New("wal: a log keeps no values")

// GetStable implements types.MetaStore.
func (*segmentList) GetStable([]byte) ([]byte, error) { return nil, errNoStable }

// SetStable implements types.MetaStore.
func (*segmentList) SetStable(_, _ []byte) error { return errNoStable }

// Close implements types.MetaStore.
func (*segmentList) Close() error { return nil }

// segmentPath is where raft-wal keeps a segment.
func (l *segmentList) segmentPath(info *types.SegmentInfo) string {
	return filepath.Join(l.dir, segment.FileName(*info))
}
