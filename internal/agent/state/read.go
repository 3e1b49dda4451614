package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"

	"logtail/internal/delivery"
)

// decoder makes content of records.
type decoder struct {
	content *Content                // nil: not asked for
	seq     map[delivery.LaneID]Seq // nil: not asked for
	bad     []badRecord             // records that make no sense
}

type badRecord struct {
	b          bucket
	key, value []byte
}

// take decodes one record.
func (d *decoder) take(b bucket, key, payload []byte) bool {
	switch {
	case b == inSeq && d.seq != nil:
		var q Seq
		var id delivery.LaneID
		if len(key) != len(id) || json.Unmarshal(payload, &q) != nil {
			return false
		}
		copy(id[:], key)
		d.seq[id] = q
	case d.content == nil:
	case b == inStreams:
		var st Stream
		if len(key) != len(st.ID) || json.Unmarshal(payload, &st) != nil {
			return false
		}
		copy(st.ID[:], key)
		d.content.Streams = append(d.content.Streams, st)
	case b == inPipelines:
		at, n := binary.Varint(payload)
		if n <= 0 {
			return false
		}
		d.content.Scanned[string(key)] = at
	case b == inCounts:
		return appendJSON(&d.content.Counts, payload)
	case b == inTombs:
		return appendJSON(&d.content.Tombs, payload)
	case b == inHints:
		return appendJSON(&d.content.Hints, payload)
	}
	return true
}

func appendJSON[T any](list *[]T, payload []byte) bool {
	var v T
	if json.Unmarshal(payload, &v) != nil {
		return false
	}
	*list = append(*list, v)
	return true
}

// Read returns what is stored. Records that make no sense are put aside and
// named in Content.Damaged; the others are not affected.
func (s *Store) Read() (Content, error) {
	c := Content{Scanned: map[string]int64{}}
	err := s.view(func(d *decoder) { d.content = &c })
	if err != nil {
		return Content{}, err
	}
	return c, nil
}

// Load returns the streams, and the pipelines whose first scan is complete
// with the time of it in unix seconds.
func (s *Store) Load() (streams []Stream, scanned map[string]int64, err error) {
	c, err := s.Read()
	return c.Streams, c.Scanned, err
}

// view decodes the records that the decoder, as set up by ask, wants.
func (s *Store) view(ask func(*decoder)) error {
	var d decoder
	ask(&d)
	s.turn.Lock()
	err := s.viewAll(&d)
	s.trim()
	s.turn.Unlock()
	if err != nil {
		return fmt.Errorf("cannot read the agent's state %s: %w", s.path, err)
	}
	if len(d.bad) == 0 {
		return nil
	}
	move := &batch{}
	for _, r := range d.bad {
		if d.content != nil {
			d.content.Damaged = append(d.content.Damaged, recordName(r.b, r.key))
		}
		move.drop[r.b] = append(move.drop[r.b], r.key)
		move.put[inDamaged] = append(move.put[inDamaged], item{damagedKey(r.b, r.key), r.value})
	}
	return s.commit(move)
}

func damagedKey(b bucket, key []byte) []byte { return append([]byte(bucketNames[b]+"\x00"), key...) }

func (s *Store) viewAll(d *decoder) error {
	if err := s.usable(); err != nil && !errors.Is(err, ErrHealed) {
		return err
	}
	return s.guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			if d.content != nil {
				d.content.Streams = make([]Stream, 0, s.sums.buckets[inStreams].count)
			}
			for b, name := range bucketNames {
				if err := tx.Bucket([]byte(name)).ForEach(func(k, v []byte) error {
					_, payload, ok := unseal(name, k, v)
					if !ok {
						return fmt.Errorf("the record of the %s is damaged since it was opened; restart the agent, which heals it", recordName(bucket(b), k))
					}
					if !d.take(bucket(b), k, payload) {
						d.bad = append(d.bad, badRecord{bucket(b), slices.Clone(k), slices.Clone(payload)})
					}
					return nil
				}); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// OpenReadOnly returns what the state in the folder dir holds, for who looks at it while
// no agent runs; with one it is an error that says so. Nothing is
// changed, so it also reads from a read-only disk. What cannot be read is named
// in Content.Damaged.
func OpenReadOnly(dir string) (Content, error) {
	path := filepath.Join(dir, fileName)
	wrap := func(err error) error {
		if errors.Is(err, errLocked) {
			return fmt.Errorf("%s is in use by a running agent", path)
		}
		return fmt.Errorf("cannot read the agent's state: %w", err)
	}
	if lock, err := os.Open(filepath.Join(dir, lockName)); err == nil {
		defer lock.Close()
		if err := lockFile(lock, true, lockTimeout); err != nil {
			return Content{}, wrap(err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return Content{}, wrap(err)
	}
	defer f.Close()
	if err := lockFile(f, true, lockTimeout); err != nil {
		return Content{}, wrap(err)
	}
	info, err := f.Stat()
	if err != nil {
		return Content{}, wrap(err)
	}
	c := Content{Scanned: map[string]int64{}}
	if info.Size() == 0 {
		return c, nil
	}
	v := check(f, info.Size())
	if v.version > version {
		return Content{}, wrap(fmt.Errorf("%s was written by a newer logtail (format %d, this one reads %d); update logtail", path, v.version, version))
	}
	saved := salvage(f, info.Size())
	d := decoder{content: &c}
	for b := range saved.records {
		for _, key := range slices.Sorted(maps.Keys(saved.records[b])) {
			if !d.take(bucket(b), []byte(key), saved.records[b][key].payload) {
				c.Damaged = append(c.Damaged, recordName(bucket(b), []byte(key)))
			}
		}
	}
	if len(v.faults) > 0 {
		c.Damaged = append(c.Damaged, saved.lost...)
		c.Damaged = append(c.Damaged, "the file: "+v.cause())
	}
	return c, nil
}
