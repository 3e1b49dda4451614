package indextest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"logtail/internal/server/index"
	"logtail/internal/server/query"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// reference is the naive index: all rows in one list, and every question is
// answered by looking at all of them. It shares no code with package query but
// the tree.
type reference struct{ rows []index.Row }

func (ref *reference) apply(shard int, recs []shardlog.Record) error {
	for _, rec := range recs {
		if len(rec.Data) == 0 {
			continue
		}
		raw, err := sls.Decompress(nil, rec.Data, rec.Compress, rec.RawSize, 1<<30)
		if err != nil {
			return err
		}
		var lg sls.LogGroup
		if err := lg.Decode(raw, sls.DefaultLimits); err != nil {
			return err
		}
		for i, l := range lg.Logs {
			r := index.Row{
				Time: int64(l.Sec), Nsec: l.Nsec, Shard: shard, Seq: rec.Seq, Row: i, Topic: lg.Topic, Source: lg.Source,
				Fields: []index.Field{},
			}
			for _, c := range l.Contents {
				r.Fields = append(r.Fields, index.Field{Key: string(c.Key), Value: string(c.Value)})
			}
			for _, t := range lg.Tags {
				r.Fields = append(r.Fields, index.Field{Key: "__tag__:" + t.Key, Value: t.Value})
			}
			ref.rows = append(ref.rows, r)
		}
	}
	return nil
}

func compareRows(a, b index.Row) int {
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(max(a.Nsec, 0), max(b.Nsec, 0)), cmp.Compare(a.Shard, b.Shard),
		cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Row, b.Row))
}

func (ref *reference) find(from, to int64, topic *string, where query.Expr) []index.Row {
	var out []index.Row
	for _, r := range ref.rows {
		if r.Time >= from && r.Time < to && (topic == nil || *topic == r.Topic) && (where == nil || matches(where, &r)) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, compareRows)
	return out
}

func (ref *reference) search(req index.SearchRequest) []index.Row {
	rows := ref.find(req.From, req.To, req.Topic, req.Where)
	if req.Reverse {
		slices.Reverse(rows)
	}
	rows = rows[min(req.Offset, len(rows)):]
	return rows[:min(max(req.Limit, 0), len(rows))]
}

func (ref *reference) histogram(req index.HistogramRequest) []index.Bucket {
	var out []index.Bucket
	for from := req.From; from < req.To; {
		to := min(req.To, from+1)
		for to < req.To && to%req.Interval != 0 {
			to++
		}
		out = append(out, index.Bucket{From: from, To: to, Count: int64(len(ref.find(from, to, req.Topic, req.Where)))})
		from = to
	}
	return out
}

// matches is what package query promises, said in another way.
func matches(e query.Expr, r *index.Row) bool {
	switch e := e.(type) {
	case query.All:
		return true
	case query.And:
		for _, a := range e.Args {
			if !matches(a, r) {
				return false
			}
		}
		return true
	case query.Or:
		return slices.ContainsFunc(e.Args, func(a query.Expr) bool { return matches(a, r) })
	case query.Not:
		return !matches(e.Arg, r)
	case query.Exists:
		return len(values(r, e.Key)) > 0
	case query.Compare:
		return slices.ContainsFunc(values(r, e.Key), func(v string) bool {
			c, ok := compareNumber(v, e.Value)
			switch e.Op {
			case query.Greater:
				return ok && c > 0
			case query.GreaterEqual:
				return ok && c >= 0
			case query.Less:
				return ok && c < 0
			case query.LessEqual:
				return ok && c <= 0
			}
			return ok && c == 0
		})
	case query.Range:
		return slices.ContainsFunc(values(r, e.Key), func(v string) bool {
			lo, ok := compareNumber(v, e.Low)
			hi, _ := compareNumber(v, e.High)
			return ok && (lo > 0 || lo == 0 && !e.LowOpen) && (hi < 0 || hi == 0 && !e.HighOpen)
		})
	case query.Text:
		return matchesText(e, r)
	}
	panic("indextest: unknown node")
}

func matchesText(e query.Text, r *index.Row) bool {
	vs := values(r, e.Key)
	if e.Value == "" {
		return slices.Contains(vs, "")
	}
	want := words(e.Value)
	if e.Kind == query.Phrase {
		// Between marks, a run of words is a substring.
		needle := "\x00" + strings.Join(want, "\x00") + "\x00"
		return slices.ContainsFunc(vs, func(v string) bool {
			return strings.Contains("\x00"+strings.Join(words(v), "\x00")+"\x00", needle)
		})
	}
	var have []string
	for _, v := range vs {
		have = append(have, words(v)...)
	}
	for i, w := range want {
		if e.Kind == query.Prefix && i == len(want)-1 && len(words(e.Value[len(e.Value)-1:])) == 1 {
			if !slices.ContainsFunc(have, func(h string) bool { return strings.HasPrefix(h, w) }) {
				return false
			}
		} else if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// values returns the values of a key, or all values for "".
func values(r *index.Row, key string) []string {
	var out []string
	if r.Topic != "" && (key == "" || key == "__topic__") {
		out = append(out, r.Topic)
	}
	if r.Source != "" && (key == "" || key == "__source__") {
		out = append(out, r.Source)
	}
	for _, f := range r.Fields {
		if key == "" || key == f.Key {
			out = append(out, f.Value)
		}
	}
	return out
}

// words splits at the documented delimiters.
func words(s string) []string {
	var out []string
	word := ""
	for i := range len(s) {
		if strings.IndexByte(" , '\";=()[]{}?@&<>/:\n\t\r", s[i]) < 0 {
			word += string([]byte{lower(s[i])})
			continue
		}
		if word != "" {
			out = append(out, word)
		}
		word = ""
	}
	if word != "" {
		out = append(out, word)
	}
	return out
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 32
	}
	return c
}

func compareNumber(v string, n query.Number) (int, bool) {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || strings.ContainsAny(v, "xXpP_nNiI") {
		return 0, false
	}
	g := n.Float
	if n.IsInt {
		g = float64(n.Int)
		if i, err := strconv.ParseInt(v, 10, 64); err == nil {
			return cmp.Compare(i, n.Int), true
		}
	}
	return cmp.Compare(f, g), true
}
