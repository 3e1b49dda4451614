package status

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"logtail/internal/agent/ledger"
)

// scrape returns the lines of the metrics that begin with a prefix.
func scrape(t *testing.T, src Source, prefix string) []string {
	t.Helper()
	return scrapeVersion(t, src, prefix, "1.2.3")
}

func scrapeVersion(t *testing.T, src Source, prefix, version string) []string {
	t.Helper()
	s, stop := serve(t, t.TempDir(), src, Options{MetricsListen: ":0", Version: version})
	defer stop()
	code, body := get(t, "http://"+s.MetricsAddress()+"/metrics")
	if code != 200 {
		t.Fatalf("%d: %s", code, body)
	}
	var lines []string
	for l := range strings.Lines(body) {
		if strings.HasPrefix(l, prefix) {
			lines = append(lines, strings.TrimSpace(l))
		}
	}
	return lines
}

func count(pipeline, path string, r ledger.Reason, logs, bytes int64) ledger.Entry {
	return ledger.Entry{Key: ledger.Key{Pipeline: pipeline, Path: path, Reason: r}, Count: ledger.Count{Logs: logs, Bytes: bytes, Times: 1}}
}

func TestMetricsOfAnAgent(t *testing.T) {
	got := strings.Join(scrape(t, sample(), "logtail_"), "\n")
	got = regexp.MustCompile(`(?m)^logtail_start_time_seconds .*`).ReplaceAllString(got, "logtail_start_time_seconds NOW")
	want := strings.TrimSpace(`
logtail_buffer_bytes 50
logtail_buffer_files 1
logtail_buffer_oldest_time_seconds 1.7000001e+09
logtail_buffer_records 2
logtail_destination_buffered_bytes{destination="shop/access at here"} 0
logtail_destination_buffered_packages{destination="shop/access at here"} 0
logtail_destination_concurrency{destination="shop/access at here"} 4
logtail_destination_delivered_bytes_total{destination="shop/access at here"} 0
logtail_destination_delivered_logs_total{destination="shop/access at here"} 18
logtail_destination_failing{destination="shop/access at here",state="ok"} 0
logtail_destination_failures_total{destination="shop/access at here"} 0
logtail_destination_queued_bytes{destination="shop/access at here"} 0
logtail_destination_queued_packages{destination="shop/access at here"} 0
logtail_destination_requests_total{destination="shop/access at here"} 0
logtail_discarded_bytes_total{class="lost",pipeline="p",reason="file_deleted"} 7
logtail_discarded_logs_total{class="lost",pipeline="p",reason="file_deleted"} 0
logtail_discards_total{class="lost",pipeline="p",reason="file_deleted"} 1
logtail_file_lost_bytes_total{path="/a",pipeline="p",reason="file_deleted"} 7
logtail_file_lost_logs_total{path="/a",pipeline="p",reason="file_deleted"} 0
logtail_files 3
logtail_held_bytes 10
logtail_held_files 1
logtail_info{version="1.2.3"} 1
logtail_logs_total 20
logtail_open_files 2
logtail_pipeline_files{pipeline="p"} 3
logtail_pipeline_logs_total{pipeline="p"} 20
logtail_pipeline_read_bytes_total{pipeline="p"} 900
logtail_pipeline_records_total{pipeline="p"} 21
logtail_read_bytes_total 1000
logtail_start_time_seconds NOW`)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(scrape(t, sample(), "go_goroutines")) != 1 {
		t.Error("no metrics of the process")
	}
}

func TestMetricsFollowTheConventions(t *testing.T) {
	families, err := registry(sample()).Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestOnlyFilesWithLossesHaveMetrics(t *testing.T) {
	src := &fake{status: Status{Counts: []ledger.Entry{
		count("p", "/a", ledger.Filtered, 5, 50), count("p", "/b", ledger.Filtered, 1, 10), count("p", "/a", ledger.Split, 2, 0), count("p", "/b", ledger.Refused, 3, 30),
	}}}
	if got := scrape(t, src, "logtail_file_lost_logs_total"); len(got) != 1 || got[0] != `logtail_file_lost_logs_total{path="/b",pipeline="p",reason="refused"} 3` {
		t.Errorf("%q", got)
	}
	if got := scrape(t, src, `logtail_discarded_logs_total{class="by_rule"`); len(got) != 1 || !strings.HasSuffix(got[0], " 6") {
		t.Errorf("%q", got)
	}
	if got := scrape(t, src, `logtail_discarded_logs_total{class="changed"`); len(got) != 1 || !strings.HasSuffix(got[0], " 2") {
		t.Errorf("%q", got)
	}
}

func TestFilesWithMetricsAreBoundedAndTheSumStays(t *testing.T) {
	src := &fake{}
	for i := range maxLossFiles + 50 {
		src.status.Counts = append(src.status.Counts, count("p", fmt.Sprintf("/%04d", i), ledger.FileDeleted, 0, int64(i+1)))
	}
	lines := scrape(t, src, "logtail_file_lost_bytes_total")
	if len(lines) != maxLossFiles+1 {
		t.Errorf("%d files have metrics", len(lines))
	}
	sum, others := 0, 0
	for _, l := range lines {
		var n int
		if _, err := fmt.Sscan(l[strings.LastIndexByte(l, ' ')+1:], &n); err != nil {
			t.Fatal(err)
		}
		sum += n
		if strings.Contains(l, `path=""`) {
			others = n
		}
	}
	if want := 550 * 551 / 2; sum != want || others != 50*51/2 {
		t.Errorf("the sum is %d, want %d; the others have %d", sum, want, others)
	}
}

// One value that metrics cannot have, or two of one name, would make all unreadable.
func TestStrangeNamesDoNotHideTheMetrics(t *testing.T) {
	src := &fake{status: Status{
		Counts: []ledger.Entry{
			count("p", "/\xff", ledger.Refused, 1, 0), count("p", `/\xff`, ledger.Refused, 2, 0), count("p\xfe", "/ü", "of_a_newer_version", 4, 0),
		},
		Destinations: []Destination{{Name: "d", Requests: 1}, {Name: "d", Requests: 2, Error: "away"}, {Name: "d (2)", Requests: 3, State: "\xff"}},
		Pipelines:    []Pipeline{{Name: "p"}, {Name: "p"}},
	}}
	for prefix, want := range map[string]string{
		"logtail_info": `logtail_info{version="\\xff"} 1`,
		"logtail_file_lost_logs_total": `logtail_file_lost_logs_total{path="/\\xff",pipeline="p",reason="refused"} 3
logtail_file_lost_logs_total{path="/ü",pipeline="p\\xfe",reason="of_a_newer_version"} 4`,
		"logtail_destination_requests_total": `logtail_destination_requests_total{destination="d"} 1
logtail_destination_requests_total{destination="d (2)"} 2
logtail_destination_requests_total{destination="d (2) (2)"} 3`,
		"logtail_destination_failing": `logtail_destination_failing{destination="d",state=""} 0
logtail_destination_failing{destination="d (2)",state=""} 1
logtail_destination_failing{destination="d (2) (2)",state="\\xff"} 0`,
		"logtail_pipeline_files": `logtail_pipeline_files{pipeline="p"} 0
logtail_pipeline_files{pipeline="p (2)"} 0`,
	} {
		if got := strings.Join(scrapeVersion(t, src, prefix, "\xff"), "\n"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}
