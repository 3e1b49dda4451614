package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"logtail/internal/server/catalog"
	"logtail/internal/sls"
)

const (
	// maxIndexKeys is a bound against mistakes; SLS allows 500 by default.
	maxIndexKeys = 2000
	// maxTextLen and minTextLen are SLS's bounds of max_text_len, in bytes.
	minTextLen, maxTextLen = 64, 16384
)

// createIndex serves POST /logstores/{logstore}/index.
func (h *Handler) createIndex(rq *request) error {
	body, err := h.readIndex(rq)
	if err != nil {
		return err
	}
	name := rq.r.PathValue("logstore")
	err = h.Catalog.CreateIndex(rq.ctx(), rq.project, name, body)
	switch {
	case errors.Is(err, catalog.ErrExists):
		return sls.NewError(sls.CodeIndexAlreadyExist, "the logstore %q has an index already; update it instead", name)
	case err != nil:
		return notFound(err, logstoreNotExist(rq.project, name))
	}
	return rq.ok()
}

// updateIndex serves PUT /logstores/{logstore}/index: the new object takes the
// place of the old one.
func (h *Handler) updateIndex(rq *request) error {
	body, err := h.readIndex(rq)
	if err != nil {
		return err
	}
	if err := h.Catalog.UpdateIndex(rq.ctx(), rq.project, rq.r.PathValue("logstore"), body); err != nil {
		return notFound(err, indexNotExist(rq))
	}
	return rq.ok()
}

// getIndexOrHistogram serves GET /logstores/{logstore}/index, where newer SDKs
// also ask for histograms.
func (h *Handler) getIndexOrHistogram(rq *request) error {
	switch t := rq.r.URL.Query().Get("type"); t {
	case "histogram":
		return h.getHistogram(rq)
	case "":
	default:
		return invalid("type is %q; it has to be histogram, or be left out to get the index", t)
	}
	index, err := h.index(rq)
	if err != nil {
		return err
	}
	rq.write("application/json", index)
	return nil
}

func (h *Handler) deleteIndex(rq *request) error {
	if _, err := h.logstore(rq); err != nil {
		return err
	}
	if err := h.Catalog.DeleteIndex(rq.ctx(), rq.project, rq.r.PathValue("logstore")); err != nil {
		return notFound(err, indexNotExist(rq))
	}
	return rq.ok()
}

// index returns the index settings of the logstore that the path names.
func (h *Handler) index(rq *request) (json.RawMessage, error) {
	if _, err := h.logstore(rq); err != nil {
		return nil, err
	}
	index, err := h.Catalog.Index(rq.ctx(), rq.project, rq.r.PathValue("logstore"))
	return index, notFound(err, indexNotExist(rq))
}

func indexNotExist(rq *request) *sls.Error {
	return sls.NewError(sls.CodeIndexConfigNotExist,
		"the logstore %q has no index; create one to search it (POST /logstores/%[1]s/index)", rq.r.PathValue("logstore"))
}

// readIndex checks the shape of the index object and returns it as it was sent.
func (h *Handler) readIndex(rq *request) (json.RawMessage, error) {
	if _, err := h.logstore(rq); err != nil {
		return nil, err
	}
	var in sls.Index
	if err := rq.decode(&in, "an index (line, keys)"); err != nil {
		return nil, err
	}
	if err := checkIndex(&in); err != nil {
		return nil, invalid("index: %v", err)
	}
	return json.RawMessage(rq.body), nil
}

func checkIndex(in *sls.Index) error {
	switch {
	case in.Line == nil && len(in.Keys) == 0:
		return errors.New("give line (full text), keys (single fields) or both")
	case len(in.Keys) > maxIndexKeys:
		return fmt.Errorf("%d keys; at most %d are possible", len(in.Keys), maxIndexKeys)
	case in.TTL < 0 || in.TTL > MaxTTLDays:
		return fmt.Errorf("ttl is %d; it has to be between 1 and %d days", in.TTL, MaxTTLDays)
	case in.MaxTextLen != 0 && (in.MaxTextLen < minTextLen || in.MaxTextLen > maxTextLen):
		return fmt.Errorf("max_text_len is %d; it has to be between %d and %d bytes", in.MaxTextLen, minTextLen, maxTextLen)
	}
	if l := in.Line; l != nil {
		if err := checkTokens(l.Token); err != nil {
			return fmt.Errorf("line: %w", err)
		}
		if len(l.IncludeKeys) > 0 && len(l.ExcludeKeys) > 0 {
			return errors.New("line: include_keys and exclude_keys exclude one another; give one of them")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Keys)) {
		if err := checkIndexKey(name, in.Keys[name]); err != nil {
			return fmt.Errorf("keys: %q: %w", name, err)
		}
	}
	return nil
}

func checkIndexKey(name string, k sls.IndexKey) error {
	if name == "" {
		return errors.New("a field needs a name")
	}
	if err := checkIndexType(k.Type, "text", "long", "double", "json"); err != nil {
		return err
	}
	if len(k.JSONKeys) > 0 && k.Type != "json" {
		return fmt.Errorf("json_keys belong to fields of type json, this one is %s", k.Type)
	}
	for _, sub := range slices.Sorted(maps.Keys(k.JSONKeys)) {
		if err := checkIndexType(k.JSONKeys[sub].Type, "text", "long", "double"); err != nil {
			return fmt.Errorf("json_keys: %q: %w", sub, err)
		}
	}
	return checkTokens(k.Token)
}

func checkIndexType(t string, allowed ...string) error {
	if !slices.Contains(allowed, t) {
		return fmt.Errorf("type is %q; it has to be one of %v", t, allowed)
	}
	return nil
}

// checkTokens: a delimiter is one character of ASCII, as SLS wants it.
func checkTokens(tokens []string) error {
	for _, t := range tokens {
		if len(t) != 1 || t[0] >= 0x80 {
			return fmt.Errorf("token has %q; a delimiter is one ASCII character", t)
		}
	}
	return nil
}
