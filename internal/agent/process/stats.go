package process

import (
	"sync/atomic"

	"logtail/internal/agent/event"
)

// Stats counts what the processors of one pipeline did, over all workers. The
// zero value is ready; all counters only grow.
type Stats struct {
	RecordsIn, BytesIn   atomic.Uint64 // records and bytes of their text that came from the splitter
	RecordsOut, BytesOut atomic.Uint64 // those of them that were kept, and the bytes of their text as it was read
	// Dropped counts by reason the records that were not kept; Dropped[event.Kept] stays 0.
	Dropped [event.NumReasons]atomic.Uint64

	Splits         atomic.Uint64 // parts of records over the size limit
	UnmatchedLines atomic.Uint64 // lines that belong to no multi-line record, kept or not
	ParseFailures  atomic.Uint64 // texts that a parser failed on, kept or not
	FailuresKept   atomic.Uint64 // those of them whose text was kept under its failure key
	TimeFailures   atomic.Uint64 // records whose time was not readable; they have the time of reading
	KeysMissing    atomic.Uint64 // records that did not have the source field of a processor
}

// note adds what a batch contains after the last processor.
func (s *Stats) note(b *event.Batch) {
	var dropped [event.NumReasons]uint64
	var in, out uint64
	for i := range b.Records {
		r := &b.Records[i]
		n := uint64(len(r.Raw))
		in += n
		dropped[r.Drop]++
		if r.Drop == event.Kept {
			out += n
		}
	}
	s.RecordsIn.Add(uint64(len(b.Records)))
	s.BytesIn.Add(in)
	s.RecordsOut.Add(dropped[event.Kept])
	s.BytesOut.Add(out)
	for reason, n := range dropped {
		if n > 0 && event.Reason(reason) != event.Kept {
			s.Dropped[reason].Add(n)
		}
	}
	if b.Splits > 0 {
		s.Splits.Add(uint64(b.Splits))
	}
	if b.Unmatched > 0 {
		s.UnmatchedLines.Add(uint64(b.Unmatched))
	}
}
