package query

// Expr is a node of the search tree.
type Expr interface{ String() string }
