package send

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"sync/atomic"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// SLS carries packages to a logstore.
type SLS struct {
	client            *sls.Client
	project, logstore string
	ranges            atomic.Bool

	mu      sync.Mutex
	attempt string // sls.ResumeRequest.Attempt of resumes that were not answered
}

// NewSLS returns the transport to a logstore.
func NewSLS(client *sls.Client, project, logstore string) *SLS {
	return &SLS{client: client, project: project, logstore: logstore}
}

// Send puts the packages into one request.
func (t *SLS) Send(ctx context.Context, pkgs []*Package) ([]Outcome, error) {
	ranges := t.ranges.Load()
	size := 0
	for _, p := range pkgs {
		size += len(p.Data()) + len(p.Range.Ends) + 160
	}
	// Not pooled: the HTTP transport may read the body after an early answer.
	body := make([]byte, 0, size)
	n := 0
	for _, p := range pkgs {
		x := sls.Package{Data: p.Data(), RawSize: p.RawSize, Compress: p.Compress}
		if ranges {
			x.Range = &p.Range
		} else if p.Logs == 0 {
			continue // ranges without logs mean nothing to other servers
		}
		body = sls.AppendPackage(body, &x)
		n++
	}
	out := make([]Outcome, len(pkgs))
	if n == 0 {
		return out, nil
	}
	reply, err := t.client.PutPackages(ctx, t.project, t.logstore, body)
	if err != nil {
		return nil, err
	}
	if !ranges || reply == nil {
		return out, nil
	}
	if len(reply.Results) != len(pkgs) {
		return nil, &sls.Error{Status: http.StatusBadGateway, Code: sls.CodeInternalServerError, Message: "the server answered for another number of packages than it got"}
	}
	for i, r := range reply.Results {
		if r.Action == "error" {
			out[i].Err = &sls.Error{Status: statusOf(r.Code), Code: r.Code, Message: r.Message}
			continue
		}
		if out[i].Action, err = delivery.ParseAction(r.Action); err != nil {
			return nil, &sls.Error{Status: http.StatusBadGateway, Code: sls.CodeInternalServerError, Message: err.Error()}
		}
	}
	return out, nil
}

// statusOf tells the HTTP status of a code that came for one package of a
// request which as a whole was answered with 200.
func statusOf(code string) int {
	switch code {
	case sls.CodeInternalServerError, sls.CodeServerBusy:
		return http.StatusInternalServerError
	case sls.CodeWriteQuotaExceed, sls.CodeShardWriteQuotaExceed:
		return http.StatusForbidden
	}
	return http.StatusBadRequest
}

// Resume asks the service where the lanes stand. A server that does not know
// the call gets packages without ranges.
func (t *SLS) Resume(ctx context.Context, lanes []delivery.LaneID) (*Resumed, error) {
	t.mu.Lock()
	if t.attempt == "" {
		t.attempt = rand.Text()
	}
	req := sls.ResumeRequest{Attempt: t.attempt, Lanes: make([]string, len(lanes))}
	t.mu.Unlock()
	for i, l := range lanes {
		req.Lanes[i] = l.String()
	}
	reply, ranges, err := t.client.Resume(ctx, t.project, t.logstore, req)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.attempt = "" // the next one takes a new session
	t.mu.Unlock()
	t.ranges.Store(ranges)
	if !ranges {
		return &Resumed{}, nil
	}
	r := &Resumed{Ranges: true, Session: reply.Session, Incarnation: reply.Incarnation, Progress: make([]*delivery.Progress, len(reply.Lanes))}
	for i, p := range reply.Lanes {
		if p.Known {
			r.Progress[i] = &delivery.Progress{End: p.End, Hash: p.Hash, State: p.State, Closed: p.Closed}
		}
	}
	return r, nil
}

// Close closes idle connections.
func (t *SLS) Close() error {
	t.client.Close()
	return nil
}

// Sink is a destination that knows nothing of ranges and takes encoded log
// groups: a file, standard output, nothing at all. Write takes all or fails.
type Sink interface {
	Write(ctx context.Context, groups [][]byte) error
	Close() error
}

// Local carries packages to a sink, one request at a time: a sink has one file
// or terminal, and memory that it uses again.
type Local struct {
	mu   sync.Mutex
	sink Sink
}

// NewLocal returns the transport to a sink.
func NewLocal(s Sink) *Local { return &Local{sink: s} }

// Send writes the packages' groups.
func (t *Local) Send(ctx context.Context, pkgs []*Package) ([]Outcome, error) {
	groups := make([][]byte, 0, len(pkgs))
	for _, p := range pkgs {
		if p.Logs > 0 {
			groups = append(groups, p.Data())
		}
	}
	if len(groups) > 0 {
		t.mu.Lock()
		defer t.mu.Unlock()
		if err := t.sink.Write(ctx, groups); err != nil {
			return nil, err
		}
	}
	return make([]Outcome, len(pkgs)), nil
}

// Resume knows no lanes.
func (t *Local) Resume(context.Context, []delivery.LaneID) (*Resumed, error) { return &Resumed{}, nil }

// Close closes the sink.
func (t *Local) Close() error { return t.sink.Close() }
