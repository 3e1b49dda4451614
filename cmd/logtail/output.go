package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// outputFlag is -o, with the formats of one command. The first is the default.
type outputFlag struct {
	format  string
	allowed []string
}

func (o *outputFlag) add(c *cobra.Command, formats ...string) {
	o.allowed, o.format = formats, formats[0]
	c.Flags().VarP(o, "output", "o", "how results are written: "+strings.Join(formats, ", "))
}

// Set implements pflag.Value.
func (o *outputFlag) Set(s string) error {
	if !slices.Contains(o.allowed, s) {
		return fmt.Errorf("allowed: %s", strings.Join(o.allowed, ", "))
	}
	o.format = s
	return nil
}

func (o *outputFlag) String() string { return o.format }

// Type implements pflag.Value.
func (o *outputFlag) Type() string { return "format" }

// Names of the fields that every log has.
const (
	fieldTime   = "__time__"
	fieldTimeNs = "__time_ns_part__"
	fieldTopic  = "__topic__"
	fieldSource = "__source__"
	tagPrefix   = "__tag__:"
)

// A row is one log or one line of a result.
type row = map[string]string

// rowWriter writes rows. Flush makes everything so far visible; Close comes last.
type rowWriter interface {
	Row(row) error
	Flush() error
	Close() error
}

// newRowWriter returns a writer of the format. columns, if any, are the fields
// to write, in their order.
func newRowWriter(format string, w io.Writer, columns []string) rowWriter {
	b := bufio.NewWriter(w)
	switch format {
	case "json":
		return &jsonRows{b: b, columns: columns}
	case "csv":
		return &csvRows{w: csv.NewWriter(b), b: b, columns: columns, fixed: len(columns) > 0}
	}
	return &tableRows{b: b, columns: columns, fixed: len(columns) > 0}
}

// jsonRows writes one object a line, with sorted fields.
type jsonRows struct {
	b       *bufio.Writer
	columns []string
}

func (j *jsonRows) Row(r row) error {
	if len(j.columns) > 0 {
		picked := make(row, len(j.columns))
		for _, c := range j.columns {
			if v, ok := r[c]; ok {
				picked[c] = v
			}
		}
		r = picked
	}
	e := json.NewEncoder(j.b)
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

func (j *jsonRows) Flush() error { return j.b.Flush() }
func (j *jsonRows) Close() error { return j.b.Flush() }

// csvRows writes CSV (RFC 4180) with a header. Without given columns it has to
// see all rows before it can name them, and so keeps them until Close.
type csvRows struct {
	w       *csv.Writer
	b       *bufio.Writer
	columns []string
	fixed   bool
	begun   bool
	kept    []row
}

func (c *csvRows) Row(r row) error {
	if !c.fixed {
		c.kept = append(c.kept, r)
		return nil
	}
	return c.write(r)
}

func (c *csvRows) write(r row) error {
	if !c.begun {
		c.begun = true
		if err := c.w.Write(c.columns); err != nil {
			return err
		}
	}
	record := make([]string, len(c.columns))
	for i, name := range c.columns {
		record[i] = r[name]
	}
	return c.w.Write(record)
}

func (c *csvRows) Flush() error {
	c.w.Flush()
	if err := c.w.Error(); err != nil {
		return err
	}
	return c.b.Flush()
}

func (c *csvRows) Close() error {
	if !c.fixed {
		c.columns = columnsOf(c.kept, true)
		for _, r := range c.kept {
			if err := c.write(r); err != nil {
				return err
			}
		}
	}
	return c.Flush()
}

// columnsOf lists the fields of rows: the time first, then the log's own by
// name, then, if all are wanted, topic, source and tags.
func columnsOf(rows []row, all bool) []string {
	seen := map[string]bool{}
	for _, r := range rows {
		for name := range r {
			seen[name] = true
		}
	}
	var own, rest []string
	for name := range seen {
		switch {
		case name == fieldTime:
		case name == fieldTopic || name == fieldSource || name == fieldTimeNs || strings.HasPrefix(name, tagPrefix):
			rest = append(rest, name)
		default:
			own = append(own, name)
		}
	}
	slices.Sort(own)
	slices.Sort(rest)
	var columns []string
	if seen[fieldTime] {
		columns = append(columns, fieldTime)
	}
	columns = append(columns, own...)
	if all {
		columns = append(columns, rest...)
	}
	return columns
}

const (
	tablePage = 100 // rows whose widths are fitted together
	cellWidth = 48  // characters of a cell, except of a row's last
)

// tableRows writes columns for people, a page at a time. The header is repeated
// when the columns change. Topic, source and tags are left out unless asked for.
type tableRows struct {
	b       *bufio.Writer
	columns []string
	fixed   bool
	page    []row
	header  string
}

func (t *tableRows) Row(r row) error {
	if t.page = append(t.page, r); len(t.page) < tablePage {
		return nil
	}
	return t.Flush()
}

func (t *tableRows) Close() error { return t.Flush() }

func (t *tableRows) Flush() error {
	if len(t.page) == 0 {
		return t.b.Flush()
	}
	columns := t.columns
	if !t.fixed {
		if columns = columnsOf(t.page, false); len(columns) == 0 {
			columns = columnsOf(t.page, true)
		}
	}
	lines := [][]string{make([]string, len(columns))}
	for i, name := range columns {
		lines[0][i] = printable(strings.TrimPrefix(name, tagPrefix))
		if name == fieldTime {
			lines[0][i] = "time"
		}
	}
	for _, r := range t.page {
		cells := make([]string, len(columns))
		for i, name := range columns {
			if cells[i] = printable(r[name]); name == fieldTime {
				cells[i] = showTime(r)
			}
		}
		lines = append(lines, cells)
	}
	t.page = t.page[:0]
	fit(lines)
	names := strings.Join(columns, "\x00")
	for i, cells := range lines {
		if i == 0 && names == t.header {
			continue
		}
		if _, err := fmt.Fprintln(t.b, strings.TrimRight(strings.Join(cells, "  "), " ")); err != nil {
			return err
		}
	}
	t.header = names
	return t.b.Flush()
}

// fit cuts and pads the cells of each column but the last to one width.
func fit(lines [][]string) {
	for col := range len(lines[0]) - 1 {
		width := 0
		for _, cells := range lines {
			width = max(width, min(utf8.RuneCountInString(cells[col]), cellWidth))
		}
		for _, cells := range lines {
			n := utf8.RuneCountInString(cells[col])
			if n > width {
				cells[col] = string([]rune(cells[col])[:width-1]) + "…"
				n = width
			}
			cells[col] += strings.Repeat(" ", width-n)
		}
	}
}

// printable keeps a value on its line and away from the terminal's controls: a
// log can hold anything, also sequences that would rewrite the screen.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// showTime is the time of a log for people: local, with what is known below a
// second.
func showTime(r row) string {
	sec, err := strconv.ParseInt(r[fieldTime], 10, 64)
	if err != nil {
		return printable(r[fieldTime])
	}
	ns, err := strconv.ParseInt(r[fieldTimeNs], 10, 64)
	if err != nil {
		return time.Unix(sec, 0).Format(time.DateTime)
	}
	return time.Unix(sec, ns).Format("2006-01-02 15:04:05.000000")
}

// isTerminal says whether a person watches.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
