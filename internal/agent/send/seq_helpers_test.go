package send_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"logtail/internal/agent/send"
	"logtail/internal/agent/state"
	"logtail/internal/delivery"
	"logtail/internal/server/api"
	"logtail/internal/server/auth"
	"logtail/internal/server/catalog"
	"logtail/internal/server/servertest"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// hosted is our own server as SLS itself would be seen: it takes hash keys and
// sequence numbers and says nothing of ranges.
type hosted struct {
	t      testing.TB
	api    *api.Handler
	http   *httptest.Server
	log    *servertest.Log
	store  *servertest.Catalog
	client *sls.Client
	ranges bool // let the announcement through

	mu      sync.Mutex
	fault   func(key string, number uint64) fault // of each write; nil: none
	writes  []string                              // "key number" of each write that arrived
	flying  map[string]int                        // by key
	crossed bool                                  // two writes with one key at a time
	hold    chan struct{}                         // writes wait for it, if there is one
	arrived chan struct{}                         // a write has come to hold
}

// fault is what becomes of a write.
type fault struct {
	request bool // does not arrive
	reply   bool // is lost, but the write is done
	refuse  *sls.Error
}

func (h *hosted) Created(catalog.Logstore, []catalog.Shard) {}
func (h *hosted) Deleted(catalog.Logstore)                  {}

func newHosted(t testing.TB) *hosted {
	t.Helper()
	h := &hosted{t: t, store: servertest.NewCatalog(), log: servertest.NewLog(), flying: map[string]int{}, arrived: make(chan struct{}, 100)}
	sessions, err := api.OpenSessions(filepath.Join(t.TempDir(), "session"), time.Now)
	must(t, err)
	h.api = api.New(api.Config{
		Catalog: h.store, Log: h.log, Index: servertest.NewIndex(), Sessions: sessions, Stores: h,
		Auth: auth.New(h.store, auth.Options{}), Domains: []string{"sls.test"},
	})
	h.http = httptest.NewServer(h)
	t.Cleanup(h.http.Close)
	account := catalog.Account{ID: auth.NewAccountID(), Name: "owner"}
	key := auth.NewAccessKey(account.ID)
	ctx := context.Background()
	must(t, h.store.CreateAccount(ctx, account, key))
	h.client, err = sls.NewClient(sls.ClientOptions{Endpoint: h.http.URL, Signer: sls.Signer{
		Credentials: sls.Credentials{AccessKeyID: key.ID, AccessKeySecret: key.Secret},
	}})
	must(t, err)
	t.Cleanup(h.client.Close)
	must(t, h.client.CreateProject(ctx, "proj", ""))
	must(t, h.client.CreateLogstore(ctx, "proj", sls.Logstore{Name: "store", TTL: 7, ShardCount: 4}))
	return h
}

// stripped keeps the announcement of ranges from the client.
type stripped struct{ http.ResponseWriter }

func (w stripped) WriteHeader(status int) {
	w.Header().Del(sls.HeaderDelivery)
	w.ResponseWriter.WriteHeader(status)
}

func (w stripped) Write(b []byte) (int, error) {
	w.Header().Del(sls.HeaderDelivery)
	return w.ResponseWriter.Write(b)
}

func (h *hosted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.ranges {
		h.api.ServeHTTP(w, r)
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/shards/route") {
		h.api.ServeHTTP(stripped{w}, r)
		return
	}
	key := r.URL.Query().Get("key")
	number, err := strconv.ParseUint(r.URL.Query().Get("seqid"), 10, 64)
	if err != nil {
		h.t.Errorf("a write without a sequence number: %s", r.URL)
	}
	h.mu.Lock()
	h.flying[key]++
	h.crossed = h.crossed || h.flying[key] > 1
	hold, f := h.hold, fault{}
	if h.fault != nil {
		f = h.fault(key, number)
	}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.flying[key]--
		h.mu.Unlock()
	}()
	if hold != nil {
		h.arrived <- struct{}{}
		<-hold
	}
	if f.refuse != nil {
		sls.WriteError(w, f.refuse)
		return
	}
	if f.request {
		panic(http.ErrAbortHandler)
	}
	h.mu.Lock()
	h.writes = append(h.writes, fmt.Sprintf("%s %d", key, number))
	h.mu.Unlock()
	if f.reply {
		h.api.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	h.api.ServeHTTP(stripped{w}, r)
}

func (h *hosted) set(fault func(key string, number uint64) fault) {
	h.mu.Lock()
	h.fault = fault
	h.mu.Unlock()
}

// count returns how many writes arrived.
func (h *hosted) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.writes)
}

// shards calls f for each shard.
func (h *hosted) shards(f func(s shardlog.Shard, first uint64)) {
	h.t.Helper()
	l, err := h.store.Logstore(context.Background(), "proj", "store")
	must(h.t, err)
	for n := range 4 {
		s, err := h.log.Shard(shardlog.Key{Store: l.ID, Shard: n})
		must(h.t, err)
		first, _ := s.Bounds()
		f(s, first)
	}
}

// stored returns the logs in the logstore, by the lane that they name.
func (h *hosted) stored() map[string][]string {
	h.t.Helper()
	out := map[string][]string{}
	h.shards(func(s shardlog.Shard, first uint64) {
		recs, err := s.Read(first, 1<<20, 1<<30)
		must(h.t, err)
		for _, r := range recs {
			if r.Logs == 0 {
				continue
			}
			raw, err := sls.Decompress(nil, r.Data, r.Compress, r.RawSize, 1<<30)
			must(h.t, err)
			var g sls.LogGroup
			must(h.t, g.Decode(raw, sls.DefaultLimits))
			for _, log := range g.Logs {
				lane, text, _ := strings.Cut(string(log.Contents[0].Value), " ")
				out[lane] = append(out[lane], text)
			}
		}
	})
	return out
}

// clear drops what is stored.
func (h *hosted) clear() {
	h.shards(func(s shardlog.Shard, _ uint64) {
		_, next := s.Bounds()
		must(h.t, s.Truncate(next))
	})
}

// want checks that the lane's logs are stored as listed, in order.
func (h *hosted) want(lane string, texts ...string) {
	h.t.Helper()
	if got := h.stored()[lane]; strings.Join(got, " ") != strings.Join(texts, " ") {
		h.t.Errorf("lane %s: stored %v, want %v", lane, got, texts)
	}
}

// records is a send.SeqStore that lives longer than an agent.
type records struct {
	mu      sync.Mutex
	list    map[delivery.LaneID]state.Seq
	commits int
	before  func() error // of each commit
	after   func() error
}

func newRecords() *records { return &records{list: map[delivery.LaneID]state.Seq{}} }

func (r *records) LoadSeq() (map[delivery.LaneID]state.Seq, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return copyOf(r.list), nil
}

// copyOf copies also what the records point to, as a store does.
func copyOf(list map[delivery.LaneID]state.Seq) map[delivery.LaneID]state.Seq {
	out := maps.Clone(list)
	for id, q := range out {
		q.Pend = append([]state.SeqIntent(nil), q.Pend...)
		for i := range q.Pend {
			if s := q.Pend[i].Short; s != nil {
				short := *s
				q.Pend[i].Short = &short
			}
		}
		out[id] = q
	}
	return out
}

func (r *records) PutSeq(list map[delivery.LaneID]state.Seq) error {
	return r.commit(func() { maps.Copy(r.list, copyOf(list)) })
}

func (r *records) DeleteSeq(list []delivery.LaneID) error {
	return r.commit(func() {
		for _, id := range list {
			delete(r.list, id)
		}
	})
}

func (r *records) commit(change func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.before != nil {
		if err := r.before(); err != nil {
			return err
		}
	}
	change()
	r.commits++
	if r.after != nil {
		return r.after()
	}
	return nil
}

func (r *records) of(name string) (state.Seq, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q, ok := r.list[laneOf(name)]
	return q, ok
}

func laneOf(name string) delivery.LaneID { return delivery.StreamID{1}.Lane(name, "") }

// sender is one run of an agent's way to the service.
type sender struct {
	*send.Seq
	session uint64
	mu      sync.Mutex
	alarms  []string
}

func newSender(h *hosted, r *records, doubt bool) *sender {
	h.t.Helper()
	s := &sender{}
	book := send.NewSeqBook(r, doubt, func(kind, message string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.alarms = append(s.alarms, kind+": "+message)
	}, time.Now)
	s.Seq = send.NewSeq(send.NewSLS(h.client, "proj", "store"), book)
	return s
}

// resume asks for lanes and returns where they stand.
func (s *sender) resume(t testing.TB, names ...string) []*delivery.Progress {
	t.Helper()
	ids := make([]delivery.LaneID, len(names))
	for i, n := range names {
		ids[i] = laneOf(n)
	}
	r, err := s.Resume(context.Background(), ids)
	must(t, err)
	if !r.Ranges {
		t.Fatal("the transport has no ranges")
	}
	s.session = r.Session
	return r.Progress
}

// pack makes a package of [start, end): each log is ten bytes of the stream, and
// only the logs that keep says, by their number, are in it.
func (s *sender) pack(t testing.TB, lane string, start, end uint64, keep func(i uint64) bool) *send.Package {
	t.Helper()
	p := &send.Package{Compress: sls.CompressLZ4, Range: delivery.Range{
		Lane: laneOf(lane), Session: s.session, Start: start, End: end, StartHash: hashAt(lane, start), EndHash: hashAt(lane, end),
	}}
	var g sls.LogGroup
	at := start
	for i := (start + 9) / 10; i < end/10; i++ {
		if keep != nil && !keep(i) {
			continue
		}
		text := fmt.Sprintf("%s %d", lane, i)
		g.Logs = append(g.Logs, sls.Log{Sec: 1, Nsec: -1, Contents: []sls.Content{{Key: []byte("content"), Value: []byte(text)}}})
		p.Range.Ends = binary.AppendUvarint(p.Range.Ends, 10*i+10-at)
		at = 10*i + 10
	}
	if p.Logs = len(g.Logs); p.Logs == 0 {
		p.Range.Flags |= delivery.Empty
		return p
	}
	raw := g.AppendTo(nil)
	var z sls.Compressor
	b, err := z.Append(nil, raw, p.Compress)
	must(t, err)
	p.Buf, p.RawSize = send.NewBuffer(b), len(raw)
	return p
}

func hashAt(lane string, end uint64) uint64 {
	return delivery.TailHash(fmt.Appendf(nil, "%s up to %d", lane, end))
}

// send sends packages and returns what became of each: the action, or "error".
func (s *sender) send(pkgs ...*send.Package) (string, error) {
	out, err := s.Send(context.Background(), pkgs)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, o := range out {
		if i > 0 {
			b.WriteString(" ")
		}
		if o.Err != nil {
			b.WriteString("error")
			err = errors.Join(err, o.Err)
			continue
		}
		b.WriteString(o.Action.String())
	}
	return b.String(), err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
