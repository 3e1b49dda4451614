package sls

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestWriteErrorAnswersAsSLSDoes(t *testing.T) {
	fresh := regexp.MustCompile(`^[0-9A-F]{24}$`)
	for name, tc := range map[string]struct {
		err      *Error
		preset   string
		status   int
		wantID   string
		wantJSON string
	}{
		"status of the code": {NewError(CodeLogStoreNotExist, "logstore %s", "x"), "", 404, "", `{"errorCode":"LogStoreNotExist","errorMessage":"logstore x"}`},
		"status given":       {&Error{Status: 503, Code: CodeServerBusy}, "", 503, "", `{"errorCode":"ServerBusy","errorMessage":""}`},
		"no status":          {&Error{Code: CodeWriteQuotaExceed}, "", 403, "", `{"errorCode":"WriteQuotaExceed","errorMessage":""}`},
		"success is no error": {
			&Error{Status: 200, Code: CodeInternalServerError}, "", 500, "",
			`{"errorCode":"InternalServerError","errorMessage":""}`,
		},
		"id of the handler": {&Error{Code: CodeUnauthorized}, "ABC", 401, "ABC", `{"errorCode":"Unauthorized","errorMessage":""}`},
		"id of the error":   {&Error{Code: CodeUnauthorized, RequestID: "DEF"}, "ABC", 401, "DEF", `{"errorCode":"Unauthorized","errorMessage":""}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if tc.preset != "" {
				w.Header().Set(HeaderRequestID, tc.preset)
			}
			WriteError(w, tc.err)
			id := w.Header().Get(HeaderRequestID)
			if w.Code != tc.status || w.Body.String() != tc.wantJSON || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("answered %d %s %v", w.Code, w.Body, w.Header())
			}
			if tc.wantID == "" && !fresh.MatchString(id) || tc.wantID != "" && id != tc.wantID {
				t.Fatalf("request id %q", id)
			}
		})
	}
}

func TestErrorTellsWhatItIs(t *testing.T) {
	e := &Error{Status: 403, Code: CodeWriteQuotaExceed, Message: "too much", RequestID: "ID"}
	err := fmt.Errorf("writing: %w", e)
	if got, ok := AsError(err); !ok || got != e {
		t.Fatalf("AsError found %v", got)
	}
	if _, ok := AsError(http.ErrBodyNotAllowed); ok {
		t.Fatal("an error of net/http passes for one of the service")
	}
	for _, part := range []string{"403", CodeWriteQuotaExceed, "too much", "ID"} {
		if !strings.Contains(e.Error(), part) {
			t.Errorf("%q does not tell %q", e.Error(), part)
		}
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	if a, b := NewRequestID(), NewRequestID(); a == b {
		t.Fatalf("twice %s", a)
	}
}

// TestDeliveryJSON pins the JSON by which agent and service speak of lanes:
// numbers of 64 bits go as text, since JSON readers cut them to 53.
func TestDeliveryJSON(t *testing.T) {
	for _, tc := range []struct {
		v    any
		want string
	}{
		{ResumeRequest{Session: 1 << 63, Lanes: []string{"ab"}}, `{"session":"9223372036854775808","lanes":["ab"]}`},
		{
			ResumeReply{Session: 3, Incarnation: "x", Lanes: []LaneProgress{{}, {Known: true, End: 1 << 62, Hash: 1<<64 - 1, State: []byte("s"), Closed: true}}},
			`{"session":"3","incarnation":"x","lanes":[{"known":false,"end":"0","hash":"0"},{"known":true,"end":"4611686018427387904","hash":"18446744073709551615","state":"cw==","closed":true}]}`,
		},
		{
			PutReply{Results: []PutResult{{Action: "append"}, {Action: ActionError, Code: CodeServerBusy, Message: "m"}, {Action: "hole", Progress: &LaneProgress{Known: true, End: 5}}}},
			`{"results":[{"action":"append"},{"action":"error","code":"ServerBusy","message":"m"},{"action":"hole","progress":{"known":true,"end":"5","hash":"0"}}]}`,
		},
	} {
		got, err := json.Marshal(tc.v)
		if err != nil || string(got) != tc.want {
			t.Errorf("%T is\n%s, want\n%s (%v)", tc.v, got, tc.want, err)
		}
	}
}
