package segment

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"math"
	"slices"
	"sort"

	"logtail/internal/server/index"
	"logtail/internal/server/query"
)

// hit is a row that matches: its place in the total order, and where to fetch
// it.
type hit struct {
	time  int64
	seq   uint64
	shard int32
	row   uint32
	src   int32 // index in search.sources
	group int32 // of the table, or row group
	at    int32 // row in it
}

func (h *hit) compare(o *hit) int {
	if h.time != o.time {
		return cmp.Compare(h.time, o.time)
	}
	if h.shard != o.shard {
		return cmp.Compare(h.shard, o.shard)
	}
	if h.seq != o.seq {
		return cmp.Compare(h.seq, o.seq)
	}
	return cmp.Compare(h.row, o.row)
}

// top keeps the first most hits of the order that a search asks for, the last
// of them on top of the heap.
type top struct {
	hits    []hit
	most    int
	reverse bool
}

func (t *top) Len() int      { return len(t.hits) }
func (t *top) Swap(i, j int) { t.hits[i], t.hits[j] = t.hits[j], t.hits[i] }
func (t *top) Push(v any)    { t.hits = append(t.hits, v.(hit)) }
func (t *top) Pop() any      { panic("not used") }

// Less puts what comes later in the answer first.
func (t *top) Less(i, j int) bool { return t.order(&t.hits[i], &t.hits[j]) > 0 }

func (t *top) order(a, b *hit) int {
	if t.reverse {
		return b.compare(a)
	}
	return a.compare(b)
}

// add offers a hit and says whether it was taken.
func (t *top) add(h hit) bool {
	if len(t.hits) < t.most {
		t.hits = append(t.hits, h)
		heap.Fix(t, len(t.hits)-1)
		return true
	}
	if t.order(&h, &t.hits[0]) >= 0 {
		return false
	}
	t.hits[0] = h
	heap.Fix(t, 0)
	return true
}

// wants says whether a row of the time, or of an earlier place in the answer,
// could still be taken.
func (t *top) wants(time int64) bool {
	if len(t.hits) < t.most {
		return true
	}
	if t.reverse {
		return time >= t.hits[0].time
	}
	return time <= t.hits[0].time
}

// source is a table or a segment of a snapshot.
type source struct {
	shard   *shard
	table   *tableView
	seg     *segment
	open    *cached // of seg, while the search holds it
	minTime int64
	maxTime int64
}

// search is one Search or Histogram under way.
type search struct {
	x        *Index
	ctx      context.Context
	c        *compiled
	from, to int64 // unix nanoseconds
	sources  []*source
	held     []snapshot

	processed  int64
	incomplete bool
	room       int // bytes that the rows of the page may still have
}

// fetched takes the room of a row that was fetched.
func (s *search) fetched(r *index.Row) error {
	if s.room -= r.Size(); s.room < 0 {
		return index.ErrTooLarge
	}
	return nil
}

// newSearch takes the snapshot. done has to be called.
func (x *Index) newSearch(ctx context.Context, st *store, from, to int64, where query.Expr, topic *string) *search {
	s := &search{x: x, ctx: ctx, c: compile(where, topic), from: clampTime(from), to: clampTime(to)}
	if st == nil {
		return s
	}
	for _, sh := range st.shardList() {
		snap := sh.snapshot()
		s.held = append(s.held, snap)
		for _, t := range snap.tables {
			s.addSource(&source{shard: sh, table: t, minTime: t.minTime, maxTime: t.maxTime})
		}
		for _, seg := range snap.segments {
			s.addSource(&source{shard: sh, seg: seg, minTime: seg.meta.MinTime, maxTime: seg.meta.MaxTime})
		}
		for _, l := range snap.lost {
			if l.MaxTime >= s.from && l.MinTime < s.to {
				s.incomplete = true
			}
		}
	}
	return s
}

func (s *search) addSource(src *source) {
	if src.maxTime >= s.from && src.minTime < s.to {
		s.sources = append(s.sources, src)
	}
}

// clampTime turns unix seconds into nanoseconds, within what rows can have.
func clampTime(sec int64) int64 { return min(max(sec, 0), maxRowTime/nanos) * nanos }

func (s *search) done() {
	for _, src := range s.sources {
		s.close(src)
	}
	for _, snap := range s.held {
		snap.shard.release(snap.segments)
	}
}

func (s *search) close(src *source) {
	if src.open != nil {
		s.x.cache.release(src.open)
		src.open = nil
	}
}

// stopped says whether the time is up or the caller is gone.
func (s *search) stopped() bool {
	if s.ctx.Err() != nil {
		s.incomplete = true
		return true
	}
	return false
}

// handle opens the segment of a source.
func (s *search) handle(src *source) (*handle, error) {
	if src.open == nil {
		open, err := s.x.cache.acquire(src.seg)
		if err != nil {
			return nil, err
		}
		src.open = open
	}
	return src.open.h, nil
}

// failed decides about an error of a source: damage puts the segment aside, and
// the search goes on without it and is not complete; all else ends it.
func (s *search) failed(src *source, err error) error {
	if !errors.Is(err, errCorrupt) || src.seg == nil {
		return err
	}
	s.close(src)
	src.shard.setAside(src.seg, err)
	s.incomplete = true
	return nil
}

// Search implements index.Index.
func (x *Index) Search(ctx context.Context, name string, req index.SearchRequest) (index.SearchResult, error) {
	st, err := x.store(name)
	if err != nil {
		return index.SearchResult{}, err
	}
	if st != nil {
		st.busy.RLock()
		defer st.busy.RUnlock()
	}
	if req.Limit <= 0 || req.From >= req.To {
		return index.SearchResult{Complete: true}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, x.opts.QueryTimeout)
	defer cancel()
	s := x.newSearch(ctx, st, req.From, req.To, req.Where, req.Topic)
	defer s.done()
	offset := max(req.Offset, 0)
	t := &top{most: offset + req.Limit, reverse: req.Reverse}
	if t.most < 0 { // overflow
		t.most = int(^uint(0) >> 1)
	}
	if err := s.collect(t); err != nil {
		return index.SearchResult{}, err
	}
	slices.SortFunc(t.hits, func(a, b hit) int { return t.order(&a, &b) })
	res := index.SearchResult{}
	if offset < len(t.hits) {
		s.room = req.MaxBytes
		if s.room <= 0 || len(t.hits)-offset == 1 {
			s.room = math.MaxInt
		}
		if res.Rows, err = s.fetchAll(t.hits[offset:]); err != nil {
			return index.SearchResult{}, err
		}
	}
	res.Processed, res.Complete = s.processed, !s.incomplete
	return res, nil
}

// unit is something that collect looks at: a table, or a row group.
type unit struct {
	src   int
	group int // -1: a whole table or a segment that is not opened yet
	bound int64
}

// collect gathers the first hits. It looks at what can have the first rows
// first, opens segments only when it comes to their times, and stops when
// nothing that is left can have a row that comes before those that it has.
func (s *search) collect(t *top) error {
	var queue []unit
	for i, src := range s.sources {
		queue = append(queue, unit{i, -1, s.bound(t, src.minTime, src.maxTime)})
	}
	// The best bound stands last.
	byBound := func(a, b unit) int {
		if t.reverse {
			return cmp.Compare(a.bound, b.bound)
		}
		return cmp.Compare(b.bound, a.bound)
	}
	slices.SortStableFunc(queue, byBound)
	for len(queue) > 0 {
		u := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if !t.wants(u.bound) || s.stopped() {
			return nil
		}
		src := s.sources[u.src]
		if src.table != nil {
			s.collectTable(t, u.src)
			continue
		}
		h, err := s.handle(src)
		if err == nil && u.group < 0 {
			for g := range h.side.groups {
				info := &h.side.groups[g]
				if info.maxTime < s.from || info.minTime >= s.to {
					continue
				}
				n := unit{u.src, g, s.bound(t, info.minTime, info.maxTime)}
				at := sort.Search(len(queue), func(i int) bool { return byBound(queue[i], n) > 0 })
				queue = slices.Insert(queue, at, n)
			}
			s.close(src)
			continue
		}
		if err == nil {
			err = s.collectGroup(t, u, h)
			s.close(src) // the cache keeps it open as long as there is room
		}
		if err == nil {
			continue
		}
		if err := s.failed(src, err); err != nil {
			return err
		}
		// Hits of the segment cannot be fetched any more.
		queue = slices.DeleteFunc(queue, func(q unit) bool { return q.src == u.src })
		t.hits = slices.DeleteFunc(t.hits, func(h hit) bool { return h.src == int32(u.src) })
		heap.Init(t)
	}
	return nil
}

// bound is the time of the best row that something can have.
func (s *search) bound(t *top, minTime, maxTime int64) int64 {
	if t.reverse {
		return min(maxTime, s.to-1)
	}
	return max(minTime, s.from)
}

func (s *search) collectGroup(t *top, u unit, h *handle) error {
	sc := newScan(s.c, h, u.group)
	defer sc.release()
	if !sc.mayMatch(s.c.Root) {
		s.processed += int64(sc.info.rows)
		return nil
	}
	lo, hi, err := sc.window(s.from, s.to)
	if err != nil {
		return err
	}
	s.processed += int64(hi - lo)
	m, err := sc.matches(lo, hi)
	if err != nil || m.empty() {
		return err
	}
	var cols [3][]int64
	for i, leaf := range []int{h.fixed.time, h.fixed.seq, h.fixed.row} {
		if cols[i], err = sc.ints(leaf); err != nil {
			return err
		}
	}
	shard := int32(s.sources[u.src].shard.key.Shard)
	take := func(i int) bool {
		return t.add(hit{
			time: cols[0][i], seq: uint64(cols[1][i]), row: uint32(cols[2][i]), shard: shard,
			src: int32(u.src), group: int32(u.group), at: int32(i),
		})
	}
	// The rows are in order: when one is not taken, none behind it is.
	if t.reverse {
		for i := m.prev(hi - 1); i >= 0 && take(i); i = m.prev(i - 1) {
		}
		return nil
	}
	for i := m.next(lo); i >= 0 && take(i); i = m.next(i + 1) {
	}
	return nil
}

// collectTable looks at a table, the newest groups first or last.
func (s *search) collectTable(t *top, src int) {
	v := s.sources[src].table
	m := newTableMatcher(s.c, v)
	shard := int32(s.sources[src].shard.key.Shard)
	for k := range v.groups {
		gi := k
		if t.reverse {
			gi = len(v.groups) - 1 - k
		}
		g := v.groups[gi]
		if g.maxTime < s.from || g.minTime >= s.to || !t.wants(s.bound(t, g.minTime, g.maxTime)) {
			continue
		}
		if s.stopped() {
			return
		}
		if !m.startGroup(g) {
			continue
		}
		for ri := range g.rows {
			r := &g.rows[ri]
			time := r.time()
			if time < s.from || time >= s.to {
				continue
			}
			s.processed++
			if t.wants(time) && m.match(r) {
				t.add(hit{time: time, seq: g.seq, row: r.row, shard: shard, src: int32(src), group: int32(gi), at: int32(ri)})
			}
		}
	}
}

// fetchAll reads the rows of a page in full. Those of a segment that turns out
// to be damaged are left out.
func (s *search) fetchAll(hits []hit) ([]index.Row, error) {
	rows := make([]index.Row, len(hits))
	bad := make([]bool, len(hits))
	byPlace := make([]int, len(hits))
	for i := range byPlace {
		byPlace[i] = i
	}
	slices.SortFunc(byPlace, func(a, b int) int {
		return cmp.Or(cmp.Compare(hits[a].src, hits[b].src), cmp.Compare(hits[a].group, hits[b].group))
	})
	for len(byPlace) > 0 {
		n := 1
		first := &hits[byPlace[0]]
		for n < len(byPlace) && hits[byPlace[n]].src == first.src && hits[byPlace[n]].group == first.group {
			n++
		}
		src := s.sources[first.src]
		if src.table != nil {
			for _, i := range byPlace[:n] {
				rows[i] = src.table.row(src.shard.key.Shard, int(hits[i].group), int(hits[i].at))
				if err := s.fetched(&rows[i]); err != nil {
					return nil, err
				}
			}
		} else if err := s.fetchGroup(src, int(first.group), hits, byPlace[:n], rows); err != nil {
			if err := s.failed(src, err); err != nil {
				return nil, err
			}
			for _, i := range byPlace[:n] {
				bad[i] = true
			}
		}
		byPlace = byPlace[n:]
	}
	kept := rows[:0]
	for i := range rows {
		if !bad[i] {
			kept = append(kept, rows[i])
		}
	}
	return kept, nil
}

func (s *search) fetchGroup(src *source, group int, hits []hit, which []int, rows []index.Row) error {
	h, err := s.handle(src)
	if err != nil {
		return err
	}
	defer s.close(src)
	sc := newScan(s.c, h, group)
	defer sc.release()
	for _, i := range which {
		f, err := sc.fetch(int(hits[i].at))
		if err != nil {
			return err
		}
		rows[i] = index.Row{
			Time: f.time / nanos, Nsec: f.nsec, Shard: src.shard.key.Shard, Seq: f.seq, Row: f.row,
			Topic: f.topic, Source: f.source, Fields: make([]index.Field, len(f.fields)),
		}
		for k, fd := range f.fields {
			rows[i].Fields[k] = index.Field{Key: string(fd.key), Value: string(fd.value)}
		}
		if err := s.fetched(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}
