package status

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// Query chooses files.
type Query struct {
	Pipeline string // "" = all
	Path     string // a path, or a pattern with *, ?, [] and **; "" = all
	Limit    int    // most files; 0 = all
	After    string // the end of the page before; "" = from the first one
}

// Check says whether the query can be answered.
func (q *Query) Check() error {
	if q.Path != "" && !doublestar.ValidatePathPattern(q.Path) {
		return fmt.Errorf("%q is no pattern of paths", q.Path)
	}
	if q.Limit < 0 {
		return errors.New("the limit is negative; 0 means all files")
	}
	_, err := q.place()
	return err
}

// place is a file's place in the order of all: pipeline, path, stream.
type place [3]string

func placeOf(f *File) place { return place{f.Pipeline, f.Path, f.Stream} }

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p[0], q[0]), cmp.Compare(p[1], q[1]), cmp.Compare(p[2], q[2]))
}

// place decodes After; "" is before all.
func (q *Query) place() (place, error) {
	if q.After == "" {
		return place{}, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(q.After)
	parts := strings.Split(string(text), "\x00")
	if err != nil || len(parts) != 3 {
		return place{}, errors.New("after is not the end of a page")
	}
	return place(parts), nil
}

func (p place) encode() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(p[:], "\x00")))
}

// Page returns the files of a list that a query asks for, in order, and where the
// next page begins ("" = there is none). It uses the list's memory.
func (q *Query) Page(list []File) (page []File, next string, err error) {
	if err := q.Check(); err != nil {
		return nil, "", err
	}
	after, _ := q.place() // checked
	page = slices.DeleteFunc(list, func(f File) bool {
		return !q.Match(&f) || q.After != "" && placeOf(&f).compare(after) <= 0
	})
	slices.SortFunc(page, func(a, b File) int { return placeOf(&a).compare(placeOf(&b)) })
	if q.Limit > 0 && len(page) > q.Limit {
		page = page[:q.Limit]
		next = placeOf(&page[len(page)-1]).encode()
	}
	return page, next, nil
}

// Match says whether a file is one of the pipeline and path that are asked for.
func (q *Query) Match(f *File) bool {
	if q.Pipeline != "" && f.Pipeline != q.Pipeline {
		return false
	}
	if q.Path == "" || q.Path == f.Path {
		return true
	}
	ok, err := doublestar.PathMatch(q.Path, f.Path)
	return ok && err == nil
}

func (q *Query) encode() string {
	v := url.Values{}
	for name, value := range map[string]string{"pipeline": q.Pipeline, "path": q.Path, "after": q.After} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v.Encode()
}

func decodeQuery(v url.Values) (Query, error) {
	q := Query{Pipeline: v.Get("pipeline"), Path: v.Get("path"), After: v.Get("after")}
	if text := v.Get("limit"); text != "" {
		var err error
		if q.Limit, err = strconv.Atoi(text); err != nil {
			return q, fmt.Errorf("the limit %q is no number", text)
		}
	}
	return q, q.Check()
}

// files writes {"file_list":[...],"next":"..."}, a file at a time: the text of
// 100,000 files is never in memory.
func (s *Server) files(w http.ResponseWriter, r *http.Request) {
	q, err := decodeQuery(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), listTime)
	defer cancel()
	select {
	case s.lists <- struct{}{}:
		defer func() { <-s.lists }()
	case <-ctx.Done():
		http.Error(w, "others are reading lists of files; try again later", http.StatusServiceUnavailable)
		return
	}
	page, next, err := q.Page(s.src.Files())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(&pieces{w: w, control: http.NewResponseController(w), ctx: ctx}, 32<<10)
	err = writeFiles(out, page, next)
	if err = errors.Join(err, out.Flush()); err != nil {
		panic(http.ErrAbortHandler) // the reader is gone or too slow; it must not take a part for all
	}
}

func writeFiles(w *bufio.Writer, list []File, next string) error {
	if _, err := w.WriteString(`{"file_list":[`); err != nil {
		return err
	}
	for i := range list {
		text, err := json.Marshal(&list[i])
		if err != nil {
			return err
		}
		if i > 0 {
			text = append([]byte(",\n"), text...)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, `],"next":%q}`+"\n", next) // base64, so it needs no escapes
	return err
}

// pieces gives each piece of an answer its own time to be taken, until ctx ends.
type pieces struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context //nolint:containedctx // of the request that is being answered
}

func (p *pieces) Write(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	if err := p.control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}
