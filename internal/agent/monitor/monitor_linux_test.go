package monitor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func onlyEvents() Options {
	return Options{UseEvents: true, Coalesce: time.Millisecond, DirInterval: 10 * time.Hour, FileInterval: 10 * time.Hour}
}

// deaf is a notifier that accepts watches and never tells of anything, like a
// kernel whose queue is full.
type deaf struct{ n int32 }

func (d *deaf) add(string, bool) (int32, error) { d.n++; return d.n, nil }
func (d *deaf) remove(int32)                    {}
func (d *deaf) close()                          {}

func TestLostEventsLeadToAScanOfEverything(t *testing.T) {
	base := t.TempDir()
	old := write(t, filepath.Join(mkdir(t, base+"/old"), "a.log"), "x")
	away := write(t, filepath.Join(mkdir(t, base+"/away"), "a.log"), "x")
	r := newRig(t, onlyEvents(), func(m *Monitor) {
		m.newNotifier = func(*sink, time.Duration) (notifier, error) { return &deaf{}, nil }
	}).run()
	r.watch("w", Spec{Paths: []string{base + "/*/*.log"}})
	r.firstScan("w")
	write(t, old, "y")
	must(t, os.RemoveAll(base+"/away"))
	fresh := write(t, filepath.Join(mkdir(t, base+"/fresh"), "a.log"), "x")

	r.m.sink.lose()
	r.m.poke()
	r.expectAll(changed("w", old), gone("w", away), found("w", fresh))
	r.until("the alarm", func([]Event) bool {
		return slices.ContainsFunc(r.alarms, func(a string) bool {
			return strings.HasPrefix(a, "INOTIFY_EVENT_OVERFLOW_ALARM") && strings.Contains(a, "max_queued_events")
		})
	})
	if n := r.m.Stats().Overflows; n != 1 {
		t.Errorf("%d overflows counted", n)
	}
}

func TestLostWatchIsAskedForAgainAndTheDirectoryScanned(t *testing.T) {
	base := t.TempDir()
	kernel := &deaf{}
	r := newRig(t, onlyEvents(), func(m *Monitor) {
		m.newNotifier = func(*sink, time.Duration) (notifier, error) { return kernel, nil }
	}).run()
	r.watch("w", Spec{Paths: []string{base + "/*.log"}})
	r.firstScan("w")
	// The directory must not look changed but for the lost watch.
	old := time.Now().Add(-24 * time.Hour)
	must(t, os.Chtimes(base, old, old))
	r.m.rescanNow()
	r.eventually("its scan", func() bool { return r.m.idle() })
	log := write(t, base+"/a.log", "x")
	must(t, os.Chtimes(base, old, old))
	r.m.mu.Lock()
	asked := kernel.n // the directory was the last that was asked for
	r.m.mu.Unlock()
	r.m.sink.tell(asked, nil, bitLost)
	r.m.poke()
	r.expect(found("w", log))
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if kernel.n != asked+1 {
		t.Errorf("%d watches were asked for, want one more than %d", kernel.n, asked)
	}
}

func (m *Monitor) rescanNow() {
	m.mu.Lock()
	m.rescan()
	m.mu.Unlock()
	m.poke()
}

func (m *Monitor) idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.todoHead == len(m.todo)
}

// The kernel's queue really overflows here, because nobody reads it.
func TestOverflowOfTheKernelsQueueIsNoticed(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skip(err)
	}
	var most int
	if _, err := fmt.Sscan(string(b), &most); err != nil || most > 200_000 {
		t.Skipf("max_queued_events is %s", b)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	s := &sink{wake: func() {}}
	n := &inotify{fd: fd, file: os.NewFile(uintptr(fd), "inotify"), sink: s, done: make(chan struct{}), ended: make(chan struct{})}
	if _, err := n.add(base, true); err != nil {
		t.Fatal(err)
	}
	// Two files in turn, so that the kernel cannot join their events.
	f1, f2 := write(t, base+"/1", ""), write(t, base+"/2", "")
	w1, err := os.OpenFile(f1, os.O_WRONLY, 0)
	must(t, err)
	defer w1.Close()
	w2, err := os.OpenFile(f2, os.O_WRONLY, 0)
	must(t, err)
	defer w2.Close()
	for range most/2 + 10 {
		_, _ = w1.WriteAt([]byte("x"), 0)
		_, _ = w2.WriteAt([]byte("x"), 0)
	}
	awake := make(chan struct{}, most)
	s.wake = func() { awake <- struct{}{} }
	go n.read()
	for s.overflows.Load() == 0 {
		<-awake
	}
	n.close()
	list, _, lost := s.take(nil, nil)
	if !lost {
		t.Error("the loss is not told")
	}
	if len(list) > 4 {
		t.Errorf("%d changes for two files: they are not joined", len(list))
	}
}

func TestSinkIsBounded(t *testing.T) {
	s := &sink{}
	for i := range maxChanges + 1000 {
		s.tell(1, fmt.Appendf(nil, "%d", i), bitEntry)
	}
	s.tell(1, []byte("5"), bitWritten) // one that is known joins
	list, bits, lost := s.take(nil, nil)
	if len(list) != maxChanges || !lost || s.overflows.Load() != 1 {
		t.Errorf("%d changes, lost %v, %d overflows", len(list), lost, s.overflows.Load())
	}
	if bits[5] != bitEntry|bitWritten {
		t.Errorf("bits of a joined change: %b", bits[5])
	}
	if list, _, lost := s.take(list, bits); len(list) != 0 || lost {
		t.Errorf("second take: %d changes, lost %v", len(list), lost)
	}
}

func TestBoundOfWatchesTheRestIsPolledAndItIsSaidOnce(t *testing.T) {
	base := t.TempDir()
	for i := range 20 {
		mkdir(t, fmt.Sprintf("%s/d%d", base, i))
	}
	for name, prepare := range map[string]func(*Options, *Monitor){
		"own bound":   func(o *Options, _ *Monitor) { o.MaxWatches = 5 },
		"kernel says": nil,
	} {
		t.Run(name, func(t *testing.T) {
			o := polling()
			o.UseEvents, o.Coalesce = true, time.Millisecond
			var full func(*Monitor)
			if prepare != nil {
				prepare(&o, nil)
			} else {
				full = func(m *Monitor) {
					m.newNotifier = func(s *sink, d time.Duration) (notifier, error) {
						n, err := newNotifier(s, d)
						return &limited{notifier: n, left: 5}, err
					}
				}
			}
			var r *rig
			if full != nil {
				r = newRig(t, o, full).run()
			} else {
				r = newRig(t, o).run()
			}
			r.watch("w", Spec{Paths: []string{base + "/*/*.log"}})
			r.firstScan("w")
			if n := r.m.Stats().KernelDirs; n != 5 {
				t.Errorf("%d kernel watches", n)
			}
			var want []Event
			for i := range 20 {
				log := write(t, fmt.Sprintf("%s/d%d/%s.log", base, i, strings.Fields(name)[0]), "x")
				want = append(want, found("w", log))
			}
			r.expectAll(want...)
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.alarms) != 1 || !strings.HasPrefix(r.alarms[0], "INOTIFY_DIR_NUM_LIMIT_ALARM") || !strings.Contains(r.alarms[0], "sysctl fs.inotify.max_user_watches") {
				t.Errorf("alarms: %q", r.alarms)
			}
		})
	}
}

// limited answers as a kernel with few watches left.
type limited struct {
	notifier
	left int
}

func (l *limited) add(path string, files bool) (int32, error) {
	if l.left--; l.left < 0 {
		return -1, unix.ENOSPC
	}
	return l.notifier.add(path, files)
}

func TestWithoutInotifyEverythingIsPolled(t *testing.T) {
	o := polling()
	o.UseEvents = true
	r := newRig(t, o, func(m *Monitor) {
		m.newNotifier = func(*sink, time.Duration) (notifier, error) {
			return nil, fmt.Errorf("inotify_init1: %w", unix.EMFILE)
		}
	}).run()
	base := t.TempDir()
	r.watch("w", Spec{Paths: []string{base + "/*.log"}})
	r.firstScan("w")
	r.expectAll(found("w", write(t, base+"/a.log", "x")))
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.alarms) != 1 || !strings.Contains(r.alarms[0], "max_user_instances") {
		t.Errorf("alarms: %q", r.alarms)
	}
}

// A directory without rights is said once, holds nothing up, and is gone into
// when it gets them. The loop runs without root's rights for this.
func TestDirectoryWithoutRights(t *testing.T) {
	base, other := t.TempDir(), t.TempDir()
	for _, d := range []string{base, other} {
		must(t, os.Chmod(filepath.Dir(d), 0o755))
		must(t, os.Chmod(d, 0o755))
	}
	open := write(t, filepath.Join(mkdir(t, base+"/open"), "a.log"), "x")
	shut := write(t, filepath.Join(mkdir(t, base+"/shut"), "a.log"), "x")
	exact := write(t, filepath.Join(mkdir(t, other+"/unlisted"), "a.log"), "x")
	must(t, os.Chmod(base+"/shut", 0))
	must(t, os.Chmod(other+"/unlisted", 0o111))
	t.Cleanup(func() { _ = os.Chmod(base+"/shut", 0o755); _ = os.Chmod(other+"/unlisted", 0o755) })

	for _, events := range []bool{false, true} {
		t.Run(fmt.Sprintf("events=%v", events), func(t *testing.T) {
			must(t, os.Chmod(base+"/shut", 0))
			o := polling()
			o.UseEvents = events
			r := newRig(t, o, unprivileged)
			r.watch("w", Spec{Paths: []string{base + "/**/*.log"}, MaxDepth: 3})
			r.watch("exact", Spec{Paths: []string{exact}})
			r.run()
			if got := r.firstScan("w"); !slices.Equal(got, []string{open}) {
				t.Errorf("first scan: %q", got)
			}
			if got := r.firstScan("exact"); !slices.Equal(got, []string{exact}) {
				t.Errorf("first scan of a file in a directory that may be entered but not listed: %q", got)
			}
			r.eventually("a second try", func() bool { return r.m.Stats().Failures > 5 })
			said := func(dir string) int {
				r.mu.Lock()
				defer r.mu.Unlock()
				n := 0
				for _, a := range r.alarms {
					if strings.Contains(a, dir) && strings.Contains(a, "right") {
						n++
					}
				}
				return n
			}
			if n := said(base + "/shut"); n != 1 {
				t.Errorf("said %d times: %q", n, r.alarms)
			}
			must(t, os.Chmod(base+"/shut", 0o755))
			r.expect(found("w", shut))
		})
	}
}

// unprivileged makes the monitor's calls with the rights of nobody.
func unprivileged(m *Monitor) {
	if os.Getuid() != 0 {
		return
	}
	as := func(call func()) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_ = unix.Setfsuid(65534)
		call()
		_ = unix.Setfsuid(0)
	}
	sys := m.sys
	m.sys.stat = func(path string, follow bool) (st status, err error) {
		as(func() { st, err = sys.stat(path, follow) })
		return st, err
	}
	m.sys.list = func(path string, buf []byte, fn func(name []byte, kind entryKind, ino uint64)) (mtime int64, err error) {
		as(func() { mtime, err = sys.list(path, buf, fn) })
		return mtime, err
	}
	m.sys.watch = func(n notifier, path string, files bool) (wd int32, err error) {
		as(func() { wd, err = sys.watch(n, path, files) })
		return wd, err
	}
}

// racer writes a file into each directory right before and right after the
// kernel is asked to watch it: neither must be missed.
type racer struct {
	notifier
	t    *testing.T
	base string
}

func (r *racer) add(path string, files bool) (int32, error) {
	rest, ok := strings.CutPrefix(path, r.base+"/")
	if ok {
		write(r.t, path+"/before-"+rest+".log", "x")
	}
	wd, err := r.notifier.add(path, files)
	if ok {
		write(r.t, path+"/after-"+rest+".log", "x")
	}
	return wd, err
}

func TestFilesMadeWhileADirectoryIsBeingWatchedAreFound(t *testing.T) {
	base := t.TempDir()
	r := newRig(t, onlyEvents(), func(m *Monitor) {
		m.newNotifier = func(s *sink, d time.Duration) (notifier, error) {
			n, err := newNotifier(s, d)
			return &racer{n, t, base}, err
		}
	}).run()
	mkdir(t, base+"/0")
	r.watch("w", Spec{Paths: []string{base + "/*/*.log"}})
	r.firstScan("w")
	for i := range 50 {
		mkdir(t, fmt.Sprintf("%s/%d", base, i))
	}
	r.eventually("two files in each of 50 directories", func() bool { return len(r.m.Files("w")) == 100 })
}

func TestDirectoryByTwoPathsSharesAWatch(t *testing.T) {
	base := t.TempDir()
	mkdir(t, base+"/real")
	must(t, os.Symlink("real", base+"/alias"))
	r := newRig(t, onlyEvents()).run()
	r.watch("real", Spec{Paths: []string{base + "/real/*.log"}})
	r.watch("alias", Spec{Paths: []string{base + "/alias/*.log"}})
	r.firstScan("alias")
	if s := r.m.Stats(); s.KernelDirs != s.Dirs-1 {
		t.Errorf("%d watches for %d directories, one of them known twice", s.KernelDirs, s.Dirs)
	}
	write(t, base+"/real/a.log", "x")
	r.expectAll(found("real", base+"/real/a.log"), found("alias", base+"/alias/a.log"))
	r.m.Unwatch("alias")
	write(t, base+"/real/a.log", "x")
	r.expect(changed("real", base+"/real/a.log"))
}

func TestParseInotifyOfBrokenRecords(t *testing.T) {
	record := func(wd int32, mask uint32, name string, size uint32) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(wd))
		b = binary.NativeEndian.AppendUint32(b, mask)
		b = binary.NativeEndian.AppendUint32(b, 0)
		b = binary.NativeEndian.AppendUint32(b, size)
		return append(b, name...)
	}
	for name, c := range map[string]struct {
		in   []byte
		want []change
		bits []changeBits
		lost bool
	}{
		"padded name":  {record(3, unix.IN_MODIFY, "a.log\x00\x00\x00", 8), []change{{3, "a.log"}}, []changeBits{bitWritten}, false},
		"no name":      {record(3, unix.IN_DELETE_SELF, "", 0), []change{{3, ""}}, []changeBits{bitEntry}, false},
		"ignored":      {record(3, unix.IN_IGNORED, "", 0), []change{{3, ""}}, []changeBits{bitLost}, false},
		"overflow":     {record(-1, unix.IN_Q_OVERFLOW, "", 0), nil, nil, true},
		"cut name":     {record(3, unix.IN_MODIFY, "a", 8), nil, nil, false},
		"cut header":   {record(3, unix.IN_MODIFY, "", 0)[:7], nil, nil, false},
		"huge length":  {record(3, unix.IN_MODIFY, "a", 1<<31), nil, nil, false},
		"two and join": {append(record(3, unix.IN_CREATE, "a\x00", 2), record(3, unix.IN_MODIFY, "a\x00", 2)...), []change{{3, "a"}}, []changeBits{bitEntry | bitWritten}, false},
	} {
		s := &sink{}
		parseInotify(c.in, s)
		list, bits, lost := s.take(nil, nil)
		if !slices.Equal(list, c.want) || !slices.Equal(bits, c.bits) || lost != c.lost {
			t.Errorf("%s: %v %v %v", name, list, bits, lost)
		}
	}
}

func FuzzParseKernelRecords(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00abc\x00"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		parseInotify(b, &sink{})
		parseDirents(b, func([]byte, entryKind, uint64) {})
	})
}

func TestKnownChangesCostNoMemory(t *testing.T) {
	s := &sink{}
	record := binary.NativeEndian.AppendUint32(nil, 3)
	record = binary.NativeEndian.AppendUint32(record, unix.IN_MODIFY)
	record = binary.NativeEndian.AppendUint64(record, 8<<32)
	record = append(record, "a.log\x00\x00\x00"...)
	parseInotify(record, s)
	if n := testing.AllocsPerRun(100, func() { parseInotify(record, s) }); n != 0 {
		t.Errorf("%v allocations for an event that is known already", n)
	}
	list, _, _ := s.take(nil, nil)
	if len(list) != 1 || list[0].name != "a.log" {
		t.Errorf("changes: %v", list)
	}
}

func BenchmarkInotifyEvent(b *testing.B) {
	var buf []byte
	for i := range 100 {
		buf = binary.NativeEndian.AppendUint32(buf, 3)
		buf = binary.NativeEndian.AppendUint32(buf, unix.IN_MODIFY)
		buf = binary.NativeEndian.AppendUint64(buf, 16<<32)
		buf = append(buf, fmt.Sprintf("access-%03d.log\x00\x00\x00", i)[:16]...)
	}
	s := &sink{}
	b.ReportAllocs()
	for b.Loop() {
		parseInotify(buf, s)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/event")
}

// BenchmarkIdle measures what waiting costs: CPU in percent of a core over ten
// seconds with 10,000 directories and 100,000 files that do not change, and
// memory per file.
func BenchmarkIdle(b *testing.B) {
	const dirs, perDir = 10_000, 10
	base := b.TempDir()
	old := time.Now().Add(-2 * time.Hour)
	for i := range dirs {
		d := mkdir(b, fmt.Sprintf("%s/%03d/%03d", base, i/100, i%100))
		for k := range perDir {
			p := write(b, fmt.Sprintf("%s/access-%d.log", d, k), "x")
			must(b, os.Chtimes(p, old, old))
		}
		must(b, os.Chtimes(d, old, old))
	}
	for _, events := range []bool{true, false} {
		b.Run(fmt.Sprintf("events=%v", events), func(b *testing.B) {
			before := heap()
			r := newRig(b, Options{UseEvents: events}).run()
			r.watch("w", Spec{Paths: []string{base + "/**/*.log"}, MaxDepth: 3})
			start, cpu := time.Now(), cpuTime(b)
			if got := r.firstScan("w"); len(got) != dirs*perDir {
				b.Fatalf("%d files", len(got))
			}
			b.ReportMetric(float64(time.Since(start).Milliseconds()), "scan-ms")
			b.ReportMetric(float64((cpuTime(b) - cpu).Milliseconds()), "scan-cpu-ms")
			r.mu.Lock()
			r.got = nil
			r.mu.Unlock()
			b.ReportMetric(float64(heap()-before)/(dirs*perDir), "B/file")
			<-time.After(5 * time.Second) // the collector's sweep, directories that settle
			cpu = cpuTime(b)
			start = time.Now()
			<-time.After(10 * time.Second)
			b.ReportMetric(100*float64(cpuTime(b)-cpu)/float64(time.Since(start)), "%core")
			s := r.m.Stats()
			b.Logf("%+v", s)
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestErrorsThatMeanAbsence(t *testing.T) {
	for err, want := range map[error]bool{
		unix.ENOENT: true, unix.ENOTDIR: true, unix.ELOOP: true, unix.EACCES: false, unix.EIO: false, unix.ESTALE: false,
	} {
		if got := vanished(&os.PathError{Op: "stat", Path: "/x", Err: err}); got != want {
			t.Errorf("vanished(%v) = %v", err, got)
		}
	}
	if vanished(errors.New("other")) {
		t.Error("an unknown error means absence")
	}
}
