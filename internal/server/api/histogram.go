package api

import (
	"context"

	"logtail/internal/server/index"
	"logtail/internal/sls"
)

const (
	// usualBuckets is about how many intervals a histogram has if the client
	// does not say: as many as fit a console, and what SLS returns at most.
	usualBuckets = 60
	// maxBuckets bounds what a client may ask for.
	maxBuckets = 10_000
	// lastTime is beyond every time that a log can have (2106), in seconds.
	lastTime = int64(1) << 33
)

// intervals are those that people can read off a clock or a calendar, in
// seconds.
var intervals = []int64{
	1, 2, 5, 10, 15, 30,
	60, 2 * 60, 5 * 60, 10 * 60, 15 * 60, 30 * 60,
	3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600,
	86400, 2 * 86400, 7 * 86400, 14 * 86400, 30 * 86400,
}

// intervalFor returns the shortest of the intervals that makes at most
// usualBuckets of the time range.
func intervalFor(from, to int64) int64 {
	for _, n := range intervals {
		if bucketCount(from, to, n) <= usualBuckets {
			return n
		}
	}
	day := int64(86400)
	return ((to-from)/usualBuckets/day + 1) * day
}

// bucketCount is how many buckets, which begin at multiples of the interval,
// the range touches.
func bucketCount(from, to, interval int64) int64 {
	return (to-1)/interval - from/interval + 1
}

// getHistogram serves type=histogram on both of its paths.
func (h *Handler) getHistogram(rq *request) error {
	q := rq.r.URL.Query()
	var from, to, interval looseInt
	for _, p := range []struct {
		name string
		to   *looseInt
	}{{"from", &from}, {"to", &to}, {"interval", &interval}} {
		if err := p.to.UnmarshalJSON([]byte(q.Get(p.name))); err != nil {
			return invalid("%s: %v", p.name, err)
		}
	}
	s, err := h.newSearch(rq, int64(from), int64(to), q.Get("topic"), q.Get("query"))
	if err != nil {
		return err
	}
	if s.to > lastTime {
		return sls.NewError(sls.CodeInvalidTimeRange,
			"the time range is from %d to %d; give unix seconds, not milliseconds, and end at %d at the latest", s.from, s.to, lastTime)
	}
	width := int64(interval)
	if width == 0 {
		width = intervalFor(s.from, s.to)
	}
	if width < 0 || bucketCount(s.from, s.to, width) > maxBuckets {
		return invalid("interval is %d seconds; it has to be at least 1 and make at most %d intervals of the time range", width, maxBuckets)
	}
	var res index.HistogramResult
	_, err = h.runQuery(rq.ctx(), func(ctx context.Context) (err error) {
		res, err = h.Index.Histogram(ctx, s.l.ID, index.HistogramRequest{
			From: s.from, To: s.to, Interval: width, Topic: s.topic, Where: s.where,
		})
		return err
	})
	if err != nil {
		return err
	}
	progress := progressName(res.Complete)
	out := make([]sls.Histogram, 0, len(res.Buckets))
	for _, b := range res.Buckets {
		out = append(out, sls.Histogram{From: b.From, To: b.To, Count: b.Count, Progress: progress})
	}
	setProgress(rq, progress, res.Total)
	return rq.json(out)
}
