package api

import "strings"

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// validProject says whether SLS takes the name for a project: 3 to 63 lower-case
// letters, digits and hyphens, no hyphen at either end. It has to be a label of
// a host name.
func validProject(name string) bool {
	return validName(name, 3, lower+digits, "-")
}

// validLogstore says whether a logstore may have the name: 2 to 63 letters,
// digits, hyphens and underscores, a letter or digit at either end.
func validLogstore(name string) bool {
	return validName(name, 2, lower+upper+digits, "-_")
}

func validName(name string, shortest int, ends, inner string) bool {
	if len(name) < shortest || len(name) > 63 {
		return false
	}
	for i := range len(name) {
		if strings.IndexByte(ends, name[i]) < 0 && (i == 0 || i == len(name)-1 || strings.IndexByte(inner, name[i]) < 0) {
			return false
		}
	}
	return true
}
