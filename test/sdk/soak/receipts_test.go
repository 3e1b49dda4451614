//go:build linux

package soak

import (
	"errors"
	"sync"
)

// genID is a generation of a file.
type genID struct{ file, gen int }

// receipts is what was found in one place: a logstore, or files.
type receipts struct {
	lines lineMaker

	mu     sync.Mutex
	whole  map[genID][]uint8 // by line, how often it was found in one piece
	parts  map[lineID][]span
	loose  map[string]int // pieces without a cell, too short to be located
	wrong  []string       // content that nobody wrote
	logs   int            // how many were taken
	bytes  int64
	perGen map[genID]int64 // bytes found
}

func newReceipts(m lineMaker) *receipts {
	return &receipts{lines: m, whole: map[genID][]uint8{}, parts: map[lineID][]span{}, loose: map[string]int{}, perGen: map[genID]int64{}}
}

// take notes one log; it returns where it belongs, ok only if that is known.
func (r *receipts) take(content []byte) (id lineID, from int, ok bool) {
	id, from, to, err := r.lines.locate(content)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs++
	r.bytes += int64(len(content))
	switch {
	case errors.Is(err, errNotOurs) && len(content) > 0 && len(content) < blockBytes+cellBytes:
		r.loose[string(content)]++
		return id, 0, false
	case err != nil:
		if len(r.wrong) < 20 {
			r.wrong = append(r.wrong, err.Error()+": "+shorten(content))
		}
		return id, 0, false
	}
	g := genID{id.file, id.gen}
	r.perGen[g] += int64(to - from)
	if from > 0 || to < r.lines.length(id) {
		r.parts[id] = append(r.parts[id], span{from, to})
		return id, from, true
	}
	w := r.whole[g]
	for len(w) <= id.n {
		w = append(w, 0)
	}
	if w[id.n] < 255 {
		w[id.n]++
	}
	r.whole[g] = w
	return id, from, true
}

func shorten(content []byte) string {
	if len(content) > 80 {
		return string(content[:40]) + " … " + string(content[len(content)-40:])
	}
	return string(content)
}

// of returns the bytes of a line that were found, and how many of them more than
// once. The caller has mu.
func (r *receipts) of(id lineID, size int) (got []span, doubled int) {
	whole := 0
	if w := r.whole[genID{id.file, id.gen}]; id.n < len(w) {
		whole = int(w[id.n])
	}
	parts := r.parts[id]
	if whole == 0 && len(parts) == 0 {
		return nil, 0
	}
	list := append([]span(nil), parts...)
	for range whole {
		list = append(list, span{0, size})
	}
	return merged(list)
}

// gone counts the whole lines that an earlier look found and this one does not.
func (r *receipts) gone(earlier *receipts) (n int) {
	earlier.mu.Lock()
	defer earlier.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, was := range earlier.whole {
		now := r.whole[id]
		for i, c := range was {
			if c > 0 && (i >= len(now) || now[i] == 0) {
				n++
			}
		}
	}
	return n
}

// has returns how many bytes of a generation were found.
func (r *receipts) has(g genID) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.perGen[g]
}
