package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxErrors bounds what is reported of one file: nobody reads further.
const maxErrors = 50

// A reader turns nodes into the model, and collects what is wrong.
type reader struct {
	errs   Errors
	places map[string]written // by field path, for what Validate finds later
	meant  map[string]bool    // field paths that a mistyped name most likely means
}

type written struct {
	place place
	value string
}

func (r *reader) fail(path string, n *node, format string, a ...any) {
	e := &Error{Field: path, Message: fmt.Sprintf(format, a...)}
	if n != nil {
		e.Line, e.Column, e.Value = n.place.line, n.place.column, n.show()
	}
	r.errs = append(r.errs, e)
}

func (r *reader) remember(path string, n *node) {
	r.places[path] = written{n.place, n.show()}
}

// An object reads the fields of one object. Each field is asked for once, by
// name and type; done then reports the fields that nobody asked for. So the
// list of allowed fields cannot differ from the fields that are read.
type object struct {
	r       *reader
	path    string
	n       *node
	allowed []string
	later   []string // known to LoongCollector, not to us yet
}

func (r *reader) object(path string, n *node) *object {
	r.remember(path, n)
	if n.kind != kindObject {
		r.fail(path, n, "must be an object with fields, not %s", n.kind)
		n = &node{kind: kindObject, place: n.place}
	}
	return &object{r: r, path: path, n: n}
}

func (o *object) at(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

// get is the value of a field if it is there and of the wanted kind.
func (o *object) get(name string, want kind) *node {
	o.allowed = append(o.allowed, name)
	n := o.n.field(name)
	if n == nil {
		return nil
	}
	o.r.remember(o.at(name), n)
	if n.kind == want {
		return n
	}
	remedy := ""
	switch {
	case want == kindText && (n.kind == kindInteger || n.kind == kindFloat || n.kind == kindBoolean):
		remedy = "; write it in quotes"
	case n.kind == kindText && want == kindInteger && isInteger(n.text),
		n.kind == kindText && want == kindBoolean && (n.text == "true" || n.text == "false"):
		remedy = "; write it without quotes"
	case want == kindList:
		remedy = `; write it as ["..."]`
	}
	o.r.fail(o.at(name), n, "must be %s, not %s%s", want, n.kind, remedy)
	return nil
}

func (o *object) text(name string, to *string) {
	if n := o.get(name, kindText); n != nil {
		*to = n.text
	}
}

func (o *object) boolean(name string, to *bool) {
	if n := o.get(name, kindBoolean); n != nil {
		*to = n.bool
	}
}

func (o *object) integer(name string, to *int) {
	n := o.get(name, kindInteger)
	switch {
	case n == nil:
	case int64(int(n.int)) != n.int:
		o.r.fail(o.at(name), n, "is too large")
	default:
		*to = int(n.int)
	}
}

func (o *object) integer64(name string, to *int64) {
	if n := o.get(name, kindInteger); n != nil {
		*to = n.int
	}
}

func (o *object) texts(name string, to *[]string) {
	n := o.get(name, kindList)
	if n == nil {
		return
	}
	*to = make([]string, 0, len(n.items))
	for i, item := range n.items {
		path := fmt.Sprintf("%s[%d]", o.at(name), i)
		o.r.remember(path, item)
		if item.kind != kindText {
			o.r.fail(path, item, "must be text, not %s; write it in quotes", item.kind)
		}
		*to = append(*to, item.text) // also when it is wrong, so that the indexes stay those of the text
	}
}

func (o *object) textMap(name string, to *map[string]string) {
	n := o.get(name, kindObject)
	if n == nil {
		return
	}
	*to = make(map[string]string, len(n.pairs))
	for _, p := range n.pairs {
		path := o.at(name) + "." + p.key
		o.r.remember(path, p.value)
		if p.value.kind != kindText {
			o.r.fail(path, p.value, "must be text, not %s; write it in quotes", p.value.kind)
		}
		(*to)[p.key] = p.value.text
	}
}

// child is the object in a field, or nil.
func (o *object) child(name string) *object {
	if n := o.get(name, kindObject); n != nil {
		return o.r.object(o.at(name), n)
	}
	return nil
}

// list calls read for each element of a list of objects.
func (o *object) list(name string, read func(*object)) {
	n := o.get(name, kindList)
	if n == nil {
		return
	}
	for i, item := range n.items {
		read(o.r.object(fmt.Sprintf("%s[%d]", o.at(name), i), item))
	}
}

// ignored names fields that say nothing about collecting.
func (o *object) ignored(names ...string) { o.allowed = append(o.allowed, names...) }

// later names a field that LoongCollector has and we do not have yet. A file
// that leaves it at a value that changes nothing (often written by consoles
// and exports) is accepted; anything else would be promised and not done.
// neutral are texts as show gives them.
func (o *object) unsupported(name string, neutral ...string) {
	o.later = append(o.later, name)
	n := o.n.field(name)
	if n == nil || slices.Contains(neutral, n.show()) {
		return
	}
	switch n.kind {
	case kindList:
		if len(n.items) == 0 {
			return
		}
	case kindObject:
		if len(n.pairs) == 0 {
			return
		}
	case kindText:
		if n.text == "" {
			return
		}
	}
	remedy := "remove it"
	if len(neutral) > 0 {
		remedy = "remove it or set it to " + strings.Join(neutral, " or ")
	}
	o.r.fail(o.at(name), n, "is a field of LoongCollector that is not supported yet; %s", remedy)
}

// done reports the fields that nobody asked for.
func (o *object) done() {
	for _, p := range o.n.pairs {
		if slices.Contains(o.allowed, p.key) || slices.Contains(o.later, p.key) {
			continue
		}
		if len(o.r.errs) >= maxErrors {
			return
		}
		allowed := slices.Clone(o.allowed)
		slices.Sort(allowed)
		hint := ""
		if near := nearest(p.key, allowed); near != "" {
			hint = fmt.Sprintf("did you mean %s? ", near)
			o.r.meant[o.at(near)] = true
		}
		o.r.errs = append(o.r.errs, &Error{
			Line: p.place.line, Column: p.place.column, Field: o.at(p.key), Value: p.value.show(),
			Message: fmt.Sprintf("unknown field; %sallowed here: %s", hint, oneOf(allowed)),
		})
	}
}

func isInteger(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}
