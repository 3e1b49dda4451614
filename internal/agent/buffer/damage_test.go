package buffer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"logtail/internal/wal"
)

// filled is a rig with n records of lane 1 in some files, closed.
func filled(t *testing.T, n, size int) *rig {
	t.Helper()
	r := newRig(t)
	for i := range n {
		r.put(rec(1, i, size))
	}
	r.ok(r.b.Close())
	return r
}

// found reads what the buffer has of lane 1; the test fails if a record is not as it was put.
func (r *rig) found(size int) (list []int) {
	r.Helper()
	for _, it := range r.b.Take(lane(1)) {
		n := int(it.Start / 1000)
		if _, err := r.b.Load(it.Seq); errors.Is(err, ErrGone) {
			continue
		}
		r.same(it, rec(1, n, size))
		list = append(list, n)
	}
	return list
}

func TestDamageCostsWhatItHits(t *testing.T) {
	const n = 30 // 8 in a file
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 0x20; return b }
	}
	for name, c := range map[string]struct {
		change func(r *rig, files []string)
		lost   int
		aside  bool // something is kept for the operator
	}{
		"a byte of a record":             {func(r *rig, f []string) { r.change(f[1], flip(500)) }, 1, false},
		"a byte of the last record":      {func(r *rig, f []string) { r.change(f[3], func(b []byte) []byte { return flip(len(b) - 300)(b) }) }, 1, true},
		"a byte of a head":               {func(r *rig, f []string) { r.change(f[1], flip(45)) }, 1, false},
		"a length":                       {func(r *rig, f []string) { r.change(f[1], flip(32+4)) }, 1, false},
		"a length in the last file":      {func(r *rig, f []string) { r.change(f[3], flip(32+4)) }, 1, true},
		"the header of a file":           {func(r *rig, f []string) { r.change(f[1], flip(9)) }, 0, false},
		"the header of the last file":    {func(r *rig, f []string) { r.change(f[3], flip(9)) }, 0, false},
		"a file is gone":                 {func(r *rig, f []string) { r.ok(os.Remove(f[1])) }, 8, false},
		"two files are gone":             {func(r *rig, f []string) { r.ok(os.Remove(f[0])); r.ok(os.Remove(f[2])) }, 16, false},
		"a file is empty":                {func(r *rig, f []string) { r.change(f[1], func([]byte) []byte { return nil }) }, 8, true},
		"a file is cut":                  {func(r *rig, f []string) { r.change(f[1], func(b []byte) []byte { return b[:3000] }) }, 6, true},
		"a file is zeros from somewhere": {func(r *rig, f []string) { r.change(f[1], func(b []byte) []byte { clear(b[3000:]); return b }) }, 8, false},
		"the end of the last is torn":    {func(r *rig, f []string) { r.change(f[3], func(b []byte) []byte { return b[:len(b)-300] }) }, 1, false},
		"the last file is gone":          {func(r *rig, f []string) { r.ok(os.Remove(f[3])) }, 6, false},
		"garbage at the end": {func(r *rig, f []string) {
			r.change(f[3], func(b []byte) []byte { return append(b, "garbage garbage"...) })
		}, 0, false},
		"the list is gone":    {func(r *rig, _ []string) { r.ok(os.Remove(filepath.Join(r.dir, "segments.json"))) }, 0, false},
		"the list is damaged": {func(r *rig, _ []string) { r.change(filepath.Join(r.dir, "segments.json"), flip(50)) }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := filled(t, n, 1000)
			c.change(r, r.files("*.wal"))
			r.open()
			got := r.found(1000)
			if len(got) != n-c.lost || !slices.IsSorted(got) {
				t.Errorf("%d of %d are left, in this order: %v", len(got), n, got)
			}
			if s := r.b.Stats(); s.LostRecords != c.lost || s.Records != len(got) {
				t.Errorf("%+v, want %d lost", s, c.lost)
			}
			if c.lost > 0 && !r.told(AlarmDiscard, fmt.Sprint(r.dir)) {
				t.Error("it was not told")
			}
			r.quiet()
			if aside := r.files("*" + asideSuffix + "*"); len(aside) > 0 && !c.aside && !strings.Contains(aside[0], "segments.json") {
				t.Errorf("left on the disk: %v", aside)
			} else if c.aside && (len(aside) != 1 || !strings.HasSuffix(aside[0], fmt.Sprint(".damaged-", r.now.Unix()))) {
				t.Errorf("put aside: %v", aside)
			}
			r.put(rec(1, n, 1000))
			r.reopen()
			if again := r.found(1000); len(again) != len(got)+1 {
				t.Errorf("after another start: %v", again)
			}
		})
	}
}

// TestEveryFlippedByteCostsItsRecordAtMost: of whatever file of the buffer but
// the key, and the others come in order.
func TestEveryFlippedByteCostsItsRecordAtMost(t *testing.T) {
	const n = 40
	r := newRig(t)
	r.ok(r.b.Close())
	r.opts.FileBytes = 4 << 10
	r.open()
	for i := range n / 2 {
		r.put(rec(1, 2*i, 20), rec(1, 2*i+1, 20))
	}
	r.ok(r.b.Close())
	for _, path := range r.files("*") {
		name := filepath.Base(path)
		good, err := os.ReadFile(path)
		r.ok(err)
		if name == keyName || name == reserveName || len(good) == 0 {
			continue
		}
		for at := 0; at < len(good); at += 7 {
			c := rigIn(t, t.TempDir())
			c.opts.FileBytes = r.opts.FileBytes
			r.ok(os.CopyFS(c.dir, os.DirFS(r.dir)))
			c.change(filepath.Join(c.dir, name), func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b })
			b, err := Open(c.opts)
			if err != nil {
				var newer *wal.VersionError // the list's version, whose checksum is of the rest
				if errors.As(err, &newer) {
					continue
				}
				t.Fatalf("%s, byte %d of %d: %v", name, at, len(good), err)
			}
			c.b = b
			got := c.found(20)
			if s := c.b.Stats(); len(got) < n-1 || len(got)+s.LostRecords != n || !slices.IsSorted(got) {
				t.Fatalf("%s, byte %d of %d: %d of %d are left, %d told: %v %v", name, at, len(good), len(got), n, s.LostRecords, got, c.alarms)
			}
			r.ok(c.b.Close())
		}
	}
}

func TestKeyIsLost(t *testing.T) {
	for name, change := range map[string]func(r *rig, path string){
		"gone":    func(r *rig, path string) { r.ok(os.Remove(path)) },
		"damaged": func(r *rig, path string) { r.change(path, func(b []byte) []byte { b[30] ^= 1; return b }) },
		"empty":   func(r *rig, path string) { r.change(path, func([]byte) []byte { return nil }) },
		"another": func(r *rig, path string) {
			r.ok(os.Remove(path))
			_, err := makeKey(nil, r.dir)
			r.ok(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := filled(t, 30, 1000)
			logs := 0
			for n := range 30 {
				x := rec(1, n, 1)
				logs += x.Logs
			}
			path := filepath.Join(r.dir, keyName)
			before, err := os.ReadFile(path)
			r.ok(err)
			had := len(r.files("*.wal"))
			change(r, path)
			r.open()
			stamp := fmt.Sprint(".damaged-", r.now.Unix())
			if s := r.b.Stats(); s.Records != 0 || s.LostRecords != 30 || s.LostLogs != logs {
				t.Errorf("%+v; %d logs were there", s, logs)
			}
			if !r.told(AlarmDiscard, "30 records", fmt.Sprintf("%d logs", logs), stamp, "key") {
				t.Error("it was not told with its counts")
			}
			if n := len(r.files("*.wal" + stamp)); n != had {
				t.Errorf("%d of %d files were put aside", n, had)
			}
			it := r.put(rec(1, 1, 10))[0]
			r.same(it, rec(1, 1, 10))
			r.reopen()
			if got := r.found(10); len(got) != 1 {
				t.Errorf("after another start: %v", got)
			}
			r.quiet()

			// With the key, what was put aside can be read: nothing is destroyed.
			c := rigIn(t, t.TempDir())
			for _, path := range r.files("*" + stamp) {
				b, err := os.ReadFile(path)
				r.ok(err)
				r.ok(os.WriteFile(filepath.Join(c.dir, strings.TrimSuffix(filepath.Base(path), stamp)), b, 0o600))
			}
			r.ok(os.WriteFile(filepath.Join(c.dir, keyName), before, 0o600))
			c.open()
			if got := c.found(1000); len(got) != 30 {
				t.Errorf("with the old key: %v", got)
			}
		})
	}
}

func TestKeyIsLostOfAnEmptyBuffer(t *testing.T) {
	r := newRig(t)
	r.b.Done(r.put(rec(1, 1, 10))[0].Seq)
	r.ok(r.b.Close())
	r.ok(os.Remove(filepath.Join(r.dir, keyName)))
	r.open()
	r.quiet()
	r.put(rec(1, 1, 10))
	r.reopen()
	if got := r.found(10); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// TestOnlyTheLastDamageIsKept: or it would fill the disk.
func TestOnlyTheLastDamageIsKept(t *testing.T) {
	r := filled(t, 10, 100)
	for range 3 {
		r.ok(os.Remove(filepath.Join(r.dir, keyName)))
		r.wait(time.Minute)
		r.open()
		if n := len(r.files("*.wal" + asideMark + "*")); n != 1 {
			t.Errorf("%d damaged files", n)
		}
		if !r.told(AlarmDiscard) {
			t.Error("it was not told")
		}
		r.put(rec(1, 1, 100))
		r.ok(r.b.Close())
	}
}

func TestNewerFormatsAreRefused(t *testing.T) {
	for name, change := range map[string]func(r *rig){
		"key": func(r *rig) {
			r.ok(os.WriteFile(filepath.Join(r.dir, keyName), []byte("logtail-buffer-key 2 abc "+lineSum("key", 2, "abc")), 0o600))
		},
		"list": func(r *rig) {
			r.ok(os.WriteFile(filepath.Join(r.dir, "segments.json"), []byte(`{"version":9}`), 0o600))
		},
		"record": func(r *rig) {
			r.change(r.files("*.wal")[1], func(b []byte) []byte {
				at := bytes.Index(b, append([]byte{recordVersion}, sumOf(b)...))
				if at < 0 {
					t.Fatal("no head was found")
				}
				head := b[at : at+int(b[at-1])]
				head[0]++
				binary.LittleEndian.PutUint32(head[1:], headSum(head))
				return b
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := filled(t, 30, 1000)
			had := r.files("*.wal")
			change(r)
			for range 2 {
				var newer *wal.VersionError
				if _, err := Open(r.opts); !errors.As(err, &newer) || !strings.Contains(err.Error(), "newer program") || !strings.Contains(err.Error(), r.dir) {
					t.Fatalf("got %v", err)
				}
			}
			if got := r.files("*.wal"); !slices.Equal(got, had) {
				t.Errorf("files were put aside: %v", got)
			}
			r.quiet()
		})
	}
}

// sumOf finds the first head of a segment and returns its checksum.
func sumOf(b []byte) []byte {
	const at = 32 + 8 + 3 // file header, frame header; number, term and type of one byte each
	n := int(b[at])
	return b[at+1:][1:headPrefix:n]
}

// TestFolderIsRemoved: somebody clears the folder of a running agent. What Put returns is
// durable again, and what was there is told.
func TestFolderIsRemoved(t *testing.T) {
	for name, c := range map[string]struct {
		remove func(r *rig)
		lost   int
	}{
		"all of it":      {func(r *rig) { r.ok(os.RemoveAll(r.dir)) }, 20},
		"the last file":  {func(r *rig) { r.ok(os.Remove(r.files("*.wal")[2])) }, 20},
		"all but a list": {func(r *rig) { r.ok(os.RemoveAll(r.dir)); r.ok(os.Mkdir(r.dir, 0o700)) }, 20},
		"another file":   {func(r *rig) { r.ok(os.Remove(r.files("*.wal")[1])) }, 8},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			var items []Item
			for n := range 20 {
				items = append(items, r.put(rec(1, n, 1000))...)
			}
			c.remove(r)
			var now []Item
			for n := range 3 {
				if list, err := r.b.Put([]Record{rec(2, n, 10)}); err == nil {
					now = append(now, list...)
				}
			}
			if len(now) < 2 {
				t.Fatal("it does not heal")
			}
			for n, it := range now {
				r.same(it, rec(2, n+3-len(now), 10))
			}
			gone := 0
			for _, it := range items {
				if _, err := r.b.Load(it.Seq); errors.Is(err, ErrGone) {
					gone++
				}
			}
			if s := r.b.Stats(); s.LostRecords != c.lost || gone != c.lost {
				t.Errorf("%+v, %d are gone", s, gone)
			}
			if !r.told(AlarmDiscard) {
				t.Error("it was not told")
			}
			r.reopen()
			if list := r.b.Take(lane(2)); len(list) != len(now) {
				t.Errorf("%d of %d are there after a restart", len(list), len(now))
			}
		})
	}
}
