package segment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// maxRowTime is later than every row.
const maxRowTime = (int64(1) << 32) * nanos

// recordLimits accept what is in the shard log, which has passed the limits of
// the service already.
var recordLimits = sls.Limits{
	MaxRaw: 1 << 30, MaxLogs: 1 << 30, MaxContents: 1 << 30, MaxFields: 1 << 30, MaxTags: 1 << 30,
	MaxKey: 1 << 30, MaxValue: 1 << 30, MaxPackages: 1 << 30, MaxGroups: 1 << 30,
}

// segment is a sealed part of a shard. refs and obsolete are guarded by the lock
// of the shard.
type segment struct {
	dir      string
	meta     segmentMeta
	refs     int  // of searches and merges that use the files
	obsolete bool // no longer in the manifest: the last user deletes the files
}

// shard is the index of one shard: the table that takes new rows, tables that
// wait for the disk, and segments.
type shard struct {
	x   *Index
	key shardlog.Key
	dir string

	// commit is held while the manifest changes: by sealing, merging, expiry
	// and putting aside. It is taken before mu.
	commit sync.Mutex

	mu       sync.Mutex
	man      manifest // as on disk
	segments []*segment
	frozen   []*table // oldest first
	active   *table
	next     uint64 // the sequence that Apply expects
	gone     bool   // dropped or closed

	retryAt time.Time // no sealing before, after a failure
	delay   time.Duration
	mergeAt time.Time // no merging before, after a failure

	// For Apply, which one goroutine at a time calls.
	raw []byte
	lg  sls.LogGroup
}

func newShard(x *Index, key shardlog.Key) *shard {
	sh := &shard{x: x, key: key, dir: filepath.Join(x.dir, key.Store, strconv.Itoa(key.Shard)), man: manifest{Next: 1, NextID: 1}, next: 1}
	sh.active = newTable(1)
	return sh
}

// openShard reads the manifest and removes what it does not name.
func (x *Index) openShard(key shardlog.Key) (*shard, error) {
	sh := newShard(x, key)
	name := filepath.Join(sh.dir, manifestName)
	b, err := os.ReadFile(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		// Nothing was ever sealed.
	case err != nil:
		return nil, err
	default:
		m, err := decodeManifest(b)
		if errors.Is(err, errCorrupt) {
			x.log.Error("index: a manifest is damaged; it is put aside and made anew from the sidecars", "file", name, "error", err)
			m, err = sh.rescue(name)
		}
		if err != nil {
			return nil, err
		}
		sh.man = *m
	}
	if err := sh.checkFiles(); err != nil {
		return nil, err
	}
	for i := range sh.man.Segments {
		sh.segments = append(sh.segments, &segment{dir: sh.dir, meta: sh.man.Segments[i]})
	}
	sh.next = sh.man.position()
	sh.active = newTable(sh.next)
	return sh, sh.removeOrphans()
}

// checkFiles looks whether the files of the manifest are there in their sizes,
// so that the position at the start takes into account what is not.
func (sh *shard) checkFiles() error {
	var bad []segmentMeta
	for _, m := range sh.man.Segments {
		for _, f := range []struct {
			name string
			size int64
		}{{m.dataFile(sh.dir), m.DataBytes}, {m.sidecarFile(sh.dir), m.IndexBytes}} {
			info, err := os.Stat(f.name)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if err != nil || info.Size() != f.size {
				sh.x.log.Error("index: a file of a segment is missing or has another size; the segment is put aside, and its logs are indexed again as far as the shard log has them",
					"file", f.name, "rows", m.Rows, "from", m.From, "to", m.To)
				bad = append(bad, m)
				break
			}
		}
	}
	if len(bad) == 0 {
		return nil
	}
	for i := range bad {
		sh.man.lose(&bad[i])
	}
	if err := sh.x.writeManifest(sh.dir, &sh.man); err != nil {
		return err
	}
	for i := range bad {
		sh.renameBad(&bad[i])
	}
	return nil
}

// renameBad puts the files of a segment aside.
func (sh *shard) renameBad(m *segmentMeta) {
	for _, f := range []string{m.dataFile(sh.dir), m.sidecarFile(sh.dir)} {
		if err := os.Rename(f, f+badSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			sh.x.log.Warn("index: a damaged file could not be renamed; the next start deletes it", "file", f, "error", err)
		}
	}
}

func (sh *shard) rescue(name string) (*manifest, error) {
	m, err := rebuildManifest(sh.dir)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(name, name+badSuffix); err != nil {
		return nil, err
	}
	return m, sh.x.writeManifest(sh.dir, m)
}

// removeOrphans deletes temporary files and segments that were never published
// or were replaced.
func (sh *shard) removeOrphans() error {
	entries, err := os.ReadDir(sh.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		base, ext, _ := strings.Cut(name, ".")
		id, isSegment := segmentID(base)
		named := slices.ContainsFunc(sh.man.Segments, func(s segmentMeta) bool { return s.ID == id })
		orphan := isSegment && !named && (ext == dataSuffix[1:] || ext == sidecarSuffix[1:])
		if orphan || strings.HasSuffix(name, tmpSuffix) {
			if err := os.Remove(filepath.Join(sh.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply adds a record. Records that segments or tables hold already are passed
// over.
func (sh *shard) apply(rec *shardlog.Record) error {
	decoded := false
	if len(rec.Data) > 0 {
		decoded = sh.decode(rec)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.gone {
		return sh.x.goneError()
	}
	if rec.Seq < sh.next {
		return nil
	}
	if rec.Seq > sh.next {
		sh.jump(rec.Seq)
	}
	sh.next = rec.Seq + 1
	if sh.man.covers(rec.Seq) {
		return nil
	}
	t := sh.active
	if t.to != rec.Seq {
		// What was passed over is not the table's: it starts behind it.
		sh.freezeLocked()
		t = sh.active
		t.from = rec.Seq
	}
	before := t.bytes
	if t.to == t.from {
		t.born = sh.x.opts.Now()
	}
	if decoded && len(sh.lg.Logs) > 0 {
		t.add(rec.Seq, &sh.lg)
	}
	t.to = rec.Seq + 1
	t.maxReceived = max(t.maxReceived, rec.Received)
	sh.x.memory.add(t.bytes - before)
	if t.rows >= sh.x.opts.SealRows || t.bytes >= sh.x.opts.SealBytes {
		sh.freezeLocked()
	}
	if len(sh.frozen) > 0 || sh.x.memory.over() {
		sh.x.wake()
	}
	return nil
}

// decode reads a record's logs into sh.lg. A record that does not decode cannot
// become rows; it stays in the shard log, and waiting for it would stop the
// index for good.
func (sh *shard) decode(rec *shardlog.Record) bool {
	var err error
	sh.raw, err = sls.Decompress(sh.raw[:0], rec.Data, rec.Compress, rec.RawSize, recordLimits.MaxRaw)
	if err == nil {
		err = sh.lg.Decode(sh.raw, recordLimits)
	}
	if err != nil {
		sh.x.log.Error("index: a record of the shard log does not decode; its logs cannot be searched",
			"store", sh.key.Store, "shard", sh.key.Shard, "sequence", rec.Seq, "error", err)
	}
	return err == nil
}

// jump passes over sequences that the shard log no longer has.
func (sh *shard) jump(to uint64) {
	missing := seqRange{sh.next, to}
	var lost []seqRange
	for _, l := range sh.man.Lost {
		if r := (seqRange{max(l.From, missing.From), min(l.To, missing.To)}); r.From < r.To {
			lost = append(lost, r)
		}
	}
	// What lies below the manifest's end is either lost or in a segment.
	if unseen := max(missing.From, sh.man.Next); unseen < to || len(lost) > 0 {
		sh.x.log.Error("index: the shard log does not have all records that the index lacks; their logs cannot be searched any more",
			"store", sh.key.Store, "shard", sh.key.Shard, "from", missing.From, "to", to)
	}
	if sh.active.rows == 0 && len(lost) == 0 {
		sh.active.from, sh.active.to = to, to
		return
	}
	if sh.active.rows > 0 {
		sh.freezeLocked()
	}
	sh.active.from, sh.active.to = to, to
	sh.active.givenUp = append(sh.active.givenUp, lost...)
}

// freezeLocked makes room for a new table; the one that was filled waits to be
// sealed. sh.mu is held.
func (sh *shard) freezeLocked() {
	t := sh.active
	if t.to > t.from || len(t.givenUp) > 0 {
		sh.frozen = append(sh.frozen, t)
	}
	sh.active = newTable(sh.next)
	sh.active.from, sh.active.to = t.to, t.to
}

// freeze makes all rows in memory wait to be sealed.
func (sh *shard) freeze() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.gone {
		sh.freezeLocked()
	}
}

// snapshot is what a search sees of a shard: every applied row once.
type snapshot struct {
	shard    *shard
	tables   []*tableView
	segments []*segment
	lost     []lostSegment
}

func (sh *shard) snapshot() snapshot {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s := snapshot{shard: sh, segments: sh.segments, lost: sh.man.Lost}
	for _, t := range sh.frozen {
		if t.rows > 0 {
			s.tables = append(s.tables, t.view())
		}
	}
	if sh.active.rows > 0 {
		s.tables = append(s.tables, sh.active.view())
	}
	for _, seg := range s.segments {
		seg.refs++
	}
	return s
}

// release lets go of segments of a snapshot, and deletes the files of those
// that are of no use any more.
func (sh *shard) release(segments []*segment) {
	var done []*segment
	sh.mu.Lock()
	for _, seg := range segments {
		if seg.refs--; seg.refs == 0 && seg.obsolete {
			done = append(done, seg)
		}
	}
	sh.mu.Unlock()
	for _, seg := range done {
		sh.x.cache.drop(seg)
		for _, f := range []string{seg.meta.dataFile(sh.dir), seg.meta.sidecarFile(sh.dir)} {
			if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
				sh.x.log.Warn("index: a file that is of no use any more could not be deleted; the next start does it", "file", f, "error", err)
			}
		}
	}
}

// setAside takes a damaged segment out of the index, and remembers that its
// sequences are to be applied again.
func (sh *shard) setAside(seg *segment, cause error) {
	sh.commit.Lock()
	defer sh.commit.Unlock()
	sh.mu.Lock()
	at := slices.Index(sh.segments, seg)
	if at < 0 || sh.gone {
		sh.mu.Unlock()
		return // another search was faster
	}
	m := sh.man.clone()
	sh.mu.Unlock()
	m.lose(&seg.meta)
	sh.x.log.Error("index: a segment is damaged and is put aside; its logs are indexed again from the shard log at the next start, as far as it has them",
		"file", seg.meta.dataFile(sh.dir), "rows", seg.meta.Rows, "from", seg.meta.From, "to", seg.meta.To, "error", cause)
	if err := sh.x.writeManifest(sh.dir, &m); err != nil {
		sh.x.log.Error("index: the manifest without the damaged segment could not be written; it is tried again when the segment is used next",
			"store", sh.key.Store, "shard", sh.key.Shard, "error", err)
		return
	}
	sh.mu.Lock()
	sh.man = m
	sh.segments = slices.DeleteFunc(slices.Clone(sh.segments), func(s *segment) bool { return s == seg })
	sh.mu.Unlock()
	sh.x.cache.drop(seg)
	sh.renameBad(&seg.meta)
}

// drop forgets everything of the shard and closes its files.
func (sh *shard) drop() {
	sh.commit.Lock() // a sealing under way is done
	defer sh.commit.Unlock()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.gone = true
	for _, t := range append(sh.frozen, sh.active) {
		sh.x.memory.add(-t.bytes)
	}
	sh.frozen, sh.active = nil, newTable(sh.next)
	for _, seg := range sh.segments {
		sh.x.cache.drop(seg)
	}
	sh.segments = nil
}

func (sh *shard) close() { sh.drop() }

func (sh *shard) String() string { return fmt.Sprintf("%s/%d", sh.key.Store, sh.key.Shard) }
