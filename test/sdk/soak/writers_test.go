//go:build linux

package soak

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"
)

// writerEnv makes the test's own program a writer; it holds a writerConfig.
const writerEnv = "LOGTAIL_SOAK_WRITER"

type writerConfig struct {
	File  int
	Lines lineMaker
	Rate  int // lines a second, about
	Parts bool
}

// order is what the harness tells a writer; the writer answers each with a told.
type order struct {
	Op   string // open, go, pause, renumber
	Path string // open: the file to go on in
	Gen  int    // open, renumber: the generation that begins
	// Torn: the old generation may end with a line without an end.
	Torn bool
}

// told is how far the generation had got that the order ended, or that goes on.
type told struct {
	Gen, Lines int
	Torn       int // bytes of one more line, which has no end
	Err        string
}

// writing is the life of a writer process.
type writing struct {
	cfg  writerConfig
	r    *rand.Rand
	f    *os.File
	gen  int
	n    int
	rest []byte // of a line that is written in part
	part int    // bytes of it that are written
	due  time.Time
	buf  []byte
}

// runWriter writes until its standard input ends.
func runWriter(config string) int {
	w := &writing{}
	if err := json.Unmarshal([]byte(config), &w.cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	w.r = rand.New(rand.NewPCG(w.cfg.Lines.Seed, uint64(w.cfg.File)))
	orders := make(chan order)
	go func() {
		defer close(orders)
		in := json.NewDecoder(os.Stdin)
		for {
			var o order
			if in.Decode(&o) != nil {
				return
			}
			orders <- o
		}
	}()
	out := json.NewEncoder(os.Stdout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	paused := true
	for {
		var err error
		select {
		case o, ok := <-orders:
			if !ok {
				return 0
			}
			var t told
			if t, err = w.obey(o); err != nil {
				t.Err = err.Error()
			}
			paused = o.Op == "pause"
			if err := out.Encode(t); err != nil {
				return 1
			}
		case now := <-tick.C:
			if !paused {
				err = w.write(now)
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
}

func (w *writing) obey(o order) (told, error) {
	if w.part > 0 && (!o.Torn || o.Op != "open") {
		if err := w.complete(); err != nil {
			return told{}, err
		}
	}
	t := told{Gen: w.gen, Lines: w.n, Torn: w.part}
	switch o.Op {
	case "open":
		f, err := os.OpenFile(o.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return t, err
		}
		if w.f != nil {
			if err := w.f.Close(); err != nil {
				return t, err
			}
		}
		w.f, w.gen, w.n, w.part, w.rest = f, o.Gen, 0, 0, nil
	case "renumber":
		w.gen, w.n = o.Gen, 0
	}
	return t, nil
}

// complete writes the rest of a line.
func (w *writing) complete() error {
	_, err := w.f.Write(w.rest)
	w.rest, w.part = nil, 0
	w.n++
	return err
}

// write writes what is due in a tick: some lines, in one piece or one by one.
func (w *writing) write(now time.Time) error {
	if w.part > 0 {
		if now.Before(w.due) {
			return nil
		}
		if err := w.complete(); err != nil {
			return err
		}
	}
	count := w.r.IntN(w.cfg.Rate/25 + 2)
	oneByOne := w.r.IntN(4) == 0
	w.buf = w.buf[:0]
	for range count {
		w.buf = append(w.cfg.Lines.add(w.buf, lineID{w.cfg.File, w.gen, w.n}), '\n')
		w.n++
		if oneByOne || len(w.buf) > 256<<10 {
			if _, err := w.f.Write(w.buf); err != nil {
				return err
			}
			w.buf = w.buf[:0]
		}
	}
	if w.cfg.Parts && w.r.IntN(100) == 0 {
		line := append(w.cfg.Lines.add(nil, lineID{w.cfg.File, w.gen, w.n}), '\n')
		if w.part = cuts(len(line)-1, w.r); w.part > 0 {
			w.buf = append(w.buf, line[:w.part]...)
			w.rest, w.due = line[w.part:], now.Add(time.Duration(w.r.IntN(3000))*time.Millisecond)
		}
	}
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.f.Write(w.buf)
	return err
}

// writerProc is the harness's end of a writer process.
type writerProc struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	errs *bytes.Buffer
}

func startWriter(cfg writerConfig) (*writerProc, error) {
	b, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	w := &writerProc{cmd: exec.Command(os.Args[0]), errs: &bytes.Buffer{}}
	w.cmd.Env = append(os.Environ(), writerEnv+"="+string(b), "GOMAXPROCS=1", "GOMEMLIMIT=64MiB")
	w.cmd.Stderr = w.errs
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.out = json.NewDecoder(bufio.NewReader(out))
	return w, w.cmd.Start()
}

// tell gives an order and returns the answer.
func (w *writerProc) tell(o order) (told, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return told{}, err
	}
	var t told
	if _, err := w.in.Write(b); err != nil {
		return t, fmt.Errorf("a writer is gone: %w: %s", err, w.errs)
	}
	if err := w.out.Decode(&t); err != nil {
		return t, fmt.Errorf("a writer is gone: %w: %s", err, w.errs)
	}
	if t.Err != "" {
		return t, errors.New("a writer: " + t.Err)
	}
	return t, nil
}

// stop ends the process.
func (w *writerProc) stop() error {
	w.in.Close()
	return w.cmd.Wait()
}
