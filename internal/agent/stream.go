package agent

import (
	"io"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"logtail/internal/agent/aggregate"
	"logtail/internal/agent/read"
	"logtail/internal/agent/send"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
)

// maxFormer is how many former ids of a stream are kept, for what the disk buffer
// may have of their lanes.
const maxFormer = 7

// unlimited is the limit of a stream that is read as far as it grows.
const unlimited = math.MaxUint64

// stream is one file in one pipeline, from its identity to its lanes. There may be
// 100,000 of which nothing is heard: what only a few need is behind a pointer, and
// small fields stand together.
type stream struct {
	a   *Agent
	run *pipelineRun

	mu    sync.Mutex
	rec   state.Stream
	birth atomic.Int64 // of the file, as in rec; read without mu
	lanes []way        // by flusher; nil until the stream is attached

	f        read.File
	pos      uint64 // next byte to read
	tail     uint64 // delivery.TailHash before pos
	limit    uint64 // read no further: the size at the start of a one-time input
	boundary uint64 // a group must end here: some lane goes on from it
	high     uint64 // the furthest that was ever read
	seen     uint64 // end of the file at the last read
	grew     moment
	group    *openGroup // nil: none is open
	lastSeal moment
	marked   moment // when the last mark was made
	notes    []note // losses that count when the checkpoints pass them

	before *stream   // was at the same path before; its file is read to its end first
	next   []*stream // wait for this one

	mtime   int64  // of the file at the last look, unix nanoseconds; 0: not known
	blocked moment // since when not every destination takes packages; never: they do
	missing moment // since when it is found nowhere; never: it is there
	rare    *rare  // nil: nothing of it

	tries    int32           // of searching for it while unsure
	failures int32           // of opening or reading, one after another
	size     int32           // memory of the open group that is counted in the agent's sum, in bytes
	passed   atomic.Bool     // those that wait for it may go on
	turn     turnState       // guarded by the schedule
	lost     delivery.Reason // why what was read and not delivered cannot be read again, once frozen

	fresh     bool // rec is not stored yet, so nothing may be sent
	restored  bool // from the last run
	proved    bool // the head of the file is stored
	proving   bool // it is being stored
	headSaved bool // it is in the record that was taken to be stored
	mid       bool // pos lies inside a record
	spilling  bool // what the destinations cannot take goes to the disk buffer
	unlinked  bool // the file was deleted: it is there only as long as it is open
	archived  bool // f is the compressed file that the stream's file was turned into
	gone      bool // path does not lead to it any more
	sought    bool // since it left its path it was searched for and found
	touched   bool // it changed while it waited to be stored
	unsure    bool // not every place could be looked at when it was searched for last
	frozen    bool // nothing more is read: the file was truncated or deleted, what was read is still delivered
	closing   bool // closed packages were given to the lanes
	done      bool // all is delivered and nothing more comes
	forgot    bool // it is not to be stored any more
	finished  bool // a one-time file was read and delivered
}

// rare is what few streams have.
type rare struct {
	aliases []string // other paths of the same file: hard and symbolic links
	copy    *copied  // a file that began as this one when it was compared last
	archive string   // where a compressed file with the content of this one was seen; "": nowhere yet
}

// set returns where to put what few streams have.
func (s *stream) set() *rare {
	if s.rare == nil {
		s.rare = &rare{}
	}
	return s.rare
}

func (s *stream) aliases() []string {
	if s.rare == nil {
		return nil
	}
	return s.rare.aliases
}

func (s *stream) copy() *copied {
	if s.rare == nil {
		return nil
	}
	return s.rare.copy
}

// way is a stream's lane to one of its destinations.
type way struct {
	*send.Lane
	given delivery.Point // how far the lane has been given packages
	ready bool           // the destination has said where the lane goes on
	anew  bool           // it gets a new id when that is stored
	saved bool           // that is in the record that was taken to be stored
}

// openGroup is a group that gathers logs, with what the rules took out of it.
type openGroup struct {
	aggregate.Group
	tally tally
}

// discard forgets the open group. Its memory goes to the pool if p is not nil.
func (s *stream) discard(p *aggregate.Pool) {
	if s.group != nil {
		s.group.Release(p)
		s.group = nil
	}
}

// Points carry one byte of reader state: whether the offset lies inside a record.
const stateMid = 1

func readerState(mid bool) []byte {
	if mid {
		return []byte{stateMid}
	}
	return nil
}

func isMid(state []byte) bool { return len(state) > 0 && state[0]&stateMid != 0 }

// snapshot returns what is to be stored of the stream; ok is false if nothing is, as
// also when it is new while it is not its turn as a new one.
func (s *stream) snapshot(asNew bool) (rec state.Stream, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fresh && !asNew {
		return rec, false
	}
	s.headSaved = s.rec.HeadLen > 0
	for i := range s.lanes {
		s.lanes[i].saved = s.lanes[i].anew
	}
	rec = s.rec
	kept := uint64(0)
	if s.lanes != nil {
		rec.Lanes, kept = s.kept()
	}
	s.tell(kept)
	return rec, !s.forgot
}

// attach gives the stream its lanes; it must be stored. The destinations
// answer with LaneReady.
func (s *stream) attach(known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh = false
	if s.done || s.lanes != nil {
		return
	}
	s.open(known)
}

// open makes the lanes, from the checkpoints of rec. known says that the
// destinations may know them.
func (s *stream) open(known bool) {
	n := len(s.run.flushers)
	s.lanes = make([]way, n)
	for i, f := range s.run.flushers {
		c, ok := s.rec.Lanes.Of(f.name)
		if !ok {
			c = delivery.Checkpoint{Point: delivery.Point{End: s.rec.Base, Hash: s.rec.BaseHash}, AbandonedFrom: s.rec.Base}
		}
		s.high = max(s.high, c.End)
		s.openLane(i, c, known)
	}
	s.rec.Lanes = nil // the lanes know
}

// openLane makes the lane to a flusher.
func (s *stream) openLane(i int, c delivery.Checkpoint, known bool) {
	f := s.run.flushers[i]
	former := make([]delivery.LaneID, len(s.rec.Was))
	for k, id := range s.rec.Was {
		former[k] = id.Lane(f.name, "")
	}
	s.lanes[i].Lane = f.dest.Lane(s.id(f.name).Lane(f.name, ""), s, c, !known, former...)
}

// id is the stream's id for a flusher.
func (s *stream) id(flusher string) delivery.StreamID {
	if id, ok := s.rec.IDs[flusher]; ok {
		return id
	}
	return s.rec.ID
}

// LaneReady is called when a destination has said where the lane goes on.
func (s *stream) LaneReady(l *send.Lane, plan delivery.Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(l)
	if i < 0 || s.done {
		return
	}
	l.Begin() // under mu: packages of a turn that began before must not be taken any more
	if plan.NewStream {
		s.renew(i)
		return
	}
	s.lanes[i].given, s.lanes[i].ready, s.blocked = plan.Point, true, 0
	s.high = max(s.high, plan.End)
	s.rewind()
	s.a.queue.add(s)
}

// renew gives the stream a new id for one flusher, from its checkpoint on, since another
// agent used the old one at its destination. The other lanes keep theirs: what they have under
// way would be doubled under another id. Nothing more is read before the new one is stored.
func (s *stream) renew(i int) {
	name, ids := s.run.flushers[i].name, map[string]delivery.StreamID{}
	old := s.id(name)
	maps.Copy(ids, s.rec.IDs) // which may be being stored
	ids[name] = delivery.NewStreamID()
	s.rec.IDs = ids
	s.rec.Was = append(s.rec.Was[max(0, len(s.rec.Was)-maxFormer):len(s.rec.Was):len(s.rec.Was)], old)
	s.lanes[i].anew, s.lanes[i].saved, s.lanes[i].ready = true, false, false
	s.discard(nil)
	if s.frozen { // what this lane has lost of it is found anew; nothing is read again
		s.notes = slices.DeleteFunc(s.notes, func(n note) bool { return n.way == i+1 })
	} else {
		s.unnote(0)
	}
	s.a.saver.add(s)
}

// renewed opens the lanes whose new ids are stored.
func (s *stream) renewed() {
	for i := range s.lanes {
		l := &s.lanes[i]
		if !l.anew || !l.saved || s.done {
			continue
		}
		c := l.Checkpoint()
		c.Incarnation = "" // no logstore has heard of the new id
		if s.frozen {
			l.Spill(true) // what it has cannot be made again, and goes on in the new lane
		}
		l.Close()
		l.anew = false
		s.openLane(i, c, false)
	}
}

// rewind sets the place to read from to the lowest that any lane needs, and
// forgets the open group, whose records are read again.
func (s *stream) rewind() {
	low := delivery.Point{End: unlimited}
	for i := range s.lanes {
		if !s.lanes[i].ready {
			return
		}
		if s.lanes[i].given.End < low.End {
			low = s.lanes[i].given
		}
	}
	if s.stopped() {
		return
	}
	s.discard(nil)
	if !s.frozen { // else nothing is read again
		s.unnote(low.End)
	}
	s.pos, s.tail, s.mid = low.End, low.Hash, isMid(low.State)
	s.bound()
}

// bound finds the next offset at which a group must end.
func (s *stream) bound() {
	s.boundary = unlimited
	for i := range s.lanes {
		if e := s.lanes[i].given.End; e > s.pos && e < s.boundary {
			s.boundary = e
		}
	}
}

func (s *stream) index(l *send.Lane) int {
	for i := range s.lanes {
		if s.lanes[i].Lane == l {
			return i
		}
	}
	return -1
}

// attached says whether all destinations have said where to go on.
func (s *stream) attached() bool {
	if s.lanes == nil {
		return false
	}
	for i := range s.lanes {
		if !s.lanes[i].ready {
			return false
		}
	}
	return true
}

// LaneAcked is called when a checkpoint moved.
func (s *stream) LaneAcked(*send.Lane) {
	s.a.saver.dirty(s)
	s.a.queue.add(s)
}

// LaneSpace is called when a lane takes packages again.
func (s *stream) LaneSpace(*send.Lane) { s.a.queue.add(s) }

// LaneStopped is called when another agent has taken the lane over. The other
// lanes go on without it.
func (s *stream) LaneStopped(l *send.Lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.index(l); i >= 0 && !s.done {
		s.lanes[i].given = delivery.Point{End: unlimited}
		s.lanes[i].ready = true
		s.bound()
		s.a.queue.add(s)
	}
}

// stopped says whether nobody takes anything of the stream any more.
func (s *stream) stopped() bool {
	for i := range s.lanes {
		if s.lanes[i].given.End != unlimited {
			return false
		}
	}
	return true
}

// freeze ends reading, as the file was truncated or deleted. It is stored no later
// than the stream that follows for the path, so that after a restart the two
// are not taken for each other.
func (s *stream) freeze(why delivery.Reason) {
	s.a.log.Debug("nothing more of a file is read", "stream", s.rec.ID, "path", s.rec.Path, "reason", why, "offset", s.pos, "furthest", s.high)
	s.pass()
	s.frozen, s.lost = true, why
	s.rec.Ended, s.rec.High = why, s.high
	s.a.saver.dirty(s)
}

// Holds says whether the file has the tail hash before end. Where there is no
// file to compare with, nothing can be skipped either, and the destination is
// believed, if believe says so.
func (s *stream) Holds(end, hash uint64, believe bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hash == 0 || end == 0 {
		return true
	}
	if s.frozen {
		return believe
	}
	var f io.ReaderAt = s.f
	if s.f == nil {
		c := s.confirmed()
		if c == nil {
			return believe
		}
		defer c.Close()
		f = c
	}
	h, ok := read.HashBefore(f, end)
	if !ok && s.ends(f, end) {
		s.rec.Sealed = s.rec.Sealed || s.rec.Copy && !s.compressed() // it is known only now
		return believe
	}
	return ok && h == hash
}

// ends says whether f is a copy, or an archive of one, that ends before end and will not
// grow: what the destination has behind that was read from the original.
func (s *stream) ends(f io.ReaderAt, end uint64) bool {
	if c, ok := f.(*read.Compressed); ok {
		return c.Len() >= 0 && uint64(c.Len()) < end
	}
	return s.rec.Sealed || s.rec.Copy
}

// confirmed opens the stream's file, at its path or where it went in its
// folder; nil if it is in neither place. The path may have another file by now.
func (s *stream) confirmed() read.File {
	if s.rec.Compressed != "" {
		if id, _, _, err := read.Peek(s.rec.Path); err == nil && id == s.identity() {
			if c, err := read.OpenCompressed(s.rec.Path); err == nil {
				return c
			}
		}
		return nil
	}
	k := s.known()
	if f, facts, _, err := read.Look(s.rec.Path); err == nil {
		if read.Decide(k, &facts) == read.Same {
			return f
		}
		f.Close()
	}
	if f, _, err := read.Search(k, s.rec.Path, s.run.input.MaxCheckpointDirSearchDepth, s.rec.Real); err == nil {
		return f
	}
	if c, _, err := s.findArchive(k); err == nil {
		return c
	}
	return nil
}

// decoded says whether end is where the content of a compressed file ends.
func (s *stream) decoded(end uint64) bool {
	c, ok := s.f.(*read.Compressed)
	return ok && c.Len() == int64(end)
}

// compressed says whether what is read comes from a compressed file.
func (s *stream) compressed() bool { return s.archived || s.rec.Compressed != "" }

// known is what is remembered of the file. The place to confirm is where the
// reader stands, or, before it does, the highest checkpoint.
func (s *stream) known() *read.Known {
	k := &read.Known{
		Identity: read.Identity{Dev: s.rec.Dev, Inode: s.rec.Inode, Birth: s.rec.Birth},
		HeadLen:  s.rec.HeadLen, Head: s.rec.Head, Mtime: s.rec.Seen * int64(time.Second),
	}
	if s.rec.Sealed {
		return k
	}
	if s.attached() {
		k.End, k.Tail = s.pos, s.tail
		return k
	}
	furthest := func(c delivery.Checkpoint) {
		if c.End > k.End {
			k.End, k.Tail = c.End, c.Hash
		}
	}
	for _, l := range s.lanes {
		furthest(l.Checkpoint())
	}
	for _, c := range s.rec.Lanes {
		furthest(c.Checkpoint)
	}
	return k
}

// park gives back what a stream holds that nobody takes anything of. It stays
// known, so that its file is not taken for a new one.
func (s *stream) park() {
	s.pass()
	s.discard(nil)
	s.account()
	s.closeFile()
	if s.run.input.Once {
		s.end(false)
		s.a.checkFinished()
	}
}

// follow makes s wait until the file that was at its path before is read to its end.
func (s *stream) follow(before *stream) {
	if before == nil || before == s {
		return
	}
	before.mu.Lock()
	waits := !before.passed.Load() && !before.rec.Pending
	if waits {
		before.next = append(before.next, s)
	}
	before.mu.Unlock()
	if waits {
		s.mu.Lock()
		s.before = before
		s.mu.Unlock()
		s.a.queue.add(before)
	}
}

// pass lets the streams go on that wait for this one: its file is at another
// path now and read to its end, or will not be read any more.
func (s *stream) pass() {
	if s.passed.Swap(true) {
		return
	}
	for _, n := range s.next {
		s.a.queue.add(n)
	}
	s.next = nil
}

// passIfSent passes when some destination has everything of the file. One that
// lags gets the files in their order too, as it is given them in that order.
func (s *stream) passIfSent() {
	if s.proving || s.group != nil && s.group.Logs > 0 {
		return
	}
	for _, l := range s.lanes {
		if l.given.End >= s.pos && !l.Pending() {
			s.pass()
			return
		}
	}
}

// delivered says whether everything that was read is acknowledged or given up.
func (s *stream) delivered() bool {
	if !s.attached() || s.group != nil {
		return false
	}
	for _, l := range s.lanes {
		if l.Pending() || l.given.End < s.pos {
			return false
		}
	}
	return true
}

// end closes the lanes and forgets the stream; forget removes it from the state too.
func (s *stream) end(forget bool) {
	if s.done {
		return
	}
	s.done = true
	s.tell(unlimited)
	s.pass()
	s.a.open.Add(-int64(s.size))
	s.size = 0
	for _, l := range s.lanes {
		l.Close()
	}
	s.closeFile()
	s.discard(nil)
	if forget {
		s.forgot = true
		s.bury()
		s.a.saver.remove(s.rec.ID)
	}
	s.a.files.drop(s, s.rec.Inode, s.rec.Path)
	for _, path := range append(s.aliases(), s.rec.Path, s.rec.Origin) {
		s.a.files.forget(s, path)
	}
	s.a.files.end(s)
}
