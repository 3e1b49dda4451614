//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"logtail/bench/internal/lab"
	"logtail/internal/agent/event"
	"logtail/internal/loggen"
	"logtail/internal/sls"
)

// load is what is written to the server, and what is known of it.
type load struct {
	requests [][]byte // bodies of PutLogs, one log group each
	rows     int64
	raw      int64 // bytes of the logs as text
	encoded  int64 // bytes of the log groups
	sent     int64 // bytes of the requests
	from, to int64 // unix seconds of the logs, to is exclusive

	notFound, large, notFoundPosts int64 // logs with status 404, bytes above largeBytes, status 404 and method POST
	needle                         string
}

// largeBytes is the bound of the numeric query; the field bytes is spread
// evenly from 0 to 99,999.
const largeBytes = 99_900

// makeLoad makes nginx access logs of the last hours, parsed into ten fields and
// with their own time, as an agent sends them.
func makeLoad(dir string, rows int64) (*load, error) {
	path := filepath.Join(dir, "access.log")
	defer os.Remove(path)
	// Times go on by 10 ms on average.
	start := time.Now().Add(-time.Duration(rows) * 10 * time.Millisecond * 11 / 10).UTC()
	l := &load{from: start.Unix() - 1, to: time.Now().Unix() + 60}
	var err error
	if l.rows, l.raw, err = lab.WriteLogs(path, loggen.New(loggen.Nginx, 1).StartAt(start), rows, 0); err != nil {
		return nil, err
	}
	yaml := "inputs:\n  - Type: input_static_file_onetime\n    FilePaths: [" + path + "]\nprocessors:\n" +
		"  - Type: processor_parse_regex_native\n    Regex: '" + loggen.NginxRegex + "'\n    Keys: [" + strings.Join(loggen.NginxKeys, ", ") + "]\n" +
		"  - Type: processor_parse_timestamp_native\n    SourceKey: time\n    SourceFormat: '" + loggen.NginxTimeFormat + "'\n    SourceTimezone: GMT+00:00\n    DiscardOlderSecs: 0\n" +
		"flushers:\n  - Type: flusher_blackhole\n"
	var seen int64
	var failed error
	var compressor sls.Compressor
	err = lab.EachGroup([]byte(yaml), path, func(r *event.Record) {
		l.count(r)
		if seen++; seen == rows/2 {
			_, session, _ := bytes.Cut(r.Raw, []byte("session="))
			l.needle = string(session[:16])
		}
	}, func(encoded []byte, _ int64) bool {
		p := sls.Package{RawSize: len(encoded), Compress: sls.CompressLZ4}
		if p.Data, failed = compressor.Append(nil, encoded, sls.CompressLZ4); failed != nil {
			return false
		}
		body := sls.AppendPackage(nil, &p)
		l.requests = append(l.requests, body)
		l.encoded += int64(len(encoded))
		l.sent += int64(len(body))
		return true
	})
	if err == nil {
		err = failed
	}
	if err == nil && seen != rows {
		err = fmt.Errorf("%d of %d logs were encoded", seen, rows)
	}
	return l, err
}

// count notes what queries must find.
func (l *load) count(r *event.Record) {
	var status, method string
	for _, f := range r.Fields {
		switch string(f.Key) {
		case "status":
			status = string(f.Value)
		case "method":
			method = string(f.Value)
		case "bytes":
			if n, err := strconv.Atoi(string(f.Value)); err == nil && n > largeBytes {
				l.large++
			}
		}
	}
	if status == "404" {
		l.notFound++
		if method == "POST" {
			l.notFoundPosts++
		}
	}
}
