package send

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

func TestADestinationSaysHowItIs(t *testing.T) {
	for _, c := range []struct {
		err   error
		state string
	}{
		{nil, StateOK},
		{errors.New("connection refused"), StateNoContact},
		{slsError(500, sls.CodeInternalServerError), StateRetrying},
		{slsError(401, sls.CodeUnauthorized), StateRetrying},
		{slsError(403, sls.CodeShardWriteQuotaExceed), StateQuota},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newService()
			b := start(t, s, Options{})
			l, _ := b.lane(t, delivery.Checkpoint{}, true)
			l.Put(pkg(0))
			pass(time.Second)
			s.mu.Lock()
			s.fail = func([]*Package) error { return c.err }
			s.mu.Unlock()
			l.Put(pkg(1))
			pass(10 * time.Second)
			snap := b.Snapshot()
			if snap.State != c.state || (snap.Error != "") != (c.err != nil) || snap.Since.IsZero() != (c.err == nil) || snap.DeliveredLogs == 0 || snap.Lanes != 1 {
				t.Errorf("%v: %+v", c.err, snap)
			}
			if c.err != nil && (snap.QueuedPackages != 1 || snap.QueuedBytes == 0 || snap.Failures == 0) {
				t.Errorf("%v: %+v", c.err, snap)
			}
		})
	}
}

// safeText is a text that several goroutines write to.
type safeText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (x *safeText) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *safeText) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

func TestItIsSaidWhenSendingWorksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text safeText
		s := newService()
		d := NewDest(s, Options{Name: "test", Log: slog.New(slog.NewTextHandler(&text, nil))})
		go d.Run(t.Context())
		o := newOwner()
		l := d.Lane(delivery.NewStreamID().Lane("f", ""), o, delivery.Checkpoint{}, true)
		<-o.ready
		s.down(true)
		for i := range 7 {
			l.Put(pkg(i))
		}
		pass(10 * time.Minute)
		s.down(false)
		pass(time.Minute)
		got := text.String()
		if !strings.Contains(got, "sending works again") || !strings.Contains(got, "after=10m") || !strings.Contains(got, "packages_waiting=7") {
			t.Errorf("the log is\n%s", got)
		}
		if n := strings.Count(got, "works again"); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestSecretsOfForeignTextsAreNotRepeated(t *testing.T) {
	for in, want := range map[string]string{
		"dial tcp 10.0.0.1:443: connection refused":                 "dial tcp 10.0.0.1:443: connection refused",
		"AccessKeyId not found: LTAI5tAbCdEf":                       "AccessKeyId not found: ***",
		`{"AccessKeyId": "abc", "AccessKeySecret":"s3cr=t","x":1}`:  `{"AccessKeyId": "***", "AccessKeySecret":"***","x":1}`,
		"Authorization: LOG id:c2lnbmF0dXJl was refused":            "Authorization: LOG *** was refused",
		"signature=abc/def+g== does not match":                      "signature=*** does not match",
		"x-acs-security-token: CAIS+abc; expired":                   "x-acs-security-token: ***; expired",
		"token STS.NUabc is over":                                   "token *** is over",
		"first line\nsecond\x00line":                                "first line second line",
		"password='hunter2' refused":                                "password='***' refused",
		strings.Repeat("é", alarmPartLimit):                         strings.Repeat("é", alarmPartLimit/2) + "...",
		strings.Repeat("x", 10*alarmPartLimit) + "signature=secret": strings.Repeat("x", alarmPartLimit) + "...",
	} {
		if got := short(errors.New(in)); got != want {
			t.Errorf("%q gives\n%q, want\n%q", in, got, want)
		}
	}
}
