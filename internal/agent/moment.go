package agent

import (
	"math"
	"time"
)

// start is the zero of moments.
var start = time.Now()

// moment is a time in nanoseconds since start. It takes a third of the memory of a
// time.Time, of which each of 100,000 idle streams has several. The zero moment is
// never, which is longer ago than any duration.
type moment int64

func momentOf(t time.Time) moment {
	if m := moment(t.Sub(start)); m != 0 {
		return m
	}
	return -1
}

// age is how long ago the moment was.
func (m moment) age(now time.Time) time.Duration {
	if m == 0 {
		return math.MaxInt64
	}
	return now.Sub(start) - time.Duration(m)
}

// plus is the time d after the moment.
func (m moment) plus(d time.Duration) time.Time { return start.Add(time.Duration(m) + d) }
