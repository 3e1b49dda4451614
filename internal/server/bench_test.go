package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"logtail/internal/sls"
)

// BenchmarkPutLogs sends log groups of about half a megabyte, as agents do, to
// the embedded engines over HTTP, with a sync for each; indexing goes on beside.
func BenchmarkPutLogs(b *testing.B) {
	s, err := New(Options{Data: b.TempDir(), Listen: "127.0.0.1:0", InsecureHTTP: true, Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	if err := s.Start(ctx); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Shutdown(ctx); err != nil {
			b.Error(err)
		}
	}()
	if err := s.Ensure(ctx, testProject, testLogstore); err != nil {
		b.Fatal(err)
	}
	c := s.Credentials()
	client, err := sls.NewClient(sls.ClientOptions{Endpoint: c.Endpoint, Signer: sls.Signer{
		Credentials: sls.Credentials{AccessKeyID: c.AccessKeyID, AccessKeySecret: c.AccessKeySecret},
	}})
	if err != nil {
		b.Fatal(err)
	}
	groups := make([][]byte, 16)
	for i := range groups {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		values := make([]string, 1100)
		for j := range values {
			values[j] = fmt.Sprintf(`10.%d.%d.%d - - [01/Mar/2026:12:00:00 +0000] "GET /api/v1/items/%d?session=%016x HTTP/1.1" %d %d "https://shop.example.com/list/%d" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36" rt=0.%03d`,
				r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(100000), r.Uint64(), 200+r.IntN(4)*100, r.IntN(100000), r.IntN(1000), 90+r.IntN(40), r.IntN(1000))
		}
		groups[i] = lines(uint32(time.Now().Unix()), values...)
	}
	b.SetBytes(int64(len(groups[0])))
	b.SetParallelism(4)
	var next atomic.Uint64
	b.ReportAllocs()
	b.ResetTimer()
	defer b.StopTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := client.PutLogGroup(ctx, testProject, testLogstore, groups[next.Add(1)%16], sls.CompressLZ4); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
