package send

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"logtail/internal/agent/buffer"
	"logtail/internal/delivery"
)

var (
	randomSeed  = flag.Uint64("random.seed", 0, "the only seed of TestRandomOutages; 0: some")
	randomSeeds = flag.Int("random.seeds", 150, "how many seeds TestRandomOutages takes")
)

// The logs of these tests are ten bytes each, and the n-th of a file says n.

func content(end uint64) string {
	var b strings.Builder
	for i := max(int(end)/10-10, 0); i < int(end)/10; i++ {
		fmt.Fprintf(&b, "%09d\n", i)
	}
	return b.String()
}

func tailAt(end uint64) uint64 { return delivery.TailHash([]byte(content(end))) }

// shelf is a service that keeps the contract, also that packages are trimmed, with
// random faults.
type shelf struct {
	mu       sync.Mutex
	r        *rand.Rand
	ranges   bool
	progress map[delivery.LaneID]delivery.Progress
	logs     map[delivery.LaneID][]int
	gone     map[delivery.LaneID][]delivery.Range
	sessions uint64
	faults   bool
	away     bool
}

func (s *shelf) chance(n int) bool { return s.faults && s.r.IntN(n) == 0 }

// way is an agent's way to a shelf; it ends when the agent is killed.
type way struct {
	*shelf
	dead *atomic.Bool
}

func (w way) Close() error { return nil }

// delay takes some time, and sometimes hangs.
func (w way) delay(ctx context.Context) error {
	w.mu.Lock()
	d := time.Duration(w.r.IntN(30)) * time.Millisecond
	if w.chance(20) {
		d = 5 * time.Second
	}
	away := w.away || w.chance(10)
	w.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return ctx.Err()
	}
	if away || w.dead.Load() {
		return errors.New("away")
	}
	return nil
}

func (w way) Resume(ctx context.Context, lanes []delivery.LaneID) (*Resumed, error) {
	if err := w.delay(ctx); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ranges {
		return &Resumed{}, nil
	}
	w.sessions++
	r := &Resumed{Ranges: true, Session: w.sessions, Incarnation: "a"}
	for _, l := range lanes {
		p, ok := w.progress[l]
		if !ok {
			r.Progress = append(r.Progress, nil)
			continue
		}
		p.Session = w.sessions
		w.progress[l] = p
		r.Progress = append(r.Progress, &p)
	}
	if w.chance(10) {
		return nil, errors.New("the reply is lost")
	}
	return r, nil
}

func (w way) Send(ctx context.Context, pkgs []*Package) ([]Outcome, error) {
	if err := w.delay(ctx); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]Outcome, len(pkgs))
	for i, p := range pkgs {
		if w.chance(50) {
			out[i].Err = slsError(500, "InternalServerError")
			continue
		}
		r := &p.Range
		var known *delivery.Progress
		if x, ok := w.progress[r.Lane]; ok && w.ranges {
			known = &x
		}
		if w.ranges {
			out[i].Action = delivery.Decide(known, r)
		}
		from := uint64(0)
		switch out[i].Action {
		case delivery.Trim:
			from = known.End
		case delivery.Append:
		default:
			continue
		}
		if r.Flags&delivery.Abandoned != 0 {
			w.gone[r.Lane] = append(w.gone[r.Lane], delivery.Range{Start: max(from, r.Start), End: r.End})
		}
		for _, word := range strings.Fields(string(p.Data())) {
			var n int
			if _, err := fmt.Sscan(word, &n); err != nil {
				panic(err)
			}
			if uint64(n+1)*10 > from {
				w.logs[r.Lane] = append(w.logs[r.Lane], n)
			}
		}
		w.progress[r.Lane] = delivery.Advance(r, 0)
	}
	if w.chance(10) {
		return nil, errors.New("the reply is lost")
	}
	return out, nil
}

// tape is a file, or a source that cannot be read again, and its owner.
type tape struct {
	w  *world
	mu sync.Mutex

	id      delivery.StreamID
	former  []delivery.LaneID
	saved   delivery.Checkpoint
	fresh   bool
	again   bool // the content can be read again
	size    int  // logs written
	high    uint64
	pos     uint64
	lane    *Lane
	ready   bool
	lost    int64 // bytes that the owner gave up
	foreign bool  // something may have arrived twice
	wake    chan struct{}
}

func (f *tape) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *tape) LaneReady(l *Lane, plan delivery.Plan) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l != f.lane {
		return
	}
	l.Begin()
	if plan.NewStream {
		f.saved, f.fresh, f.ready = l.Checkpoint(), true, false
		f.former, f.id, f.foreign = append(f.former, l.ID), delivery.NewStreamID(), true
		f.saved.Incarnation = ""
		l.Close()
		go f.open()
		return
	}
	f.pos, f.ready = plan.End, true
	f.giveUp()
	f.signal()
}

// giveUp abandons what cannot be read any more.
func (f *tape) giveUp() {
	if f.again || f.pos >= f.high {
		return
	}
	f.lost += int64(f.high - f.pos)
	f.lane.Put(&Package{Range: delivery.Range{Start: f.pos, End: f.high, EndHash: tailAt(f.high), Flags: delivery.Abandoned, Reason: delivery.ReasonDeleted}})
	f.pos = f.high
}

func (f *tape) LaneAcked(*Lane)   { f.signal() }
func (f *tape) LaneSpace(*Lane)   { f.signal() }
func (f *tape) LaneStopped(*Lane) { f.w.t.Error("a lane was fenced") }

func (f *tape) Holds(end, hash uint64, _ bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return end <= uint64(10*f.size) && (hash == 0 || tailAt(end) == hash)
}

func (f *tape) Readable(uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.again
}

func (f *tape) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lane = f.w.dest(f).Lane(f.id.Lane("f", ""), f, f.saved, f.fresh, f.former...)
}

// run makes packages as long as the lane takes some.
func (f *tape) run(ctx context.Context) {
	for ctx.Err() == nil {
		f.mu.Lock()
		for f.lane != nil && f.lane.Accepts() && f.ready && f.pos < uint64(10*f.size) {
			n := uint64(f.w.intN(4) + 1)
			end := min(f.pos+10*n, uint64(10*f.size))
			var words []string
			for i := f.pos / 10; i < end/10; i++ {
				words = append(words, fmt.Sprint(i))
			}
			text := strings.Join(words, " ")
			p := &Package{
				Range: delivery.Range{Start: f.pos, End: end, StartHash: tailAt(f.pos), EndHash: tailAt(end)},
				Buf:   NewBuffer([]byte(text)), RawSize: len(text), Logs: len(words),
			}
			f.lane.Put(p)
			f.pos = end
			f.high = max(f.high, end)
		}
		f.mu.Unlock()
		select {
		case <-f.wake:
		case <-ctx.Done():
		}
	}
}

// storage is a disk buffer that can be opened anew, as after a restart.
type storage interface {
	Store
	again() storage
	size() int
}

func (x *disk) again() storage { return x.reopen() }

// folder is a real disk buffer.
type folder struct {
	*buffer.Buffer
	t *testing.T
	o buffer.Options
}

func openFolder(t *testing.T, o buffer.Options) *folder {
	b, err := buffer.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return &folder{b, t, o}
}

func (x *folder) again() storage {
	if err := x.Close(); err != nil {
		x.t.Error(err)
	}
	return openFolder(x.t, x.o)
}

func (x *folder) size() int { return x.Stats().Records }

// world is one life of agents, files and services.
type world struct {
	t       *testing.T
	mu      sync.Mutex
	r       *rand.Rand
	shelves []*shelf
	tapes   []*tape
	disk    storage
	budget  *Budget
	dests   []*Dest
	dead    *atomic.Bool
	counted atomic.Int64 // bytes
	kills   int
	lossy   bool // the disk buffer may lose records, services may be restored from copies, files deleted too early
}

func (w *world) intN(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.r.IntN(n)
}

func (w *world) dest(f *tape) *Dest {
	for i := range w.tapes {
		if w.tapes[i] == f {
			return w.dests[i%len(w.dests)]
		}
	}
	panic("no such file")
}

// begin starts an agent; the function ends it.
func (w *world) begin() (end func(kill bool)) {
	ctx, cancel := context.WithCancel(w.t.Context())
	w.disk = w.disk.again()
	w.dead, w.budget, w.dests = new(atomic.Bool), NewBudget(64<<10), nil
	sh := NewShared(3, w.budget)
	var wg sync.WaitGroup
	sendCtx, stop := context.WithCancel(w.t.Context())
	for i, s := range w.shelves {
		d := NewDest(way{s, w.dead}, Options{
			Name: "test", Shared: sh, Buffer: w.disk, Target: Target{"r", "p", fmt.Sprint(i)}, RetryWait: time.Second,
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Alarm: func(string, string) {},
			Count: func(_ *Lane, _ delivery.Reason, _ int, bytes int64) { w.counted.Add(bytes) },
		})
		w.dests = append(w.dests, d)
		wg.Go(func() { d.Run(sendCtx) })
	}
	for _, f := range w.tapes {
		f.ready = false
		f.open()
		wg.Go(func() { f.run(ctx) })
	}
	sh.Settled()
	return func(kill bool) {
		cancel()
		if kill {
			w.kills++
			w.dead.Store(true)
			w.disk = w.disk.again() // the old one keeps nothing from now on
		}
		stop()
		wg.Wait()
		for _, f := range w.tapes {
			f.mu.Lock()
			if !kill {
				f.saved = f.lane.Checkpoint()
			}
			f.lane, f.fresh = nil, false
			f.mu.Unlock()
		}
		for _, d := range w.dests {
			if err := d.Close(); err != nil {
				w.t.Error(err)
			}
		}
	}
}

// step does one random thing.
func (w *world) step() {
	f := w.tapes[w.intN(len(w.tapes))]
	s := w.shelves[w.intN(len(w.shelves))]
	f.mu.Lock()
	l := f.lane
	f.mu.Unlock()
	switch w.intN(16) {
	default:
		f.mu.Lock()
		if f.again || w.lossy { // what is still written to a removed file is lost when the agent ends
			f.size += 1 + w.intN(40)
		}
		f.mu.Unlock()
		f.signal()
	case 0, 1:
		pass(time.Duration(w.intN(3000)) * time.Millisecond)
	case 2:
		s.mu.Lock()
		s.away = !s.away
		s.mu.Unlock()
	case 3:
		l.Spill(w.intN(3) > 0)
	case 4:
		l.MustSpill(w.intN(2) > 0)
	case 5:
		f.mu.Lock()
		if !f.ready && f.again {
			if p, ok := l.BeginLocal(); ok && l == f.lane {
				f.pos, f.ready = p.End, true
				f.giveUp()
				f.signal()
			}
		}
		f.mu.Unlock()
	case 6:
		if x, ok := w.disk.(*disk); ok {
			x.mu.Lock()
			if x.failPut = nil; w.intN(2) == 0 {
				x.failPut = func() error { return errors.New("input/output error") }
			}
			x.mu.Unlock()
		}
	case 7: // its last name is removed
		f.mu.Lock()
		if f.again && f.ready && (w.lossy || l.Safe() && f.pos == f.high) {
			f.again, f.size = false, int(f.high/10)
			f.giveUp()
		}
		f.mu.Unlock()
	case 8:
		f.mu.Lock()
		f.saved = f.lane.Checkpoint()
		f.mu.Unlock()
	case 9:
		w.damage(f, l, s)
	}
}

// foreign is the hash of a content that is not the file's.
const foreign = 7

// damage takes away what a promise was built on.
func (w *world) damage(f *tape, l *Lane, s *shelf) {
	if !w.lossy {
		return
	}
	if x, ok := w.disk.(*disk); ok && w.intN(2) == 0 { // a damaged record
		x.mu.Lock()
		if list := x.order(); len(list) > 0 {
			delete(x.recs, list[w.intN(len(list))])
		}
		x.mu.Unlock()
		return
	}
	id := f.id.Lane("f", "")
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.progress[id]
	if !ok || p.End == 0 || len(s.logs[id]) == 0 || !s.ranges || p.Hash == foreign {
		return
	}
	if w.intN(4) == 0 {
		if l.Checkpoint().End == p.End {
			p.Hash = foreign
			s.progress[id] = p
		}
		return
	}
	// The service was restored from a copy of some time ago.
	k := w.intN(len(s.logs[id]))
	end := uint64(10 * s.logs[id][k])
	s.logs[id] = s.logs[id][:k]
	for len(s.gone[id]) > 0 && s.gone[id][len(s.gone[id])-1].Start >= end {
		s.gone[id] = s.gone[id][:len(s.gone[id])-1]
	}
	s.progress[id] = delivery.Progress{End: end, Hash: tailAt(end), Session: p.Session}
}

// sure says whether it is always known what was delivered: not if a checkpoint was
// lost and the service knows no ranges.
func (w *world) sure() bool { return w.shelves[0].ranges || w.kills == 0 }

// check compares what arrived with what was written.
func (w *world) check() {
	var abandoned, lost int64
	for i, f := range w.tapes {
		s := w.shelves[i%len(w.shelves)]
		seen := make([]int, f.size)
		told := make([]bool, f.size)
		for _, id := range append(f.former, f.id.Lane("f", "")) {
			last := -1
			for _, n := range s.logs[id] {
				if n <= last && s.ranges {
					w.t.Errorf("log %d comes after %d", n, last)
				}
				last = n
				seen[n]++
			}
			for _, r := range s.gone[id] {
				for n := r.Start / 10; n < r.End/10; n++ {
					told[n] = true
				}
			}
		}
		missing, twice := 0, 0
		for n := range seen {
			if seen[n] == 0 {
				missing++
				if !told[n] && s.ranges && !f.foreign { // a new stream begins where the old one was
					w.t.Errorf("log %d of %d of file %d is missing and nothing was said to the service", n, f.size, i)
				}
			}
			if seen[n] > 1 {
				twice++
			}
		}
		if twice > 0 && s.ranges && !f.foreign {
			w.t.Errorf("%d logs of file %d came twice", twice, i)
		}
		abandoned += int64(10 * missing)
		lost += f.lost
	}
	counted := w.counted.Load()
	switch {
	case !w.lossy && (abandoned > 0 || counted+lost > 0 && w.sure()):
		w.t.Errorf("%d bytes are missing, %d counted, %d given up, though nothing was damaged; ranges %v, killed %d times", abandoned, counted, lost, w.shelves[0].ranges, w.kills)
	case abandoned > counted+lost:
		w.t.Errorf("%d bytes are missing, but only %d counted", abandoned, counted+lost)
	}
	if n := w.disk.size(); n > 0 {
		w.t.Errorf("%d records are left in the disk buffer", n)
	}
	if x, ok := w.disk.(*folder); ok {
		if err := x.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

func TestRandomOutages(t *testing.T) {
	seeds := []uint64{*randomSeed}
	if *randomSeed == 0 {
		seeds = nil
		base := uint64(time.Now().UnixNano())
		for i := range *randomSeeds {
			seeds = append(seeds, base+uint64(i))
		}
	}
	for _, seed := range seeds {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { live(t, seed) })
		})
		if !ok {
			t.Fatalf("to try it again: -random.seed=%d", seed)
		}
	}
}

func live(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &world{t: t, r: r, lossy: r.IntN(2) == 0}
	ranges := r.IntN(4) > 0
	for range 2 {
		w.shelves = append(w.shelves, &shelf{
			r: rand.New(rand.NewPCG(seed, 2)), ranges: ranges, faults: true,
			progress: map[delivery.LaneID]delivery.Progress{}, logs: map[delivery.LaneID][]int{}, gone: map[delivery.LaneID][]delivery.Range{},
		})
	}
	for range 5 {
		w.tapes = append(w.tapes, &tape{w: w, id: delivery.NewStreamID(), fresh: true, again: true, wake: make(chan struct{}, 1)})
	}
	full := w.lossy && r.IntN(2) == 0
	if r.IntN(8) == 0 {
		o := buffer.Options{Dir: t.TempDir(), FileBytes: 4096, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
		if full {
			o.Records = 30
		}
		w.disk = openFolder(t, o)
	} else {
		x := newDisk()
		if full {
			x.room = 30
		}
		w.disk = x
	}
	for range 3 {
		end := w.begin()
		for range 60 {
			w.step()
			if w.intN(3) == 0 {
				pass(time.Duration(w.intN(200)) * time.Millisecond)
			}
			if queued, flight := w.budget.Used(); queued+flight > 64<<10+8<<10 {
				t.Errorf("%d + %d bytes used", queued, flight)
			}
		}
		end(w.intN(2) == 0)
	}
	if x, ok := w.disk.(*disk); ok {
		x.failPut = nil
	}
	for _, s := range w.shelves {
		s.away, s.faults = false, false
	}
	end := w.begin()
	for i := 0; ; i++ {
		pass(time.Second)
		pending := 0
		for _, f := range w.tapes {
			f.mu.Lock()
			if !f.ready || f.pos < uint64(10*f.size) || f.lane.Pending() {
				pending++
			}
			f.mu.Unlock()
		}
		if pending == 0 {
			break
		}
		if i == 300 {
			for i, f := range w.tapes {
				t.Errorf("file %d: ready %v, read %d of %d, again %v, lane %+v", i, f.ready, f.pos, 10*f.size, f.again, f.lane)
			}
			t.Fatal("it does not come to an end")
		}
	}
	// What was given up at the end of a file is told with what comes next.
	for _, f := range w.tapes {
		f.mu.Lock()
		f.lane.Put(&Package{Range: delivery.Range{Start: f.pos, End: f.pos, Flags: delivery.Closed | delivery.Empty}})
		f.mu.Unlock()
	}
	pass(10 * time.Second)
	end(false)
	w.check()
}
