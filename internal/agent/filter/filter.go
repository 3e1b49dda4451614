// Package filter is the fourth step of collection: it lets pass the records
// whose named fields all exist and match.
package filter

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"logtail/internal/agent/event"
	"logtail/internal/onepass"
	"logtail/internal/pipeline"
)

// Filter is processor_filter_regex_native: a record passes if every named field
// is in it and the field's whole value matches the field's expression. As in
// Logtail, a dot matches line ends too. A Filter belongs to one goroutine; Clone it for others.
type Filter struct {
	conds []condition
}

type condition struct {
	key  []byte
	expr *onepass.Regexp
	caps []int // scratch
}

// New compiles a filter. Its error names the field whose expression is wrong.
func New(c *pipeline.FilterRegex) (*Filter, error) {
	if len(c.FilterKey) != len(c.FilterRegex) {
		return nil, fmt.Errorf("FilterKey has %d entries and FilterRegex %d; each key needs one expression", len(c.FilterKey), len(c.FilterRegex))
	}
	if len(c.FilterKey)+len(c.Include) == 0 {
		return nil, fmt.Errorf("the filter names no field; give FilterKey and FilterRegex, or Include")
	}
	f := &Filter{}
	for i, k := range c.FilterKey {
		if err := f.add(k, c.FilterRegex[i]); err != nil {
			return nil, err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.Include)) {
		if err := f.add(k, c.Include[k]); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *Filter) add(key, expr string) error {
	if key == "" {
		return fmt.Errorf("the filter has a field without a name; name the field that %q is for", expr)
	}
	re, err := onepass.Compile("(?s)" + expr)
	if err != nil {
		return fmt.Errorf("the filter's expression for field %q cannot be used: %w", key, err)
	}
	f.conds = append(f.conds, condition{key: []byte(key), expr: re})
	return nil
}

// Clone returns a filter of the same settings with scratch memory of its own.
func (f *Filter) Clone() *Filter {
	c := &Filter{conds: make([]condition, len(f.conds))}
	for i, cond := range f.conds {
		c.conds[i] = condition{key: cond.key, expr: cond.expr.Clone()}
	}
	return c
}

// Run marks the kept records of b that do not pass as Filtered.
func (f *Filter) Run(b *event.Batch) {
	for i := range b.Records {
		if r := &b.Records[i]; r.Drop == event.Kept && !f.passes(r) {
			r.Drop = event.Filtered
		}
	}
}

func (f *Filter) passes(r *event.Record) bool {
next:
	for i := range f.conds {
		c := &f.conds[i]
		for j := range r.Fields {
			if bytes.Equal(r.Fields[j].Key, c.key) {
				m := c.expr.FullMatch(c.caps[:0], r.Fields[j].Value)
				if m == nil {
					return false
				}
				c.caps = m
				continue next
			}
		}
		return false
	}
	return true
}
