package raftwal

import (
	"encoding/binary"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// checkEnds refuses a range whose end offsets do not fit it or its logs.
func checkEnds(r *shardlog.Record) error {
	g := r.Range
	n, at := 0, g.Start
	for b := g.Ends; len(b) > 0; n++ {
		delta, size := binary.Uvarint(b)
		if size <= 0 || delta > g.End-at {
			return delivery.ErrEnds
		}
		at += delta
		b = b[size:]
	}
	if n != r.Logs || len(g.Ends) > maxHeadBytes/2 {
		return delivery.ErrEnds
	}
	return nil
}

// trim leaves of rec what lies above the progress p, which is within its range:
// the logs that end above it, and the rest of the range.
func trim(rec *shardlog.Record, p *delivery.Progress) error {
	g := *rec.Range
	cut, ends := g.CutEnds(p.End)
	g.Start, g.StartHash, g.Ends = p.End, p.Hash, ends
	if rec.Logs > 0 {
		whole := sls.Package{Data: rec.Data, RawSize: rec.RawSize, Compress: rec.Compress}
		part, err := sls.CutLogs(&whole, rec.Logs, cut, rec.Logs, maxRecordBytes)
		if err != nil {
			return err
		}
		rec.Data, rec.RawSize = part.Data, part.RawSize
		if rec.Logs -= cut; rec.Logs == 0 {
			g.Flags |= delivery.Empty
		}
	}
	rec.Range = &g
	return nil
}
