package monitor

import "errors"

// question is one thing that the monitor wants to know of the disk.
type question struct {
	kind   questionKind
	path   string
	follow bool    // askStatus: through a symbolic link
	files  bool    // askWatch: tell of writes to the files in it, too
	job    *report // askReport: what is asked for
}

type questionKind uint8

const (
	askStatus questionKind = iota // what is at a path
	askList                       // what is in a directory
	askWatch                      // to be told of what happens in a directory
	askReport                     // all of a directory at once
)

// answer is what the disk says to a question.
type answer struct {
	err      error
	status   status
	list     *listing // valid until the next list is asked for
	wd       int32
	complete bool // every change in the watched directory is told
	report   *report
}

// errAside is the answer to questions about a place that is set aside.
var errAside = errors.New("it does not answer in time")

// listing is what is in a directory.
type listing struct {
	mtime   int64 // of the directory, before the first entry was read; unix nanoseconds
	names   []byte
	entries []entry
}

// entry is a name in a directory; its name ends at end and begins where the
// one before it ends.
type entry struct {
	ino  uint64
	end  uint32
	kind entryKind
}

// each calls fn for every entry; name is valid during the call.
func (l *listing) each(fn func(name []byte, kind entryKind, ino uint64)) {
	from := uint32(0)
	for i := range l.entries {
		e := &l.entries[i]
		fn(l.names[from:e.end], e.kind, e.ino)
		from = e.end
	}
}

// keepListing is how many bytes of names a listing may keep for the next one.
const keepListing = 1 << 20

// system is the calls that may hang, with the disk or network behind them.
type system struct {
	stat  func(path string, follow bool) (status, error)
	list  func(path string, buf []byte, fn func(name []byte, kind entryKind, ino uint64)) (mtime int64, err error)
	watch func(n notifier, path string, files bool) (int32, error)
}

// asker answers questions with the system's calls. Each goroutine has its own.
type asker struct {
	sys    system
	notify notifier // nil without events
	buf    []byte
	names  listing
}

// scratch is the memory for the records of a listing.
const scratch = 32 << 10

func (a *asker) answer(q *question) (r answer) {
	switch q.kind {
	case askStatus:
		r.status, r.err = a.sys.stat(q.path, q.follow)
	case askList:
		r.err = a.list(q.path)
		r.list = &a.names
	case askWatch:
		if r.wd, r.err = a.sys.watch(a.notify, q.path, q.files); r.err == nil {
			r.complete = eventsComplete(q.path)
		}
	case askReport:
		q.job.make(a)
		r.report = q.job
	}
	return r
}

func (a *asker) list(path string) (err error) {
	if a.buf == nil {
		a.buf = make([]byte, scratch)
	}
	l := &a.names
	if l.names, l.entries = l.names[:0], l.entries[:0]; cap(l.names) > keepListing {
		*l = listing{}
	}
	l.mtime, err = a.sys.list(path, a.buf, func(name []byte, kind entryKind, ino uint64) {
		l.names = append(l.names, name...)
		l.entries = append(l.entries, entry{ino: ino, end: uint32(len(l.names)), kind: kind})
	})
	return err
}

// looker is the goroutine that looks at the disk for the loop. A call to the
// system about a file system whose server is away may never return, and nothing
// can end it; so the loop only waits for the looker, and when that takes too
// long it leaves it behind and goes on with another one. A look costs 4
// microseconds more that way in an idle process, half a microsecond in a busy one.
type looker struct {
	in    chan question // capacity 1: who asks does not wait for the looker to listen
	out   chan answer   // capacity 1: one that nobody waits for can go on
	ended chan struct{}
}

func (m *Monitor) newLooker() *looker {
	l := &looker{in: make(chan question, 1), out: make(chan answer, 1), ended: make(chan struct{})}
	a := &asker{sys: m.sys, notify: m.notify}
	wake := m.poke
	go func() {
		defer close(l.ended)
		for q := range l.in {
			l.out <- a.answer(&q)
			if q.kind == askReport {
				wake()
			}
		}
	}()
	return l
}

// status asks what is at a path: name in d, or d itself if name is empty.
func (m *Monitor) status(d *dir, name, path string, follow bool) (status, error) {
	m.stats.Add(1)
	a := m.ask(d, name, question{kind: askStatus, path: path, follow: follow})
	return a.status, a.err
}

// ask asks the disk about name in d, or about d itself if name is empty.
func (m *Monitor) ask(d *dir, name string, q question) answer {
	if m.report != nil {
		return m.report.answer(&q)
	}
	if p := d.aside(name); p != nil {
		p.want(d)
		return answer{err: errAside}
	}
	l := m.looker
	l.in <- q
	m.patience.Reset(m.hangAfter)
	select {
	case a := <-l.out:
		m.patience.Stop()
		return a
	case <-m.patience.C:
	}
	// If it was this process that stood still, the answer is about to come.
	m.patience.Reset(m.hangAfter / 4)
	select {
	case a := <-l.out:
		m.patience.Stop()
		return a
	case <-m.patience.C:
	}
	m.looker = m.newLooker()
	m.setAside(l, d, name, q)
	return answer{err: errAside}
}
