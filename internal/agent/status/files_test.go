package status

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestFilesAreChosenAndInOrder(t *testing.T) {
	dir := t.TempDir()
	src := sample()
	serve(t, dir, src, Options{})
	c := dial(t, dir)
	for _, test := range []struct {
		q    Query
		want string
	}{
		{Query{}, "o/log/b p/log/a/x p/log/b"},
		{Query{Pipeline: "p"}, "p/log/a/x p/log/b"},
		{Query{Path: "/log/b"}, "o/log/b p/log/b"},
		{Query{Path: "/log/*"}, "o/log/b p/log/b"},
		{Query{Path: "/log/**"}, "o/log/b p/log/a/x p/log/b"},
		{Query{Pipeline: "o", Path: "/log/**/x"}, ""},
		{Query{Pipeline: "none"}, ""},
	} {
		var got []string
		next, err := c.Files(t.Context(), test.q, func(f *File) error {
			got = append(got, f.Pipeline+f.Path)
			return nil
		})
		if err != nil || next != "" || strings.Join(got, " ") != test.want {
			t.Errorf("%+v: %q, next %q, %v", test.q, got, next, err)
		}
	}
	var whole File
	if _, err := c.Files(t.Context(), Query{Pipeline: "p", Path: "/log/b"}, func(f *File) error { whole = *f; return nil }); err != nil || !reflect.DeepEqual(whole, src.files[0]) {
		t.Errorf("the file is %+v, %v", whole, err)
	}
}

func TestPagesNeitherRepeatNorSkip(t *testing.T) {
	dir := t.TempDir()
	src := &fake{}
	for i := range 25 {
		src.files = append(src.files, File{Pipeline: fmt.Sprint("p", i%2), Path: fmt.Sprint("/", i/5), Stream: fmt.Sprintf("%02d", i)})
	}
	serve(t, dir, src, Options{})
	c := dial(t, dir)
	var all, paged []string
	if _, err := c.Files(t.Context(), Query{}, func(f *File) error { all = append(all, f.Stream); return nil }); err != nil {
		t.Fatal(err)
	}
	q := Query{Limit: 4}
	for pages := 1; ; pages++ {
		n := 0
		next, err := c.Files(t.Context(), q, func(f *File) error { n++; paged = append(paged, f.Stream); return nil })
		if err != nil || n > 4 {
			t.Fatalf("page %d has %d files, %v", pages, n, err)
		}
		if q.After = next; next == "" {
			break
		}
	}
	if len(all) != 25 || !reflect.DeepEqual(all, paged) {
		t.Errorf("all %v\npaged %v", all, paged)
	}
}

func TestWrongQueriesAreExplained(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, sample(), Options{})
	c := dial(t, dir)
	for query, want := range map[string]string{
		"limit=many": `"many" is no number`, "limit=-1": "negative", "path=[": "no pattern", "after=%21": "not the end of a page", "after=YQ": "not the end of a page",
	} {
		_, err := c.get(t.Context(), "/files?"+query)
		if err == nil || !strings.Contains(err.Error(), "400") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// taker counts what is written to it.
type taker struct {
	header  http.Header
	bytes   int
	largest int
}

func (k *taker) Header() http.Header              { return k.header }
func (k *taker) WriteHeader(int)                  {}
func (k *taker) SetWriteDeadline(time.Time) error { return nil }
func (k *taker) Write(b []byte) (int, error) {
	k.bytes += len(b)
	k.largest = max(k.largest, len(b))
	return len(b), nil
}

func TestTheTextOfManyFilesIsNeverInMemory(t *testing.T) {
	src := &fake{files: make([]File, 100_000)}
	for i := range src.files {
		src.files[i] = File{Pipeline: "p", Path: fmt.Sprintf("/var/log/some/application/%06d.log", i), Stream: strings.Repeat("0", 32), Acked: Offsets{{"flusher_sls", 1}}}
	}
	s := &Server{src: src, lists: make(chan struct{}, 1)}
	k := &taker{header: http.Header{}}
	s.files(k, httptest.NewRequest(http.MethodGet, "/files", http.NoBody))
	if k.bytes < 20_000_000 || k.largest > 64<<10 {
		t.Errorf("%d bytes in pieces of up to %d", k.bytes, k.largest)
	}
}

func TestAReaderThatTakesNothingIsLeft(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	p := &pieces{w: &taker{header: http.Header{}}, ctx: ended}
	if _, err := p.Write([]byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	s := &Server{src: sample(), lists: make(chan struct{})} // no place is free
	w := httptest.NewRecorder()
	s.files(w, httptest.NewRequest(http.MethodGet, "/files", http.NoBody).WithContext(ended))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("no place is free: %d", w.Code)
	}
}

// A part of the list must not pass for all of it.
func TestAListThatIsCutOffIsAnError(t *testing.T) {
	var whole strings.Builder
	w := bufio.NewWriter(&whole)
	if err := writeFiles(w, sample().files, "next"); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	text := strings.TrimSpace(whole.String())
	cut := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text[:cut]) }))
	defer srv.Close()
	address := srv.Listener.Addr().String()
	c := &Client{http: &http.Client{Transport: rewrite(address)}}
	for cut = range len(text) - 1 { // without the last brace nothing is missing
		if _, err := c.Files(t.Context(), Query{}, func(*File) error { return nil }); err == nil {
			t.Fatalf("%s: no error", text[:cut])
		}
	}
	cut = len(text)
	n := 0
	if next, err := c.Files(t.Context(), Query{}, func(*File) error { n++; return nil }); err != nil || n != 3 || next != "next" {
		t.Errorf("%d files, next %q, %v", n, next, err)
	}
	stop := errors.New("enough")
	if _, err := c.Files(t.Context(), Query{}, func(*File) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

// rewrite sends every request to an address.
type rewrite string

func (a rewrite) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Host = string(a)
	return http.DefaultTransport.RoundTrip(r)
}

func TestLag(t *testing.T) {
	for _, c := range []struct {
		f    File
		want int64
	}{
		{File{Size: 10, Offset: 10, Acked: Offsets{{"a", 10}, {"b", 4}}}, 6},
		{File{Size: 10, Offset: 4, Acked: Offsets{{"a", 4}}}, 6},
		{File{Size: 3, Offset: 8, Acked: Offsets{{"a", 8}}}, 0},
		{File{Size: 10, Offset: 2}, 8},
		{File{Size: 10, State: FilePending}, 0},
		{File{Size: 10, State: FileStopped, Acked: Offsets{{"a", 4}}}, 0},
		{File{Size: 10, Offset: 7, Acked: Offsets{{"a", 4}}, State: FileEnded}, 3},
		{File{Size: -1, Offset: 7, Acked: Offsets{{"a", 7}}}, 0},
	} {
		f := c.f
		if f.SetLag(); f.Lag != c.want {
			t.Errorf("%+v: %d, want %d", c.f, f.Lag, c.want)
		}
	}
}

func FuzzOffsets(f *testing.F) {
	f.Add(`{"flusher_sls":12,"b\"":0}`)
	f.Add(`{}`)
	f.Add(`[1]`)
	f.Add(`{"a":-1}`)
	f.Fuzz(func(t *testing.T, text string) {
		var o Offsets
		if json.Unmarshal([]byte(text), &o) != nil {
			return
		}
		again, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var p Offsets
		if err := json.Unmarshal(again, &p); err != nil || len(o) != len(p) || len(o) > 0 && !reflect.DeepEqual(o, p) {
			t.Errorf("%q is %v, written %s, read %v: %v", text, o, again, p, err)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("pipeline=p&path=/a/**&limit=3&after=" + place{"p", "/a", "01"}.encode())
	f.Add("after=%00")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q, err := decodeQuery(v)
		if err != nil {
			return
		}
		if _, _, err := q.Page(sample().files); err != nil {
			t.Errorf("%+v is in order, and %v", q, err)
		}
		v, err = url.ParseQuery(q.encode())
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decodeQuery(v); err != nil || again != q {
			t.Errorf("%+v becomes %+v, %v", q, again, err)
		}
	})
}
