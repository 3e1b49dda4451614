// Package query is the search half of the SLS query language: a lexer, a
// parser with error positions, one tree (Expr) that knows no engine, and one
// Matcher that says for every engine which rows a tree selects.
//
// A search is made of conditions, which `and`, `or` and `not` join (not binds
// tighter than and, and tighter than or; two conditions side by side are
// joined by and):
//
//   - every row
//     error                  the word in any value (field, tag, topic or source)
//     "disk full"            all words of the text, each in any value
//     #"disk full"           the words side by side, in one value
//     err*                   a word that begins with err
//     key:error              the same four forms for the values of one field
//     key:*                  the field is there
//     key:""                 the field is there and empty
//     key > 5                a number compared: > >= < <= =
//     key in [200 300)       a range; key:[200,300) is the same
//     __topic__:t            the reserved fields: topic, source and tags
//     __tag__:__path__:/x
//
// A word is what stands between two delimiters (IsDelimiter); upper and lower
// case of ASCII letters are the same. A searched text that holds delimiters is
// the and of its words.
package query
