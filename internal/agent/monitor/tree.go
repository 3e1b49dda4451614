package monitor

import (
	"slices"
	"strings"
)

// dir is a directory that at least one watch goes through or collects from.
// The tree of directories is shared by all watches.
type dir struct {
	path   string
	name   string // the last part of path
	parent *dir   // nil for a root

	// cursors say how far each watch's patterns have come here.
	cursors  []cursor
	children map[string]*dir
	files    map[string]*file
	dangling map[string]struct{} // symbolic links that lead nowhere yet and may match
	held     map[string]*place   // entries that are set aside
	place    *place              // that it belongs to; nil if it answers

	id      uint64
	sameID  *dir // next directory with the same identity, by another path
	ino     uint64
	mtime   int64 // when it was last listed, unix nanoseconds
	settles int64 // until then, on the monitor's clock, mtime may hide a change
	wd      int32 // of the notifier; -1 without
	pos     int32 // in its ring
	gen     uint16
	busy    int32 // files that changed in the last 180 s
	tier    dirTier

	queued     bool // a scan is queued
	statAll    bool // that scan looks at every file
	fresh      bool // a cursor was added since the last scan
	lists      bool // a cursor wants names that only a listing tells
	holdsFiles bool // a cursor wants files
	link       bool // reached through a symbolic link
	retry      bool // the last scan failed or was cut short by a limit
	complained bool // and it was said
	events     bool // the notifier tells of every change
	dead       bool
	wanted     bool // in the queue of its place
}

func (d *dir) slot() *int32 { return &d.pos }

// cursor is the place of one pattern of a watch in a directory: pos directory
// parts of the pattern led here, and ** stood for depth levels since.
type cursor struct {
	w     *watch
	path  uint16 // index of the pattern
	pos   uint16
	depth uint16
	seen  bool // the directory was scanned for it
	first bool // the watch's first scan waits for that
}

func (c *cursor) pattern() *pattern { return &c.w.rules.paths[c.path] }

// atFiles says whether the pattern's file name is to be looked for here.
func (c *cursor) atFiles() bool { return int(c.pos) == len(c.pattern().dirs) }

// descends says whether ** goes on below this directory.
func (c *cursor) descends() bool {
	return c.atFiles() && c.pattern().recursive && int(c.depth) < c.w.rules.depth
}

// needsList says whether the wanted names can only be found by a listing.
func (c *cursor) needsList() bool {
	if !c.atFiles() {
		return wild(c.pattern().dirs[c.pos])
	}
	return c.descends() || wild(c.pattern().name)
}

// literal is the one name that is wanted, when needsList is false.
func (c *cursor) literal() string {
	if !c.atFiles() {
		return c.pattern().dirs[c.pos]
	}
	return c.pattern().name
}

// refresh computes what follows from the cursors.
func (d *dir) refresh() {
	d.fresh, d.lists, d.holdsFiles = false, false, false
	for i := range d.cursors {
		c := &d.cursors[i]
		d.fresh = d.fresh || !c.seen
		d.lists = d.lists || c.needsList()
		d.holdsFiles = d.holdsFiles || c.atFiles()
	}
}

// matchFile returns the watches that collect a file of this name.
func (m *Monitor) matchFile(d *dir, name string) *watchSet {
	var set *watchSet
	for i := range d.cursors {
		c := &d.cursors[i]
		if !c.atFiles() || set.has(c.w) || !matchName(c.pattern().name, name) {
			continue
		}
		if out, _ := c.w.rules.fileExcluded(d.path, name); !out {
			set = m.sets.with(set, c.w)
		}
	}
	return set
}

// wantsDir says whether a directory of this name would be gone into.
func (d *dir) wantsDir(name string) bool {
	for i := range d.cursors {
		c := &d.cursors[i]
		if c.descends() || !c.atFiles() && matchName(c.pattern().dirs[c.pos], name) {
			return true
		}
	}
	return false
}

// matchDir returns the cursors that go on into a directory of this name.
// A symbolic link is not followed by ** to a directory that the same pattern
// has reached by another way: that ends loops, and keeps the number of
// directories finite where links lead crosswise.
func (m *Monitor) matchDir(d *dir, name, path string, link bool, id uint64) []cursor {
	var next []cursor
	var lastWatch *watch
	var lastOut bool
	for i := range d.cursors {
		c := d.cursors[i]
		c.seen, c.first = false, false
		switch {
		case !c.atFiles():
			if !matchName(c.pattern().dirs[c.pos], name) {
				continue
			}
			c.pos++
		case c.descends():
			if link && m.reached(id, &c) {
				m.skipped[d] = struct{}{}
				continue
			}
			c.depth++
		default:
			continue
		}
		if c.w != lastWatch {
			lastWatch, lastOut = c.w, c.w.rules.dirExcluded(path)
		}
		if !lastOut {
			next = append(next, c)
		}
	}
	return next
}

func (m *Monitor) reached(id uint64, by *cursor) bool {
	for d := m.byID[id]; d != nil; d = d.sameID {
		for i := range d.cursors {
			if c := &d.cursors[i]; c.w == by.w && c.path == by.path && c.atFiles() {
				return true
			}
		}
	}
	return false
}

// addCursors lets patterns go on in d, and queues its scan.
func (m *Monitor) addCursors(d *dir, cs []cursor) {
	added, held := false, d.holdsFiles
	for _, c := range cs {
		if slices.ContainsFunc(d.cursors, func(o cursor) bool { return o.w == c.w && o.path == c.path }) {
			continue
		}
		if c.first = c.w.first && d.place == nil; c.first {
			c.w.scans++
		}
		d.cursors = append(d.cursors, c)
		added = true
	}
	if !added {
		return
	}
	d.refresh()
	if m.notify != nil && d.wd >= 0 && d.holdsFiles && !held {
		// Writes to files are wanted from now on.
		if a := m.ask(d, "", question{kind: askWatch, path: d.path, files: true}); a.err != nil {
			m.unwatchDir(d)
		}
	}
	m.enqueue(d)
}

// scanned notes that the scan of one cursor of a first scan was done.
func (m *Monitor) scanned(w *watch) {
	if !w.first {
		return
	}
	w.scans--
	if w.scans == 0 {
		w.first = false
		m.pending.done(w)
	}
}

// sawAll notes that all cursors of d were served.
func (m *Monitor) sawAll(d *dir) {
	for i := range d.cursors {
		d.cursors[i].seen = true
	}
	d.fresh = false
	m.release(d)
}

// release lets first scans go on that wait for d.
func (m *Monitor) release(d *dir) {
	for i := range d.cursors {
		if c := &d.cursors[i]; c.first {
			c.first = false
			m.scanned(c.w)
		}
	}
}

// newDir puts a directory into the tree. The notifier is asked before the
// first scan, so that what is made in between is told or listed.
func (m *Monitor) newDir(parent *dir, name, path string, id uint64) *dir {
	d := &dir{path: path, parent: parent, wd: -1, pos: -1}
	if parent != nil {
		// Share the memory of path.
		d.name = path[len(path)-len(name):]
		if parent.children == nil {
			parent.children = make(map[string]*dir)
		}
		parent.children[d.name] = d
		if d.place = parent.aside(d.name); d.place != nil && parent.place == nil {
			d.place.dir = d
			delete(parent.held, d.name)
		}
	}
	m.dirCount++
	m.coldDirs.add(d)
	m.setID(d, id)
	return d
}

func (m *Monitor) setID(d *dir, id uint64) {
	d.id = id
	if id != 0 {
		d.sameID = m.byID[id]
		m.byID[id] = d
	}
}

func (m *Monitor) clearID(d *dir) {
	if d.id == 0 {
		return
	}
	if head := m.byID[d.id]; head != d {
		for head != nil && head.sameID != d {
			head = head.sameID
		}
		if head != nil {
			head.sameID = d.sameID
		}
	} else if d.sameID != nil {
		m.byID[d.id] = d.sameID
	} else {
		delete(m.byID, d.id)
	}
	d.id, d.sameID = 0, nil
}

// removeDir takes a directory and all below it out of the tree; tell says
// whether its files are announced as gone.
func (m *Monitor) removeDir(d *dir, tell bool) {
	for _, f := range d.files {
		m.removeFile(f, tell)
	}
	for _, c := range d.children {
		m.removeDir(c, tell)
	}
	d.dead = true
	m.placeEnds(d)
	delete(m.skipped, d)
	m.sawAll(d)
	m.unwatchDir(d)
	m.dirRing(d.tier).remove(d)
	m.clearID(d)
	m.dirCount--
	if d.parent != nil {
		delete(d.parent.children, d.name)
	} else {
		delete(m.roots, d.path)
	}
	// A link that was not followed because it led here may be the way now.
	for s := range m.skipped {
		m.enqueue(s)
	}
	clear(m.skipped)
}

// dirTier is the ring that a directory is in.
type dirTier uint8

const (
	dirCold    dirTier = iota // polled, nothing happened here lately
	dirHot                    // polled, and in use: looked at every DirInterval
	dirWatched                // events tell of its changes: a slow backstop
)

func (m *Monitor) dirRing(t dirTier) *ring[*dir] {
	switch t {
	case dirHot:
		return &m.hotDirs
	case dirWatched:
		return &m.watchedDirs
	}
	return &m.coldDirs
}

// retier moves a directory and its files to the rings that fit.
func (m *Monitor) retier(d *dir) {
	events := d.wd >= 0 && m.wds[d.wd].complete && len(d.dangling) == 0
	t := dirCold
	switch {
	case events && !d.link && !d.retry:
		// (Where a link leads to can change without an event here, and so can
		// rights and limits.)
		t = dirWatched
	case d.busy > 0 || len(d.dangling) > 0 || m.clock-d.mtime < int64(activeFor):
		t = dirHot
	}
	if t != d.tier {
		m.dirRing(d.tier).remove(d)
		d.tier = t
		m.dirRing(t).add(d)
	}
	if events == d.events {
		return
	}
	d.events = events
	for _, f := range d.files {
		t := f.idleTier()
		if f.tier.recent() {
			t = f.recentTier()
		}
		m.move(f, t)
	}
}

// file is one file that at least one watch collects. There may be hundreds of
// thousands: a file costs some 170 bytes with its map entry, and its path, of which name is
// the end, so that the memory is that of who collects the file.
type file struct {
	dir   *dir
	name  string
	set   *watchSet
	id    uint64
	ino   uint64 // as listed, 0 if it was not listed yet
	size  int64
	mtime int64  // unix nanoseconds
	last  int64  // unix nanoseconds of the last change that was seen
	pos   int32  // in its ring
	gen   uint16 // of the listing that last had it; around once in 65,536
	tier  tier
	link  bool // reached through a symbolic link: directory events do not tell of writes
}

func (f *file) slot() *int32 { return &f.pos }

func (f *file) path() string { return join(f.dir.path, f.name) }

// tier is the ring that a file is in.
type tier uint8

const (
	tierNone   tier = iota
	tierActive      // changed lately, and nothing tells of it: looked at every FileInterval
	tierTold        // changed lately, and events tell of it: looked at as often, but for a bound
	tierLinked      // idle, and reached through a link, which may be pointed elsewhere
	tierPolled      // idle, and nothing tells of its changes
	tierQuiet       // idle, and events tell of its changes: a slow backstop
)

// tiers is how many rings of files there are.
const tiers = int(tierQuiet) + 1

// recent says whether the files of a ring changed in the last 180 s.
func (t tier) recent() bool { return t == tierActive || t == tierTold }

func (f *file) idleTier() tier {
	switch {
	case f.link:
		return tierLinked
	case f.dir.events:
		return tierQuiet
	}
	return tierPolled
}

func (f *file) recentTier() tier {
	if f.link || !f.dir.events {
		return tierActive
	}
	return tierTold
}

func (m *Monitor) enter(f *file, t tier) {
	f.tier = t
	m.rings[t].add(f)
	if t.recent() {
		if f.dir.busy++; f.dir.tier == dirCold {
			m.retier(f.dir)
		}
	}
}

func (m *Monitor) leave(f *file) {
	if f.tier == tierNone {
		return
	}
	m.rings[f.tier].remove(f)
	if f.tier.recent() {
		f.dir.busy-- // the directory cools down at its next visit
	}
	f.tier = tierNone
}

func (m *Monitor) move(f *file, t tier) {
	if t != f.tier {
		m.leave(f)
		m.enter(f, t)
	}
}

// place puts a file into the ring that its age asks for.
func (m *Monitor) place(f *file) {
	if m.clock-f.last > int64(activeFor) {
		m.move(f, f.idleTier())
	} else {
		m.move(f, f.recentTier())
	}
}

func (m *Monitor) removeFile(f *file, tell bool) {
	if tell {
		m.emit(f, Gone)
	}
	m.leave(f)
	delete(f.dir.files, f.name)
	m.fileCount--
}

func (m *Monitor) emit(f *file, kind Kind) {
	path := f.path()
	for _, w := range f.set.list {
		m.pending.add(w, kind, path, false)
	}
}

// watchSet is a set of watches; equal sets are one object, as nearly all files
// share a few sets.
type watchSet struct {
	list []*watch // by number
	with map[*watch]*watchSet
}

func (s *watchSet) has(w *watch) bool { return s != nil && slices.Contains(s.list, w) }

// watchSets makes watch sets.
type watchSets struct{ all map[string]*watchSet }

func (s *watchSets) get(list []*watch) *watchSet {
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b *watch) int { return int(a.number) - int(b.number) })
	var key strings.Builder
	for _, w := range list {
		key.WriteString(w.name)
		key.WriteByte(0)
	}
	if have := s.all[key.String()]; have != nil {
		return have
	}
	set := &watchSet{list: list, with: make(map[*watch]*watchSet)}
	if s.all == nil {
		s.all = make(map[string]*watchSet)
	}
	s.all[key.String()] = set
	return set
}

// with is set and w.
func (s *watchSets) with(set *watchSet, w *watch) *watchSet {
	if set == nil {
		return s.get([]*watch{w})
	}
	if set.has(w) {
		return set
	}
	next := set.with[w]
	if next == nil {
		next = s.get(append(slices.Clone(set.list), w))
		set.with[w] = next
	}
	return next
}

// without is set less w, or nil.
func (s *watchSets) without(set *watchSet, w *watch) *watchSet {
	if !set.has(w) {
		return set
	}
	return s.get(slices.DeleteFunc(slices.Clone(set.list), func(o *watch) bool { return o == w }))
}

// forget drops the sets that hold w.
func (s *watchSets) forget(w *watch) {
	for key, set := range s.all {
		delete(set.with, w)
		if set.has(w) {
			delete(s.all, key)
		}
	}
}
