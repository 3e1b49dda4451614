package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"logtail/internal/delivery"
)

// moment is a state's file and content between two commits.
type moment struct {
	file    []byte
	content string
}

// script lives the life of a state: streams come, move, and go, in commits of
// one to many, with sequence numbers and tombstones in between. It returns the
// moments before the first commit and after each one, and every version of
// every stream that was ever committed.
func script(t *testing.T, commits int, r *rand.Rand) (moments []moment, ever map[string]bool) {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	ever = map[string]bool{}
	look := func() {
		b, err := os.ReadFile(stateFile(dir))
		if err != nil {
			t.Fatal(err)
		}
		moments = append(moments, moment{b, all(t, s)})
	}
	look()
	var live []Stream
	for i := range commits {
		c := Change{Now: int64(1000 + i), Scanned: []string{fmt.Sprint("pipeline-", i%7)}}
		for range r.IntN(60) {
			st := Stream{Pipeline: "p", Path: strings.Repeat("/folder", r.IntN(30)), Dev: 1, Inode: r.Uint64(), Seen: int64(i)}
			for j := range st.ID {
				st.ID[j] = byte(r.Uint32())
			}
			live = append(live, st)
		}
		for j := range live {
			if r.IntN(4) == 0 || live[j].Seen == int64(i) {
				live[j].High += uint64(r.IntN(5000))
				c.Put = append(c.Put, live[j])
				ever[version1(&live[j])] = true
			}
		}
		for len(live) > 80 {
			c.Delete = append(c.Delete, live[0].ID)
			live = live[1:]
		}
		c.PutTombs = []Tomb{{Pipeline: "p", Head: uint64(i), At: c.Now}}
		var err error
		if r.IntN(3) == 0 {
			err = s.PutSeq(map[delivery.LaneID]Seq{{byte(r.IntN(9))}: {Next: uint64(i)}})
		} else {
			err = s.Commit(c)
		}
		if err != nil {
			t.Fatal(err)
		}
		look()
	}
	return moments, ever
}

func version1(st *Stream) string {
	b, _ := json.Marshal(st)
	return st.ID.String() + string(b)
}

// opens puts a file into a new folder and opens it.
func opens(t *testing.T, file []byte) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(stateFile(dir), file, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, dir), dir
}

// changed returns the pages, other than meta pages, that differ, and the meta page that does.
func changed(before, after []byte, size int) (pages []int, meta int) {
	meta = -1
	for i := 0; i*size < len(after); i++ {
		a := after[i*size : (i+1)*size]
		if i*size < len(before) && bytes.Equal(before[i*size:(i+1)*size], a) {
			continue
		}
		if i < 2 {
			meta = i
		} else {
			pages = append(pages, i)
		}
	}
	return pages, meta
}

// written is the file before a commit with some of its writes done: the first
// n bytes of each of the given pages.
func written(before, after []byte, size int, pages map[int]int) []byte {
	file := make([]byte, len(after)) // bbolt makes the file longer before anything is written
	copy(file, before)
	for p, n := range pages {
		copy(file[p*size:p*size+n], after[p*size:])
	}
	return file
}

// A stop at each write and at each sync of a commit: pages are written in any
// order until the first sync, and the meta page only after it.
func TestAStopInTheMiddleOfACommitLeavesTheStateBeforeOrAfterIt(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	size := os.Getpagesize()
	moments, _ := script(t, 12, r)
	opened, torn := 0, 0
	is := func(what string, file []byte, want ...string) *Store {
		t.Helper()
		opened++
		s, dir := opens(t, file)
		o := s.Opened()
		if o.Aside != "" {
			t.Fatalf("%s: %s", what, o.Alarm())
		}
		got := all(t, s)
		if !slices.Contains(want, got) {
			t.Fatalf("%s: the state is neither that before the commit nor that after it", what)
		}
		if opened%10 == 0 { // and it can be written
			if err := s.Commit(Change{Scanned: []string{"later"}}); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			got := all(t, s)
			s.Close()
			if again := open(t, dir); all(t, again) != got {
				t.Fatalf("%s: a commit after it is lost", what)
			}
		}
		s.Close()
		return s
	}
	for i := 1; i < len(moments); i++ {
		before, after := moments[i-1], moments[i]
		pages, meta := changed(before.file, after.file, size)
		if meta < 0 || len(pages) == 0 {
			t.Fatalf("commit %d: %d pages and meta page %d changed", i, len(pages), meta)
		}
		some := map[int]int{}
		is("nothing but the size", written(before.file, after.file, size, some), before.content)
		for _, p := range pages { // in their order, each torn first
			some[p] = 512 * (1 + r.IntN(size/512-1))
			is("a torn page", written(before.file, after.file, size, some), before.content)
			some[p] = size
			is("some pages", written(before.file, after.file, size, some), before.content)
		}
		for range 5 { // in any order
			some := map[int]int{}
			for _, p := range pages {
				some[p] = r.IntN(3) * size / 2
			}
			is("any pages", written(before.file, after.file, size, some), before.content)
		}
		for n := 0; n <= pageHeader+metaBytes; n += 1 + r.IntN(8) {
			some[meta] = n
			s := is("a torn meta page", written(before.file, after.file, size, some), before.content, after.content)
			if s.Opened().Stepped {
				torn++
			}
		}
		some[meta] = size
		is("all of it", written(before.file, after.file, size, some), after.content)
	}
	if torn == 0 {
		t.Error("no torn meta page was told")
	}
	t.Logf("%d files opened", opened)
}

// damages are ways in which a file gets damaged on the disk. They return what they did.
var damages = []func(r *rand.Rand, file, older []byte, size int) string{
	func(r *rand.Rand, file, _ []byte, _ int) string { // a bit
		at, bit := r.IntN(len(file)), r.IntN(8)
		file[at] ^= 1 << bit
		return fmt.Sprintf("bit %d of byte %d", bit, at)
	},
	func(r *rand.Rand, file, _ []byte, size int) string { // a bit of a page's header or its first elements
		at := r.IntN(len(file)/size)*size + r.IntN(128)
		file[at] ^= 1 << r.IntN(8)
		return fmt.Sprintf("byte %d of page %d", at%size, at/size)
	},
	func(r *rand.Rand, file, _ []byte, _ int) string { // a sector of zeros
		at := r.IntN(len(file)/512) * 512
		clear(file[at : at+512])
		return fmt.Sprintf("zeros at %d", at)
	},
	func(r *rand.Rand, file, _ []byte, size int) string { // a page full of noise
		at := r.IntN(len(file)/size) * size
		for i := range size {
			file[at+i] = byte(r.Uint32())
		}
		return fmt.Sprintf("noise in page %d", at/size)
	},
	func(r *rand.Rand, file, older []byte, size int) string { // a write that was lost
		pages, _ := changed(older, file, size)
		if len(pages) == 0 {
			return "all pages as they were before"
		}
		p := pages[r.IntN(len(pages))]
		clear(file[p*size : (p+1)*size])
		if p*size < len(older) {
			copy(file[p*size:], older[p*size:(p+1)*size])
		}
		return fmt.Sprintf("page %d as it was before", p)
	},
	func(r *rand.Rand, file, _ []byte, size int) string { // a write that went astray
		from, to := r.IntN(len(file)/size)*size, r.IntN(len(file)/size)*size
		copy(file[to:to+size], file[from:])
		return fmt.Sprintf("page %d at page %d", from/size, to/size)
	},
}

// Whatever happens to a file: it opens, and either what is in it is what was
// committed last, or it is told.
func TestADamagedFileIsNeverTakenForAWholeOne(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	size := os.Getpagesize()
	moments, ever := script(t, 12, r)
	older, last := moments[len(moments)-2], moments[len(moments)-1]
	count := 180
	if testing.Short() {
		count = 60
	}
	told, whole, lost, streams := 0, 0, 0, 0
	for i := range count {
		file, what := bytes.Clone(last.file), ""
		for range 1 + r.IntN(1+i%3) {
			what += damages[i%len(damages)](r, file, older.file, size) + "; "
		}
		if i%25 == 24 {
			file = file[:r.IntN(len(file))]
			what = fmt.Sprintf("cut off at %d", len(file))
		}
		s, dir := opens(t, file)
		o := s.Opened()
		c, err := s.Read()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for j := range c.Streams {
			if !ever[version1(&c.Streams[j])] {
				t.Fatalf("%s: the stream %+v was never committed", what, c.Streams[j])
			}
		}
		streams += len(c.Streams)
		switch got := all(t, s); {
		case o.Stepped && o.Aside == "":
			if got != last.content && got != older.content {
				t.Fatalf("%s: it is neither the last commit nor the one before", what)
			}
		case o.Alarm() == "" && len(file) > 0:
			if whole++; got != last.content {
				t.Fatalf("%s: it is not what was committed last, and nothing is said of it", what)
			}
		case o.Aside != "":
			if told++; o.LostRecords != 0 {
				lost++
			} else if o.Older == 0 && !o.Stepped && got != last.content {
				t.Fatalf("%s: something is lost in silence: %s", what, o.Alarm())
			}
		}
		if err := s.Commit(Change{Scanned: []string{"later"}}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		s.Close()
		if s = open(t, dir); s.Opened().Alarm() != "" { // healed for good
			t.Fatalf("%s: at the next opening: %s", what, s.Opened().Alarm())
		}
		s.Close()
	}
	t.Logf("%d files: %d were told, in %d something was lost, %d were whole; %d streams each", count, told, lost, whole, streams/count)
	if told == 0 || whole == 0 || lost == 0 || lost == told {
		t.Error("the damages are one-sided")
	}
}

func TestAStopInTheMiddleOfHealingIsFinishedAndTold(t *testing.T) {
	dir, _ := lived(t, 100)
	edit(t, dir, func(b []byte) []byte { clear(b[:2*os.Getpagesize()]); return b })
	damaged, err := os.ReadFile(stateFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	want, report := all(t, s), s.Opened()
	s.Close()
	healed, err := os.ReadFile(stateFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		files map[string][]byte
	}{
		{"while the new file is written", map[string][]byte{fileName: damaged, newName: healed[:len(healed)/2]}},
		{"when it is written", map[string][]byte{fileName: damaged, newName: healed}},
		{"when the damaged one is put aside", map[string][]byte{filepath.Base(report.Aside): damaged, newName: healed}},
		{"at the end", map[string][]byte{filepath.Base(report.Aside): damaged, fileName: healed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, b := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, dir)
			if got := all(t, s); got != want {
				t.Error("other records were saved")
			}
			if o := s.Opened(); o.Salvaged != report.Salvaged || o.Aside == "" || o.Alarm() == "" {
				t.Errorf("told %+v", o)
			}
			if _, err := os.Stat(filepath.Join(dir, newName)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file in the making is still there: %v", err)
			}
		})
	}
}

func TestAStopAtTheFirstStartIsNoDamage(t *testing.T) {
	whole := t.TempDir()
	open(t, whole).Close()
	b, err := os.ReadFile(stateFile(whole))
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]map[string][]byte{
		"nothing written": {fileName: nil},
		"half written":    {newName: b[:len(b)/2]},
		"not renamed":     {newName: b},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for name, b := range files {
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, dir)
			if c, err := s.Read(); err != nil || len(c.Streams)+len(c.Scanned) != 0 || s.Opened().Alarm() != "" {
				t.Errorf("%+v, %v, %q", c, err, s.Opened().Alarm())
			}
		})
	}
}

// FuzzCheck: a file that is found whole can be given to bbolt, and no file,
// whatever is in it, ends the process.
func FuzzCheck(f *testing.F) {
	dir := f.TempDir()
	s, err := Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	c, seq := example(40)
	if err := errors.Join(s.Commit(c), s.PutSeq(seq), s.Close()); err != nil {
		f.Fatal(err)
	}
	file, err := os.ReadFile(stateFile(dir))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{}, 0)
	f.Add(uint32(16), []byte{1}, 0)
	f.Add(uint32(4096*3), make([]byte, 300), 0)
	f.Add(uint32(9000), []byte("x"), 5000)
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, cut int) {
		file := bytes.Clone(file)
		if cut > 0 && cut < len(file) {
			file = file[:len(file)-cut]
		}
		if int(at) < len(file) {
			copy(file[at:], patch)
		}
		v := check(bytes.NewReader(file), int64(len(file)))
		saved := salvage(bytes.NewReader(file), int64(len(file)))
		if len(v.faults) > 0 {
			return
		}
		if saved.missing != 0 {
			t.Fatalf("found whole, but %d records are missing", saved.missing)
		}
		path := filepath.Join(t.TempDir(), fileName)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatalf("found whole, but %v", err)
		}
		defer db.Close()
		if v.torn { // bbolt's check reads also the meta page that it does not use
			return
		}
		if err := db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				t.Errorf("found whole, but %v", err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
