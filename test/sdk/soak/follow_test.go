//go:build linux

package soak

import (
	"context"
	"fmt"
	"sync"
	"time"

	sls "github.com/aliyun/aliyun-log-go-sdk"

	"logtail/test/sdk/sdkclient"
)

const (
	project   = "default"
	pageCount = 20 // groups a pull, each of 512 KB at most
)

// reader reads a service through the stock SDK, around the proxies.
type reader struct {
	addr, id, secret string
}

func (r reader) client(retry time.Duration) sls.ClientInterface {
	c := sdkclient.New("http://"+r.addr, r.id, r.secret)
	c.SetRetryTimeout(retry)
	return c
}

// place is where a pull of a logstore's shards has got to.
type place struct {
	store   string
	cursors map[int]string
}

// pull gives every log behind p to take, until there is no more for now.
func (r reader) pull(ctx context.Context, c sls.ClientInterface, p *place, take func(shard int, content []byte)) error {
	shards, err := c.ListShards(project, p.store)
	if err != nil {
		return err
	}
	for _, s := range shards {
		cursor := p.cursors[s.ShardID]
		if cursor == "" {
			if cursor, err = c.GetCursor(project, p.store, s.ShardID, "begin"); err != nil {
				return err
			}
		}
		for ctx.Err() == nil {
			list, next, err := c.PullLogs(project, p.store, s.ShardID, cursor, "", pageCount)
			if err != nil {
				return err
			}
			for _, g := range list.LogGroups {
				for _, l := range g.Logs {
					for _, field := range l.Contents {
						if field.GetKey() == "content" {
							take(s.ShardID, []byte(field.GetValue()))
						}
					}
				}
			}
			p.cursors[s.ShardID] = next
			if next == cursor {
				break
			}
			cursor = next
		}
	}
	return ctx.Err()
}

// follower keeps up with what the logstores have, while the service lives.
type follower struct {
	stop    context.CancelFunc
	running sync.WaitGroup
	stores  map[string]*receipts
}

func follow(r reader, m lineMaker, names []string) *follower {
	ctx, stop := context.WithCancel(context.Background())
	f := &follower{stop: stop, stores: map[string]*receipts{}}
	for _, name := range names {
		got := newReceipts(m)
		f.stores[name] = got
		f.running.Go(func() {
			p := &place{store: name, cursors: map[int]string{}}
			poll := time.NewTicker(300 * time.Millisecond)
			defer poll.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-poll.C:
				}
				// A failure is a service that is down, or stopped: it is asked again.
				_ = r.pull(ctx, r.client(time.Second), p, func(_ int, content []byte) { got.take(content) })
			}
		})
	}
	return f
}

func (f *follower) close() {
	f.stop()
	f.running.Wait()
}

// logs returns how many logs all logstores have given so far.
func (f *follower) logs() (n int) {
	for _, r := range f.stores {
		r.mu.Lock()
		n += r.logs
		r.mu.Unlock()
	}
	return n
}

// inOrder counts the whole lines of a shard that come behind a later one of the same file.
type inOrder struct {
	ledger   *ledger
	last     map[orderKey]int
	wrong    int
	examples []string
}

type orderKey struct{ shard, file, gen, segment int }

func (o *inOrder) see(shard int, id lineID) {
	segment, again := o.ledger.segment(id)
	if again { // read from several files, each in its order
		return
	}
	k := orderKey{shard, id.file, id.gen, segment}
	last, ok := o.last[k]
	if ok && id.n <= last {
		if o.wrong++; len(o.examples) < 5 {
			o.examples = append(o.examples, fmt.Sprintf("out of order: %s comes behind line %d in shard %d", id, last, shard))
		}
		return
	}
	o.last[k] = id.n
}

// all pulls a logstore from its beginning.
func (r reader) all(m lineMaker, l *ledger, store string) (*receipts, *inOrder, error) {
	got, order := newReceipts(m), &inOrder{ledger: l, last: map[orderKey]int{}}
	p := &place{store: store, cursors: map[int]string{}}
	err := r.pull(context.Background(), r.client(time.Minute), p, func(shard int, content []byte) {
		if id, from, ok := got.take(content); ok && from == 0 && len(content) == m.length(id) {
			order.see(shard, id)
		}
	})
	return got, order, err
}

// count returns how many logs the index of a logstore has.
func (r reader) count(store string) (int64, error) {
	now := time.Now().Unix()
	const week = 7 * 86400
	h, err := r.client(10*time.Second).GetHistograms(project, store, "", now-week, now+week, "*")
	if err != nil {
		return 0, err
	}
	return h.Count, nil
}
