package read

import "testing"

func TestRotatedKnowsTheNamesThatRotationMakes(t *testing.T) {
	for _, c := range []struct {
		base, name string
		want       bool
	}{
		{"app.log", "app.log", false},
		{"app.log", "app.log.1", true},
		{"app.log", "app.log.12", true},
		{"app.log", "app.log.001", true},
		{"app.log", "app.log.0", true},
		{"app.log", "app.log.1.gz", true},
		{"app.log", "app.log.2.zst", true},
		{"app.log", "app.log.2.zstd", true},
		{"app.log", "app.log.3.bz2", true},
		{"app.log", "app.log.3.xz", true},
		{"app.log", "app.log.gz", true},
		{"app.log", "app.log-20261121", true},
		{"app.log", "app.log-20261121.gz", true},
		{"app.log", "app.log-2026112110", true},
		{"app.log", "app.log-20261121-1763700000", true},
		{"app.log", "app.log-1763700000", true},
		{"app.log", "app.log.1763700000123", true},
		{"app.log", "app.log.2026-11-21", true},
		{"app.log", "app.log.2026-11-21-10", true},
		{"app.log", "app.log.2026-11-21_10-30", true},
		{"app.log", "app.log.2026-11-21_10-30-59", true},
		{"app.log", "app.log.2026-11-21T10:30:59Z", true},
		{"app.log", "app.log.2026-11", true},
		{"app.log", "app.log.2026-11-21.3", true},
		{"app.log", "app.log20261121", true}, // log4net
		{"app.log", "app.log.old", true},
		{"app.log", "app.log.prev", true},
		{"app.log", "app.log.1.log", true},
		{"app.log", "app-20261121.log", true}, // logrotate's extension
		{"app.log", "app.1.log", true},
		{"app.log", "app-1.log", true},
		{"app.log", "app-1.log.gz", true},
		{"app.log", "app-2026-11-21T10-30-59.123.log", true}, // lumberjack
		{"app.log", "app-2026-11-21T10-30-59.123.log.gz", true},
		{"app.log", "app-2026-11-21.0.log", true},         // logback
		{"app.log", "app-11-21-2026-1.log.gz", false},     // no usual order: the year comes first
		{"app.log", "app__2026-11-21_10-30-00.log", true}, // pm2
		{"app.log", "app20261121.log", true},
		{"app.log", "app_old.log", true},
		{"0.log", "0.log.20261121-103000", true}, // kubelet
		{"0.log", "0.log.20261121-103000.gz", true},
		{"catalina.out", "catalina.out.1", true},
		{"syslog", "syslog.1", true},
		{"syslog", "syslog-20261121.xz", true},
		{".hidden", ".hidden.1", true},
		{"app-2.log", "app-2-20261121.log", true},
		{"a.b.log", "a.b-1.log", true},

		{"app.log", "app.log.bak", false},
		{"app.log", "app.log~", false},
		{"app.log", "app.log.swp", false},
		{"app.log", "app.log.tmp", false},
		{"app.log", "app.log1", false},
		{"app.log", "app.log.1.2.3.4", false},
		{"app.log", "app.logger", false},
		{"app.log", "app-8080.log", false}, // a port
		{"app.log", "app-error.log", false},
		{"app.log", "app-error-20261121.log", false},
		{"app.log", "application.log", false},
		{"app.log", "app1.log", false},
		{"app.log", "other.log.1", false},
		{"app.log", "app.log.20261321x", false},
		{"app.log", "app-20261399.log", false},
		{"app.log", "app.txt", false},
		{"app.log", ".gz", false},
		{"app.log", "", false},
		{"app-20261120.log", "app-20261121.log", false}, // both are live names
		{"app.log.1", "app.log.2", false},
		{"", ".1", false},
		{"app.log", "app.log.1\n", false},
	} {
		if got := Rotated(c.base, c.name); got != c.want {
			t.Errorf("Rotated(%q, %q) = %v", c.base, c.name, got)
		}
	}
}

func FuzzRotated(f *testing.F) {
	f.Add("app.log", "app.log.1")
	f.Add("app.log", "app-20261121.log.gz")
	f.Add(".hidden", ".hidden.2026-11-21-10")
	f.Add("", "")
	f.Add(".gz", ".gz.gz")
	f.Fuzz(func(t *testing.T, base, name string) {
		got := Rotated(base, name)
		if Rotated(base, base) {
			// Only where the base is itself the archive of a name, which it is not.
			t.Errorf("%q is rotated from itself", base)
		}
		if _, compressed := cutArchive(name); got && !compressed && !Rotated(base, name+".gz") {
			t.Errorf("%q is rotated from %q, but not when compressed", name, base)
		}
		if base != "" && !Rotated(base, base+".1") {
			t.Errorf("%q has no successor", base)
		}
	})
}
