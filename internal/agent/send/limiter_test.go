package send

import (
	"testing"
	"time"

	"logtail/internal/sls"
)

func TestALimitFollowsTheShareOfFailures(t *testing.T) {
	const most = 20
	for _, c := range []struct {
		name   string
		scope  scope
		from   int
		ok, no int // results of one window
		want   int
	}{
		{"all well", regionScope, 15, 10, 0, 16},
		{"all well at the top", regionScope, most, 10, 0, most},
		{"a tenth fails", regionScope, 15, 9, 1, 15},
		{"a fifth fails", regionScope, 15, 8, 2, 12},
		{"two fifths fail", regionScope, 15, 6, 4, 12},
		{"half fail, region's floor", regionScope, 15, 5, 5, most / 2},
		{"half fail, logstore", logstoreScope, 15, 1, 2, 7},
		{"a third fails, logstore", logstoreScope, 15, 2, 1, 12},
		{"all fail, project", projectScope, 3, 0, 3, 1},
		{"window not over", projectScope, 15, 2, 0, 15},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			l := newLimiter(c.scope, most, now)
			l.limit = c.from
			for range c.ok {
				l.result(true, now)
			}
			for range c.no {
				l.result(false, now)
			}
			if l.limit != c.want {
				t.Errorf("limit %d, want %d", l.limit, c.want)
			}
		})
	}
}

func TestAWindowEndsWithTime(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLimiter(projectScope, 20, now)
	l.result(false, now.Add(500*time.Millisecond))
	if l.limit != 20 {
		t.Fatalf("limit %d before the window is over", l.limit)
	}
	l.result(false, now.Add(1100*time.Millisecond))
	if l.limit != 10 {
		t.Errorf("limit %d", l.limit)
	}
}

func TestAtTheLowestLimitTheDelayDoublesToAMinuteAndSuccessEndsIt(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLimiter(logstoreScope, 1, now)
	fail := func() time.Duration {
		for !l.open(now) {
			now = now.Add(10 * time.Millisecond)
		}
		begin := now
		for range 3 { // a full window, or a probe
			l.result(false, now)
		}
		return l.until.Sub(begin)
	}
	want := 100 * time.Millisecond
	for range 14 {
		if got := fail(); got != want {
			t.Fatalf("delay %v, want %v", got, want)
		}
		if l.open(now) {
			t.Fatal("open during the delay")
		}
		want = min(2*want, time.Minute)
	}
	l.result(true, now)
	if !l.open(now) {
		t.Error("closed after a success")
	}
	if got := fail(); got != 100*time.Millisecond {
		t.Errorf("delay %v after a success", got)
	}
}

func TestARegionHasNoDelay(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLimiter(regionScope, 4, now)
	for range 100 {
		l.result(false, now)
	}
	if l.limit != 2 || !l.open(now) {
		t.Errorf("limit %d, open %v", l.limit, l.open(now))
	}
}

func TestEachFailureIsBlamedOnItsScope(t *testing.T) {
	region, project, logstore := [3]bool{true}, [3]bool{false, true}, [3]bool{false, false, true}
	for _, c := range []struct {
		err  error
		want [3]bool
	}{
		{nil, [3]bool{}},
		{sls.ErrNetwork, region},
		{slsError(500, sls.CodeInternalServerError), region},
		{slsError(503, sls.CodeServerBusy), region},
		{slsError(403, sls.CodeWriteQuotaExceed), project},
		{slsError(403, sls.CodeProjectForbidden), project},
		{slsError(403, sls.CodeShardWriteQuotaExceed), logstore},
		{slsError(429, "TooMany"), logstore},
		{slsError(401, sls.CodeUnauthorized), [3]bool{}},
		{slsError(404, sls.CodeLogStoreNotExist), [3]bool{}},
		{slsError(400, sls.CodeRequestTimeExpired), [3]bool{}},
	} {
		if got := blame(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}
