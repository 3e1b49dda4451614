package segment

import (
	"context"
	"fmt"
	"sort"

	"logtail/internal/server/index"
)

// maxHistogramTime is beyond all times, in seconds; products with it do not
// overflow.
const maxHistogramTime = 1 << 50

// MaxBuckets is the most intervals of a histogram.
const MaxBuckets = 100_000

// Histogram implements index.Index.
func (x *Index) Histogram(ctx context.Context, name string, req index.HistogramRequest) (index.HistogramResult, error) {
	st, err := x.store(name)
	if err != nil {
		return index.HistogramResult{}, err
	}
	if st != nil {
		st.busy.RLock()
		defer st.busy.RUnlock()
	}
	b, err := newBuckets(req.From, req.To, req.Interval)
	if err != nil {
		return index.HistogramResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, x.opts.QueryTimeout)
	defer cancel()
	s := x.newSearch(ctx, st, req.From, req.To, req.Where, req.Topic)
	defer s.done()
	for i, src := range s.sources {
		if s.stopped() {
			break
		}
		if src.table != nil {
			s.countTable(b, src.table)
			continue
		}
		counted := b.clone()
		if err := s.countSegment(counted, i); err != nil {
			if err := s.failed(src, err); err != nil {
				return index.HistogramResult{}, err
			}
			continue
		}
		b = counted
		s.close(src)
	}
	res := index.HistogramResult{Buckets: b.list, Processed: s.processed, Complete: !s.incomplete}
	for i := range b.list {
		res.Total += b.list[i].Count
	}
	return res, nil
}

// buckets are the intervals of a histogram.
type buckets struct {
	list     []index.Bucket
	interval int64
	first    int64 // interval number of list[0]
}

// newBuckets cuts [from, to) at the multiples of the interval.
func newBuckets(from, to, interval int64) (*buckets, error) {
	if interval <= 0 {
		return nil, fmt.Errorf("index: the interval of a histogram is %d s; it has to be at least 1", interval)
	}
	if from < -maxHistogramTime || to > maxHistogramTime {
		return nil, fmt.Errorf("index: a histogram from %d to %d; times are unix seconds", from, to)
	}
	interval = min(interval, maxHistogramTime) // longer ones have the same buckets
	b := &buckets{interval: interval, first: floorDiv(from, interval)}
	if from >= to {
		return b, nil
	}
	last := floorDiv(to-1, interval)
	if n := uint64(last) - uint64(b.first); n >= MaxBuckets {
		return nil, fmt.Errorf("index: a histogram of %d intervals; at most %d are possible, so take a longer interval", n+1, MaxBuckets)
	}
	for k := b.first; k <= last; k++ {
		b.list = append(b.list, index.Bucket{From: max(from, k*interval), To: min(to, (k+1)*interval)})
	}
	return b, nil
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func (b *buckets) clone() *buckets {
	c := *b
	c.list = append([]index.Bucket(nil), b.list...)
	return &c
}

// at returns the bucket of a time in unix nanoseconds, which has to be within
// the histogram.
func (b *buckets) at(time int64) *index.Bucket {
	return &b.list[floorDiv(time/nanos, b.interval)-b.first]
}

func (s *search) countTable(b *buckets, v *tableView) {
	m := newTableMatcher(s.c, v)
	for _, g := range v.groups {
		if g.maxTime < s.from || g.minTime >= s.to {
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
			if m.match(r) {
				b.at(time).Count++
			}
		}
	}
}

// countSegment counts the rows of a segment; when all rows of it, or of a row
// group, fall into one bucket and none is filtered, no data is read.
func (s *search) countSegment(b *buckets, i int) error {
	src := s.sources[i]
	m := &src.seg.meta
	if s.c.all() && s.from <= m.MinTime && m.MaxTime < s.to && b.at(m.MinTime) == b.at(m.MaxTime) {
		b.at(m.MinTime).Count += int64(m.Rows)
		s.processed += int64(m.Rows)
		return nil
	}
	h, err := s.handle(src)
	if err != nil {
		return err
	}
	for g := range h.side.groups {
		info := &h.side.groups[g]
		if info.maxTime < s.from || info.minTime >= s.to {
			continue
		}
		if s.stopped() {
			return nil
		}
		if err := s.countGroup(b, h, g); err != nil {
			return err
		}
	}
	return nil
}

func (s *search) countGroup(b *buckets, h *handle, g int) error {
	sc := newScan(s.c, h, g)
	defer sc.release()
	if !sc.mayMatch(s.c.Root) {
		s.processed += int64(sc.info.rows)
		return nil
	}
	lo, hi, err := sc.window(s.from, s.to)
	if err != nil || lo == hi {
		return err
	}
	s.processed += int64(hi - lo)
	count := func(lo, hi int) int { return hi - lo }
	if !s.c.all() {
		m, err := sc.matches(lo, hi)
		if err != nil || m.empty() {
			return err
		}
		count = m.countRange
	}
	first, last := max(sc.info.minTime, s.from), min(sc.info.maxTime, s.to-1)
	if bucket := b.at(first); bucket == b.at(last) {
		bucket.Count += int64(count(lo, hi))
		return nil
	}
	times, err := sc.ints(h.fixed.time)
	if err != nil {
		return err
	}
	for lo < hi {
		bucket := b.at(times[lo])
		end := lo + sort.Search(hi-lo, func(i int) bool { return times[lo+i] >= bucket.To*nanos })
		bucket.Count += int64(count(lo, end))
		lo = end
	}
	return nil
}
