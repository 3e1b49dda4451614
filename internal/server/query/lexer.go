package query

import (
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokWord
	tokQuoted
	tokPhrase
	tokColon
	tokOpen   // (
	tokClose  // )
	tokSquare // [
	tokUnsquare
	tokCompare // > >= < <= =
	tokUnequal // != and <>
	tokPipe
)

// token is one piece of a query: text is the content of a quoted text without
// escapes, else what is written.
type token struct {
	kind tokenKind
	text string
	pos  int // in bytes
	end  int
}

const tagWord = "__tag__"

func isKeyword(s string) bool {
	switch strings.ToLower(s) {
	case "and", "or", "not", "in":
		return true
	}
	return false
}

func (t token) keyword(k string) bool { return t.kind == tokWord && strings.EqualFold(t.text, k) }

// wordEnd returns where the bare word of s that begins at i ends.
func wordEnd(s string, i int) int {
	for ; i < len(s); i++ {
		switch s[i] {
		case ' ', '\t', '\n', '\r', '"', '(', ')', '[', ']', ':', '<', '>', '=', '|':
			return i
		case '!':
			if i+1 < len(s) && s[i+1] == '=' {
				return i
			}
		}
	}
	return i
}

// lex splits a query; the last token is tokEnd.
func lex(s string) ([]token, error) {
	var toks []token
	for i := 0; ; {
		for i < len(s) && strings.IndexByte(" \t\r\n", s[i]) >= 0 {
			i++
		}
		if i == len(s) {
			return append(toks, token{kind: tokEnd, pos: i, end: i}), nil
		}
		t, err := lexOne(s, i)
		if err != nil {
			return nil, err
		}
		toks = append(toks, t)
		i = t.end
	}
}

func lexOne(s string, i int) (token, error) {
	one := func(k tokenKind, n int) (token, error) {
		return token{kind: k, text: s[i : i+n], pos: i, end: i + n}, nil
	}
	next := byte(0)
	if i+1 < len(s) {
		next = s[i+1]
	}
	switch c := s[i]; c {
	case ':':
		return one(tokColon, 1)
	case '(':
		return one(tokOpen, 1)
	case ')':
		return one(tokClose, 1)
	case '[':
		return one(tokSquare, 1)
	case ']':
		return one(tokUnsquare, 1)
	case '|':
		return one(tokPipe, 1)
	case '=':
		return one(tokCompare, 1)
	case '<', '>':
		if next == '=' {
			return one(tokCompare, 2)
		}
		if c == '<' && next == '>' {
			return one(tokUnequal, 2)
		}
		return one(tokCompare, 1)
	case '!':
		if next == '=' {
			return one(tokUnequal, 2)
		}
	case '"':
		return lexQuoted(s, i, i, tokQuoted)
	case '#':
		if next == '"' {
			return lexQuoted(s, i, i+1, tokPhrase)
		}
	}
	return one(tokWord, wordEnd(s, i)-i)
}

// lexQuoted reads the text between quotes, which begin at open. A backslash
// escapes a quote or a backslash; before anything else it stands for itself,
// so that a Windows path need not be escaped.
func lexQuoted(s string, pos, open int, kind tokenKind) (token, error) {
	var b strings.Builder
	for i := open + 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return token{kind: kind, text: b.String(), pos: pos, end: i + 1}, nil
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return token{}, &Error{Pos: column(s, pos), Found: clip(s[pos:]), Want: "a text whose closing quote is missing"}
}

// column turns a byte offset into a 1-based column in characters.
func column(s string, pos int) int { return utf8.RuneCountInString(s[:pos]) + 1 }

// clip shortens what is quoted in an error.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	n := most
	for n > most-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}
