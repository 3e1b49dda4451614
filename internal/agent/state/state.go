// Package state is the agent's durable memory: which streams there are, which
// file each one is, and how far each of its lanes is delivered. It is one
// bbolt file, so a crash at any moment leaves the last committed state, and a
// full disk is an error of the call and not the end of the process.
package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"logtail/internal/delivery"
)

const (
	// version of the format. An older one is read; a newer one is refused.
	version = 1
	// lockTimeout is how long Open waits for another agent on the same folder.
	lockTimeout = time.Second
)

var (
	bucketMeta      = []byte("meta")
	bucketPipelines = []byte("pipelines")
	bucketStreams   = []byte("streams")
	bucketTombs     = []byte("tombs")
	bucketHints     = []byte("hints")
	bucketSeq       = []byte("seqid")
	keyVersion      = []byte("version")
)

// Store is the open state. It is safe for concurrent use.
type Store struct {
	db     *bolt.DB
	opened Opened
}

// Open opens or makes the state in the folder dir (made with mode 0700).
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the agent's data folder: %w; choose another with --data", err)
	}
	path := filepath.Join(dir, "state.db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout, FreelistType: bolt.FreelistMapType})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%s is in use by another agent; stop it, or give this one another folder with --data", path)
	case errors.Is(err, berrors.ErrInvalid) || errors.Is(err, berrors.ErrChecksum) || errors.Is(err, berrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%s is damaged (%w); move it away to start anew: files are then read again from their last megabyte", path, err)
	case err != nil:
		return nil, fmt.Errorf("cannot open the agent's state %s: %w", path, err)
	}
	s := &Store{db: db}
	if err := s.prepare(path); err != nil {
		_ = db.Close() // the first error counts
		return nil, err
	}
	return s, nil
}

func (s *Store) prepare(path string) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if v := meta.Get(keyVersion); v != nil {
			if n, _ := binary.Uvarint(v); n > version {
				return fmt.Errorf("%s was written by a newer logtail (format %d, this one reads %d); update logtail", path, n, version)
			}
		} else if err := meta.Put(keyVersion, binary.AppendUvarint(nil, version)); err != nil {
			return err
		}
		for _, b := range [][]byte{bucketPipelines, bucketStreams, bucketTombs, bucketHints, bucketSeq} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// Read returns everything that is stored but the sequence numbers (LoadSeq). A
// record that cannot be read is an error that names it: dropping it in silence
// would repeat or lose its file.
func (s *Store) Read() (Content, error) {
	c := Content{Scanned: map[string]int64{}}
	err := s.db.View(func(tx *bolt.Tx) error {
		if err := tx.Bucket(bucketPipelines).ForEach(func(k, v []byte) error {
			at, n := binary.Varint(v)
			if n <= 0 {
				return fmt.Errorf("the state of pipeline %q is damaged", k)
			}
			c.Scanned[string(k)] = at
			return nil
		}); err != nil {
			return err
		}
		err := each(tx, bucketStreams, "stream", func(k []byte, st *Stream) bool {
			c.Streams = append(c.Streams, *st)
			return copy(c.Streams[len(c.Streams)-1].ID[:], k) == len(k)
		})
		return errors.Join(err,
			each(tx, bucketTombs, "tombstone", func(_ []byte, t *Tomb) bool { c.Tombs = append(c.Tombs, *t); return true }),
			each(tx, bucketHints, "hint", func(_ []byte, h *Hint) bool { c.Hints = append(c.Hints, *h); return true }))
	})
	if err != nil {
		return Content{}, fmt.Errorf("cannot read the agent's state %s: %w", s.db.Path(), err)
	}
	return c, nil
}

// each reads the records of a bucket.
func each[T any](tx *bolt.Tx, bucket []byte, what string, do func(k []byte, v *T) bool) error {
	return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
		var rec T
		if err := json.Unmarshal(v, &rec); err != nil || !do(k, &rec) {
			return fmt.Errorf("the state of %s %x is damaged: %w", what, k, errors.Join(err))
		}
		return nil
	})
}

// Load returns the streams, and the pipelines whose first scan is complete
// with the time of it in unix seconds.
func (s *Store) Load() (streams []Stream, scanned map[string]int64, err error) {
	c, err := s.Read()
	return c.Streams, c.Scanned, err
}

// Commit makes the change durable, all of it or nothing.
func (s *Store) Commit(c Change) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		for i := range c.Put {
			if err := put(tx, bucketStreams, c.Put[i].ID[:], &c.Put[i]); err != nil {
				return err
			}
		}
		for i := range c.PutTombs {
			if err := put(tx, bucketTombs, c.PutTombs[i].key(), &c.PutTombs[i]); err != nil {
				return err
			}
		}
		for i := range c.PutHints {
			if err := put(tx, bucketHints, c.PutHints[i].key(), &c.PutHints[i]); err != nil {
				return err
			}
		}
		for _, p := range c.Scanned {
			if err := tx.Bucket(bucketPipelines).Put([]byte(p), binary.AppendVarint(nil, c.Now)); err != nil {
				return err
			}
		}
		return drop(tx, &c)
	})
	return s.failed(err)
}

func put(tx *bolt.Tx, bucket, key []byte, rec any) error {
	v, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	return tx.Bucket(bucket).Put(key, v)
}

// drop is the part of a change that takes away.
func drop(tx *bolt.Tx, c *Change) error {
	for i := range c.Delete {
		if err := tx.Bucket(bucketStreams).Delete(c.Delete[i][:]); err != nil {
			return err
		}
	}
	for i := range c.DropTombs {
		if err := tx.Bucket(bucketTombs).Delete(c.DropTombs[i].key()); err != nil {
			return err
		}
	}
	for i := range c.DropHints {
		if err := tx.Bucket(bucketHints).Delete(c.DropHints[i].key()); err != nil {
			return err
		}
	}
	for _, p := range c.Forget {
		if err := tx.Bucket(bucketPipelines).Delete([]byte(p)); err != nil {
			return err
		}
	}
	return nil
}

// LoadSeq returns the sequence numbers of all lanes.
func (s *Store) LoadSeq() (map[delivery.LaneID]Seq, error) {
	list := map[delivery.LaneID]Seq{}
	err := s.db.View(func(tx *bolt.Tx) error {
		return each(tx, bucketSeq, "sequence number", func(k []byte, q *Seq) bool {
			var id delivery.LaneID
			ok := len(k) == len(id)
			copy(id[:], k)
			list[id] = *q
			return ok
		})
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the agent's state %s: %w", s.db.Path(), err)
	}
	return list, nil
}

// PutSeq makes sequence numbers durable, all of them or none.
func (s *Store) PutSeq(list map[delivery.LaneID]Seq) error {
	return s.failed(s.db.Update(func(tx *bolt.Tx) error {
		for id, q := range list {
			if err := put(tx, bucketSeq, id[:], &q); err != nil {
				return err
			}
		}
		return nil
	}))
}

// DeleteSeq forgets the sequence numbers of lanes.
func (s *Store) DeleteSeq(list []delivery.LaneID) error {
	return s.failed(s.db.Update(func(tx *bolt.Tx) error {
		for i := range list {
			if err := tx.Bucket(bucketSeq).Delete(list[i][:]); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (s *Store) failed(err error) error {
	if err != nil {
		return fmt.Errorf("cannot write the agent's state %s: %w", s.db.Path(), err)
	}
	return nil
}

// Opened tells what Open found.
func (s *Store) Opened() Opened { return s.opened }

// Close releases the folder.
func (s *Store) Close() error { return s.db.Close() }
