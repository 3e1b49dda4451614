package pipeline

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// parseYAML reads one YAML document. Anchors, aliases and merge keys are
// followed; tags are refused, as no field needs one.
func parseYAML(data []byte) (n *node, err error) {
	if e := checkYAMLDepth(data); e != nil {
		return nil, e
	}
	// The parser is a library that reads what people and services write. A
	// fault in it must not end an agent that runs other pipelines.
	defer func() {
		if r := recover(); r != nil {
			n, err = nil, &Error{Message: fmt.Sprintf("the YAML parser failed on this text (%v); simplify it, or write it as JSON", r)}
		}
	}()
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			e := &Error{Message: "not valid YAML: " + syntax.GetMessage()}
			if t := syntax.GetToken(); t != nil && t.Position != nil {
				e.Line, e.Column = t.Position.Line, t.Position.Column
			}
			return nil, e
		}
		return nil, &Error{Message: "not valid YAML: " + err.Error()}
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc == nil || doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			at := yamlPlace(doc.Body)
			return nil, &Error{Line: at.line, Column: at.column, Message: "a second YAML document; write one pipeline per file"}
		}
		body = doc.Body
	}
	if body == nil {
		return &node{}, nil
	}
	c := yamlConverter{anchors: map[string]anchor{}}
	return c.node(body, 0)
}

// checkYAMLDepth refuses nesting that would only serve to exhaust the parser's
// stack: it calls itself once per level. Brackets inside of text count too, but
// no honest text leaves this many of them open.
func checkYAMLDepth(data []byte) *Error {
	const most = 1000
	open, line := 0, 1
	dashes, questions := 0, 0
	for _, c := range data {
		switch c {
		case '[', '{':
			open++
		case ']', '}':
			open = max(open-1, 0)
		case '\n':
			line++
			dashes, questions = 0, 0
		case '-':
			dashes++
		case '?', ':':
			questions++
		case ' ', '\t':
		default:
			if dashes < most && questions < most {
				dashes, questions = 0, 0
			}
		}
		if open > most || dashes > most || questions > most {
			return &Error{Line: line, Column: 1, Message: fmt.Sprintf("nested more than %d levels deep; a pipeline needs fewer than %d", most, maxDepth)}
		}
	}
	return nil
}

type yamlConverter struct {
	anchors map[string]anchor
	nodes   int // values so far; an alias counts for all that it stands for
}

type anchor struct {
	node *node
	size int
}

func yamlPlace(n ast.Node) place {
	t := n.GetToken()
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		t = m.Values[0].Key.GetToken()
	}
	if t == nil || t.Position == nil {
		return place{}
	}
	return place{t.Position.Line, t.Position.Column}
}

func (c *yamlConverter) node(y ast.Node, depth int) (*node, error) {
	at := yamlPlace(y)
	fail := func(format string, a ...any) (*node, error) {
		return nil, &Error{Line: at.line, Column: at.column, Message: fmt.Sprintf(format, a...)}
	}
	if depth > maxDepth {
		return fail("nested more than %d levels deep", maxDepth)
	}
	if c.nodes++; c.nodes > maxNodes {
		return fail("more than %d values in one file", maxNodes)
	}
	switch v := y.(type) {
	case nil, *ast.NullNode:
		return &node{place: at}, nil
	case *ast.StringNode:
		return &node{kind: kindText, place: at, text: v.Value}, nil
	case *ast.LiteralNode:
		return &node{kind: kindText, place: at, text: v.Value.Value}, nil
	case *ast.BoolNode:
		return &node{kind: kindBoolean, place: at, bool: v.Value}, nil
	case *ast.IntegerNode:
		n := &node{kind: kindInteger, place: at, text: v.Token.Value}
		switch i := v.Value.(type) {
		case int64:
			n.int = i
		case uint64:
			if n.int = int64(i); n.int < 0 {
				n.kind = kindFloat // beyond int64: no field takes it
			}
		}
		return n, nil
	case *ast.FloatNode:
		return &node{kind: kindFloat, place: at, text: v.Token.Value}, nil
	case *ast.InfinityNode:
		return &node{kind: kindFloat, place: at, text: v.Token.Value}, nil
	case *ast.NanNode:
		return &node{kind: kindFloat, place: at, text: v.Token.Value}, nil
	case *ast.AnchorNode:
		before := c.nodes
		n, err := c.node(v.Value, depth+1)
		if err != nil {
			return nil, err
		}
		c.anchors[v.Name.GetToken().Value] = anchor{n, c.nodes - before}
		return n, nil
	case *ast.AliasNode:
		name := v.Value.GetToken().Value
		a, ok := c.anchors[name]
		if !ok {
			return fail("the alias *%s has no anchor &%s before it", name, name)
		}
		if c.nodes += a.size; c.nodes > maxNodes {
			return fail("more than %d values in one file", maxNodes)
		}
		return a.node, nil
	case *ast.SequenceNode:
		n := &node{kind: kindList, place: at, items: make([]*node, 0, len(v.Values))}
		for _, item := range v.Values {
			i, err := c.node(item, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, i)
		}
		return n, nil
	case *ast.MappingNode:
		return c.object(v.Values, at, depth)
	case *ast.MappingValueNode:
		return c.object([]*ast.MappingValueNode{v}, at, depth)
	case *ast.TagNode:
		return fail("the tag %s is not supported; remove it", v.Start.Value)
	default:
		return fail("%s is not supported here", strings.ToLower(y.Type().String()))
	}
}

func (c *yamlConverter) object(values []*ast.MappingValueNode, at place, depth int) (*node, error) {
	n := &node{kind: kindObject, place: at}
	own := map[string]bool{}
	var merged []pair
	for _, mv := range values {
		keyAt := yamlPlace(mv.Key)
		value, err := c.node(mv.Value, depth+1)
		if err != nil {
			return nil, err
		}
		if mv.Key.IsMergeKey() {
			pairs, ok := mergePairs(value)
			if !ok {
				return nil, &Error{Line: keyAt.line, Column: keyAt.column, Message: "the merge key << needs an object or a list of objects"}
			}
			merged = append(merged, pairs...)
			continue
		}
		key, ok := yamlKey(mv.Key)
		if !ok {
			return nil, &Error{Line: keyAt.line, Column: keyAt.column, Message: "a field name must be plain text"}
		}
		if own[key] {
			return nil, duplicateField(key, keyAt)
		}
		own[key] = true
		n.pairs = append(n.pairs, pair{key, keyAt, value})
	}
	for _, p := range merged { // what the object says itself comes first, then the earlier of the merged ones
		if !own[p.key] {
			own[p.key] = true
			n.pairs = append(n.pairs, p)
		}
	}
	return n, nil
}

func yamlKey(k ast.MapKeyNode) (string, bool) {
	switch v := k.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.MappingKeyNode, *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.NullNode:
		return "", false
	}
	if t := k.GetToken(); t != nil {
		return t.Value, true // a number or true as a name: reported as an unknown field, with its text
	}
	return "", false
}

func mergePairs(n *node) ([]pair, bool) {
	switch n.kind {
	case kindObject:
		return n.pairs, true
	case kindList:
		var all []pair
		for _, item := range n.items {
			if item.kind != kindObject {
				return nil, false
			}
			all = append(all, item.pairs...)
		}
		return all, true
	}
	return nil, false
}

func duplicateField(key string, at place) *Error {
	return &Error{Line: at.line, Column: at.column, Field: key, Message: "written twice in the same object; keep one of them"}
}
