package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// change is what happens to a file that is not only written on.
type change string

const (
	renamed   change = "renamed"   // rotation: another file is made in its place
	replaced  change = "replaced"  // another file takes its place; of a link: it leads to another file
	rewritten change = "rewritten" // truncated, and written from its beginning
)

// fate is one file of the matrix, with what must arrive of it.
type fate struct {
	f       *fixture
	name    string
	created bool // while the agent runs; else it is there before
	empty   bool // at its birth, and what follows it, if that begins alike
	link    bool // the path is a symbolic link to a file elsewhere
	change  change
	alike   bool // the content behind a change begins like the one before

	elsewhere string   // the folder of the files that links lead to
	target    string   // the file itself
	content   []string // of the file now
	want      []string // all that must arrive, in order
	lines     int
	files     int
}

// fresh returns n lines that were never written before.
func (l *fate) fresh(n int) []string {
	var list []string
	for range n {
		l.lines++
		list = append(list, fmt.Sprintf("%s|%04d", l.name, l.lines))
	}
	return list
}

func (l *fate) path() string { return l.f.path(l.name + ".log") }

func (l *fate) must(err error) {
	l.f.t.Helper()
	if err != nil {
		l.f.t.Fatalf("%s: %v", l.name, err)
	}
}

// put writes a file with content, and l expects it.
func (l *fate) put(path string, content []string) {
	l.f.t.Helper()
	text := ""
	if len(content) > 0 {
		text = strings.Join(content, "\n") + "\n"
	}
	l.must(os.WriteFile(path, []byte(text), 0o600))
	l.content = content
	l.want = append(l.want, content...)
}

// next returns the path of a new file of l, which nobody watches.
func (l *fate) next() string {
	l.files++
	return filepath.Join(l.elsewhere, fmt.Sprintf("%s-%d", l.name, l.files))
}

func (l *fate) born() {
	l.f.t.Helper()
	var content []string
	if !l.empty {
		content = l.fresh(2)
	}
	l.target = l.path()
	if l.link {
		l.target = l.next()
	}
	l.put(l.target, content)
	if l.link {
		l.must(os.Symlink(l.target, l.path()))
	}
}

func (l *fate) modify() {
	l.f.t.Helper()
	more := l.fresh(2)
	w, err := os.OpenFile(l.target, os.O_WRONLY|os.O_APPEND, 0)
	l.must(err)
	defer w.Close()
	_, err = w.WriteString(strings.Join(more, "\n") + "\n")
	l.must(err)
	l.content = append(l.content, more...)
	l.want = append(l.want, more...)
}

// replace does what l.change says. What follows begins with the first line of what was
// before if it is to be alike, and always differs behind it.
func (l *fate) replace() {
	l.f.t.Helper()
	var content []string
	if l.alike {
		content = slices.Clone(l.content[:min(1, len(l.content))])
	}
	if len(l.content) > 0 || !l.alike {
		content = append(content, l.fresh(2)...)
	}
	switch {
	case l.change == rewritten:
		l.put(l.target, content)
	case l.change == renamed:
		l.must(os.Rename(l.target, l.target+".1"))
		l.put(l.target, content)
	case l.link:
		l.target = l.next()
		l.put(l.target, content)
		l.must(os.Symlink(l.target, l.path()+".new"))
		l.must(os.Rename(l.path()+".new", l.path()))
	default:
		file := l.next()
		l.put(file, content)
		l.must(os.Rename(file, l.target))
	}
}

// TestEveryFateOfAFile is the matrix of births, changes and closings of files: each
// line arrives once, and in the order in which it was written.
func TestEveryFateOfAFile(t *testing.T) {
	for _, steps := range []string{
		"modify modify",
		"change close modify",
		"close change modify",
		"close modify",
		"modify modify modify",
		"modify change close modify",
		"modify close change modify",
		"modify close modify",
		"close modify change modify",
	} {
		t.Run(steps, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.input.FlushTimeoutSecs, f.input.CloseUnusedReaderInterval = 1, 1
			fates := f.fates(strings.Contains(steps, "change"))
			for _, l := range fates {
				if !l.created {
					l.born()
				}
			}
			f.append("first.log", "first|")
			a := f.start()
			f.store.awaitFates(t, "born before", fates)
			for _, l := range fates {
				if l.created {
					l.born()
				}
			}
			f.store.awaitFates(t, "born", fates)
			for i, step := range strings.Fields(steps) {
				switch step {
				case "close":
					until(t, "all files are closed", func() bool { return a.handles.Load() == 0 })
				case "change":
					for _, l := range fates {
						l.replace()
					}
				default:
					for _, l := range fates {
						l.modify()
					}
				}
				f.store.awaitFates(t, fmt.Sprintf("step %d, %s", i+1, step), fates)
			}
			f.stop()
			f.store.awaitFates(t, "stopped", fates)
		})
	}
}

// fates returns all combinations. Those without a change have none of its forms.
func (f *fixture) fates(changes bool) (list []*fate) {
	elsewhere := f.t.TempDir()
	kinds, alikes := []change{renamed, replaced, rewritten}, []bool{true, false}
	if !changes {
		kinds, alikes = []change{""}, []bool{false}
	}
	both := []bool{false, true}
	for _, created := range both {
		for _, empty := range both {
			for _, link := range both {
				for _, kind := range kinds {
					for _, alike := range alikes {
						l := &fate{f: f, created: created, empty: empty, link: link, change: kind, alike: alike, elsewhere: elsewhere}
						l.name = fmt.Sprintf("created-%v-empty-%v-link-%v-%s-alike-%v", created, empty, link, kind, alike)
						list = append(list, l)
					}
				}
			}
		}
	}
	return list
}

// awaitFates waits until the logstore has of each fate what it must have, in order.
func (s *logstore) awaitFates(t *testing.T, when string, fates []*fate) {
	t.Helper()
	var wrong string
	defer func() {
		if wrong != "" {
			t.Errorf("%s:%s", when, wrong)
		}
	}()
	until(t, when, func() bool {
		got := map[string][]string{}
		s.mu.Lock()
		for _, line := range s.lines {
			name, _, _ := strings.Cut(line, "|")
			got[name] = append(got[name], line)
		}
		s.mu.Unlock()
		wrong = ""
		for _, l := range fates {
			if !slices.Equal(got[l.name], l.want) {
				wrong += fmt.Sprintf("\n%s: got %s, want %s", l.name, numbers(got[l.name]), numbers(l.want))
			}
		}
		return wrong == ""
	})
}

// numbers returns only the numbers of lines.
func numbers(lines []string) (list []string) {
	for _, l := range lines {
		_, n, _ := strings.Cut(l, "|")
		list = append(list, n)
	}
	return list
}
