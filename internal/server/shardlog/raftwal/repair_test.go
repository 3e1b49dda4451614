package raftwal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"logtail/internal/server/shardlog"
	"logtail/internal/wal"
)

// crashed is a copy of a rig's folder with a change to it, opened as a new one.
func crashed(t *testing.T, r *rig, change func(*rig)) *rig {
	t.Helper()
	c := &rig{TB: t, dir: t.TempDir(), clock: r.clock, opts: r.opts, said: r.said}
	copyTo(t, r.dir, c.dir)
	if change != nil {
		change(c)
	}
	c.open()
	t.Cleanup(func() { _ = c.e.Close() })
	return c
}

func resize(tb testing.TB, path string, change func([]byte) []byte) {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(b), 0o600)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// TestTornWriteIsCutOff cuts the last write at every place, and leaves zeros,
// garbage or nothing in place of the rest.
func TestTornWriteIsCutOff(t *testing.T) {
	for name, rest := range map[string]func([]byte){
		"nothing": nil,
		"zeros":   func(b []byte) { clear(b) },
		"garbage": func(b []byte) {
			if _, err := rand.Read(b); err != nil {
				t.Fatal(err)
			}
		},
		"commit frames": func(b []byte) {
			for i := range b {
				b[i] = []byte{3, 0, 0, 0, 9, 9, 9, 9}[i%8]
			}
		},
		"entry frames": func(b []byte) {
			for i := range b {
				b[i] = []byte{1, 0, 0, 0, 0, 0, 0, 0}[i%8]
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, t.TempDir(), 1<<20)
			r.put(lines(0, 2))
			r.put(lines(20, 1))
			whole, err := os.ReadFile(r.segments()[0])
			r.ok(err)
			r.put(lines(30, 1), lines(40, 2), lines(60, 1)) // one write
			torn, err := os.ReadFile(r.segments()[0])
			r.ok(err)
			for at := len(whole); at < len(torn); at += 8 {
				c := crashed(t, r, func(c *rig) {
					resize(t, c.segments()[0], func(b []byte) []byte {
						if rest == nil {
							return b[:at]
						}
						rest(b[at:])
						return b
					})
				})
				if end, n := c.ends(); end != 30 || n != 2 || c.progress() != 30 {
					t.Fatalf("cut at %d: %d records up to %d, progress %d", at, n, end, c.progress())
				}
				if stat, err := os.Stat(c.segments()[0]); err != nil || stat.Size() != int64(len(whole)) {
					t.Fatalf("cut at %d: the segment has %d bytes, want %d", at, stat.Size(), len(whole))
				}
				c.put(lines(30, 1))
				c = crashed(t, c, nil)
				if end, n := c.ends(); end != 40 || n != 3 {
					t.Fatalf("cut at %d, then written to: %d records up to %d", at, n, end)
				}
				r.ok(c.e.Close())
			}
		})
	}
}

// TestSealedSegmentWithoutSuccessor: raft-wal begins the next segment in the
// background, and a process that ends before that used to leave a log that
// refuses every further write.
func TestSealedSegmentWithoutSuccessor(t *testing.T) {
	r := newRig(t, t.TempDir(), 16<<10)
	r.put(bulk(1 << 10))
	before, err := os.ReadFile(r.path(segmentsName))
	r.ok(err)
	r.put(bulk(20 << 10)) // fills the segment
	r.ok(r.e.Close())
	segment := r.segments()[0]
	for name, change := range map[string]func(*rig){
		"just closed":  func(*rig) {},
		"not listed":   func(c *rig) { c.ok(os.WriteFile(c.path(segmentsName), before, 0o600)) },
		"torn garbage": func(c *rig) { c.ok(os.WriteFile(c.path(segmentsName), before, 0o600)); appendTo(t, c.segments()[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			c := crashed(t, r, func(c *rig) {
				for _, s := range c.segments()[1:] {
					c.ok(os.Remove(s))
				}
				change(c)
			})
			for range 3 {
				if got := c.put(bulk(1 << 10))[0].Seq; got < 3 {
					t.Fatalf("the next record got %d", got)
				}
				c.reopen()
			}
			if _, n := c.ends(); n != 5 {
				t.Fatalf("%d records", n)
			}
			if len(c.segments()) != 2 {
				t.Fatalf("segments %v; want the sealed one %s and another", c.segments(), segment)
			}
		})
	}
}

func appendTo(t *testing.T, path string) {
	t.Helper()
	resize(t, path, func(b []byte) []byte { return append(b, bytes.Repeat([]byte{1, 0, 0, 0, 8}, 50)...) })
}

// TestBeginningTheNextSegmentFails: the error arises in the background of an
// append that succeeded, and comes out with the next one.
func TestBeginningTheNextSegmentFails(t *testing.T) {
	for _, name := range []string{segmentsName, ".wal"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, t.TempDir(), 16<<10)
			r.put(lines(0, 1))
			asked := make(chan struct{}, 100)
			r.fault(nil, nil, func(file string) error {
				if strings.HasSuffix(file, name) {
					asked <- struct{}{}
					return errFull
				}
				return nil
			})
			r.put(bulk(20 << 10))
			<-asked
			if _, err := r.shard().Append(t.Context(), []*shardlog.Record{lines(10, 1)}); !errors.Is(err, shardlog.ErrNoSpace) {
				t.Fatalf("got %v", err)
			}
			if end, n := r.ends(); end != 10 || n != 2 {
				t.Fatalf("%d records up to %d", n, end)
			}
			r.fault(nil, nil, nil)
			r.clock.Move(wal.RetryAfter)
			r.put(lines(10, 1))
			r.reopen()
			if end, n := r.ends(); end != 20 || n != 3 {
				t.Fatalf("%d records up to %d", n, end)
			}
		})
	}
}

// TestWriteThatCannotBeTakenBack: the disk neither takes the write nor lets it be cut off.
// Reading goes on, and the next start decides what the request became: all of
// it or nothing, and the agent's repetition is a duplicate or an append.
func TestWriteThatCannotBeTakenBack(t *testing.T) {
	r := newRig(t, t.TempDir(), 1<<20)
	r.put(lines(0, 1))
	broken := errors.New("the disk is gone")
	r.fault(nil, func(*os.File) error { return broken }, nil)
	path := r.path(segmentsName)
	hidden, err := os.ReadFile(path)
	r.ok(err)
	r.ok(os.WriteFile(path, []byte("unreadable"), 0o600)) // so that opening anew fails
	for i := range 3 {
		if _, err := r.shard().Append(t.Context(), []*shardlog.Record{lines(10, 1)}); err == nil || errors.Is(err, broken) != (i == 0) {
			t.Fatalf("attempt %d: %v", i, err)
		}
		if end, n := r.ends(); end != 10 || n != 1 || r.progress() != 10 {
			t.Fatalf("%d records up to %d, progress %d", n, end, r.progress())
		}
	}
	c := crashed(t, r, func(c *rig) { c.ok(os.WriteFile(c.path(segmentsName), hidden, 0o600)) })
	if end, _ := c.ends(); end != 20 || c.progress() != 20 {
		t.Fatalf("after the crash: up to %d, progress %d", end, c.progress())
	}
	if a := c.put(lines(10, 1))[0].Action; !a.Accepted() {
		t.Fatalf("the repetition: %v", a)
	}
	if end, n := c.ends(); end != 20 || n != 2 {
		t.Fatalf("%d records up to %d", n, end)
	}

	r.ok(os.WriteFile(path, hidden, 0o600)) // without a crash it heals
	r.fault(nil, nil, nil)
	r.clock.Move(wal.RetryAfter)
	r.put(lines(10, 2))
	if end, n := r.ends(); end != 30 || n != 2 {
		t.Fatalf("%d records up to %d", n, end)
	}
}

// TestListOfSegmentsIsMadeAnew: it is damaged or gone, and the segments tell what was in it.
func TestListOfSegmentsIsMadeAnew(t *testing.T) {
	r := newRig(t, t.TempDir(), 16<<10)
	for i := range 5 {
		r.put(bulk(8<<10), lines(uint64(i)*10, 1))
	}
	r.ok(r.e.Close())
	list, err := os.ReadFile(r.path(segmentsName))
	r.ok(err)
	stray := filepath.Join(filepath.Dir(r.path(segmentsName)), "00000000000000000002-0000000000000077.wal")
	for name, change := range map[string]func(c *rig) error{
		"missing": func(c *rig) error { return os.Remove(c.path(segmentsName)) },
		"damaged": func(c *rig) error {
			return os.WriteFile(c.path(segmentsName), bytes.Replace(list, []byte(`BaseIndex":1,`), []byte(`BaseIndex":9,`), 1), 0o600)
		},
		"cut":      func(c *rig) error { return os.WriteFile(c.path(segmentsName), list[:50], 0o600) },
		"nonsense": func(c *rig) error { return os.WriteFile(c.path(segmentsName), []byte(`{"version":1}`), 0o600) },
		"with a file that does not belong there": func(c *rig) error {
			b, err := os.ReadFile(c.segments()[0])
			return errors.Join(err, os.WriteFile(c.path(filepath.Base(stray)), b[:len(b)/2], 0o600), os.Remove(c.path(segmentsName)))
		},
	} {
		c := crashed(t, r, func(c *rig) {
			if len(c.segments()) < 3 {
				t.Fatalf("%d segments", len(c.segments()))
			}
			c.ok(change(c))
		})
		for range 2 {
			if end, n := c.ends(); end != 50 || n != 10 || c.progress() != 50 {
				t.Errorf("%s: %d records up to %d, progress %d", name, n, end, c.progress())
			}
			c.reopen()
		}
		if seq := c.put(lines(50, 1))[0].Seq; seq != 11 || !c.said.has("made anew") {
			t.Errorf("%s: the next record got %d", name, seq)
		}
	}
}

func TestNewerListOfSegmentsIsRefused(t *testing.T) {
	r := newRig(t, t.TempDir(), 16<<10)
	r.put(bulk(1 << 10))
	r.ok(r.e.Close())
	r.ok(os.WriteFile(r.path(segmentsName), []byte(`{"version":2,"checksum":7,"state":{"x":1}}`), 0o600))
	r.open()
	if _, err := r.e.Shard(key); err == nil || !strings.Contains(err.Error(), "version 2") || !strings.Contains(err.Error(), r.path(segmentsName)) {
		t.Errorf("got %v", err)
	}
}

// TestLostRecordsAreNoticed: the end of the log, which was durable, is not
// there any more. The snapshot knows, and the lane goes back to the log.
func TestLostRecordsAreNoticed(t *testing.T) {
	r := newRig(t, t.TempDir(), 1<<20)
	r.put(lines(0, 1))
	short, err := os.ReadFile(r.segments()[0])
	r.ok(err)
	r.put(lines(10, 1))
	r.ok(r.e.Close()) // writes the snapshot
	resize(t, r.segments()[0], func(b []byte) []byte { return append(b[:len(short)+24], 0) })
	for range 2 { // also if the process ends before the next snapshot
		c := crashed(t, r, nil)
		if _, err := c.shard().Read(2, 1, 1); !errors.Is(err, shardlog.ErrCorrupt) || c.progress() != 10 {
			t.Errorf("the lost record: %v; progress %d", err, c.progress())
		}
		if !r.said.has("are lost") || !r.said.has("taken back to the log") {
			t.Error("it was not said")
		}
		if copies, _ := filepath.Glob(c.path("*.damaged")); len(copies) != 1 {
			t.Errorf("copies %v", copies)
		}
		if seq := c.put(lines(10, 3))[0].Seq; seq != 3 {
			t.Errorf("the next record got %d", seq)
		}
		c.reopen()
		if c.progress() != 40 {
			t.Errorf("progress %d", c.progress())
		}
		d := crashed(t, r, nil)
		d.shard()
		r.dir = d.dir // without a snapshot after the loss
	}
}

// TestDamagedRecord: a byte in the middle of a sealed segment is wrong.
func TestDamagedRecord(t *testing.T) {
	r := newRig(t, t.TempDir(), 4<<10)
	for i := range 60 {
		r.put(lines(uint64(i)*10, 1))
		r.put(bulk(256))
	}
	r.ok(r.e.Close())
	r.ok(os.Remove(r.path(snapshotName))) // all has to come from the log
	at := 0
	resize(t, r.segments()[0], func(b []byte) []byte {
		at = bytes.Index(b, []byte("\x02to\x12\x0220")) // in the record of the second line
		if at < 0 {
			t.Fatal("the second line was not found")
		}
		b[at+1] = 'X'
		return b
	})
	r.open()
	s := r.shard()
	if recs, err := s.Read(1, 100, 1<<20); err != nil || len(recs) != 2 {
		t.Fatalf("the records before it: %d, %v", len(recs), err)
	}
	if _, err := s.Read(3, 100, 1<<20); !errors.Is(err, shardlog.ErrCorrupt) || !strings.Contains(err.Error(), "record 3") {
		t.Fatalf("the record itself: %v", err)
	}
	if recs, err := s.Read(4, 100, 1<<20); err != nil || len(recs) != 100 {
		t.Fatalf("the records behind it: %d, %v", len(recs), err)
	}
	if _, err := s.SeekTime(r.clock.Now().UnixNano()); err != nil {
		t.Fatalf("SeekTime: %v", err)
	}
	if r.progress() != 600 || !r.said.has("record=3") {
		t.Errorf("progress %d", r.progress())
	}
}

// TestEveryFlippedByteCostsItsRecordAtMost: whatever byte of a sealed segment
// the disk gets wrong, also one of a length or of the index, records either
// come as they were stored or are ErrCorrupt. Any other error would look like
// a disk that may get better, and stop whoever reads the shard for ever.
func TestEveryFlippedByteCostsItsRecordAtMost(t *testing.T) {
	r := newRig(t, t.TempDir(), 2<<10)
	for i := range 40 {
		r.put(lines(uint64(i)*10, 1))
	}
	s := r.shard()
	want, err := s.Read(1, 100, 1<<20)
	r.ok(err)
	if len(r.segments()) < 3 {
		t.Fatalf("%d segments", len(r.segments()))
	}
	file, err := os.OpenFile(r.segments()[0], os.O_RDWR, 0)
	r.ok(err)
	defer file.Close()
	stat, err := file.Stat()
	r.ok(err)
	var b [1]byte
	for at := range stat.Size() {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			_, err := file.ReadAt(b[:], at)
			r.ok(err)
			was := b[0]
			b[0] ^= flip
			_, err = file.WriteAt(b[:], at)
			r.ok(err)
			for seq := uint64(1); seq <= 10; seq++ {
				recs, err := s.Read(seq, 1, 1)
				if err == nil && !bytes.Equal(recs[0].Data, want[seq-1].Data) || err != nil && !errors.Is(err, shardlog.ErrCorrupt) {
					t.Fatalf("byte %d of %d xor %#x: record %d: %v", at, stat.Size(), flip, seq, err)
				}
			}
			b[0] = was
			_, err = file.WriteAt(b[:], at)
			r.ok(err)
		}
	}
}
