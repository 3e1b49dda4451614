//go:build linux

package soak

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// kind is how the files of a writer are rotated.
type kind string

const (
	mixed     kind = "mixed"     // by the harness, in all ways; rotated names match the pattern
	narrow    kind = "narrow"    // likewise, but rotated names do not match
	linked    kind = "linked"    // the pattern matches a symbolic link only
	logrotate kind = "logrotate" // by logrotate
)

// logfile is one writer with its file and what was rotated away from it.
type logfile struct {
	s      *soak
	id     int
	kind   kind
	dir    string
	stores []string
	w      *writerProc
	gen    int
	inside []int  // generations in the file that is written
	path   string // of that file
	busy   bool   // something with it is under way
	paused bool
	serial int
	chain  []*rotated // app.log.1 first
	others []*rotated // with names of their own
	rotate *rotation  // kind logrotate
}

// rotated is a file that is not written any more, or a copy.
type rotated struct {
	path   string
	gen    int
	upto   int  // a copy has the lines below this one; -1: all of the generation
	closed bool // nobody writes to it
	since  time.Time
	packed bool
}

func (f *logfile) app() string { return filepath.Join(f.dir, "app.log") }

func (f *logfile) current() genID { return genID{f.id, f.gen} }

func (f *logfile) tell(o order) error {
	t, err := f.w.tell(o)
	if err != nil {
		return err
	}
	f.paused = o.Op == "pause"
	if t.Gen > 0 {
		f.s.ledger.wrote(f.id, t)
	}
	return nil
}

// open makes the writer go on in a file, in a new generation.
func (f *logfile) open(path string, torn bool) error {
	old, was := f.current(), f.path
	f.gen++
	if err := f.tell(order{Op: "open", Path: path, Gen: f.gen, Torn: torn}); err != nil {
		return err
	}
	f.path, f.inside = path, []int{f.gen}
	f.s.ledger.change(f.current(), f.s.stamp("opened as "+filepath.Base(path)), nil)
	for _, r := range f.all() {
		if r.gen == old.gen && r.upto < 0 {
			r.closed, r.since, was = true, time.Now(), r.path
		}
	}
	if f.kind == logrotate {
		return nil // its file has a name that logrotate chose
	}
	return f.scanIfCopied(old, was)
}

// scanIfCopied notes what a file of a generation that was copied and truncated has at its end.
func (f *logfile) scanIfCopied(id genID, path string) error {
	f.s.ledger.mu.Lock()
	copied := f.s.ledger.gen(id).copied
	f.s.ledger.mu.Unlock()
	if !copied {
		return nil
	}
	_, err := f.scan(path, id.gen)
	return err
}

// scan notes the lines of a file as such that are in a file; it returns the
// highest of a generation.
func (f *logfile) scan(path string, gen int) (last int, err error) {
	last = -1
	r, err := contents(path)
	if err != nil {
		return last, err
	}
	defer r.Close()
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if text := strings.TrimSuffix(string(line), "\n"); text != "" {
			if id, _, ok := f.s.ledger.inFiles.take([]byte(text)); ok && id.gen == gen {
				last = max(last, id.n)
			}
		}
		if err == io.EOF {
			return last, nil
		}
		if err != nil {
			return last, err
		}
	}
}

// contents opens a file, compressed or not.
func contents(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	switch filepath.Ext(path) {
	case ".gz":
		z, err := gzip.NewReader(f)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return both{z, f}, nil
	case ".zst":
		z, err := zstd.NewReader(f)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return both{z, f}, nil
	}
	return f, nil
}

type both struct {
	io.Reader
	io.Closer
}

func (f *logfile) all() []*rotated { return append(slices.Clone(f.chain), f.others...) }

// freshen asks the writer how far it is.
func (f *logfile) freshen(pause bool) error {
	if pause {
		return f.tell(order{Op: "pause"})
	}
	return f.tell(order{Op: "go"})
}

// arrived says whether all of a generation below a line (-1: all that its writer
// has told of) is in all logstores.
func (f *logfile) arrived(gen, upto int) bool {
	for _, store := range f.stores {
		if !f.s.ledger.arrived(genID{f.id, gen}, upto, f.s.follower.stores[store]) {
			return false
		}
	}
	return true
}

// seen says whether something of a generation is in a logstore.
func (f *logfile) seen(gen int) bool {
	for _, store := range f.stores {
		if f.s.follower.stores[store].has(genID{f.id, gen}) > 0 {
			return true
		}
	}
	return false
}

// arrived judges one generation for now.
func (l *ledger) arrived(id genID, upto int, got *receipts) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	got.mu.Lock()
	defer got.mu.Unlock()
	l.inFiles.mu.Lock()
	defer l.inFiles.mu.Unlock()
	g, v := l.gen(id), &verdict{unread: map[genID]int64{}}
	if upto < 0 { // a copy may have more than its writer has told of
		upto = g.lines
	}
	for n := range upto {
		if l.judgeLine(v, g, lineID{id.file, id.gen, n}, -1, got); v.lost > 0 {
			return false
		}
	}
	if upto == g.lines && g.torn > 0 {
		l.judgeLine(v, g, lineID{id.file, id.gen, g.lines}, g.torn, got)
	}
	return v.lost == 0
}
