package indextest

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"logtail/internal/server/query"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// The vocabulary is small, so that queries hit, and nasty: names that an engine
// could use itself, keys and values that are not UTF-8, integers that are not
// canonical, values with delimiters.
var (
	genKeys = []string{
		"status", "msg", "time", "", "_time", "_rest", "__topic__", "__source__", "__tag__:pod", "a.b", "Status", "\xff\xfe",
		"用户", "k\x00", "n",
	}
	genWords = []string{
		"GET", "get", "error", "Err", "disk", "full", "200", "404", "-5", "0", "-0", "007", "1.5", "1e2", "+3", "9223372036854775807",
		"9223372036854775808", "登录", "失败", "a\xffb", "x-1", "f9a31c0d", "", "_", "10.0.0.1", "null",
	}
	genSeparators = []string{" ", "/", ", ", "=\"", "\n", "::", "?"}
	genTopics     = []string{"", "web", "Web app", "\xfe"}
)

// Epoch is the unix second at which generated rows begin.
const Epoch = 1_700_000_000

func genValue() *rapid.Generator[string] {
	word := rapid.SampledFrom(genWords)
	return rapid.OneOf(
		word,
		rapid.Map(rapid.IntRange(-20, 600), func(n int) string { return fmt.Sprint(n) }),
		rapid.Custom(func(t *rapid.T) string {
			parts := rapid.SliceOfN(word, 1, 5).Draw(t, "words")
			return strings.Join(parts, rapid.SampledFrom(genSeparators).Draw(t, "separator"))
		}),
	)
}

func genContents(most int) *rapid.Generator[[]sls.Content] {
	return rapid.Custom(func(t *rapid.T) []sls.Content {
		if rapid.IntRange(0, 2).Draw(t, "plain") > 0 { // the usual row: the same keys in the same order
			out := make([]sls.Content, 0, 3)
			for _, k := range genKeys[:3] {
				out = append(out, sls.Content{Key: []byte(k), Value: []byte(genValue().Draw(t, "value"))})
			}
			return out
		}
		out := make([]sls.Content, rapid.IntRange(0, most).Draw(t, "fields"))
		for i := range out {
			key := rapid.SampledFrom(genKeys).Draw(t, "key")
			if rapid.IntRange(0, 9).Draw(t, "rare") == 0 {
				key = fmt.Sprintf("rare%d", rapid.IntRange(0, 40).Draw(t, "number"))
			}
			out[i] = sls.Content{Key: []byte(key), Value: []byte(genValue().Draw(t, "value"))}
		}
		return out
	})
}

// genRecord makes a record without its sequence.
func genRecord() *rapid.Generator[shardlog.Record] {
	return rapid.Custom(func(t *rapid.T) shardlog.Record {
		if rapid.IntRange(0, 9).Draw(t, "empty") == 0 {
			return shardlog.Record{}
		}
		lg := sls.LogGroup{Topic: rapid.SampledFrom(genTopics).Draw(t, "topic"), Source: rapid.SampledFrom([]string{"", "10.0.0.1", "host-2"}).Draw(t, "source")}
		for range rapid.IntRange(0, 2).Draw(t, "tags") {
			lg.Tags = append(lg.Tags, sls.Tag{Key: rapid.SampledFrom([]string{"pod", "__path__", ""}).Draw(t, "tag"), Value: genValue().Draw(t, "value")})
		}
		base := rapid.IntRange(0, 100).Draw(t, "base")
		for range rapid.IntRange(0, 12).Draw(t, "logs") {
			lg.Logs = append(lg.Logs, sls.Log{
				Sec:      uint32(Epoch + base + rapid.IntRange(0, 5).Draw(t, "sec")),
				Nsec:     rapid.SampledFrom([]int32{-1, 0, 1, 999_999_999}).Draw(t, "nsec"),
				Contents: genContents(6).Draw(t, "contents"),
			})
		}
		compress := rapid.SampledFrom([]sls.CompressType{sls.CompressNone, sls.CompressLZ4, sls.CompressZstd}).Draw(t, "compression")
		return Encode(&lg, compress)
	})
}

// Encode makes a record of a log group.
func Encode(lg *sls.LogGroup, compress sls.CompressType) shardlog.Record {
	raw := lg.AppendTo(nil)
	var c sls.Compressor
	data, err := c.Append(nil, raw, compress)
	if err != nil {
		panic(err) // the type is one of the constants
	}
	return shardlog.Record{Compress: compress, RawSize: len(raw), Data: data, Logs: len(lg.Logs)}
}

func genNumber() *rapid.Generator[query.Number] {
	return rapid.Custom(func(t *rapid.T) query.Number {
		n, _ := query.ParseNumber([]byte(rapid.SampledFrom([]string{"-5", "0", "1.5", "7", "100", "200", "404", "-0.5", "9223372036854775807", "1e19"}).Draw(t, "number")))
		return n
	})
}

func genExpr(depth int) *rapid.Generator[query.Expr] {
	return rapid.Custom(func(t *rapid.T) query.Expr {
		key := rapid.SampledFrom(append([]string{"status", "msg", "time", "__tag__:pod", "__tag__:__path__", "rare1"}, genKeys[4:]...)).Draw(t, "key")
		kinds := 7
		if depth > 0 {
			kinds = 12
		}
		sub := func() query.Expr { return genExpr(depth-1).Draw(t, "sub") }
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return query.All{}
		case 1:
			return query.Exists{Key: key}
		case 2:
			return query.Compare{Key: key, Op: query.Op(rapid.IntRange(0, 4).Draw(t, "op")), Value: genNumber().Draw(t, "value")}
		case 3:
			return query.Range{
				Key: key, Low: genNumber().Draw(t, "low"), High: genNumber().Draw(t, "high"),
				LowOpen: rapid.Bool().Draw(t, "open"), HighOpen: rapid.Bool().Draw(t, "shut"),
			}
		case 7, 8:
			return query.And{Args: []query.Expr{sub(), sub()}}
		case 9, 10:
			return query.Or{Args: []query.Expr{sub(), sub()}}
		case 11:
			return query.Not{Arg: sub()}
		}
		return genText(t, key)
	})
}

func genText(t *rapid.T, key string) query.Expr {
	text := query.Text{Kind: query.TextKind(rapid.IntRange(0, 2).Draw(t, "text")), Value: genValue().Draw(t, "value")}
	if rapid.Bool().Draw(t, "keyed") {
		text.Key = key
	}
	if text.Kind == query.Prefix && text.Value != "" {
		text.Value = text.Value[:rapid.IntRange(1, len(text.Value)).Draw(t, "cut")]
	}
	if len(words(text.Value)) == 0 && (text.Value != "" || text.Key == "" || text.Kind != query.Words) {
		text.Kind, text.Value = query.Words, "error" // Parse refuses a text without words
	}
	return text
}
