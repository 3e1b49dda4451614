package process

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"logtail/internal/agent/event"
	"logtail/internal/pipeline"
)

// The generators make lines that differ from one another, the same ones in each run.

var genStart = time.Date(2024, 5, 14, 8, 30, 0, 0, time.UTC)

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func hexDigits(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[r.IntN(16)]
	}
	return string(b)
}

var agents = []string{
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
	"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "okhttp/4.12.0",
	"Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
}

// nginxLine is an access line of about 300 bytes.
func nginxLine(r *rand.Rand, i int) string {
	return fmt.Sprintf(`%d.%d.%d.%d - %s [%s] "%s %s/%d?sid=%s HTTP/1.1" %d %d "%s" "%s" %.3f %s`,
		r.IntN(223)+1, r.IntN(256), r.IntN(256), r.IntN(256), pick(r, "-", "alice", "bob"),
		genStart.Add(time.Duration(i/20)*time.Second).Format("02/Jan/2006:15:04:05 -0700"),
		pick(r, "GET", "POST", "PUT"), pick(r, "/api/v1/orders", "/static/js/app", "/search"), r.IntN(1e6), hexDigits(r, 16),
		pick(r, 200, 304, 404, 500), r.IntN(90000), pick(r, "-", "https://www.example.com/search?q=shoes&page=2"),
		pick(r, agents...), r.Float64(), hexDigits(r, 32))
}

const nginxRegex = `^(\S+) - (\S+) \[([^\]]+)\] "(\w+) (\S+) [^"]*" (\d+) (\d+) "([^"]*)" "([^"]*)" (\S+) \S+`

var nginxKeys = []string{"ip", "user", "time", "method", "url", "status", "bytes", "referer", "agent", "request_time"}

// jsonLine has 12 members, one of them nested, and escapes; about 400 bytes.
func jsonLine(r *rand.Rand, i int) string {
	return fmt.Sprintf(`{"time":"%s","level":"%s","service":"order-svc","host":"ip-10-%d-%d-%d","pid":%d,"trace_id":"%s","msg":"user \"u%d\" requested %s\tand got\n%d","latency_ms":%.2f,"ok":%v,"error":%s,"http":{"method":"%s","status":%d,"url":"https:\/\/api.example.com/%d","headers":{"ua":"okhttp"}},"tags":["a","b%d"]}`,
		genStart.Add(time.Duration(i)*17*time.Millisecond).Format(time.RFC3339Nano), pick(r, "INFO", "WARN", "ERROR"),
		r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(65536), hexDigits(r, 32), r.IntN(99999), pick(r, "/cart", "/search", "/product/detail"),
		pick(r, 200, 404), r.Float64()*300, r.IntN(2) == 0, pick(r, "null", `"timeout: \u4f60\u597d"`), pick(r, "GET", "POST"), pick(r, 200, 500), r.IntN(1000), r.IntN(10))
}

// delimiterLine has 12 columns, three of them quoted.
func delimiterLine(r *rand.Rand, i int) string {
	return fmt.Sprintf(`%s,%s,%d.%d.%d.%d,%s,%s,%d,%d,%.3f,%s,"%s",%s,%d`,
		genStart.Add(time.Duration(i/20)*time.Second).Format(time.DateTime), hexDigits(r, 16), r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256),
		pick(r, "GET", "POST"), pick(r, "/api/v1/orders", "/search"), pick(r, 200, 404), r.IntN(90000), r.Float64(),
		pick(r, `"plain text, with comma"`, `"plain, too"`, `"say ""hi"", then go"`), pick(r, agents...), pick(r, "-", "https://www.example.com/"), r.IntN(1e6))
}

var delimiterKeys = []string{"time", "id", "ip", "method", "url", "status", "bytes", "took", "text", "agent", "referer", "user"}

// javaLines is a log4j record, every third with a stack trace.
func javaLines(r *rand.Rand, i int) string {
	var b bytes.Buffer
	at := genStart.Add(time.Duration(i) * 40 * time.Millisecond).Format("2006-01-02 15:04:05,000")
	class := func() string {
		return pick(r, "com.example.order.OrderServiceImpl", "org.springframework.web.servlet.FrameworkServlet", "java.util.concurrent.ThreadPoolExecutor")
	}
	if r.IntN(3) > 0 {
		fmt.Fprintf(&b, "%s [http-nio-%d] INFO  %s - request id=%s cost=%dms handled", at, r.IntN(200), class(), hexDigits(r, 16), r.IntN(2000))
		return b.String()
	}
	fmt.Fprintf(&b, "%s [http-nio-%d] ERROR %s - failed id=%s\njava.lang.IllegalStateException: order %d is not payable", at, r.IntN(200), class(), hexDigits(r, 16), r.IntN(1e6))
	for range 8 + r.IntN(20) {
		fmt.Fprintf(&b, "\n\tat %s.%s(Source.java:%d)", class(), pick(r, "doService", "invoke", "run"), r.IntN(900))
	}
	return b.String()
}

// genLines makes n records by line, separated and ended by line ends.
func genLines(n int, line func(*rand.Rand, int) string) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for i := range n {
		b.WriteString(line(r, i))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// runAll splits text at line ends and runs it through a chain, batch by batch.
func runAll(c *Chain, s Splitter, b *event.Batch, text []byte) (records int) {
	b.NowSec, b.NowNsec = uint32(genStart.Unix())+3600, -1
	for pos := 0; pos < len(text); {
		b.Reset()
		n, _ := s.Split(b, text[pos:], uint64(pos), 0)
		if n == 0 {
			break
		}
		pos += n
		if c != nil {
			c.Run(b)
		}
		records += len(b.Records)
	}
	return records
}

// sut is a chain with one processor, its statistics, and its pipeline.
func chainOf(t testing.TB, o Options, plugins ...any) *Chain {
	t.Helper()
	p := pipeline.New("p")
	for _, x := range plugins {
		p.Add(x)
	}
	if o.MachineZone == nil {
		o.MachineZone = time.UTC
	}
	c, err := New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run sends texts through a chain as one batch and returns it.
func run(c *Chain, texts ...string) *event.Batch {
	b := &event.Batch{NowSec: uint32(genStart.Unix()), NowNsec: -1}
	end := uint64(0)
	for _, x := range texts {
		end += uint64(len(x)) + 1
		b.Next([]byte(x), end)
	}
	c.Run(b)
	return b
}

// show writes the fields of a record as k=v|k=v, or the reason why it was dropped.
func show(r *event.Record) string {
	if r.Drop != event.Kept {
		return [...]string{"", "<filtered>", "<unparsed>", "<too old>", "<unmatched>"}[r.Drop]
	}
	var b bytes.Buffer
	for i, f := range r.Fields {
		if i > 0 {
			b.WriteByte('|')
		}
		fmt.Fprintf(&b, "%s=%s", f.Key, f.Value)
	}
	return b.String()
}

// noAllocs fails if a chain allocates once it is warm.
func noAllocs(t *testing.T, c *Chain, text []byte) {
	t.Helper()
	s := mustSplitter(t, pipeline.Multiline{}, 0)
	var b event.Batch
	for range 200 { // field slices and arena find their size
		runAll(c, s, &b, text)
	}
	if n := testing.AllocsPerRun(20, func() { runAll(c, s, &b, text) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// benchChain measures a chain on text, the splitter included.
func benchChain(bench *testing.B, c *Chain, m pipeline.Multiline, text []byte) {
	bench.Helper()
	s := mustSplitter(bench, m, 0)
	var b event.Batch
	bench.SetBytes(int64(len(text)))
	bench.ReportAllocs()
	records := 0
	for bench.Loop() {
		records += runAll(c, s, &b, text)
	}
	bench.ReportMetric(float64(bench.Elapsed().Nanoseconds())/float64(records), "ns/record")
	if c != nil {
		if st := c.env.stats; st.ParseFailures.Load()+st.TimeFailures.Load()+st.KeysMissing.Load() > 0 {
			bench.Fatalf("%d failures to parse, %d to read a time, %d keys missing", st.ParseFailures.Load(), st.TimeFailures.Load(), st.KeysMissing.Load())
		}
	}
}

const genCount = 1000 // records a benchmark turns over: about 300 KB, as much as a chunk

func BenchmarkSplitLines(b *testing.B) {
	benchChain(b, nil, pipeline.Multiline{}, genLines(genCount, nginxLine))
}

func BenchmarkSplitMultiline(b *testing.B) {
	text := genLines(genCount, javaLines)
	lines := bytes.Count(text, []byte("\n"))
	benchChain(b, nil, start(`\d+-\d+-\d+ \d+:\d+:\d+.*`), text)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(lines), "ns/line")
}

func BenchmarkNoProcessor(b *testing.B) {
	benchChain(b, chainOf(b, Options{}), pipeline.Multiline{}, genLines(genCount, nginxLine))
}

func BenchmarkRegex(b *testing.B) {
	benchChain(b, chainOf(b, Options{}, pipeline.NewParseRegex(nginxRegex, nginxKeys...)), pipeline.Multiline{}, genLines(genCount, nginxLine))
}

func BenchmarkJSON(b *testing.B) {
	benchChain(b, chainOf(b, Options{}, pipeline.NewParseJSON()), pipeline.Multiline{}, genLines(genCount, jsonLine))
}

func BenchmarkDelimiter(b *testing.B) {
	benchChain(b, chainOf(b, Options{}, pipeline.NewParseDelimiter(",", delimiterKeys...)), pipeline.Multiline{}, genLines(genCount, delimiterLine))
}

func BenchmarkRegexAndTime(b *testing.B) {
	benchChain(b, chainOf(b, Options{}, pipeline.NewParseRegex(nginxRegex, nginxKeys...),
		pipeline.NewParseTimestamp("time", "%d/%b/%Y:%H:%M:%S %z")), pipeline.Multiline{}, genLines(genCount, nginxLine))
}
