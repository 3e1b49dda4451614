// Package servertest has the three seams of the server in memory, for tests of
// what stands on them. They keep the rules of the interfaces, nothing is
// durable, and they can be made to fail.
package servertest

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// Log is a shardlog.Log in memory.
type Log struct {
	mu     sync.Mutex
	shards map[shardlog.Key]*Shard
	fail   error
}

// NewLog returns an empty log.
func NewLog() *Log { return &Log{shards: make(map[shardlog.Key]*Shard)} }

// Fail makes every Append fail with err until it is called with nil.
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// Stores lists the incarnations that have shards.
func (l *Log) Stores() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	stores := make(map[string]bool)
	for key := range l.shards {
		stores[key.Store] = true
	}
	return stores
}

// Shard opens a shard.
func (l *Log) Shard(key shardlog.Key) (shardlog.Shard, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shards[key]
	if s == nil {
		s = &Shard{log: l, first: 1, lanes: make(map[delivery.LaneID]delivery.Progress), grown: make(chan struct{})}
		l.shards[key] = s
	}
	return s, nil
}

// Drop deletes the shards of an incarnation.
func (l *Log) Drop(store string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.shards {
		if key.Store == store {
			delete(l.shards, key)
		}
	}
	return nil
}

// Close does nothing.
func (l *Log) Close() error { return nil }

// Shard is a shardlog.Shard in memory.
type Shard struct {
	log   *Log
	mu    sync.Mutex
	first uint64
	recs  []shardlog.Record
	lanes map[delivery.LaneID]delivery.Progress
	grown chan struct{} // closed and replaced by each append
	bad   map[uint64]bool
}

// Damage makes a record one that cannot be read any more.
func (s *Shard) Damage(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bad == nil {
		s.bad = make(map[uint64]bool)
	}
	s.bad[seq] = true
}

// Append decides and appends.
func (s *Shard) Append(ctx context.Context, recs []*shardlog.Record) ([]shardlog.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.log.mu.Lock()
	fail := s.log.fail
	s.log.mu.Unlock()
	if fail != nil {
		return nil, fail
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]shardlog.Result, len(recs))
	for i, r := range recs {
		if err := s.append(r, &results[i]); err != nil {
			return nil, err
		}
	}
	close(s.grown)
	s.grown = make(chan struct{})
	return results, nil
}

func (s *Shard) append(r *shardlog.Record, res *shardlog.Result) error {
	if r.Range != nil {
		var p *delivery.Progress
		if known, ok := s.lanes[r.Range.Lane]; ok {
			p = &known
		}
		res.Action = delivery.Decide(p, r.Range)
		if p != nil {
			res.Progress = *p
		}
		if res.Action != delivery.Append && res.Action != delivery.Trim {
			return nil
		}
		if res.Action == delivery.Trim {
			if err := trim(r, p.End); err != nil {
				return err
			}
		}
		res.Progress = delivery.Advance(r.Range, r.Received/int64(time.Second))
		s.lanes[r.Range.Lane] = res.Progress
	}
	r.Seq = s.first + uint64(len(s.recs))
	res.Seq = r.Seq
	s.recs = append(s.recs, *r)
	return nil
}

// trim keeps the logs that end above the progress.
func trim(r *shardlog.Record, progress uint64) error {
	raw, err := sls.Decompress(nil, r.Data, r.Compress, r.RawSize, r.RawSize)
	if err != nil {
		return err
	}
	var g sls.LogGroup
	if err := g.Decode(raw, sls.DefaultLimits); err != nil {
		return err
	}
	end, rest, kept := r.Range.Start, r.Range.Ends, []sls.Log(nil)
	for _, l := range g.Logs {
		step, n := binary.Uvarint(rest)
		rest, end = rest[n:], end+step
		if end > progress {
			kept = append(kept, l)
		}
	}
	g.Logs = kept
	r.Data, r.Compress, r.Logs = g.AppendTo(nil), sls.CompressNone, len(kept)
	r.RawSize = len(r.Data)
	return nil
}

// Read returns records from seq on.
func (s *Shard) Read(seq uint64, maxRecords, maxBytes int) ([]shardlog.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq < s.first {
		return nil, shardlog.ErrTruncated
	}
	var out []shardlog.Record
	size := 0
	for i := seq - s.first; i < uint64(len(s.recs)) && len(out) < maxRecords; i++ {
		if s.bad[s.recs[i].Seq] {
			if len(out) == 0 {
				return nil, shardlog.ErrCorrupt
			}
			break
		}
		size += len(s.recs[i].Data)
		if len(out) > 0 && size > maxBytes {
			break
		}
		out = append(out, s.recs[i])
	}
	return out, nil
}

// Bounds returns the first and the next sequence.
func (s *Shard) Bounds() (first, next uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first, s.first + uint64(len(s.recs))
}

// Wait waits for a record.
func (s *Shard) Wait(ctx context.Context, seq uint64) error {
	for {
		s.mu.Lock()
		there, grown := seq < s.first+uint64(len(s.recs)), s.grown
		s.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// SeekTime finds a record by time of receipt.
func (s *Shard) SeekTime(nanos int64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.recs {
		if r.Received >= nanos {
			return r.Seq, nil
		}
	}
	return s.first + uint64(len(s.recs)), nil
}

// Resume makes session the owner of the lanes.
func (s *Shard) Resume(session uint64, lanes []delivery.LaneID) ([]*delivery.Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*delivery.Progress, len(lanes))
	for i, id := range lanes {
		if p, ok := s.lanes[id]; ok {
			p.Session = max(p.Session, session)
			s.lanes[id] = p
			out[i] = &p
		}
	}
	return out, nil
}

// Truncate drops the records below seq.
func (s *Shard) Truncate(seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := min(seq-s.first, uint64(len(s.recs))); seq > s.first {
		s.recs = append([]shardlog.Record(nil), s.recs[n:]...)
		s.first += n
	}
	return nil
}
