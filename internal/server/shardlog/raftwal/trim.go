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
	cut, ends := cutEnds(&g, p.End)
	g.Start, g.StartHash, g.Ends = p.End, p.Hash, ends
	if rec.Logs > 0 {
		data, raw, err := cutLogs(rec, cut)
		if err != nil {
			return err
		}
		rec.Data, rec.RawSize = data, raw
		if rec.Logs -= cut; rec.Logs == 0 {
			g.Flags |= delivery.Empty
		}
	}
	rec.Range = &g
	return nil
}

// cutEnds counts the logs of g that end at or below the offset, and returns
// the ends of the others, relative to it.
func cutEnds(g *delivery.Range, offset uint64) (cut int, rest []byte) {
	at := g.Start
	for b := g.Ends; len(b) > 0; {
		delta, n := binary.Uvarint(b)
		b = b[n:]
		at += delta
		if at > offset {
			rest = binary.AppendUvarint(rest, at-offset)
			return cut, append(rest, b...)
		}
		cut++
	}
	return cut, nil
}

// cutLogs removes the first logs from the group of a record.
func cutLogs(rec *shardlog.Record, cut int) (data []byte, raw int, err error) {
	if cut == rec.Logs {
		return nil, 0, nil
	}
	b, err := sls.Decompress(nil, rec.Data, rec.Compress, rec.RawSize, maxRecordBytes)
	if err != nil {
		return nil, 0, err
	}
	limits := sls.DefaultLimits
	limits.MaxRaw = maxRecordBytes
	var g sls.LogGroup
	if err := g.Decode(b, limits); err != nil {
		return nil, 0, err
	}
	if len(g.Logs) != rec.Logs {
		return nil, 0, delivery.ErrEnds
	}
	g.Logs = g.Logs[cut:]
	b = g.AppendTo(make([]byte, 0, len(b)))
	var c sls.Compressor
	data, err = c.Append(nil, b, rec.Compress)
	return data, len(b), err
}
