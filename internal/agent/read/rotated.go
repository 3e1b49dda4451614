package read

import (
	"path/filepath"
	"regexp"
	"strings"
)

// archiveSuffixes are what compressors append to a name.
var archiveSuffixes = []string{".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".lz4", ".zip", ".Z"}

// The parts of what rotation adds to a name.
const (
	rotatedTime = `(?:[01]\d|2[0-3])(?:[-_.:h]?[0-5]\d(?:[-_.:]?[0-5]\d(?:[.,_-]\d{1,9})?)?)?`
	rotatedDay  = `(?:19|20|21)\d\d[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?:[-_.T]?` + rotatedTime + `(?:Z|[+-]\d{4})?)?`
	// A month, a second or millisecond since 1970, an index, or a word for the one before.
	rotatedPart = `(?:` + rotatedDay + `|(?:19|20|21)\d\d[-_.]?(?:0[1-9]|1[0-2])|\d{10}|\d{13}|\d{1,5}|old|prev)`
)

var (
	// rotatedAfter is what is appended to a name: separators, except before a date (log4net).
	rotatedAfter = regexp.MustCompile(`^(?:` + rotatedDay + `|[-_.]{1,2}` + rotatedPart + `)(?:[-_.]{1,2}` + rotatedPart + `){0,2}$`)
	// rotatedWithin is what stands before a name's extension. Longer numbers are more likely
	// a port or another number of an instance.
	rotatedWithin = regexp.MustCompile(`^(?:` + rotatedDay + `|[-_.]{1,2}(?:` + rotatedDay + `|(?:19|20|21)\d\d[-_.]?(?:0[1-9]|1[0-2])|\d{10}|\d{13}|\d{1,3}|old|prev))(?:[-_.]{1,2}` + rotatedPart + `){0,2}$`)
)

// Rotated says whether name is what rotation makes of the file name base: with an
// index (.1), a date or time in the usual forms (-20261121, -20261121-1763700000,
// .2026-11-21-10, -2026-11-21T10-30-00.000), or .old or .prev, appended or put before
// the extension (logrotate's "extension", log4j, logback, lumberjack), and each of
// them, or base itself, with the suffix of a compressor. A name that ends in .bak or ~
// is a copy that a person or an editor made.
func Rotated(base, name string) bool {
	plain, compressed := cutArchive(name)
	if plain == base {
		return compressed
	}
	if base == "" {
		return false
	}
	ext := filepath.Ext(base)
	stem := base[:len(base)-len(ext)]
	if stem == "" { // a hidden file has no extension
		ext, stem = "", base
	}
	if rest, ok := strings.CutPrefix(plain, base); ok {
		if rotatedAfter.MatchString(rest) {
			return true
		}
		if within, ok := strings.CutSuffix(rest, ext); ok && ext != "" && rotatedAfter.MatchString(within) {
			return true // app.log.1.log
		}
	}
	if ext == "" {
		return false
	}
	rest, ok := strings.CutPrefix(plain, stem)
	if !ok {
		return false
	}
	rest, ok = strings.CutSuffix(rest, ext)
	return ok && rotatedWithin.MatchString(rest)
}

// cutArchive returns name without the suffix of a compressor.
func cutArchive(name string) (plain string, compressed bool) {
	for _, s := range archiveSuffixes {
		if p, ok := strings.CutSuffix(name, s); ok && p != "" {
			return p, true
		}
	}
	return name, false
}
