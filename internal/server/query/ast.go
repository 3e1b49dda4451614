package query

import (
	"strings"
)

// Expr is a node of the search tree: All, And, Or, Not, Text, Exists, Compare
// or Range. String writes a tree that Parse returned so that Parse reads an
// equal tree from it.
type Expr interface{ String() string }

// TagPrefix begins the key of a tag of the log group: the tag __path__ is the
// field "__tag__:__path__".
const TagPrefix = "__tag__:"

// The keys of a log group's topic and source.
const (
	TopicKey  = "__topic__"
	SourceKey = "__source__"
)

// All matches every row: `*`, or an empty query.
type All struct{}

// And matches rows that all arguments match. Parse returns at least two
// arguments, none of which is an And.
type And struct{ Args []Expr }

// Or matches rows that at least one argument matches. Parse returns at least
// two arguments, none of which is an Or.
type Or struct{ Args []Expr }

// Not matches the rows that its argument does not match, also those that lack
// the field that the argument speaks of.
type Not struct{ Arg Expr }

// TextKind says how a Text is looked for.
type TextKind uint8

// The kinds of text conditions.
const (
	// Words: every word of the text occurs, in whatever order and place.
	Words TextKind = iota
	// Phrase: the words of the text occur in one value, in order and with no
	// other word between them.
	Phrase
	// Prefix: as Words, but the last word is the beginning of one.
	Prefix
)

// Text looks for words in the values of the field Key, or in all values (of
// fields, tags, topic and source) where Key is "". An empty Value is allowed
// with a Key and kind Words only, and means that the field is there and empty.
type Text struct {
	Key   string
	Kind  TextKind
	Value string
}

// Exists matches rows that have the field, also an empty one. Topic and source
// are there when they are not empty.
type Exists struct{ Key string }

// Op is a comparison.
type Op uint8

// The comparisons.
const (
	Greater Op = iota
	GreaterEqual
	Less
	LessEqual
	Equal
)

func (o Op) String() string { return [...]string{">", ">=", "<", "<=", "="}[o] }

// Compare matches rows in which a value of the field is a number (see
// ParseNumber) that compares so with Value.
type Compare struct {
	Key   string
	Op    Op
	Value Number
}

// Range matches rows in which a value of the field is a number between Low and
// High; a bound that is open does not belong to the range itself.
type Range struct {
	Key               string
	Low, High         Number
	LowOpen, HighOpen bool
}

func (All) String() string { return "*" }

func (e And) String() string { return join(e.Args, " and ") }

func (e Or) String() string { return join(e.Args, " or ") }

func join(args []Expr, sep string) string {
	parts := make([]string, len(args))
	for i, a := range args {
		parts[i] = operand(a)
	}
	return strings.Join(parts, sep)
}

func (e Not) String() string { return "not " + operand(e.Arg) }

// operand puts brackets around what binds no tighter than its surroundings.
func operand(e Expr) string {
	switch e.(type) {
	case And, Or:
		return "(" + e.String() + ")"
	}
	return e.String()
}

func (e Text) String() string {
	key := ""
	if e.Key != "" {
		key = keyString(e.Key) + ":"
	}
	switch e.Kind {
	case Phrase:
		return key + "#" + quote(e.Value)
	case Prefix:
		return key + e.Value + "*"
	}
	return key + wordString(e.Value)
}

func (e Exists) String() string { return keyString(e.Key) + ":*" }

func (e Compare) String() string {
	return keyString(e.Key) + " " + e.Op.String() + " " + e.Value.String()
}

func (e Range) String() string {
	open, shut := "[", "]"
	if e.LowOpen {
		open = "("
	}
	if e.HighOpen {
		shut = ")"
	}
	return keyString(e.Key) + " in " + open + e.Low.String() + " " + e.High.String() + shut
}

func keyString(key string) string {
	if name, ok := strings.CutPrefix(key, TagPrefix); ok {
		return TagPrefix + wordString(name)
	}
	// A bare __tag__ would be taken for the beginning of a tag.
	if key == tagWord {
		return quote(key)
	}
	return wordString(key)
}

// wordString writes a text bare where that is unambiguous, else in quotes.
func wordString(s string) string {
	if s == "" || isKeyword(s) || strings.ContainsAny(s, "*?") || strings.HasPrefix(s, `#"`) || wordEnd(s, 0) != len(s) {
		return quote(s)
	}
	return s
}

func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}
