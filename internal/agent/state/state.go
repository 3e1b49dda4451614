// Package state is the agent's durable memory: which streams there are, which
// file each one is, and how far each of its lanes is delivered. It is one
// bbolt file, so a crash at any moment leaves the last committed state, and a
// full disk is an error of the call and not the end of the process. A damaged
// file heals when it is opened: what can be read of it is kept, and what
// cannot is told.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"logtail/internal/delivery"
)

const (
	// version of the format. An older one is read; a newer one is refused. In
	// version 1 records had no checksums.
	version = 2
	// lockTimeout is how long Open waits for another agent on the same folder.
	lockTimeout = time.Second
	// lockName is the file that an agent locks for as long as it uses the folder.
	// The state file itself may be replaced when it is opened.
	lockName = "state.lock"
)

// ErrHealed is what Commit answers when the file was found damaged while it
// was in use and has been healed (Opened tells how): the change was not made.
// The caller commits it again, with everything else that it knows.
var ErrHealed = errors.New("the agent's state was damaged and has been healed; what is committed again is kept")

var errLocked = errors.New("locked")

// Store is the open state. It is safe for concurrent use.
type Store struct {
	dir, path string
	lock      *os.File

	waiting sync.Mutex // guards queue; never held while something is written
	queue   []*request

	turn   sync.Mutex // held by who commits or reads; guards all below
	db     *bolt.DB
	file   *os.File // the one that db uses
	sums   sums
	opened Opened
	told   bool // the report of Open needs not be kept in the file any more
	failed bool // a call failed: what bbolt knows may differ from the file, so it is opened anew
	healed bool // the file was put aside at the last opening
	closed bool
}

// request is one caller's part of a commit.
type request struct {
	batch *batch
	done  bool
	err   error
}

// Open opens or makes the state in the folder dir (made with mode 0700). An
// agent must not run without its state, so everything that keeps it from being
// read and written is an error; a damaged file is not, see Opened.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir, path: filepath.Join(dir, fileName)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the agent's data folder: %w; choose another with --data", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, s.explain(err)
	}
	if err := lockFile(lock, false, lockTimeout); err != nil {
		lock.Close()
		return nil, s.explain(err)
	}
	s.lock = lock
	if err := s.open(); err != nil {
		_ = errors.Join(s.shut(), lock.Close()) // the first error counts
		return nil, s.explain(err)
	}
	return s, nil
}

// explain says what can be done about an error of opening.
func (s *Store) explain(err error) error {
	remedy := ""
	switch {
	case errors.Is(err, errLocked) || errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%s is in use by another agent; stop it, or give this one another folder with --data", s.path)
	case errors.Is(err, syscall.EROFS):
		remedy = "; the file system is read-only: make it writable, or choose another folder with --data"
	case errors.Is(err, fs.ErrPermission):
		remedy = "; give the agent's user the right to read and write there, or choose another folder with --data"
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		remedy = "; make room there, or choose another folder with --data"
	}
	return fmt.Errorf("cannot open the agent's state %s: %w%s", s.path, err, remedy)
}

// open makes the file ready, heals it if need be, and opens it.
func (s *Store) open() error {
	opened, err := s.ready()
	if err != nil {
		return err
	}
	s.opened, s.told, s.failed = opened, false, false
	return s.mapFile()
}

// mapFile opens the file, which is whole, with bbolt.
func (s *Store) mapFile() error {
	return s.guard(func() error {
		db, err := bolt.Open(s.path, 0o600, &bolt.Options{
			Timeout: lockTimeout, FreelistType: bolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
				f, err = os.OpenFile(name, flag, mode)
				s.file = f
				return f, err
			},
		})
		if err != nil {
			return err
		}
		s.db = db
		return db.View(func(tx *bolt.Tx) error {
			var ok bool
			if s.sums, _, ok = decodeSums(tx.Bucket([]byte(metaBucket)).Get([]byte(keySums))); !ok {
				return errors.New("the sums of its records are damaged")
			}
			return nil
		})
	})
}

// guard turns a panic of bbolt, also one about memory that its file is mapped
// to, into an error. After one nothing is called of that database again.
func (s *Store) guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			s.failed = true
			s.db = nil // it may hold its own locks
			err = fmt.Errorf("the file is damaged: %v", r)
		}
	}()
	return do()
}

// shut closes the database, whatever state it is in.
func (s *Store) shut() error {
	var err error
	if s.db != nil {
		err = s.guard(s.db.Close)
	} else if s.file != nil {
		// What is mapped of it stays so, and would keep its lock.
		err = errors.Join(unlock(s.file), s.file.Close())
	}
	s.db, s.file = nil, nil
	return err
}

// Opened tells what Open found, or the healing behind the last ErrHealed.
func (s *Store) Opened() Opened {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.opened
}

// Commit makes the change durable, all of it or nothing. Calls that come while
// one is being written share the next write.
func (s *Store) Commit(c Change) error {
	b, err := c.batch()
	if err != nil {
		return s.cannotWrite(err)
	}
	return s.commit(b)
}

// LoadSeq returns the sequence numbers of all lanes.
func (s *Store) LoadSeq() (map[delivery.LaneID]Seq, error) {
	list := map[delivery.LaneID]Seq{}
	err := s.view(func(d *decoder) { d.seq = list })
	return list, err
}

// PutSeq makes sequence numbers durable, all of them or none. Concurrent
// callers share one write.
func (s *Store) PutSeq(list map[delivery.LaneID]Seq) error {
	b, err := seqBatch(list, nil)
	if err != nil {
		return s.cannotWrite(err)
	}
	return s.commit(b)
}

// DeleteSeq forgets the sequence numbers of lanes.
func (s *Store) DeleteSeq(list []delivery.LaneID) error {
	b, err := seqBatch(nil, list)
	if err != nil {
		return s.cannotWrite(err)
	}
	return s.commit(b)
}

func (s *Store) cannotWrite(err error) error {
	return fmt.Errorf("cannot write the agent's state %s: %w", s.path, err)
}

// commit writes a batch, with those of others that wait.
func (s *Store) commit(b *batch) error {
	if b.empty() {
		return nil
	}
	r := &request{batch: b}
	s.waiting.Lock()
	s.queue = append(s.queue, r)
	s.waiting.Unlock()
	s.turn.Lock()
	defer s.turn.Unlock()
	if !r.done {
		s.waiting.Lock()
		list := s.queue
		s.queue = nil
		s.waiting.Unlock()
		err := s.write(list)
		for _, r := range list {
			r.done, r.err = true, err
		}
	}
	if r.err != nil {
		return s.cannotWrite(r.err)
	}
	return nil
}

// write commits the batches of a list with one transaction.
func (s *Store) write(list []*request) error {
	if err := s.usable(); err != nil {
		return err
	}
	var after sums
	err := s.guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			t := beginTxn(tx, s.sums)
			for _, r := range list {
				if err := t.apply(r.batch); err != nil {
					return err
				}
			}
			if !s.told {
				if err := t.meta.Delete([]byte(keyReport)); err != nil {
					return err
				}
			}
			after = t.sums
			return t.finish()
		})
	})
	if err != nil {
		s.failed = true
		return err
	}
	s.sums, s.told = after, true
	return nil
}

// usable opens the file anew after a failure, and heals it if that was its
// cause. It has to be done after every failure: when the second of bbolt's two
// syncs fails, bbolt goes on from a commit whose pages it believes to be free.
func (s *Store) usable() error {
	if s.closed {
		return fs.ErrClosed
	}
	if !s.failed {
		return nil
	}
	_ = s.shut() // what matters is whether it can be opened
	s.healed = false
	if err := s.open(); err != nil {
		s.failed = true
		return err
	}
	if s.healed {
		return ErrHealed
	}
	return nil
}

// Trim gives back the memory that counts as the process's own because it has read
// the file, which is mapped, where it was read.
func (s *Store) Trim() {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.trim()
}

func (s *Store) trim() {
	if s.closed || s.failed {
		return
	}
	if err := errors.Join(s.shut(), s.mapFile()); err != nil {
		s.failed = true // the next call opens it again
	}
}

// Close releases the folder.
func (s *Store) Close() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return errors.Join(s.shut(), s.lock.Close())
}

// lockFile locks a file and waits for it for at most the given time.
func lockFile(f *os.File, shared bool, wait time.Duration) error {
	for end := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		taken, err := tryLock(f, shared)
		switch {
		case err != nil:
			return err
		case !taken:
			return nil
		case time.Now().After(end):
			return errLocked
		}
	}
}
