// Package agent is the collector: it wires the six steps, monitor, read,
// process, filter, aggregate and send, and keeps what they have to remember.
//
// The monitor tells which paths changed; the discovery goroutine finds out
// which file that is and gives it a stream; workers take turns on streams, from
// the read of a chunk to the sealed package, as plain calls; destinations
// deliver the packages and move the checkpoints; the saver makes those durable.
package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/buffer"
	"logtail/internal/agent/ledger"
	"logtail/internal/agent/monitor"
	"logtail/internal/agent/read"
	"logtail/internal/agent/send"
	"logtail/internal/agent/state"
	"logtail/internal/pipeline"
	"logtail/internal/sls"
)

const (
	// DefaultBytesPerSec is max_bytes_per_sec; more than it means no limit, as documented.
	DefaultBytesPerSec = 20 << 20
	// DefaultBudget bounds the packages that wait to be sent, in bytes.
	DefaultBudget = 24 << 20
	// drainTime is how long a stopping agent tries to deliver what it has read.
	// What is left is read again after the next start.
	drainTime = 1500 * time.Millisecond
)

// Options of an agent.
type Options struct {
	Data      string // folder of the agent's state
	Pipelines []*pipeline.Pipeline
	// Once makes Run end when every one-time input is read and delivered.
	Once bool
	// Workers is process_thread_count; 0 means one for each processor, at most 4.
	Workers int
	// BytesPerSec is max_bytes_per_sec: raw bytes sent in a second by all
	// pipelines. 0 and everything above DefaultBytesPerSec mean no limit.
	BytesPerSec int64
	// Concurrency is send_request_concurrency; 0 means send.DefaultConcurrency.
	Concurrency int
	// Endpoint and Credentials serve flusher_sls where the pipeline names none.
	Endpoint    string
	Credentials sls.Credentials
	TLS         *tls.Config // nil: the system's certificate authorities
	UserAgent   string
	Log         *slog.Logger
	Now         func() time.Time
	// RetryWait is how long to wait after a failed request; 0 means send.RetryWait, as documented.
	RetryWait time.Duration
	// BufferDir, BufferFiles and BufferFileBytes are buffer_file_path,
	// buffer_file_num and buffer_file_size: where the disk buffer is and how large it
	// may become. By default it is in Data, with 25 files of 20 MB.
	BufferDir       string
	BufferFiles     int
	BufferFileBytes int64
	// SpillAfter is how long a destination may lag behind another one of the
	// same file before what it lacks goes to the disk buffer; 0 means 3 s.
	SpillAfter time.Duration
	// Monitor's intervals; 0 means its defaults.
	DirInterval, FileInterval time.Duration
}

// Agent is one collector.
type Agent struct {
	opt    Options
	now    func() time.Time
	log    *slog.Logger
	alarms *alarm.Log
	store  *state.Store
	saver  *saver
	mon    *monitor.Monitor
	queue  *schedule
	files  *files
	again  again
	ledger *ledger.Ledger
	shared *send.Shared
	buffer *buffer.Buffer
	seqids *send.SeqBook
	hints  *hints

	// Of the discovery goroutine.
	shadows  map[filePath]*shadow
	archives map[read.Identity]struct{} // compressed files whose content streams have
	unclear  map[filePath]struct{}      // compressed files that cannot be told yet
	chains   map[filePath]struct{}      // paths for which files are looked for that were rotated away unseen
	empty    map[filePath]struct{}      // paths of empty files, for which that is done a little later, too
	tombs    []state.Tomb
	lookedAt time.Time // when former streams were last looked at

	runs  map[string]*pipelineRun
	dests map[destKey]*send.Dest
	order []*send.Dest // the same, as they were made
	stats Stats
	open  atomic.Int64 // memory of all open groups, in bytes
	// handles counts the open log files. Above maxHandles, one is closed as soon
	// as it has been read to its end.
	handles    atomic.Int64
	maxHandles int64

	// stable says whether the file system of a file keeps inode numbers.
	stable func(*os.File) bool
	// service makes the transport to a logstore.
	service func(k destKey, region string) (send.Transport, error)

	stopping atomic.Bool
	finish   context.CancelFunc // ends Run when all one-time inputs are done
	begun    time.Time
}

// New checks everything that can be checked, opens the state and takes up the
// streams in it. Nothing is read before Run.
func New(o Options) (*Agent, error) { return newAgent(o, nil) }

// newAgent is New with another way to make the transports to logstores, if service is not nil.
func newAgent(o Options, service func(k destKey, region string) (send.Transport, error)) (*Agent, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Workers == 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), 4)
	}
	if o.SpillAfter == 0 {
		o.SpillAfter = spillAfter
	}
	if o.Concurrency == 0 {
		o.Concurrency = send.DefaultConcurrency
	}
	a := &Agent{
		opt: o, now: o.Now, log: o.Log, queue: newSchedule(), files: newFiles(), again: again{wake: make(chan struct{}, 1)},
		shadows: map[filePath]*shadow{}, archives: map[read.Identity]struct{}{}, unclear: map[filePath]struct{}{}, chains: map[filePath]struct{}{}, empty: map[filePath]struct{}{},
		runs: map[string]*pipelineRun{}, dests: map[destKey]*send.Dest{}, finish: func() {}, maxHandles: read.MaxOpen(), stable: read.Stable,
	}
	if a.service = service; service == nil {
		a.service = a.logstore
	}
	a.alarms = alarm.NewLog(alarm.Options{Logger: o.Log, Now: o.Now})
	var err error
	if a.mon, err = monitor.New(monitor.Options{
		DirInterval: o.DirInterval, FileInterval: o.FileInterval, UseEvents: true, Logger: o.Log,
		Alarm: func(kind, message string) { a.alarms.Raise(alarm.Type(kind), alarm.Scope{}, 1, message, nil) },
	}); err != nil {
		_ = a.alarms.Close() // the first error counts
		return nil, err
	}
	if err := a.takeUp(); err != nil {
		_ = a.giveBack() // the first error counts
		return nil, err
	}
	return a, nil
}

// takeUp takes up what the last run left, and makes the pipelines.
func (a *Agent) takeUp() (err error) {
	dir := filepath.Clean(a.opt.Data)
	if a.store, err = state.Open(dir); err != nil {
		return err
	}
	a.saver = newSaver(a, a.store)
	a.healed(a.store.Opened())
	content, err := a.store.Read()
	if err != nil {
		return err
	}
	for _, what := range content.Damaged {
		a.alarms.Raise(alarm.Checkpoint, alarm.Scope{}, 1, "a record of the agent's state was damaged and is put aside: "+what, nil)
	}
	a.ledger, a.tombs, a.hints = ledger.New(content.Counts), content.Tombs, newHints(content.Hints)
	raise := func(kind, message string) { a.alarms.Raise(alarm.Type(kind), alarm.Scope{}, 1, message, nil) }
	opened := a.store.Opened()
	a.seqids = send.NewSeqBook(a.store, opened.Stepped || opened.Aside != "", raise, a.now)
	folder := a.opt.BufferDir
	if folder == "" {
		folder = filepath.Join(dir, "buffer")
	}
	a.buffer, err = buffer.Open(buffer.Options{
		Dir: folder, FileBytes: a.opt.BufferFileBytes, Files: a.opt.BufferFiles, Now: a.now, Log: a.log, Alarm: raise,
	})
	if err != nil {
		return err
	}
	if err := a.build(); err != nil {
		return err
	}
	a.load(&content)
	return nil
}

// healed tells what was wrong with the state of the last run.
func (a *Agent) healed(o state.Opened) {
	if text := o.Alarm(); text != "" {
		a.alarms.Raise(alarm.Checkpoint, alarm.Scope{}, 1, text, nil)
	}
}

// giveBack closes everything that New has opened.
func (a *Agent) giveBack() error {
	var err error
	for _, d := range a.order {
		err = errors.Join(err, d.Close())
	}
	if a.buffer != nil {
		err = errors.Join(err, a.buffer.Close())
	}
	if a.store != nil {
		err = errors.Join(err, a.store.Close())
	}
	return errors.Join(err, a.alarms.Close())
}

// build makes the pipelines and their destinations.
func (a *Agent) build() error {
	a.shared = send.NewShared(a.opt.Concurrency, send.NewBudget(DefaultBudget))
	var limit []*rate.Limiter
	if n := a.opt.BytesPerSec; n > 0 && n <= DefaultBytesPerSec {
		limit = append(limit, rate.NewLimiter(rate.Limit(n), int(n)))
	}
	for _, p := range a.opt.Pipelines {
		if a.runs[p.Name] != nil {
			return fmt.Errorf("two pipelines are called %q; rename one of their files", p.Name)
		}
		run, err := a.newRun(p, limit)
		if err != nil {
			return fmt.Errorf("pipeline %q: %w", p.Name, err)
		}
		a.runs[p.Name] = run
	}
	return nil
}

// load takes up the streams of the last run.
func (a *Agent) load(c *state.Content) {
	for _, run := range a.runs {
		at, done := c.Scanned[run.p.Name]
		run.firstScan, run.since = !done, at*int64(time.Second)
	}
	for i := range c.Streams {
		if run := a.runs[c.Streams[i].Pipeline]; run != nil {
			a.restore(run, &c.Streams[i])
		}
	}
	for _, s := range a.files.of(nil) {
		// The last one at a path is known as that. To remember all would take 9 MB for 100,000.
		if !s.frozen && a.files.last(s.run, s.origin()) != s {
			s.run.remember(s.origin(), s, a.now())
		}
	}
}

// Run collects until ctx ends, or until all one-time inputs are done. Then it
// delivers what it has read, for a few seconds at most, and stops.
func (a *Agent) Run(ctx context.Context) error {
	a.begun = a.now()
	ctx, a.finish = context.WithCancel(ctx)
	defer a.finish()
	for _, run := range a.runs {
		if err := a.mon.Watch(run.p.Name, run.spec()); err != nil {
			_ = a.close() // the first error counts
			return fmt.Errorf("pipeline %q: %w", run.p.Name, err)
		}
	}
	var monitoring, discovery, working, saving, sending sync.WaitGroup
	watchCtx, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	saveCtx, stopSaving := context.WithCancel(context.WithoutCancel(ctx))
	sendCtx, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer func() { stopWatching(); stopSaving(); stopSending() }()
	var monErr error
	for _, d := range a.order {
		sending.Go(func() { d.Run(sendCtx) })
	}
	saving.Go(func() { a.saver.run(saveCtx) })
	monitoring.Go(func() { monErr = a.mon.Run(watchCtx); a.finish() })
	discovery.Go(func() { a.discover(watchCtx, a.mon.Events()) })
	working.Go(func() { a.queue.run(watchCtx, a.now) })
	working.Go(func() { a.relax(watchCtx) })
	for range a.opt.Workers {
		working.Go(a.newWorker().work)
	}
	if len(a.runs) == 0 {
		a.log.Warn("there is no pipeline to run")
	}
	a.checkFinished()
	<-ctx.Done()

	// The order of stopping is the data's way.
	a.stopping.Store(true)
	stopWatching()
	monitoring.Wait()
	discovery.Wait()
	a.queue.close()
	working.Wait()
	a.drain()
	stopSending()
	sending.Wait()
	for _, s := range a.files.of(nil) {
		s.mu.Lock()
		s.conclude() // what was written to the disk buffer last
		s.mu.Unlock()
	}
	stopSaving()
	saving.Wait()
	return errors.Join(monErr, a.close())
}

// drain seals the open groups and waits until they are acknowledged.
func (a *Agent) drain() {
	w := a.newWorker()
	a.saveHeld(w)
	for _, s := range a.files.of(nil) {
		s.mu.Lock()
		if s.attached() && !s.done {
			w.flush(s)
		}
		s.mu.Unlock()
	}
	deadline := time.NewTimer(drainTime)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		pending := 0
		for _, d := range a.order {
			pending += d.Pending()
		}
		if pending == 0 {
			return
		}
		select {
		case <-deadline.C:
			a.log.Warn("stopping with packages that could not be delivered; their logs are read again after the next start", "packages", pending)
			return
		case <-poll.C:
		}
	}
}

// close gives everything back; the goroutines have ended.
func (a *Agent) close() error {
	for _, s := range a.files.of(nil) {
		if s.f != nil {
			s.f.Close()
		}
	}
	return a.giveBack()
}

// settled says whether every pipeline has scanned, so that each stream that is
// known has been asked for what the disk buffer has of it.
func (a *Agent) settled() bool {
	for _, run := range a.runs {
		if !run.complete.Load() {
			return false
		}
	}
	return true
}

// checkFinished ends Run when every one-time input is read and delivered.
func (a *Agent) checkFinished() {
	if !a.opt.Once {
		return
	}
	for _, run := range a.runs {
		if !run.input.Once || !run.complete.Load() {
			return
		}
	}
	for _, s := range a.files.of(nil) {
		if s.run.input.Once {
			return
		}
	}
	a.finish()
}
