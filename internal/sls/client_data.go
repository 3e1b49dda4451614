package sls

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// logstorePath is the path of something in a logstore. The name is escaped, so
// that it stays one step of the path whatever is in it.
func logstorePath(logstore, rest string) string {
	return "/logstores/" + url.PathEscape(logstore) + rest
}

// shardPath is the path of a shard.
func shardPath(logstore string, shard int) string {
	return logstorePath(logstore, "/shards/"+strconv.Itoa(shard))
}

// PutPackages writes a package list, encoded by AppendPackage, to any shard.
// The reply is nil if the server knows no ranges: then all of the list was
// accepted. Otherwise the reply tells for each package, in order, what became
// of it.
//
// It may reach the server twice when a connection breaks at a bad moment; so a
// server that knows no ranges gets the logs at least once.
func (c *Client) PutPackages(ctx context.Context, project, logstore string, body []byte) (*PutReply, error) {
	k := call{
		method: http.MethodPost, project: project, path: logstorePath(logstore, "/shards/lb"), body: body, rawSize: len(body),
		header: map[string]string{
			"Content-Type": ContentTypePB, HeaderMode: ModeBatchGroup,
			HeaderCompressType: CompressLZ4.String(), // stock servers demand one; what counts stands in each package
		},
		repeatable: true, maxReply: maxControlReply,
	}
	var pr PutReply
	r, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	if r.header.Get(HeaderDelivery) != "1" {
		return nil, nil
	}
	if err := decodeJSON(r.body, &pr); err != nil {
		return nil, err
	}
	return &pr, nil
}

// PutLogGroup compresses one encoded log group and writes it to any shard, as
// a stock SDK does. It may arrive twice, as with PutPackages.
func (c *Client) PutLogGroup(ctx context.Context, project, logstore string, raw []byte, t CompressType) error {
	var z Compressor
	body, err := z.Append(nil, raw, t)
	if err != nil {
		return err
	}
	k := call{
		method: http.MethodPost, project: project, path: logstorePath(logstore, "/shards/lb"), body: body, rawSize: len(raw),
		header:     map[string]string{"Content-Type": ContentTypePB},
		repeatable: true, maxReply: maxControlReply,
	}
	if t != CompressNone {
		k.header[HeaderCompressType] = t.String()
	}
	_, err = c.do(ctx, k)
	return err
}

// PutSequenced writes one log group, compressed already, to the shard that owns
// the hash key (32 hex digits), under a sequence number from 1 up. A server
// refuses a number that is not above the last one of the key: see
// Error.IsRepeated. It is sent once at most, whatever happens to the connection,
// so that such a refusal of a number that is sent for the first time means that
// somebody else has used it.
func (c *Client) PutSequenced(ctx context.Context, project, logstore, key string, number uint64, p *Package) error {
	k := call{
		method: http.MethodPost, project: project, path: logstorePath(logstore, "/shards/route"), body: p.Data, rawSize: p.RawSize,
		query:    url.Values{"key": {key}, "seqid": {strconv.FormatUint(number, 10)}},
		header:   map[string]string{"Content-Type": ContentTypePB},
		maxReply: maxControlReply,
	}
	if p.Compress != CompressNone {
		k.header[HeaderCompressType] = p.Compress.String()
	}
	_, err := c.do(ctx, k)
	return err
}

// Resume takes over lanes and asks for their progress. The second result says
// whether the server speaks ranges; if it does not, there is no reply and no
// error. More than MaxResumeLanes lanes are an error: ask in several calls,
// with the session of the first reply.
func (c *Client) Resume(ctx context.Context, project, logstore string, rr ResumeRequest) (*ResumeReply, bool, error) {
	if len(rr.Lanes) > MaxResumeLanes {
		return nil, false, fmt.Errorf("sls: a resume of %d lanes; at most %d go into one call", len(rr.Lanes), MaxResumeLanes)
	}
	if rr.Lanes == nil {
		rr.Lanes = []string{}
	}
	k := call{method: http.MethodPost, project: project, path: logstorePath(logstore, "/lanes"), repeatable: true, maxReply: maxDataReply}
	r, err := c.callJSON(ctx, k, rr, nil)
	if err != nil {
		if e, ok := AsError(err); ok && r.header.Get(HeaderDelivery) != "1" && isUnknownCall(e) {
			return nil, false, nil
		}
		return nil, false, err
	}
	if r.header.Get(HeaderDelivery) != "1" {
		return nil, false, nil
	}
	var out ResumeReply
	if err := decodeJSON(r.body, &out); err != nil {
		return nil, true, err
	}
	if len(out.Lanes) != len(rr.Lanes) {
		return nil, true, &networkError{fmt.Sprintf("the reply to a resume of %d lanes has %d", len(rr.Lanes), len(out.Lanes)), nil}
	}
	return &out, true, nil
}

// isUnknownCall tells the refusal of a call that a server does not know from
// one that has to do with the request: key, time, quota, missing objects.
func isUnknownCall(e *Error) bool {
	switch e.Status {
	case http.StatusNotFound:
		return e.Code != CodeProjectNotExist && e.Code != CodeLogStoreNotExist
	case http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusUnsupportedMediaType:
		return true
	case http.StatusBadRequest:
		switch e.Code {
		case CodeInvalidMethod, CodeNotSupported, CodeBadRequest, CodeParameterInvalid, CodeInvalidParameter, CodeInvalidContentType:
			return true
		}
	}
	return false
}

// GetLogs runs a query (version 3 of the call). While the progress of the
// reply is ProgressIncomplete, asking again gives more complete results.
func (c *Client) GetLogs(ctx context.Context, project, logstore string, q GetLogsRequest) (*GetLogsReply, error) {
	var out GetLogsReply
	k := call{method: http.MethodPost, project: project, path: logstorePath(logstore, "/logs"), repeatable: true, maxReply: maxDataReply}
	r, err := c.callJSON(ctx, k, q, nil)
	if err != nil {
		return nil, err
	}
	body := r.body
	if r.header.Get(HeaderBodyRawSize) != "" && r.header.Get(HeaderCompressType) != "" {
		if body, err = decompressReply(r); err != nil {
			return nil, err
		}
	}
	if err := decodeJSON(body, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// GetHistograms counts the logs that match a query, per interval.
func (c *Client) GetHistograms(ctx context.Context, project, logstore string, q GetHistogramsRequest) (*GetHistogramsReply, error) {
	v := url.Values{}
	v.Set("type", "histogram")
	v.Set("from", strconv.FormatInt(q.From, 10))
	v.Set("to", strconv.FormatInt(q.To, 10))
	v.Set("topic", q.Topic)
	v.Set("query", q.Query)
	if q.Interval > 0 {
		v.Set("interval", strconv.FormatInt(q.Interval, 10))
	}
	var out GetHistogramsReply
	r, err := c.callJSON(ctx, call{method: http.MethodGet, project: project, path: logstorePath(logstore, ""), query: v}, nil, &out.Histograms)
	if err != nil {
		return nil, err
	}
	out.Progress = r.header.Get(HeaderProgress)
	if out.Count, err = headerInt(r.header, HeaderCount); err != nil {
		return nil, err
	}
	return &out, nil
}

// GetCursor returns the cursor at which the logs of a shard begin that were
// received from the given time on: unix seconds as text, "begin" or "end".
func (c *Client) GetCursor(ctx context.Context, project, logstore string, shard int, from string) (string, error) {
	var out struct {
		Cursor string `json:"cursor"`
	}
	v := url.Values{"type": {"cursor"}, "from": {from}}
	_, err := c.callJSON(ctx, call{method: http.MethodGet, project: project, path: shardPath(logstore, shard), query: v}, nil, &out)
	return out.Cursor, err
}

// PullLogs reads up to count log groups of a shard from a cursor on, in the
// order in which they were written, and returns the cursor that follows them.
// At the end of the shard there are no groups and the cursor stays.
func (c *Client) PullLogs(ctx context.Context, project, logstore string, shard int, cursor string, count int) (groups []LogGroup, next string, err error) {
	v := url.Values{"type": {"logs"}, "cursor": {cursor}, "count": {strconv.Itoa(count)}}
	k := call{
		method: http.MethodGet, project: project, path: shardPath(logstore, shard), query: v,
		header:   map[string]string{"Accept": ContentTypePB, "Accept-Encoding": CompressLZ4.String()},
		maxReply: maxDataReply,
	}
	r, err := c.do(ctx, k)
	if err != nil {
		return nil, "", err
	}
	next = r.header.Get(HeaderCursor)
	if next == "" {
		return nil, "", &networkError{"the reply to PullLogs has no " + HeaderCursor, nil}
	}
	body, err := decompressReply(r)
	if err != nil {
		return nil, "", err
	}
	limits := DefaultLimits
	limits.MaxGroups = max(limits.MaxGroups, count)
	if groups, err = DecodeLogGroupList(body, limits); err != nil {
		return nil, "", badReply(err)
	}
	return groups, next, nil
}

// decompressReply undoes the compression that the headers of a reply announce.
func decompressReply(r *reply) ([]byte, error) {
	size, err := headerInt(r.header, HeaderBodyRawSize)
	if err != nil {
		return nil, err
	}
	if size == 0 {
		return nil, nil
	}
	t, err := ParseCompressType(r.header.Get(HeaderCompressType))
	if err != nil {
		return nil, badReply(err)
	}
	body, err := Decompress(nil, r.body, t, int(size), maxDataReply)
	if err != nil {
		return nil, badReply(err)
	}
	return body, nil
}

// badReply is the failure of a reply that says 200 and cannot be read. The cause
// goes in as text: an *Error in the chain would pass for an answer of the
// service.
func badReply(cause error) error {
	return &networkError{"the reply cannot be read: " + cause.Error(), nil}
}

// headerInt reads a number, not negative, from a header that has to be there.
func headerInt(h http.Header, name string) (int64, error) {
	v, err := strconv.ParseUint(h.Get(name), 10, 62)
	if err != nil {
		return 0, &networkError{fmt.Sprintf("the reply has %q as %s instead of a number", h.Get(name), name), nil}
	}
	return int64(v), nil
}
