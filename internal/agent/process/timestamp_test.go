package process

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

// timeOf reads text by format and returns the time with its fraction, if any, or "-" if it cannot be read.
func timeOf(t *testing.T, format, zone string, year int, now time.Time, text string) string {
	t.Helper()
	p := pipeline.New("p")
	p.Global.EnableTimestampNanosecond = true
	c := pipeline.NewParseTimestamp("content", format)
	c.SourceTimezone, c.SourceYear, c.DiscardOlderSecs = zone, year, 0
	chain, err := New(p.Add(c), Options{MachineZone: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	first := ""
	for i := range 3 { // the second and third come from what is known
		b := &event.Batch{NowSec: uint32(now.Unix()), NowNsec: 7}
		b.Next([]byte(text), 1)
		chain.Run(b)
		r := b.Records[0]
		got := "-"
		if r.Nsec != 7 {
			got = time.Unix(int64(r.Sec), 0).UTC().Format(time.DateTime)
			if r.Nsec >= 0 {
				got += fmt.Sprintf(".%09d", r.Nsec)
			}
		} else if r.Sec != b.NowSec {
			t.Errorf("a time that cannot be read changed the record's: %d", r.Sec)
		}
		if i == 0 {
			first = got
		} else if got != first {
			t.Errorf("%q by %q gives %s at first and %s later", text, format, first, got)
		}
	}
	return first
}

func TestTimestamp(t *testing.T) {
	now := time.Date(2024, 5, 14, 8, 30, 0, 0, time.UTC)
	const at = "2024-05-13 15:04:05"
	for _, c := range []struct{ format, text, want string }{
		{"%Y-%m-%d %H:%M:%S", "2024-05-13 15:04:05", at},
		{"%Y-%m-%d %H:%M:%S", "2024-05-13 15:04:05.678 INFO", at},
		{"%Y-%m-%d %H:%M:%S", "2024-5-3 5:4:5", "2024-05-03 05:04:05"},
		{"%Y-%m-%d %H:%M:%S", "2024-05-13    15:04:05", at},
		{"%Y-%m-%d %H:%M:%S", "2024-05-13T15:04:05", "-"},
		{"[%Y-%m-%d %H:%M:%S", "[2024-05-13 15:04:05.012] [x]", at},
		{"%Y-%m-%dT%H:%M:%S", "2024-05-13T15:04:05Z", at},
		{"%Y-%m-%dT%H:%M:%S.%f", "2024-05-13T15:04:05.5", at + ".500000000"},
		{"%Y-%m-%d %H:%M:%S,%f", "2024-05-13 15:04:05,678", at + ".678000000"},
		{"%Y-%m-%d %H:%M:%S.%f", "2024-05-13 15:04:05.123456789", at + ".123456789"},
		{"%Y-%m-%d %H:%M:%S.%f", "2024-05-13 15:04:05.1234567899", at + ".123456789"},
		{"%Y-%m-%d %H:%M:%S.%f", "2024-05-13 15:04:05.", "-"},
		{"%Y-%m-%d %H:%M:%S.%f", "2024-05-13 15:04:05", "-"},
		{"%Y-%m-%dT%H:%M:%S.%f%z", "2024-05-13T15:04:05.25+08:00", "2024-05-13 07:04:05.250000000"},
		{"%Y-%m-%dT%H:%M:%S%z", "2024-05-13T15:04:05-0330", "2024-05-13 18:34:05"},
		{"%Y-%m-%dT%H:%M:%S%z", "2024-05-13T15:04:05+08", "2024-05-13 07:04:05"},
		{"%Y-%m-%dT%H:%M:%S%z", "2024-05-13T15:04:05Z", at},
		{"%Y-%m-%dT%H:%M:%S%z", "2024-05-13T15:04:05+0", "-"},
		{"%Y-%m-%d %H:%M:%S %Z", "2024-05-13 15:04:05 CST", at},
		{"%d/%b/%Y:%H:%M:%S %z", "13/May/2024:15:04:05 +0000", at},
		{"%d/%b/%Y:%H:%M:%S", "13/may/2024:15:04:05 +0800", at},
		{"%a %b %d %H:%M:%S %Y", "Mon May 13 15:04:05 2024", at},
		{"%A, %d-%b-%y %H:%M:%S", "Monday, 13-May-24 15:04:05", at},
		{"%a, %d %B %Y %H:%M:%S", "Mon, 13 September 2024 15:04:05", "2024-09-13 15:04:05"},
		{"%c", "Mon May 13 15:04:05 2024", at},
		{"%x %X", "05/13/24 15:04:05", at},
		{"%D %T", "05/13/24 15:04:05", at},
		{"%F %R", "2024-05-13 15:04", "2024-05-13 15:04:00"},
		{"%F %r", "2024-05-13 03:04:05 PM", at},
		{"%F %I:%M %p", "2024-05-13 12:04 am", "2024-05-13 00:04:00"},
		{"%F %I:%M %p", "2024-05-13 12:04 pm", "2024-05-13 12:04:00"},
		{"%F %I:%M %p", "2024-05-13 13:04 pm", "-"},
		{"%F %I:%M %p", "2024-05-13 11:04 xm", "-"},
		{"%y%m%d %H%M%S", "240513 150405", at},
		{"%y", "69", "-"},  // 1969: before 1970
		{"%y", "70 ", "-"}, // 1970-01-01 00:00:00 is no time of a log
		{"%y-%m", "70-02", "1970-02-01 00:00:00"},
		{"%C%y-%m", "20-02", "-"},
		{"%C%y-%m", "2024-02", "2024-02-01 00:00:00"},
		{"%Y %j", "2024 366", "2024-12-31 00:00:00"},
		{"%Y %j", "2023 366", "-"},
		{"%Y-%m-%d", "2023-02-29", "-"},
		{"%Y-%m-%d", "2024-02-29", "2024-02-29 00:00:00"},
		{"%Y-%m-%d", "2024-04-31", "-"},
		{"%Y-%m-%d", "2024-13-01", "-"},
		{"%Y-%m-%d", "2024-00-01", "-"},
		{"%Y-%m-%d %H", "2024-05-13 24", "-"},
		{"%Y-%m-%d %H:%M:%S", "2016-12-31 23:59:60", "2017-01-01 00:00:00"},
		{"%Y-%m-%d %H:%M:%S", "2016-12-31 23:59:61", "-"},
		{"%Ey-%Om", "24-05", "2024-05-01 00:00:00"},
		{"%G %V %u %U %W %w %g %Y", "2024 20 1 19 20 1 24 2024", "2024-01-01 00:00:00"},
		{"%Y%%%m%n%d%t%k %l", "2024%05\t13  15 3", "2024-05-13 03:00:00"},
		{"%h %e %Y", "May  3 2024", "2024-05-03 00:00:00"},
		{"%s", "1715612645", at},
		{"%s", "1715612645.7", at},
		{"%s.%f", "1715612645.7", at + ".700000000"},
		{"%s", "1715612645678", at + ".678000000"},
		{"%s", "1715612645678901", at + ".678901000"},
		{"%s", "1715612645678901234", at + ".678901234"},
		{"%s", "17156126456789012345", "-"},
		{"%s", "x", "-"},
		{"%s", "", "-"},
		{"%s", "0", "-"},
		{"%s", "99999999999", "-"},
		{"%Y", "", "-"},
		{"%b", "Mai", "-"},
		{"%b", "Ma", "-"},
		{"%a", "xyz", "-"},
	} {
		if got := timeOf(t, c.format, "", -1, now, c.text); got != c.want {
			t.Errorf("%q by %q gives %s, want %s", c.text, c.format, got, c.want)
		}
	}
}

func TestTimestampWithoutYearOrDate(t *testing.T) {
	day := func(y, m, d, h int) time.Time { return time.Date(y, time.Month(m), d, h, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		name, format, text string
		year               int
		now                time.Time
		want               string
	}{
		{"the current year", "%b %d %H:%M:%S", "May  4 01:02:03", 0, day(2024, 5, 4, 2), "2024-05-04 01:02:03"},
		{"the default does the same", "%b %d %H:%M:%S", "May  4 01:02:03", -1, day(2024, 5, 4, 2), "2024-05-04 01:02:03"},
		{"a given year", "%b %d %H:%M:%S", "May  4 01:02:03", 2019, day(2024, 5, 4, 2), "2019-05-04 01:02:03"},
		{"a given year gives way to one that is read", "%Y %b %d", "2020 May 4", 2019, day(2024, 5, 4, 2), "2020-05-04 00:00:00"},
		{"last year's, read after New Year", "%b %d %H:%M:%S", "Dec 31 23:59:59", 0, day(2025, 1, 1, 0), "2024-12-31 23:59:59"},
		{"next year's, by a clock ahead", "%b %d %H:%M:%S", "Jan  1 00:00:01", 0, day(2024, 12, 31, 23), "2025-01-01 00:00:01"},
		{"last year's, some months back", "%b %d", "Oct 3", 0, day(2025, 2, 1, 0), "2024-10-03 00:00:00"},
		{"leap day", "%b %d", "Feb 29", 0, day(2027, 5, 1, 0), "2024-02-29 00:00:00"},
		{"no such day", "%b %d", "Feb 30", 0, day(2027, 5, 1, 0), "-"},
		{"day of the year", "%j", "032", 0, day(2025, 5, 1, 0), "2025-02-01 00:00:00"},
		{"time of day", "%H:%M:%S", "01:02:03", 0, day(2024, 5, 4, 2), "2024-05-04 01:02:03"},
		{"time of day, yesterday's", "%H:%M:%S", "23:59:59", 0, day(2024, 5, 4, 0), "2024-05-03 23:59:59"},
		{"time of day with a year that does not help", "%H:%M:%S", "01:02:03", 2019, day(2024, 5, 4, 2), "2024-05-04 01:02:03"},
	} {
		if got := timeOf(t, c.format, "", c.year, c.now, c.text); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestTimestampZones(t *testing.T) {
	now := time.Date(2024, 5, 14, 8, 30, 0, 0, time.UTC)
	for _, c := range []struct{ zone, want string }{
		{"", "2024-05-14 12:00:00"},
		{"GMT+08:00", "2024-05-14 04:00:00"},
		{"GMT-05:30", "2024-05-14 17:30:00"},
		{"GMT+00:00", "2024-05-14 12:00:00"},
		{"GMT+8", "2024-05-14 04:00:00"},
		{"UTC-0330", "2024-05-14 15:30:00"},
		{"UTC", "2024-05-14 12:00:00"},
	} {
		if got := timeOf(t, "%F %T", c.zone, -1, now, "2024-05-14 12:00:00"); got != c.want {
			t.Errorf("12:00 in zone %q is %s, want %s", c.zone, got, c.want)
		}
		if got := timeOf(t, "%F %T %z", c.zone, -1, now, "2024-05-14 12:00:00 +0200"); got != "2024-05-14 10:00:00" {
			t.Errorf("zone %q overrides the one in the text: %s", c.zone, got)
		}
	}
}

func TestTimestampInAMachineZoneWithSummerTime(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("this machine has no zone database:", err)
	}
	c := chainOf(t, Options{MachineZone: zone}, &pipeline.ParseTimestamp{SourceKey: "content", SourceFormat: "%F %T"})
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		want := time.Unix(1_700_000_000+r.Int64N(200_000_000), 0).In(zone)
		text := want.Format(time.DateTime)
		// An hour that comes twice has two meanings: take that of package time.
		want, err := time.ParseInLocation(time.DateTime, text, zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := int64(run(c, text).Records[0].Sec); got != want.Unix() {
			t.Fatalf("%s is %d, want %d", text, got, want.Unix())
		}
	}
}

func TestFractionsCountOnlyIfConfigured(t *testing.T) {
	c := chainOf(t, Options{}, pipeline.NewParseTimestamp("content", "%s.%f"))
	b := run(c, "1715675399.5")
	if r := b.Records[0]; r.Sec != 1715675399 || r.Nsec != -1 {
		t.Errorf("time is %d and %d ns, want 1715675399 and -1", r.Sec, r.Nsec)
	}
	if got := show(&b.Records[0]); got != "content=1715675399.5" {
		t.Errorf("the field with the time is gone: %q", got)
	}
}

func TestOldLogsAreDropped(t *testing.T) {
	now := uint32(genStart.Unix()) // what run takes as the time of reading
	for _, c := range []struct {
		limit int
		age   int64
		drop  event.Reason
	}{
		{43200, 43200, event.Kept},
		{43200, 43201, event.TooOld},
		{43200, -3600, event.Kept},
		{0, 1 << 30, event.Kept},
		{10, 11, event.TooOld},
	} {
		var st Stats
		chain := chainOf(t, Options{Stats: &st}, &pipeline.ParseTimestamp{SourceKey: "content", SourceFormat: "%s", SourceYear: -1, DiscardOlderSecs: c.limit})
		b := run(chain, fmt.Sprint(int64(now)-c.age))
		if got := b.Records[0].Drop; got != c.drop {
			t.Errorf("%d s old with a limit of %d: reason %d, want %d", c.age, c.limit, got, c.drop)
		}
		if n := st.Dropped[event.TooOld].Load(); (n == 1) != (c.drop == event.TooOld) {
			t.Errorf("%d counted as too old", n)
		}
	}
}

func TestUnreadableTimeKeepsTheRecord(t *testing.T) {
	var st Stats
	b := run(chainOf(t, Options{Stats: &st}, pipeline.NewParseTimestamp("content", "%Y-%m-%d")), "yesterday")
	if r := b.Records[0]; r.Drop != event.Kept || r.Sec != b.NowSec || st.TimeFailures.Load() != 1 {
		t.Errorf("drop %d, time %d, %d failures; want a kept record with the time of reading, %d, and one failure", r.Drop, r.Sec, st.TimeFailures.Load(), b.NowSec)
	}
}

func TestTimestampConfigurationIsRefused(t *testing.T) {
	for _, c := range []struct {
		says   string
		change func(*pipeline.ParseTimestamp)
	}{
		{"SourceKey", func(c *pipeline.ParseTimestamp) { c.SourceKey = "" }},
		{"SourceFormat is empty", func(c *pipeline.ParseTimestamp) { c.SourceFormat = "" }},
		{"%Q", func(c *pipeline.ParseTimestamp) { c.SourceFormat = "%Y %Q" }},
		{"lone %", func(c *pipeline.ParseTimestamp) { c.SourceFormat = "%Y %" }},
		{"SourceTimezone", func(c *pipeline.ParseTimestamp) { c.SourceTimezone = "CST" }},
		{"SourceTimezone", func(c *pipeline.ParseTimestamp) { c.SourceTimezone = "GMT+25:00" }},
		{"SourceYear", func(c *pipeline.ParseTimestamp) { c.SourceYear = -2 }},
		{"DiscardOlderSecs", func(c *pipeline.ParseTimestamp) { c.DiscardOlderSecs = -1 }},
	} {
		conf := pipeline.NewParseTimestamp("time", "%Y")
		c.change(conf)
		if _, err := New(pipeline.New("p").Add(conf), Options{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("New(%+v): error %v, want one with %q", conf, err, c.says)
		}
	}
}

// layouts pairs formats with the layouts of package time that mean the same.
var layouts = [][2]string{
	{"%Y-%m-%d %H:%M:%S", "2006-01-02 15:04:05"},
	{"%d/%b/%Y:%H:%M:%S %z", "02/Jan/2006:15:04:05 -0700"},
	{"%A, %d-%b-%y %I:%M:%S %p", "Monday, 02-Jan-06 03:04:05 PM"},
	{"%a %b %e %H:%M:%S %Y", "Mon Jan _2 15:04:05 2006"},
	{"%B %d %Y %l:%M%p", "January 02 2006 3:04PM"},
	{"%Y%j %H%M%S", "2006002 150405"},
}

func TestTimestampAgreesWithPackageTime(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, l := range layouts {
		c := chainOf(t, Options{}, &pipeline.ParseTimestamp{SourceKey: "content", SourceFormat: l[0]})
		at := int64(0)
		for i := range 5_000 {
			switch i % 3 { // 2: the same text again
			case 0:
				at = 86400 + r.Int64N(98*365*86400) // two-digit years end in 2068
			case 1:
				at++
			}
			text := time.Unix(at, 0).UTC().Format(l[1])
			want, err := time.Parse(l[1], text)
			if err != nil {
				t.Fatal(err)
			}
			if got := int64(run(c, text).Records[0].Sec); got != want.Unix() {
				t.Fatalf("%q by %q gives %d, want %d", text, l[0], got, want.Unix())
			}
		}
	}
}

// FuzzTime: a chain that knows an earlier text says the same as one that knows none.
func FuzzTime(f *testing.F) {
	formats := []string{
		"%Y-%m-%d %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "%s", "%Y-%m-%dT%H:%M:%S.%f%z", "%b %d %H:%M:%S", "%c", "%s.%f",
		"%H:%M:%S,%f", "%y%j%p%I %Z", "%Y %m%d%H",
	}
	f.Add(uint8(0), "2024-05-13 15:04:05", "2024-05-13 15:04:059", uint32(1715675400))
	f.Add(uint8(3), "2024-05-13T15:04:05.1Z", "2024-05-13T15:04:05.12+08:00", uint32(1715675400))
	f.Add(uint8(2), "1715675400", "17156754001", uint32(1))
	f.Add(uint8(5), "Mon May 13 15:04:05 2024", "Monday May 13 15:04:05 2024", uint32(1))
	f.Fuzz(func(t *testing.T, n uint8, first, second string, now uint32) {
		conf := &pipeline.ParseTimestamp{SourceKey: "content", SourceFormat: formats[int(n)%len(formats)], SourceYear: -1}
		p := pipeline.New("p")
		p.Global.EnableTimestampNanosecond = true
		knows, err := New(p.Add(conf), Options{MachineZone: time.UTC})
		if err != nil {
			t.Fatal(err)
		}
		fresh := knows.Clone()
		read := func(c *Chain, text string) (uint32, int32) {
			b := &event.Batch{NowSec: max(now, 1), NowNsec: -2}
			b.Next([]byte(text), 1)
			c.Run(b)
			return b.Records[0].Sec, b.Records[0].Nsec
		}
		read(knows, first)
		s1, n1 := read(knows, second)
		s2, n2 := read(fresh, second)
		if s1 != s2 || n1 != n2 {
			t.Errorf("%q behind %q by %q: %d.%d, alone %d.%d", second, first, conf.SourceFormat, s1, n1, s2, n2)
		}
	})
}

func TestTimestampAllocatesNothing(t *testing.T) {
	for _, f := range []string{"%Y-%m-%d %H:%M:%S", "%b %d", "%H:%M"} {
		text := genLines(200, func(r *rand.Rand, i int) string {
			at := genStart.Add(time.Duration(i) * time.Minute)
			return map[string]string{"%b %d": at.Format("Jan 02"), "%H:%M": at.Format("15:04")}[f] + at.Format(time.DateTime)
		})
		noAllocs(t, chainOf(t, Options{}, &pipeline.ParseTimestamp{SourceKey: "content", SourceFormat: f}), text)
	}
}

func benchTime(b *testing.B, format, layout string, step time.Duration) {
	b.Helper()
	benchChain(b, chainOf(b, Options{}, &pipeline.ParseTimestamp{SourceKey: "content", SourceFormat: format}), pipeline.Multiline{},
		genLines(genCount, func(_ *rand.Rand, i int) string { return genStart.Add(step * time.Duration(i)).Format(layout) }))
}

func BenchmarkTimeISO(b *testing.B) {
	benchTime(b, "%Y-%m-%d %H:%M:%S", "2006-01-02 15:04:05", 50*time.Millisecond)
}

func BenchmarkTimeISOFraction(b *testing.B) {
	benchTime(b, "%Y-%m-%d %H:%M:%S,%f", "2006-01-02 15:04:05,000", 50*time.Millisecond)
}

func BenchmarkTimeNginx(b *testing.B) {
	benchTime(b, "%d/%b/%Y:%H:%M:%S %z", "02/Jan/2006:15:04:05 -0700", 50*time.Millisecond)
}

func BenchmarkTimeISONeverKnown(b *testing.B) {
	benchTime(b, "%Y-%m-%d %H:%M:%S", "2006-01-02 15:04:05", 61*time.Second)
}
