package query

import (
	"fmt"
	"strings"
)

// Limits of a query.
const (
	// MaxLength is the most bytes of a query.
	MaxLength = 32 << 10
	// MaxDepth is how deep brackets and not may be nested.
	MaxDepth = 64
	// MaxConditions is the most words, comparisons and ranges. (SLS itself
	// promises 30.)
	MaxConditions = 256
)

// Parse reads the search half of a query; an empty one is All. Every error is
// an *Error.
func Parse(s string) (Expr, error) {
	if len(s) > MaxLength {
		return nil, &Error{Pos: 1, Found: clip(s), Want: fmt.Sprintf("a query of %d bytes; at most %d are allowed", len(s), MaxLength)}
	}
	toks, err := lex(s)
	if err != nil {
		return nil, err
	}
	p := &parser{src: s, toks: toks}
	if p.peek().kind == tokEnd {
		return All{}, nil
	}
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokEnd {
		return nil, p.unexpected(t, "expected `and`, `or` or the end of the query")
	}
	return e, nil
}

type parser struct {
	src        string
	toks       []token
	i          int
	depth      int
	conditions int
}

func (p *parser) peek() token { return p.toks[p.i] }

// peekAt looks n tokens further; after the end it stays at the end.
func (p *parser) peekAt(n int) token { return p.toks[min(p.i+n, len(p.toks)-1)] }

func (p *parser) next() token {
	t := p.toks[p.i]
	if t.kind != tokEnd {
		p.i++
	}
	return t
}

func (p *parser) errorAt(t token, want string) error {
	return &Error{Pos: column(p.src, t.pos), Found: clip(p.src[t.pos:t.end]), Want: want}
}

// unexpected prefers the reason that is behind the token to what was expected.
func (p *parser) unexpected(t token, want string) error {
	switch t.kind {
	case tokPipe:
		want = "but SQL after `|` is not supported by this version; search without it"
	case tokUnequal:
		want = "which is no operator of a search; write `not key = 5`"
	case tokSquare, tokUnsquare:
		want += "; put a text with brackets in quotes"
	case tokColon:
		want += "; put a text with a colon in quotes"
	}
	return p.errorAt(t, want)
}

// or = and { "or" and }
func (p *parser) or() (Expr, error) {
	first, err := p.and()
	if err != nil {
		return nil, err
	}
	args := appendOr(nil, first)
	for p.peek().keyword("or") {
		p.next()
		e, err := p.and()
		if err != nil {
			return nil, err
		}
		args = appendOr(args, e)
	}
	if len(args) == 1 {
		return args[0], nil
	}
	return Or{Args: args}, nil
}

// and = unary { ["and"] unary }
func (p *parser) and() (Expr, error) {
	first, err := p.unary()
	if err != nil {
		return nil, err
	}
	args := appendAnd(nil, first)
	for {
		t := p.peek()
		switch {
		case t.keyword("and"):
			p.next()
		case t.keyword("or"), t.kind != tokWord && t.kind != tokQuoted && t.kind != tokPhrase && t.kind != tokOpen:
			if len(args) == 1 {
				return args[0], nil
			}
			return And{Args: args}, nil
		}
		e, err := p.unary()
		if err != nil {
			return nil, err
		}
		args = appendAnd(args, e)
	}
}

// Nested joins of one kind become one node, so that brackets that change
// nothing do not change the tree.
func appendOr(args []Expr, e Expr) []Expr {
	if o, ok := e.(Or); ok {
		return append(args, o.Args...)
	}
	return append(args, e)
}

func appendAnd(args []Expr, e Expr) []Expr {
	if a, ok := e.(And); ok {
		return append(args, a.Args...)
	}
	return append(args, e)
}

// unary = "not" unary | "(" or ")" | condition
func (p *parser) unary() (Expr, error) {
	t := p.peek()
	isNot := t.keyword("not") && p.peekAt(1).kind != tokColon
	if !isNot && t.kind != tokOpen {
		return p.condition()
	}
	p.next()
	if p.depth++; p.depth > MaxDepth {
		return nil, p.errorAt(t, fmt.Sprintf("but brackets and `not` are nested more than %d deep", MaxDepth))
	}
	defer func() { p.depth-- }()
	if isNot {
		e, err := p.unary()
		if err != nil {
			return nil, err
		}
		return Not{Arg: e}, nil
	}
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	if c := p.next(); c.kind != tokClose {
		return nil, p.unexpected(c, fmt.Sprintf("expected `)` for the bracket in column %d", column(p.src, t.pos)))
	}
	return e, nil
}

// condition = key ":" value | key op number | key "in" range | text
func (p *parser) condition() (Expr, error) {
	t := p.next()
	switch t.kind {
	case tokPhrase:
		return p.text("", t)
	case tokWord, tokQuoted:
		if t.keyword("and") || t.keyword("or") || t.keyword("not") {
			return nil, p.errorAt(t, "expected a condition; put a word of the query language in quotes to search it")
		}
	default:
		return nil, p.unexpected(t, "expected a word, a text in quotes, `key:value`, `not` or `(`")
	}
	n := p.peek()
	isKey := n.kind == tokColon || n.kind == tokCompare || n.kind == tokUnequal || p.startsRange()
	if !isKey {
		if t.kind == tokWord && t.text == "*" {
			return All{}, p.count(t, 1)
		}
		return p.text("", t)
	}
	key, err := p.key(t)
	if err != nil {
		return nil, err
	}
	switch n := p.next(); {
	case n.kind == tokColon:
		return p.value(key)
	case n.kind == tokCompare:
		return p.compare(key, n)
	case n.keyword("in"):
		return p.rangeOf(key)
	default:
		return nil, p.unexpected(n, "expected `:`, a comparison or `in [low high]` after the key")
	}
}

// startsRange says whether `in` and a bracket follow; `in` is a word else.
func (p *parser) startsRange() bool {
	b := p.peekAt(1).kind
	return p.peek().keyword("in") && (b == tokSquare || b == tokOpen)
}

// key checks a key and joins `__tag__:name`.
func (p *parser) key(t token) (string, error) {
	if t.kind == tokWord {
		if isKeyword(t.text) {
			return "", p.errorAt(t, "which is a word of the query language; put it in quotes to use it as a key")
		}
		if strings.ContainsAny(t.text, "*?") {
			return "", p.errorAt(t, "but a key cannot have wildcards; put it in quotes if it is a name")
		}
		if t.text == tagWord && p.peek().kind == tokColon {
			p.next()
			name := p.next()
			if name.kind != tokWord && name.kind != tokQuoted {
				return "", p.unexpected(name, "expected `__tag__:name:value`")
			}
			if name.kind == tokWord && (isKeyword(name.text) || strings.ContainsAny(name.text, "*?")) {
				return "", p.errorAt(name, "which cannot be the name of a tag unless in quotes")
			}
			return TagPrefix + name.text, nil
		}
	}
	if t.text == "" {
		return "", p.errorAt(t, "but a key cannot be empty")
	}
	return t.text, nil
}

// value reads what follows `key:`.
func (p *parser) value(key string) (Expr, error) {
	t := p.peek()
	switch {
	case t.kind == tokSquare || t.kind == tokOpen:
		return p.rangeOf(key)
	case t.kind == tokWord && isKeyword(t.text):
		return nil, p.errorAt(t, "expected a value; put a word of the query language in quotes to search it")
	case t.kind == tokWord && t.text == "*":
		p.next()
		return Exists{Key: key}, p.count(t, 1)
	case t.kind == tokWord || t.kind == tokQuoted || t.kind == tokPhrase:
		p.next()
		return p.text(key, t)
	}
	return nil, p.unexpected(t, "expected a value after the key and `:`")
}

// text makes a condition of a word, a quoted text or a phrase.
func (p *parser) text(key string, t token) (Expr, error) {
	e := Text{Key: key, Value: t.text}
	switch t.kind {
	case tokPhrase:
		e.Kind = Phrase
	case tokWord:
		if v, ok := strings.CutSuffix(t.text, "*"); ok {
			e.Kind, e.Value = Prefix, v
		}
		if strings.ContainsAny(e.Value, "*?") {
			return nil, p.errorAt(t, "but this version supports a wildcard only as a `*` at the end of a word; put the text in quotes to search it as it is")
		}
	}
	n := len(tokens(e.Value))
	if n == 0 && (key == "" || e.Value != "" || e.Kind != Words) {
		return nil, p.errorAt(t, "which has no word to search; use `*` for everything and `key:*` for any value")
	}
	return e, p.count(t, max(n, 1))
}

// count adds to the conditions of the query.
func (p *parser) count(t token, n int) error {
	if p.conditions += n; p.conditions > MaxConditions {
		return p.errorAt(t, fmt.Sprintf("but a query has at most %d words and conditions", MaxConditions))
	}
	return nil
}

func (p *parser) compare(key string, op token) (Expr, error) {
	t := p.next()
	n, err := p.number(t, t.text)
	if err != nil {
		return nil, err
	}
	c := Compare{Key: key, Value: n}
	switch op.text {
	case ">":
		c.Op = Greater
	case ">=":
		c.Op = GreaterEqual
	case "<":
		c.Op = Less
	case "<=":
		c.Op = LessEqual
	case "=":
		c.Op = Equal
	}
	return c, p.count(t, 1)
}

func (p *parser) number(t token, text string) (Number, error) {
	if t.kind == tokWord {
		if n, ok := ParseNumber([]byte(text)); ok {
			return n, nil
		}
	}
	return Number{}, p.unexpected(t, "expected a decimal number; compare texts with `key:value`")
}

// rangeOf reads `[low high)` with any of the brackets and a space or a comma.
func (p *parser) rangeOf(key string) (Expr, error) {
	open := p.next()
	r := Range{Key: key, LowOpen: open.kind == tokOpen}
	var bounds []Number
	commas := 0
	for p.peek().kind == tokWord {
		t := p.next()
		for i, part := range strings.Split(t.text, ",") {
			commas += min(i, 1)
			if part == "" {
				continue
			}
			n, err := p.number(t, part)
			if err != nil {
				return nil, err
			}
			if bounds = append(bounds, n); len(bounds) == 1 && commas > 0 || len(bounds) > 2 {
				return nil, p.errorAt(t, "expected a range of two numbers such as [200 300)")
			}
		}
	}
	end := p.next()
	if end.kind != tokUnsquare && end.kind != tokClose || len(bounds) != 2 || commas > 1 {
		return nil, p.errorAt(end, "expected a range of two numbers such as [200 300)")
	}
	r.Low, r.High, r.HighOpen = bounds[0], bounds[1], end.kind == tokClose
	return r, p.count(open, 2)
}
