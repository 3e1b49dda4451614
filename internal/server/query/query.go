// Package query is the search half of the SLS query language: a lexer, a
// parser with error positions, and one tree that knows no engine.
package query
