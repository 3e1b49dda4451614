package loggen

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

// A vocabulary holds the parts of lines that repeat in real logs too: user
// agents, pages, classes. It is made from the seed, so that two files do not
// share theirs; everything else in a line is drawn anew for it.
type vocabulary struct {
	agents, referers, pages, methods, statuses, frames, errors, notes [][]byte
}

// pick draws one. Lists have a length that is a power of two.
func pick(list [][]byte, r uint64) []byte { return list[r&uint64(len(list)-1)] }

func newVocabulary(rng *rand.PCG) *vocabulary {
	r := rand.New(rng)
	one := func(from ...string) string { return from[r.IntN(len(from))] }
	repeat := func(n int, f func() string) [][]byte {
		list := make([][]byte, n)
		for i := range list {
			list[i] = []byte(f())
		}
		return list
	}
	word := func() string {
		return one("order", "user", "cart", "stock", "price", "detail", "search", "login", "image", "report", "invoice", "coupon", "refund", "address", "session", "metric")
	}
	path := func(least int) string {
		var b strings.Builder
		for b.Len() < least {
			b.WriteString("/" + word())
			if r.IntN(3) == 0 {
				b.WriteString(strconv.Itoa(r.IntN(1000)))
			}
		}
		return b.String()
	}
	return &vocabulary{
		agents: repeat(64, func() string {
			return "Mozilla/5.0 (" + one("Windows NT 10.0; Win64; x64", "X11; Linux x86_64", "Macintosh; Intel Mac OS X 10_15_7") +
				") AppleWebKit/537." + strconv.Itoa(r.IntN(90)+10) + " (KHTML, like Gecko) Chrome/" + strconv.Itoa(r.IntN(60)+70) +
				".0." + strconv.Itoa(r.IntN(9000)+1000) + "." + strconv.Itoa(r.IntN(90)+10) + " Safari/537.36"
		}),
		referers: repeat(256, func() string {
			return "https://" + word() + ".example.com" + path(72) + "?from=" + word() + "&campaign="
		}),
		pages:    repeat(512, func() string { return path(46) }),
		methods:  [][]byte{[]byte("GET"), []byte("GET"), []byte("GET"), []byte("GET"), []byte("POST"), []byte("POST"), []byte("PUT"), []byte("DELETE")},
		statuses: repeat(64, func() string { return one("200", "200", "200", "200", "200", "304", "404", "302", "500") }),
		frames: repeat(512, func() string {
			frame := "  at com.example." + word() + "." + one("service", "web", "dao", "queue") + "." + one("Order", "User", "Stock", "Cart") +
				one("ServiceImpl", "Controller", "Repository", "Dispatcher") + "." + one("create", "handle", "load", "apply") + one("All", "One", "Batch", "Request")
			class := one("Service", "Handler", "Support", "Invoker") + one("Base", "Impl", "Proxy") + ".java:"
			return frame + strings.Repeat("$", max(0, 79-len(frame)-len(class)-2)) + "(" + class
		}),
		errors: repeat(16, func() string {
			return "java.lang." + one("IllegalState", "IllegalArgument", "NullPointer", "Runtime") + "Exception: "
		}),
		notes: repeat(16, func() string {
			return one(`"plain text, with a comma"`, `"plain text, and another"`, `"nothing"`, `"said ""hi"", then left"`)
		}),
	}
}

func (g *Gen) appendNginx(dst []byte) []byte {
	a, b, c, d := g.rng.Uint64(), g.rng.Uint64(), g.rng.Uint64(), g.rng.Uint64()
	dst = appendIP(dst, uint32(a))
	dst = append(dst, " - - ["...)
	dst = append(dst, g.clock[clockNginx]...)
	dst = append(dst, `] "`...)
	dst = append(dst, pick(g.words.methods, a>>32)...)
	dst = append(dst, ' ')
	dst = append(dst, pick(g.words.pages, a>>40)...)
	dst = append(dst, "?id="...)
	dst = strconv.AppendUint(dst, b%100_000_000, 10)
	dst = append(dst, "&session="...)
	dst = appendHex16(dst, c)
	dst = append(dst, "&page="...)
	dst = strconv.AppendUint(dst, b>>32%50, 10)
	dst = g.appendNumber(dst, "&", "")
	dst = append(dst, ` HTTP/1.1" `...)
	dst = append(dst, pick(g.words.statuses, b>>40)...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, b>>46%100_000, 10)
	dst = append(dst, ` "`...)
	dst = append(dst, pick(g.words.referers, d)...)
	dst = appendHex16(dst, d*0x9e3779b97f4a7c15)
	dst = append(dst, `" "`...)
	dst = append(dst, pick(g.words.agents, d>>8)...)
	dst = append(dst, `" rt=`...)
	dst = appendSeconds(dst, d>>16%4000)
	dst = append(dst, ` uct="`...)
	dst = appendSeconds(dst, d>>30%20)
	dst = append(dst, `" uht="`...)
	dst = appendSeconds(dst, d>>36%3000)
	dst = append(dst, `" urt="`...)
	dst = appendSeconds(dst, d>>48%3000)
	return append(dst, '"', '\n')
}

func (g *Gen) appendJava(dst []byte) []byte {
	a, b := g.rng.Uint64(), g.rng.Uint64()
	dst = append(dst, '[')
	dst = append(dst, g.clock[clockISO]...)
	dst = append(dst, '.')
	dst = appendPadded(dst, uint64(g.nanos%1e9), 9)
	dst = append(dst, "]     [ERROR] "...)
	dst = append(dst, pick(g.words.errors, a)...)
	dst = strconv.AppendUint(dst, a>>4%1_000_000, 10)
	dst = g.appendNumber(dst, " ", "")
	dst = append(dst, '\n')
	for range 5 {
		dst = append(dst, pick(g.words.frames, b)...)
		dst = strconv.AppendUint(dst, b>>9%900+100, 10)
		dst = append(dst, ')', '\n')
		b = b>>13 | b<<51
	}
	return dst
}

func (g *Gen) appendJSON(dst []byte) []byte {
	a, b, c := g.rng.Uint64(), g.rng.Uint64(), g.rng.Uint64()
	dst = append(dst, `{"time":"`...)
	dst = append(dst, g.clock[clockISO]...)
	dst = append(dst, '.')
	dst = appendPadded(dst, uint64(g.nanos%1e9), 9)
	dst = append(dst, `Z","level":"`...)
	dst = append(dst, [...]string{"INFO", "INFO", "WARN", "ERROR"}[a&3]...)
	dst = append(dst, `","service":"order-svc","host":"`...)
	dst = appendIP(dst, uint32(a>>8))
	dst = append(dst, `","pid":`...)
	dst = strconv.AppendUint(dst, a>>40%65536, 10)
	dst = append(dst, `,"trace_id":"`...)
	dst = appendHex16(dst, b)
	dst = appendHex16(dst, c)
	dst = append(dst, `","msg":"user \"u`...)
	dst = strconv.AppendUint(dst, b%100_000, 10)
	dst = append(dst, `\" asked for `...)
	dst = append(dst, pick(g.words.pages, b>>20)...)
	dst = append(dst, `\tand got\n`...)
	dst = append(dst, pick(g.words.statuses, b>>30)...)
	dst = append(dst, `","latency":`...)
	dst = appendSeconds(dst, c%300_000)
	dst = append(dst, [...]string{`,"ok":true,"error":null`, `,"ok":false,"error":"timeout \u4f60\u597d"`}[c>>20&1]...)
	dst = append(dst, `,"http":{"method":"`...)
	dst = append(dst, pick(g.words.methods, c>>21)...)
	dst = append(dst, `","url":"https:\/\/api.example.com`...)
	dst = append(dst, pick(g.words.pages, c>>24)[:24]...)
	dst = append(dst, `"}`...)
	dst = g.appendNumber(dst, `,"number":"`, `"`)
	dst = append(dst, `,"tags":["a","b`...)
	dst = strconv.AppendUint(dst, c>>33%10, 10)
	return append(dst, "\"]}\n"...)
}

func (g *Gen) appendDelimiter(dst []byte) []byte {
	a, b := g.rng.Uint64(), g.rng.Uint64()
	dst = append(dst, g.clock[clockPlain]...)
	dst = append(dst, ',')
	dst = appendHex16(dst, a)
	dst = append(dst, ',')
	dst = appendIP(dst, uint32(b))
	dst = append(dst, ',')
	dst = append(dst, pick(g.words.methods, b>>32)...)
	dst = append(dst, ',')
	dst = append(dst, pick(g.words.pages, b>>35)[:24]...)
	dst = append(dst, ',')
	dst = append(dst, pick(g.words.statuses, b>>44)...)
	dst = append(dst, ',')
	dst = strconv.AppendUint(dst, a>>7%90_000, 10)
	dst = append(dst, ',')
	dst = appendSeconds(dst, a>>20%10_000)
	dst = append(dst, ',')
	dst = append(dst, pick(g.words.notes, b>>50)...)
	dst = append(dst, ',', '"')
	dst = append(dst, pick(g.words.agents, b>>54)...)
	dst = append(dst, `","/home?from=`...)
	dst = g.appendNumber(dst, "", "&")
	dst = append(dst, "push\","...)
	dst = strconv.AppendUint(dst, a>>34%1_000_000, 10)
	return append(dst, '\n')
}
