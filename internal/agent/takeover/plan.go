package takeover

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"logtail/internal/agent/read"
	"logtail/internal/agent/state"
)

// Status is what becomes of a place.
type Status string

// What becomes of a place.
const (
	Continues   Status = "continues"   // the agent goes on at the offset
	Complete    Status = "complete"    // likewise, and there is nothing behind it yet
	Collected   Status = "collected"   // the agent has a checkpoint of its own; that one counts
	Gone        Status = "gone"        // there is no such file any more
	Shorter     Status = "shorter"     // the file is shorter than the offset, so it is not what was read
	Other       Status = "other"       // another file is there now
	Unconfirmed Status = "unconfirmed" // nothing proves which file it is
	Doubled     Status = "doubled"     // another entry is of the same file and stands at a smaller offset
	Compressed  Status = "compressed"  // the offset is not one of the content
	Failed      Status = "failed"      // the file cannot be read
)

// Statuses lists them, in the order in which people are told.
func Statuses() []Status {
	return []Status{Continues, Complete, Collected, Doubled, Gone, Shorter, Other, Unconfirmed, Compressed, Failed}
}

// Taken says whether a place of that status is taken over.
func (s Status) Taken() bool { return s == Continues || s == Complete }

// Row is a place and what becomes of it.
type Row struct {
	Place
	Now    string // where the file is now; "" if it was not found
	Size   uint64
	Status Status
	Note   string      // a few words for people
	Hint   *state.Hint // if it is taken over
}

// maxEntries is how many entries of a folder are looked at for a file that was renamed.
const maxEntries = 10_000

// Plan compares the places with the files as they are now. collected says
// whether the agent has a stream of a file; at is the time in unix seconds.
func Plan(from string, places []Place, collected func(dev, inode uint64) bool, at int64) []Row {
	p := planner{folders: map[string][]entry{}}
	rows := make([]Row, len(places))
	for i := range places {
		rows[i] = p.row(from, &places[i], at)
		if r := &rows[i]; r.Hint != nil && collected(r.Hint.Dev, r.Hint.Inode) {
			r.Status, r.Hint = Collected, nil
			r.Note = "logtail has a checkpoint of its own"
		}
	}
	unite(rows)
	return rows
}

// unite keeps one hint for each file: the one with the smallest offset, so that
// nothing is lost.
func unite(rows []Row) {
	first := map[[2]uint64]*Row{}
	order := make([]*Row, 0, len(rows))
	for i := range rows {
		if rows[i].Hint != nil {
			order = append(order, &rows[i])
		}
	}
	slices.SortStableFunc(order, func(a, b *Row) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, r := range order {
		key := [2]uint64{r.Hint.Dev, r.Hint.Inode}
		if one, ok := first[key]; ok {
			r.Status, r.Hint = Doubled, nil
			r.Note = fmt.Sprintf("the same file twice; the entry at %d counts", one.Offset)
			continue
		}
		first[key] = r
	}
}

// planner finds files.
type planner struct {
	folders map[string][]entry
}

type entry struct {
	path string
	id   read.Identity
}

// row says what becomes of a place.
func (p *planner) row(from string, place *Place, at int64) Row {
	r := Row{Place: *place, Status: Gone, Note: "the file is gone"}
	var best *file
	for f := range p.candidates(place) {
		if f.err != nil {
			r.Now, r.Status, r.Note = f.path, Failed, f.err.Error()
			continue
		}
		r.Now, r.Size = f.path, uint64(f.size)
		if r.Status, r.Note = judge(place, f); r.Status.Taken() || r.Status == Compressed {
			best = f
			break
		}
	}
	if best == nil || !r.Status.Taken() {
		return r
	}
	r.Hint = &state.Hint{Path: best.path, Dev: best.id.Dev, Inode: best.id.Inode, Offset: place.Offset, Hash: best.hash, From: from, At: at}
	return r
}

// file is a candidate for a place's file.
type file struct {
	path  string
	size  int64
	id    read.Identity
	named bool // it has the path that the other agent knew
	match Match
	hash  uint64 // before the offset, if so much is there
	zip   bool
	err   error
}

// candidates yields the files that a place can be of, the likeliest first.
func (p *planner) candidates(place *Place) func(yield func(*file) bool) {
	return func(yield func(*file) bool) {
		tried := paths(append([]string{place.Path}, place.Other...)...)
		for _, path := range tried {
			if f := open(path, place); f != nil {
				if f.named = true; !yield(f) {
					return
				}
			}
		}
		if place.Inode == 0 && place.Content == nil {
			return // it is known by its path alone
		}
		for _, e := range p.folder(filepath.Dir(place.Path)) {
			if slices.Contains(tried, e.path) || place.Inode != 0 && e.id.Inode != place.Inode {
				continue
			}
			f := open(e.path, place)
			if f == nil || place.Inode == 0 && f.match != Yes {
				continue // one of many files; only its content could tell
			}
			if !yield(f) {
				return
			}
		}
	}
}

// open opens a candidate; nil if there is none.
func open(path string, place *Place) *file {
	f, facts, _, err := read.Look(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, read.ErrNotRegular):
		return nil
	case err != nil:
		return &file{path: path, err: fmt.Errorf("%w; run this as the agent's user, and give it the right to read the file", err)}
	}
	defer f.Close()
	c := &file{path: path, size: facts.Size, id: facts.Identity, zip: compressed(f)}
	if place.Content != nil {
		c.match = place.Content(f, facts.Size)
	}
	c.hash, _ = read.HashBefore(f, place.Offset)
	return c
}

// compressed says whether a file begins as gzip or zstd does.
func compressed(f *os.File) bool {
	var b [4]byte
	n, _ := f.ReadAt(b[:], 0)
	return n >= 2 && b[0] == 0x1F && b[1] == 0x8B || n == 4 && b == [4]byte{0x28, 0xB5, 0x2F, 0xFD}
}

// judge says whether a file is the place's, and what follows.
func judge(place *Place, f *file) (Status, string) {
	switch {
	case place.Inode != 0 && f.id.Inode != place.Inode:
		return Other, "another file has its path; it was not found"
	case place.Dev != 0 && f.id.Dev != place.Dev && f.match != Yes && !f.named:
		return Other, "a file on another device has its number"
	case f.match == No:
		return Other, "its content is not what was read"
	case place.Inode == 0 && place.Content != nil && f.match != Yes:
		return Unconfirmed, "another fingerprint; see --fingerprint"
	case f.zip:
		return Compressed, "compressed; the offset is of other bytes"
	case uint64(f.size) < place.Offset:
		return Shorter, "truncated since; it is a new file to logtail"
	case uint64(f.size) == place.Offset:
		return Complete, "all was read; goes on with what is added"
	}
	return Continues, fmt.Sprintf("goes on at the offset; %d bytes to read", uint64(f.size)-place.Offset)
}

// folder lists the files of a folder.
func (p *planner) folder(dir string) []entry {
	if list, ok := p.folders[dir]; ok {
		return list
	}
	var list []entry
	if d, err := os.Open(dir); err == nil {
		names, _ := d.Readdirnames(maxEntries)
		d.Close()
		slices.Sort(names)
		for _, name := range names {
			path := filepath.Join(dir, name)
			if id, _, _, err := read.Peek(path); err == nil {
				list = append(list, entry{path, id})
			}
		}
	}
	p.folders[dir] = list
	return list
}
