package monitor

import (
	"sync"
	"sync/atomic"
)

// notifier is the system's way to tell of changes in directories. All methods
// are called by the monitor under its lock; what it has to tell goes to a sink.
type notifier interface {
	// add watches a directory and returns a number for it; the same directory
	// by another path may get the same number. files asks for writes to the
	// files in it, too; a second add can only ask for more.
	add(path string, files bool) (wd int32, err error)
	// remove ends a watch.
	remove(wd int32)
	// close ends all watches and waits for the goroutine that reads them.
	close()
}

// change is what a notifier tells: something happened to name in a watched
// directory, or, with an empty name, to the directory itself.
type change struct {
	wd   int32
	name string
}

// What happened to a name. It is only a hint: the disk is looked at.
type changeBits uint8

const (
	bitEntry   changeBits = 1 << iota // came, went, was renamed
	bitWritten                        // was written to
	bitLost                           // the watch is no more
)

// maxChanges bounds the set of changes that wait for the monitor (about 100
// bytes each). Past it all is looked at anew, which costs no memory.
const maxChanges = 65536

// sink collects the changes between two looks of the monitor, one per name.
// Taking them from the kernel never waits for the monitor, so that a long scan
// does not make the kernel's queue overflow.
type sink struct {
	wake func() // must not block

	events    atomic.Uint64 // changes told, before they were joined
	overflows atomic.Uint64

	mu       sync.Mutex
	list     []change
	bits     []changeBits // of list
	index    map[change]int
	overflow bool
}

// tell adds one change. name is copied when it has to be kept.
func (s *sink) tell(wd int32, name []byte, bits changeBits) {
	s.events.Add(1)
	s.mu.Lock()
	if i, ok := s.index[change{wd, string(name)}]; ok {
		s.bits[i] |= bits
	} else if len(s.list) >= maxChanges {
		if !s.overflow {
			s.overflow = true
			s.overflows.Add(1)
		}
	} else {
		if s.index == nil {
			s.index = make(map[change]int)
		}
		c := change{wd, string(name)}
		s.index[c] = len(s.list)
		s.list = append(s.list, c)
		s.bits = append(s.bits, bits)
	}
	s.mu.Unlock()
}

// lose records that changes were lost.
func (s *sink) lose() {
	s.overflows.Add(1)
	s.mu.Lock()
	s.overflow = true
	s.mu.Unlock()
}

// take returns what was told since the last take, in order, and whether
// changes were lost. The buffers are given back for the next round.
func (s *sink) take(list []change, bits []changeBits) ([]change, []changeBits, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.overflow
	s.overflow = false
	outList, outBits := s.list, s.bits
	if cap(list) > 4096 {
		list, bits = nil, nil // after a burst
	}
	clear(list)
	s.list, s.bits = list[:0], bits[:0]
	if len(outList) > 4096 {
		s.index = nil
	} else {
		clear(s.index)
	}
	return outList, outBits, lost
}
