package filter

import (
	"strings"
	"testing"

	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

func record(b *event.Batch, kv ...string) *event.Record {
	r := b.Next(nil, 0)
	for i := 0; i < len(kv); i += 2 {
		r.Fields = append(r.Fields, event.Field{Key: []byte(kv[i]), Value: []byte(kv[i+1])})
	}
	return r
}

func TestRecordPassesIfAllNamedFieldsMatchWhole(t *testing.T) {
	both := &pipeline.FilterRegex{FilterKey: []string{"method", "status"}, FilterRegex: []string{"GET|POST", `5\d\d`}}
	for _, c := range []struct {
		name   string
		filter *pipeline.FilterRegex
		fields []string
		passes bool
	}{
		{"all match", both, []string{"status", "503", "method", "POST"}, true},
		{"one does not match", both, []string{"status", "200", "method", "POST"}, false},
		{"one is missing", both, []string{"status", "503"}, false},
		{"none there", both, nil, false},
		{"a part matches only", both, []string{"status", "5033", "method", "GET"}, false},
		{"a part of an alternative matches only", both, []string{"status", "503", "method", "GETX"}, false},
		{"names are exact", both, []string{"Status", "503", "method", "GET"}, false},
		{"include", &pipeline.FilterRegex{Include: map[string]string{"a": "x.*", "b": "y"}}, []string{"a", "xx", "b", "y"}, true},
		{"include, one fails", &pipeline.FilterRegex{Include: map[string]string{"a": "x.*", "b": "y"}}, []string{"a", "xx", "b", "yy"}, false},
		{"dot matches line ends", &pipeline.FilterRegex{Include: map[string]string{"content": "E.*"}}, []string{"content", "E\n\tat x"}, true},
		{"empty value", &pipeline.FilterRegex{Include: map[string]string{"a": ".*"}}, []string{"a", ""}, true},
		{"the first of equal names counts", &pipeline.FilterRegex{Include: map[string]string{"a": "1"}}, []string{"a", "1", "a", "2"}, true},
	} {
		f, err := New(c.filter)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for _, f := range []*Filter{f, f.Clone()} {
			var b event.Batch
			record(&b, c.fields...)
			f.Run(&b)
			if got := b.Records[0].Drop == event.Kept; got != c.passes {
				t.Errorf("%s: passes = %v, want %v (drop %d)", c.name, got, c.passes, b.Records[0].Drop)
			}
			if d := b.Records[0].Drop; !c.passes && d != event.Filtered {
				t.Errorf("%s: reason %d, want Filtered", c.name, d)
			}
		}
	}
}

func TestFilterLeavesDroppedRecordsAlone(t *testing.T) {
	f, err := New(&pipeline.FilterRegex{Include: map[string]string{"a": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	var b event.Batch
	record(&b, "a", "no").Drop = event.TooOld
	f.Run(&b)
	if d := b.Records[0].Drop; d != event.TooOld {
		t.Errorf("reason is now %d, want TooOld", d)
	}
}

func TestWrongFiltersAreRefusedByName(t *testing.T) {
	for _, c := range []struct {
		filter *pipeline.FilterRegex
		says   string
	}{
		{&pipeline.FilterRegex{}, "names no field"},
		{&pipeline.FilterRegex{FilterKey: []string{"a", "b"}, FilterRegex: []string{"x"}}, "2 entries and FilterRegex 1"},
		{&pipeline.FilterRegex{FilterKey: []string{"status"}, FilterRegex: []string{"("}}, `"status"`},
		{&pipeline.FilterRegex{Include: map[string]string{"": "x"}}, "without a name"},
	} {
		_, err := New(c.filter)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("New(%+v): error %v, want one with %q", c.filter, err, c.says)
		}
	}
}

func batch() *event.Batch {
	var b event.Batch
	for i := range event.BatchSize {
		record(&b, "ip", "10.0.0.1", "method", []string{"GET", "PUT"}[i%2], "status", []string{"503", "200", "500"}[i%3])
	}
	return &b
}

func TestFilterAllocatesNothing(t *testing.T) {
	f, err := New(&pipeline.FilterRegex{FilterKey: []string{"method", "status"}, FilterRegex: []string{"GET|POST", `(5)\d\d`}})
	if err != nil {
		t.Fatal(err)
	}
	b := batch()
	run := func() {
		for i := range b.Records {
			b.Records[i].Drop = event.Kept
		}
		f.Run(b)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations per batch, want 0", n)
	}
}

func BenchmarkFilter(bench *testing.B) {
	f, err := New(&pipeline.FilterRegex{FilterKey: []string{"method", "status"}, FilterRegex: []string{"GET|POST", `5\d\d`}})
	if err != nil {
		bench.Fatal(err)
	}
	b := batch()
	for bench.Loop() {
		for i := range b.Records {
			b.Records[i].Drop = event.Kept
		}
		f.Run(b)
	}
	bench.ReportMetric(float64(bench.Elapsed().Nanoseconds())/float64(bench.N)/event.BatchSize, "ns/record")
}
