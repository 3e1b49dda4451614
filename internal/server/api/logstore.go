package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"

	"logtail/internal/server/catalog"
	"logtail/internal/sls"
)

const (
	// DefaultShards is how many shards a logstore gets if its maker does not say.
	DefaultShards = 2
	// MaxShards is the most shards of a logstore; each one costs open files.
	MaxShards = 64
	// DefaultTTLDays is how long logs are kept if the maker does not say.
	DefaultTTLDays = 30
	// MaxTTLDays means for ever, as in SLS.
	MaxTTLDays = 3650

	mostLogstores = 500 // on a page of the list
	maxSettings   = 32 << 10
)

// logstoreInput is the logstore object of the API. The fields that the service
// itself does not use are checked for their type, kept and given back.
type logstoreInput struct {
	Name          string `json:"logstoreName"`
	TTL           *int   `json:"ttl"`
	ShardCount    *int   `json:"shardCount"`
	WebTracking   bool   `json:"enable_tracking"`
	AutoSplit     bool   `json:"autoSplit"`
	MaxSplitShard int    `json:"maxSplitShard"`
	AppendMeta    bool   `json:"appendMeta"`
	TelemetryType string `json:"telemetryType"`
	HotTTL        int    `json:"hot_ttl"`
	Mode          string `json:"mode"`
	ProductType   string `json:"productType"`
}

// ownFields are not settings: the service fills them in by itself.
var ownFields = []string{"logstoreName", "ttl", "shardCount", "createTime", "lastModifyTime"}

// createLogstore serves POST /logstores.
func (h *Handler) createLogstore(rq *request) error {
	in, settings, err := readLogstore(rq, nil)
	if err != nil {
		return err
	}
	if !validLogstore(in.Name) {
		return invalid("the logstore name %q is not possible; use 2 to 63 letters, digits, hyphens and underscores, a letter or digit at the ends", in.Name)
	}
	shards := DefaultShards
	if in.ShardCount != nil && *in.ShardCount != 0 {
		shards = *in.ShardCount
	}
	if shards < 1 || shards > MaxShards {
		return sls.NewError(sls.CodeLogstoreInfoInvalid, "shardCount is %d; it has to be between 1 and %d", shards, MaxShards)
	}
	ttl := DefaultTTLDays
	if in.TTL != nil {
		ttl = *in.TTL
	}
	err = h.makeLogstore(rq.ctx(), catalog.Logstore{
		Project: rq.project, Name: in.Name, TTLDays: ttl, Settings: settings, Created: rq.now, Modified: rq.now,
	}, shards)
	switch {
	case errors.Is(err, catalog.ErrExists):
		return sls.NewError(sls.CodeLogStoreAlreadyExist, "the logstore %q exists already in the project %q", in.Name, rq.project)
	case err != nil:
		return h.projectGone(rq, err)
	}
	return rq.ok()
}

// makeLogstore makes a logstore and has it followed by an indexer.
func (h *Handler) makeLogstore(ctx context.Context, l catalog.Logstore, shards int) error {
	l.ID = newIncarnation()
	if err := h.Catalog.CreateLogstore(ctx, l, shards); err != nil {
		return err
	}
	h.dir.changed()
	// It exists: that its maker has gone away must not leave it without indexer.
	made, err := h.dir.logstore(context.WithoutCancel(ctx), l.Project, l.Name)
	if err != nil {
		return err
	}
	h.Stores.Created(made.Logstore, made.shards)
	return nil
}

// newIncarnation makes the id of a logstore: random, a folder name on any
// system.
func newIncarnation() string {
	var b [12]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand never fails on supported systems
	}
	return hex.EncodeToString(b[:])
}

// listLogstores serves GET /logstores.
func (h *Handler) listLogstores(rq *request) error {
	offset, size, err := page(rq, mostLogstores)
	if err != nil {
		return err
	}
	names, total, err := h.Catalog.Logstores(rq.ctx(), rq.project,
		catalog.Page{Offset: offset, Size: size, Contains: rq.r.URL.Query().Get("logstoreName")})
	if err != nil {
		return h.projectGone(rq, err)
	}
	if names == nil {
		names = []string{}
	}
	return rq.json(sls.LogstoreList{Logstores: names, Count: len(names), Total: total})
}

// getLogstoreOrLogs serves GET /logstores/{logstore}, under which SLS also has
// the older forms of queries.
func (h *Handler) getLogstoreOrLogs(rq *request) error {
	switch t := rq.r.URL.Query().Get("type"); t {
	case "":
		return h.getLogstore(rq)
	case "log":
		return h.getLogsOldForm(rq)
	case "histogram":
		return h.getHistogram(rq)
	default:
		return invalid("type is %q; it has to be log or histogram, or be left out to get the logstore", t)
	}
}

func (h *Handler) getLogstore(rq *request) error {
	l, err := h.logstore(rq)
	if err != nil {
		return err
	}
	// Settings may hold any field of the API; the object is put together from
	// defaults, settings and what the service knows better.
	out := map[string]any{
		"enable_tracking": false, "autoSplit": false, "maxSplitShard": 0, "appendMeta": false,
		"telemetryType": "None", "mode": "standard",
	}
	if len(l.Settings) > 0 {
		var settings map[string]json.RawMessage
		if err := json.Unmarshal(l.Settings, &settings); err != nil {
			return err
		}
		for k, v := range settings {
			out[k] = v
		}
	}
	out["logstoreName"] = l.Name
	out["ttl"] = l.TTLDays
	out["shardCount"] = len(l.shards)
	out["createTime"] = l.Created.Unix()
	out["lastModifyTime"] = l.Modified.Unix()
	return rq.json(out)
}

// updateLogstore serves PUT /logstores/{logstore}: the fields that are given
// change, the others stay.
func (h *Handler) updateLogstore(rq *request) error {
	l, err := h.logstore(rq)
	if err != nil {
		return err
	}
	in, settings, err := readLogstore(rq, l.Settings)
	if err != nil {
		return err
	}
	if in.Name != "" && in.Name != l.Name {
		return invalid("logstoreName is %q but the path says %q; a logstore cannot be renamed", in.Name, l.Name)
	}
	if in.ShardCount != nil && *in.ShardCount != 0 && *in.ShardCount != len(l.shards) {
		return invalid("shardCount is %d, the logstore has %d shards; an update cannot change it, leave it out", *in.ShardCount, len(l.shards))
	}
	changed := l.Logstore
	changed.Settings, changed.Modified = settings, rq.now
	if in.TTL != nil {
		changed.TTLDays = *in.TTL
	}
	if err := h.Catalog.UpdateLogstore(rq.ctx(), changed); err != nil {
		return notFound(err, logstoreNotExist(rq.project, l.Name))
	}
	h.dir.changed()
	return rq.ok()
}

func (h *Handler) deleteLogstore(rq *request) error {
	name := rq.r.PathValue("logstore")
	if err := h.dropLogstore(rq.ctx(), rq.project, name); err != nil {
		return notFound(err, logstoreNotExist(rq.project, name))
	}
	return rq.ok()
}

// dropLogstore deletes a logstore; its data goes in the background.
func (h *Handler) dropLogstore(ctx context.Context, project, name string) error {
	l, err := h.Catalog.DeleteLogstore(ctx, project, name)
	if err != nil {
		return err
	}
	h.dir.changed()
	h.Stores.Deleted(l)
	return nil
}

// readLogstore reads a logstore object and returns it together with the
// settings: those of before, overwritten by those that are given.
func readLogstore(rq *request, before json.RawMessage) (logstoreInput, json.RawMessage, error) {
	var in logstoreInput
	if err := rq.decode(&in, "a logstore (logstoreName, ttl, shardCount, ...)"); err != nil {
		return in, nil, err
	}
	if in.TTL != nil && (*in.TTL < 1 || *in.TTL > MaxTTLDays) {
		return in, nil, sls.NewError(sls.CodeLogstoreInfoInvalid, "ttl is %d; it has to be between 1 and %d days (%d means for ever)", *in.TTL, MaxTTLDays, MaxTTLDays)
	}
	if in.Mode != "" && in.Mode != "standard" && in.Mode != "query" {
		return in, nil, sls.NewError(sls.CodeLogstoreInfoInvalid, "mode is %q; it has to be standard or query", in.Mode)
	}
	settings, given := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if len(before) > 0 {
		if err := json.Unmarshal(before, &settings); err != nil {
			return in, nil, err
		}
	}
	if err := rq.decode(&given, "a logstore"); err != nil {
		return in, nil, err
	}
	maps.Copy(settings, given)
	for _, k := range ownFields {
		delete(settings, k)
	}
	out, err := json.Marshal(settings)
	if err != nil {
		return in, nil, err
	}
	if len(out) > maxSettings {
		return in, nil, sls.NewError(sls.CodeLogstoreInfoInvalid, "the settings of the logstore have %d bytes; at most %d are kept", len(out), maxSettings)
	}
	return in, out, nil
}

// appendMeta tells whether the logstore wants the client's address and the time
// of receipt as tags of each log group.
func appendMeta(settings json.RawMessage) bool {
	var s struct {
		AppendMeta bool `json:"appendMeta"`
	}
	return len(settings) > 0 && json.Unmarshal(settings, &s) == nil && s.AppendMeta
}
