package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const timeHelp = "now, -15m (also s, h, d, w), 2026-01-02T15:04:05Z, 2026-01-02 15:04:05 and 2026-01-02 (local time), or unix seconds"

// parseTime reads a point in time as people write it at the command line.
func parseTime(s string, now time.Time) (time.Time, error) {
	bad := fmt.Errorf("%q is not a time; write %s", s, timeHelp)
	switch {
	case s == "now":
		return now, nil
	case strings.HasPrefix(s, "-"):
		d, err := parseSpan(s[1:])
		if err != nil {
			return time.Time{}, bad
		}
		return now.Add(-d), nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		// 13 digits are milliseconds, as browsers and Java write them.
		if n >= 1e12 {
			return time.UnixMilli(n), nil
		}
		return time.Unix(n, 0), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, bad
}

// parseSpan is time.ParseDuration with days and weeks.
func parseSpan(s string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if digits, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.ParseFloat(digits, 64)
			if err != nil || !(n >= 0 && n*float64(length) < math.MaxInt64) {
				return 0, fmt.Errorf("%q is no span of time", s)
			}
			return time.Duration(n * float64(length)), nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no span of time", s)
	}
	return d, nil
}
