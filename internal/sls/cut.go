package sls

import "fmt"

// CutLogs makes a log group of the logs from up to, not including, to of the
// compressed one in p, which has so many logs; its tags and the like stay. The
// result is compressed as p is, and empty if no log is left. maxRaw bounds the
// bytes before compression. The error is an *Error if p is not what it says.
func CutLogs(p *Package, logs, from, to, maxRaw int) (Package, error) {
	out := Package{Compress: p.Compress, Range: p.Range}
	switch {
	case from >= to:
		return out, nil
	case from == 0 && to == logs:
		return *p, nil
	}
	raw, err := Decompress(nil, p.Data, p.Compress, p.RawSize, maxRaw)
	if err != nil {
		return out, err
	}
	limits := DefaultLimits
	limits.MaxRaw = maxRaw
	var g LogGroup
	if err := g.Decode(raw, limits); err != nil {
		return out, err
	}
	if len(g.Logs) != logs || to > logs {
		return out, NewError(CodePostBodyInvalid, "a log group has %d logs instead of %d, of which those from %d to %d are wanted", len(g.Logs), logs, from, to)
	}
	g.Logs = g.Logs[from:to]
	raw = g.AppendTo(make([]byte, 0, len(raw)))
	var c Compressor
	if out.Data, err = c.Append(nil, raw, p.Compress); err != nil {
		return out, fmt.Errorf("sls: a part of a log group: %w", err)
	}
	out.RawSize = len(raw)
	return out, nil
}
