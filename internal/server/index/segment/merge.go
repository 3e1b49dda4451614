package segment

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"logtail/internal/sls"
)

const (
	// defaultMergeFan is how many segments of about one size become one: a
	// row is written again once for each such step, and a shard has at most
	// about this many segments of each size.
	defaultMergeFan = 8
	// mergeSpan bounds how far apart in time of receipt the rows of a merged
	// segment are, because a segment can only expire as a whole.
	mergeSpan = 24 * time.Hour
)

// errMergeLimit says that a merge would take more memory than a table may.
var errMergeLimit = errors.New("segment: the merged segment would be too large")

// mergeDue merges the first run of small segments that is long enough.
func (sh *shard) mergeDue() {
	bad, err := sh.mergeRun()
	switch {
	case err == nil:
		return
	case bad != nil:
		sh.setAside(bad, err)
	case sh.x.ctx.Err() == nil:
		sh.x.log.Warn("index: small segments could not be merged; it is tried again later",
			"store", sh.key.Store, "shard", sh.key.Shard, "error", err)
	}
	sh.mu.Lock()
	sh.mergeAt = sh.x.opts.Now().Add(maxRetryDelay)
	sh.mu.Unlock()
}

// mergeRun merges a run, if there is one. bad is a segment that cannot be read.
func (sh *shard) mergeRun() (bad *segment, err error) {
	sh.commit.Lock()
	defer sh.commit.Unlock()
	sh.mu.Lock()
	if sh.gone || len(sh.frozen) > 0 || sh.x.opts.Now().Before(sh.mergeAt) {
		sh.mu.Unlock()
		return nil, nil
	}
	run := sh.pickMerge()
	for _, seg := range run {
		seg.refs++ // they stay on disk while they are read
	}
	m := sh.man.clone()
	sh.mu.Unlock()
	if len(run) == 0 {
		return nil, nil
	}
	defer sh.release(run)
	return sh.merge(run, m)
}

// pickMerge returns neighbours of about one size that together are no larger
// than a table may be. sh.mu is held.
func (sh *shard) pickMerge() []*segment {
	list := slices.Clone(sh.segments)
	slices.SortFunc(list, func(a, b *segment) int {
		if a.meta.From < b.meta.From {
			return -1
		}
		return 1
	})
	size := func(s *segment) int {
		return int(math.Log(float64(max(s.meta.Rows, 64))) / math.Log(float64(sh.x.opts.mergeFan)))
	}
	for i := range list {
		rows, raw := 0, int64(0)
		for j := i; j < len(list); j++ {
			m := &list[j].meta
			rows, raw = rows+m.Rows, raw+m.RawBytes
			neighbour := j == i || !sh.man.anyLost(seqRange{list[j-1].meta.To, m.From})
			if !neighbour || size(list[j]) != size(list[i]) || rows > sh.x.opts.SealRows || raw > sh.x.opts.SealBytes ||
				m.MaxReceived-list[i].meta.MaxReceived > int64(mergeSpan) {
				break
			}
			if j-i+1 == sh.x.opts.mergeFan {
				return list[i : j+1]
			}
		}
	}
	return nil
}

// merge writes the rows of the run as one segment and replaces the run by it.
func (sh *shard) merge(run []*segment, m manifest) (bad *segment, err error) {
	t := newTable(run[0].meta.From)
	t.to = run[len(run)-1].meta.To
	defer func() { sh.x.memory.add(-t.counted) }()
	groups := map[uint64]*group{}
	for _, seg := range run {
		t.maxReceived = max(t.maxReceived, seg.meta.MaxReceived)
		open, err := sh.x.cache.acquire(seg)
		if err == nil {
			err = sh.load(t, groups, open.h)
			sh.x.cache.release(open)
		}
		if errors.Is(err, errCorrupt) {
			return seg, err
		}
		if err != nil {
			return nil, err
		}
	}
	for _, g := range groups {
		t.endGroup(g)
	}
	meta, err := sh.write(t, m.NextID)
	if err != nil {
		return nil, err
	}
	m.NextID++
	m.Segments = slices.DeleteFunc(m.Segments, func(s segmentMeta) bool {
		return slices.ContainsFunc(run, func(r *segment) bool { return r.meta.ID == s.ID })
	})
	m.Segments = append(m.Segments, meta)
	return nil, sh.publish(m, &segment{dir: sh.dir, meta: meta}, run)
}

// load adds the rows of a segment to a table.
func (sh *shard) load(t *table, groups map[uint64]*group, h *handle) error {
	c := compile(nil, nil)
	var contents []sls.Content
	for gi := range h.side.groups {
		if err := sh.x.ctx.Err(); err != nil {
			return err
		}
		sc := newScan(c, h, gi)
		for i := range sc.info.rows {
			f, err := sc.fetch(i)
			if err != nil {
				sc.release()
				return err
			}
			g := groups[f.seq]
			if g == nil {
				g = &group{seq: f.seq, topic: []byte(f.topic), source: []byte(f.source)}
				t.startGroup(g, nil)
				groups[f.seq] = g
			}
			contents = contents[:0]
			for _, fd := range f.fields {
				contents = append(contents, sls.Content{Key: fd.key, Value: fd.value})
			}
			before := cap(g.data)
			t.addRow(g, uint32(f.time/nanos), f.nsec, uint32(f.row), contents)
			t.count(&sh.x.memory, int64(cap(g.data)-before)+20)
		}
		sc.release()
		if t.counted > 2*sh.x.opts.SealBytes {
			return fmt.Errorf("%w: %d bytes", errMergeLimit, t.counted)
		}
	}
	return nil
}

// count adds to what the table takes of the budget while it is filled.
func (t *table) count(m *memoryBudget, n int64) {
	t.counted += n
	m.add(n)
}

// Expire deletes the segments of a logstore all of whose rows were received
// before the given time. Rows in memory and segments with younger rows stay.
func (x *Index) Expire(name string, receivedBefore time.Time) error {
	st, err := x.store(name)
	if err != nil || st == nil {
		return err
	}
	var errs []error
	for _, sh := range st.shardList() {
		errs = append(errs, sh.expire(receivedBefore.UnixNano()))
	}
	return errors.Join(errs...)
}

func (sh *shard) expire(before int64) error {
	sh.commit.Lock()
	defer sh.commit.Unlock()
	sh.mu.Lock()
	var old []*segment
	for _, seg := range sh.segments {
		if seg.meta.MaxReceived < before {
			old = append(old, seg)
			seg.refs++
		}
	}
	m := sh.man.clone()
	gone := sh.gone
	sh.mu.Unlock()
	if len(old) == 0 || gone {
		return nil
	}
	defer sh.release(old)
	m.Segments = slices.DeleteFunc(m.Segments, func(s segmentMeta) bool { return s.MaxReceived < before })
	return sh.publish(m, nil, old)
}
