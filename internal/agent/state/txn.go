package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"logtail/internal/agent/ledger"
	"logtail/internal/delivery"
)

const (
	maxTombs = 10_000
	tombLife = 7 * 24 * time.Hour
)

// txn is one commit in the making: it keeps the sums of what it changes.
type txn struct {
	buckets [bucketCount]*bolt.Bucket
	meta    *bolt.Bucket
	sums    sums
	buf     []byte // for values, which bbolt wants to keep until the commit
}

// makeTxn makes the buckets of an empty file.
func makeTxn(tx *bolt.Tx) (*txn, error) {
	t := &txn{sums: sums{commit: uint64(tx.ID())}}
	for b, name := range bucketNames {
		var err error
		if t.buckets[b], err = tx.CreateBucket([]byte(name)); err != nil {
			return nil, err
		}
	}
	var err error
	if t.meta, err = tx.CreateBucket([]byte(metaBucket)); err != nil {
		return nil, err
	}
	return t, t.meta.Put([]byte(keyVersion), binary.AppendUvarint(nil, version))
}

// beginTxn goes on from the last commit, whose sums are given.
func beginTxn(tx *bolt.Tx, last sums) *txn {
	t := &txn{sums: last, meta: tx.Bucket([]byte(metaBucket))}
	t.sums.commit = uint64(tx.ID())
	for b, name := range bucketNames {
		t.buckets[b] = tx.Bucket([]byte(name))
	}
	return t
}

// finish writes the sums.
func (t *txn) finish() error { return t.meta.Put([]byte(keySums), t.sums.encode()) }

// arena is from how many bytes values are cut.
const arena = 64 << 10

func (t *txn) put(b bucket, key, payload []byte) error {
	need := checksumBytes + binary.MaxVarintLen64 + len(payload)
	if cap(t.buf)-len(t.buf) < need {
		t.buf = make([]byte, 0, max(arena, need))
	}
	at := len(t.buf)
	t.buf = seal(t.buf, bucketNames[b], key, t.sums.commit, payload)
	value := t.buf[at:len(t.buf):len(t.buf)]
	if old := t.buckets[b].Get(key); old != nil {
		t.sums.buckets[b].remove(old)
	}
	t.sums.buckets[b].add(value)
	return t.buckets[b].Put(key, value)
}

func (t *txn) delete(b bucket, key []byte) error {
	old := t.buckets[b].Get(key)
	if old == nil {
		return nil
	}
	t.sums.buckets[b].remove(old)
	return t.buckets[b].Delete(key)
}

// item is a record to put.
type item struct{ key, payload []byte }

// encode makes the records of a list, sorted by key: in that order bbolt adds
// thousands of new ones without moving the others each time.
func encode[T any](list []T, key func(*T) []byte) ([]item, error) {
	items := make([]item, len(list))
	for i := range list {
		payload, err := json.Marshal(&list[i])
		if err != nil {
			return nil, err
		}
		items[i] = item{key(&list[i]), payload}
	}
	slices.SortStableFunc(items, func(a, b item) int { return bytes.Compare(a.key, b.key) })
	return items, nil
}

// batch is what one caller wants to have committed.
type batch struct {
	put  [bucketCount][]item
	drop [bucketCount][][]byte
	now  int64 // unix seconds; for the age of tombstones
}

func (c *Change) batch() (*batch, error) {
	b := &batch{now: c.Now}
	var err error
	if b.put[inStreams], err = encode(c.Put, func(s *Stream) []byte { return s.ID[:] }); err != nil {
		return nil, err
	}
	if b.put[inCounts], err = encode(c.Counts, countKey); err != nil {
		return nil, err
	}
	if b.put[inTombs], err = encode(c.PutTombs, (*Tomb).key); err != nil {
		return nil, err
	}
	if b.put[inHints], err = encode(c.PutHints, (*Hint).key); err != nil {
		return nil, err
	}
	for _, p := range c.Scanned {
		b.put[inPipelines] = append(b.put[inPipelines], item{[]byte(p), binary.AppendVarint(nil, c.Now)})
	}
	for _, p := range c.Forget {
		b.drop[inPipelines] = append(b.drop[inPipelines], []byte(p))
	}
	for i := range c.Delete {
		b.drop[inStreams] = append(b.drop[inStreams], c.Delete[i][:])
	}
	for i := range c.DropTombs {
		b.drop[inTombs] = append(b.drop[inTombs], c.DropTombs[i].key())
	}
	for i := range c.DropHints {
		b.drop[inHints] = append(b.drop[inHints], c.DropHints[i].key())
	}
	return b, nil
}

// countKey keeps a pipeline's counts together. A zero byte is in no path and no name.
func countKey(e *ledger.Entry) []byte {
	return []byte(e.Pipeline + "\x00" + e.Path + "\x00" + string(e.Reason))
}

func seqBatch(list map[delivery.LaneID]Seq, drop []delivery.LaneID) (*batch, error) {
	b := &batch{}
	for id, q := range list {
		payload, err := json.Marshal(&q)
		if err != nil {
			return nil, err
		}
		b.put[inSeq] = append(b.put[inSeq], item{id[:], payload})
	}
	for i := range drop {
		b.drop[inSeq] = append(b.drop[inSeq], drop[i][:])
	}
	return b, nil
}

func (b *batch) empty() bool {
	for i := range b.put {
		if len(b.put[i])+len(b.drop[i]) > 0 {
			return false
		}
	}
	return true
}

// apply adds a batch to the commit.
func (t *txn) apply(b *batch) error {
	for i := range b.put {
		for _, r := range b.put[i] {
			if err := t.put(bucket(i), r.key, r.payload); err != nil {
				return err
			}
		}
		for _, key := range b.drop[i] {
			if err := t.delete(bucket(i), key); err != nil {
				return err
			}
		}
	}
	if len(b.put[inTombs]) > 0 {
		return t.expireTombs(b.now)
	}
	return nil
}

// expireTombs removes tombstones that are too old or too many. Their keys
// begin with their time.
func (t *txn) expireTombs(now int64) error {
	oldest := binary.BigEndian.AppendUint64(nil, uint64(max(now-int64(tombLife/time.Second), 0)))
	var gone [][]byte
	c := t.buckets[inTombs].Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if t.sums.buckets[inTombs].count-int64(len(gone)) <= maxTombs && bytes.Compare(k, oldest) >= 0 {
			break
		}
		gone = append(gone, slices.Clone(k))
	}
	for _, k := range gone {
		if err := t.delete(inTombs, k); err != nil {
			return err
		}
	}
	return nil
}
