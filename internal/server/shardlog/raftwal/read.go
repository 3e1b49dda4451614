package raftwal

import (
	"errors"
	"fmt"

	"logtail/internal/server/shardlog"
	"logtail/internal/wal"
)

// use runs f on the open log.
func (s *shard) use(f func(*wal.Log) error) error {
	s.used.Store(s.e.now().UnixNano())
	for {
		s.logMu.RLock()
		if l := s.log; l != nil {
			err := f(l)
			s.logMu.RUnlock()
			return err
		}
		s.logMu.RUnlock()
		if err := s.prepare(); err != nil {
			return err
		}
	}
}

// get reads one record of the log; ErrTruncated if it was dropped meanwhile.
func (s *shard) get(l *wal.Log, seq uint64) (shardlog.Record, error) {
	r, err := record(l, seq)
	switch {
	case err == nil:
	case seq < s.first.Load():
		err = shardlog.ErrTruncated
	case errors.Is(err, wal.ErrDamaged):
		err = fmt.Errorf("%w: record %d of shard %s", shardlog.ErrCorrupt, seq, s.path)
	default:
		err = fmt.Errorf("shardlog: reading record %d of shard %s: %w", seq, s.path, err)
	}
	return r, err
}

// Read implements shardlog.Shard. If a record cannot be read, those before it
// are returned, and the error with the call that begins at it.
func (s *shard) Read(seq uint64, maxRecords, maxBytes int) ([]shardlog.Record, error) {
	var out []shardlog.Record
	err := s.use(func(l *wal.Log) error {
		first, next := s.Bounds()
		if seq < first {
			return fmt.Errorf("%w: record %d of shard %s; the first one is %d", shardlog.ErrTruncated, seq, s.path, first)
		}
		for bytes := 0; seq < next && len(out) < max(maxRecords, 1); seq++ {
			r, err := s.get(l, seq)
			if err != nil {
				if len(out) > 0 {
					return nil
				}
				return err
			}
			if bytes += len(r.Data); bytes > maxBytes && len(out) > 0 {
				break
			}
			out = append(out, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// SeekTime implements shardlog.Shard.
func (s *shard) SeekTime(nanos int64) (found uint64, err error) {
	err = s.use(func(l *wal.Log) error {
		lo, hi := s.Bounds()
		next := hi
		for lo < hi { // every record below lo is older, none from hi on is
			mid := lo + (hi-lo)/2
			// Past records that cannot be read; they are where their
			// neighbours are.
			at := mid
			r, err := s.get(l, at)
			for errors.Is(err, shardlog.ErrCorrupt) && at+1 < hi {
				at++
				r, err = s.get(l, at)
			}
			switch {
			case errors.Is(err, shardlog.ErrCorrupt):
				hi = mid
			case errors.Is(err, shardlog.ErrTruncated):
				lo, hi = max(lo, s.first.Load()), max(hi, s.first.Load())
			case err != nil:
				return err
			case r.Received < nanos:
				lo = at + 1
			default:
				hi = mid
			}
		}
		found = min(lo, next)
		return nil
	})
	return found, err
}
