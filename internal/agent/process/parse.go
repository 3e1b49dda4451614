package process

import (
	"bytes"
	"fmt"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

// RawLogKey is the field with the text of a log that failed to parse, where
// KeepingSourceWhenParseFail is on and RenamedSourceKey names no other: as the
// documents of Logtail promise, the original log is uploaded with the key raw_log.
const RawLogKey = "raw_log"

// copiedRawLogKey is the field that CopingRawLog adds, in LoongCollector's spelling.
const copiedRawLogKey = "__raw_log__"

// notContent are the fields that do not make a record worth keeping when its text is gone: its place and time.
var notContent = [][]byte{[]byte("__file_offset__"), []byte("_time_"), []byte("_source_")}

// parser is what the parsing processors share: the source field, and what
// becomes of it.
//
// On success the parsed fields take the place of the source field; with
// KeepingSourceWhenParseSucceed it is kept as RenamedSourceKey (default: its own name), unless a parsed
// field has that name. On failure the source field is taken out; with KeepingSourceWhenParseFail its text is
// kept under RenamedSourceKey, or raw_log if that is not given or is the source key itself; CopingRawLog adds
// it as __raw_log__. A record that has nothing left is dropped as unparsed.
type parser struct {
	env       *env
	source    []byte
	keptKey   []byte // on success; nil: not kept
	failedKey []byte // on failure; nil: not kept
	copyKey   []byte // on failure; nil: no copy

	alarm   alarm.Type
	what    string // "JSON object": for messages
	out     []event.Field
	failed  failures
	missing uint64
	kept    uint64
}

func newParser(o *pipeline.ParseOptions, e *env, t alarm.Type, what string) (parser, error) {
	if o.SourceKey == "" {
		return parser{}, fmt.Errorf("SourceKey is empty; name the field to parse, for example %q", contentKey)
	}
	p := parser{env: e, source: []byte(o.SourceKey), alarm: t, what: what}
	if o.KeepingSourceWhenParseSucceed {
		p.keptKey = p.source
		if o.RenamedSourceKey != "" {
			p.keptKey = []byte(o.RenamedSourceKey)
		}
	}
	if o.KeepingSourceWhenParseFail {
		p.failedKey = []byte(RawLogKey)
		if o.RenamedSourceKey != "" && o.RenamedSourceKey != o.SourceKey {
			p.failedKey = []byte(o.RenamedSourceKey)
		}
	}
	if o.CopingRawLog {
		p.copyKey = []byte(copiedRawLogKey)
	}
	return p, nil
}

// fork returns a copy without the scratch.
func (p *parser) fork() parser {
	c := *p
	c.out = nil
	return c
}

// keyList turns Keys into bytes.
func keyList(keys []string) ([][]byte, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("the list Keys is empty; name the fields to parse into")
	}
	out := make([][]byte, len(keys))
	for i, k := range keys {
		if k == "" {
			return nil, fmt.Errorf("entry %d of Keys is empty; name the field", i+1)
		}
		out[i] = []byte(k)
	}
	return out, nil
}

// distinct says whether no key occurs twice.
func distinct(keys [][]byte) bool {
	seen := make(map[string]bool, len(keys))
	for _, k := range keys {
		if seen[string(k)] {
			return false
		}
		seen[string(k)] = true
	}
	return true
}

// find returns the index of the source field of r, or -1, which is counted.
func (p *parser) find(r *event.Record) int {
	i := fieldIndex(r.Fields, p.source)
	if i < 0 {
		p.missing++
	}
	return i
}

func fieldIndex(fields []event.Field, key []byte) int {
	for i := range fields {
		if bytes.Equal(fields[i].Key, key) {
			return i
		}
	}
	return -1
}

// setField gives the field key the value, which replaces that of an earlier one.
func setField(fields []event.Field, key, value []byte) []event.Field {
	if i := fieldIndex(fields, key); i >= 0 {
		fields[i].Value = value
		return fields
	}
	return append(fields, event.Field{Key: key, Value: value})
}

// succeed puts p.out in the place of the source field at index i.
func (p *parser) succeed(r *event.Record, i int) {
	text := r.Fields[i].Value
	if len(r.Fields) == 1 {
		r.Fields, p.out = p.out, r.Fields[:0]
	} else {
		r.Fields = append(r.Fields[:i], r.Fields[i+1:]...)
		for _, f := range p.out {
			r.Fields = setField(r.Fields, f.Key, f.Value)
		}
	}
	if p.keptKey != nil && fieldIndex(r.Fields, p.keptKey) < 0 {
		r.Fields = append(r.Fields, event.Field{Key: p.keptKey, Value: text})
	}
}

// fail does with the source field at index i what is configured.
func (p *parser) fail(r *event.Record, i int) {
	text := r.Fields[i].Value
	p.failed.add(text)
	r.Fields = append(r.Fields[:i], r.Fields[i+1:]...)
	if p.failedKey != nil {
		p.kept++
		if fieldIndex(r.Fields, p.failedKey) < 0 {
			r.Fields = append(r.Fields, event.Field{Key: p.failedKey, Value: text})
		}
	}
	if p.copyKey != nil {
		if p.failedKey == nil {
			p.kept++
		}
		if fieldIndex(r.Fields, p.copyKey) < 0 {
			r.Fields = append(r.Fields, event.Field{Key: p.copyKey, Value: text})
		}
	}
	if p.failedKey == nil && p.copyKey == nil && !hasContent(r.Fields) {
		r.Drop = event.Unparsed
	}
}

func hasContent(fields []event.Field) bool {
next:
	for i := range fields {
		for _, k := range notContent {
			if bytes.Equal(fields[i].Key, k) {
				continue next
			}
		}
		return true
	}
	return false
}

// done counts and reports what happened since the last call.
func (p *parser) done() {
	if p.missing > 0 {
		p.env.stats.KeysMissing.Add(p.missing)
		p.missing = 0
	}
	if p.failed.count == 0 {
		return
	}
	p.env.stats.ParseFailures.Add(uint64(p.failed.count))
	p.env.stats.FailuresKept.Add(p.kept)
	p.env.alarms.Raise(p.alarm, p.env.scope, p.failed.count, p.what, p.failed.sample)
	p.failed, p.kept = failures{}, 0
}
