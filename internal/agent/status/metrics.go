package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"logtail/internal/agent/ledger"
)

// maxLossFiles bounds the files that have metrics of their own: the ones that
// lost most. The others are counted together, with the path "".
const maxLossFiles = 500

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("logtail_"+name, help, labels, nil)
}

// The metrics. Names and labels are part of the agent's interface.
var (
	mInfo      = metric("info", "The agent's version; always 1.", "version")
	mStart     = metric("start_time_seconds", "When the agent was started, in unix seconds.")
	mFiles     = metric("files", "Log files that are known.")
	mOpen      = metric("open_files", "Log files that are open.")
	mHeldFiles = metric("held_files", "Log files that are gone from their paths and kept open for bytes that are not delivered.")
	mHeldBytes = metric("held_bytes", "Bytes of held files that are not delivered.")
	mRead      = metric("read_bytes_total", "Raw bytes that became records.")
	mLogs      = metric("logs_total", "Logs made of them.")

	mPipeFiles   = metric("pipeline_files", "Log files of the pipeline.", "pipeline")
	mPipeRead    = metric("pipeline_read_bytes_total", "Text of the records that were found.", "pipeline")
	mPipeRecords = metric("pipeline_records_total", "Records that were found.", "pipeline")
	mPipeLogs    = metric("pipeline_logs_total", "Records that were kept.", "pipeline")

	mCountLogs  = metric("discarded_logs_total", "Logs that did not arrive as they were written, since the pipeline was first applied.", "pipeline", "reason", "class")
	mCountBytes = metric("discarded_bytes_total", "Raw bytes that did not arrive as they were written, since the pipeline was first applied.", "pipeline", "reason", "class")
	mCountTimes = metric("discards_total", "How often something did not arrive as it was written, since the pipeline was first applied.", "pipeline", "reason", "class")
	mFileLogs   = metric("file_lost_logs_total", "Logs of a file that were lost; the files that lost most.", "pipeline", "path", "reason")
	mFileBytes  = metric("file_lost_bytes_total", "Raw bytes of a file that were lost; the files that lost most.", "pipeline", "path", "reason")

	mDestFailing     = metric("destination_failing", "1 while the last request to the destination failed.", "destination", "state")
	mDestQueued      = metric("destination_queued_packages", "Packages that wait in memory.", "destination")
	mDestQueuedBytes = metric("destination_queued_bytes", "Memory of the packages that wait.", "destination")
	mDestBuffered    = metric("destination_buffered_packages", "Packages that wait in the disk buffer.", "destination")
	mDestBufBytes    = metric("destination_buffered_bytes", "Bytes of the packages in the disk buffer.", "destination")
	mDestLogs        = metric("destination_delivered_logs_total", "Logs that the destination has acknowledged.", "destination")
	mDestBytes       = metric("destination_delivered_bytes_total", "Raw bytes that the destination has acknowledged.", "destination")
	mDestRequests    = metric("destination_requests_total", "Requests to the destination.", "destination")
	mDestFailures    = metric("destination_failures_total", "Requests to the destination that failed.", "destination")
	mDestConcurrency = metric("destination_concurrency", "Requests to the destination that may be in flight.", "destination")

	mBufFiles   = metric("buffer_files", "Files of the disk buffer.")
	mBufBytes   = metric("buffer_bytes", "Bytes of the disk buffer.")
	mBufRecords = metric("buffer_records", "Packages in the disk buffer.")
	mBufOldest  = metric("buffer_oldest_time_seconds", "When the oldest package in the disk buffer was put there, in unix seconds; missing without one.")
)

// registry makes the metrics of a source, and those of its process.
func registry(src Source) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{src}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// collector asks the source whenever somebody asks for the metrics.
type collector struct{ src Source }

// Describe tells nothing: the metrics are checked when they are collected.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.src.Status()
	e := emitter{out: out, seen: map[string]int{}}
	e.gauge(mInfo, 1, label(s.Version))
	if !s.Since.IsZero() {
		e.gauge(mStart, float64(s.Since.UnixNano())/1e9)
	}
	e.gauge(mFiles, float64(s.Files))
	e.gauge(mOpen, float64(s.OpenFiles))
	e.gauge(mHeldFiles, float64(s.Held.Files))
	e.gauge(mHeldBytes, float64(s.Held.Bytes))
	e.counter(mRead, s.ReadBytes)
	e.counter(mLogs, s.Logs)
	for _, p := range s.Pipelines {
		name := e.unique("pipeline", p.Name)
		e.gauge(mPipeFiles, float64(p.Files), name)
		e.counter(mPipeRead, p.ReadBytes, name)
		e.counter(mPipeRecords, p.Records, name)
		e.counter(mPipeLogs, p.Logs, name)
	}
	e.counts(s.Counts)
	for i := range s.Destinations {
		e.destination(&s.Destinations[i])
	}
	e.gauge(mBufFiles, float64(s.Buffer.Files))
	e.gauge(mBufBytes, float64(s.Buffer.Bytes))
	e.gauge(mBufRecords, float64(s.Buffer.Records))
	if !s.Buffer.Oldest.IsZero() {
		e.gauge(mBufOldest, float64(s.Buffer.Oldest.UnixNano())/1e9)
	}
}

// emitter makes metrics of values.
type emitter struct {
	out  chan<- prometheus.Metric
	seen map[string]int // names that have metrics, by kind
}

func (e *emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (e *emitter) counter(d *prometheus.Desc, v int64, labels ...string) {
	e.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

// unique returns a name that no other of its kind has: two metrics with the same
// labels would make all of them unreadable.
func (e *emitter) unique(kind, name string) string {
	name = label(name)
	key := kind + "\x00" + name
	e.seen[key]++
	if n := e.seen[key]; n > 1 {
		return e.unique(kind, fmt.Sprintf("%s (%d)", name, n))
	}
	return name
}

func (e *emitter) destination(d *Destination) {
	name := e.unique("destination", d.Name)
	failing := 0.0
	if d.Error != "" {
		failing = 1
	}
	e.gauge(mDestFailing, failing, name, label(d.State))
	e.gauge(mDestQueued, float64(d.QueuedPackages), name)
	e.gauge(mDestQueuedBytes, float64(d.QueuedBytes), name)
	e.gauge(mDestBuffered, float64(d.BufferedPackages), name)
	e.gauge(mDestBufBytes, float64(d.BufferedBytes), name)
	e.counter(mDestLogs, d.DeliveredLogs, name)
	e.counter(mDestBytes, d.DeliveredBytes, name)
	e.counter(mDestRequests, d.Requests, name)
	e.counter(mDestFailures, d.Failures, name)
	e.gauge(mDestConcurrency, float64(d.Concurrency), name)
}

// counts makes metrics by reason of all files, and of single files with losses.
func (e *emitter) counts(list []ledger.Entry) {
	sums := map[ledger.Key]ledger.Count{}
	losses := map[ledger.Key]ledger.Count{}
	for _, c := range list {
		k := ledger.Key{Pipeline: label(c.Pipeline), Reason: ledger.Reason(label(string(c.Reason)))}
		add(sums, k, c.Count)
		if ledger.Describe(c.Reason).Class == ledger.Lost {
			k.Path = label(c.Path)
			add(losses, k, c.Count)
		}
	}
	for k, c := range sums {
		class := ledger.Describe(k.Reason).Class.String()
		e.counter(mCountLogs, c.Logs, k.Pipeline, string(k.Reason), class)
		e.counter(mCountBytes, c.Bytes, k.Pipeline, string(k.Reason), class)
		e.counter(mCountTimes, c.Times, k.Pipeline, string(k.Reason), class)
	}
	for k, c := range largest(losses) {
		e.counter(mFileLogs, c.Logs, k.Pipeline, k.Path, string(k.Reason))
		e.counter(mFileBytes, c.Bytes, k.Pipeline, k.Path, string(k.Reason))
	}
}

func add(m map[ledger.Key]ledger.Count, k ledger.Key, c ledger.Count) {
	s := m[k]
	m[k] = ledger.Count{Logs: s.Logs + c.Logs, Bytes: s.Bytes + c.Bytes, Times: s.Times + c.Times}
}

// largest keeps the keys of the files that lost most, and gathers the others
// under the path "".
func largest(m map[ledger.Key]ledger.Count) map[ledger.Key]ledger.Count {
	if len(m) <= maxLossFiles {
		return m
	}
	list := make([]ledger.Entry, 0, len(m))
	for k, c := range m {
		list = append(list, ledger.Entry{Key: k, Count: c})
	}
	slices.SortFunc(list, func(a, b ledger.Entry) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Logs, a.Logs), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Pipeline, b.Pipeline), cmp.Compare(a.Reason, b.Reason))
	})
	kept := make(map[ledger.Key]ledger.Count, maxLossFiles)
	for i, e := range list {
		if i >= maxLossFiles {
			e.Path = ""
		}
		add(kept, e.Key, e.Count)
	}
	return kept
}

// label makes a value that metrics can have: bytes that are no UTF-8 are shown as
// \xNN, as a path may have them.
func label(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}
