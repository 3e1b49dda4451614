package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"logtail/internal/agent/aggregate"
	"logtail/internal/agent/alarm"
	"logtail/internal/agent/flush/blackhole"
	"logtail/internal/agent/flush/file"
	"logtail/internal/agent/flush/stdout"
	"logtail/internal/agent/monitor"
	"logtail/internal/agent/process"
	"logtail/internal/agent/send"
	"logtail/internal/pipeline"
	"logtail/internal/sls"
)

// pipelineRun is a pipeline at work.
type pipelineRun struct {
	p        *pipeline.Pipeline
	input    *pipeline.InputFile
	chain    *process.Chain   // cloned for each worker
	splitter process.Splitter // likewise
	limits   aggregate.Limits
	flushers []flusher
	stats    process.Stats
	scope    alarm.Scope
	host     hostInfo
	topics   topics

	flushTimeout time.Duration // an unterminated record goes after this
	closeAfter   time.Duration // a file without news is closed after this

	// firstScan: the pipeline has never completed a scan, so files that are
	// found existed before it. Only the discovery goroutine uses these.
	firstScan    bool
	since        int64                 // when the pipeline's first scan was complete, unix nanoseconds; 0: not yet
	former       map[string][]formerly // streams that were at a path not long ago
	gate         *stream
	arrivals     []arrival
	firstStreams []*stream
	archives     []monitor.Event // of a start: what they are can be told when all plain files are known
	listed       bool            // those are
	complete     atomic.Bool     // the scan of this run of the agent is done
}

// flusher is a pipeline's way to a destination.
type flusher struct {
	name     string
	dest     *send.Dest
	compress sls.CompressType
}

// destKey tells destinations apart.
type destKey struct {
	kind, endpoint, project, logstore string
	rate                              int64
	seqid                             bool // exactly once also towards SLS itself
}

func (a *Agent) newRun(p *pipeline.Pipeline, limit []*rate.Limiter) (*pipelineRun, error) {
	run := &pipelineRun{p: p, host: hostFacts(), scope: alarm.Scope{Pipeline: p.Name}}
	for i := range p.Inputs {
		if run.input = p.Inputs[i].File; run.input != nil {
			break
		}
	}
	if run.input == nil {
		return nil, errors.New("it has no input that this version of the agent runs; use input_file")
	}
	var err error
	if run.topics, err = newTopics(&p.Global); err != nil {
		return nil, err
	}
	if run.splitter, err = process.NewSplitter(run.input.Multiline, chunkSize); err != nil {
		return nil, err
	}
	if run.chain, err = process.New(p, process.Options{Stats: &run.stats, Alarm: a.alarms, Now: a.now}); err != nil {
		return nil, err
	}
	run.flushTimeout = time.Duration(run.input.FlushTimeoutSecs) * time.Second
	run.closeAfter = max(time.Duration(run.input.CloseUnusedReaderInterval)*time.Second, run.flushTimeout)
	run.limits = aggregate.Limits{Nanos: p.Global.EnableTimestampNanosecond}
	for i := range p.Flushers {
		f := &p.Flushers[i]
		fl, err := a.newFlusher(f, run.input.EnableExactlyOnce > 0, limit)
		if err != nil {
			return nil, err
		}
		run.flushers = append(run.flushers, fl)
		if f.SLS != nil && run.scope.Logstore == "" {
			run.scope.Project, run.scope.Logstore = f.SLS.Project, f.SLS.Logstore
		}
		run.limits.AtMost(f.Batch.MinCnt, f.Batch.MinSizeBytes, time.Duration(f.Batch.TimeoutSecs)*time.Second)
	}
	return run, nil
}

func (a *Agent) newFlusher(f *pipeline.Flusher, seqid bool, limit []*rate.Limiter) (flusher, error) {
	fl := flusher{name: f.Name}
	key := destKey{kind: f.Type}
	opt := send.Options{RetryWait: a.opt.RetryWait, Shared: a.shared, Buffer: a.buffer, Count: a.given, Log: a.log, Now: a.now}
	var tr send.Transport
	var err error
	compress := ""
	switch {
	case f.SLS != nil:
		key.endpoint, key.project, key.logstore, key.rate = f.SLS.Endpoint, f.SLS.Project, f.SLS.Logstore, f.SLS.MaxSendRate
		key.seqid = seqid
		if key.endpoint == "" {
			key.endpoint = a.opt.Endpoint
		}
		opt.Target = send.Target{Region: key.endpoint, Project: key.project, Logstore: key.logstore}
		opt.Name = fmt.Sprintf("%s/%s at %s", key.project, key.logstore, key.endpoint)
		opt.Rates = append(opt.Rates, limit...)
		if r := f.SLS.MaxSendRate; r > 0 {
			opt.Rates = append(opt.Rates, rate.NewLimiter(rate.Limit(r), int(r)))
		}
		compress = f.SLS.CompressType
		if d := a.dests[key]; d == nil {
			tr, err = a.service(key, f.SLS.Region)
		}
	case f.File != nil:
		opt.Name, key.endpoint = "the file "+f.File.FilePath, f.File.FilePath
		if a.dests[key] == nil {
			tr, err = local(file.New(f.File))
		}
	case f.Stdout != nil:
		opt.Name = "standard output"
		if a.dests[key] == nil {
			tr, err = local(stdout.New(os.Stdout), nil)
		}
	case f.Blackhole != nil:
		opt.Name, compress = "the black hole", f.Blackhole.CompressType
		if a.dests[key] == nil {
			tr, err = local(blackhole.New(), nil)
		}
	default:
		err = fmt.Errorf("flusher %q is not run by this version of the agent", f.Type)
	}
	if err != nil {
		return fl, err
	}
	if fl.compress, err = sls.ParseCompressType(compress); err != nil {
		return fl, err
	}
	if tr != nil {
		scope := alarm.Scope{Project: key.project, Logstore: key.logstore}
		opt.Alarm = func(kind, message string) { a.alarms.Raise(alarm.Type(kind), scope, 1, message, nil) }
		a.dests[key] = send.NewDest(tr, opt)
		a.order = append(a.order, a.dests[key])
	}
	fl.dest = a.dests[key]
	return fl, nil
}

func local(s send.Sink, err error) (send.Transport, error) {
	if err != nil {
		return nil, err
	}
	return send.NewLocal(s), nil
}

// logstore returns the transport to a logstore.
func (a *Agent) logstore(k destKey, region string) (send.Transport, error) {
	if k.endpoint == "" {
		return nil, errors.New("flusher_sls has no Endpoint; set it, or start the agent with --server")
	}
	if a.opt.Credentials.AccessKeyID == "" {
		return nil, errors.New("there is no access key to send with; set LOGTAIL_ACCESS_KEY_ID and LOGTAIL_ACCESS_KEY_SECRET, or name a credentials file with --credentials")
	}
	c, err := sls.NewClient(sls.ClientOptions{
		Endpoint: k.endpoint, Signer: sls.Signer{Credentials: a.opt.Credentials, Region: region}, UserAgent: a.opt.UserAgent,
		Timeout: requestTimeout, TLS: a.opt.TLS, MaxConns: a.opt.Concurrency,
	})
	if err != nil {
		return nil, err
	}
	tr := send.NewSLS(c, k.project, k.logstore)
	if k.seqid {
		return send.NewSeq(tr, a.seqids), nil
	}
	return tr, nil
}

// requestTimeout is the documented time-out of a request.
const requestTimeout = 15 * time.Second

// spec is what the monitor watches for the pipeline.
func (r *pipelineRun) spec() monitor.Spec {
	return monitor.Spec{
		Paths: r.input.FilePaths, MaxDepth: r.input.MaxDirSearchDepth, ExcludeFilePaths: r.input.ExcludeFilePaths,
		ExcludeFiles: r.input.ExcludeFiles, ExcludeDirs: r.input.ExcludeDirs, AllowRoot: r.input.AllowingCollectingFilesInRootDir,
	}
}

// hostInfo is what logs say of the host they come from.
type hostInfo struct{ name, ip string }

// hostFacts finds the host's name and its first address that is not a loopback.
func hostFacts() hostInfo {
	h := hostInfo{ip: "127.0.0.1"}
	if n, err := os.Hostname(); err == nil {
		h.name = n
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return h
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			h.ip = n.IP.String()
			break
		}
	}
	return h
}
