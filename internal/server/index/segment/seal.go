package segment

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// maxRetryDelay bounds the pause between attempts to seal.
const maxRetryDelay = time.Minute

// sealTick is how often ages are looked at.
const sealTick = time.Second

// wake makes the sealer look at all shards.
func (x *Index) wake() {
	select {
	case x.kick <- struct{}{}:
	default:
	}
}

// sealLoop is the sealer: it moves tables to disk and merges small segments,
// until the index is closed.
func (x *Index) sealLoop() {
	defer x.done.Done()
	tick := time.NewTicker(sealTick)
	defer tick.Stop()
	for {
		select {
		case <-x.ctx.Done():
			return
		case <-x.kick:
		case <-tick.C:
		}
		x.sealDue()
	}
}

// sealDue seals what is due, and the largest tables while memory is short.
func (x *Index) sealDue() {
	for _, sh := range x.allShards() {
		if x.ctx.Err() != nil {
			return
		}
		if sh.freezeOld(x.opts.Now()) {
			sh.sealWaiting()
		}
	}
	for x.memory.over() && x.ctx.Err() == nil {
		sh := x.largest()
		if sh == nil {
			return
		}
		sh.freeze()
		sh.sealWaiting()
	}
	for _, sh := range x.allShards() {
		if x.ctx.Err() != nil {
			return
		}
		sh.mergeDue()
	}
}

// largest returns the shard with the largest table, of those whose last sealing
// did not just fail.
func (x *Index) largest() *shard {
	var best *shard
	var size int64
	now := x.opts.Now()
	for _, sh := range x.allShards() {
		sh.mu.Lock()
		n := sh.active.bytes
		for _, t := range sh.frozen {
			n += t.bytes
		}
		if n > size && !now.Before(sh.retryAt) {
			best, size = sh, n
		}
		sh.mu.Unlock()
	}
	return best
}

// freezeOld freezes a table that is old enough, and says whether there is
// something to seal now.
func (sh *shard) freezeOld(now time.Time) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.active.to > sh.active.from && now.Sub(sh.active.born) >= sh.x.opts.SealAge {
		sh.freezeLocked()
	}
	return len(sh.frozen) > 0 && !now.Before(sh.retryAt)
}

// sealWaiting seals the tables that wait. After a failure it waits longer and
// longer until the next attempt; the rows stay in memory.
func (sh *shard) sealWaiting() {
	err := sh.sealAll()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if err == nil {
		sh.delay, sh.retryAt = 0, time.Time{}
		return
	}
	sh.delay = min(max(2*sh.delay, sh.x.opts.RetryDelay), maxRetryDelay)
	sh.retryAt = sh.x.opts.Now().Add(sh.delay)
	sh.x.log.Error("index: rows could not be moved to disk; they stay in memory and it is tried again",
		"store", sh.key.Store, "shard", sh.key.Shard, "after", sh.delay, "error", err)
}

// sealAll seals the tables that wait, oldest first, until one fails.
func (sh *shard) sealAll() error {
	sh.commit.Lock()
	defer sh.commit.Unlock()
	for {
		sh.mu.Lock()
		if sh.gone || len(sh.frozen) == 0 {
			sh.mu.Unlock()
			return nil
		}
		t, m := sh.frozen[0], sh.man.clone()
		sh.mu.Unlock()
		if err := sh.seal(t, m); err != nil {
			return err
		}
	}
}

// seal writes a table as a segment and publishes it. sh.commit is held.
func (sh *shard) seal(t *table, m manifest) error {
	var seg *segment
	if t.rows > 0 {
		meta, err := sh.write(t, m.NextID)
		if err != nil {
			return err
		}
		seg = &segment{dir: sh.dir, meta: meta}
		m.Segments = append(m.Segments, meta)
		m.NextID++
	} else if err := os.MkdirAll(sh.dir, 0o700); err != nil {
		return err
	}
	for _, r := range t.givenUp {
		m.regain(r)
	}
	m.regain(seqRange{t.from, t.to})
	m.Next = max(m.Next, t.to)
	if err := sh.publish(m, seg, nil); err != nil {
		return err
	}
	sh.x.memory.add(-t.bytes)
	return nil
}

// publish makes a manifest the state of the shard: seg is new (or nil), old
// segments are replaced by it; without old ones, the first frozen table is.
// After a failure the new state may be on disk all the same, so the files of
// seg are left alone; the next manifest, or the next start, decides.
func (sh *shard) publish(m manifest, seg *segment, old []*segment) error {
	if err := sh.x.writeManifest(sh.dir, &m); err != nil {
		// Ids are not used twice, whichever manifest is on disk.
		sh.mu.Lock()
		sh.man.NextID = m.NextID
		sh.mu.Unlock()
		return err
	}
	sh.mu.Lock()
	sh.man = m
	segments := slices.DeleteFunc(slices.Clone(sh.segments), func(s *segment) bool { return slices.Contains(old, s) })
	if seg != nil {
		segments = append(segments, seg)
	}
	sh.segments = segments
	for _, s := range old {
		s.obsolete = true
	}
	if old == nil {
		sh.frozen = slices.Delete(slices.Clone(sh.frozen), 0, 1)
	}
	sh.mu.Unlock()
	return nil
}

// write makes the files of a segment, durable but not yet published.
func (sh *shard) write(t *table, id uint64) (meta segmentMeta, err error) {
	if err := os.MkdirAll(sh.dir, 0o700); err != nil {
		return meta, err
	}
	if err := errors.Join(sh.x.syncDir(sh.x.dir), sh.x.syncDir(filepath.Dir(sh.dir))); err != nil {
		return meta, err
	}
	m := segmentMeta{ID: id}
	data, side := m.dataFile(sh.dir), m.sidecarFile(sh.dir)
	defer func() {
		if err != nil {
			os.Remove(data)
			os.Remove(side)
		}
	}()
	var s *sidecar
	err = sh.x.writeFileAtomic(data, func(w io.Writer) error {
		s, err = writeSegment(w, newPlan(t, &sh.x.opts))
		return err
	})
	if err != nil {
		return meta, err
	}
	b := s.encode()
	err = sh.x.writeFileAtomic(side, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return meta, err
	}
	return s.meta(id, int64(len(b))), sh.x.syncDir(sh.dir)
}
