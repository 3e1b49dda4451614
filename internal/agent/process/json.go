package process

import (
	"github.com/cespare/xxhash/v2"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

// jsonParser is processor_parse_json_native: the text has to be one JSON
// object, as strictly as RFC 8259 says; its members become fields. Strings are
// unescaped (a surrogate without its partner becomes U+FFFD; bytes that are no UTF-8
// stay as they are), null is the empty value, numbers, true and false stay as they are
// written, and so do objects and arrays, with their blanks. Of members of equal name the
// last one counts, at the place of the first.
type jsonParser struct {
	parser
	scanner jsonScanner
	names   nameSet
}

func newJSON(c *pipeline.ParseJSON, e *env) (processor, error) {
	base, err := newParser(&c.ParseOptions, e, alarm.ParseLogFail, "the log is no JSON object; see the sample")
	if err != nil {
		return nil, err
	}
	return &jsonParser{parser: base}, nil
}

func (p *jsonParser) clone() processor { return &jsonParser{parser: p.fork()} }

// Run parses the records of b.
func (p *jsonParser) Run(b *event.Batch) {
	for n := range b.Records {
		r := &b.Records[n]
		if r.Drop != event.Kept {
			continue
		}
		i := p.find(r)
		if i < 0 {
			continue
		}
		if p.parse(b, r.Fields[i].Value) {
			p.succeed(r, i)
		} else {
			p.fail(r, i)
		}
	}
	p.done()
}

// parse takes text apart into p.out.
func (p *jsonParser) parse(b *event.Batch, text []byte) bool {
	p.out = p.out[:0]
	p.names.reset()
	i := skipBlanks(text, 0)
	if i == len(text) || text[i] != '{' {
		return false
	}
	if i = skipBlanks(text, i+1); i < len(text) && text[i] == '}' {
		return skipBlanks(text, i+1) == len(text)
	}
	for {
		if i == len(text) || text[i] != '"' {
			return false
		}
		end, escaped := scanString(text, i+1)
		if end < 0 {
			return false
		}
		key := text[i+1 : end]
		if escaped {
			key = unescape(b.Alloc(len(key)), key)
		}
		if i = skipBlanks(text, end+1); i == len(text) || text[i] != ':' {
			return false
		}
		if i = skipBlanks(text, i+1); i == len(text) {
			return false
		}
		var value []byte
		if text[i] == '"' {
			if end, escaped = scanString(text, i+1); end < 0 {
				return false
			}
			value = text[i+1 : end]
			if escaped {
				value = unescape(b.Alloc(len(value)), value)
			}
			end++
		} else {
			if end = p.scanner.value(text, i); end < 0 {
				return false
			}
			if text[i] != 'n' {
				value = text[i:end]
			}
		}
		p.member(key, value)
		if i = skipBlanks(text, end); i == len(text) {
			return false
		}
		switch text[i] {
		case ',':
			i = skipBlanks(text, i+1)
		case '}':
			return skipBlanks(text, i+1) == len(text)
		default:
			return false
		}
	}
}

// member adds a field, or gives an earlier one of the same name the new value.
func (p *jsonParser) member(key, value []byte) {
	if i := p.names.add(p.out, key); i >= 0 {
		p.out[i].Value = value
		return
	}
	p.out = append(p.out, event.Field{Key: key, Value: value})
}

// nameSet finds a field by name. A few fields are looked through, and only if a
// bit of their names' summary says that it may be worth it; many are hashed, so that a
// log with thousands of members cannot take quadratic time.
type nameSet struct {
	summary uint64
	table   []int32 // open addressing; index of a field + 1, 0 = free
	used    int     // fields in the table
}

// fewNames is how many fields are looked through.
const fewNames = 32

func (s *nameSet) reset() {
	s.summary = 0
	if s.used > 0 {
		clear(s.table)
		s.used = 0
	}
}

// add returns the index in fields of the field key or, if there is none, notes
// that key will be appended to fields, and returns -1.
func (s *nameSet) add(fields []event.Field, key []byte) int {
	if len(fields) < fewNames {
		h := uint(len(key))
		if len(key) > 0 {
			h += uint(key[0])*31 + uint(key[len(key)-1])*7 + uint(key[len(key)/2])*3
		}
		bit := uint64(1) << (h & 63)
		if s.summary&bit != 0 {
			return fieldIndex(fields, key)
		}
		s.summary |= bit
		return -1
	}
	for s.used < len(fields) {
		s.put(fields, s.used)
	}
	if 2*(s.used+1) > len(s.table) {
		s.grow(fields)
	}
	mask := uint64(len(s.table) - 1)
	for at := xxhash.Sum64(key) & mask; ; at = (at + 1) & mask {
		switch i := int(s.table[at]) - 1; {
		case i < 0:
			s.table[at] = int32(s.used + 1)
			s.used++
			return -1
		case string(fields[i].Key) == string(key):
			return i
		}
	}
}

// put adds field number i, which is not in the table.
func (s *nameSet) put(fields []event.Field, i int) {
	if 2*(i+1) > len(s.table) {
		s.grow(fields)
	}
	mask := uint64(len(s.table) - 1)
	at := xxhash.Sum64(fields[i].Key) & mask
	for s.table[at] != 0 {
		at = (at + 1) & mask
	}
	s.table[at] = int32(i + 1)
	s.used = i + 1
}

// grow makes the table twice as large.
func (s *nameSet) grow(fields []event.Field) {
	used := s.used
	s.table = make([]int32, max(4*fewNames, 2*len(s.table)))
	for i := range used {
		s.put(fields, i)
	}
	s.used = used
}
