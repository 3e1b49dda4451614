package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

var extensions = []string{".yaml", ".yml", ".json"}

// Parse reads one pipeline. The name is a file name: its stem names the
// pipeline, and its extension says the language (.json is JSON, all else YAML;
// without an extension a text that starts with "{" and is valid JSON is JSON).
// The result is valid and has all defaults. The error is an Errors.
func Parse(name string, data []byte) (*Pipeline, error) {
	n, err := parseText(name, data)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Message: err.Error()}
		}
		e.File = name
		return nil, Errors{e}
	}
	p := New(stem(name))
	r := reader{places: map[string]written{}, meant: map[string]bool{}}
	if n.kind == kindNull {
		r.fail("", nil, "the file is empty; a pipeline needs inputs and flushers")
	} else {
		r.readPipeline(p, n)
		r.addValidation(p.validate())
	}
	for _, e := range r.errs {
		e.File = name
	}
	if err := r.errs.asError(); err != nil {
		return nil, err
	}
	return p, nil
}

// addValidation adds what Validate found, with places, except for what follows
// from an error that reading has already reported: a field of the wrong type,
// or whose name was mistyped, was left at its default.
func (r *reader) addValidation(found Errors) {
	reported := r.meant
	for _, e := range r.errs {
		for at := e.Field; at != ""; at = parent(at) {
			reported[at] = true
		}
	}
	for _, e := range found {
		if reported[e.Field] {
			continue
		}
		at := e.Field
		w, ok := r.places[at]
		if ok {
			e.Value = w.value
		}
		for !ok && at != "" { // a field that is missing: the object that lacks it
			at = parent(at)
			w, ok = r.places[at]
		}
		e.Line, e.Column = w.place.line, w.place.column
		r.errs = append(r.errs, e)
	}
}

// parent is the path of the object or list that holds a field.
func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

func parseText(name string, data []byte) (*node, error) {
	if len(data) > maxFileBytes {
		return nil, &Error{Message: fmt.Sprintf("%d bytes are too many for a pipeline, at most %d are read; split it into several files", len(data), maxFileBytes)}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // editors on Windows put a byte order mark
	if !utf8.Valid(data) {
		return nil, &Error{Message: "the file is not UTF-8 text; save it as UTF-8"}
	}
	switch ext := filepath.Ext(name); {
	case ext == ".json", !slices.Contains(extensions, ext) && len(data) > 0 && data[0] == '{' && json.Valid(data):
		if len(bytes.TrimSpace(data)) == 0 {
			return &node{}, nil
		}
		return parseJSON(data)
	}
	return parseYAML(data)
}

func stem(name string) string {
	base := filepath.Base(name)
	if ext := filepath.Ext(base); slices.Contains(extensions, ext) {
		base = strings.TrimSuffix(base, ext)
	}
	return base
}

// ParseFile reads the pipeline in a file.
func ParseFile(path string) (*Pipeline, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Errors{{File: path, Message: "cannot be opened: " + reason(err) + "; name a pipeline file that this user may read"}}
	}
	defer f.Close()
	var b bytes.Buffer
	// One byte more than allowed is enough to see that a file is too large.
	if _, err := b.ReadFrom(io.LimitReader(f, maxFileBytes+1)); err != nil {
		return nil, Errors{{File: path, Message: "cannot be read: " + reason(err)}}
	}
	return Parse(path, b.Bytes())
}

// reason is the error without the path that the message already has.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// Files lists the pipeline files of a directory in the order of their names:
// every *.yaml, *.yml and *.json that is not hidden; what lies in directories
// below it is not listed. The error is an Errors.
func Files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, Errors{{File: dir, Message: "the directory cannot be read: " + reason(err)}}
	}
	var files []string
	for _, entry := range entries {
		name := entry.Name()
		path := filepath.Join(dir, name)
		if strings.HasPrefix(name, ".") || !slices.Contains(extensions, filepath.Ext(name)) {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			continue
		}
		files = append(files, path)
	}
	return files, nil
}

// LoadDir reads the pipelines of a directory (see Files). Those with
// "enable: false" are left out. A file that is wrong is in the errors (one
// each, an Errors) and does not keep the others from being loaded; of
// several files that name the same pipeline the first counts.
func LoadDir(dir string) ([]*Pipeline, []error) {
	files, err := Files(dir)
	if err != nil {
		return nil, []error{err}
	}
	var (
		pipelines []*Pipeline
		errs      []error
		owner     = map[string]string{}
	)
	for _, path := range files {
		p, err := ParseFile(path)
		switch {
		case err != nil:
			errs = append(errs, err)
		case !p.Enable:
		case owner[p.Name] != "":
			errs = append(errs, Errors{{File: path, Message: fmt.Sprintf("names the pipeline %q, as %s does; rename one of the files", p.Name, owner[p.Name])}})
		default:
			owner[p.Name] = path
			pipelines = append(pipelines, p)
		}
	}
	return pipelines, errs
}
