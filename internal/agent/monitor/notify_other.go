//go:build !linux

package monitor

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// portable watches through fsnotify (kqueue, ReadDirectoryChangesW). Only
// Linux, where servers are, has its own way.
type portable struct {
	w        *fsnotify.Watcher
	sink     *sink
	coalesce time.Duration
	done     chan struct{}
	ended    chan struct{}

	ask chan func() // run by the goroutine that owns the maps
	wds map[string]int32
	dir map[int32]string
	n   int32
}

func newNotifier(s *sink, coalesce time.Duration) (notifier, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	n := &portable{
		w: w, sink: s, coalesce: coalesce, done: make(chan struct{}), ended: make(chan struct{}),
		ask: make(chan func()), wds: make(map[string]int32), dir: make(map[int32]string),
	}
	go n.read()
	return n, nil
}

func (n *portable) do(f func()) {
	ran := make(chan struct{})
	n.ask <- func() { f(); close(ran) }
	<-ran
}

func (n *portable) add(path string, _ bool) (wd int32, err error) {
	// The number is given first, so that an event cannot come before it.
	n.do(func() {
		var ok bool
		if wd, ok = n.wds[path]; !ok {
			n.n++
			wd = n.n
			n.wds[path], n.dir[wd] = wd, path
		}
	})
	if err = n.w.Add(path); err != nil {
		n.do(func() { delete(n.wds, path); delete(n.dir, wd) })
	}
	return wd, err
}

func (n *portable) remove(wd int32) {
	var path string
	n.do(func() {
		path = n.dir[wd]
		delete(n.wds, path)
		delete(n.dir, wd)
	})
	if path != "" {
		_ = n.w.Remove(path) // it may be gone already
	}
}

func (n *portable) close() {
	close(n.done)
	<-n.ended
	n.w.Close()
}

func (n *portable) read() {
	defer close(n.ended)
	wake := time.NewTimer(n.coalesce)
	defer wake.Stop()
	armed := true
	for {
		select {
		case <-n.done:
			return
		case f := <-n.ask:
			f()
		case <-wake.C:
			armed = false
			n.sink.wake()
		case e, ok := <-n.w.Events:
			if !ok {
				return
			}
			n.tell(e)
			if !armed {
				wake.Reset(n.coalesce)
				armed = true
			}
		case err, ok := <-n.w.Errors:
			if !ok {
				return
			}
			// Whatever went wrong, events may be missing.
			_ = err
			n.sink.lose()
			if !armed {
				wake.Reset(n.coalesce)
				armed = true
			}
		}
	}
}

func (n *portable) tell(e fsnotify.Event) {
	bits := changeBits(0)
	if e.Has(fsnotify.Create) || e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		bits |= bitEntry
	}
	if e.Has(fsnotify.Write) {
		bits |= bitWritten
	}
	if bits == 0 {
		return
	}
	if wd, ok := n.wds[e.Name]; ok && bits&bitEntry != 0 {
		n.sink.tell(wd, nil, bits)
	}
	if wd, ok := n.wds[filepath.Dir(e.Name)]; ok {
		n.sink.tell(wd, []byte(filepath.Base(e.Name)), bits)
	}
}

// limitReached says whether an error of add means that no more watches can be
// had, and what to do about it.
func limitReached(err error) (bool, string) {
	if errors.Is(err, errTooManyFiles) {
		return true, "raise the limit of open files"
	}
	return false, ""
}

// defaultMaxWatches is low: a watch holds a handle here, and with kqueue one
// for each file in the directory.
func defaultMaxWatches() int { return 500 }

// eventsComplete cannot be known here, so directories are polled as well.
func eventsComplete(string) bool { return false }
