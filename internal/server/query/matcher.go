package query

import (
	"strconv"

	"logtail/internal/sls"
)

// NodeOp is what a Node of a compiled query does.
type NodeOp uint8

// The operations of compiled nodes.
const (
	NodeAll  NodeOp = iota // every row
	NodeNone               // no row
	NodeAnd
	NodeOr
	NodeNot  // exactly one argument
	NodeLeaf // Leaf decides
)

// Node is a compiled Expr: a tree whose leaves are single conditions. It is
// read-only and may be used by many goroutines.
type Node struct {
	Op   NodeOp
	Args []*Node
	Leaf *Leaf
}

// LeafKind is the kind of a single condition.
type LeafKind uint8

// The kinds of leaves.
const (
	LeafToken  LeafKind = iota // a word
	LeafPrefix                 // the beginning of a word
	LeafPhrase                 // words side by side
	LeafExists                 // any value
	LeafEmpty                  // the empty value
	LeafNumber                 // a number between two bounds
)

// Leaf is one condition on the values of a row. It holds for a row when it
// holds for one of the values of its key.
type Leaf struct {
	Kind LeafKind
	// Key is the field, TopicKey, SourceKey or a tag (TagPrefix and name); ""
	// stands for all of them.
	Key string
	// Index numbers the leaves of a query from 0.
	Index int

	words  []needle
	low    Number
	high   Number
	hasLow bool
	// hasHigh and the open flags complete the bounds of LeafNumber.
	hasHigh, lowOpen, highOpen bool

	// The only integer whose canonical form is the word of a LeafToken.
	intWord   int64
	isIntWord bool
}

// Matcher is a compiled query.
type Matcher struct {
	Root   *Node
	Leaves []*Leaf // by Leaf.Index
}

// Compile prepares a tree for evaluation. A nil tree is All. It panics on a
// type that is not of this package.
func Compile(e Expr) *Matcher {
	m := &Matcher{}
	m.Root = m.compile(e)
	return m
}

func (m *Matcher) compile(e Expr) *Node {
	switch e := e.(type) {
	case nil, All:
		return &Node{Op: NodeAll}
	case And:
		return m.join(NodeAnd, e.Args)
	case Or:
		return m.join(NodeOr, e.Args)
	case Not:
		return negate(m.compile(e.Arg))
	case Text:
		return m.compileText(e)
	case Exists:
		return m.leaf(&Leaf{Kind: LeafExists, Key: e.Key})
	case Range:
		return m.leaf(&Leaf{
			Kind: LeafNumber, Key: e.Key, low: e.Low, hasLow: true, lowOpen: e.LowOpen,
			high: e.High, hasHigh: true, highOpen: e.HighOpen,
		})
	case Compare:
		l := &Leaf{Kind: LeafNumber, Key: e.Key}
		switch e.Op {
		case Greater, GreaterEqual:
			l.low, l.hasLow, l.lowOpen = e.Value, true, e.Op == Greater
		case Less, LessEqual:
			l.high, l.hasHigh, l.highOpen = e.Value, true, e.Op == Less
		case Equal:
			l.low, l.high, l.hasLow, l.hasHigh = e.Value, e.Value, true, true
		}
		return m.leaf(l)
	}
	panic("query: Compile: unknown node " + e.String())
}

func negate(n *Node) *Node {
	switch n.Op {
	case NodeAll:
		return &Node{Op: NodeNone}
	case NodeNone:
		return &Node{Op: NodeAll}
	case NodeNot:
		return n.Args[0]
	}
	return &Node{Op: NodeNot, Args: []*Node{n}}
}

func (m *Matcher) join(op NodeOp, args []Expr) *Node {
	nodes := make([]*Node, len(args))
	for i, a := range args {
		nodes[i] = m.compile(a)
	}
	return joinNodes(op, nodes)
}

// joinNodes leaves out arguments that decide nothing, and the node itself where
// one argument decides all.
func joinNodes(op NodeOp, nodes []*Node) *Node {
	neutral, decisive := NodeAll, NodeNone
	if op == NodeOr {
		neutral, decisive = NodeNone, NodeAll
	}
	kept := nodes[:0]
	for _, n := range nodes {
		switch n.Op {
		case decisive:
			return n
		case neutral:
		default:
			kept = append(kept, n)
		}
	}
	switch len(kept) {
	case 0:
		return &Node{Op: neutral}
	case 1:
		return kept[0]
	}
	return &Node{Op: op, Args: kept}
}

func (m *Matcher) leaf(l *Leaf) *Node {
	l.Index = len(m.Leaves)
	m.Leaves = append(m.Leaves, l)
	return &Node{Op: NodeLeaf, Leaf: l}
}

// compileText makes a leaf per word, so that each can be pruned and evaluated
// alone; a phrase stays one leaf.
func (m *Matcher) compileText(e Text) *Node {
	words := tokens(e.Value)
	if len(words) == 0 {
		switch {
		case e.Key != "" && e.Value == "" && e.Kind == Words:
			return m.leaf(&Leaf{Kind: LeafEmpty, Key: e.Key})
		default:
			return &Node{Op: NodeNone} // Parse refuses it
		}
	}
	if e.Kind == Phrase && len(words) > 1 {
		l := &Leaf{Kind: LeafPhrase, Key: e.Key}
		for _, w := range words {
			l.words = append(l.words, newNeedle(w))
		}
		return m.leaf(l)
	}
	// `a/*` asks for the word a only: nothing is known of the next one.
	prefix := e.Kind == Prefix && !IsDelimiter(e.Value[len(e.Value)-1])
	var nodes []*Node
	for i, w := range words {
		l := &Leaf{Kind: LeafToken, Key: e.Key, words: []needle{newNeedle(w)}}
		if prefix && i == len(words)-1 {
			l.Kind = LeafPrefix
		} else {
			l.intWord, l.isIntWord = ParseCanonicalInt(w)
		}
		nodes = append(nodes, m.leaf(l))
	}
	return joinNodes(NodeAnd, nodes)
}

// Match says whether the condition holds for a value.
func (l *Leaf) Match(v []byte) bool {
	switch l.Kind {
	case LeafToken:
		return l.words[0].index(v, 0, false) >= 0
	case LeafPrefix:
		return l.words[0].index(v, 0, true) >= 0
	case LeafPhrase:
		return l.matchPhrase(v)
	case LeafExists:
		return true
	case LeafEmpty:
		return len(v) == 0
	default:
		n, ok := ParseNumber(v)
		return ok && l.inBounds(n)
	}
}

// IntWord returns the only integer whose canonical form the condition matches,
// for a LeafToken; ok is false when it matches none.
func (l *Leaf) IntWord() (v int64, ok bool) { return l.intWord, l.isIntWord }

// MatchInt is Match for the canonical form of an integer.
func (l *Leaf) MatchInt(v int64, scratch []byte) bool {
	switch l.Kind {
	case LeafToken:
		return l.isIntWord && v == l.intWord
	case LeafNumber:
		return l.inBounds(IntNumber(v))
	case LeafExists:
		return true
	case LeafPrefix:
		return l.words[0].at(strconv.AppendInt(scratch[:0], v, 10), 0, true)
	}
	return false // a canonical integer is one word, and not empty
}

// MayMatchInts says whether Match can hold for the canonical form of an
// integer in [low, high].
func (l *Leaf) MayMatchInts(low, high int64) bool {
	switch l.Kind {
	case LeafToken:
		return l.isIntWord && low <= l.intWord && l.intWord <= high
	case LeafNumber:
		// The order of Cmp is monotone, so it is enough to look at the ends.
		above, below := 0, 0
		if l.hasLow {
			above = l.low.Cmp(IntNumber(high))
		}
		if l.hasHigh {
			below = IntNumber(low).Cmp(l.high)
		}
		return (!l.hasLow || above < 0 || above == 0 && !l.lowOpen) &&
			(!l.hasHigh || below < 0 || below == 0 && !l.highOpen)
	case LeafEmpty, LeafPhrase:
		return false
	}
	return true
}

func (l *Leaf) inBounds(n Number) bool {
	if l.hasLow {
		if c := n.Cmp(l.low); c < 0 || c == 0 && l.lowOpen {
			return false
		}
	}
	if l.hasHigh {
		if c := n.Cmp(l.high); c > 0 || c == 0 && l.highOpen {
			return false
		}
	}
	return true
}

// matchPhrase looks for the first word and then compares the words after it.
func (l *Leaf) matchPhrase(v []byte) bool {
	first := &l.words[0]
	for start := first.index(v, 0, false); start >= 0; start = first.index(v, start+1, false) {
		end := start + len(first.word)
		found := true
		for i := 1; i < len(l.words) && found; i++ {
			next, nextEnd := NextToken(v, end)
			found = next >= 0 && nextEnd-next == len(l.words[i].word) && l.words[i].at(v, next, false)
			end = nextEnd
		}
		if found {
			return true
		}
	}
	return false
}

// RequiredWords returns the words, in lower case, that a value must hold for
// the condition to hold for it; none are known for other kinds than LeafToken
// and LeafPhrase.
func (l *Leaf) RequiredWords() [][]byte {
	if l.Kind != LeafToken && l.Kind != LeafPhrase {
		return nil
	}
	words := make([][]byte, len(l.words))
	for i := range l.words {
		words[i] = l.words[i].word
	}
	return words
}

// MatchJoined says whether the condition holds for one of several values that
// are joined by a delimiter, in one pass where the kind allows it: only words
// and their beginnings can be looked for so. known is false for other kinds.
func (l *Leaf) MatchJoined(joined []byte) (match, known bool) {
	if l.Kind == LeafToken || l.Kind == LeafPrefix {
		return l.Match(joined), true
	}
	return false, false
}

// LeafSource answers the conditions of a query for one row.
type LeafSource interface{ MatchLeaf(l *Leaf) bool }

// Eval evaluates the tree for one row.
func (n *Node) Eval(src LeafSource) bool {
	switch n.Op {
	case NodeAll:
		return true
	case NodeLeaf:
		return src.MatchLeaf(n.Leaf)
	case NodeNot:
		return !n.Args[0].Eval(src)
	case NodeAnd:
		for _, a := range n.Args {
			if !a.Eval(src) {
				return false
			}
		}
		return true
	case NodeOr:
		for _, a := range n.Args {
			if a.Eval(src) {
				return true
			}
		}
	}
	return false
}

// Row is a row to match: the contents of a log, the tags of its group with
// TagPrefix before their keys, topic and source.
type Row struct {
	Topic, Source  []byte
	Contents, Tags []sls.Content
}

// MatchLeaf implements LeafSource.
func (r *Row) MatchLeaf(l *Leaf) bool {
	if len(r.Topic) > 0 && (l.Key == "" || l.Key == TopicKey) && l.Match(r.Topic) {
		return true
	}
	if len(r.Source) > 0 && (l.Key == "" || l.Key == SourceKey) && l.Match(r.Source) {
		return true
	}
	return matchContents(l, r.Contents) || matchContents(l, r.Tags)
}

func matchContents(l *Leaf, contents []sls.Content) bool {
	for i := range contents {
		if (l.Key == "" || l.Key == string(contents[i].Key)) && l.Match(contents[i].Value) {
			return true
		}
	}
	return false
}

// Match says whether the query selects the row. It allocates nothing.
func (m *Matcher) Match(r *Row) bool { return m.Root.Eval(r) }

// IsAll says whether the query selects every row.
func (m *Matcher) IsAll() bool { return m.Root.Op == NodeAll }
