package segment

import (
	"container/list"
	"sync"
)

// cache keeps segments open between searches: at most maxFiles of them, and
// about maxBytes of footers and sidecars. What a search holds stays open until
// it lets go, whatever the limits.
type cache struct {
	maxFiles int
	maxBytes int64

	mu    sync.Mutex
	order list.List // of *cached, the least recently used last
	byID  map[*segment]*cached
	bytes int64
}

// cached is an open segment in the cache.
type cached struct {
	seg  *segment
	h    *handle
	refs int // of searches, and one of the cache
	elem *list.Element
}

func newCache(files int, bytes int64) *cache {
	return &cache{maxFiles: files, maxBytes: bytes, byID: map[*segment]*cached{}}
}

// acquire returns the open segment; release has to be called when done.
func (c *cache) acquire(seg *segment) (*cached, error) {
	c.mu.Lock()
	if e := c.byID[seg]; e != nil {
		e.refs++
		c.order.MoveToFront(e.elem)
		c.mu.Unlock()
		return e, nil
	}
	c.mu.Unlock()
	h, err := openHandle(seg.dir, &seg.meta)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byID[seg]; e != nil { // another search was faster
		h.close()
		e.refs++
		return e, nil
	}
	e := &cached{seg: seg, h: h, refs: 2}
	e.elem = c.order.PushFront(e)
	c.byID[seg] = e
	c.bytes += h.memory
	for c.order.Len() > 1 && (c.order.Len() > c.maxFiles || c.bytes > c.maxBytes) {
		c.remove(c.order.Back().Value.(*cached))
	}
	return e, nil
}

func (c *cache) release(e *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unref(e)
}

// drop takes a segment out of the cache; it closes when no search holds it.
func (c *cache) drop(seg *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byID[seg]; e != nil {
		c.remove(e)
	}
}

func (c *cache) remove(e *cached) {
	c.order.Remove(e.elem)
	delete(c.byID, e.seg)
	c.bytes -= e.h.memory
	c.unref(e)
}

func (c *cache) unref(e *cached) {
	if e.refs--; e.refs == 0 {
		e.h.close()
	}
}
