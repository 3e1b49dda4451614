package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// smallDir is how many files a directory may hold for every scan of it to look
// at each; in larger ones the inode numbers of the listing decide.
const smallDir = 1000

// enqueue asks for a scan of d.
func (m *Monitor) enqueue(d *dir) {
	if !d.queued && !d.dead {
		d.queued = true
		m.todo = append(m.todo, d)
	}
}

// link is a symbolic link below ** whose turn comes when all real directories
// have been scanned, so that files get their real paths rather than a link's.
type link struct {
	d       *dir
	name    string
	watches []*watch // whose first scan it belongs to
}

// work does queued scans until the queue is empty or the time is used up, and
// says whether something is left.
func (m *Monitor) work(budget time.Duration) bool {
	start := time.Now()
	for {
		for m.todoHead < len(m.todo) {
			d := m.todo[m.todoHead]
			m.todo[m.todoHead] = nil
			m.todoHead++
			d.queued = false
			if !d.dead {
				m.scan(d)
			}
			if time.Since(start) >= budget {
				return m.todoHead < len(m.todo) || len(m.links) > 0
			}
		}
		m.todo, m.todoHead = m.todo[:0], 0
		if len(m.links) == 0 {
			return false
		}
		l := m.links[0]
		m.links = m.links[1:]
		if !l.d.dead {
			m.follow(l.d, l.name)
		}
		for _, w := range l.watches {
			m.scanned(w)
		}
	}
}

// scan brings what is known of a directory's entries in line with the disk.
func (m *Monitor) scan(d *dir) {
	if d.id == 0 || d.wd < 0 {
		// A root has not been looked at yet; others get another chance of a watch.
		if !m.identify(d) {
			return
		}
	}
	m.scans.Add(1)
	all := d.statAll || len(d.files)+len(d.children) <= smallDir
	d.statAll, d.retry = false, false
	var err error
	if d.lists {
		err = m.list(d, all)
	}
	if !d.lists || err != nil {
		// Names that are known can be looked at without the right to list.
		for i := 0; i < len(d.cursors) && !d.dead; i++ {
			if c := &d.cursors[i]; !c.needsList() {
				m.lookup(d, c.literal())
			}
		}
	}
	if d.dead {
		return
	}
	if errors.Is(err, errAside) || d.place != nil && m.report == nil {
		m.release(d) // its patterns are served when the place answers
		d.retry = true
		m.retier(d)
		return
	}
	if err != nil {
		m.scanFailed(d, err)
	} else {
		d.complained = false
	}
	m.sawAll(d)
	m.retier(d)
}

// identify looks at a directory for the first time or again when it has no
// watch; false means that it is gone.
func (m *Monitor) identify(d *dir) bool {
	if d.id == 0 {
		st, err := m.status(d, "", d.path, true)
		if errors.Is(err, errAside) {
			m.release(d)
			d.retry = true
			return false
		}
		if err != nil || st.kind != kindDir {
			// A volume that is not there; it is tried again by the sweep.
			d.retry = true
			m.sawAll(d)
			return false
		}
		m.setID(d, st.id)
	}
	m.watchDir(d)
	return true
}

func (m *Monitor) scanFailed(d *dir, err error) {
	if vanished(err) {
		m.visit(d)
		return
	}
	d.retry = true
	m.unreadable(d, err)
}

func (m *Monitor) unreadable(d *dir, err error) {
	if errors.Is(err, errAside) {
		return // it was said
	}
	m.failures.Add(1)
	if d.complained {
		return
	}
	d.complained = true
	kind, remedy := "REGISTER_INOTIFY_FAIL_ALARM", "check the disk or the mount"
	if errors.Is(err, fs.ErrPermission) {
		kind, remedy = "LOGDIR_PERMINSSION_ALARM", "give the agent's user the right to read and enter it"
	}
	m.alarm(kind, fmt.Sprintf("cannot look into directory %q: %v; it is tried again; %s", d.path, err, remedy))
}

// list goes through all entries of d.
func (m *Monitor) list(d *dir, all bool) error {
	a := m.ask(d, "", question{kind: askList, path: d.path})
	if a.err != nil {
		return a.err
	}
	d.gen++
	mtime := a.list.mtime
	a.list.each(func(name []byte, kind entryKind, ino uint64) {
		if f := d.files[string(name)]; f != nil {
			f.gen = d.gen
			m.joinFile(f)
			if all || f.ino != ino {
				f.ino = ino
				m.look(f, false)
			}
			return
		}
		if c := d.children[string(name)]; c != nil {
			c.gen = d.gen
			m.joinDir(c)
			if all || c.ino != ino {
				c.ino = ino
				m.visit(c)
			}
			return
		}
		if kind != kindOther {
			m.discover(d, string(name), kind, ino, false)
		}
	})
	if mtime != d.mtime {
		d.mtime = mtime
		if m.clock-mtime < int64(time.Hour) {
			// A second change may hide behind the same mtime for as long as the
			// file system's clock ticks (2 s on FAT). That clock may be another
			// machine's and wrong, hence the hour.
			d.settles = m.clock + int64(2*time.Second)
		}
	}
	// What the listing did not have is looked at before it is called gone:
	// a listing may miss a name that is renamed during it.
	for _, f := range d.files {
		if f.gen != d.gen {
			m.look(f, false)
		}
	}
	for _, c := range d.children {
		if c.gen != d.gen {
			m.visit(c)
		}
	}
	return nil
}

// lookup looks at one name of d, known or not.
func (m *Monitor) lookup(d *dir, name string) {
	if f := d.files[name]; f != nil {
		m.joinFile(f)
		m.look(f, false)
	} else if c := d.children[name]; c != nil {
		m.joinDir(c)
		m.visit(c)
	} else {
		m.discover(d, name, kindUnknown, 0, false)
	}
}

// touched follows an event for a name.
func (m *Monitor) touched(d *dir, name string, written bool) {
	if f := d.files[name]; f != nil {
		m.look(f, written)
	} else if c := d.children[name]; c != nil {
		m.visit(c)
	} else if !d.fresh {
		// (A fresh directory is about to be scanned, which finds it as well.)
		m.discover(d, name, kindUnknown, 0, false)
	}
}

// joinFile lets watches that came since d's last scan have a known file.
func (m *Monitor) joinFile(f *file) {
	if !f.dir.fresh {
		return
	}
	for i := range f.dir.cursors {
		c := &f.dir.cursors[i]
		if c.seen || !c.atFiles() || f.set.has(c.w) || !matchName(c.pattern().name, f.name) {
			continue
		}
		if out, _ := c.w.rules.fileExcluded(f.dir.path, f.name); !out {
			f.set = m.sets.with(f.set, c.w)
			m.pending.add(c.w, Found, f.path(), c.w.first)
		}
	}
}

// joinDir lets watches that came since the parent's last scan go on in a known
// directory.
func (m *Monitor) joinDir(d *dir) {
	if d.parent.fresh && (!d.link || !m.defers(d.parent, d.name)) {
		m.addCursors(d, m.matchDir(d.parent, d.name, d.path, false, d.id))
	}
}

// discover looks at a name of d that is not known yet, and takes it in if a
// watch wants it. deferred says that a link's turn has come.
func (m *Monitor) discover(d *dir, name string, kind entryKind, ino uint64, deferred bool) {
	var set *watchSet
	if kind != kindDir {
		set = m.matchFile(d, name)
	}
	wantsDir := kind != kindFile && d.wantsDir(name)
	if set == nil && !wantsDir {
		return
	}
	path := join(d.path, name)
	if kind == kindFile && m.filesFull(d, path) {
		return
	}
	st, isLink, err := m.inspect(d, name, path, kind)
	switch {
	case err != nil && isLink && vanished(err):
		if d.dangling == nil {
			d.dangling = make(map[string]struct{})
		}
		d.dangling[name] = struct{}{}
		m.retier(d)
		return
	case err != nil:
		m.settleLink(d, name)
		if !vanished(err) {
			d.retry = true
			m.unreadable(d, err)
			m.retier(d)
		}
		return
	}
	m.settleLink(d, name)
	switch {
	case st.kind == kindFile && set != nil:
		m.foundFile(d, name, path, st, ino, isLink, set)
	case st.kind == kindDir && wantsDir:
		if isLink && !deferred && m.report == nil && m.defers(d, name) {
			return
		}
		cs := m.matchDir(d, name, path, isLink, st.id)
		if len(cs) > 0 {
			m.foundDir(d, name, path, st, ino, isLink, cs)
		}
	}
}

// inspect looks at a path of a kind that may be unknown, through a link.
func (m *Monitor) inspect(d *dir, name, path string, kind entryKind) (st status, isLink bool, err error) {
	if kind == kindUnknown {
		if st, err = m.status(d, name, path, false); err != nil || st.kind != kindLink {
			return st, false, err
		}
		kind = kindLink
	}
	m.following = kind == kindLink
	st, err = m.status(d, name, path, true)
	m.following = false
	return st, kind == kindLink, err
}

// settleLink forgets that a link led nowhere.
func (m *Monitor) settleLink(d *dir, name string) {
	if len(d.dangling) > 0 {
		delete(d.dangling, name)
		m.retier(d)
	}
}

// follow goes through a link whose turn has come.
func (m *Monitor) follow(d *dir, name string) {
	if c := d.children[name]; c != nil {
		m.addCursors(c, m.matchDir(d, name, c.path, true, c.id))
		return
	}
	m.discover(d, name, kindLink, 0, true)
}

// defers puts off a link that ** would follow.
func (m *Monitor) defers(d *dir, name string) bool {
	l := link{d: d, name: name}
	below := false
	for i := range d.cursors {
		c := &d.cursors[i]
		if !c.descends() {
			continue
		}
		below = true
		if c.w.first {
			c.w.scans++
			l.watches = append(l.watches, c.w)
		}
	}
	if below {
		m.links = append(m.links, l)
	}
	return below
}

func (m *Monitor) foundDir(d *dir, name, path string, st status, ino uint64, isLink bool, cs []cursor) {
	if m.dirCount >= m.o.MaxDirs {
		d.retry = true
		m.refused.Add(1)
		m.alarm("DIR_EXCEED_LIMIT_ALARM", fmt.Sprintf("more than %d directories match: %q and others are left out; make FilePaths narrower or MaxDirSearchDepth smaller", m.o.MaxDirs, path))
		return
	}
	n := m.newDir(d, name, path, st.id)
	n.ino, n.gen, n.link = ino, d.gen, isLink
	m.addCursors(n, cs)
	m.watchDir(n)
}

// filesFull says, also as an alarm, that one file more would be too many.
func (m *Monitor) filesFull(d *dir, path string) bool {
	if m.fileCount < m.o.MaxFiles {
		return false
	}
	d.retry = true
	m.refused.Add(1)
	m.alarm("STAT_LIMIT_ALARM", fmt.Sprintf("more than %d files match: %q and others are left out; make FilePaths narrower", m.o.MaxFiles, path))
	return true
}

func (m *Monitor) foundFile(d *dir, name, path string, st status, ino uint64, isLink bool, set *watchSet) {
	if m.filesFull(d, path) {
		return
	}
	name = path[len(path)-len(name):] // who collects the file keeps its path: one string for both
	f := &file{dir: d, name: name, set: set, id: st.id, ino: ino, size: st.size, mtime: st.mtime, last: min(st.mtime, m.clock), pos: -1, gen: d.gen, link: isLink}
	if d.files == nil {
		d.files = make(map[string]*file)
	}
	d.files[name] = f
	m.fileCount++
	m.place(f)
	for _, w := range set.list {
		m.pending.add(w, Found, path, w.first && m.unseen(d, w))
	}
}

// unseen says whether d has not been scanned for w yet.
func (m *Monitor) unseen(d *dir, w *watch) bool {
	for i := range d.cursors {
		if c := &d.cursors[i]; c.w == w && !c.seen {
			return true
		}
	}
	return false
}

// look compares a known file with the disk.
func (m *Monitor) look(f *file, written bool) {
	path := f.path()
	st, err := m.status(f.dir, f.name, path, true)
	switch {
	case errors.Is(err, errAside):
	case err != nil && !vanished(err):
		// It may be there; who reads it will say what is wrong.
		m.failures.Add(1)
	case err != nil || st.kind != kindFile:
		d, name := f.dir, f.name
		m.removeFile(f, true)
		if f.link || err == nil {
			m.discover(d, name, kindUnknown, 0, false)
		}
	case st.id != f.id:
		// Another file took the path.
		f.id, f.size, f.mtime, f.last = st.id, st.size, st.mtime, m.clock
		if own, err := m.status(f.dir, f.name, path, false); err == nil {
			f.link = own.kind == kindLink
		}
		m.leave(f)
		m.place(f)
		m.emit(f, Gone) // joined by Found: also if nobody takes both before it is gone too
		m.emit(f, Found)
	case written || st.size != f.size || st.mtime != f.mtime:
		f.size, f.mtime, f.last = st.size, st.mtime, m.clock
		m.place(f)
		m.emit(f, Changed)
	default:
		m.place(f)
	}
}

// visit compares a known directory with the disk.
func (m *Monitor) visit(d *dir) {
	if d.dead {
		return
	}
	if d.id == 0 {
		m.enqueue(d)
		return
	}
	st, err := m.status(d, "", d.path, true)
	switch {
	case err != nil && !vanished(err):
		m.unreadable(d, err)
		return
	case err != nil || st.kind != kindDir || st.id != d.id:
		if d.parent == nil {
			// A root cannot be replaced by another entry; scan it anew.
			m.clearID(d)
			m.unwatchDir(d)
			m.enqueue(d)
			return
		}
		parent, name := d.parent, d.name
		m.removeDir(d, true)
		m.discover(parent, name, kindUnknown, 0, false)
		return
	}
	if d.wd < 0 && m.watchDir(d) {
		m.enqueue(d) // what changed before the watch
	}
	m.retier(d)
	for name := range d.dangling {
		m.discover(d, name, kindUnknown, 0, false)
	}
	if d.retry || !d.lists || st.mtime != d.mtime || !d.events && m.clock < d.settles {
		m.enqueue(d)
	} else if d.settles != 0 && m.clock >= d.settles {
		d.settles = 0
		if !d.events {
			m.enqueue(d)
		}
	}
}
