// Package alarm tells the operator what went wrong with the logs themselves: a
// file that cannot be read, a line that does not parse, data that was given up.
// Such things come in thousands, so equal ones are merged for a time.
package alarm

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Window is how long equal alarms are merged: 30 seconds, as Logtail reports them.
const Window = 30 * time.Second

// MaxSample is the most bytes of a sample that an alarm shows.
const MaxSample = 1 << 10

// maxKinds bounds the alarms that are open at once; with more of them, all that
// are open are written early, so that no count is lost and memory stays small.
const maxKinds = 10_000

// Scope says whose logs an alarm is about. Any part may be empty.
type Scope struct {
	Pipeline, Project, Logstore string
}

// Options are the settings of a Log; all have defaults.
type Options struct {
	Logger *slog.Logger     // default slog.Default()
	Now    func() time.Time // default time.Now
}

// Log merges alarms of equal type and scope for Window and then writes one
// warning with their count, the first message and the first sample. It is safe for concurrent use.
type Log struct {
	logger *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	open   map[key]*entry
	oldest time.Time // of the open ones; not after any of them
	closed bool

	stop chan struct{} // closed by Close
	done chan struct{} // closed when the goroutine has ended
}

type key struct {
	typ   Type
	scope Scope
}

type entry struct {
	key     key
	since   time.Time
	count   uint64
	message string
	sample  string
}

// NewLog starts a Log. Close ends it.
func NewLog(o Options) *Log {
	l := &Log{
		logger: o.Logger, now: o.Now, open: make(map[key]*entry),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if l.logger == nil {
		l.logger = slog.Default()
	}
	if l.now == nil {
		l.now = time.Now
	}
	go l.run()
	return l
}

// run writes what is due even when nothing new is raised.
func (l *Log) run() {
	defer close(l.done)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			l.FlushDue()
		case <-l.stop:
			return
		}
	}
}

// Raise reports count alarms of type t in scope s. The message is one sentence
// with what happened and the remedy; sample is the log text in question or nil.
// Message and sample are copied, and only of the first alarm of a window; what
// looks like a password, key or token in the sample is masked, and the sample
// is cut at MaxSample. Raise on a nil or closed Log does nothing but, when
// closed, write the alarm at once.
func (l *Log) Raise(t Type, s Scope, count int, message string, sample []byte) {
	if l == nil || count <= 0 {
		return
	}
	now := l.now()
	l.mu.Lock()
	k := key{t, s}
	if e := l.open[k]; e != nil && now.Sub(e.since) < Window {
		e.count += uint64(count)
		l.mu.Unlock()
		return
	}
	due := l.takeDue(now)
	e := &entry{key: k, since: now, count: uint64(count), message: message, sample: Sample(sample)}
	if len(l.open) == 0 || now.Before(l.oldest) {
		l.oldest = now
	}
	switch {
	case l.closed:
		due = append(due, e)
	case len(l.open) >= maxKinds:
		due = append(due, l.takeAll()...)
		l.open[k] = e
	default:
		l.open[k] = e
	}
	l.mu.Unlock()
	l.write(due)
}

// FlushDue writes the alarms whose window is over. A Log does it by itself every second.
func (l *Log) FlushDue() {
	now := l.now()
	l.mu.Lock()
	due := l.takeDue(now)
	l.mu.Unlock()
	l.write(due)
}

// Close writes all alarms that are still open and ends the Log. It may be
// called more than once; the error is always nil, for io.Closer.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	all := l.takeAll()
	l.mu.Unlock()
	close(l.stop)
	<-l.done
	l.write(all)
	return nil
}

// takeDue removes the entries whose window is over and returns them. The caller holds mu.
func (l *Log) takeDue(now time.Time) []*entry {
	if len(l.open) == 0 || !over(now, l.oldest) {
		return nil
	}
	var due []*entry
	l.oldest = now
	for k, e := range l.open {
		if over(now, e.since) {
			due = append(due, e)
			delete(l.open, k)
		} else if e.since.Before(l.oldest) {
			l.oldest = e.since
		}
	}
	return due
}

// over says whether a window that began at since is over. A clock that was set
// back must not keep an alarm forever.
func over(now, since time.Time) bool {
	d := now.Sub(since)
	return d >= Window || d < -Window
}

// takeAll removes all entries and returns them. The caller holds mu.
func (l *Log) takeAll() []*entry {
	all := make([]*entry, 0, len(l.open))
	for _, e := range l.open {
		all = append(all, e)
	}
	clear(l.open)
	return all
}

// write writes entries oldest first, outside of the lock: a slow log must not stop the workers.
func (l *Log) write(es []*entry) {
	slices.SortFunc(es, func(a, b *entry) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.key.typ, b.key.typ),
			cmp.Compare(a.key.scope.Pipeline, b.key.scope.Pipeline), cmp.Compare(a.key.scope.Logstore, b.key.scope.Logstore))
	})
	for _, e := range es {
		attrs := []slog.Attr{slog.String("alarm", string(e.key.typ)), slog.Uint64("count", e.count)}
		for _, a := range [...]struct{ k, v string }{
			{"pipeline", e.key.scope.Pipeline},
			{"project", e.key.scope.Project},
			{"logstore", e.key.scope.Logstore},
			{"sample", e.sample},
		} {
			if a.v != "" {
				attrs = append(attrs, slog.String(a.k, a.v))
			}
		}
		l.logger.LogAttrs(context.Background(), slog.LevelWarn, e.message, attrs...)
	}
}
