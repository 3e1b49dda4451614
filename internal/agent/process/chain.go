// Package process is the third step of collection: it finds records in what was
// read (Splitter), takes them apart into fields and sets their time (Chain).
// Each processor works on a whole batch of records, whose fields are views into
// what was read; nothing is allocated per record.
package process

import (
	"fmt"
	"time"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/event"
	"logtail/internal/agent/filter"
	"logtail/internal/pipeline"
)

// contentKey is the field that a record starts with: its whole text.
var contentKey = []byte("content")

// Options are what a Chain needs of its surroundings; all have defaults.
type Options struct {
	Stats       *Stats           // default: counters that nobody reads
	Alarm       *alarm.Log       // default: no alarms
	Now         func() time.Time // time of reading for batches that name none; default time.Now
	MachineZone *time.Location   // zone of times without one; default time.Local
}

// processor is one configured step of a Chain.
type processor interface {
	// Run works on the records of b that are kept.
	Run(b *event.Batch)
	// clone returns a processor of the same settings with scratch memory of its own.
	clone() processor
}

// Chain is the processors of one pipeline in their order. A Chain belongs to one
// goroutine; Clone it for others.
type Chain struct {
	steps []processor
	env   *env
}

// env is what the processors of a pipeline share over all workers.
type env struct {
	stats   *Stats
	alarms  *alarm.Log
	scope   alarm.Scope
	now     func() time.Time
	zone    *time.Location
	precise bool // keep fractions of a second
}

// New builds the chain of p. The error names the processor, its number from 1, and what is wrong with it.
func New(p *pipeline.Pipeline, o Options) (*Chain, error) {
	e := &env{
		stats: o.Stats, alarms: o.Alarm, now: o.Now, zone: o.MachineZone,
		scope: alarm.Scope{Pipeline: p.Name}, precise: p.Global.EnableTimestampNanosecond,
	}
	if e.stats == nil {
		e.stats = &Stats{}
	}
	if e.now == nil {
		e.now = time.Now
	}
	if e.zone == nil {
		e.zone = time.Local
	}
	for _, f := range p.Flushers {
		if f.SLS != nil {
			e.scope.Project, e.scope.Logstore = f.SLS.Project, f.SLS.Logstore
			break
		}
	}
	c := &Chain{env: e}
	for i := range p.Processors {
		s, err := newProcessor(&p.Processors[i], e)
		if err != nil {
			return nil, fmt.Errorf("processor %d of pipeline %q (%s): %w", i+1, p.Name, p.Processors[i].Type, err)
		}
		c.steps = append(c.steps, s)
	}
	return c, nil
}

func newProcessor(p *pipeline.Processor, e *env) (processor, error) {
	switch {
	case p.Regex != nil:
		return newRegex(p.Regex, e)
	case p.JSON != nil:
		return newJSON(p.JSON, e)
	case p.Delimiter != nil:
		return newDelimiter(p.Delimiter, e)
	case p.Timestamp != nil:
		return newTimestamp(p.Timestamp, e)
	case p.Filter != nil:
		f, err := filter.New(p.Filter)
		if err != nil {
			return nil, err
		}
		return filterStep{f}, nil
	}
	return nil, fmt.Errorf("there is no processor of this type")
}

// filterStep is a filter at its place in the chain.
type filterStep struct{ *filter.Filter }

func (f filterStep) clone() processor { return filterStep{f.Clone()} }

// Clone returns a chain of the same settings, statistics and alarms with
// scratch memory of its own, for another goroutine.
func (c *Chain) Clone() *Chain {
	d := &Chain{env: c.env, steps: make([]processor, len(c.steps))}
	for i, s := range c.steps {
		d.steps[i] = s.clone()
	}
	return d
}

// Run gives each kept record of b the field "content" with its text, and runs
// the processors in their order. Records that a processor or filter takes out
// have their Drop set; all are counted. It is to be called once for a batch.
func (c *Chain) Run(b *event.Batch) {
	if b.NowSec == 0 {
		c.setNow(b)
	}
	for i := range b.Records {
		if r := &b.Records[i]; r.Drop == event.Kept {
			r.Fields = append(r.Fields[:0], event.Field{Key: contentKey, Value: r.Raw})
		}
	}
	for _, s := range c.steps {
		s.Run(b)
	}
	c.env.stats.note(b)
	if b.Splits > 0 {
		c.env.alarms.Raise(alarm.SplitLogFail, c.env.scope, b.Splits,
			"a log is longer than one may be and was split into several; shorten it, or check the multi-line patterns", firstText(b))
	}
	if b.Unmatched > 0 {
		c.env.alarms.Raise(alarm.SplitLogFail, c.env.scope, b.Unmatched,
			"lines belong to no multi-line log; check Multiline's patterns against the sample", firstText(b))
	}
}

// setNow makes up for a batch whose records were added without a time of reading.
func (c *Chain) setNow(b *event.Batch) {
	b.NowSec = uint32(c.env.now().Unix())
	for i := range b.Records {
		if r := &b.Records[i]; r.Sec == 0 {
			r.Sec = b.NowSec
		}
	}
}

func firstText(b *event.Batch) []byte {
	if len(b.Records) == 0 {
		return nil
	}
	return b.Records[0].Raw
}

// failures collects what went wrong in one batch, for one alarm.
type failures struct {
	count  int
	sample []byte
}

func (f *failures) add(sample []byte) {
	if f.count == 0 {
		f.sample = sample
	}
	f.count++
}
