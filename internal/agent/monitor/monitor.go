// Package monitor is the first step of collection: which files there are, and
// which of them changed.
//
// It keeps one tree of the directories that any watch goes through or collects
// from. Three things feed it, and all do the same, namely look at the disk and
// tell the difference: events of the kernel, which name what to look at within
// milliseconds; sweeps, which go round everything at a steady low rate and so
// find what no event tells (network file systems, links, mounts, lost events);
// and a scan of everything at once after events were lost. As the disk always
// decides, events may come late, twice, in any order or not at all.
//
// A part of the file system that does not answer, such as a mount whose server
// is away, is set aside and holds nothing else up; see place.
//
// Nothing here opens a file: whose content a path holds is the reader's
// question. Nothing is kept per file but a small record in one of five rings:
// files that changed in the last 180 s are looked at every FileInterval, idle
// ones seldom, the less often the surer the kernel's events are for them.
package monitor

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Options.
const (
	// DefaultDirInterval lets a new file appear within a second also where no
	// events come.
	DefaultDirInterval = 750 * time.Millisecond
	// DefaultFileInterval is polling_modify_check_interval.
	DefaultFileInterval = time.Second
	// DefaultCoalesce bounds the wake-ups for files that are written to all
	// the time to some 20 a second, and is not felt by a person. At 10 MB/s the
	// agent needs a sixth less of the processor than with 20 ms.
	DefaultCoalesce = 50 * time.Millisecond
	// DefaultMaxDirs is max_watch_dir_count.
	DefaultMaxDirs = 100_000
	// DefaultMaxFiles is the documented limit of files per agent at the
	// highest memory setting; some 200 MB of records.
	DefaultMaxFiles = 1_000_000
)

// activeFor is how long after a change a file is looked at every FileInterval
// (polling_ignore_file_modify_timeout).
const activeFor = 180 * time.Second

// Bounds of the sweeps, in looks a second. A look takes some 8 microseconds
// when nothing of it is in the processor's caches, so that 10,000 directories and
// 100,000 files cost about 0.3% of a core with events, as much again while all
// of them have just been written to, and 0.7% where no events come. Small
// sets are looked at more often.
const (
	hotDirRate      = 2000
	coldDirRate     = 600
	watchedDirRate  = 150
	activeFileRate  = 20_000
	toldFileRate    = 500 // only writes through memory maps make no event
	linkedFileRate  = 1000
	polledFileRate  = 300
	quietFileRate   = 150
	watchedDirSlack = 5  // times DirInterval is the least time between looks
	quietFileSlack  = 10 // times FileInterval
)

// maxBatch is the most events of one batch.
const maxBatch = 4096

// Options are the settings of a Monitor; zero values mean the defaults.
type Options struct {
	// DirInterval is how often each directory is looked at that has no events
	// (with more than some 400 where nothing happened for 180 s, those less often).
	DirInterval time.Duration
	// FileInterval is how often each file is looked at that changed in the last
	// 180 s, and each that is reached through a link (with more than some 500 of
	// them less often, where events tell of their changes).
	FileInterval time.Duration
	// UseEvents asks for the kernel's events (inotify); sweeps run in any case.
	UseEvents bool
	// Coalesce is how long events gather after a wake-up.
	Coalesce time.Duration
	// MaxWatches bounds the directories with events; the others are polled.
	// 0 means half of what the kernel allows.
	MaxWatches int
	// MaxDirs and MaxFiles bound what is known; more is left out, with an alarm.
	MaxDirs, MaxFiles int
	// Logger takes what Alarm does not; nil means slog.Default().
	Logger *slog.Logger
	// Alarm is told of trouble, by the documented type of alarm and a sentence
	// with the remedy, at most 10 times in 10 minutes for each type. It must
	// neither block nor call the Monitor. nil means that Logger takes it.
	Alarm func(kind, message string)
	// Now is the clock that ages are taken from; nil means time.Now.
	Now func() time.Time
}

// Kind is what an Event says of a path.
type Kind uint8

// The kinds of events.
const (
	// Found: the watch sees this file for the first time, or another file took
	// the place of the one it knew.
	Found Kind = iota + 1
	// Changed: size or time of modification changed, or it was written to.
	Changed
	// Gone: nothing is at the path any more; it was removed or renamed away.
	Gone
	// FirstScanDone: the watch's first scan is complete; all its events with
	// First came before.
	FirstScanDone
)

// String is the name of the constant.
func (k Kind) String() string {
	switch k {
	case Found:
		return "Found"
	case Changed:
		return "Changed"
	case Gone:
		return "Gone"
	case FirstScanDone:
		return "FirstScanDone"
	}
	return fmt.Sprintf("Kind(%d)", k)
}

// Event is one thing that a watch has to know.
type Event struct {
	Watch string
	Kind  Kind
	Path  string // empty for FirstScanDone
	// First says that the file was there when the watch began: the rule for
	// first contact (tail of large files, idle files not collected) applies.
	First bool
}

// Stats are counters since the start (the unsigned ones) and present numbers.
type Stats struct {
	Watches     int
	Dirs        int // known directories
	WatchedDirs int // of them, with complete events
	HotDirs     int // of the others, with changes in the last 180 s
	KernelDirs  int // watches held in the kernel
	Files       int // known files
	ActiveFiles int // of them, changed in the last 180 s
	Pending     int // events that wait for the consumer
	Aside       int // places that do not answer in time and are looked at apart

	Events    uint64 // from the kernel
	Overflows uint64 // times that events were lost and everything was scanned
	Scans     uint64 // of directories
	Stats     uint64 // looks at single paths
	Delivered uint64 // events taken by the consumer
	Failures  uint64 // looks that failed, as for want of rights
	Refused   uint64 // finds left out for MaxDirs or MaxFiles
}

// Monitor finds files and tells what changes. Its methods may be called from
// any goroutine.
type Monitor struct {
	o    Options
	out  chan []Event
	wake chan struct{}
	sink sink

	failures, refused, stats, scans, delivered atomic.Uint64

	newNotifier func(*sink, time.Duration) (notifier, error)

	sys                  system // the calls that may hang
	hangAfter, probation time.Duration

	mu     sync.Mutex
	served *sync.Cond // the running loop has seen asked
	asked  uint64     // counts calls that must be seen by the loop
	seen   uint64
	state  runState

	watches map[string]*watch
	number  uint32
	sets    watchSets

	roots     map[string]*dir
	byID      map[uint64]*dir
	skipped   map[*dir]struct{} // directories with a link that ** did not follow
	dirCount  int
	fileCount int

	notify    notifier // nil without events
	wds       map[int32]*kernelWatch
	fullUntil int64 // no new kernel watch is tried before

	todo     []*dir
	todoHead int
	links    []link

	looker    *looker
	patience  *time.Timer // with the looker
	following bool        // a look goes through a link
	places    []*place    // set aside
	report    *report     // answers instead of the looker while it is being applied
	mounts    *mounts
	mountOf   func(path string) string // the mount point it lies on

	coldDirs, hotDirs, watchedDirs ring[*dir]
	rings                          [tiers]ring[*file] // by tier
	lastSweep                      time.Time
	clock                          int64 // Options.Now as of this step, unix nanoseconds

	pending pending
	offer   []Event // the batch that waits to be taken

	changes []change
	bits    []changeBits
	said    map[string]*saying
}

type runState uint8

const (
	notStarted runState = iota
	running
	ended
)

// watch is one Watch call.
type watch struct {
	name   string
	number uint32 // order of the calls
	rules  *rules
	first  bool // its first scan is not complete
	scans  int  // what the first scan still has to do
}

// kernelWatch is one watch in the kernel; a directory may be known by several
// paths, through links.
type kernelWatch struct {
	dirs     []*dir
	complete bool // every change in it is told
}

// saying limits one type of alarm.
type saying struct {
	since int64
	count int
}

// New returns a Monitor that does nothing until Run.
func New(o Options) (*Monitor, error) {
	if o.DirInterval < 0 || o.FileInterval < 0 || o.Coalesce < 0 || o.MaxWatches < 0 || o.MaxDirs < 0 || o.MaxFiles < 0 {
		return nil, errors.New("monitor: intervals and limits must not be negative")
	}
	setDefault(&o.DirInterval, DefaultDirInterval)
	setDefault(&o.FileInterval, DefaultFileInterval)
	setDefault(&o.Coalesce, DefaultCoalesce)
	setDefault(&o.MaxDirs, DefaultMaxDirs)
	setDefault(&o.MaxFiles, DefaultMaxFiles)
	if o.MaxWatches == 0 {
		o.MaxWatches = defaultMaxWatches()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Alarm == nil {
		o.Alarm = func(kind, message string) { o.Logger.Warn(message, "alarm", kind) }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &Monitor{
		o:           o,
		out:         make(chan []Event),
		wake:        make(chan struct{}, 1), // one waiting wake-up stands for all
		newNotifier: newNotifier,
		watches:     make(map[string]*watch),
		roots:       make(map[string]*dir),
		byID:        make(map[uint64]*dir),
		skipped:     make(map[*dir]struct{}),
		wds:         make(map[int32]*kernelWatch),
		said:        make(map[string]*saying),
		hangAfter:   hangAfter,
		probation:   probation,
		patience:    time.NewTimer(time.Hour),
	}
	m.patience.Stop()
	m.mountOf = func(path string) string { return m.mounts.of(path) }
	m.sys = system{
		stat: statPath, list: readDir,
		watch: func(n notifier, path string, files bool) (int32, error) { return n.add(path, files) },
	}
	m.sink.wake = m.poke
	m.served = sync.NewCond(&m.mu)
	m.clock = o.Now().UnixNano()
	return m, nil
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// Events gives batches of events, in the order in which they must be seen. The
// channel has no buffer: what the consumer has not taken stays in the monitor,
// where a later event for the same watch and path joins an earlier one, so that
// it is bounded by the number of files and nothing is lost. It is closed when
// Run returns.
func (m *Monitor) Events() <-chan []Event { return m.out }

// Watch begins to look for the files of s, on behalf of name. The error says
// what is wrong with s. It may be called before Run and while it runs.
func (m *Monitor) Watch(name string, s Spec) error {
	r, err := compile(s)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, have := m.watches[name]; have {
		return fmt.Errorf("%q is watched already: call Unwatch first", name)
	}
	m.number++
	w := &watch{name: name, number: m.number, rules: r, first: true}
	m.watches[name] = w
	for i := range r.paths {
		root := m.roots[r.paths[i].root]
		if root == nil {
			root = m.newDir(nil, "", r.paths[i].root, 0)
			m.roots[root.path] = root
		}
		m.addCursors(root, []cursor{{w: w, path: uint16(i)}})
	}
	m.poke()
	return nil
}

// Unwatch ends a watch. After it has returned, no event of the watch is
// delivered. Unknown names are ignored.
func (m *Monitor) Unwatch(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.watches[name]
	if w == nil {
		return
	}
	delete(m.watches, name)
	w.first = false // nothing more to wait for
	for _, root := range m.roots {
		m.prune(root, w)
	}
	m.sets.forget(w)
	m.pending.purge(w)
	// The loop may be offering a batch with events of it at this moment.
	m.offer = slices.DeleteFunc(slices.Clone(m.offer), func(e Event) bool { return e.Watch == name })
	m.asked++
	asked := m.asked
	m.poke()
	for m.state == running && m.seen < asked {
		m.served.Wait()
	}
}

// prune takes w out of d and what is below, and removes what nobody needs.
func (m *Monitor) prune(d *dir, w *watch) {
	for _, c := range d.children {
		m.prune(c, w)
	}
	for _, f := range d.files {
		if f.set.has(w) {
			if f.set = m.sets.without(f.set, w); f.set == nil {
				m.removeFile(f, false)
			}
		}
	}
	d.cursors = slices.DeleteFunc(d.cursors, func(c cursor) bool { return c.w == w })
	d.refresh()
	if len(d.cursors) == 0 {
		m.removeDir(d, false)
	}
}

// Files returns the paths that a watch knows, sorted.
func (m *Monitor) Files(name string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.watches[name]
	if w == nil {
		return nil
	}
	var paths []string
	for i := range m.rings {
		for _, f := range m.rings[i].items {
			if f.set.has(w) {
				paths = append(paths, f.path())
			}
		}
	}
	slices.Sort(paths)
	return paths
}

// Stats returns the counters.
func (m *Monitor) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Stats{
		Watches: len(m.watches), Dirs: m.dirCount, WatchedDirs: len(m.watchedDirs.items), HotDirs: len(m.hotDirs.items), KernelDirs: len(m.wds),
		Files: m.fileCount, ActiveFiles: len(m.rings[tierActive].items) + len(m.rings[tierTold].items), Pending: m.pending.live + len(m.offer), Aside: len(m.places),
		Events: m.sink.events.Load(), Overflows: m.sink.overflows.Load(), Scans: m.scans.Load(), Stats: m.stats.Load(),
		Delivered: m.delivered.Load(), Failures: m.failures.Load(), Refused: m.refused.Load(),
	}
}

// alarm tells of trouble, but not all the time.
func (m *Monitor) alarm(kind, message string) {
	const most, window = 10, int64(10 * time.Minute)
	s := m.said[kind]
	if s == nil || m.clock-s.since > window {
		s = &saying{since: m.clock}
		m.said[kind] = s
	}
	s.count++
	switch {
	case s.count < most:
		m.o.Alarm(kind, message)
	case s.count == most:
		m.o.Alarm(kind, message+" (more of this kind are not told for 10 minutes)")
	}
}

// poke wakes the loop.
func (m *Monitor) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
