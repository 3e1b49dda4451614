package monitor

import (
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	// hangAfter is how long a look may take before its place is set aside. All
	// other places wait for it once.
	hangAfter = 3 * time.Second
	// probation is how long a place must have answered quickly before it is
	// looked at together with the others again.
	probation = 5 * time.Minute
	// maxPlaces bounds the places that are set aside, and so the goroutines that
	// hang: when there are so many, all the rest becomes one more.
	maxPlaces = 16
)

// place is a part of the file system in which a look took too long: a network
// mount whose server is away, a disk that fails. It has a looker of its own, so
// that nothing else waits for it, and is looked at one directory at a time.
type place struct {
	l *looker
	// dir is the top of the place; nil while it is only the name of an entry in
	// parent, as for a link into a file system that hangs.
	dir    *dir
	parent *dir
	name   string
	wanted bool // the entry is in the queue

	queue []*dir    // directories to be looked at; parent stands for the entry
	bad   time.Time // when it was slow last
	busy  bool      // the looker has a question
	over  bool      // it is not needed any more

	stuck    bool // the question is still the one for which it was set aside
	watching bool // and that was to watch a directory
}

// path is the name of the place.
func (p *place) path() string {
	if p.dir != nil {
		return p.dir.path
	}
	return join(p.parent.path, p.name)
}

// aside returns the place that name in d, or d itself if name is empty, belongs
// to; nil if it is looked at like most.
func (d *dir) aside(name string) *place {
	if d.place == nil && name != "" {
		return d.held[name]
	}
	return d.place
}

// want asks for a look at d, or, where the place is an entry of d, at that.
func (p *place) want(d *dir) {
	if p.dir == nil {
		if !p.wanted {
			p.wanted = true
			p.queue = append(p.queue, d)
		}
		return
	}
	if !d.wanted && !d.dead {
		d.wanted = true
		p.queue = append(p.queue, d)
	}
}

// setAside makes a place of what hangs: the mount that the path is on, or what
// is behind a link, and leaves the looker to it.
func (m *Monitor) setAside(l *looker, d *dir, name string, q question) {
	p := &place{l: l, busy: true, stuck: true, watching: q.kind == askWatch, bad: time.Now()}
	m.places = append(m.places, p)
	mount := m.mountOf(q.path)
	if len(m.places) > maxPlaces {
		p.dir = d
		for p.dir.parent != nil {
			p.dir = p.dir.parent
		}
		m.join(p.dir, p)
		m.alarm("HOLD_ON_TOO_SLOW_ALARM", fmt.Sprintf("more than %d places in the file system do not answer, and %q is one more: now all waits for it that is not set aside yet; check the disks and mounts", maxPlaces, q.path))
		return
	}
	if name != "" && (q.follow && m.isLink(d, name) || mount == q.path) {
		p.parent, p.name = d, name
		if d.held == nil {
			d.held = make(map[string]*place)
		}
		d.held[name] = p
		p.want(d)
	} else {
		p.dir = d
		for up := d.parent; up != nil && !p.dir.link && p.dir.path != mount && below(up.path, mount); up = up.parent {
			p.dir = up
		}
		m.join(p.dir, p)
	}
	m.alarm("REGISTER_INOTIFY_FAIL_ALARM", fmt.Sprintf("%q does not answer: a look at %q takes longer than %v. Its files are looked at apart from the others now, as fast as it answers; check the disk or the mount", p.path(), q.path, m.hangAfter))
}

// isLink says whether a name in d is known to be a symbolic link.
func (m *Monitor) isLink(d *dir, name string) bool {
	if f := d.files[name]; f != nil {
		return f.link
	}
	// It is not known yet, and only links are looked at twice.
	return m.following
}

// below says whether path is top or lies below it; nothing counts as below the root
// of the file system, which holds everything.
func below(path, top string) bool {
	return len(top) > 1 && strings.HasPrefix(path, top) && (len(path) == len(top) || os.IsPathSeparator(path[len(top)]))
}

// join makes d and what is below it part of a place. The first scans of watches
// do not wait for it.
func (m *Monitor) join(d *dir, p *place) {
	if d.place != nil {
		return
	}
	d.place = p
	m.release(d)
	p.want(d)
	for _, c := range d.children {
		m.join(c, p)
	}
}

// rejoin ends a place that answers as quickly as others.
func (m *Monitor) rejoin(d *dir, p *place) {
	if d.place != p {
		return
	}
	d.place, d.wanted, d.statAll = nil, false, true
	m.enqueue(d)
	for _, c := range d.children {
		m.rejoin(c, p)
	}
}

// placeEnds notes that the top of a place has left the tree.
func (m *Monitor) placeEnds(d *dir) {
	if p := d.place; p != nil && p.dir == d {
		p.over = true
	}
	for _, p := range d.held {
		p.over = true
	}
}

// serve takes what the lookers of the places have found, and gives them what
// is to be looked at next.
func (m *Monitor) serve() {
	kept := m.places[:0]
	for _, p := range m.places {
		if p.busy {
			select {
			case a := <-p.l.out:
				p.busy = false
				m.answered(p, &a)
			default:
			}
		}
		switch {
		case p.busy: // and nothing ends it
		case p.over:
			close(p.l.in)
			continue
		case time.Since(p.bad) > m.probation:
			m.o.Logger.Info("a place that did not answer is looked at together with the others again", "path", p.path())
			p.end(m)
			close(p.l.in)
			continue
		default:
			p.next()
		}
		kept = append(kept, p)
	}
	clear(m.places[len(kept):])
	m.places = kept
}

func (p *place) end(m *Monitor) {
	if p.dir != nil {
		m.rejoin(p.dir, p)
		return
	}
	delete(p.parent.held, p.name)
	m.enqueue(p.parent)
}

// next gives the looker the next directory.
func (p *place) next() {
	for len(p.queue) > 0 {
		d := p.queue[0]
		p.queue = p.queue[1:]
		job := &report{dir: d, path: d.path}
		if p.dir == nil || d == p.parent {
			p.wanted = false
			job.name = p.name
		} else {
			d.wanted = false
		}
		if d.dead || job.name != "" && p.dir != nil {
			continue // an entry that has become a directory is asked for as such
		}
		job.cursors = append(job.cursors, d.cursors...)
		p.busy = true
		p.l.in <- question{kind: askReport, job: job}
		return
	}
}

// answered follows the answer of a place's looker.
func (m *Monitor) answered(p *place, a *answer) {
	if p.stuck {
		p.stuck, p.bad = false, time.Now()
		if p.watching && a.err == nil && m.wds[a.wd] == nil && m.notify != nil {
			m.notify.remove(a.wd) // nobody knows of it
		}
		return
	}
	r := a.report
	if r.slowest > m.hangAfter/4 {
		p.bad = time.Now()
	}
	if d := r.dir; !d.dead && !p.over {
		m.apply(r)
	}
}

// apply brings what is known of a directory in line with a report.
func (m *Monitor) apply(r *report) {
	m.report = r
	defer func() { m.report = nil }()
	d := r.dir
	if r.name != "" {
		switch f, c := d.files[r.name], d.children[r.name]; {
		case f != nil:
			m.look(f, false)
		case c != nil:
			m.visit(c)
		default:
			m.discover(d, r.name, kindUnknown, 0, true)
		}
		return
	}
	d.statAll = true
	queued := d.queued
	d.queued = true // all that a look at it asks for is here
	if d.id != 0 {
		m.visit(d)
	}
	if d.queued = queued; !d.dead {
		m.scan(d)
	}
}
