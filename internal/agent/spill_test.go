package agent

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"logtail/internal/agent/send"
)

// second gives the fixture's pipeline a second logstore.
func (f *fixture) second() *logstore {
	other := newLogstore()
	flusher := f.pipeline().Flushers[0]
	sls := *flusher.SLS
	sls.Logstore, flusher.SLS, flusher.Name = "second", &sls, "second"
	f.also = append(f.also, flusher)
	f.service = func(k destKey) send.Transport {
		if k.logstore == "second" {
			return other
		}
		return f.store
	}
	return other
}

// long lines make megabytes quickly, also compressed.
func long(prefix string, from, to int) []string {
	r := rand.New(rand.NewPCG(uint64(from), uint64(to)))
	var noise [1500]byte
	l := numbered(prefix, from, to)
	for i := range l {
		for k := range noise {
			noise[k] = byte(r.Uint32())
		}
		l[i] += fmt.Sprintf(" %x", noise[:])
	}
	return l
}

func (f *fixture) remove(name string) {
	f.t.Helper()
	if err := os.Remove(f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

func TestADeletedFileGoesToTheDiskBufferWhileItsDestinationIsAway(t *testing.T) {
	f := newFixture(t)
	a := f.known()
	f.store.change(func() { f.store.down = true })
	want := long("deleted", 0, 3000)
	f.append("a.log", want...)
	until(t, "the file is open", func() bool { s := f.at(a, "a.log"); return s != nil && !s.closed() })
	f.remove("a.log")
	until(t, "all of it is in the buffer", func() bool { return a.buffer.Stats().Logs == len(want) })
	f.stop()
	f.append("b.log", "meanwhile")
	f.start()
	f.store.change(func() { f.store.down = false })
	want = append(want, "first", "meanwhile")
	f.store.await(t, want...)
	f.append("c.log", "at last")
	f.store.await(t, append(want, "at last")...)
}

func TestWhatIsLeftOfADeletedFileIsSavedWhenTheAgentStops(t *testing.T) {
	f := newFixture(t)
	a := f.known()
	f.store.change(func() { f.store.down = true })
	want := long("deleted", 0, 6000)
	f.append("a.log", want...)
	until(t, "the file is open", func() bool { s := f.at(a, "a.log"); return s != nil && !s.closed() })
	f.remove("a.log")
	f.stop() // at once
	f.store.down = false
	a = f.start()
	f.store.await(t, append(want, "first")...)
	if lost := a.Summary().LostBytes; lost != 0 {
		t.Errorf("%d bytes are counted as lost", lost)
	}
}

func TestADestinationThatIsAwayHoldsUpNoOther(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			f := newFixture(t)
			other := f.second()
			a := f.known()
			other.await(t, "first")
			want := []string{"first"}
			other.change(func() { other.down = true })
			for round := range 4 {
				lines := long(fmt.Sprint("round ", round), 0, 1500) // 6 MB: more than a lane holds in memory
				f.append("a.log", lines...)
				f.append(fmt.Sprint(round, ".log"), "short "+fmt.Sprint(round))
				want = append(append(want, lines...), "short "+fmt.Sprint(round))
				f.store.await(t, want...)
				if restart {
					f.stop()
					a = f.start()
				}
			}
			if a.buffer.Stats().Records == 0 && !restart {
				t.Error("nothing is in the buffer")
			}
			other.change(func() { other.down = false })
			other.await(t, want...)
			f.append("last.log", "last")
			want = append(want, "last")
			other.await(t, want...)
			f.store.await(t, want...)
			until(t, "the buffer is empty", func() bool { return a.buffer.Stats().Records == 0 })
			of := func(s *logstore) (lines []string) {
				s.change(func() {
					for _, l := range s.lines {
						if strings.HasPrefix(l, "round") {
							lines = append(lines, l)
						}
					}
				})
				return lines
			}
			if !slices.IsSorted(of(other)) || !slices.IsSorted(of(f.store)) {
				t.Error("the lines of the file are not in order")
			}
		})
	}
}

func TestAnAgentThatStartsWhileOneDestinationIsAwayGoesOnWithTheOther(t *testing.T) {
	f := newFixture(t)
	other := f.second()
	f.known()
	f.append("a.log", "1")
	f.store.await(t, "first", "1")
	other.await(t, "first", "1")
	f.stop()
	other.down = true
	f.append("a.log", "2")
	f.append("b.log", "3")
	f.start()
	f.store.await(t, "first", "1", "2", "3")
	f.append("a.log", "4")
	f.store.await(t, "first", "1", "2", "3", "4")
	other.change(func() { other.down = false })
	other.await(t, "first", "1", "2", "3", "4")
}

// One destination has other content of a file, as after a clone of the machine. The file gets a
// new id there only: what is on its way to the other destination would arrive under both.
func TestANewStreamForOneDestinationDoublesNothingAtTheOther(t *testing.T) {
	f := newFixture(t)
	other := f.second()
	a := f.known()
	f.append("a.log", "1")
	f.store.await(t, "first", "1")
	other.await(t, "first", "1")
	s := f.at(a, "a.log")
	s.mu.Lock()
	ours := s.lanes[0].ID
	s.mu.Unlock()
	other.change(func() { other.loseNext = math.MaxInt }) // it takes packages, and its answers are lost
	f.store.change(func() {
		p := f.store.progress[ours]
		p.Hash++
		f.store.progress[ours] = p
	})
	f.append("a.log", "2")
	f.store.await(t, "first", "1", "2")
	other.await(t, "first", "1", "2")
	s.mu.Lock()
	if s.lanes[0].ID == ours {
		t.Error("the lane has its old id")
	}
	s.mu.Unlock()
	f.append("a.log", "3")
	f.store.await(t, "first", "1", "2", "3")
	other.change(func() { other.loseNext = 0 })
	other.await(t, "first", "1", "2", "3")
	f.stop()
	f.start() // with the ids that are stored
	f.append("a.log", "4")
	f.store.await(t, "first", "1", "2", "3", "4")
	other.await(t, "first", "1", "2", "3", "4")
}
