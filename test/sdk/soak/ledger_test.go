//go:build linux

package soak

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// generation is what a writer says of one.
type generation struct {
	lines, torn int // as told
	// copied: the file was truncated after it was copied, so of this generation
	// only what was found in files must arrive.
	copied bool
	// cuts are the lines that begin behind a truncation: what is before and
	// behind are two files for the agent.
	cuts []int
	// deleted: its file was deleted though it may not have been read to its end.
	deleted bool
	// again is how often an editor has put the same lines into another file: so
	// often they were written again, and must arrive again.
	again   int
	history []string
}

// ledger is everything that was written, and what is known about where it stands.
type ledger struct {
	lines lineMaker

	mu      sync.Mutex
	gens    map[genID]*generation
	inFiles *receipts // of generations that were copied
}

func newLedger(m lineMaker) *ledger {
	return &ledger{lines: m, gens: map[genID]*generation{}, inFiles: newReceipts(m)}
}

func (l *ledger) gen(id genID) *generation {
	g := l.gens[id]
	if g == nil {
		g = &generation{}
		l.gens[id] = g
	}
	return g
}

// wrote notes a writer's answer.
func (l *ledger) wrote(file int, t told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.gen(genID{file, t.Gen})
	if g.lines = t.Lines; t.Torn > 0 {
		g.torn = t.Torn
	}
}

// change changes what is known of a generation, and notes why.
func (l *ledger) change(id genID, why string, f func(g *generation)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.gen(id)
	g.history = append(g.history, why)
	if f != nil {
		f(g)
	}
}

// segment is the file, in the agent's eyes, that a line of a generation belongs
// to; again says that the line is in several.
func (l *ledger) segment(id lineID) (n int, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.gen(genID{id.file, id.gen})
	for _, c := range g.cuts {
		if id.n >= c {
			n++
		}
	}
	return n, g.again > 0
}

// verdict is the comparison of what was written with what a logstore has.
type verdict struct {
	store              string
	lines, found       int
	bytes              int64
	lost, doubled      int // lines
	lostBytes          int64
	between, betweenIn int   // lines that a program wrote between copy and truncate; how many of them arrived
	betweenLost        int64 // bytes of those that did not
	unread             map[genID]int64
	wrong              int
	disorder           int
	examples           []string
	fromGen            int // examples of the generation that is judged
}

func (v *verdict) bad() bool { return v.lost+v.doubled+v.wrong+v.disorder > 0 }

func (v *verdict) example(format string, a ...any) {
	if v.fromGen++; len(v.examples) < 40 && v.fromGen <= 4 {
		v.examples = append(v.examples, fmt.Sprintf(format, a...))
	}
}

// judge compares the generations of the files with what was received.
func (l *ledger) judge(store string, files map[int]bool, got *receipts) *verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	got.mu.Lock()
	defer got.mu.Unlock()
	l.inFiles.mu.Lock()
	defer l.inFiles.mu.Unlock()
	v := &verdict{store: store, unread: map[genID]int64{}}
	known := map[genID]bool{}
	for _, id := range slices.SortedFunc(maps.Keys(l.gens), func(a, b genID) int { return cmp.Or(a.file-b.file, a.gen-b.gen) }) {
		if !files[id.file] {
			continue
		}
		known[id] = true
		g := l.gens[id]
		before := v.lost + v.doubled
		v.fromGen = 0
		for n := range g.lines {
			l.judgeLine(v, g, lineID{id.file, id.gen, n}, -1, got)
		}
		if g.torn > 0 {
			l.judgeLine(v, g, lineID{id.file, id.gen, g.lines}, g.torn, got)
		}
		for n := g.lines; n < len(got.whole[id]); n++ {
			if got.whole[id][n] > 0 && (n > g.lines || g.torn == 0) {
				v.wrong++
				v.example("%s was never finished", lineID{id.file, id.gen, n})
			}
		}
		if v.lost+v.doubled > before {
			v.fromGen = 0
			v.example("  file %d, generation %d: %s", id.file, id.gen, strings.Join(g.history, "; "))
		}
	}
	v.fromGen = 0
	for id := range got.whole {
		if !known[id] {
			v.wrong++
			v.example("file %d, generation %d does not belong here", id.file, id.gen)
		}
	}
	for text, n := range got.loose {
		if n > 0 {
			v.wrong++
			v.example("a piece that nobody misses, %d times: %q", n, text)
		}
	}
	for _, w := range got.wrong {
		v.wrong++
		v.example("%s", w)
	}
	return v
}

// judgeLine judges one line, or its first torn bytes.
func (l *ledger) judgeLine(v *verdict, g *generation, id lineID, torn int, got *receipts) {
	size := l.lines.length(id)
	end := size
	if torn >= 0 {
		end = torn
	}
	v.lines++
	v.bytes += int64(end)
	have, doubled := got.of(id, size)
	want := []span{{0, end}}
	if g.copied {
		inFile, _ := l.inFiles.of(id, size)
		if want, _ = merged(inFile); len(want) == 0 {
			if v.between++; len(have) > 0 {
				v.betweenIn++
			} else {
				v.betweenLost += int64(end + 1)
			}
		}
	}
	missing := without(want, have)
	if extra := doubled - g.again*end; extra > 0 {
		v.doubled++
		v.example("doubled: %s, %d bytes of %d", id, extra, end)
	} else if extra < 0 && len(missing) == 0 {
		missing = []span{{0, min(end, -extra)}} // of what an editor has written again
	}
	if len(missing) > 0 && len(got.loose) > 0 {
		missing = l.placed(id, missing, got)
	}
	switch {
	case len(missing) == 0:
		if len(have) > 0 {
			v.found++
		}
	case g.deleted:
		n := int64(bytesOf(missing))
		if torn < 0 {
			n++ // with its newline
		}
		v.unread[genID{id.file, id.gen}] += n
	default:
		v.lost++
		v.lostBytes += int64(bytesOf(missing))
		v.example("lost: %s, %v of %d bytes, %d lines were written", id, missing, end, g.lines)
	}
}

// placed returns which spans are missing though pieces that could not be located
// fill some of them.
func (l *ledger) placed(id lineID, missing []span, got *receipts) (left []span) {
	text := l.lines.add(nil, id)
	for _, s := range missing {
		piece := string(text[s.from:s.to])
		if got.loose[piece] == 0 {
			left = append(left, s)
			continue
		}
		got.loose[piece]--
	}
	return left
}
