package monitor

// pending is the set of events that the consumer has not taken yet. There is
// at most one per watch and path: a later event joins the earlier one, so that
// the set is bounded by the files that the consumer knows and those that exist,
// however slow it is, and nothing that it must know is lost.
type pending struct {
	list  []pendingEvent
	index map[pendingKey]int // place in list, counted from the first event ever
	base  int                // what list[0] counts as
	live  int
}

type pendingKey struct {
	w    *watch
	path string
}

type pendingEvent struct {
	Event
	w     *watch
	known bool // the consumer was told of the path before this event
	dead  bool // taken back
}

func (p *pending) add(w *watch, kind Kind, path string, first bool) {
	key := pendingKey{w, path}
	if at, ok := p.index[key]; ok {
		e := &p.list[at-p.base]
		switch kind {
		case Changed:
			// A file that is still to be announced, or was changed before.
		case Found:
			e.Kind, e.First = Found, first
		case Gone:
			if e.known {
				e.Kind, e.First = Gone, false
				return
			}
			// It came and went unseen: there is nothing to say.
			e.dead = true
			p.live--
			delete(p.index, key)
		}
		return
	}
	if p.index == nil {
		p.index = make(map[pendingKey]int)
	}
	p.index[key] = p.base + len(p.list)
	p.push(pendingEvent{Event: Event{Watch: w.name, Kind: kind, Path: path, First: first}, w: w, known: kind != Found})
}

// done adds the end of a first scan.
func (p *pending) done(w *watch) {
	p.push(pendingEvent{Event: Event{Watch: w.name, Kind: FirstScanDone}, w: w})
}

func (p *pending) push(e pendingEvent) {
	p.list = append(p.list, e)
	p.live++
	if len(p.list) > 2*p.live+1024 {
		p.compact()
	}
}

// compact drops what was taken back.
func (p *pending) compact() {
	kept := p.list[:0]
	for i := range p.list {
		e := &p.list[i]
		if e.dead {
			continue
		}
		if e.Kind != FirstScanDone {
			p.index[pendingKey{e.w, e.Path}] = p.base + len(kept)
		}
		kept = append(kept, *e)
	}
	clear(p.list[len(kept):])
	p.list = kept
}

// take returns up to limit events in their order, or nil.
func (p *pending) take(limit int) []Event {
	if p.live == 0 {
		p.list = p.list[:0]
		return nil
	}
	batch := make([]Event, 0, min(limit, p.live))
	i := 0
	for ; i < len(p.list) && len(batch) < limit; i++ {
		e := &p.list[i]
		if e.dead {
			continue
		}
		batch = append(batch, e.Event)
		if e.Kind != FirstScanDone {
			delete(p.index, pendingKey{e.w, e.Path})
		}
	}
	p.live -= len(batch)
	if p.live == 0 {
		// Give a burst's memory back, keep what a usual wake-up needs.
		if cap(p.list) > 8192 || p.base+i > 8192 {
			p.list, p.index = nil, nil
		}
		clear(p.list)
		p.list, p.base = p.list[:0], 0
		return batch
	}
	clear(p.list[:i])
	p.list = p.list[i:]
	p.base += i
	return batch
}

// purge drops the events of a watch.
func (p *pending) purge(w *watch) {
	for i := range p.list {
		if e := &p.list[i]; e.w == w && !e.dead {
			e.dead = true
			p.live--
			delete(p.index, pendingKey{w, e.Path})
		}
	}
}
