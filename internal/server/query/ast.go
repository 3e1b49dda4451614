package query

// Expr is a node of the search tree.
type Expr interface{ String() string }

// All matches every row: `*`, or an empty query.
type All struct{}

func (All) String() string { return "*" }
