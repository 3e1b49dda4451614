package process

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

// closeAlarms makes a Log write what it holds.
func closeAlarms(t *testing.T, l *alarm.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestWhatBecomesOfTheSource is the table of the options that all parsers share.
func TestWhatBecomesOfTheSource(t *testing.T) {
	const good, bad = `{"a":"1"}`, `{"a"`
	for _, c := range []struct {
		name      string
		opts      pipeline.ParseOptions
		text      string
		want      string
		failures  uint64
		keptCount uint64
	}{
		{"taken out on success", pipeline.ParseOptions{}, good, "a=1", 0, 0},
		{"kept on success", pipeline.ParseOptions{KeepingSourceWhenParseSucceed: true}, good, "a=1|content=" + good, 0, 0},
		{"kept and renamed on success", pipeline.ParseOptions{KeepingSourceWhenParseSucceed: true, RenamedSourceKey: "__raw__"}, good, "a=1|__raw__=" + good, 0, 0},
		{"a parsed field goes before", pipeline.ParseOptions{KeepingSourceWhenParseSucceed: true, RenamedSourceKey: "a"}, good, "a=1", 0, 0},
		{"options for failure mean nothing on success", pipeline.ParseOptions{KeepingSourceWhenParseFail: true, CopingRawLog: true}, good, "a=1", 0, 0},

		{"dropped on failure", pipeline.ParseOptions{}, bad, "<unparsed>", 1, 0},
		{"option for success means nothing on failure", pipeline.ParseOptions{KeepingSourceWhenParseSucceed: true}, bad, "<unparsed>", 1, 0},
		{"kept on failure as raw_log", pipeline.ParseOptions{KeepingSourceWhenParseFail: true}, bad, "raw_log=" + bad, 1, 1},
		{"the source key itself is no renaming", pipeline.ParseOptions{KeepingSourceWhenParseFail: true, RenamedSourceKey: "content"}, bad, "raw_log=" + bad, 1, 1},
		{"kept and renamed on failure", pipeline.ParseOptions{KeepingSourceWhenParseFail: true, RenamedSourceKey: "__raw_log__"}, bad, "__raw_log__=" + bad, 1, 1},
		{"kept and copied on failure", pipeline.ParseOptions{KeepingSourceWhenParseFail: true, CopingRawLog: true}, bad, "raw_log=" + bad + "|__raw_log__=" + bad, 1, 1},
		{"copied alone", pipeline.ParseOptions{CopingRawLog: true}, bad, "__raw_log__=" + bad, 1, 1},
		{"kept and copied to one key", pipeline.ParseOptions{KeepingSourceWhenParseFail: true, CopingRawLog: true, RenamedSourceKey: "__raw_log__"}, bad, "__raw_log__=" + bad, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opts.SourceKey = "content"
			var st Stats
			b := run(chainOf(t, Options{Stats: &st}, &pipeline.ParseJSON{ParseOptions: c.opts}), c.text)
			if got := show(&b.Records[0]); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if f, k := st.ParseFailures.Load(), st.FailuresKept.Load(); f != c.failures || k != c.keptCount {
				t.Errorf("%d failures, %d kept; want %d and %d", f, k, c.failures, c.keptCount)
			}
		})
	}
}

func TestParserOfAnotherField(t *testing.T) {
	first := pipeline.NewParseRegex(`(\w+) (.*)`, "level", "rest")
	sub := func(change func(*pipeline.ParseJSON)) *pipeline.ParseJSON {
		c := pipeline.NewParseJSON()
		c.SourceKey, c.RenamedSourceKey = "rest", "rest"
		if change != nil {
			change(c)
		}
		return c
	}
	for _, c := range []struct {
		name, text, want string
		second           *pipeline.ParseJSON
	}{
		{"parsed fields are added", `INFO {"a":1}`, "level=INFO|a=1", sub(nil)},
		{"a field of the same name is replaced", `INFO {"level":1,"b":2}`, "level=1|b=2", sub(nil)},
		{"a parsed field may have the source's name", `INFO {"rest":1}`, "level=INFO|rest=1", sub(nil)},
		{"on failure what else there is stays", `INFO {`, "level=INFO", sub(nil)},
		{"on failure, kept", `INFO {`, "level=INFO|raw_log={", sub(func(c *pipeline.ParseJSON) { c.KeepingSourceWhenParseFail = true })},
		{"on success, kept", `INFO {"a":1}`, `level=INFO|a=1|rest={"a":1}`, sub(func(c *pipeline.ParseJSON) { c.KeepingSourceWhenParseSucceed = true })},
		{"a field of the failure's name goes before", `INFO {`, "level=INFO", sub(func(c *pipeline.ParseJSON) {
			c.KeepingSourceWhenParseFail, c.RenamedSourceKey = true, "level"
		})},
	} {
		b := run(chainOf(t, Options{}, first, c.second), c.text)
		if got := show(&b.Records[0]); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMissingSourceLeavesTheRecord(t *testing.T) {
	var st Stats
	c := pipeline.NewParseJSON()
	c.SourceKey = "elsewhere"
	b := run(chainOf(t, Options{Stats: &st}, c), "x", "y")
	if got := show(&b.Records[1]); got != "content=y" {
		t.Errorf("got %q, want the record as it was", got)
	}
	if n := st.KeysMissing.Load(); n != 2 {
		t.Errorf("%d keys missing counted, want 2", n)
	}
}

func TestPlaceAndTimeAloneAreNoContent(t *testing.T) {
	p := pipeline.NewParseJSON()
	c := chainOf(t, Options{}, p)
	var b event.Batch
	r := b.Next([]byte("{"), 2)
	c.Run(&b)
	for _, f := range []struct {
		key  string
		drop event.Reason
	}{{"__file_offset__", event.Unparsed}, {"_time_", event.Unparsed}, {"_source_", event.Unparsed}, {"host", event.Kept}} {
		r.Drop = event.Kept
		r.Fields = []event.Field{{Key: []byte(f.key), Value: []byte("1")}, {Key: contentKey, Value: []byte("{")}}
		c.steps[0].Run(&b)
		if r.Drop != f.drop {
			t.Errorf("with field %s beside the failed one the reason is %d, want %d", f.key, r.Drop, f.drop)
		}
	}
}

func TestFiltersRunAtTheirPlace(t *testing.T) {
	parse := pipeline.NewParseRegex(`(\w+) (.*)`, "level", "msg")
	errorsOnly := &pipeline.FilterRegex{Include: map[string]string{"level": "ERROR"}}
	noDebug := &pipeline.FilterRegex{Include: map[string]string{"content": "[A-C E-Z].*"}}
	var st Stats
	b := run(chainOf(t, Options{Stats: &st}, noDebug, parse, errorsOnly), "ERROR a", "INFO b", "DEBUG c", "ERRORc")
	for i, want := range []string{"level=ERROR|msg=a", "<filtered>", "<filtered>", "<unparsed>"} {
		if got := show(&b.Records[i]); got != want {
			t.Errorf("record %d: got %q, want %q", i, got, want)
		}
	}
	if f, u := st.Dropped[event.Filtered].Load(), st.Dropped[event.Unparsed].Load(); f != 2 || u != 1 {
		t.Errorf("%d filtered and %d unparsed counted, want 2 and 1", f, u)
	}
}

func TestCounters(t *testing.T) {
	var st Stats
	c := chainOf(t, Options{Stats: &st}, pipeline.NewParseJSON())
	b := run(c, `{"a":1}`, `x`, `{}`)
	if got := show(&b.Records[2]); got != "" || b.Records[2].Drop != event.Kept {
		t.Errorf("an empty object gives %q, drop %d; want a record without fields", got, b.Records[2].Drop)
	}
	run(c.Clone(), `{"bb":1}`)
	for _, n := range []struct {
		name      string
		got, want uint64
	}{
		{"records in", st.RecordsIn.Load(), 4},
		{"bytes in", st.BytesIn.Load(), 7 + 1 + 2 + 8},
		{"records out", st.RecordsOut.Load(), 3},
		{"bytes out", st.BytesOut.Load(), 7 + 2 + 8},
		{"kept", st.Dropped[event.Kept].Load(), 0},
		{"unparsed", st.Dropped[event.Unparsed].Load(), 1},
		{"parse failures", st.ParseFailures.Load(), 1},
		{"failures kept", st.FailuresKept.Load(), 0},
	} {
		if n.got != n.want {
			t.Errorf("%s: %d, want %d", n.name, n.got, n.want)
		}
	}
}

func TestSplitsAndUnmatchedLinesAreCounted(t *testing.T) {
	var st Stats
	var log bytes.Buffer
	alarms := alarm.NewLog(alarm.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := chainOf(t, Options{Stats: &st, Alarm: alarms})
	m := start("S")
	m.UnmatchedContentTreatment = "discard"
	var b event.Batch
	mustSplitter(t, m, 4).Split(&b, []byte("x\nS12345\nS\n"), 0, 0)
	c.Run(&b)
	closeAlarms(t, alarms)
	if s, u, d := st.Splits.Load(), st.UnmatchedLines.Load(), st.Dropped[event.Unmatched].Load(); s != 1 || u != 1 || d != 1 {
		t.Errorf("%d splits, %d unmatched lines, %d dropped; want 1 of each", s, u, d)
	}
	if n := strings.Count(log.String(), "SPLIT_LOG_FAIL_ALARM"); n != 1 || !strings.Contains(log.String(), "count=2") {
		t.Errorf("want one alarm with count 2, got %s", &log)
	}
}

func TestFailuresRaiseOneAlarmWithASample(t *testing.T) {
	for _, c := range []struct {
		name   string
		plugin any
		texts  []string
		alarm  string
		sample string
	}{
		{"regex", pipeline.NewParseRegex(`(\d)`, "d"), []string{"1", "bad one", "bad two"}, "REGEX_MATCH_ALARM", `sample="bad one"`},
		{"JSON", pipeline.NewParseJSON(), []string{"{}", "bad one", "bad two"}, "PARSE_LOG_FAIL_ALARM", `sample="bad one"`},
		{"delimiter", pipeline.NewParseDelimiter(",", "a"), []string{"1", `"bad one`, "bad\" two"}, "PARSE_LOG_FAIL_ALARM", `bad one`},
		{"time", pipeline.NewParseTimestamp("content", "%Y"), []string{"2024", "bad one", "bad two"}, "PARSE_TIME_FAIL_ALARM", `sample="bad one"`},
		{"old", &pipeline.ParseTimestamp{SourceKey: "content", SourceFormat: "%s", SourceYear: -1, DiscardOlderSecs: 1}, []string{"1715675399", "1715675398", "1715675397 x"}, "OUTDATED_LOG_ALARM", `sample=1715675398`},
	} {
		var log bytes.Buffer
		alarms := alarm.NewLog(alarm.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		p := pipeline.New("web").Add(c.plugin).Add(pipeline.NewFlusherSLS("h", "shop", "access"))
		chain, err := New(p, Options{Alarm: alarms, MachineZone: time.UTC})
		if err != nil {
			t.Fatal(err)
		}
		run(chain, c.texts...)
		closeAlarms(t, alarms)
		for _, want := range []string{c.alarm, c.sample, "count=2", "pipeline=web", "project=shop", "logstore=access"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: the alarm lacks %s: %s", c.name, want, &log)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != 1 && c.name != "time" {
			t.Errorf("%s: %d alarms, want 1: %s", c.name, n, &log)
		}
	}
}

func TestBatchWithoutATimeOfReading(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	c := chainOf(t, Options{Now: func() time.Time { return now }})
	var b event.Batch
	b.Next([]byte("x"), 2)
	c.Run(&b)
	if s := b.Records[0].Sec; s != 1_700_000_000 {
		t.Errorf("time of the record is %d, want that of now", s)
	}
}

func TestUnknownProcessorIsRefused(t *testing.T) {
	p := &pipeline.Pipeline{Name: "p", Processors: []pipeline.Processor{{Type: "processor_x"}}}
	if _, err := New(p, Options{}); err == nil || !strings.Contains(err.Error(), "processor_x") {
		t.Errorf("error %v, want one with the type", err)
	}
}

func TestChainAllocatesNothing(t *testing.T) {
	noAllocs(t, chainOf(t, Options{},
		pipeline.NewParseRegex(nginxRegex, nginxKeys...),
		pipeline.NewParseTimestamp("time", "%d/%b/%Y:%H:%M:%S %z"),
		&pipeline.FilterRegex{Include: map[string]string{"status": "200|404"}}), genLines(200, nginxLine))
}

func TestFailuresAllocateNothing(t *testing.T) {
	alarms := alarm.NewLog(alarm.Options{Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Unix(0, 0) }})
	t.Cleanup(func() { closeAlarms(t, alarms) })
	keep := pipeline.NewParseJSON()
	keep.KeepingSourceWhenParseFail, keep.CopingRawLog = true, true
	noAllocs(t, chainOf(t, Options{Alarm: alarms}, keep, pipeline.NewParseTimestamp("raw_log", "%Y")), genLines(200, nginxLine))
}
