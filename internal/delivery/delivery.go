// Package delivery holds the rules by which a log gets from a file into the
// shard log exactly once. Agent and server share them; nothing in here does
// any input or output, so that the model test of the contract exercises the
// very code that runs.
//
// A stream is one file (or one run of another input) in one pipeline. A lane
// is (stream, flusher, group key). Every package that the agent sends covers a
// contiguous range of its lane, and the server appends a range only where the
// lane's progress stands: compare and append.
package delivery

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

const (
	// TailBytes is how many bytes before an offset its tail hash covers.
	TailBytes = 64
	// MaxState is the most bytes of reader state that a progress may hold.
	MaxState = 256
)

// StreamID names a stream. It is random and is stored by the agent, together
// with the identity of the file, before anything of the stream is sent.
type StreamID [16]byte

// LaneID names a lane; the server keeps one progress for each.
type LaneID [16]byte

// NewStreamID returns a fresh random stream id.
func NewStreamID() StreamID {
	var id StreamID
	if _, err := rand.Read(id[:]); err != nil {
		panic(err) // crypto/rand never fails on supported systems
	}
	return id
}

// Lane derives the lane of the stream for a flusher (its stable name within
// the pipeline) and a group key, which is empty where one flusher gets all
// logs of a stream in one group.
func (s StreamID) Lane(flusher, groupKey string) LaneID {
	h := sha256.New()
	h.Write(s[:])
	fmt.Fprintf(h, "%d:%s%s", len(flusher), flusher, groupKey)
	var id LaneID
	copy(id[:], h.Sum(nil))
	return id
}

func (s StreamID) String() string { return hex.EncodeToString(s[:]) }

func (l LaneID) String() string { return hex.EncodeToString(l[:]) }

// ParseLaneID reads the 32 hex digits that String writes.
func ParseLaneID(s string) (LaneID, error) {
	var l LaneID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(l) {
		return l, fmt.Errorf("lane id %q is not 32 hex digits", s)
	}
	copy(l[:], b)
	return l, nil
}

// TailHash hashes the last TailBytes bytes of b, the content that stands right
// before an offset (less at the beginning of a stream). It is never 0: 0 means
// "not known" and is not compared.
func TailHash(b []byte) uint64 {
	if len(b) > TailBytes {
		b = b[len(b)-TailBytes:]
	}
	if h := xxhash.Sum64(b); h != 0 {
		return h
	}
	return 1
}

// Flags say what is special about a range.
type Flags uint8

// The flags of a range; they combine.
const (
	// Empty marks a range without logs: all in it was filtered or dropped by rule.
	Empty Flags = 1 << iota
	// Abandoned marks a range whose bytes are gone; Reason tells why.
	Abandoned
	// Closed says that the stream will not grow beyond End.
	Closed
	// Claim lets a range begin above 0 on a lane that the server does not
	// know: a first contact with a large file, or a lane that was forgotten.
	Claim
)

// Reason tells why a range was abandoned.
type Reason uint8

// The reasons for abandoning a range, one per rule of the contract.
const (
	ReasonNone      Reason = iota
	ReasonTruncated        // the file was truncated with unread bytes
	ReasonDeleted          // the file was deleted with unread bytes
	ReasonBuffer           // the disk buffer was full
	ReasonRefused          // the destination refused it for good (401, 404, ...)
	ReasonTooOld           // it failed for longer than the destination allows
)

func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return "none"
	case ReasonTruncated:
		return "truncated"
	case ReasonDeleted:
		return "deleted"
	case ReasonBuffer:
		return "buffer_full"
	case ReasonRefused:
		return "refused"
	case ReasonTooOld:
		return "too_old"
	}
	return fmt.Sprintf("reason_%d", uint8(r))
}

// Range is what a package says about the piece of a lane that it covers:
// [Start, End), in raw bytes of the original content, everything that was read
// between, also what was filtered.
type Range struct {
	Lane    LaneID
	Session uint64 // the writer; granted by the server in the reply to resume
	Start   uint64
	End     uint64
	// Ends holds, for each log of the group in order, where it ends in the
	// stream, as unsigned varints: the first relative to Start, each other one
	// relative to the one before. Nil for a range without logs.
	Ends      []byte
	StartHash uint64 // TailHash before Start; 0 = not known
	EndHash   uint64 // TailHash before End; 0 = not known
	State     []byte // reader state at End, at most MaxState bytes
	Flags     Flags
	Reason    Reason
}

// CutEnds returns how many logs of the range end at or below the offset, and the
// ends of the others, the first of them relative to the offset.
func (r *Range) CutEnds(offset uint64) (below int, rest []byte) {
	at := r.Start
	for b := r.Ends; len(b) > 0; {
		delta, n := binary.Uvarint(b)
		if n <= 0 {
			break // a range that was checked has no such ends
		}
		b = b[n:]
		if at += delta; at > offset {
			rest = binary.AppendUvarint(rest, at-offset)
			return below, append(rest, b...)
		}
		below++
	}
	return below, nil
}

// Errors of a range that breaks the form, whatever the progress.
var (
	ErrBackwards = errors.New("delivery: range ends before it starts")
	ErrState     = fmt.Errorf("delivery: reader state is longer than %d bytes", MaxState)
	ErrEnds      = errors.New("delivery: the end offsets of the logs do not fit the range")
)

// Progress is what the server knows of a lane.
type Progress struct {
	End     uint64
	Hash    uint64 // TailHash before End; 0 = not known
	State   []byte // reader state at End
	Session uint64 // the newest session that wrote or resumed
	Closed  bool
	Time    int64 // of the last change, unix seconds at the server
}

// Action is what the server does with a range.
type Action uint8

// The actions of compare and append.
const (
	Append    Action = iota // append all of it; progress = end
	Trim                    // append only the logs whose end is above the progress; progress = end
	Duplicate               // acknowledge, append nothing
	Hole                    // refuse: the range starts above the progress
	Unknown                 // refuse, resume first: the lane is not known and the range does not start at 0, or this session has not resumed it
	Foreign                 // refuse: other bytes stand before start; copied state or a rolled-back machine
	Fenced                  // refuse: a younger session owns the lane
)

var actionNames = [...]string{"append", "trim", "duplicate", "hole", "unknown", "foreign", "fenced"}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action_%d", uint8(a))
}

// ParseAction is the inverse of Action.String.
func ParseAction(s string) (Action, error) {
	for i, n := range actionNames {
		if n == s {
			return Action(i), nil
		}
	}
	return 0, fmt.Errorf("delivery: %q is not an action", s)
}

// Accepted says whether the bytes of the range are now the server's: the
// agent's checkpoint may move to End.
func (a Action) Accepted() bool { return a == Append || a == Trim || a == Duplicate }

// Decide compares a range with the progress of its lane (nil if the lane is
// not known) and says what to do. It is the table of the contract.
func Decide(p *Progress, r *Range) Action {
	if p == nil {
		if r.Start == 0 || r.Flags&Claim != 0 {
			return Append
		}
		return Unknown
	}
	switch {
	case r.Session < p.Session:
		return Fenced
	case r.Session > p.Session:
		// A writer that has not compared its content with this progress: an
		// answer of "duplicate" could acknowledge bytes that a copy of the
		// agent's state had sent. After a resume the sessions are equal.
		return Unknown
	case r.Start > p.End:
		return Hole
	case r.Start == p.End && r.StartHash != 0 && p.Hash != 0 && r.StartHash != p.Hash:
		return Foreign
	case r.End == p.End && r.EndHash != 0 && p.Hash != 0 && r.EndHash != p.Hash:
		return Foreign
	case r.End <= p.End && (r.Start != p.End || r.Flags&Closed == 0 || p.Closed):
		return Duplicate
	case r.Start == p.End:
		return Append
	}
	return Trim
}

// Advance returns the progress after an accepted range.
func Advance(r *Range, now int64) Progress {
	return Progress{End: r.End, Hash: r.EndHash, State: r.State, Session: r.Session, Closed: r.Flags&Closed != 0, Time: now}
}
