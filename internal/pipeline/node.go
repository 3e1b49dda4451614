package pipeline

import (
	"fmt"
	"strconv"
)

// A node is one value of a configuration text, whether it was written in YAML
// or in JSON, with its place for messages.
type node struct {
	kind  kind
	place place
	text  string  // text, and a number as written
	int   int64   // integer
	bool  bool    // boolean
	items []*node // list
	pairs []pair  // object, in the order of the text
}

type pair struct {
	key   string
	place place
	value *node
}

type place struct{ line, column int }

type kind uint8

const (
	kindNull kind = iota
	kindText
	kindInteger
	kindFloat
	kindBoolean
	kindList
	kindObject
)

var kindNames = [...]string{"nothing", "text", "a whole number", "a fractional number", "true or false", "a list", "an object"}

func (k kind) String() string { return kindNames[k] }

// Bounds of a configuration text. A large pipeline is a few KB; the bounds keep
// a hostile file from costing memory, time or stack. (The YAML parser compares
// each field's name with all others of the object: 1 MiB of them took 45 s.)
const (
	maxFileBytes = 256 << 10
	maxDepth     = 32
	maxNodes     = 20_000
)

// maxShownValue is how much of a value a message repeats, in bytes.
const maxShownValue = 120

// show is the node's value as a message repeats it.
func (n *node) show() string {
	switch n.kind {
	case kindText:
		return showText(n.text)
	case kindInteger, kindFloat:
		return n.text
	case kindBoolean:
		return strconv.FormatBool(n.bool)
	case kindList:
		return fmt.Sprintf("[a list of %d]", len(n.items))
	case kindObject:
		return fmt.Sprintf("{an object of %d fields}", len(n.pairs))
	default:
		return "null"
	}
}

func showText(s string) string {
	if len(s) > maxShownValue {
		return strconv.Quote(s[:maxShownValue]) + "..."
	}
	return strconv.Quote(s)
}

// field is the value of an object's field, or nil when it is absent or null:
// "processors:" with nothing behind it means the same as no such line.
func (n *node) field(name string) *node {
	for _, p := range n.pairs {
		if p.key == name && p.value.kind != kindNull {
			return p.value
		}
	}
	return nil
}
