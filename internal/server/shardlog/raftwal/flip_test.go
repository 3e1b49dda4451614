package raftwal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
)

// life is a shard's folder with what was acknowledged.
type life struct {
	*rig
	acked []shardlog.Record // by sequence, from 1
	end   uint64            // of lane 1
	last  int               // records of the last write
}

// lived appends some writes of one to three records. The last segment has several.
func lived(t *testing.T, segment, writes int) *life {
	t.Helper()
	l := &life{rig: newRig(t, t.TempDir(), segment)}
	l.opts.reserve = 1 // it is opened thousands of times
	for i := range writes {
		recs := []*shardlog.Record{bulk(16 * (i%3 + 1)), lines(l.end, 1+i%2), bulk(16)}[i%2 : 2+i%2]
		for _, r := range recs {
			if r.Range != nil {
				l.end = r.Range.End
			}
		}
		l.put(recs...)
		l.last = len(recs)
	}
	l.acked = l.all()
	return l
}

func (r *rig) all() []shardlog.Record {
	r.Helper()
	recs, err := r.shard().Read(1, 1<<20, 1<<30)
	r.ok(err)
	return recs
}

// payloads marks the bytes of a segment that belong to what records hold; all
// others are headers, checksums, padding and the index.
func payloads(b []byte) []bool {
	in := make([]bool, len(b))
	for at := fileHeader; at+frameHeader <= len(b); {
		n := int(binary.LittleEndian.Uint32(b[at+4:]))
		switch b[at] {
		case 1:
			for i := range n {
				in[at+frameHeader+i] = true
			}
		case 3:
			n = 0
		}
		at += frameHeader + (n+frameHeader-1)/frameHeader*frameHeader
	}
	return in
}

// verify opens a damaged copy, and says which records are damaged and where the log
// ends. What is not damaged has to be as it was acknowledged.
func (l *life) verify(t *testing.T, what string, c *rig) (damaged []uint64, next uint64) {
	t.Helper()
	sh, err := c.e.Shard(key)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	first, next := sh.Bounds()
	if first != 1 || next > uint64(len(l.acked))+1 {
		t.Fatalf("%s: the log goes from %d to %d", what, first, next)
	}
	for seq := first; seq < next; seq++ {
		recs, err := sh.Read(seq, 1, 1)
		switch {
		case errors.Is(err, shardlog.ErrCorrupt):
			damaged = append(damaged, seq)
		case err != nil || !reflect.DeepEqual(recs[0], l.acked[seq-1]):
			t.Fatalf("%s: record %d: %+v, %v", what, seq, recs, err)
		}
	}
	return damaged, next
}

// goOn appends to a damaged copy and opens it again: compare and append goes on where
// the shard stands, and what was read before is still there.
func (l *life) goOn(t *testing.T, what string, c *rig, damaged []uint64, next uint64) {
	t.Helper()
	at := c.progress()
	res := c.put(lines(at, 3))
	if res[0].Action != delivery.Append || res[0].Seq != next {
		t.Fatalf("%s: behind %d records: %+v", what, next-1, res[0])
	}
	c.reopen()
	whole := &life{rig: l.rig, acked: append(l.acked[:next-1:next-1], *mustRead(t, c, next))}
	if again, n := whole.verify(t, what, c); !reflect.DeepEqual(again, damaged) || n != next+1 || c.progress() != at+30 {
		t.Fatalf("%s: after the next append %v are damaged, before it %v; progress %d, before it %d", what, again, damaged, c.progress(), at)
	}
}

func mustRead(t *testing.T, c *rig, seq uint64) *shardlog.Record {
	t.Helper()
	recs, err := c.shard().Read(seq, 1, 1)
	if err != nil || len(recs) != 1 {
		t.Fatalf("record %d: %v", seq, err)
	}
	return &recs[0]
}

// flips calls f with a copy of the folder for each byte of a file and some changes of it.
func (l *life) flips(t *testing.T, path string, f func(c *rig, at int, mask byte)) {
	t.Helper()
	b, err := os.ReadFile(path)
	l.ok(err)
	rel, err := filepath.Rel(l.dir, path)
	l.ok(err)
	masks := []byte{0x01, 0x02, 0x80, 0xff}
	for at := range b {
		mask := masks[at%len(masks)]
		c := crashed(t, l.rig, func(c *rig) {
			x := bytes.Clone(b)
			x[at] ^= mask
			c.ok(os.WriteFile(filepath.Join(c.dir, rel), x, 0o600))
		})
		f(c, at, mask)
		c.ok(c.e.Close())
		c.ok(os.RemoveAll(c.dir))
	}
}

// TestFlippedByteOfTheNewestSegment: whatever byte it is, the others' records are there
// after the next start, nothing that was acknowledged loses its number, and a header
// that is mended costs no record.
func TestFlippedByteOfTheNewestSegment(t *testing.T) {
	for name, segment := range map[string]int{"one segment": 1 << 20, "after a full one": 600} {
		t.Run(name, func(t *testing.T) {
			l := lived(t, segment, 5)
			l.ok(l.e.Close())
			list := l.segments()
			path := list[len(list)-1]
			b, err := os.ReadFile(path)
			l.ok(err)
			inside := payloads(b)
			l.flips(t, path, func(c *rig, at int, mask byte) {
				what := describe(at, mask)
				damaged, next := l.verify(t, what, c)
				most := 0
				if inside[at] || at%frameHeader == 4 { // a length that is wrong by a few bytes leads to the same next frame
					most = 1
				}
				if len(damaged) > most || next != uint64(len(l.acked))+1 || c.progress() != l.end {
					t.Fatalf("%s: %v of %d records are damaged, the next one is %d, progress %d", what, damaged, len(l.acked), next, c.progress())
				}
				if at%5 == 0 {
					l.goOn(t, what, c, damaged, next)
				}
			})
		})
	}
}

// TestFlippedByteAfterACrash: there is no snapshot, so the last write may as well be one
// that a crash tore. All others are as safe.
func TestFlippedByteAfterACrash(t *testing.T) {
	l := lived(t, 1<<20, 5)
	path := l.segments()[0]
	l.flips(t, path, func(c *rig, at int, mask byte) {
		what := describe(at, mask)
		damaged, next := l.verify(t, what, c)
		all := uint64(len(l.acked)) + 1
		if len(damaged) > 1 || next != all && (next != all-uint64(l.last) || len(damaged) > 0) {
			t.Fatalf("%s: %v of %d records are damaged, the next one is %d", what, damaged, len(l.acked), next)
		}
		if at%5 == 0 {
			l.goOn(t, what, c, damaged, next)
		}
	})
}

func TestFlippedByteOfAFullSegment(t *testing.T) {
	l := lived(t, 600, 7)
	l.ok(l.e.Close())
	path := l.segments()[0]
	b, err := os.ReadFile(path)
	l.ok(err)
	l.flips(t, path, func(c *rig, at int, mask byte) {
		what := describe(at, mask)
		damaged, next := l.verify(t, what, c)
		if len(damaged) > 1 || next != uint64(len(l.acked))+1 || c.progress() != l.end {
			t.Fatalf("%s of %d: %v of %d records are damaged, the next one is %d, progress %d", what, len(b), damaged, len(l.acked), next, c.progress())
		}
		if at%5 == 0 {
			l.goOn(t, what, c, damaged, next)
		}
	})
}

// TestFlippedByteBesideTheSegments: the list of the segments and the snapshot can both be
// made anew. A byte of the list that is no part of what it says may change unnoticed.
func TestFlippedByteBesideTheSegments(t *testing.T) {
	for _, name := range []string{segmentsName, snapshotName} {
		t.Run(name, func(t *testing.T) {
			l := lived(t, 600, 7)
			l.ok(l.e.Close())
			l.flips(t, l.path(name), func(c *rig, at int, mask byte) {
				what := describe(at, mask)
				damaged, next := l.verify(t, what, c)
				if len(damaged) > 0 || next != uint64(len(l.acked))+1 || c.progress() != l.end {
					t.Fatalf("%s: %v of %d records are damaged, the next one is %d, progress %d", what, damaged, len(l.acked), next, c.progress())
				}
				if at%5 == 0 {
					l.goOn(t, what, c, nil, next)
				}
			})
		})
	}
}

func describe(at int, mask byte) string {
	return fmt.Sprintf("byte %d xor %#x", at, mask)
}

// TestDestroyedSectorOfTheNewestSegment: some hundred bytes in the middle are gone. The
// records behind them are still there.
func TestDestroyedSectorOfTheNewestSegment(t *testing.T) {
	l := lived(t, 1<<20, 40)
	l.ok(l.e.Close())
	path := l.segments()[0]
	b, err := os.ReadFile(path)
	l.ok(err)
	for from := fileHeader; from+512 < len(b)-200; from += 72 {
		c := crashed(t, l.rig, func(c *rig) {
			x := bytes.Clone(b)
			clear(x[from : from+512])
			c.ok(os.WriteFile(c.segments()[0], x, 0o600))
		})
		damaged, next := l.verify(t, describe(from, 0), c)
		if len(damaged) == 0 || len(damaged) > 10 || next != uint64(len(l.acked))+1 || c.progress() != l.end {
			t.Fatalf("from %d: %v of %d records are damaged, the next one is %d, progress %d", from, damaged, len(l.acked), next, c.progress())
		}
		l.goOn(t, describe(from, 0), c, damaged, next)
		c.ok(c.e.Close())
	}
}
