package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// parseJSON reads one JSON value (RFC 8259).
func parseJSON(data []byte) (*node, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	c := jsonConverter{data: data, d: d, line: 1}
	n, err := c.node(0)
	if err != nil {
		return nil, err
	}
	at := c.next()
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, &Error{Line: at.line, Column: at.column, Message: "text after the end of the JSON object; write one pipeline per file"}
	}
	return n, nil
}

type jsonConverter struct {
	data  []byte
	d     *json.Decoder
	nodes int

	// place of data[counted]; goes forward only, so that finding places costs
	// one pass over the text
	counted, line, lineStart int
}

// next is the place of the token that comes next.
func (c *jsonConverter) next() place {
	i := int(c.d.InputOffset())
	for i < len(c.data) && bytes.IndexByte([]byte(" \t\r\n,:"), c.data[i]) >= 0 {
		i++
	}
	return c.at(i)
}

func (c *jsonConverter) at(offset int) place {
	for ; c.counted < offset && c.counted < len(c.data); c.counted++ {
		if c.data[c.counted] == '\n' {
			c.line++
			c.lineStart = c.counted + 1
		}
	}
	return place{c.line, utf8.RuneCount(c.data[c.lineStart:max(c.lineStart, min(offset, len(c.data)))]) + 1}
}

func (c *jsonConverter) fail(err error) error {
	offset := int(c.d.InputOffset())
	var syntax *json.SyntaxError
	message := err.Error()
	if errors.As(err, &syntax) {
		// The token reader gives the offset of the bad character, the value
		// scanner the offset behind it.
		if int(syntax.Offset) > offset {
			offset = int(syntax.Offset) - 1
		}
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		offset = len(c.data)
		message = "the text ends too early"
	}
	at := c.at(offset)
	return &Error{Line: at.line, Column: at.column, Message: "not valid JSON: " + message}
}

func (c *jsonConverter) node(depth int) (*node, error) {
	at := c.next()
	if c.nodes++; depth > maxDepth || c.nodes > maxNodes {
		return nil, &Error{Line: at.line, Column: at.column, Message: fmt.Sprintf("nested more than %d levels deep, or more than %d values in one file", maxDepth, maxNodes)}
	}
	t, err := c.d.Token()
	if err != nil {
		return nil, c.fail(err)
	}
	n := &node{place: at}
	switch v := t.(type) {
	case string:
		n.kind, n.text = kindText, v
	case bool:
		n.kind, n.bool = kindBoolean, v
	case json.Number:
		n.kind, n.text = kindFloat, v.String()
		if i, err := strconv.ParseInt(n.text, 10, 64); err == nil {
			n.kind, n.int = kindInteger, i
		}
	case json.Delim:
		if v == '[' {
			return c.list(n, depth)
		}
		return c.object(n, depth)
	}
	return n, nil
}

func (c *jsonConverter) list(n *node, depth int) (*node, error) {
	n.kind = kindList
	for c.d.More() {
		item, err := c.node(depth + 1)
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, item)
	}
	if _, err := c.d.Token(); err != nil {
		return nil, c.fail(err)
	}
	return n, nil
}

func (c *jsonConverter) object(n *node, depth int) (*node, error) {
	n.kind = kindObject
	seen := map[string]bool{}
	for c.d.More() {
		at := c.next()
		t, err := c.d.Token()
		if err != nil {
			return nil, c.fail(err)
		}
		key, ok := t.(string)
		if !ok {
			return nil, &Error{Line: at.line, Column: at.column, Message: "not valid JSON: a field name must be text in quotes"}
		}
		if seen[key] {
			return nil, duplicateField(key, at)
		}
		seen[key] = true
		value, err := c.node(depth + 1)
		if err != nil {
			return nil, err
		}
		n.pairs = append(n.pairs, pair{key, at, value})
	}
	if _, err := c.d.Token(); err != nil {
		return nil, c.fail(err)
	}
	return n, nil
}
