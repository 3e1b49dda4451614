package wal

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
)

// handle is an open log of raft-wal with what it stands on.
type handle struct {
	w     *raftwal.WAL
	files *files
	list  *segmentList
}

func (h *handle) close() {
	h.w.Close() //nolint:errcheck // it always returns nil
	h.files.close()
}

// open opens the log and returns its bounds; see Options for known and durable.
func (l *Log) open(known, durable uint64) (h *handle, first, next uint64, err error) {
	list := &segmentList{log: l.opts.Logger, faults: l.opts.Faults, dir: l.dir, durable: durable, size: uint32(l.opts.SegmentSize), bad: l.opts.Bad, now: l.opts.Now}
	h = &handle{files: newFiles(l.opts.Faults, list), list: list}
	list.salvaging = l.opts.Salvage
	if known > 0 {
		h.list.known, h.list.acked = true, known-1
	}
	take := func() {
		h.w, err = raftwal.Open(l.dir, raftwal.WithMetaStore(h.list), raftwal.WithSegmentFiler(segment.NewFiler(l.dir, h.files)),
			raftwal.WithSegmentSize(l.opts.SegmentSize), raftwal.WithLogger(raftLogger(l.opts.Logger)))
	}
	if take(); err != nil && !list.salvaging {
		mended, err2 := list.mendHeaders()
		if err2 != nil {
			err = errors.Join(err, err2)
		} else if mended {
			h.files.close()
			take()
		}
	}
	if errors.Is(err, raftwal.ErrCorrupt) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		h.files.close()
		return nil, 0, 0, err
	}
	first, err1 := h.w.FirstIndex()
	last, err2 := h.w.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		h.close()
		return nil, 0, 0, err
	}
	next = last + 1
	if last == 0 { // no records: raft-wal does not say where it will go on
		first = h.list.base()
		next = first
	}
	if want := max(known, durable+1); l.opts.Lost != nil && next < want {
		if err := l.fill(h, next, want); err != nil {
			h.close()
			return nil, 0, 0, err
		}
		next = want
	}
	if known > 0 && next != known {
		h.close()
		return nil, 0, 0, fmt.Errorf("the log ends at record %d and not at %d, which was stored: %w", next-1, known-1, ErrDamaged)
	}
	return h, first, next, nil
}

// fillRecords is how many records of those that stand for lost ones go into one write.
const fillRecords = 4096

// fill stores Options.Lost under the numbers from next up to, not including, to.
func (l *Log) fill(h *handle, next, to uint64) error {
	l.opts.Logger.Error("records of the log are lost; nothing can be read in their place", "first", next, "last", to-1)
	for next < to {
		list := make([]*raft.Log, min(to-next, fillRecords))
		for i := range list {
			list[i] = &raft.Log{Index: next + uint64(i), Data: l.opts.Lost.Head, Extensions: l.opts.Lost.Data}
		}
		if err := h.w.StoreLogs(list); err != nil {
			return fmt.Errorf("storing what stands for lost records: %w", err)
		}
		next += uint64(len(list))
	}
	return nil
}

// install makes h the handle of the log.
func (l *Log) install(h *handle, first, next uint64) {
	l.handleMu.Lock()
	old := l.handle
	l.handle = h
	l.handleMu.Unlock()
	if old != nil {
		old.close()
	}
	l.first.Store(first)
	l.next.Store(next)
}

// reopen puts a newly opened log, which is cut behind the last record that was
// stored, in the place of the open one. Reading goes on meanwhile. The caller
// holds write.
func (l *Log) reopen() error {
	l.handle.list.freeze()
	h, first, next, err := l.open(l.next.Load(), 0)
	if err != nil {
		l.broken = err
		return err
	}
	l.install(h, first, next)
	l.broken = nil
	return nil
}

// record reads one record; its bytes are the caller's.
func (h *handle) record(seq uint64) (r Record, err error) {
	// raft-wal's decoder trusts the disk: a damaged length makes it panic.
	defer func() {
		if p := recover(); p != nil {
			r, err = Record{}, ErrDamaged
		}
	}()
	var l raft.Log
	if err := h.w.GetLog(seq, &l); err != nil {
		if isDamage(err) {
			return r, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return r, h.list.giveUp(seq, err)
	}
	if l.Index != seq {
		return r, ErrDamaged
	}
	return Record{Head: l.Data, Data: l.Extensions}, nil
}

// raftLogger gives what raft-wal has to say, which is only trouble, to our logger.
func raftLogger(log *slog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, DisableTime: true, Output: lineLogger{log: log}})
}

type lineLogger struct{ log *slog.Logger }

// Write implements io.Writer for one line of raft-wal's log.
func (l lineLogger) Write(line []byte) (int, error) {
	l.log.Warn("raft-wal: " + string(line[:max(0, len(line)-1)]))
	return len(line), nil
}
