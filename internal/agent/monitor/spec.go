package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// maxDepth is the greatest MaxDirSearchDepth, as documented for input_file.
const maxDepth = 1000

// Spec says which files a watch is about, in the terms of input_file.
type Spec struct {
	// Paths are absolute patterns of files. * and ? stand for any number of
	// characters and for one character, in any part and never across a
	// separator. ** may stand once, as the last directory before the file name.
	Paths []string
	// MaxDepth (MaxDirSearchDepth, 0 to 1000) is how many directory levels **
	// may stand for; 0 means only the directory before it. It has no effect on
	// paths without **.
	MaxDepth int
	// ExcludeFilePaths are absolute patterns of files to leave out; ** stands
	// for any number of directories.
	ExcludeFilePaths []string
	// ExcludeFiles are patterns of base names to leave out, in any directory.
	ExcludeFiles []string
	// ExcludeDirs are absolute patterns of directories to leave out with all
	// that is below them. "/a/**" means every directory below /a, but not /a.
	ExcludeDirs []string
	// AllowRoot (AllowingCollectingFilesInRootDir) allows the root directory
	// itself to be collected from, or to stand before **.
	AllowRoot bool
}

// pattern is one of Spec.Paths, taken apart.
type pattern struct {
	text      string
	root      string // "/", or a volume's root on Windows
	dirs      []string
	recursive bool // ** stands behind dirs
	name      string
}

// exclude is a pattern of a whole path.
type exclude struct {
	text  string
	parts []string
}

// rules is a Spec that was checked and compiled.
type rules struct {
	paths        []pattern
	depth        int
	excludePaths []exclude
	excludeDirs  []exclude
	excludeNames []string
}

// compile checks a Spec. Its errors name the field, the value and what is
// allowed.
func compile(s Spec) (*rules, error) {
	if len(s.Paths) == 0 {
		return nil, errors.New(`FilePaths is empty: name at least one file, such as "/var/log/app/*.log"`)
	}
	if s.MaxDepth < 0 || s.MaxDepth > maxDepth {
		return nil, fmt.Errorf("MaxDirSearchDepth is %d: it must be from 0 to %d", s.MaxDepth, maxDepth)
	}
	r := &rules{depth: s.MaxDepth}
	for _, text := range s.Paths {
		p, err := parsePath(text, s.AllowRoot)
		if err != nil {
			return nil, err
		}
		r.paths = append(r.paths, p)
	}
	for _, text := range s.ExcludeDirs {
		// A separator at the end is what people write for a directory.
		if len(text) > 1 {
			text = strings.TrimRightFunc(text, func(r rune) bool { return r < utf8.RuneSelf && os.IsPathSeparator(uint8(r)) })
		}
		e, err := parseExclude("ExcludeDirs", text)
		if err != nil {
			return nil, err
		}
		if last := len(e.parts) - 1; e.parts[last] == "**" {
			// What is below, not the directory itself: at least one level.
			e.parts = append(e.parts[:last:last], "*", "**")
		}
		r.excludeDirs = append(r.excludeDirs, e)
	}
	for _, text := range s.ExcludeFilePaths {
		e, err := parseExclude("ExcludeFilePaths", text)
		if err != nil {
			return nil, err
		}
		if e.parts[len(e.parts)-1] == "**" {
			e.parts = append(e.parts, "*")
		}
		r.excludePaths = append(r.excludePaths, e)
	}
	for _, text := range s.ExcludeFiles {
		if text == "" || len(split(text)) != 1 || split(text)[0] != text {
			return nil, fmt.Errorf("ExcludeFiles has %q: it takes file names without a directory; write paths in ExcludeFilePaths", text)
		}
		r.excludeNames = append(r.excludeNames, text)
	}
	return r, nil
}

// parseRoot takes the root off an absolute path and splits what follows.
func parseRoot(field, text string) (root string, parts []string, err error) {
	switch {
	case text == "":
		return "", nil, fmt.Errorf("%s has an empty path: remove it or write an absolute path", field)
	case strings.ContainsRune(text, 0):
		return "", nil, fmt.Errorf("%s has %q: a path cannot hold a NUL byte", field, text)
	case !filepath.IsAbs(text):
		return "", nil, fmt.Errorf("%s has %q: it must be an absolute path", field, text)
	}
	vol := filepath.VolumeName(text)
	if wild(vol) {
		return "", nil, fmt.Errorf("%s has %q: no wildcard may stand in the volume", field, text)
	}
	root = vol + string(os.PathSeparator)
	parts = split(text[len(vol):])
	for _, part := range parts {
		switch {
		case part == "." || part == "..":
			return "", nil, fmt.Errorf("%s has %q: write the path without %q", field, text, part)
		case part != "**" && strings.Contains(part, "**"):
			return "", nil, fmt.Errorf("%s has %q: ** must stand alone between two separators; within a name write *", field, text)
		}
	}
	return root, parts, nil
}

func parsePath(text string, allowRoot bool) (pattern, error) {
	const field = "FilePaths"
	p := pattern{text: text}
	root, parts, err := parseRoot(field, text)
	if err != nil {
		return p, err
	}
	if len(parts) == 0 || os.IsPathSeparator(text[len(text)-1]) {
		return p, fmt.Errorf("%s has %q: it ends in a directory; add the file name, such as *.log", field, text)
	}
	last := len(parts) - 1
	p.root, p.name, p.dirs = root, parts[last], parts[:last]
	if p.name == "**" {
		return p, fmt.Errorf("%s has %q: ** stands for directories; add the file name, such as %s", field, text, join(text, "*"))
	}
	if n := len(p.dirs); n > 0 && p.dirs[n-1] == "**" {
		p.recursive = true
		p.dirs = p.dirs[:n-1]
	}
	for _, d := range p.dirs {
		if d == "**" {
			return p, fmt.Errorf("%s has %q: ** may stand once, as the last directory before the file name", field, text)
		}
	}
	if len(p.dirs) == 0 && !allowRoot {
		return p, fmt.Errorf("%s has %q: collecting from the root directory is off; name a directory or set AllowingCollectingFilesInRootDir", field, text)
	}
	return p, nil
}

func parseExclude(field, text string) (exclude, error) {
	_, parts, err := parseRoot(field, text)
	if err != nil {
		return exclude{}, err
	}
	if len(parts) == 0 {
		return exclude{}, fmt.Errorf("%s has %q: it would leave out everything; name a path below the root", field, text)
	}
	if vol := filepath.VolumeName(text); vol != "" {
		parts = append([]string{vol}, parts...)
	}
	return exclude{text: text, parts: parts}, nil
}

// excludeSubject is a path in the form that exclude patterns are compared with.
func excludeSubject(path string) []string {
	vol := filepath.VolumeName(path)
	parts := split(path[len(vol):])
	if vol != "" {
		parts = append([]string{vol}, parts...)
	}
	return parts
}

// dirExcluded looks at one directory; those above it were looked at before.
func (r *rules) dirExcluded(path string) bool {
	if len(r.excludeDirs) == 0 {
		return false
	}
	parts := excludeSubject(path)
	for _, e := range r.excludeDirs {
		if matchParts(e.parts, parts) {
			return true
		}
	}
	return false
}

// fileExcluded looks at a file; its directories were looked at before.
func (r *rules) fileExcluded(dir, name string) (bool, string) {
	for _, p := range r.excludeNames {
		if matchName(p, name) {
			return true, fmt.Sprintf("left out by ExcludeFiles %q", p)
		}
	}
	if len(r.excludePaths) > 0 {
		parts := excludeSubject(join(dir, name))
		for _, e := range r.excludePaths {
			if matchParts(e.parts, parts) {
				return true, fmt.Sprintf("left out by ExcludeFilePaths %q", e.text)
			}
		}
	}
	return false, ""
}

// Match says whether a path belongs to a Spec, and in a sentence why or why
// not: which pattern matched, or which directory, depth, name or exclusion
// stands against it. It looks at the text only, not at the disk. With several
// patterns it speaks of the one that came furthest.
func Match(s Spec, path string) (ok bool, why string) {
	r, err := compile(s)
	if err != nil {
		return false, "the configuration is wrong: " + err.Error()
	}
	root, parts, err := parseRoot("path", path)
	if err != nil {
		return false, err.Error()
	}
	if len(parts) == 0 || os.IsPathSeparator(path[len(path)-1]) {
		return false, fmt.Sprintf("%q is a directory, not a file", path)
	}
	last := len(parts) - 1
	dirs, name := parts[:last], parts[last]

	best, by := -1, ""
	for i := range r.paths {
		reached, reason := r.matchPattern(&r.paths[i], root, dirs, name)
		if reason == "" {
			by = r.paths[i].text
			break
		}
		if reached > best {
			best, why = reached, fmt.Sprintf("FilePaths %q: %s", r.paths[i].text, reason)
		}
	}
	if by == "" {
		return false, why
	}
	dir := root
	for _, d := range append([]string{""}, dirs...) {
		if d != "" {
			dir = join(dir, d)
		}
		for _, e := range r.excludeDirs {
			if matchParts(e.parts, excludeSubject(dir)) {
				return false, fmt.Sprintf("directory %q is left out by ExcludeDirs %q", dir, e.text)
			}
		}
	}
	if out, reason := r.fileExcluded(dir, name); out {
		return false, fmt.Sprintf("file %q is %s", name, reason)
	}
	return true, fmt.Sprintf("matched by FilePaths %q", by)
}

// matchPattern returns how many parts matched, and what stands against the
// rest, or "".
func (r *rules) matchPattern(p *pattern, root string, dirs []string, name string) (int, string) {
	if !matchName(p.root, root) {
		return 0, fmt.Sprintf("volume %q is not %q", root, p.root)
	}
	for i, part := range p.dirs {
		if i >= len(dirs) {
			return i, fmt.Sprintf("the path goes through %s, the pattern through %d", count(len(dirs), "directory"), len(p.dirs))
		}
		if !matchName(part, dirs[i]) {
			return i, fmt.Sprintf("directory %q does not match %q", dirs[i], part)
		}
	}
	deeper := len(dirs) - len(p.dirs)
	base := root + strings.Join(dirs[:len(p.dirs)], string(os.PathSeparator))
	switch {
	case deeper > 0 && !p.recursive:
		return len(p.dirs), fmt.Sprintf("the file lies %s below directory %q and the pattern has no **", count(deeper, "level"), base)
	case deeper > 0 && deeper > r.depth:
		return len(p.dirs), fmt.Sprintf("the file lies %s below directory %q and MaxDirSearchDepth is %d", count(deeper, "level"), base, r.depth)
	case !matchName(p.name, name):
		return len(dirs) + 1, fmt.Sprintf("file name %q does not match %q", name, p.name)
	}
	return len(dirs) + 2, ""
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
