package api_test

import (
	"strings"
	"testing"

	"logtail/internal/server/api"
)

func TestProjectOf(t *testing.T) {
	domains := []string{"sls.test", "logs.example.com"}
	for _, c := range []struct{ host, header, want string }{
		{"proj.sls.test", "", "proj"},
		{"proj.sls.test:8080", "", "proj"},
		{"PROJ.SLS.TEST", "", "proj"},
		{"proj.sls.test.", "", "proj"},
		{"proj.logs.example.com", "", "proj"},
		{"proj.sls.test", "other", "proj"},
		{"sls.test", "", ""},
		{"sls.test:80", "proj", "proj"},
		{"logs.example.com", "", ""},
		{"127.0.0.1", "", ""},
		{"127.0.0.1:7480", "proj", "proj"},
		{"[::1]:7480", "proj", "proj"},
		{"[::1]", "", ""},
		{"localhost:7480", "proj", "proj"},
		{"localhost", "", ""},
		{"proj.127.0.0.1:7480", "", "proj"},
		{"proj.localhost:7480", "", "proj"},
		{"", "proj", "proj"},
		{"", "", ""},
		// Names that the service does not know as its own.
		{"proj.sls.local", "", "proj"},
		{"10-0-0-1.pod.cluster.local", "proj", "proj"},
		{"logserver", "", ""},
		{"logserver.lan", "", ""},
		{"logserver.lan", "proj", "proj"},
		// Two labels before a domain are no project; the catalog does not know it.
		{"a.b.sls.test", "", "a.b"},
	} {
		if got := api.ProjectOf(c.host, c.header, domains); got != c.want {
			t.Errorf("host %q, header %q: got %q, want %q", c.host, c.header, got, c.want)
		}
	}
}

func FuzzProjectOf(f *testing.F) {
	for _, host := range []string{"proj.sls.test:80", "127.0.0.1", "[::1]:7480", "proj.127.0.0.1", "localhost", "a.b.c", ".", "..", "[", "]:1", "::"} {
		f.Add(host, "proj")
	}
	f.Fuzz(func(t *testing.T, host, header string) {
		got := api.ProjectOf(host, header, []string{"sls.test"})
		if got != "" && got != header && !strings.Contains(strings.ToLower(host), got) {
			t.Errorf("host %q, header %q: got %q, which is in neither", host, header, got)
		}
		if rest, ok := strings.CutSuffix(host, ".sls.test"); ok && rest == strings.ToLower(rest) && strings.Trim(rest, "[].:") == rest && !strings.Contains(rest, ":") && rest != "" && got != rest {
			t.Errorf("host %q: got %q, want %q", host, got, rest)
		}
	})
}
