package api

import (
	"strconv"
	"strings"

	"logtail/internal/server/catalog"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// lastKey is the exclusive end of the MD5 space as SLS writes it. It is itself
// a possible key and belongs to the last shard.
const lastKey = "ffffffffffffffffffffffffffffffff"

// listShards serves GET /logstores/{logstore}/shards.
func (h *Handler) listShards(rq *request) error {
	l, err := h.logstore(rq)
	if err != nil {
		return err
	}
	out := make([]sls.Shard, 0, len(l.shards))
	for _, s := range l.shards {
		out = append(out, shardObject(s))
	}
	return rq.json(out)
}

func shardObject(s catalog.Shard) sls.Shard {
	status := "readonly"
	if s.Writable {
		status = "readwrite"
	}
	return sls.Shard{ID: s.ID, Status: status, BeginKey: s.BeginKey, EndKey: s.EndKey, CreateTime: s.Created.Unix()}
}

// readShard serves GET /logstores/{logstore}/shards/{shard}: cursors and logs.
func (h *Handler) readShard(rq *request) error {
	q := rq.r.URL.Query()
	var do func(*request, string, shardlog.Shard) error
	switch t := q.Get("type"); t {
	case "cursor":
		do = h.getCursor
	case "cursor_time":
		do = h.getCursorTime
	case "log", "logs":
		do = h.pullLogs
	default:
		return invalid("type is %q; it has to be cursor, cursor_time or logs", t)
	}
	l, err := h.logstore(rq)
	if err != nil {
		return err
	}
	id := rq.r.PathValue("shard")
	for _, s := range l.shards {
		if strconv.Itoa(s.ID) != id {
			continue
		}
		shard, err := h.Log.Shard(shardlog.Key{Store: l.ID, Shard: s.ID})
		if err != nil {
			return err
		}
		rq.store = l.ID
		return do(rq, id, shard)
	}
	return sls.NewError(sls.CodeShardNotExist, "the logstore %q has no shard %q; list its shards first", l.Name, id)
}

// shardOf returns the shard that owns the key, 32 lower-case hex digits.
func (l *logstore) shardOf(key string) (catalog.Shard, error) {
	for _, s := range l.shards {
		if s.Writable && s.BeginKey <= key && (key < s.EndKey || strings.EqualFold(s.EndKey, lastKey)) {
			return s, nil
		}
	}
	return catalog.Shard{}, sls.NewError(sls.CodeLogStoreWithoutShard, "the logstore %q has no writable shard for the key %s", l.Name, key)
}

// anyShard returns the writable shards in turn.
func (l *logstore) anyShard(turn uint64) (catalog.Shard, error) {
	writable := 0
	for _, s := range l.shards {
		if s.Writable {
			writable++
		}
	}
	if writable == 0 {
		return catalog.Shard{}, sls.NewError(sls.CodeLogStoreWithoutShard, "the logstore %q has no writable shard", l.Name)
	}
	n := turn % uint64(writable)
	for _, s := range l.shards {
		if !s.Writable {
			continue
		}
		if n == 0 {
			return s, nil
		}
		n--
	}
	panic("unreachable: n is less than the number of writable shards")
}

// hashKey reads the key of a write to shards/route.
func hashKey(s string) (string, error) {
	key := strings.ToLower(s)
	if len(key) != 32 || strings.Trim(key, "0123456789abcdef") != "" {
		return "", invalid("key is %q; it has to be an MD5 of 32 hex digits", s)
	}
	return key, nil
}
