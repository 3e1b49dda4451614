package server

import (
	"fmt"
	"path/filepath"

	"logtail/internal/server/catalog/sqlite"
	"logtail/internal/server/index/segment"
	"logtail/internal/server/shardlog/raftwal"
)

// openEngines opens the embedded engines in the data folder: SQLite, raft-wal
// and Parquet segments.
func openEngines(o Options) (e engines, err error) {
	defer func() {
		if err != nil {
			_ = e.close() // what is wrong was said already
		}
	}()
	// Only what opened is kept: an engine's nil pointer in an interface is not nil.
	c, err := sqlite.Open(filepath.Join(o.Data, "catalog.db"))
	if err != nil {
		return e, fmt.Errorf("catalog: %w", err)
	}
	e.catalog = c
	l, err := raftwal.Open(filepath.Join(o.Data, "shardlog"), raftwal.Options{Now: o.Clock, Logger: o.Logger})
	if err != nil {
		return e, fmt.Errorf("shard log: %w", err)
	}
	e.log = l
	x, err := segment.Open(filepath.Join(o.Data, "index"), segment.Options{Now: o.Clock, Logger: o.Logger})
	if err != nil {
		return e, fmt.Errorf("index: %w", err)
	}
	e.index = x
	return e, nil
}
