package raftwal

import (
	"context"
	"fmt"
	"time"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/wal"
)

const (
	// maxBatchBytes and maxBatchRecords bound what one write and sync holds,
	// and so the buffer that raft-wal keeps for a shard. A single request may
	// be larger: it is never split.
	maxBatchBytes   = 4 << 20
	maxBatchRecords = 4096
	// maxClockStep is how far a clock may go back and have its receipts moved
	// up to the last one, so that they rise as SeekTime wants. After a larger
	// step the clock had been wrong before.
	maxClockStep = 10 * time.Minute
)

// request is one Append.
type request struct {
	recs    []*shardlog.Record
	bytes   int
	results []shardlog.Result
	err     error
	done    chan struct{}

	stored []shardlog.Record // what goes into the log
	from   []int             // and the index in recs that each came from
}

// Append implements shardlog.Shard. Records without a time of receipt get one,
// and times are moved up to the one of the record before, so that they never
// fall within a shard.
func (s *shard) Append(ctx context.Context, recs []*shardlog.Record) ([]shardlog.Result, error) {
	q := &request{recs: recs, done: make(chan struct{})}
	for _, r := range recs {
		if err := check(r); err != nil {
			return nil, s.fail(err)
		}
		q.bytes += len(r.Data)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: shard %s", shardlog.ErrClosed, s.path)
	}
	s.queue = append(s.queue, q)
	if !s.running {
		s.running = true
		s.loops.Go(s.commitLoop)
	}
	s.mu.Unlock()
	select {
	case <-q.done:
	case <-ctx.Done():
		if s.withdraw(q) {
			return nil, ctx.Err()
		}
		<-q.done // it is being written; the answer is near
	}
	return q.results, q.err
}

// check refuses records that cannot be stored, whatever the progress.
func check(r *shardlog.Record) error {
	if len(r.Data) > maxRecordBytes || r.RawSize > maxRecordBytes || r.RawSize < 0 || r.Logs < 0 || r.Logs > maxRecordBytes {
		return fmt.Errorf("a log group of %d bytes (%d before compression, %d logs); at most %d are possible", len(r.Data), r.RawSize, r.Logs, maxRecordBytes)
	}
	g := r.Range
	switch {
	case g == nil:
		return nil
	case g.End < g.Start:
		return delivery.ErrBackwards
	case len(g.State) > delivery.MaxState:
		return delivery.ErrState
	}
	return checkEnds(r)
}

// withdraw takes a request off the queue, if no batch has taken it yet.
func (s *shard) withdraw(q *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, o := range s.queue {
		if o == q {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			return true
		}
	}
	return false
}

// commitLoop writes batches while there are requests. It is started by the
// append that finds none running and ends by itself, so that an idle shard has
// no goroutine.
func (s *shard) commitLoop() {
	for {
		batch := s.take()
		if batch == nil {
			return
		}
		s.commit.Lock()
		err := s.commitBatch(batch)
		s.commit.Unlock()
		for _, q := range batch {
			if err != nil && q.err == nil {
				// Also those that added nothing: a duplicate may have been
				// judged by a record of this batch.
				q.err = s.fail(err)
			}
			if q.err != nil {
				q.results = nil
			}
			close(q.done)
		}
		s.commit.Lock()
		s.maintainLocked()
		s.commit.Unlock()
	}
}

// take returns the requests of the next batch; nil ends the loop.
func (s *shard) take() []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, bytes, records := 0, 0, 0
	for _, q := range s.queue {
		bytes += q.bytes
		records += len(q.recs)
		if n > 0 && (bytes > maxBatchBytes || records > maxBatchRecords) {
			break
		}
		n++
	}
	if n == 0 {
		s.running, s.queue = false, nil
		return nil
	}
	batch := s.queue[:n:n]
	s.queue = s.queue[n:]
	return batch
}

// commitBatch decides the requests and makes what they add durable. On an
// error none of them changed anything.
func (s *shard) commitBatch(batch []*request) error {
	if err := s.openLocked(); err != nil {
		return err
	}
	next, received := s.next.Load(), s.received
	now := s.e.now()
	var entries []wal.Record
	s.heads = s.heads[:0]
	for _, q := range batch {
		mark := s.lanes.mark()
		if q.err = s.decide(q, next, &received, now); q.err != nil {
			s.lanes.rollBack(mark)
			q.err = s.fail(q.err)
			continue
		}
		for i := range q.stored {
			at := len(s.heads)
			s.heads = appendHead(s.heads, &q.stored[i])
			entries = append(entries, wal.Record{Head: s.heads[at:len(s.heads):len(s.heads)], Data: q.stored[i].Data})
			next++
		}
	}
	if len(entries) > 0 {
		if _, err := s.log.Append(entries); err != nil {
			s.lanes.rollBack(0)
			return err
		}
		s.sum = sumOf(entries[len(entries)-1].Head)
	}
	s.lanes.settle()
	s.received = received
	for _, q := range batch {
		if q.err == nil {
			q.publish()
		}
	}
	if len(entries) > 0 {
		s.advance(next)
	}
	return nil
}

// decide judges the records of a request in order, each after those before it,
// and prepares what is to be stored.
func (s *shard) decide(q *request, next uint64, received *int64, now time.Time) error {
	before := *received
	q.results = make([]shardlog.Result, len(q.recs))
	for i, r := range q.recs {
		rec := *r
		if rec.Received == 0 {
			rec.Received = now.UnixNano()
		}
		if back := *received - rec.Received; back > 0 && back < int64(maxClockStep) {
			rec.Received = *received
		}
		res := &q.results[i]
		if rec.Range != nil {
			store, err := s.decideRange(&rec, res, next, now)
			if err != nil {
				*received = before
				return err
			}
			if !store {
				continue
			}
		}
		*received = rec.Received
		rec.Seq, res.Seq = next, next
		q.stored, q.from = append(q.stored, rec), append(q.from, i)
		next++
	}
	return nil
}

// decideRange judges a record with a range; for a trim it changes rec into
// what is to be stored.
func (s *shard) decideRange(rec *shardlog.Record, res *shardlog.Result, seq uint64, now time.Time) (store bool, err error) {
	id := rec.Range.Lane
	known := s.lanes.get(id, now.Unix())
	var p *delivery.Progress
	if known != nil {
		p = &known.Progress
	}
	res.Action = delivery.Decide(p, rec.Range)
	switch res.Action {
	case delivery.Append:
	case delivery.Trim:
		if err := trim(rec, p); err != nil {
			return false, err
		}
	case delivery.Unknown:
		return false, nil
	default:
		res.Progress = *p
		return false, nil
	}
	l := lane{Progress: delivery.Advance(rec.Range, rec.Received/int64(time.Second)), seq: seq}
	s.lanes.set(id, l)
	res.Progress = l.Progress
	return true, nil
}

// publish gives the caller's records what became of them.
func (q *request) publish() {
	for i := range q.stored {
		*q.recs[q.from[i]] = q.stored[i]
	}
}
