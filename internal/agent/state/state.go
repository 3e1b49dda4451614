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
	keyVersion      = []byte("version")
)

// Stream is what the agent knows of one stream.
type Stream struct {
	ID       delivery.StreamID `json:"-"`
	Pipeline string            `json:"pipeline"`
	Path     string            `json:"path"`           // where the file was last seen
	Origin   string            `json:"from,omitempty"` // where it was first seen, if that was elsewhere
	Dev      uint64            `json:"dev"`
	Inode    uint64            `json:"ino"`
	Birth    int64             `json:"birth,omitempty"` // unix nanoseconds; 0 = the file system does not tell
	HeadLen  int               `json:"hlen,omitempty"`  // bytes that Head covers
	Head     uint64            `json:"head,omitempty"`  // hash of the first HeadLen bytes
	// Pending: the file was there at the pipeline's first scan and has not been
	// modified since, so nothing of it is collected until it is.
	Pending bool `json:"pending,omitempty"`
	// Size and Mtime (unix nanoseconds) are what a Pending file had then.
	Size  int64 `json:"size,omitempty"`
	Mtime int64 `json:"mtime,omitempty"`
	// Base is where collection started (not 0 after a first contact with a large file).
	Base     uint64 `json:"base,omitempty"`
	BaseHash uint64 `json:"bhash,omitempty"` // delivery.TailHash before Base
	// Ended says why nothing more is read: the file was truncated or deleted.
	// [checkpoint, High) of a lane was read and cannot be read again.
	Ended delivery.Reason `json:"ended,omitempty"`
	High  uint64          `json:"high,omitempty"`
	// Seen is when the file was last seen to change, in unix seconds.
	Seen  int64                          `json:"seen"`
	Lanes map[string]delivery.Checkpoint `json:"lanes,omitempty"` // by the flusher's name
}

// Store is the open state. It is safe for concurrent use.
type Store struct{ db *bolt.DB }

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
		for _, b := range [][]byte{bucketPipelines, bucketStreams} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// Load returns every stream, and the pipelines whose first scan is complete
// with the time of it in unix seconds. A record that cannot be read is an
// error that names it: dropping it in silence would repeat or lose its file.
func (s *Store) Load() (streams []Stream, scanned map[string]int64, err error) {
	scanned = map[string]int64{}
	err = s.db.View(func(tx *bolt.Tx) error {
		if err := tx.Bucket(bucketPipelines).ForEach(func(k, v []byte) error {
			at, n := binary.Varint(v)
			if n <= 0 {
				return fmt.Errorf("the state of pipeline %q is damaged", k)
			}
			scanned[string(k)] = at
			return nil
		}); err != nil {
			return err
		}
		return tx.Bucket(bucketStreams).ForEach(func(k, v []byte) error {
			var st Stream
			if err := json.Unmarshal(v, &st); err != nil || len(k) != len(st.ID) {
				return fmt.Errorf("the state of stream %x is damaged: %w", k, errors.Join(err))
			}
			copy(st.ID[:], k)
			streams = append(streams, st)
			return nil
		})
	})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the agent's state %s: %w", s.db.Path(), err)
	}
	return streams, scanned, nil
}

// Change is one commit.
type Change struct {
	Put     []Stream
	Delete  []delivery.StreamID
	Scanned []string // pipelines whose first scan is complete with this commit
	Forget  []string // pipelines that were removed
	Now     int64    // unix seconds
}

// Commit makes the change durable, all of it or nothing.
func (s *Store) Commit(c Change) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketStreams)
		for i := range c.Put {
			v, err := json.Marshal(&c.Put[i])
			if err != nil {
				return err
			}
			if err := b.Put(c.Put[i].ID[:], v); err != nil {
				return err
			}
		}
		for _, id := range c.Delete {
			if err := b.Delete(id[:]); err != nil {
				return err
			}
		}
		for _, p := range c.Scanned {
			if err := tx.Bucket(bucketPipelines).Put([]byte(p), binary.AppendVarint(nil, c.Now)); err != nil {
				return err
			}
		}
		for _, p := range c.Forget {
			if err := tx.Bucket(bucketPipelines).Delete([]byte(p)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot write the agent's state %s: %w", s.db.Path(), err)
	}
	return nil
}

// Close releases the folder.
func (s *Store) Close() error { return s.db.Close() }
