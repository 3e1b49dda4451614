package api

import (
	"encoding/json"
	"strconv"

	"logtail/internal/server/index"
)

// The names under which a row has what is not a field of the log.
const (
	keyTime   = "__time__"
	keyNsec   = "__time_ns_part__"
	keySource = "__source__"
	keyTopic  = "__topic__"
)

// appendRows writes rows as SLS does: a list of flat objects in which every
// value is a string.
func appendRows(dst []byte, rows []index.Row) []byte {
	dst = append(dst, '[')
	for i := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendRow(dst, &rows[i])
	}
	return append(dst, ']')
}

// appendRow writes the fields of one row. A log may hold the same key twice, a
// JSON object may not: the second "k" becomes "k_1", so that nothing is hidden.
func appendRow(dst []byte, r *index.Row) []byte {
	seen := make(map[string]struct{}, len(r.Fields)+4)
	dst = append(dst, '{')
	put := func(key, value string) {
		name := key
		for n := 1; ; n++ {
			if _, twice := seen[name]; !twice {
				break
			}
			name = key + "_" + strconv.Itoa(n)
		}
		seen[name] = struct{}{}
		if len(seen) > 1 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name)
		dst = append(dst, ':')
		dst = appendString(dst, value)
	}
	put(keyTime, strconv.FormatInt(r.Time, 10))
	if r.Nsec >= 0 {
		put(keyNsec, strconv.Itoa(int(r.Nsec)))
	}
	put(keySource, r.Source)
	put(keyTopic, r.Topic)
	for _, f := range r.Fields {
		put(f.Key, f.Value)
	}
	return append(dst, '}')
}

// appendString writes a JSON string; bytes that are no UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return append(dst, b...)
}

// keysOf lists the keys of the rows in the order in which they first occur.
func keysOf(rows []index.Row) []string {
	keys := []string{}
	seen := make(map[string]struct{})
	put := func(key string) {
		if _, twice := seen[key]; !twice {
			seen[key] = struct{}{}
			keys = append(keys, key)
		}
	}
	for i := range rows {
		for _, f := range rows[i].Fields {
			put(f.Key)
		}
	}
	if len(rows) > 0 {
		put(keySource)
		put(keyTime)
		put(keyTopic)
	}
	return keys
}
