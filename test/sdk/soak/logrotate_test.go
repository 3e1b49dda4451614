//go:build linux

package soak

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// rotation is logrotate's configuration of one file.
type rotation struct {
	name string
	text string
	copy bool // copytruncate
	// still: the writer must not write while it runs, as the rotated file is
	// compressed and deleted at once. Programs see to that in postrotate.
	still bool
}

// delayed is the mode that compresses a rotated file of which it finds the plain form.
var delayed = rotation{name: "create, compress, delaycompress", text: "create 0644\ncompress\ndelaycompress"}

// rotations are logrotate's modes.
var rotations = []rotation{
	{name: "create", text: "create 0644"},
	{name: "copytruncate", text: "copytruncate", copy: true},
	{name: "create, dateext", text: "create 0644\ndateext\ndateformat -%Y%m%d-%s"},
	{name: "create, compress", text: "create 0644\ncompress", still: true},
	delayed,
	{name: "copytruncate, compress, delaycompress", text: "copytruncate\ncompress\ndelaycompress", copy: true},
	{name: "copytruncate, dateext, compress", text: "copytruncate\ncompress\ndateext\ndateformat -%Y%m%d-%s", copy: true},
}

// findLogrotate returns the program, installing Debian's package where that can be done.
func findLogrotate() (string, error) {
	for _, p := range []string{"logrotate", "/usr/sbin/logrotate"} {
		if path, err := exec.LookPath(p); err == nil {
			return path, nil
		}
	}
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("logrotate is not installed, and only root may install it")
	}
	if out, err := exec.Command("apt-get", "-o", "DPkg::Lock::Timeout=100", "install", "-y", "--no-install-recommends", "logrotate").CombinedOutput(); err != nil {
		return "", fmt.Errorf("logrotate cannot be installed: %w: %s", err, out)
	}
	return exec.LookPath("/usr/sbin/logrotate")
}

// runLogrotate rotates one file of that kind, for real.
func runLogrotate(f *logfile, r *rand.Rand) (bool, error) {
	if fi, err := os.Stat(f.path); err != nil || fi.Size() == 0 {
		return false, err
	}
	if f.rotate == nil || r.IntN(10) == 0 {
		f.rotate = &rotations[r.IntN(len(rotations))]
	}
	if _, err := os.Stat(f.app() + ".1"); err == nil && f.rotate.name == "create, compress" {
		f.rotate = &delayed // the other one would write over it, read or not
	}
	conf, state := filepath.Join(f.s.root, fmt.Sprintf("logrotate-%d.conf", f.id)), filepath.Join(f.s.root, fmt.Sprintf("logrotate-%d.state", f.id))
	// Rotated files are removed by the harness only, when they have arrived.
	text := fmt.Sprintf("%s {\nrotate 1000\nsu root root\nmissingok\nnotifempty\n%s\n}\n", f.app(), f.rotate.text)
	if os.Geteuid() != 0 {
		text = strings.Replace(text, "su root root\n", "", 1)
	}
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return false, err
	}
	f.s.ledger.change(f.current(), f.s.stamp("logrotate "+f.rotate.name), nil)
	before, err := f.names()
	if err != nil {
		return false, err
	}
	if f.rotate.still {
		if err := f.freshen(true); err != nil {
			return false, err
		}
	}
	if out, err := exec.Command(f.s.logrotate, "-f", "-s", state, conf).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "already exists, skipping rotation") {
			return false, f.freshen(false) // two in a second, which dateext cannot tell apart
		}
		return false, fmt.Errorf("logrotate: %w: %s", err, out)
	}
	old := f.gen
	if !f.rotate.copy {
		if err := f.open(f.app(), false); err != nil {
			return false, err
		}
	}
	last, err := f.scanSince(before, old)
	if err != nil || !f.rotate.copy {
		return true, err
	}
	f.s.ledger.change(f.current(), f.s.stamp(fmt.Sprintf("copied by logrotate up to line %d, truncated", last)), func(g *generation) {
		g.copied = true
		g.cuts = append(g.cuts, last+1)
	})
	return true, nil
}

// names returns the rotated files by name, with the time of their last change.
func (f *logfile) names() (map[string]int64, error) {
	list, err := filepath.Glob(f.app() + "?*")
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, name := range list {
		fi, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		out[name] = fi.ModTime().UnixNano()
	}
	return out, nil
}

// scanSince finds what logrotate has made, and what is in it; it returns the
// highest line of a generation. Older files may have other names now, so all
// that changed are looked at.
func (f *logfile) scanSince(before map[string]int64, gen int) (last int, err error) {
	last = -1
	after, err := f.names()
	if err != nil {
		return last, err
	}
	for name, changed := range after {
		if before[name] == changed {
			continue
		}
		n, err := f.scan(name, gen)
		if err != nil {
			return last, err
		}
		last = max(last, n)
	}
	return last, nil
}
