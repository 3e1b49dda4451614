package process

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

// timestampParser is processor_parse_timestamp_native: it reads a record's time
// from a field, which stays. A text without a zone is in SourceTimezone or the
// machine's zone. If the format has no year, SourceYear is it; 0 and -1 mean the latest
// year with which the time is not over a day ahead of the time of reading, which is the current one but around
// New Year. Without a date it is that of the reading. What cannot be read
// leaves the time of reading; what is older than DiscardOlderSecs at the time of reading, and
// neither delay in sending nor the clock of now counts, is dropped as too old. Fractions
// of a second count only if the pipeline has EnableTimestampNanosecond.
type timestampParser struct {
	env    *env
	source []byte
	format *timeFormat
	zone   *time.Location
	year   int // > 0: what to use for times without one
	oldest int // seconds; 0 = off

	known  knownTime
	minute minuteCache

	unread, old failures
	missing     uint64
	unreadMsg   string
	oldMsg      string
}

// knownTime is the text that was read last. Logs of one second follow one
// another, so most texts begin as the one before them.
type knownTime struct {
	text  [64]byte
	n     int   // bytes of it; 0: none
	exact bool  // text is all that counts; else only an equal one is known
	clock clock // up to the format's resume
	// sec is the time, if the format ends at resume and hour is that of reading (a year or date may be taken from it).
	sec  int64
	hour uint32
}

// minuteCache remembers the offset of the zone for the last minute: looking it
// up in the zone's table of transitions costs more than all the rest.
type minuteCache struct {
	minute int64 // minutes since 1970 on the zone's clock
	unix   int64 // the second at which it begins
	valid  bool
}

func newTimestamp(c *pipeline.ParseTimestamp, e *env) (processor, error) {
	if c.SourceKey == "" {
		return nil, fmt.Errorf("SourceKey is empty; name the field with the time")
	}
	f, err := compileTime(c.SourceFormat)
	if err != nil {
		return nil, err
	}
	zone := e.zone
	if c.SourceTimezone != "" {
		if zone, err = parseZone(c.SourceTimezone); err != nil {
			return nil, err
		}
	}
	if c.SourceYear < -1 || c.SourceYear > 9999 {
		return nil, fmt.Errorf("SourceYear is %d; it must be -1 (the format has the year), 0 (the current one) or a year up to 9999", c.SourceYear)
	}
	if c.DiscardOlderSecs < 0 {
		return nil, fmt.Errorf("DiscardOlderSecs is %d; it must be 0 (off) or a number of seconds", c.DiscardOlderSecs)
	}
	return &timestampParser{
		env: e, source: []byte(c.SourceKey), format: f, zone: zone, year: c.SourceYear, oldest: c.DiscardOlderSecs,
		unreadMsg: fmt.Sprintf("the time in field %q cannot be read as %q, so the time of reading was taken; adapt SourceFormat to the sample", c.SourceKey, c.SourceFormat),
		oldMsg:    fmt.Sprintf("the log is more than %d seconds old and was dropped; look for delay in reading, a wrong SourceTimezone or a wrong clock", c.DiscardOlderSecs),
	}, nil
}

var zoneForm = regexp.MustCompile(`^(?:GMT|UTC)(?:([+-])(\d{1,2})(?::?(\d{2}))?)?$`)

// parseZone reads GMT+08:00 and its shorter forms.
func parseZone(s string) (*time.Location, error) {
	m := zoneForm.FindStringSubmatch(s)
	if m == nil {
		return nil, fmt.Errorf("SourceTimezone is %q; it must be like GMT+08:00", s)
	}
	if m[1] == "" {
		return time.UTC, nil
	}
	h, _ := strconv.Atoi(m[2]) // the expression admits digits alone
	min := 0
	if m[3] != "" {
		min, _ = strconv.Atoi(m[3])
	}
	if h > 15 || min > 59 {
		return nil, fmt.Errorf("SourceTimezone is %q; no zone is so far from UTC", s)
	}
	off := h*3600 + min*60
	if m[1] == "-" {
		off = -off
	}
	return time.FixedZone(s, off), nil
}

func (p *timestampParser) clone() processor {
	c := *p
	c.known, c.minute = knownTime{}, minuteCache{}
	return &c
}

// Run sets the time of the records of b.
func (p *timestampParser) Run(b *event.Batch) {
	for i := range b.Records {
		r := &b.Records[i]
		if r.Drop != event.Kept {
			continue
		}
		f := fieldIndex(r.Fields, p.source)
		if f < 0 {
			p.missing++
			continue
		}
		text := r.Fields[f].Value
		sec, nsec, ok := p.read(text, b.NowSec)
		if !ok || sec <= 0 || sec > 1<<32-1 {
			p.unread.add(text)
			continue
		}
		r.Sec, r.Nsec = uint32(sec), -1
		if p.env.precise {
			r.Nsec = nsec
		}
		if p.oldest > 0 && int64(b.NowSec)-sec > int64(p.oldest) {
			r.Drop = event.TooOld
			p.old.add(r.Raw)
		}
	}
	p.done()
}

// done counts and reports what happened since the last call.
func (p *timestampParser) done() {
	if p.missing > 0 {
		p.env.stats.KeysMissing.Add(p.missing)
		p.missing = 0
	}
	if p.unread.count > 0 {
		p.env.stats.TimeFailures.Add(uint64(p.unread.count))
		p.env.alarms.Raise(alarm.ParseTimeFail, p.env.scope, p.unread.count, p.unreadMsg, p.unread.sample)
		p.unread = failures{}
	}
	if p.old.count > 0 {
		p.env.alarms.Raise(alarm.OutdatedLog, p.env.scope, p.old.count, p.oldMsg, p.old.sample)
		p.old = failures{}
	}
}

// read returns the time that text says, given the time of reading. nsec is -1
// if there is no fraction.
func (p *timestampParser) read(text []byte, now uint32) (sec int64, nsec int32, ok bool) {
	k, f := &p.known, p.format
	var c clock
	var end int
	if k.n > 0 && len(text) >= k.n && (k.exact || len(text) == k.n) && string(text[:k.n]) == string(k.text[:k.n]) {
		c, end = k.clock, k.n
		if f.resume == len(f.ops) && k.hour == now/3600 {
			return k.sec, c.nsec, true
		}
	} else {
		c = noClock
		var exact bool
		end, exact = f.read(&c, text, 0, 0, f.resume)
		if end < 0 {
			return 0, 0, false
		}
		k.n = 0
		if n := len(text); exact && end <= len(k.text) || n <= len(k.text) && f.resume == len(f.ops) {
			if exact {
				n = end
			}
			k.n, k.exact, k.clock = copy(k.text[:], text[:n]), exact, c
		}
	}
	if end, _ = f.read(&c, text, end, f.resume, len(f.ops)); end < 0 {
		return 0, 0, false
	}
	sec, ok = p.unix(&c, now)
	if !ok {
		k.n = 0
		return 0, 0, false
	}
	k.sec, k.hour = sec, now/3600
	return sec, c.nsec, true
}

// unix turns what was read into seconds since 1970.
func (p *timestampParser) unix(c *clock, now uint32) (int64, bool) {
	if c.hasUnix {
		return c.unix, true
	}
	hour := max(c.hour, 0)
	if c.hour12 >= 0 {
		hour = c.hour12 % 12
	}
	if c.hasAfternoon && c.afternoon && hour < 12 {
		hour += 12
	}
	inDay := int64(hour)*3600 + int64(max(c.minute, 0))*60 + int64(max(c.second, 0))
	if year, ok := c.fullYear(); ok {
		return p.at(c, year, inDay)
	}
	if p.year > 0 && (c.month > 0 || c.day > 0 || c.yearDay > 0) {
		return p.at(c, p.year, inDay)
	}
	return p.deduce(c, now, inDay)
}

// fullYear returns the year that was read. Two digits are 1969 to 2068, as POSIX has it.
func (c *clock) fullYear() (int, bool) {
	switch {
	case c.year >= 0:
		return c.year, true
	case c.century >= 0:
		return c.century*100 + max(c.year2, 0), true
	case c.year2 >= 69:
		return 1900 + c.year2, true
	case c.year2 >= 0:
		return 2000 + c.year2, true
	}
	return 0, false
}

const day = 24 * 3600

// deduce finds the year, or the date, of a time that does not say it.
func (p *timestampParser) deduce(c *clock, now uint32, inDay int64) (int64, bool) {
	today := time.Unix(int64(now), 0).In(p.zone)
	if c.month < 0 && c.day < 0 && c.yearDay < 0 {
		// A time of day: today's, unless that is so far ahead that it must be yesterday's.
		for back := range 2 {
			d := *c
			y, m, dd := today.AddDate(0, 0, -back).Date()
			d.month, d.day = int(m), dd
			if t, ok := p.at(&d, y, inDay); ok && (back == 1 || t <= int64(now)+day/2) {
				return t, true
			}
		}
		return 0, false
	}
	// February 29 may be some years back.
	for year := today.Year() + 1; year > today.Year()-9; year-- {
		if t, ok := p.at(c, year, inDay); ok && t <= int64(now)+day {
			return t, true
		}
	}
	return 0, false
}

// at returns the second at which the zone's clock shows the time inDay on the date of c in
// year, or false if there is no such date.
func (p *timestampParser) at(c *clock, year int, inDay int64) (int64, bool) {
	month, dom := max(c.month, 1), max(c.day, 1)
	var days int64
	if c.yearDay > 0 && c.month < 0 && c.day < 0 {
		if c.yearDay == 366 && !leap(year) {
			return 0, false
		}
		days = daysSince1970(year, 1, 1) + int64(c.yearDay-1)
	} else {
		if dom > monthDays(year, month) {
			return 0, false
		}
		days = daysSince1970(year, month, dom)
	}
	wall := days*day + inDay
	if c.hasOffset {
		return wall - int64(c.offset), true
	}
	minute := wall / 60
	if wall < 0 {
		return 0, false // before 1970: no log's time
	}
	if m := &p.minute; !m.valid || m.minute != minute {
		// A zone changes its offset at whole minutes.
		t := time.Unix(minute*60, 0).UTC()
		at := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, p.zone)
		*m = minuteCache{minute: minute, unix: at.Unix(), valid: true}
	}
	return p.minute.unix + wall%60, true
}

func leap(y int) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

func monthDays(y, m int) int {
	switch {
	case m == 2 && leap(y):
		return 29
	case m == 2:
		return 28
	case m == 4 || m == 6 || m == 9 || m == 11:
		return 30
	}
	return 31
}

// daysSince1970 counts days in the Gregorian calendar, with years that begin
// in March so that the leap day is the last (Howard Hinnant, days_from_civil). year >= 0.
func daysSince1970(year, month, dom int) int64 {
	y, m := int64(year)+400, int64(month) // 400 years ahead: no negative numbers
	if m <= 2 {
		y--
		m += 12
	}
	yd := (153*(m-3)+2)/5 + int64(dom) - 1
	return 365*y + y/4 - y/100 + y/400 + yd - 719468 - 146097
}
