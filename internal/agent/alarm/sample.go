package alarm

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// mask stands where a secret was.
const mask = "***"

var (
	// named finds a value behind a name that secrets go by: password=x, "token": "x", Authorization: Bearer x.
	named = regexp.MustCompile(`(?i)((?:passw(?:or)?d|pwd|passphrase|secret|token|authorization|credential|cookie|signature|` +
		`api[_-]?key|access[_-]?key|private[_-]?key)[\w-]*\\?["']?\s*[:=]\s*)` +
		`("(?:[^"\\]|\\.)*"?|\\"[^"\\]*|'[^']*'?|(?:(?:bearer|basic|digest|log|acs)\s+)?[^\s,;&"'\\}\])]+)`)
	// inURL finds the user and password of a URL.
	inURL = regexp.MustCompile(`(://)[^\s/@"']+@`)
	// keyID finds access key ids by their shape.
	keyID = regexp.MustCompile(`\b(?:LTAI[0-9A-Za-z]{8,}|AKIA[0-9A-Z]{12,})\b`)
)

// Sample turns log text into what may stand in an alarm: at most MaxSample
// bytes, valid UTF-8, and without what looks like a secret. It cannot know
// every secret, so alarms go to the operator of the machine and nowhere else.
func Sample(text []byte) string {
	if len(text) == 0 {
		return ""
	}
	// Masking looks at more than is shown, so that a secret that the cut
	// would leave without its name or its end is still seen.
	s := string(text[:min(len(text), 2*MaxSample)])
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = named.ReplaceAllString(s, "${1}"+mask)
	s = inURL.ReplaceAllString(s, "${1}"+mask+"@")
	s = keyID.ReplaceAllString(s, mask)
	if len(s) <= MaxSample {
		return s
	}
	n := MaxSample
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
