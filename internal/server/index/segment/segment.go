// Package segment is the embedded index engine: rows of a shard gather in a
// table in memory, where they are searched at once, and move to immutable
// Parquet files with a sidecar each, which is searched by columns.
//
// On disk a shard is a folder:
//
//	<dir>/<store>/<shard>/manifest.json      which segments there are, and up to which
//	                                         sequence of the shard log they are complete
//	                      seg-<id>.parquet   rows, sorted by (time, sequence, number)
//	                      seg-<id>.idx       sidecar: checksums, bounds, bloom filters
//	                      *.bad              put aside because it was damaged
//
// The manifest is replaced in one atomic rename, which publishes a segment
// together with the position behind it; so after a crash the shard log is
// applied from Position on, and no row is lost or there twice. Files that the
// manifest does not name are removed at the next start.
//
// Every byte that a search uses was checked against a checksum. A segment that
// fails is put aside (renamed to .bad), which is logged as an error. The
// sequences that it held count as lost from then on: Position goes back to the
// first of them, so the shard log keeps them, and at the next start the
// follower applies them again; records that other segments hold are skipped.
// Until then, searches that concern the segment's times say that they are not
// complete. If the shard log does not have the records any more, it applies
// later ones, and what is between is given up, which is logged, too.
//
// When the disk is full, rows stay in memory and sealing is tried again and
// again. When memory is used up, Apply waits: the index lags behind the shard
// log, which has the rows.
package segment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"time"

	"logtail/internal/server/index"
	"logtail/internal/server/shardlog"
)

// Defaults of Options.
const (
	DefaultSealRows     = 1 << 20          // enough for large row groups and few files
	DefaultSealBytes    = 64 << 20         // memory of a table
	DefaultSealAge      = 10 * time.Minute // how much a start has to apply again at most
	DefaultMemoryBytes  = 256 << 20
	DefaultQueryTimeout = 10 * time.Second
	DefaultMaxColumns   = 400
	DefaultMaxShapes    = 4096
	DefaultCacheFiles   = 256
	DefaultCacheBytes   = 128 << 20
)

// Options tune the engine; zero values mean the defaults.
type Options struct {
	// SealRows, SealBytes and SealAge say when the table of a shard moves to
	// disk: at the first of so many rows, bytes of memory, time since its
	// first row.
	SealRows  int
	SealBytes int64
	SealAge   time.Duration
	// MemoryBytes bounds the tables of all shards. Above it the largest are
	// sealed; half as much again above it, Apply waits.
	MemoryBytes int64
	// QueryTimeout ends a search, which then says that it is not complete.
	QueryTimeout time.Duration
	// MaxColumns bounds the fields of a segment that have a column of their
	// own; MaxShapes the lists of keys that it remembers. Others are searched
	// more slowly.
	MaxColumns int
	MaxShapes  int
	// CacheFiles and CacheBytes bound what is kept open between searches.
	CacheFiles int
	CacheBytes int64
	// Logger gets what the operator should know; nil = slog.Default.
	Logger *slog.Logger
	// Now is the clock; nil = time.Now.
	Now func() time.Time
	// RetryDelay is the pause after a failed sealing; 0 = 1 s, doubled up to
	// a minute.
	RetryDelay time.Duration

	mergeFan   int // see defaultMergeFan
	groupRows  int // see defaultGroupRows
	groupCells int
	groupBytes int
	// create replaces the making of files in tests of a full disk; noSync
	// leaves out flushing in tests that reopen a thousand times.
	create func(name string) (*os.File, error)
	noSync bool
}

func (o *Options) setDefaults() {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def64 := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	defTime := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.SealRows, DefaultSealRows)
	def64(&o.SealBytes, DefaultSealBytes)
	defTime(&o.SealAge, DefaultSealAge)
	def64(&o.MemoryBytes, DefaultMemoryBytes)
	defTime(&o.QueryTimeout, DefaultQueryTimeout)
	def(&o.MaxColumns, DefaultMaxColumns)
	def(&o.MaxShapes, DefaultMaxShapes)
	def(&o.CacheFiles, DefaultCacheFiles)
	def64(&o.CacheBytes, DefaultCacheBytes)
	def(&o.mergeFan, defaultMergeFan)
	def(&o.groupRows, defaultGroupRows)
	def(&o.groupCells, defaultGroupCells)
	def(&o.groupBytes, defaultGroupBytes)
	defTime(&o.RetryDelay, time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.create == nil {
		o.create = func(name string) (*os.File, error) {
			return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		}
	}
}

// Errors of the engine.
var (
	// ErrClosed: the index was closed.
	ErrClosed = errors.New("segment: the index is closed")
	// ErrDropped: the logstore was dropped.
	ErrDropped = errors.New("segment: the logstore was dropped")
)

// dropMarker in a store's folder says that it is to be deleted.
const dropMarker = "dropped"

// Index is the engine. Besides index.Index it offers Flush and Expire.
type Index struct {
	dir   string
	opts  Options
	cache *cache
	log   *slog.Logger

	mu      sync.Mutex
	stores  map[string]*store
	dropped map[string]bool
	closed  bool

	memory memoryBudget

	kick   chan struct{} // wakes the sealer; capacity 1: one wake-up is enough for all that happened
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// store is a logstore's incarnation. Searches hold busy for reading while they
// use its files, so that Drop can wait for them.
type store struct {
	name   string
	busy   sync.RWMutex
	mu     sync.Mutex
	shards map[int]*shard
}

var _ index.Index = (*Index)(nil)

// Open opens the index in a folder, which it makes, and starts the goroutine
// that seals. Only one process may have it open. Close stops it.
func Open(dir string, opts Options) (index.Index, error) {
	return OpenIndex(dir, opts)
}

// OpenIndex is Open with the engine's own type.
func OpenIndex(dir string, opts Options) (*Index, error) {
	opts.setDefaults()
	x := &Index{
		dir: dir, opts: opts, cache: newCache(opts.CacheFiles, opts.CacheBytes), log: opts.Logger,
		stores: map[string]*store{}, dropped: map[string]bool{}, kick: make(chan struct{}, 1),
	}
	x.memory.init(opts.MemoryBytes)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() && validStore(e.Name()) {
			if err := x.openStore(e.Name()); err != nil {
				return nil, fmt.Errorf("index: opening the logstore %s: %w", e.Name(), err)
			}
		}
	}
	x.ctx, x.cancel = context.WithCancel(context.Background())
	x.done.Add(1)
	go x.sealLoop()
	return x, nil
}

func (x *Index) create(name string) (*os.File, error) { return x.opts.create(name) }

func (x *Index) syncDir(dir string) error {
	if x.opts.noSync {
		return nil
	}
	return syncDir(dir)
}

func (x *Index) openStore(name string) error {
	dir := filepath.Join(x.dir, name)
	if _, err := os.Stat(filepath.Join(dir, dropMarker)); err == nil {
		x.log.Info("index: going on to delete a dropped logstore", "store", name)
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	st := &store{name: name, shards: map[int]*shard{}}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || !e.IsDir() || n < 0 || strconv.Itoa(n) != e.Name() {
			continue
		}
		sh, err := x.openShard(shardlog.Key{Store: name, Shard: n})
		if err != nil {
			return err
		}
		st.shards[n] = sh
	}
	x.stores[name] = st
	return nil
}

// validStore says whether the name is safe as that of a folder.
func validStore(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, c := range []byte(s) {
		isLetter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !isLetter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// store returns the store of the name, or nil.
func (x *Index) store(name string) (*store, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, ErrClosed
	}
	return x.stores[name], nil
}

// shard returns the shard, and makes it if make is set; else it may be nil.
func (x *Index) shard(key shardlog.Key, mk bool) (*shard, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.closed:
		return nil, ErrClosed
	case x.dropped[key.Store]:
		return nil, ErrDropped
	case !validStore(key.Store) || key.Shard < 0:
		return nil, fmt.Errorf("index: %q, shard %d, cannot be a folder; ids have letters, digits, - and _ only", key.Store, key.Shard)
	}
	st := x.stores[key.Store]
	if st == nil {
		if !mk {
			return nil, nil
		}
		st = &store{name: key.Store, shards: map[int]*shard{}}
		x.stores[key.Store] = st
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	sh := st.shards[key.Shard]
	if sh == nil && mk {
		sh = newShard(x, key)
		st.shards[key.Shard] = sh
	}
	return sh, nil
}

// shardList returns the shards of the store by number.
func (st *store) shardList() []*shard {
	st.mu.Lock()
	defer st.mu.Unlock()
	list := make([]*shard, 0, len(st.shards))
	for _, sh := range st.shards {
		list = append(list, sh)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].key.Shard < list[j].key.Shard })
	return list
}

// allShards returns the shards of all stores.
func (x *Index) allShards() []*shard {
	x.mu.Lock()
	stores := make([]*store, 0, len(x.stores))
	for _, st := range x.stores {
		stores = append(stores, st)
	}
	x.mu.Unlock()
	var all []*shard
	for _, st := range stores {
		all = append(all, st.shardList()...)
	}
	return all
}

// Position implements index.Index. A shard that was never applied starts at 1.
func (x *Index) Position(key shardlog.Key) (uint64, error) {
	sh, err := x.shard(key, false)
	if err != nil {
		return 0, err
	}
	if sh == nil {
		return 1, nil
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.man.position(), nil
}

// Apply implements index.Index. It waits while the memory for rows is used up,
// until ctx ends; records before the one that it stopped at are applied, and
// applying them again does no harm.
func (x *Index) Apply(ctx context.Context, key shardlog.Key, recs []shardlog.Record) error {
	sh, err := x.shard(key, true)
	if err != nil {
		return err
	}
	for i := range recs {
		if err := x.memory.wait(ctx, x.ctx); err != nil {
			return fmt.Errorf("index: no memory for rows of shard %d of %s until older ones are on disk: %w", key.Shard, key.Store, err)
		}
		if err := sh.apply(&recs[i]); err != nil {
			return err
		}
	}
	return nil
}

// Drop implements index.Index. Searches under way finish first.
func (x *Index) Drop(name string) error {
	if !validStore(name) {
		return fmt.Errorf("index: %q is no logstore id", name)
	}
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return ErrClosed
	}
	st := x.stores[name]
	delete(x.stores, name)
	x.dropped[name] = true
	x.mu.Unlock()
	dir := filepath.Join(x.dir, name)
	// The marker first: from here on a crash cannot bring back a part.
	if _, err := os.Stat(dir); err == nil {
		if err := x.markDropped(dir); err != nil {
			x.log.Warn("index: the mark of a dropped logstore may not survive a crash", "store", name, "error", err)
		}
	}
	if st != nil {
		st.busy.Lock() // searches are done
		defer st.busy.Unlock()
		for _, sh := range st.shardList() {
			sh.drop()
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("index: deleting the logstore %s; the next start tries again: %w", name, err)
	}
	return nil
}

func (x *Index) markDropped(dir string) error {
	f, err := os.Create(filepath.Join(dir, dropMarker))
	if err != nil {
		return err
	}
	err = f.Sync()
	f.Close()
	return errors.Join(err, x.syncDir(dir))
}

// goneError says why a shard is gone.
func (x *Index) goneError() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return ErrClosed
	}
	return ErrDropped
}

// Flush seals everything that is in memory. Rows that it could not seal stay
// there.
func (x *Index) Flush() error {
	var errs []error
	for _, sh := range x.allShards() {
		sh.freeze()
		errs = append(errs, sh.sealAll())
	}
	return errors.Join(errs...)
}

// Close implements index.Index: it seals what is in memory. An error means
// that some rows have to be applied again at the next start, which Position
// takes into account.
func (x *Index) Close() error {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return nil
	}
	x.closed = true
	stores := make([]*store, 0, len(x.stores))
	for _, st := range x.stores {
		stores = append(stores, st)
	}
	x.mu.Unlock()
	x.cancel()
	x.done.Wait()
	err := x.Flush()
	for _, st := range stores {
		st.busy.Lock() // searches are done
		for _, sh := range st.shardList() {
			sh.close()
		}
		st.busy.Unlock()
	}
	return err
}
