package send

import "time"

// limiter is an adaptive limit of the requests in flight towards one region,
// project or logstore: it grows by one while all goes well and shrinks by a share
// of itself when requests fail, as the collection process documents. It is
// guarded by its Shared.
type limiter struct {
	scope
	most     int // never above
	users    int // destinations that it holds for
	limit    int
	inFlight int

	total, failures int       // results of the window
	began           time.Time // the window
	delay           time.Duration
	until           time.Time // no request before, after a failure at the lowest limit
}

// scope is how fast a limiter reacts. What it reacts to is decided by blame.
type scope struct {
	results  int           // a window ends after so many results,
	span     time.Duration // or with the first result after this time
	fallback time.Duration // first delay when there is nothing left to shrink; 0: none
	half     bool          // the lowest limit is half of the most, else 1
}

// The scopes, by the table of the collection process. There, the first limiter of a
// logstore has the figures of a region, and only a later one these: a slip that is
// not followed here.
var (
	regionScope   = scope{results: 10, span: 3 * time.Second, half: true}
	projectScope  = scope{results: 3, span: time.Second, fallback: time.Second}
	logstoreScope = scope{results: 3, span: time.Second, fallback: 100 * time.Millisecond}
)

// fallbackMost bounds the delay, which doubles with each failure.
const fallbackMost = time.Minute

func newLimiter(s scope, most int, now time.Time) *limiter {
	return &limiter{scope: s, most: most, limit: most, began: now}
}

// open says whether one more request may go now.
func (l *limiter) open(now time.Time) bool {
	return l.inFlight < l.limit && !l.until.After(now)
}

// result takes account of an answer. ok is false only for failures of the
// limiter's own kind: any other answer says that its part is well.
func (l *limiter) result(ok bool, now time.Time) {
	l.total++
	if !ok {
		l.failures++
	}
	switch {
	case ok && l.delay > 0:
		l.wait(0, now)
		return
	case !ok && l.delay > 0:
		if !l.until.After(now) { // the probe failed, not a request from before
			l.wait(min(2*l.delay, fallbackMost), now)
		}
		return
	}
	if l.total < l.results && now.Sub(l.began) <= l.span {
		return
	}
	switch {
	case l.failures == 0:
		l.limit = min(l.limit+1, l.most)
	case l.failures*10 <= l.total:
	case l.failures*10 <= l.total*4:
		l.shrink(l.limit*4/5, now)
	default:
		l.shrink(l.limit/2, now)
	}
	l.total, l.failures, l.began = 0, 0, now
}

func (l *limiter) shrink(to int, now time.Time) {
	floor := 1
	if l.half {
		floor = max(l.most/2, 1)
	}
	if l.limit <= floor && l.fallback > 0 {
		l.wait(l.fallback, now)
	}
	l.limit = max(to, floor)
}

// wait lets nothing go for the delay, and then one request.
func (l *limiter) wait(d time.Duration, now time.Time) {
	l.delay, l.until = d, now.Add(d)
	l.total, l.failures, l.began = 0, 0, now
}
