package status

import (
	"cmp"
	"encoding/hex"
	"slices"

	"logtail/internal/agent/read"
	"logtail/internal/agent/state"
)

// Stored returns what the state in the data folder dir says of an agent that
// does not run. The state is not changed. A file is looked at only if wanted
// says so, as the disk may be slow; nil means none.
func Stored(dir string, wanted func(*File) bool) (Status, []File, error) {
	c, err := state.OpenReadOnly(dir)
	if err != nil {
		return Status{}, nil, err
	}
	s := Status{Files: len(c.Streams), Counts: c.Counts}
	byName := map[string]int{}
	var list []File
	for i := range c.Streams {
		byName[c.Streams[i].Pipeline]++
		if wanted == nil {
			continue
		}
		if f := storedFile(&c.Streams[i]); wanted(&f) {
			look(&c.Streams[i], &f)
			list = append(list, f)
		}
	}
	for name := range c.Scanned {
		byName[name] += 0 // a pipeline without files
	}
	for name, n := range byName {
		s.Pipelines = append(s.Pipelines, Pipeline{Name: name, Files: n})
	}
	slices.SortFunc(s.Pipelines, func(a, b Pipeline) int { return cmp.Compare(a.Name, b.Name) })
	s.fill()
	return s, list, nil
}

// storedFile is a file as the state knows it.
func storedFile(r *state.Stream) File {
	f := File{
		Pipeline: r.Pipeline, Path: r.Path, Stream: hex.EncodeToString(r.ID[:]), Dev: r.Dev, Inode: r.Inode, Birth: r.Birth,
		Size: max(r.Size, int64(r.SizeSeen)), Offset: r.Base, Seen: r.Seen, State: FileIdle,
	}
	for _, c := range r.Lanes {
		f.Acked = append(f.Acked, Offset{c.Flusher, c.End})
		f.Offset = max(f.Offset, c.End)
	}
	slices.SortFunc(f.Acked, func(a, b Offset) int { return cmp.Compare(a.Flusher, b.Flusher) })
	switch {
	case r.Pending:
		f.State = FilePending
	case r.Ended != 0:
		f.State, f.Offset = FileEnded, max(f.Offset, r.High)
	}
	return f
}

// look looks for the file at its path.
func look(r *state.Stream, f *File) {
	if f.State == FileIdle || f.State == FilePending {
		known := read.Known{Identity: read.Identity{Dev: r.Dev, Inode: r.Inode, Birth: r.Birth}, HeadLen: r.HeadLen, Head: r.Head}
		file, facts, _, err := read.Look(r.Path)
		switch {
		case err == nil:
			if read.Decide(&known, &facts) != read.Same {
				f.State = FileGone
			} else if r.Compressed == "" {
				f.Size = facts.Size
			}
			file.Close()
		case f.State == FileIdle:
			f.State = FileGone
		}
	}
	if f.SetLag(); f.State == FileIdle && f.Lag > 0 {
		f.State = FileBusy
	}
}
