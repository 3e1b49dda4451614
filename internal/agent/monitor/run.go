package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// scanBudget is how long the loop scans before it looks at events, the
// consumer and its context again.
const scanBudget = 5 * time.Millisecond

// Run does the work until ctx ends, and returns nil then. It can be called
// once. Where the kernel's events cannot be had, it says so and polls.
func (m *Monitor) Run(ctx context.Context) error {
	m.mu.Lock()
	if m.state != notStarted {
		m.mu.Unlock()
		return errors.New("monitor: Run can be called once")
	}
	m.state = running
	m.clock = m.o.Now().UnixNano()
	m.lastSweep = time.Now()
	if m.o.UseEvents {
		n, err := m.newNotifier(&m.sink, m.o.Coalesce)
		if err != nil {
			_, remedy := limitReached(err)
			if remedy == "" {
				remedy = "check the limits of the system"
			}
			m.alarm("REGISTER_INOTIFY_FAIL_ALARM", fmt.Sprintf("no file events (%v): all directories are polled, which costs more; %s", err, remedy))
		} else {
			m.notify = n
		}
	}
	m.begin()
	m.mu.Unlock()

	m.loop(ctx)

	m.mu.Lock()
	m.finish()
	n := m.notify
	m.notify = nil
	clear(m.wds)
	m.state = ended
	m.served.Broadcast()
	m.mu.Unlock()
	if n != nil {
		n.close()
	}
	close(m.out)
	return nil
}

// begin makes what the loop needs to look at the disk.
func (m *Monitor) begin() {
	m.mounts = newMounts()
	m.looker = m.newLooker()
}

// finish ends the lookers. One that hangs in a place that was set aside cannot be
// waited for: it ends with its look, or with the process.
func (m *Monitor) finish() {
	for _, p := range m.places {
		close(p.l.in)
	}
	m.places = nil
	close(m.looker.in)
	<-m.looker.ended
	m.mounts.close()
}

// loop is the owner of all that happens.
func (m *Monitor) loop(ctx context.Context) {
	// Looks are spread evenly, but not over more rounds than need be: to wake
	// an idle process costs as much as 50 looks.
	tick := min(max(min(m.o.FileInterval, m.o.DirInterval)/3, time.Millisecond), 250*time.Millisecond)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for ctx.Err() == nil {
		m.mu.Lock()
		m.clock = m.o.Now().UnixNano()
		m.absorb()
		m.serve()
		m.sweep(tick)
		more := m.work(scanBudget)
		if len(m.offer) == 0 {
			m.offer = m.pending.take(maxBatch)
		}
		offer := m.offer
		if m.seen != m.asked {
			m.seen = m.asked
			m.served.Broadcast()
		}
		m.mu.Unlock()

		var out chan []Event
		if len(offer) > 0 {
			out = m.out
		}
		if more {
			select {
			case out <- offer:
				m.taken(offer)
			default:
			}
			continue
		}
		select {
		case out <- offer:
			m.taken(offer)
		case <-m.wake:
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// taken notes that the consumer has a batch.
func (m *Monitor) taken(batch []Event) {
	m.delivered.Add(uint64(len(batch)))
	m.mu.Lock()
	m.offer = nil
	m.mu.Unlock()
}

// absorb follows what the notifier has told.
func (m *Monitor) absorb() {
	var lost bool
	m.changes, m.bits, lost = m.sink.take(m.changes, m.bits)
	if lost {
		m.alarm("INOTIFY_EVENT_OVERFLOW_ALARM", "file events came faster than the system queues them, and some were lost: all directories are scanned now; raise it with: sysctl fs.inotify.max_queued_events=65536")
		m.rescan()
	}
	for i, c := range m.changes {
		kw := m.wds[c.wd]
		if kw == nil {
			continue // removed in the meantime
		}
		if m.bits[i]&bitLost != 0 {
			m.lostWatch(c.wd, kw)
			continue
		}
		// A visit may change the list.
		for k := len(kw.dirs) - 1; k >= 0; k-- {
			if k >= len(kw.dirs) {
				continue
			}
			d := kw.dirs[k]
			if c.name == "" {
				m.visit(d)
			} else {
				m.touched(d, c.name, m.bits[i]&bitWritten != 0)
			}
		}
	}
}

// rescan looks at everything anew.
func (m *Monitor) rescan() {
	for _, r := range []*ring[*dir]{&m.coldDirs, &m.hotDirs, &m.watchedDirs} {
		for _, d := range r.items {
			d.statAll = true
			m.enqueue(d)
		}
	}
}

// lostWatch follows the kernel's removal of a watch: the directory was removed,
// or its file system was unmounted.
func (m *Monitor) lostWatch(wd int32, kw *kernelWatch) {
	delete(m.wds, wd)
	dirs := kw.dirs
	for _, d := range dirs {
		d.wd = -1
		m.retier(d)
	}
	for _, d := range dirs {
		m.visit(d)
	}
}

// watchDir asks for the events of a directory and says whether they are new.
func (m *Monitor) watchDir(d *dir) bool {
	if m.notify == nil || d.wd >= 0 || d.dead || d.place != nil || m.clock < m.fullUntil {
		return false
	}
	if len(m.wds) >= m.o.MaxWatches {
		m.watchesFull(fmt.Sprintf("%d directories have file events, no more are allowed", len(m.wds)), "raise it with: sysctl fs.inotify.max_user_watches=524288")
		return false
	}
	a := m.ask(d, "", question{kind: askWatch, path: d.path, files: d.holdsFiles})
	if a.err != nil {
		if full, remedy := limitReached(a.err); full {
			m.watchesFull(fmt.Sprintf("no file events for directory %q (%v)", d.path, a.err), remedy)
		}
		// Else it is gone or may not be read: the scan will tell.
		return false
	}
	kw := m.wds[a.wd]
	if kw == nil {
		kw = &kernelWatch{complete: a.complete}
		m.wds[a.wd] = kw
	}
	kw.dirs = append(kw.dirs, d)
	d.wd = a.wd
	m.retier(d)
	return true
}

func (m *Monitor) watchesFull(what, remedy string) {
	// Others may give watches back; it is tried again in a while.
	m.fullUntil = m.clock + int64(time.Minute)
	m.alarm("INOTIFY_DIR_NUM_LIMIT_ALARM", what+": the other directories are polled, which costs more and finds changes later; "+remedy)
}

// unwatchDir gives the events of a directory up.
func (m *Monitor) unwatchDir(d *dir) {
	kw := m.wds[d.wd]
	if d.wd < 0 || kw == nil {
		d.wd = -1
		return
	}
	for i, o := range kw.dirs {
		if o == d {
			kw.dirs = append(kw.dirs[:i], kw.dirs[i+1:]...)
			break
		}
	}
	if len(kw.dirs) == 0 {
		delete(m.wds, d.wd)
		m.notify.remove(d.wd)
	}
	d.wd = -1
	m.retier(d)
}

// sweep makes the looks that the time since the last sweep has earned.
func (m *Monitor) sweep(tick time.Duration) {
	now := time.Now()
	passed := now.Sub(m.lastSweep)
	if passed < tick/2 {
		return
	}
	m.lastSweep = now
	m.remounted(m.mounts.changed())
	look := func(t tier, period time.Duration, rate float64) {
		r := &m.rings[t]
		for range r.due(passed, period, rate) {
			if len(r.items) > 0 {
				m.look(r.next(), false)
			}
		}
	}
	visit := func(r *ring[*dir], period time.Duration, rate float64) {
		for range r.due(passed, period, rate) {
			if len(r.items) > 0 {
				m.visit(r.next())
			}
		}
	}
	look(tierActive, m.o.FileInterval, activeFileRate)
	look(tierTold, m.o.FileInterval, toldFileRate)
	look(tierLinked, m.o.FileInterval, linkedFileRate)
	look(tierPolled, m.o.FileInterval, polledFileRate)
	look(tierQuiet, quietFileSlack*m.o.FileInterval, quietFileRate)
	visit(&m.hotDirs, m.o.DirInterval, hotDirRate)
	visit(&m.coldDirs, m.o.DirInterval, coldDirRate)
	visit(&m.watchedDirs, watchedDirSlack*m.o.DirInterval, watchedDirRate)
}

// remounted looks at what is at mount points now.
func (m *Monitor) remounted(points []string) {
	for _, point := range points {
		vol := filepath.VolumeName(point)
		d := m.roots[vol+string(os.PathSeparator)]
		parts := split(point[len(vol):])
		for i, part := range parts {
			if d == nil {
				break
			}
			if f := d.files[part]; f != nil && i == len(parts)-1 {
				m.look(f, false)
			}
			d = d.children[part]
		}
		if d != nil {
			m.visit(d)
		}
	}
}
