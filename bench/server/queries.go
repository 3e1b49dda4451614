//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"logtail/bench/internal/lab"
	"logtail/internal/sls"
)

// latency is how long a query takes.
type latency struct {
	what, query string
	rows        int64     // that it returned or, for a histogram, counted
	millis      []float64 // of each run
}

// ask runs all queries, in turns, and checks what they find.
func ask(ctx context.Context, s *lab.Service, l *load, runs int) ([]latency, error) {
	many := int64(100) // rows of a page
	list := []struct {
		what, query string
		histogram   bool
		want        int64
	}{
		{"newest 100 of all", "*", false, many},
		{"a word in many rows, newest 100", "coupon", false, many},
		{"key: value, newest 100", "status: 404", false, min(many, l.notFound)},
		{"two conditions, newest 100", "status: 404 and method: POST", false, min(many, l.notFoundPosts)},
		{"a needle: in one row", l.needle, false, 1},
		{"a needle that is not there", "00aa11bb22cc33dd", false, 0},
		{"numeric range, newest 100", fmt.Sprintf("bytes > %d", largeBytes), false, min(many, l.large)},
		{"histogram of all", "*", true, l.rows},
		{"histogram of key: value", "status: 404", true, l.notFound},
		{"histogram of two conditions", "status: 404 and method: POST", true, l.notFoundPosts},
		{"histogram of a numeric range", fmt.Sprintf("bytes > %d", largeBytes), true, l.large},
	}
	results := make([]latency, len(list))
	for run := range runs + 1 {
		for i, q := range list {
			start := time.Now()
			var got int64
			var progress string
			if q.histogram {
				r, err := s.Client.GetHistograms(ctx, lab.Project, lab.Logstore, sls.GetHistogramsRequest{From: l.from, To: l.to, Query: q.query})
				if err != nil {
					return nil, fmt.Errorf("%s: %w", q.what, err)
				}
				got, progress = r.Count, r.Progress
			} else {
				r, err := s.Client.GetLogs(ctx, lab.Project, lab.Logstore, sls.GetLogsRequest{From: l.from, To: l.to, Query: q.query, Line: many, Reverse: true})
				if err != nil {
					return nil, fmt.Errorf("%s: %w", q.what, err)
				}
				got, progress = int64(len(r.Logs)), r.Meta.Progress
			}
			took := time.Since(start)
			if progress != sls.ProgressComplete || got != q.want {
				return nil, fmt.Errorf("%s, query %q: %d rows, want %d; progress %s", q.what, q.query, got, q.want, progress)
			}
			if run == 0 {
				continue // the first one opens files
			}
			r := &results[i]
			r.what, r.query, r.rows = q.what, q.query, got
			r.millis = append(r.millis, took.Seconds()*1e3)
		}
	}
	return results, nil
}
