package query

import "fmt"

// Error says where and why a query does not parse. Pos is the 1-based column
// in characters; Found is the word that stands there ("" at the end of the
// query); Want says what was expected or which rule was broken.
type Error struct {
	Pos   int
	Found string
	Want  string
}

func (e *Error) Error() string {
	found := "the end of the query"
	if e.Found != "" {
		found = fmt.Sprintf("%q", e.Found)
	}
	return fmt.Sprintf("query, column %d: found %s, %s", e.Pos, found, e.Want)
}
