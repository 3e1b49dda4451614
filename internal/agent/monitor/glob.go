package monitor

import (
	"os"
	"runtime"
	"strings"
	"unicode/utf8"
)

// foldCase says that file names are compared without regard to case, as the
// system does.
const foldCase = runtime.GOOS == "windows"

// wild says whether a part of a path holds a wildcard. Only * and ? are
// wildcards, as documented for FilePaths; brackets and braces are ordinary
// characters (a general glob library would give them a meaning).
func wild(part string) bool { return strings.ContainsAny(part, "*?") }

// matchName says whether one part of a path matches one part of a pattern:
// * stands for any number of characters, ? for exactly one. A byte that is no
// valid UTF-8 counts as one character. Neither ever sees a separator, because
// paths are taken apart first.
func matchName(pattern, name string) bool {
	if foldCase {
		pattern, name = strings.ToLower(pattern), strings.ToLower(name)
	}
	p, n := 0, 0
	star, mark := -1, 0 // position after the last *, and where it began to match
	for n < len(name) {
		if p < len(pattern) {
			switch pattern[p] {
			case '*':
				p++
				star, mark = p, n
				continue
			case '?':
				_, size := utf8.DecodeRuneInString(name[n:])
				p++
				n += size
				continue
			case name[n]:
				p++
				n++
				continue
			}
		}
		if star < 0 {
			return false
		}
		// Let the last * take one character more, never a part of one.
		_, size := utf8.DecodeRuneInString(name[mark:])
		mark += size
		p, n = star, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchParts is matchName over whole paths, part by part; the part ** stands
// for any number of directories, none included.
func matchParts(pattern, parts []string) bool {
	p, n := 0, 0
	star, mark := -1, 0
	for n < len(parts) {
		if p < len(pattern) {
			if pattern[p] == "**" {
				p++
				star, mark = p, n
				continue
			}
			if matchName(pattern[p], parts[n]) {
				p++
				n++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, n = star, mark
	}
	for p < len(pattern) && pattern[p] == "**" {
		p++
	}
	return p == len(pattern)
}

// split takes an absolute path behind its root apart.
func split(rest string) []string {
	return strings.FieldsFunc(rest, func(r rune) bool { return r < utf8.RuneSelf && os.IsPathSeparator(uint8(r)) })
}

// join is the path of name in dir. (filepath.Join would clean it each time.)
func join(dir, name string) string {
	if os.IsPathSeparator(dir[len(dir)-1]) {
		return dir + name
	}
	return dir + string(os.PathSeparator) + name
}
