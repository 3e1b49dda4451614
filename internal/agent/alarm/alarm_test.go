package alarm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// book collects what a Log writes and turns the clock by hand.
type book struct {
	mu  sync.Mutex
	buf bytes.Buffer
	now time.Time
}

func (k *book) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.buf.Write(p)
}

func (k *book) clock() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

func (k *book) turn(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = k.now.Add(d)
}

// lines returns what was written so far as "alarm pipeline count msg sample".
func (k *book) lines(t *testing.T) []string {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for l := range strings.Lines(k.buf.String()) {
		var v struct {
			Level, Msg, Alarm, Pipeline, Project, Logstore, Sample string
			Count                                                  uint64
		}
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			t.Fatalf("written line is not JSON: %v: %s", err, l)
		}
		if v.Level != "WARN" {
			t.Errorf("level is %s, want WARN", v.Level)
		}
		out = append(out, fmt.Sprintf("%s %s/%s/%s %d %s %q", v.Alarm, v.Pipeline, v.Project, v.Logstore, v.Count, v.Msg, v.Sample))
	}
	return out
}

func newLog(t *testing.T) (*Log, *book) {
	t.Helper()
	k := &book{now: time.Unix(1_700_000_000, 0)}
	l := NewLog(Options{Logger: slog.New(slog.NewJSONHandler(k, nil)), Now: k.clock})
	t.Cleanup(func() { closeLog(t, l) })
	return l, k
}

func closeLog(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestEqualAlarmsAreMergedForTheWindow(t *testing.T) {
	l, k := newLog(t)
	a := Scope{"nginx", "shop", "access"}
	l.Raise(ParseLogFail, a, 1, "first", []byte("line 1"))
	l.Raise(ParseLogFail, a, 41, "second", []byte("line 2"))
	k.turn(Window - time.Nanosecond)
	l.FlushDue()
	if got := k.lines(t); len(got) != 0 {
		t.Fatalf("written before the window was over: %q", got)
	}
	k.turn(time.Nanosecond)
	l.FlushDue()
	want := []string{`PARSE_LOG_FAIL_ALARM nginx/shop/access 42 first "line 1"`}
	if got := k.lines(t); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	// The next one starts a new window.
	l.Raise(ParseLogFail, a, 1, "third", nil)
	closeLog(t, l)
	want = append(want, `PARSE_LOG_FAIL_ALARM nginx/shop/access 1 third ""`)
	if got := k.lines(t); !reflect.DeepEqual(got, want) {
		t.Fatalf("after Close: got %q, want %q", got, want)
	}
}

func TestAlarmsThatDifferAreKeptApart(t *testing.T) {
	l, k := newLog(t)
	l.Raise(ParseLogFail, Scope{"a", "p", "l"}, 1, "m", nil)
	k.turn(1)
	l.Raise(RegexMatch, Scope{"a", "p", "l"}, 2, "m", nil)
	k.turn(1)
	l.Raise(ParseLogFail, Scope{"b", "p", "l"}, 3, "m", nil)
	k.turn(1)
	l.Raise(ParseLogFail, Scope{"a", "q", "l"}, 4, "m", nil)
	k.turn(1)
	l.Raise(ParseLogFail, Scope{"a", "p", "k"}, 5, "m", nil)
	closeLog(t, l)
	want := []string{
		`PARSE_LOG_FAIL_ALARM a/p/l 1 m ""`,
		`REGEX_MATCH_ALARM a/p/l 2 m ""`,
		`PARSE_LOG_FAIL_ALARM b/p/l 3 m ""`,
		`PARSE_LOG_FAIL_ALARM a/q/l 4 m ""`,
		`PARSE_LOG_FAIL_ALARM a/p/k 5 m ""`,
	}
	if got := k.lines(t); !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

func TestRaisingWritesWhatIsDue(t *testing.T) {
	l, k := newLog(t)
	l.Raise(LogTruncate, Scope{Pipeline: "old"}, 1, "m", nil)
	k.turn(Window)
	l.Raise(LogTruncate, Scope{Pipeline: "new"}, 1, "m", nil)
	if got := k.lines(t); len(got) != 1 || !strings.Contains(got[0], "old/") {
		t.Fatalf("got %q, want the old alarm alone", got)
	}
}

func TestAClockSetBackDelaysNoAlarmForever(t *testing.T) {
	l, k := newLog(t)
	l.Raise(LogTruncate, Scope{}, 1, "m", nil)
	k.turn(-time.Hour)
	l.FlushDue()
	if got := k.lines(t); len(got) != 1 {
		t.Fatalf("got %q, want one alarm", got)
	}
}

func TestAlarmAfterCloseIsWrittenAtOnce(t *testing.T) {
	l, k := newLog(t)
	closeLog(t, l)
	closeLog(t, l)
	l.Raise(DiscardData, Scope{}, 7, "gone", nil)
	if got := k.lines(t); len(got) != 1 || !strings.Contains(got[0], " 7 gone") {
		t.Fatalf("got %q, want the alarm", got)
	}
}

func TestNoLogAndNothingToCountAreFine(t *testing.T) {
	var none *Log
	none.Raise(DiscardData, Scope{}, 1, "m", nil)
	l, k := newLog(t)
	l.Raise(DiscardData, Scope{}, 0, "m", nil)
	closeLog(t, l)
	if got := k.lines(t); len(got) != 0 {
		t.Fatalf("got %q, want nothing", got)
	}
}

func TestManyKindsLoseNoCount(t *testing.T) {
	l, k := newLog(t)
	for i := range maxKinds + 5 {
		l.Raise(LogTruncate, Scope{Pipeline: fmt.Sprint(i)}, 1, "m", nil)
	}
	if n := len(l.open); n > maxKinds {
		t.Errorf("%d alarms are open, want at most %d", n, maxKinds)
	}
	closeLog(t, l)
	if n := len(k.lines(t)); n != maxKinds+5 {
		t.Errorf("%d alarms written, want %d", n, maxKinds+5)
	}
}

func TestRaiseFromManyGoroutines(t *testing.T) {
	l, k := newLog(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				l.Raise(ParseTimeFail, Scope{Pipeline: "p"}, 2, "m", []byte("x"))
			}
		})
	}
	wg.Wait()
	closeLog(t, l)
	want := []string{`PARSE_TIME_FAIL_ALARM p// 8000 m "x"`}
	if got := k.lines(t); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestMergingAllocatesNothing(t *testing.T) {
	l, _ := newLog(t)
	s, line := Scope{"p", "q", "r"}, []byte("line")
	l.Raise(ParseLogFail, s, 1, "m", line)
	if n := testing.AllocsPerRun(100, func() { l.Raise(ParseLogFail, s, 1, "m", line) }); n != 0 {
		t.Errorf("%v allocations per merged alarm, want 0", n)
	}
}

func TestSampleMasksSecrets(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"GET /index.html 200", "GET /index.html 200"},
		{"login user=bob password=hunter2 ok", "login user=bob password=*** ok"},
		{"passwd: hunter2", "passwd: ***"},
		{`{"user":"bob","password":"hunt\"er2","n":1}`, `{"user":"bob","password":***,"n":1}`},
		{`{"m":"{\"api_key\":\"abc\"}"}`, `{"m":"{\"api_key\":***\"}"}`},
		{"secret_token='a b c' x", "secret_token=*** x"},
		{"Authorization: Bearer eyJhbGciOi.x.y rest", "Authorization: *** rest"},
		{"Authorization: LOG LTAIabc:sig= rest", "Authorization: *** rest"},
		{"access_key_secret = abc&x=1", "access_key_secret = ***&x=1"},
		{"/v1?x-api-key=abc&y=2", "/v1?x-api-key=***&y=2"},
		{"dial postgres://u:p@db:5432/x", "dial postgres://***@db:5432/x"},
		{"id LTAI4Fabcdefgh1234 used", "id *** used"},
		{"id AKIAIOSFODNN7EXAMPLE used", "id *** used"},
		{"the secret of life", "the secret of life"},
		{"bad \xff byte", "bad \uFFFD byte"},
	} {
		if got := Sample([]byte(c.in)); got != c.want {
			t.Errorf("Sample(%q)\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}

func TestSampleIsCutAtARune(t *testing.T) {
	got := Sample([]byte("x" + strings.Repeat("日", 1000)))
	if len(got) > MaxSample || len(got) < MaxSample-utf8.UTFMax || !utf8.ValidString(got) {
		t.Errorf("sample has %d bytes, valid UTF-8 %v; want at most %d and valid", len(got), utf8.ValidString(got), MaxSample)
	}
}

func FuzzSample(f *testing.F) {
	f.Add([]byte(`{"password":"x`))
	f.Add([]byte("a://b:c@d \xff\xfe token=\"\\"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := Sample(b); len(s) > MaxSample || !utf8.ValidString(s) {
			t.Errorf("sample of %d bytes, valid UTF-8 %v", len(s), utf8.ValidString(s))
		}
	})
}
