package send

import (
	"regexp"
	"strings"
	"time"
	"unicode"
)

// The states of a destination.
const (
	StateOK        = "ok"
	StateRetrying  = "retrying"
	StateQuota     = "waiting for quota"
	StateNoContact = "no contact"   // nobody answers, or not as SLS does
	StateFenced    = "fenced lanes" // ok, but other agents have taken lanes over
)

// Snapshot is what a destination does at one time, for people and scripts.
type Snapshot struct {
	Name             string
	State            string    // one of the State words
	Since            time.Time // it is failing; zero: it is not
	Error            string    // of the last failure, while it is failing; shortened and without secrets
	Lanes, Fenced    int       // lanes that are open; those of them that another agent took over
	QueuedPackages   int       // in memory
	QueuedBytes      int64     // that they take there
	BufferedPackages int       // in the disk buffer
	BufferedBytes    int64     // of their log groups as they are sent
	DeliveredLogs    int64
	DeliveredBytes   int64 // of the streams
	DroppedLogs      int64
	DroppedBytes     int64
	Requests         int64
	Failures         int64
	InFlight         int // requests
	Concurrency      int // requests that may be in flight now
}

// Snapshot returns what the destination does now.
func (d *Dest) Snapshot() Snapshot {
	limit, until := d.opt.Shared.allowed(d.member)
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Snapshot{
		Name: d.opt.Name, State: StateOK, Lanes: len(d.lanes), QueuedBytes: d.held, BufferedPackages: d.storedCount, BufferedBytes: d.storedBytes,
		DeliveredLogs: d.Stats.Logs.Load(), DeliveredBytes: d.Stats.Bytes.Load(),
		DroppedLogs: d.Stats.DroppedLogs.Load(), DroppedBytes: d.Stats.DroppedBytes.Load(),
		Requests: d.Stats.Requests.Load(), Failures: d.Stats.Failures.Load(), InFlight: d.requests, Concurrency: min(limit, destRequests),
	}
	for l := range d.lanes {
		s.QueuedPackages += len(l.queue)
		if l.state == laneStopped {
			s.Fenced++
		}
	}
	for _, l := range d.left {
		if _, open := d.lanes[l]; !open {
			s.QueuedPackages += len(l.queue)
		}
	}
	switch {
	case d.failing && d.class == Network:
		s.State = StateNoContact
	case d.failing && d.class == Quota, until.After(d.opt.Now()):
		s.State = StateQuota
	case d.failing:
		s.State = StateRetrying
	case s.Fenced > 0:
		s.State = StateFenced
	}
	if d.failing {
		s.Concurrency, s.Since, s.Error = 1, d.since, d.problem
	}
	return s
}

// ill notes a failure.
func (d *Dest) ill(class Class, err error, now time.Time) {
	if class == Auth && (!d.failing || d.class != Auth) {
		d.refusing = now
	}
	d.class, d.problem = class, short(err)
	if !d.failing {
		d.failing, d.since = true, now
		d.opt.Shared.setFailing(d.member, true, now)
		if len(d.spilling) > 0 {
			d.signalSpill()
		}
	}
}

// well notes that the destination does its work, and says so if it did not for a while.
func (d *Dest) well(now time.Time) {
	if !d.failing {
		return
	}
	d.failing = false
	d.opt.Shared.setFailing(d.member, false, now)
	if took := now.Sub(d.since); took >= d.opt.RetryWait {
		waiting := 0
		for l := range d.lanes {
			waiting += len(l.queue)
		}
		d.opt.Log.Info("sending works again", "destination", d.opt.Name, "after", took.Round(time.Second).String(),
			"error", d.problem, "packages_waiting", waiting, "packages_in_disk_buffer", d.storedCount)
	}
}

// secrets are parts of foreign texts that must not be repeated: what follows the
// name of a credential, and what looks like an access key of the service.
var secrets = regexp.MustCompile(`(?i)((?:access_?-?key_?-?(?:id|secret)?|signature|security-?token|token|password|passwd|secret|authorization)["']?\s*[:=]\s*["']?(?:(?:LOG|basic|bearer)\s+)?)[^\s"',;&]+|\b(?:LTAI|STS\.)\w+`)

// short cuts a foreign text to what an alarm may repeat: one line, without secrets.
func short(err error) string {
	s := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(err.Error(), "?"))
	if len(s) > 4*alarmPartLimit { // whatever it is, it need not all be looked at
		s = strings.ToValidUTF8(s[:4*alarmPartLimit], "")
	}
	s = secrets.ReplaceAllString(s, "${1}***")
	if len(s) > alarmPartLimit {
		s = strings.ToValidUTF8(s[:alarmPartLimit], "") + "..."
	}
	return s
}
