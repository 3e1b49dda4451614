package servertest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"logtail/internal/server/index"
	"logtail/internal/server/query"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// Index is an index.Index in memory.
type Index struct {
	mu    sync.Mutex
	next  map[shardlog.Key]uint64
	rows  map[string][]index.Row // by store
	fail  error
	block chan struct{} // searches wait for it
	waits int           // searches that wait
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{next: make(map[shardlog.Key]uint64), rows: make(map[string][]index.Row)}
}

// Fail makes every Apply fail with err until it is called with nil.
func (x *Index) Fail(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fail = err
}

// Block makes every Search wait until the returned function is called.
func (x *Index) Block() (release func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.block = make(chan struct{})
	return sync.OnceFunc(func() { close(x.block) })
}

// Searching tells how many searches wait.
func (x *Index) Searching() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.waits
}

// SetPosition makes the index claim a position.
func (x *Index) SetPosition(key shardlog.Key, seq uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.next[key] = seq
}

// Rows returns how many rows a store has.
func (x *Index) Rows(store string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.rows[store])
}

// Position returns the next sequence.
func (x *Index) Position(key shardlog.Key) (uint64, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return max(x.next[key], 1), nil
}

// Apply adds records; they have to follow one another.
func (x *Index) Apply(_ context.Context, key shardlog.Key, recs []shardlog.Record) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.fail != nil {
		return x.fail
	}
	var rows []index.Row
	next := max(x.next[key], 1)
	for _, r := range recs {
		if r.Seq < next {
			return fmt.Errorf("record %d is applied twice", r.Seq)
		}
		next = r.Seq + 1
		if r.Logs == 0 {
			continue
		}
		raw, err := sls.Decompress(nil, r.Data, r.Compress, r.RawSize, r.RawSize)
		if err != nil {
			return err
		}
		var g sls.LogGroup
		if err := g.Decode(raw, sls.DefaultLimits); err != nil {
			return err
		}
		for i, l := range g.Logs {
			row := index.Row{Time: int64(l.Sec), Nsec: l.Nsec, Shard: key.Shard, Seq: r.Seq, Row: i, Topic: g.Topic, Source: g.Source}
			for _, c := range l.Contents {
				row.Fields = append(row.Fields, index.Field{Key: string(c.Key), Value: string(c.Value)})
			}
			for _, t := range g.Tags {
				row.Fields = append(row.Fields, index.Field{Key: query.TagPrefix + t.Key, Value: t.Value})
			}
			rows = append(rows, row)
		}
	}
	x.next[key] = next
	x.rows[key.Store] = append(x.rows[key.Store], rows...)
	return nil
}

func (x *Index) match(store string, from, to int64, topic *string, where query.Expr) []index.Row {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := query.Compile(where)
	var out []index.Row
	for _, r := range x.rows[store] {
		row := query.Row{Topic: []byte(r.Topic), Source: []byte(r.Source)}
		for _, f := range r.Fields {
			row.Contents = append(row.Contents, sls.Content{Key: []byte(f.Key), Value: []byte(f.Value)})
		}
		if r.Time >= from && r.Time < to && (topic == nil || *topic == r.Topic) && m.Match(&row) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b index.Row) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Row, b.Row))
	})
	return out
}

// Search returns a page of rows.
func (x *Index) Search(ctx context.Context, store string, req index.SearchRequest) (index.SearchResult, error) {
	x.mu.Lock()
	block := x.block
	x.waits++
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.waits--
	}()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return index.SearchResult{}, ctx.Err()
		}
	}
	rows := x.match(store, req.From, req.To, req.Topic, req.Where)
	res := index.SearchResult{Processed: int64(len(rows)), Complete: true}
	if req.Reverse {
		slices.Reverse(rows)
	}
	rows = rows[min(req.Offset, len(rows)):]
	res.Rows = rows[:min(req.Limit, len(rows))]
	size := 0
	for i := range res.Rows {
		size += res.Rows[i].Size()
	}
	if req.MaxBytes > 0 && size > req.MaxBytes && len(res.Rows) > 1 {
		return index.SearchResult{}, index.ErrTooLarge
	}
	return res, nil
}

// Histogram counts rows.
func (x *Index) Histogram(_ context.Context, store string, req index.HistogramRequest) (index.HistogramResult, error) {
	rows := x.match(store, req.From, req.To, req.Topic, req.Where)
	res := index.HistogramResult{Total: int64(len(rows)), Processed: int64(len(rows)), Complete: true}
	for from := req.From; from < req.To; {
		to := min((from/req.Interval+1)*req.Interval, req.To)
		b := index.Bucket{From: from, To: to}
		for _, r := range rows {
			if r.Time >= from && r.Time < to {
				b.Count++
			}
		}
		res.Buckets = append(res.Buckets, b)
		from = to
	}
	return res, nil
}

// Drop deletes a store.
func (x *Index) Drop(store string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.rows, store)
	for key := range x.next {
		if key.Store == store {
			delete(x.next, key)
		}
	}
	return nil
}

// Close does nothing.
func (x *Index) Close() error { return nil }
