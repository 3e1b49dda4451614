package process

import (
	"fmt"

	"logtail/internal/agent/alarm"
	"logtail/internal/agent/event"
	"logtail/internal/onepass"
	"logtail/internal/pipeline"
)

// regexParser is processor_parse_regex_native: the expression has to match the
// whole text, and its groups become the fields named by Keys, in their order. A
// group that took no part gives an empty value; groups without a key are left
// out. As in Logtail, a dot matches line ends too, so that one expression can take
// a multi-line record apart.
type regexParser struct {
	parser
	expr     *onepass.Regexp
	keys     [][]byte
	distinct bool
	copies   bool  // the expression is (.*): the text is the value
	caps     []int // scratch
}

func newRegex(c *pipeline.ParseRegex, e *env) (processor, error) {
	base, err := newParser(&c.ParseOptions, e, alarm.RegexMatch,
		"the expression does not match the whole log; adapt Regex to the sample")
	if err != nil {
		return nil, err
	}
	if c.Regex == "" {
		return nil, fmt.Errorf("the Regex is empty; give an expression with a group for each of Keys")
	}
	p := &regexParser{parser: base}
	if p.keys, err = keyList(c.Keys); err != nil {
		return nil, err
	}
	if p.expr, err = onepass.Compile("(?s)" + c.Regex); err != nil {
		return nil, fmt.Errorf("the Regex cannot be used: %w", err)
	}
	if n := p.expr.NumSubexp(); n < len(p.keys) {
		return nil, fmt.Errorf("the Regex has %d groups, but there are %d Keys; each key needs a group", n, len(p.keys))
	}
	p.distinct = distinct(p.keys)
	p.copies = c.Regex == "(.*)"
	return p, nil
}

func (p *regexParser) clone() processor {
	c := *p
	c.parser, c.expr, c.caps = p.fork(), p.expr.Clone(), nil
	return &c
}

// Run parses the records of b.
func (p *regexParser) Run(b *event.Batch) {
	for n := range b.Records {
		r := &b.Records[n]
		if r.Drop != event.Kept {
			continue
		}
		i := p.find(r)
		if i < 0 {
			continue
		}
		if p.parse(r.Fields[i].Value) {
			p.succeed(r, i)
		} else {
			p.fail(r, i)
		}
	}
	p.done()
}

// parse takes text apart into p.out.
func (p *regexParser) parse(text []byte) bool {
	p.out = p.out[:0]
	if p.copies {
		p.out = append(p.out, event.Field{Key: p.keys[0], Value: text})
		return true
	}
	m := p.expr.FullMatch(p.caps[:0], text)
	if m == nil {
		return false
	}
	p.caps = m
	for k, key := range p.keys {
		var value []byte
		if from := m[2*k+2]; from >= 0 {
			value = text[from:m[2*k+3]]
		}
		if p.distinct {
			p.out = append(p.out, event.Field{Key: key, Value: value})
		} else {
			p.out = setField(p.out, key, value)
		}
	}
	return true
}
