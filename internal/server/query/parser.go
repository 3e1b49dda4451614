package query

import "strings"

// Parse reads the search half of a query. Every error is an *Error.
func Parse(s string) (Expr, error) {
	switch t := strings.TrimSpace(s); t {
	case "", "*":
		return All{}, nil
	default:
		return nil, &Error{Pos: 1, Found: t, Want: "but only `*` is understood so far"}
	}
}
