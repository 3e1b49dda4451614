package process

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

// taken is what a feeder got out of a stream.
type taken struct {
	records   []string // "text", "!text" if dropped as unmatched
	ends      []uint64
	splits    int
	unmatched int
	left      string // not consumed
	mid       bool
}

// feed gives a stream to a splitter as an agent does: step bytes more at a
// time, in chunks of at most most bytes, and the last time with Final if final is set.
func feed(t testing.TB, s Splitter, stream string, step, most int, final bool) taken {
	t.Helper()
	return feedAndFlush(t, s, stream, step, most, final, 0)
}

// feedAndFlush is feed with Final also each flush-th time, as when the time to wait is over.
func feedAndFlush(t testing.TB, s Splitter, stream string, step, most int, final bool, flush int) taken {
	t.Helper()
	const base = 1000
	var out taken
	var b event.Batch
	done, mid := 0, false
	run := func(to int, last bool) {
		for {
			end := min(to, done+most)
			var mode Mode
			if mid {
				mode |= Mid
			}
			if last && end == to {
				mode |= Final
			}
			if end-done == most {
				mode |= Full
			}
			progress := false
			for {
				b.Reset()
				chunk := []byte(stream[done:end])
				var n int
				n, mid = s.Split(&b, chunk, uint64(base+done), mode)
				if n < 0 || n > len(chunk) {
					t.Fatalf("consumed %d of %d bytes", n, len(chunk))
				}
				if n == 0 && (len(b.Records) > 0 || mid != (mode&Mid != 0)) {
					t.Fatalf("nothing consumed, but %d records and mid %v with mode %b", len(b.Records), mid, mode)
				}
				check(t, &b, chunk, uint64(base+done), n)
				if b.Splits > 1 || b.Splits == 1 && !mid {
					t.Fatalf("%d parts in one call, mid %v", b.Splits, mid)
				}
				for _, r := range b.Records {
					x := string(r.Raw)
					if r.Drop == event.Unmatched {
						x = "!" + x
					}
					out.records = append(out.records, x)
					out.ends = append(out.ends, r.End-base)
				}
				out.splits += b.Splits
				out.unmatched += b.Unmatched
				done += n
				if n == 0 {
					break
				}
				progress = true
				mode &^= Full | Mid
				if mid {
					mode |= Mid
				}
			}
			if !progress || done >= to {
				return
			}
		}
	}
	for to, n := step, 1; to < len(stream); to, n = to+step, n+1 {
		run(to, flush > 0 && n%flush == 0)
	}
	run(len(stream), final)
	out.left, out.mid = stream[done:], mid
	return out
}

// check verifies that records and what lies between them make up the consumed bytes.
func check(t testing.TB, b *event.Batch, chunk []byte, base uint64, n int) {
	t.Helper()
	from := uint64(0)
	for i, r := range b.Records {
		to := r.End - base
		if r.End < base || to <= from && i > 0 || to > uint64(n) {
			t.Fatalf("record %d ends at %d, behind %d and at most %d wanted", i, to, from, n)
		}
		// Between the records there is nothing but their text, line ends and NULs.
		gap := chunk[from:to]
		if len(r.Raw) > 0 {
			at := bytes.Index(gap, r.Raw)
			if at < 0 {
				t.Fatalf("record %d, %q, is not within %q", i, r.Raw, gap)
			}
			if cap(r.Raw) > 0 && &r.Raw[0] != &gap[at] && !sameMemory(r.Raw, gap) {
				t.Fatalf("record %d is no view of the chunk", i)
			}
			gap = append(append([]byte{}, gap[:at]...), gap[at+len(r.Raw):]...)
		}
		if rest := bytes.Trim(gap, "\r\n\x00"); len(rest) > 0 {
			t.Fatalf("record %d, %q, leaves out %q", i, r.Raw, rest)
		}
		from = to
	}
	if rest := bytes.Trim(chunk[from:n], "\r\n\x00"); len(rest) > 0 {
		t.Fatalf("consumed without a record: %q", rest)
	}
}

func sameMemory(part, all []byte) bool {
	for i := range all {
		if &all[i] == &part[0] {
			return true
		}
	}
	return false
}

func mustSplitter(t testing.TB, m pipeline.Multiline, most int) Splitter {
	t.Helper()
	s, err := NewSplitter(m, most)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func start(p string) pipeline.Multiline { return pipeline.Multiline{StartPattern: p} }

func TestSplit(t *testing.T) {
	const big = 1 << 20
	line := pipeline.Multiline{}
	startCont := pipeline.Multiline{StartPattern: `S`, ContinuePattern: `\s`}
	startEnd := pipeline.Multiline{StartPattern: `S`, EndPattern: `.*E$`}
	contEnd := pipeline.Multiline{ContinuePattern: `.*\\$`, EndPattern: `.*;$`}
	end := pipeline.Multiline{EndPattern: `.*;$`}
	discard := func(m pipeline.Multiline) pipeline.Multiline {
		m.UnmatchedContentTreatment = "discard"
		return m
	}
	for _, c := range []struct {
		name   string
		m      pipeline.Multiline
		most   int // longest chunk and record; 0 = big
		stream string
		final  bool
		want   []string
		left   string
		mid    bool
		splits int
		unm    int
	}{
		{name: "lines", m: line, stream: "a\nbb\n", want: []string{"a", "bb"}},
		{name: "empty lines are records", m: line, stream: "\na\n\n", want: []string{"", "a", ""}},
		{name: "one \\r before \\n is stripped", m: line, stream: "a\r\nb\r\r\n\r\nc\rd\n", want: []string{"a", "b\r", "", "c\rd"}},
		{name: "unterminated line waits", m: line, stream: "a\nb", want: []string{"a"}, left: "b"},
		{name: "unterminated line at the end", m: line, stream: "a\nb", final: true, want: []string{"a", "b"}, mid: true},
		{name: "nothing", m: line, stream: "", final: true},
		{name: "NULs at the ends are stripped", m: line, stream: "\x00\x00a\x00b\x00\n\x00\n", want: []string{"a\x00b", ""}},
		{name: "long line is split", m: line, most: 4, stream: "aaaabbbbc\nd\n", want: []string{"aaaa", "bbbb", "c", "d"}, splits: 2},
		{name: "line of just the limit", m: line, most: 4, stream: "aaaa\nb\n", want: []string{"aaaa", "b"}, splits: 1},
		{name: "long line, characters stay whole", m: line, most: 4, stream: "a日日\n", want: []string{"a日", "日"}, splits: 1},
		{name: "long line, \\r\\n stays whole", m: line, most: 4, stream: "aaa\r\nb\n", want: []string{"aaa", "b"}, splits: 1},
		{name: "long line without characters", m: line, most: 4, stream: "\xff\xff\xff\xff\x80\x80\x80\x80\n", want: []string{"\xff\xff\xff\xff", "\x80\x80\x80\x80"}, splits: 2},

		{name: "start", m: start(`S`), stream: "S1\n a\n b\nS2\nS3\n", want: []string{"S1\n a\n b", "S2"}, left: "S3\n"},
		{name: "start, end of stream", m: start(`S`), stream: "S1\n a\nS2\n b\n", final: true, want: []string{"S1\n a", "S2\n b"}, mid: true},
		{name: "start, unterminated end", m: start(`S`), stream: "S1\n a\nS2\n b", final: true, want: []string{"S1\n a", "S2\n b"}, mid: true},
		{name: "start, unterminated start at the end", m: start(`S`), stream: "S1\n a\nS2", final: true, want: []string{"S1\n a", "S2"}, mid: true},
		{name: "start is a prefix", m: start(`S\d`), stream: "S1 x\nxS2\nS3\n", want: []string{"S1 x\nxS2"}, left: "S3\n"},
		{name: "start, unmatched head", m: start(`S`), stream: "x\ny\nS1\nS2\n", want: []string{"x", "y", "S1"}, left: "S2\n", unm: 2},
		{name: "start, unmatched head discarded", m: discard(start(`S`)), stream: "x\n\nS1\nS2\n", want: []string{"!x", "!", "S1"}, left: "S2\n", unm: 2},
		{name: "start, windows", m: start(`S$`), stream: "S\r\n a\r\nS\r\n", want: []string{"S\r\n a"}, left: "S\r\n"},
		{name: "start, empty lines belong", m: start(`S`), stream: "S\n\n\nS\n", want: []string{"S\n\n"}, left: "S\n"},
		{name: "start .* is line by line", m: start(`.*`), stream: "a\n\nb\nc", want: []string{"a", "", "b"}, left: "c"},
		{name: "start, unterminated next start waits", m: start(`S`), stream: "S1\nS2", left: "S1\nS2"},

		{name: "start+continue", m: startCont, stream: "S1\n a\n b\nS2\nx\n y\nS3\n", want: []string{"S1\n a\n b", "S2", "x", " y"}, left: "S3\n", unm: 2},
		{name: "start+continue, discard", m: discard(startCont), stream: "S1\n a\nx\nS2\n", final: true, want: []string{"S1\n a", "!x", "S2"}, mid: true, unm: 1},
		{name: "start+end", m: startEnd, stream: "S1\n a\nbE\nx\nS2\nE\n", want: []string{"S1\n a\nbE", "x", "S2\nE"}, unm: 1},
		{name: "start+end, a start inside is content", m: startEnd, stream: "S1\nS2\nE\n", want: []string{"S1\nS2\nE"}},
		{name: "start+end, waits", m: startEnd, stream: "S1\n a\n", left: "S1\n a\n"},
		{name: "start+end, unfinished at the end", m: discard(startEnd), stream: "S1\n a\n", final: true, want: []string{"S1\n a"}, mid: true},
		{name: "start+end, unterminated end line", m: startEnd, stream: "S1\nE", final: true, want: []string{"S1\nE"}, mid: true},
		{name: "continue+end", m: contEnd, stream: "a\\\nb\\\nc;\nd;\n", want: []string{"a\\\nb\\\nc;", "d;"}},
		{name: "continue+end, broken", m: contEnd, stream: "a\\\nb\\\nc\nd;\n", want: []string{"a\\", "b\\", "c", "d;"}, unm: 3},
		{name: "continue+end, broken, discard", m: discard(contEnd), stream: "a\\\nb\nx\nd;\n", want: []string{"!a\\", "!b", "!x", "d;"}, unm: 3},
		{name: "end", m: end, stream: "a\nb;\n\nc;\nd\n", want: []string{"a\nb;", "\nc;"}, left: "d\n"},
		{name: "end, unfinished at the end", m: end, stream: "a\nb", final: true, want: []string{"a\nb"}, mid: true},

		{name: "start, chunk without a whole record", m: start(`S`), most: 8, stream: "S1\naaaabbbb\nccc\nS2\nS3\n", want: []string{"S1\naaaab", "bbb\nccc", "S2"}, left: "S3\n", splits: 2},
		{name: "start, the next one begins at the chunk's end", m: start(`S`), most: 8, stream: "S1\naaa\nS2\nS3\n", want: []string{"S1\naaa", "S2"}, left: "S3\n"},
		{name: "start, the next one is torn by the chunk's end", m: start(`S`), most: 8, stream: "S1\naa\nS2222\nS3\n", want: []string{"S1\naa", "S2222"}, left: "S3\n"},
		{name: "unmatched line over the limit", m: discard(start(`S`)), most: 4, stream: "aaaabb\nS\n", want: []string{"aaaa", "bb"}, left: "S\n", splits: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.most == 0 {
				c.most = big
			}
			s := mustSplitter(t, c.m, c.most)
			for _, s := range []Splitter{s, s.Clone()} {
				got := feed(t, s, c.stream, len(c.stream)+1, c.most, c.final)
				if !reflect.DeepEqual(got.records, c.want) {
					t.Errorf("records %q, want %q", got.records, c.want)
				}
				if got.left != c.left || got.mid != c.mid {
					t.Errorf("left %q mid %v, want %q %v", got.left, got.mid, c.left, c.mid)
				}
				if got.splits != c.splits || got.unmatched != c.unm {
					t.Errorf("%d splits and %d unmatched lines, want %d and %d", got.splits, got.unmatched, c.splits, c.unm)
				}
			}
		})
	}
}

func TestRestOfARecord(t *testing.T) {
	for _, c := range []struct {
		name  string
		m     pipeline.Multiline
		chunk string
		mode  Mode
		want  []string
		used  int
		mid   bool
	}{
		{"line end right at the start", pipeline.Multiline{}, "\nb\n", Mid, []string{"b"}, 3, false},
		{"windows line end right at the start", pipeline.Multiline{}, "\r\nb\n", Mid, []string{"b"}, 4, false},
		{"line end alone", pipeline.Multiline{}, "\n", Mid, nil, 1, false},
		{"only one line end is swallowed", pipeline.Multiline{}, "\n\n", Mid, []string{""}, 2, false},
		{"half a windows line end waits", pipeline.Multiline{}, "\r", Mid, nil, 0, true},
		{"the rest of a line", pipeline.Multiline{}, "rest\nb\n", Mid, []string{"rest", "b"}, 7, false},
		{"the rest of a line waits", pipeline.Multiline{}, "rest", Mid, nil, 0, true},
		{"the rest of a line, final", pipeline.Multiline{}, "rest", Mid | Final, []string{"rest"}, 4, true},
		{"nothing, final", pipeline.Multiline{}, "", Mid | Final, nil, 0, true},

		{"continuation up to the next start", start("S"), " b\n c\nS2\n", Mid, []string{" b\n c"}, 6, false},
		{"the rest of a line begins no record", start("S"), "Srest\n c\nS2\n", Mid, []string{"Srest\n c"}, 9, false},
		{"line end, then a start", start("S"), "\nS2\nS3\n", Mid, []string{"S2"}, 4, false},
		{"line end, then a continuation", start("S"), "\n c\nS3\n", Mid, []string{" c"}, 4, false},
		{"line end alone, multi-line", start("S"), "\n", Mid, nil, 1, true},
		{"continuation waits", start("S"), " b\n", Mid, nil, 0, true},
		{"continuation, final", start("S"), " b\n", Mid | Final, []string{" b"}, 3, true},
		{"continuation is discarded by no rule", pipeline.Multiline{StartPattern: "S", UnmatchedContentTreatment: "discard"}, " b\nS\n", Mid, []string{" b"}, 3, false},
		{"rest up to the end line", pipeline.Multiline{StartPattern: "S", EndPattern: "E"}, "x\nE\nS\n", Mid, []string{"x\nE"}, 4, false},
		{"rest, start and continue", pipeline.Multiline{StartPattern: "S", ContinuePattern: " "}, "x\n y\nz\n", Mid, []string{"x\n y", "z"}, 7, false},
		{"rest, continue and end", pipeline.Multiline{ContinuePattern: " ", EndPattern: "E"}, "x\n y\nE\n", Mid, []string{"x\n y\nE"}, 7, false},
		{"line end, then no continuation", pipeline.Multiline{ContinuePattern: " ", EndPattern: "E"}, "\nz\nE\n", Mid, []string{"z", "E"}, 5, false},
		{"rest, end", pipeline.Multiline{EndPattern: "E"}, "x\nE\ny\n", Mid, []string{"x\nE"}, 4, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b event.Batch
			chunk := []byte(c.chunk)
			n, mid := mustSplitter(t, c.m, 0).Split(&b, chunk, 7, c.mode)
			check(t, &b, chunk, 7, n)
			var got []string
			for _, r := range b.Records {
				got = append(got, string(r.Raw))
			}
			if !reflect.DeepEqual(got, c.want) || n != c.used || mid != c.mid {
				t.Errorf("got %q, consumed %d, mid %v; want %q, %d, %v", got, n, mid, c.want, c.used, c.mid)
			}
		})
	}
}

func TestSplitStopsAtAFullBatch(t *testing.T) {
	for _, m := range []pipeline.Multiline{{}, start("S"), {StartPattern: "S", ContinuePattern: " "}, {EndPattern: "S"}, {StartPattern: "X", UnmatchedContentTreatment: "discard"}} {
		var stream strings.Builder
		for i := range 3*event.BatchSize + 1 {
			fmt.Fprintf(&stream, "S%d\n", i)
		}
		got := feed(t, mustSplitter(t, m, 0), stream.String(), stream.Len()+1, 1<<20, true)
		if n := len(got.records); n != 3*event.BatchSize+1 || got.left != "" {
			t.Errorf("%+v: %d records and %q left, want %d and nothing", m, n, got.left, 3*event.BatchSize+1)
		}
		var b event.Batch
		s := mustSplitter(t, m, 0)
		n, _ := s.Split(&b, []byte(stream.String()), 0, Final)
		if !b.Full() || n != int(b.Records[event.BatchSize-1].End) {
			t.Errorf("%+v: consumed %d with %d records, want up to the last record of a full batch", m, n, len(b.Records))
		}
		if n, mid := s.Split(&b, []byte("S\nS\n"), 0, Mid); n != 0 || !mid {
			t.Errorf("%+v: consumed %d, mid %v into a full batch; want 0, true", m, n, mid)
		}
	}
}

func TestWrongMultilineIsRefusedByName(t *testing.T) {
	for _, c := range []struct {
		m    pipeline.Multiline
		says string
	}{
		{pipeline.Multiline{StartPattern: "("}, "StartPattern"},
		{pipeline.Multiline{StartPattern: "a", ContinuePattern: "("}, "ContinuePattern"},
		{pipeline.Multiline{EndPattern: "("}, "EndPattern"},
		{pipeline.Multiline{ContinuePattern: "a"}, "alone"},
		{pipeline.Multiline{StartPattern: "a", ContinuePattern: "b", EndPattern: "c"}, "all three"},
		{pipeline.Multiline{Mode: "JSON"}, "Multiline.Mode"},
		{pipeline.Multiline{UnmatchedContentTreatment: "keep"}, "UnmatchedContentTreatment"},
	} {
		if _, err := NewSplitter(c.m, 0); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("NewSplitter(%+v): error %v, want one with %q", c.m, err, c.says)
		}
	}
}

// FuzzSplit: whatever the patterns and however the stream is cut into chunks,
// no byte is lost (check, in feed), and without a limit the records are the same.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("S1\n a\r\nE\n\nx\\\ny;\nS"), uint8(1), uint8(5), uint8(0))
	f.Add([]byte("\r\n\r\n\x00S\x00\nS\r"), uint8(0), uint8(1), uint8(4))
	f.Add([]byte("a日本\xff\xfe\nSE\n E\nS"), uint8(3), uint8(2), uint8(6))
	forms := []pipeline.Multiline{
		{},
		start("S"),
		{StartPattern: "S", ContinuePattern: `[ \\]`},
		{StartPattern: "S", EndPattern: `.*E$`},
		{ContinuePattern: ` `, EndPattern: `E`},
		{EndPattern: `.*E`},
	}
	f.Fuzz(func(t *testing.T, stream []byte, form, step, most uint8) {
		if len(stream) > 1<<10 {
			return // byte by byte is quadratic
		}
		m := forms[int(form/2)%len(forms)]
		if form%2 == 1 {
			m.UnmatchedContentTreatment = "discard"
		}
		s := mustSplitter(t, m, 0)
		n := len(stream) + 1
		whole := feed(t, s, string(stream), n, n, true)
		parts := feed(t, s, string(stream), int(step)+1, n, true)
		if !reflect.DeepEqual(whole.records, parts.records) || !reflect.DeepEqual(whole.ends, parts.ends) || whole.left != parts.left {
			t.Fatalf("at once:  %q %v left %q\nin steps: %q %v left %q", whole.records, whole.ends, whole.left, parts.records, parts.ends, parts.left)
		}
		if whole.left != "" {
			t.Fatalf("left at the end: %q", whole.left)
		}
		flushed := feedAndFlush(t, s, string(stream), int(step)+1, n, true, int(most%4)+1)
		if flushed.left != "" {
			t.Fatalf("flushed in between, left at the end: %q", flushed.left)
		}
		if m.StartPattern == "" && m.EndPattern == "" { // lines: only where a line was torn there are more
			if got, want := strings.Join(flushed.records, ""), strings.Join(whole.records, ""); got != want && !bytes.ContainsAny(stream, "\r\x00") {
				t.Fatalf("flushed in between: %q, want %q", got, want)
			}
		}
		if most > 0 {
			tight := feed(t, mustSplitter(t, m, int(most)), string(stream), int(step)+1, int(most), true)
			if tight.left != "" {
				t.Fatalf("with a limit of %d, left at the end: %q", most, tight.left)
			}
			for _, r := range tight.records {
				if len(strings.TrimPrefix(r, "!")) > int(most) {
					t.Fatalf("record of %d bytes with a limit of %d", len(r), most)
				}
			}
		}
	})
}

func TestSplitAllocatesNothing(t *testing.T) {
	text := []byte(strings.Repeat("S1 some text\n and more;\n", 500))
	for _, m := range []pipeline.Multiline{{}, start(`S\d`), {StartPattern: "S", ContinuePattern: " "}, {StartPattern: "S", EndPattern: ".*;"}, {EndPattern: ".*;"}} {
		s := mustSplitter(t, m, 512<<10)
		var b event.Batch
		run := func() {
			for pos := 0; ; {
				b.Reset()
				n, _ := s.Split(&b, text[pos:], uint64(pos), 0)
				if n == 0 {
					break
				}
				pos += n
			}
		}
		run()
		if n := testing.AllocsPerRun(20, run); n != 0 {
			t.Errorf("%+v: %v allocations, want 0", m, n)
		}
	}
}
