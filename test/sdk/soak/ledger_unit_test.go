//go:build linux

package soak

import "testing"

// TestTheLedgerFindsEveryViolation feeds receipts with what must be noticed.
func TestTheLedgerFindsEveryViolation(t *testing.T) {
	m := lineMaker{Seed: 5}
	text := func(n int) []byte { return m.add(nil, lineID{1, 1, n}) }
	long := 0 // a line of several blocks
	for m.length(lineID{1, 1, long}) < 3*blockBytes {
		long++
	}
	const lines = 40
	for _, c := range []struct {
		name   string
		give   func(take func([]byte), all func(but ...int))
		ledger func(l *ledger)
		want   verdict
	}{
		{name: "all once", give: func(_ func([]byte), all func(...int)) { all() }, want: verdict{found: lines}},
		{name: "in parts", give: func(take func([]byte), all func(...int)) {
			all(long)
			take(text(long)[blockBytes:])
			take(text(long)[:blockBytes])
		}, want: verdict{found: lines}},
		{name: "a part too short to be located", give: func(take func([]byte), all func(...int)) {
			all(long)
			take(text(long)[:blockBytes+5])
			take(text(long)[blockBytes+5 : blockBytes+15])
			take(text(long)[blockBytes+15:])
		}, want: verdict{found: lines}},
		{name: "one is missing", give: func(_ func([]byte), all func(...int)) { all(3) }, want: verdict{found: lines - 1, lost: 1}},
		{name: "a part is missing", give: func(take func([]byte), all func(...int)) {
			all(long)
			take(text(long)[blockBytes:])
		}, want: verdict{found: lines - 1, lost: 1}},
		{name: "one is doubled", give: func(take func([]byte), all func(...int)) {
			all()
			take(text(7))
		}, want: verdict{found: lines, doubled: 1}},
		{name: "a part is doubled", give: func(take func([]byte), all func(...int)) {
			all()
			take(text(long)[blockBytes:])
		}, want: verdict{found: lines, doubled: 1}},
		{
			name: "written again by an editor", give: func(take func([]byte), all func(...int)) {
				all(9)
				all(9)
				take(text(9))
			},
			ledger: func(l *ledger) { l.change(genID{1, 1}, "edited", func(g *generation) { g.again = 1 }) },
			want:   verdict{found: lines - 1, lost: 1},
		},
		{name: "one is damaged", give: func(take func([]byte), all func(...int)) {
			all(7)
			b := text(7)
			b[30] ^= 2
			take(b)
		}, want: verdict{found: lines - 1, lost: 1, wrong: 1}},
		{name: "nobody wrote it", give: func(take func([]byte), all func(...int)) {
			all()
			take(text(lines + 3))
		}, want: verdict{found: lines, wrong: 1}},
		{name: "text of others", give: func(take func([]byte), all func(...int)) {
			all()
			take([]byte("hello"))
		}, want: verdict{found: lines, wrong: 1}},
		{
			name: "between copy and truncate", give: func(_ func([]byte), all func(...int)) { all(11) },
			ledger: func(l *ledger) {
				l.change(genID{1, 1}, "copied", func(g *generation) { g.copied = true })
				for n := range lines {
					if n != 10 && n != 11 {
						l.inFiles.take(text(n))
					}
				}
			}, want: verdict{found: lines - 1, between: 2, betweenIn: 1},
		},
		{
			name: "in a copy and lost", give: func(_ func([]byte), all func(...int)) { all(11) },
			ledger: func(l *ledger) {
				l.change(genID{1, 1}, "copied", func(g *generation) { g.copied = true })
				for n := range lines {
					l.inFiles.take(text(n))
				}
			}, want: verdict{found: lines - 1, lost: 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, got := newLedger(m), newReceipts(m)
			l.wrote(1, told{Gen: 1, Lines: lines})
			if c.ledger != nil {
				c.ledger(l)
			}
			c.give(func(b []byte) { got.take(b) }, func(but ...int) {
				for n := range lines {
					if len(but) == 0 || but[0] != n {
						got.take(text(n))
					}
				}
			})
			v := l.judge("store", map[int]bool{1: true}, got)
			if v.found != c.want.found || v.lost != c.want.lost || v.doubled != c.want.doubled || v.wrong != c.want.wrong ||
				v.between != c.want.between || v.betweenIn != c.want.betweenIn {
				t.Errorf("found %d, lost %d, doubled %d, wrong %d, between %d, of these delivered %d; want %+v\n%v",
					v.found, v.lost, v.doubled, v.wrong, v.between, v.betweenIn, c.want, v.examples)
			}
		})
	}
}

func TestALineBehindALaterOneOfItsFileIsOutOfOrder(t *testing.T) {
	l := newLedger(lineMaker{})
	l.change(genID{1, 1}, "copied", func(g *generation) { g.cuts = []int{10} })
	o := &inOrder{ledger: l, last: map[orderKey]int{}}
	for _, n := range []int{1, 2, 12, 5, 13} { // 12 begins another file for the agent
		o.see(0, lineID{1, 1, n})
	}
	o.see(1, lineID{1, 1, 3}) // another shard
	if o.wrong != 0 {
		t.Errorf("%d out of order: %v", o.wrong, o.examples)
	}
	o.see(0, lineID{1, 1, 4})
	if o.wrong != 1 {
		t.Errorf("%d out of order, want 1", o.wrong)
	}
}
