package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/types"
)

const (
	segmentSuffix = ".wal"
	asideSuffix   = ".damaged"
	// segmentMagic begins a segment, as little endian.
	segmentMagic = 0x58eb6b0d
	codec        = raftwal.CodecBinaryV1
)

// Loss is a part of the log that Open could not take up as it is.
type Loss struct {
	// First and Next are the number of its first record and the one behind its
	// last one; 0 where that is not known.
	First, Next uint64
	// Path is the file that was put aside, for Salvage to read. Whoever has read
	// it renames or removes it; until then every Open reports it. It is empty
	// if the file is gone.
	Path string
	// Cause says what is wrong.
	Cause string
}

// Lost returns what Open could not take up, if Options.Salvage let it go on
// without.
func (l *Log) Lost() []Loss { return l.lost }

// salvage is the part of a segmentList for Options.Salvage: what is damaged is
// put aside under a name that ends in .damaged, so that the rest can be opened.
type salvage struct {
	salvaging bool
	lost      []Loss
}

// takePending begins with what an earlier Open put aside and nobody has read.
func (l *segmentList) takePending() error {
	files, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		base, rest, _ := strings.Cut(f.Name(), segmentSuffix+asideSuffix)
		if rest != "" && rest[0] != '.' || !strings.Contains(f.Name(), segmentSuffix+asideSuffix) {
			continue
		}
		var first, id uint64
		if n, _ := fmt.Sscanf(base, "%d-%x", &first, &id); n == 2 {
			l.lost = append(l.lost, Loss{Path: filepath.Join(l.dir, f.Name()), Cause: "it was put aside earlier"})
		}
	}
	return nil
}

// freshName returns a name for what is put aside of a file.
func freshName(path string) string {
	name := path + asideSuffix
	for i := 2; ; i++ {
		if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
			return name
		}
		name = fmt.Sprintf("%s%s.%d", path, asideSuffix, i)
	}
}

// putAside renames a file of the log; lost is told of it, with the name.
func (l *segmentList) putAside(path string, lost Loss) error {
	lost.Path = freshName(path)
	if err := l.faults.Rename(path, lost.Path); err != nil {
		return err
	}
	if err := l.faults.SyncDir(l.dir); err != nil {
		return err
	}
	l.lost = append(l.lost, lost)
	l.log.Error("a file of a log is damaged and was put aside", "file", path, "aside", lost.Path, "cause", lost.Cause)
	return nil
}

// putAllAside puts the segments aside whose list cannot be read, and then the
// list, so that the log begins anew.
func (l *segmentList) putAllAside(cause error) error {
	paths, err := filepath.Glob(filepath.Join(l.dir, "*"+segmentSuffix))
	if err != nil {
		return err
	}
	slices.Sort(paths)
	for i, path := range paths {
		lost := Loss{First: baseOf(path), Cause: cause.Error()}
		if i+1 < len(paths) {
			lost.Next = baseOf(paths[i+1])
		}
		if err := l.putAside(path, lost); err != nil {
			return err
		}
	}
	list := filepath.Join(l.dir, segmentsName)
	err = l.faults.Rename(list, freshName(list))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // else that is why
		return err
	}
	return l.faults.SyncDir(l.dir)
}

// baseOf is the number that the name of a segment begins with; 0 if it has none.
func baseOf(path string) (base uint64) {
	_, _ = fmt.Sscanf(filepath.Base(path), "%d-", &base)
	return base
}

// checkSegments puts aside what raft-wal would not open: sealed segments that
// are not whole, and files whose names mean nothing. The list of the others is
// returned, and is what stands on the disk.
func (l *segmentList) checkSegments(state types.PersistentState) (types.PersistentState, error) {
	alien, err := filepath.Glob(filepath.Join(l.dir, "*"+segmentSuffix))
	if err != nil {
		return state, err
	}
	for _, path := range alien {
		var base, id uint64
		if n, err := fmt.Sscanf(filepath.Base(path), "%020d-%016x"+segmentSuffix, &base, &id); err != nil || n != 2 {
			if err := l.putAside(path, Loss{Cause: "its name is not one of a segment"}); err != nil {
				return state, err
			}
		}
	}
	kept := state.Segments[:0:0]
	for _, info := range state.Segments {
		if info.SealTime.IsZero() {
			kept = append(kept, info)
			continue
		}
		path := l.segmentPath(&info)
		err := checkSealed(path, &info)
		lost := Loss{First: info.MinIndex, Next: info.MaxIndex + 1}
		switch {
		case err == nil:
			kept = append(kept, info)
			continue
		case errors.Is(err, os.ErrNotExist):
			if i := slices.IndexFunc(l.lost, func(o Loss) bool { return strings.HasPrefix(o.Path, path+asideSuffix) }); i >= 0 {
				l.lost[i].First, l.lost[i].Next = lost.First, lost.Next
				continue
			}
			lost.Cause = fmt.Sprintf("segment %s is gone", path)
			l.lost = append(l.lost, lost)
			l.log.Error("a segment of a log is gone", "file", path, "first", lost.First, "last", lost.Next-1)
		case errors.Is(err, ErrDamaged):
			lost.Cause = err.Error()
			if err := l.putAside(path, lost); err != nil {
				return state, err
			}
		default:
			return state, err
		}
	}
	if len(kept) == len(state.Segments) {
		return state, nil
	}
	state.Segments = kept
	return state, l.CommitState(state)
}

// checkSealed says whether a sealed segment has its header and is not cut off.
func checkSealed(path string, info *types.SegmentInfo) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	if want := int64(info.IndexStart + 4*(info.MaxIndex-info.BaseIndex+1)); stat.Size() < want {
		return fmt.Errorf("segment %s has %d bytes, and at least %d were written: %w", path, stat.Size(), want, ErrDamaged)
	}
	ok, err := hasHeader(f, info)
	if err == nil && !ok {
		err = fmt.Errorf("the header of segment %s: %w", path, ErrDamaged)
	}
	return err
}

// hasHeader says whether a segment begins with the header that it should have.
func hasHeader(r io.ReaderAt, info *types.SegmentInfo) (bool, error) {
	var b [fileHeader]byte
	if _, err := r.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return binary.LittleEndian.Uint64(b[:]) == segmentMagic && binary.LittleEndian.Uint64(b[8:]) == info.BaseIndex &&
		binary.LittleEndian.Uint64(b[16:]) == info.ID && binary.LittleEndian.Uint64(b[24:]) == info.Codec, nil
}

// keepCut copies what is about to be cut off the last segment from an offset on,
// if there may be records in it.
func (l *segmentList) keepCut(f *os.File, from int64, lost Loss) error {
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	part := io.NewSectionReader(f, from, stat.Size()-from)
	s := newEntries(part, part.Size())
	found := false
	for off := int64(0); off < s.size && !found; off += frameHeader {
		if _, found, err = s.at(off); err != nil {
			return err
		}
	}
	if !found {
		return nil
	}
	lost.Path = freshName(f.Name())
	if err := l.faults.copyFrom(part, lost.Path); err != nil {
		return err
	}
	if err := l.faults.SyncDir(l.dir); err != nil {
		return err
	}
	l.lost = append(l.lost, lost)
	l.log.Warn("the end of a log is not whole; what can be read of it is taken over", "file", f.Name(), "aside", lost.Path)
	return nil
}
