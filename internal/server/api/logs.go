package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"logtail/internal/server/index"
	"logtail/internal/server/query"
	"logtail/internal/sls"
)

// maxLines is the most rows of one reply to a search, as in SLS.
const maxLines = 100

// maxQueryInfo bounds a header that lists all keys of the rows: beyond it HTTP
// clients refuse the reply, so it is left out.
const maxQueryInfo = 32 << 10

// maxOffset bounds how far a search pages: the engine has to hold the place of
// every row before the page, some 50 bytes each.
const maxOffset = 1_000_000

// logsInput is a query as the various SDKs send it: numbers and booleans may be
// strings.
type logsInput struct {
	From    looseInt  `json:"from"`
	To      looseInt  `json:"to"`
	Topic   string    `json:"topic"`
	Query   string    `json:"query"`
	Line    looseInt  `json:"line"`
	Offset  looseInt  `json:"offset"`
	Reverse looseBool `json:"reverse"`
	ToNs    looseInt  `json:"toNs"`
}

// looseInt is an integer, also one in quotes; "" and null are 0.
type looseInt int64

// UnmarshalJSON reads 5, "5", "" and null.
func (v *looseInt) UnmarshalJSON(b []byte) error {
	text := string(bytes.Trim(b, `"`))
	if text == "" || text == "null" {
		*v = 0
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("%s is no integer", clip(string(b)))
	}
	*v = looseInt(n)
	return nil
}

// looseBool is a boolean, also one in quotes; "" and null are false.
type looseBool bool

// UnmarshalJSON reads true, "true", "False", "" and null.
func (v *looseBool) UnmarshalJSON(b []byte) error {
	switch text := strings.ToLower(string(bytes.Trim(b, `"`))); text {
	case "true", "1":
		*v = true
	case "false", "0", "", "null":
		*v = false
	default:
		return fmt.Errorf("%s is neither true nor false", clip(string(b)))
	}
	return nil
}

// clip keeps messages short when they quote what a client sent.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

// search is a query that was checked.
type search struct {
	l     *logstore
	text  string
	where query.Expr
	topic *string
	// The time is whole seconds: the index has no finer ones. A query to a part
	// of a second gets the whole second.
	from, to int64
}

// newSearch checks what all forms of a query have in common.
func (h *Handler) newSearch(rq *request, from, to int64, topic, text string) (*search, error) {
	l, err := h.logstore(rq)
	if err != nil {
		return nil, err
	}
	if _, err := h.index(rq); err != nil {
		return nil, err
	}
	if from < 0 || to <= from {
		return nil, sls.NewError(sls.CodeInvalidTimeRange,
			"the time range is from %d to %d; give unix seconds with from before to", from, to)
	}
	s := &search{l: l, text: text, from: from, to: to}
	if topic != "" {
		s.topic = &topic
	}
	if s.where, err = query.Parse(text); err != nil {
		return nil, invalid("%v", err) // it tells the column and what was expected
	}
	return s, nil
}

// getLogs serves POST /logstores/{logstore}/logs, the second and third version
// of GetLogs: the reply is {meta, data}.
func (h *Handler) getLogs(rq *request) error {
	var in logsInput
	if err := rq.decode(&in, "a query (from, to, query, line, offset, reverse)"); err != nil {
		return err
	}
	rows, meta, err := h.search(rq, in)
	if err != nil {
		return err
	}
	head, err := json.Marshal(meta)
	if err != nil {
		return fmt.Errorf("encode the reply: %w", err)
	}
	body := append([]byte(`{"meta":`), head...)
	body = append(body, `,"data":`...)
	body = appendRows(body, rows)
	body = append(body, '}')
	setProgress(rq, meta.Progress, meta.Count)
	return rq.compressed("application/json", body, acceptedCompression(rq.r))
}

// getLogsOldForm serves GET /logstores/{logstore}?type=log, the first version:
// the reply is the list of rows, what else there is to say stands in headers.
func (h *Handler) getLogsOldForm(rq *request) error {
	q := rq.r.URL.Query()
	in := logsInput{Topic: q.Get("topic"), Query: q.Get("query")}
	for _, p := range []struct {
		name string
		to   json.Unmarshaler
	}{{"from", &in.From}, {"to", &in.To}, {"line", &in.Line}, {"offset", &in.Offset}, {"reverse", &in.Reverse}, {"toNs", &in.ToNs}} {
		if err := p.to.UnmarshalJSON([]byte(q.Get(p.name))); err != nil {
			return invalid("%s: %v", p.name, err)
		}
	}
	rows, meta, err := h.search(rq, in)
	if err != nil {
		return err
	}
	info, err := json.Marshal(struct {
		Keys    []string   `json:"keys"`
		Terms   [][]string `json:"terms"`
		Limited string     `json:"limited"`
		Mode    int        `json:"mode"`
	}{Keys: meta.Keys, Terms: termPairs(meta.Terms), Limited: strconv.FormatInt(meta.Limited, 10)})
	if err != nil {
		return fmt.Errorf("encode the reply: %w", err)
	}
	setProgress(rq, meta.Progress, meta.Count)
	head := rq.w.Header()
	if len(info) <= maxQueryInfo {
		head.Set("x-log-query-info", asciiJSON(info))
	}
	head.Set("x-log-processed-rows", strconv.FormatInt(meta.ProcessedRows, 10))
	head.Set("x-log-elapsed-millisecond", strconv.FormatInt(meta.ElapsedMillisecond, 10))
	head.Set("x-log-has-sql", "false")
	head.Set("x-log-where-query", url.PathEscape(meta.WhereQuery))
	head.Set("x-log-agg-query", "")
	return rq.compressed("application/json", appendRows(nil, rows), acceptedCompression(rq.r))
}

// asciiJSON escapes in JSON what a header cannot hold: everything beyond ASCII.
func asciiJSON(b []byte) string {
	var out strings.Builder
	for _, r := range string(b) {
		if r < 0x7f {
			out.WriteRune(r)
			continue
		}
		for _, u := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&out, `\u%04x`, u)
		}
	}
	return out.String()
}

// setProgress sets the headers that the older clients insist on.
func setProgress(rq *request, progress string, count int64) {
	rq.w.Header().Set(sls.HeaderProgress, progress)
	rq.w.Header().Set(sls.HeaderCount, strconv.FormatInt(count, 10))
}

// search runs a query and describes the result.
func (h *Handler) search(rq *request, in logsInput) ([]index.Row, *sls.GetLogsMeta, error) {
	to := int64(in.To)
	if in.ToNs > 0 {
		to++
	}
	s, err := h.newSearch(rq, int64(in.From), to, in.Topic, in.Query)
	if err != nil {
		return nil, nil, err
	}
	if in.Line == 0 {
		in.Line = maxLines
	}
	if in.Line < 0 || in.Line > maxLines {
		return nil, nil, sls.NewError(sls.CodeInvalidLine, "line is %d; it has to be between 1 and %d; use offset for what follows", in.Line, maxLines)
	}
	if in.Offset < 0 {
		return nil, nil, sls.NewError(sls.CodeInvalidOffset, "offset is %d; it has to be 0 or more", in.Offset)
	}
	if in.Offset > maxOffset {
		return nil, nil, sls.NewError(sls.CodeInvalidOffset, "offset is %d; at most %d are possible: split the time range and begin again at 0", in.Offset, maxOffset)
	}
	var res index.SearchResult
	took, err := h.runQuery(rq.ctx(), func(ctx context.Context) (err error) {
		res, err = h.Index.Search(ctx, s.l.ID, index.SearchRequest{
			From: s.from, To: s.to, Topic: s.topic, Where: s.where,
			Offset: int(in.Offset), Limit: int(in.Line), Reverse: bool(in.Reverse), MaxBytes: h.Limits.PageBytes,
		})
		return err
	})
	if errors.Is(err, index.ErrTooLarge) {
		return nil, nil, sls.NewError(sls.CodeInvalidLine, "these %d logs have more than %d bytes together, which is too much for one reply; ask for fewer with line",
			in.Line, h.Limits.PageBytes)
	}
	if err != nil {
		return nil, nil, err
	}
	accurate := true // the order is total
	return res.Rows, &sls.GetLogsMeta{
		Progress: progressName(res.Complete), WhereQuery: s.text,
		ProcessedRows: res.Processed, ElapsedMillisecond: took.Milliseconds(),
		Limited: int64(in.Line), Count: int64(len(res.Rows)), TelemetryType: "None",
		Keys: keysOf(res.Rows), Terms: termsOf(s.where), IsAccurate: &accurate,
	}, nil
}

// runQuery runs a query when there is a free place for it, and tells how long
// it took.
func (h *Handler) runQuery(ctx context.Context, run func(context.Context) error) (time.Duration, error) {
	timer := time.NewTimer(h.Limits.QueueTime)
	defer timer.Stop()
	select {
	case h.queries <- struct{}{}:
	case <-timer.C:
		return 0, sls.NewError(sls.CodeServerBusy, "too many queries are running; try again")
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-h.queries }()
	limited, cancel := context.WithTimeout(ctx, h.Limits.QueryTime)
	defer cancel()
	start := time.Now()
	err := run(limited)
	if errors.Is(err, context.DeadlineExceeded) {
		err = sls.NewError(sls.CodeServerBusy, "the query took longer than %s; make the time range shorter or the conditions stricter", h.Limits.QueryTime)
	}
	return time.Since(start), err
}

func progressName(complete bool) string {
	if complete {
		return sls.ProgressComplete
	}
	return sls.ProgressIncomplete
}

// termsOf lists the words that a query looks for, so that a client can
// highlight them; what must not occur is none of them.
func termsOf(e query.Expr) []sls.MetaTerm {
	var terms []sls.MetaTerm
	switch e := e.(type) {
	case query.And:
		for _, a := range e.Args {
			terms = append(terms, termsOf(a)...)
		}
	case query.Or:
		for _, a := range e.Args {
			terms = append(terms, termsOf(a)...)
		}
	case query.Text:
		if e.Value != "" {
			terms = append(terms, sls.MetaTerm{Key: e.Key, Term: e.Value})
		}
	}
	return terms
}

// termPairs writes terms as the first version of GetLogs has them.
func termPairs(terms []sls.MetaTerm) [][]string {
	pairs := make([][]string, 0, len(terms))
	for _, t := range terms {
		pairs = append(pairs, []string{t.Term, t.Key})
	}
	return pairs
}
