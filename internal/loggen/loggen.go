// Package loggen makes log lines that look like real ones and differ from one
// another: equal lines flatter compression, branch prediction and every cache,
// and so measure nothing. The same kind and seed give the same lines on every
// machine. Lines can carry a number, from which a test can prove that none was
// lost and none came twice.
package loggen

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Kinds of logs. The shapes of Nginx and Java are those of the benchmark that
// LoongCollector publishes (test/benchmark/e2e in its repository).
const (
	Nginx     = "nginx"     // access lines of about 500 bytes
	Java      = "java"      // stack traces of about 500 bytes in 6 lines
	JSON      = "json"      // objects of about 400 bytes, with escapes and a nested object
	Delimiter = "delimiter" // 12 columns with commas, about 250 bytes, three of them quoted
)

// Kinds lists the kinds.
func Kinds() []string { return []string{Nginx, Java, JSON, Delimiter} }

// NginxRegex has ten groups, NginxKeys their names.
const NginxRegex = `(\S+) - - \[([^\]]+)\] "(\S+) (\S+) ([^"]+)" (\d+) (\d+) "([^"]*)" "([^"]*)" (.*)`

// NginxKeys are the names of the groups of NginxRegex.
var NginxKeys = []string{"client_ip", "time", "method", "uri", "protocol", "status", "bytes", "referer", "user_agent", "timing"}

// NginxTimeFormat is the strptime format of the field time of an Nginx line.
const NginxTimeFormat = "%d/%b/%Y:%H:%M:%S"

// JavaStartPattern matches the first line of a stack trace and no other.
const JavaStartPattern = `\[\d+-\d+-\d+T.*`

// DelimiterKeys are the names of the columns of a Delimiter line.
var DelimiterKeys = []string{"time", "trace", "client_ip", "method", "path", "status", "bytes", "cost", "note", "user_agent", "referer", "user_id"}

// defaultStart is the time of the first line unless StartAt says otherwise.
var defaultStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Gen makes the lines of one file. It is not for concurrent use.
type Gen struct {
	appendRecord func(*Gen, []byte) []byte
	rng          rand.PCG

	nanos    int64 // unix time of the next record
	second   int64 // the second that the texts below stand for
	clock    [3][]byte
	numbered bool
	stream   string
	next     uint64
	words    *vocabulary
}

// New returns a generator of the kind, one of Kinds. Any other is a mistake of
// the caller and panics. Different seeds give different lines.
func New(kind string, seed int64) *Gen {
	makers := map[string]func(*Gen, []byte) []byte{
		Nginx: (*Gen).appendNginx, Java: (*Gen).appendJava, JSON: (*Gen).appendJSON, Delimiter: (*Gen).appendDelimiter,
	}
	maker, ok := makers[kind]
	if !ok {
		panic(fmt.Sprintf("loggen: no kind %q; the kinds are %s", kind, strings.Join(Kinds(), ", ")))
	}
	g := &Gen{appendRecord: maker, nanos: defaultStart.UnixNano()}
	g.rng = *rand.NewPCG(uint64(seed), 0x9e3779b97f4a7c15)
	g.words = newVocabulary(&g.rng)
	return g
}

// Number puts "seq=STREAM-NNNNNNNNNNNNNNNN" into each following record, counting
// from first. The stream is made of letters, digits, _ and dots; ParseNumber
// reads it back.
func (g *Gen) Number(stream string, first uint64) *Gen {
	g.numbered, g.stream, g.next = true, stream, first
	return g
}

// StartAt sets the time of the next record; time then goes on by up to 20 ms
// with each. (UTC; what is below a second does not show in Nginx and Delimiter.)
func (g *Gen) StartAt(t time.Time) *Gen {
	g.nanos = t.UnixNano()
	return g
}

// AppendLine appends one record with its line feed: one line, or for Java the
// lines of one stack trace.
func (g *Gen) AppendLine(dst []byte) []byte {
	g.nanos += int64(g.rng.Uint64() % 20_000_000)
	if s := g.nanos / 1e9; s != g.second {
		g.second = s
		t := time.Unix(s, 0).UTC()
		for i, layout := range [...]string{"02/Jan/2006:15:04:05 -0700", "2006-01-02T15:04:05", "2006-01-02 15:04:05"} {
			g.clock[i] = t.AppendFormat(g.clock[i][:0], layout)
		}
	}
	return g.appendRecord(g, dst)
}

// AppendBytes appends whole records until at least size bytes were added.
func (g *Gen) AppendBytes(dst []byte, size int) []byte {
	for end := len(dst) + size; len(dst) < end; {
		dst = g.AppendLine(dst)
	}
	return dst
}

// Indexes into Gen.clock.
const (
	clockNginx = iota
	clockISO
	clockPlain
)

const (
	numberMark   = "seq="
	numberDigits = 16
)

// appendNumber appends before, the number and after, if lines are numbered.
func (g *Gen) appendNumber(dst []byte, before, after string) []byte {
	if !g.numbered {
		return dst
	}
	dst = append(dst, before...)
	dst = append(dst, numberMark...)
	dst = append(dst, g.stream...)
	dst = append(dst, '-')
	dst = appendPadded(dst, g.next, numberDigits)
	g.next++
	return append(dst, after...)
}

// ParseNumber finds the stream and number in a record or in the field of it
// that holds them; false if there is none.
func ParseNumber(record []byte) (stream string, number uint64, ok bool) {
	_, rest, found := bytes.Cut(record, []byte(numberMark))
	if !found {
		return "", 0, false
	}
	name, digits, found := bytes.Cut(rest, []byte("-"))
	if !found || len(digits) < numberDigits {
		return "", 0, false
	}
	n, err := strconv.ParseUint(string(digits[:numberDigits]), 10, 64)
	if err != nil {
		return "", 0, false
	}
	return string(name), n, true
}

func appendPadded(dst []byte, n uint64, width int) []byte {
	var b [20]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, b[len(b)-width:]...)
}

const hexDigits = "0123456789abcdef"

func appendHex16(dst []byte, n uint64) []byte {
	var b [16]byte
	for i := range b {
		b[i] = hexDigits[n&15]
		n >>= 4
	}
	return append(dst, b[:]...)
}

func appendIP(dst []byte, n uint32) []byte {
	dst = strconv.AppendUint(dst, uint64(n>>24)%223+1, 10)
	for _, shift := range [...]int{16, 8, 0} {
		dst = append(dst, '.')
		dst = strconv.AppendUint(dst, uint64(byte(n>>shift)), 10)
	}
	return dst
}

// appendSeconds appends n milliseconds as seconds: 0.312.
func appendSeconds(dst []byte, n uint64) []byte {
	dst = strconv.AppendUint(dst, n/1000, 10)
	dst = append(dst, '.')
	return appendPadded(dst, n%1000, 3)
}
