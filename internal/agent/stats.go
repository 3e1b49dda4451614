package agent

import (
	"sync/atomic"

	"logtail/internal/agent/event"
	"logtail/internal/agent/process"
)

// Stats counts what the agent did since its start.
type Stats struct {
	Files     atomic.Int64 // streams that were collected from
	ReadBytes atomic.Int64 // raw bytes that became records
	Groups    atomic.Int64 // log groups and ranges without logs
	Logs      atomic.Int64 // logs in them
	Skipped   atomic.Int64 // bytes that the rule of the first contact left out
	LostBytes atomic.Int64 // bytes known to have gone unread
}

// Summary is what an agent did, for people and scripts.
type Summary struct {
	Seconds      float64          `json:"seconds"`
	Files        int64            `json:"files"`
	ReadBytes    int64            `json:"read_bytes"`
	Records      int64            `json:"records"`      // found in the files
	Logs         int64            `json:"logs"`         // kept and encoded
	Groups       int64            `json:"groups"`       // log groups made
	Delivered    int64            `json:"delivered"`    // logs acknowledged, summed over flushers
	DroppedLogs  int64            `json:"dropped_logs"` // refused for good by a destination
	Requests     int64            `json:"requests"`
	Failures     int64            `json:"failures"`
	SkippedBytes int64            `json:"skipped_bytes"` // by the rule of the first contact
	LostBytes    int64            `json:"lost_bytes"`    // known to have gone unread
	Dropped      map[string]int64 `json:"dropped"`       // logs taken out by rule, by reason
	MBPerSecond  float64          `json:"mb_per_second"` // 1 MB = 1,000,000 bytes
}

// Summary returns the counters as they are now.
func (a *Agent) Summary() Summary {
	s := Summary{
		Seconds: a.now().Sub(a.begun).Seconds(), Files: a.stats.Files.Load(), ReadBytes: a.stats.ReadBytes.Load(), Logs: a.stats.Logs.Load(),
		Groups: a.stats.Groups.Load(), SkippedBytes: a.stats.Skipped.Load(), LostBytes: a.stats.LostBytes.Load(), Dropped: map[string]int64{},
	}
	for _, run := range a.runs {
		s.add(&run.stats)
	}
	for _, d := range a.order {
		s.Delivered += d.Stats.Logs.Load()
		s.DroppedLogs += d.Stats.DroppedLogs.Load()
		s.Requests += d.Stats.Requests.Load()
		s.Failures += d.Stats.Failures.Load()
	}
	if s.Seconds > 0 {
		s.MBPerSecond = float64(s.ReadBytes) / 1e6 / s.Seconds
	}
	return s
}

func (s *Summary) add(p *process.Stats) {
	s.Records += int64(p.RecordsIn.Load())
	for r := event.Kept + 1; r < event.NumReasons; r++ {
		if n := int64(p.Dropped[r].Load()); n > 0 {
			s.Dropped[r.String()] += n
		}
	}
}
