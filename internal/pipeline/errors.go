package pipeline

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Error is one thing that is wrong with a configuration.
type Error struct {
	File         string // as given to Parse; "" for a pipeline that was built in code
	Line, Column int    // from 1; 0 when there is no text to point at
	Field        string // path of the field, for example inputs[0].FilePaths[1]; "" for the whole file
	Value        string // the value as written, quoted when it is text; "" when there is none to show
	Message      string // what is wrong, and the remedy
}

// Error is "FILE:LINE:COLUMN: FIELD = VALUE: MESSAGE", without the parts that
// are not known.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
		}
		b.WriteString(": ")
	}
	if e.Field != "" {
		b.WriteString(showField(e.Field))
		if e.Value != "" {
			b.WriteString(" = ")
			b.WriteString(e.Value)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// showField keeps a message on one line and short: a field's name may come from
// a hostile file.
func showField(path string) string {
	if len(path) > maxShownValue {
		path = path[:maxShownValue] + "..."
	}
	if quoted := strconv.Quote(path); quoted[1:len(quoted)-1] != path {
		return quoted
	}
	return path
}

// Errors is everything that is wrong with one configuration, in the order of
// the text. A list that is returned as an error is never empty.
type Errors []*Error

// Error is one line per error.
func (l Errors) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find each *Error.
func (l Errors) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}

// asError is nil for an empty list; else the list in the order of the text.
func (l Errors) asError() error {
	if len(l) == 0 {
		return nil
	}
	sort.SliceStable(l, func(i, j int) bool {
		if l[i].Line != l[j].Line {
			return l[i].Line < l[j].Line
		}
		return l[i].Column < l[j].Column
	})
	return l
}

// nearest returns the candidate that a mistyped name most likely means, or "":
// the one with the fewest edits, and not more than a third of its length.
func nearest(name string, candidates []string) string {
	best, bestDistance := "", 1<<30
	for _, c := range candidates {
		if strings.EqualFold(c, name) {
			return c
		}
		if d := editDistance(strings.ToLower(name), strings.ToLower(c)); d < bestDistance && d <= (len(c)+2)/3 {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance is Levenshtein's distance in bytes. Names longer than any field
// of ours are cut, so that a hostile file costs nothing.
func editDistance(a, b string) int {
	const longest = 64
	a, b = a[:min(len(a), longest)], b[:min(len(b), longest)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func oneOf(allowed []string) string { return strings.Join(allowed, ", ") }
