package segment

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"logtail/internal/server/index"
	"logtail/internal/server/index/indextest"
	"logtail/internal/server/query"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// nginx generates the rows of a web server, always the same: one row a
// millisecond or so in ascending time, 13 fields of the usual kinds (few
// values, many values, unique values, integers, decimals).
type nginx struct {
	r     *rand.Rand
	n     int
	raw   int64 // bytes of the rows as lines of a log file
	nanos int64
}

func newNginx() *nginx {
	return &nginx{r: rand.New(rand.NewPCG(1, 2)), nanos: benchEpoch * nanos}
}

const benchEpoch = 1_700_000_000

var (
	nginxMethods = []string{"GET", "GET", "GET", "GET", "POST", "PUT", "HEAD", "DELETE"}
	nginxStatus  = []string{"200", "200", "200", "200", "200", "200", "301", "304", "404"}
	nginxHosts   = []string{"www.example.com", "api.example.com", "static.example.com", "m.example.com"}
)

func (g *nginx) group(size int) *sls.LogGroup {
	lg := &sls.LogGroup{Topic: "nginx", Source: fmt.Sprintf("10.0.0.%d", g.r.IntN(10)), Tags: []sls.Tag{{Key: "__path__", Value: "/var/log/nginx/access.log"}}}
	for range size {
		lg.Logs = append(lg.Logs, g.row())
	}
	return lg
}

func (g *nginx) row() sls.Log {
	g.nanos += int64(g.r.IntN(int(nanos / 47)))
	pick := func(l []string) string { return l[g.r.IntN(len(l))] }
	status := pick(nginxStatus)
	switch g.r.IntN(200) {
	case 0:
		status = "500"
	case 1:
		status = "502"
	}
	path := fmt.Sprintf("/api/v%d/resource%d", 1+g.r.IntN(2), g.r.IntN(5000))
	if g.r.IntN(2) == 0 {
		path += fmt.Sprintf("/items/%d", g.r.IntN(1_000_000))
	}
	agent := fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.%d (KHTML, like Gecko) Chrome/%d.0", g.r.IntN(6), 100+g.r.IntN(10))
	fields := []string{
		"remote_addr", fmt.Sprintf("%d.%d.%d.%d", 1+g.r.IntN(200), g.r.IntN(4), g.r.IntN(256), g.r.IntN(256)),
		"method", pick(nginxMethods), "path", path, "protocol", "HTTP/1.1", "status", status,
		"body_bytes_sent", strconv.Itoa(g.r.IntN(50_000)), "referer", fmt.Sprintf("https://www.example.com/page%d", g.r.IntN(300)),
		"user_agent", agent, "request_time", strconv.FormatFloat(float64(g.r.IntN(3000))/1000, 'f', 3, 64),
		"upstream", fmt.Sprintf("10.1.0.%d:8080", g.r.IntN(20)), "host", pick(nginxHosts),
		"request_id", fmt.Sprintf("%016x", g.r.Uint64()), "bytes_in", strconv.Itoa(100 + g.r.IntN(900)),
	}
	l := sls.Log{Sec: uint32(g.nanos / nanos), Nsec: int32(g.nanos % nanos)}
	for i := 0; i < len(fields); i += 2 {
		l.Contents = append(l.Contents, sls.Content{Key: []byte(fields[i]), Value: []byte(fields[i+1])})
		g.raw += int64(len(fields[i+1])) + 1
	}
	g.raw += 30 // time and punctuation
	g.n++
	return l
}

// benchRecords makes records of 1,000 rows.
func benchRecords(rows int) (recs []shardlog.Record, raw int64) {
	g := newNginx()
	for len(recs)*1000 < rows {
		rec := indextest.Encode(g.group(1000), sls.CompressLZ4)
		rec.Seq = uint64(len(recs) + 1)
		recs = append(recs, rec)
	}
	return recs, g.raw
}

func folderSize(dir, suffix string) (n int64) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == suffix {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

func BenchmarkIngest(b *testing.B) {
	recs, raw := benchRecords(500_000)
	b.SetBytes(raw)
	b.ReportAllocs()
	var cpu float64
	var disk, side int64
	for b.Loop() {
		dir := b.TempDir()
		x, err := OpenIndex(dir, Options{Logger: quiet()})
		if err != nil {
			b.Fatal(err)
		}
		before := cpuSeconds()
		if err := x.Apply(context.Background(), shardlog.Key{Store: "s"}, recs); err != nil {
			b.Fatal(err)
		}
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
		cpu += cpuSeconds() - before
		disk, side = folderSize(dir, dataSuffix), folderSize(dir, sidecarSuffix)
		os.RemoveAll(dir)
	}
	b.ReportMetric(cpu/float64(b.N)/float64(raw)*1e9, "CPU-s/GB")
	b.ReportMetric(float64(disk)/float64(raw), "data/raw")
	b.ReportMetric(float64(side)/float64(raw), "sidecar/raw")
}

var benchIndex = sync.OnceValues(func() (*Index, error) {
	dir, err := os.MkdirTemp("", "segment-bench")
	if err != nil {
		return nil, err
	}
	x, err := OpenIndex(dir, Options{Logger: quiet()})
	if err != nil {
		return nil, err
	}
	recs, _ := benchRecords(1_000_000)
	if err := x.Apply(context.Background(), shardlog.Key{Store: "s"}, recs); err != nil {
		return nil, err
	}
	return x, x.Flush()
})

// TestMain removes what the benchmarks share. A check of the model makes and
// opens hundreds of files, so it does fewer than rapid's default unless asked.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		if err := f.Value.Set("30"); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if benchUsed {
		if x, err := benchIndex(); err == nil {
			if err := x.Close(); err != nil {
				code = 1
			}
			os.RemoveAll(x.dir)
		}
	}
	os.Exit(code)
}

var benchUsed bool

func benchOpen(b *testing.B) *Index {
	benchUsed = true
	x, err := benchIndex()
	if err != nil {
		b.Fatal(err)
	}
	return x
}

// BenchmarkQuery asks 1,000,000 rows that were sealed.
func BenchmarkQuery(b *testing.B) {
	const end = benchEpoch + 1_000_000
	search := func(q string, offset int) func(x *Index) (int64, error) {
		return func(x *Index) (int64, error) {
			e, err := query.Parse(q)
			if err != nil {
				return 0, err
			}
			res, err := x.Search(context.Background(), "s", index.SearchRequest{From: benchEpoch, To: end, Where: e, Offset: offset, Limit: 100, Reverse: true})
			return int64(len(res.Rows)), err
		}
	}
	histogram := func(q string, interval int64) func(x *Index) (int64, error) {
		return func(x *Index) (int64, error) {
			e, err := query.Parse(q)
			if err != nil {
				return 0, err
			}
			res, err := x.Histogram(context.Background(), "s", index.HistogramRequest{From: benchEpoch, To: end, Where: e, Interval: interval})
			return res.Total, err
		}
	}
	for _, c := range []struct {
		name string
		run  func(x *Index) (int64, error)
		want int64 // -1: any but 0
	}{
		{"newest100", search("*", 0), 100},
		{"newest100_404", search("status:404", 0), 100},
		{"newest100_404_offset1000", search("status:404", 1000), 100},
		{"newest100_slow_and_post", search("request_time>2.9 and method:POST", 0), 100},
		{"needle_full_text", search("0123456789abcdef", 0), 0},
		{"word_in_any_field", search("resource4242", 0), 100},
		{"phrase", search(`user_agent:#"like Gecko"`, 0), 100},
		{"prefix_absent", search("zzz*", 0), 0},
		{"histogram_all", histogram("*", 300), 1_000_000},
		{"histogram_status500", histogram("status:500", 300), -1},
		{"count_all", histogram("*", 1<<30), 1_000_000},
		{"count_status500", histogram("status>=500", 1<<30), -1},
		{"count_word_in_path", histogram("path:resource42", 1<<30), -1},
	} {
		b.Run(c.name, func(b *testing.B) {
			x := benchOpen(b)
			b.ReportAllocs()
			for b.Loop() {
				n, err := c.run(x)
				if err != nil || n != c.want && (c.want >= 0 || n == 0) {
					b.Fatalf("%d rows, %v", n, err)
				}
			}
		})
	}
}

// BenchmarkTable asks 100,000 rows that are still in memory.
func BenchmarkTable(b *testing.B) {
	x, err := OpenIndex(b.TempDir(), Options{Logger: quiet(), SealBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := x.Close(); err != nil {
			b.Error(err)
		}
	}()
	recs, raw := benchRecords(100_000)
	if err := x.Apply(context.Background(), shardlog.Key{Store: "s"}, recs); err != nil {
		b.Fatal(err)
	}
	x.memory.mu.Lock()
	perRow := float64(x.memory.used) / 100_000
	x.memory.mu.Unlock()
	for _, q := range []string{"*", "status:404", "0123456789abcdef", "request_time>2.99", "zzz*"} {
		e, err := query.Parse(q)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(q, func(b *testing.B) {
			b.SetBytes(raw)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x.Search(context.Background(), "s", index.SearchRequest{To: 1 << 32, Where: e, Limit: 100, Reverse: true}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(perRow, "B/row")
		})
	}
}
