//go:build linux

package soak

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// What happens to files. Each returns whether it could be done now; an error
// ends the run, as it is the harness's own.

// mayLeave says whether the present file may be renamed: a file that leaves the
// pattern before it was ever seen never belonged to it.
func (f *logfile) mayLeave() bool { return f.kind != narrow || f.seen(f.gen) }

// shift moves the chain up by one, so that app.log.1 is free.
func (f *logfile) shift() error {
	for i := len(f.chain) - 1; i >= 0; i-- {
		r := f.chain[i]
		to := fmt.Sprintf("%s.%d%s", f.app(), i+2, suffix(r))
		if err := os.Rename(r.path, to); err != nil {
			return err
		}
		r.path = to
	}
	return nil
}

func suffix(r *rotated) string {
	if r.packed {
		return filepath.Ext(r.path)
	}
	return ""
}

// chainOn is logrotate's usual way: app.log becomes app.log.1, that app.log.2, and so on.
func chainOn(f *logfile, r *rand.Rand) (bool, error) {
	for range 1 + r.IntN(3) {
		if f.path != f.app() || !f.mayLeave() {
			return false, nil
		}
		if err := f.shift(); err != nil {
			return false, err
		}
		to := f.app() + ".1"
		if err := os.Rename(f.path, to); err != nil {
			return false, err
		}
		f.s.ledger.change(f.current(), f.s.stamp("renamed to "+filepath.Base(to)), nil)
		f.chain = append([]*rotated{{path: to, gen: f.gen, upto: -1}}, f.chain...)
		pauseFor(time.Duration(r.IntN(100)) * time.Millisecond)
		if err := f.open(f.app(), r.IntN(8) == 0); err != nil {
			return false, err
		}
	}
	return true, nil
}

// renameAway gives the file another name; its writer goes on in it for a while.
func renameAway(f *logfile, r *rand.Rand) (bool, error) {
	if f.path != f.app() || !f.mayLeave() {
		return false, nil
	}
	f.serial++
	to := fmt.Sprintf("%s-%06d", f.app(), f.serial)
	if err := os.Rename(f.path, to); err != nil {
		return false, err
	}
	f.s.ledger.change(f.current(), f.s.stamp("renamed to "+filepath.Base(to)), nil)
	f.others = append(f.others, &rotated{path: to, gen: f.gen, upto: -1})
	f.busy = true
	torn := r.IntN(8) == 0
	f.s.after(time.Duration(r.IntN(1500))*time.Millisecond, func() error {
		f.busy = false
		return f.open(f.app(), torn)
	})
	return true, nil
}

// dateStamp makes the program itself begin a file of another name.
func dateStamp(f *logfile, r *rand.Rand) (bool, error) {
	if f.kind == narrow {
		return false, nil
	}
	f.serial++
	f.others = append(f.others, &rotated{path: f.path, gen: f.gen, upto: -1})
	f.s.ledger.change(f.current(), f.s.stamp("left"), nil)
	if f.path == f.app() { // the name is needed again
		to := fmt.Sprintf("%s-%06d-left", f.app(), f.serial)
		if err := os.Rename(f.path, to); err != nil {
			return false, err
		}
		f.others[len(f.others)-1].path = to
	}
	name := fmt.Sprintf("app-%s-%d.log", time.Now().Format("20060102T150405"), f.serial)
	if r.IntN(3) == 0 { // back to the plain name
		return true, f.open(f.app(), false)
	}
	return true, f.open(filepath.Join(f.dir, name), r.IntN(8) == 0)
}

// copyTruncate copies the file while it is written, waits a little, and
// truncates it. What is written between is in no file.
func copyTruncate(f *logfile, r *rand.Rand) (bool, error) {
	if f.kind == narrow && !f.seen(f.gen) {
		return false, nil
	}
	to := f.app() + ".1"
	if f.path != f.app() { // a copy is called after its original, or nobody can tell what it is
		f.serial++
		to = fmt.Sprintf("%s.%d", f.path, f.serial)
	} else if err := f.shift(); err != nil {
		return false, err
	}
	if err := copyFile(f.path, to); err != nil {
		return false, err
	}
	pauseFor(time.Duration(r.IntN(60)) * time.Millisecond)
	if err := os.Truncate(f.path, 0); err != nil {
		return false, err
	}
	c := &rotated{path: to, gen: f.gen, closed: true}
	if f.path == f.app() {
		f.chain = append([]*rotated{c}, f.chain...)
	} else {
		f.others = append(f.others, c)
	}
	return true, f.copied(c)
}

// copied notes what a copy has that was made before its original was truncated.
func (f *logfile) copied(c *rotated) error {
	last, err := f.scan(c.path, f.gen)
	if err != nil {
		return err
	}
	c.upto = last + 1
	f.s.ledger.change(f.current(), f.s.stamp(fmt.Sprintf("copied up to line %d, truncated", last)), func(g *generation) {
		g.copied = true
		g.cuts = append(g.cuts, last+1)
	})
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// compressOld compresses a rotated file with gzip or zstd, as soon as nobody writes to it.
func compressOld(f *logfile, r *rand.Rand) (bool, error) {
	if f.kind == narrow && len(f.chain) == 0 {
		return false, nil
	}
	for _, o := range f.all() {
		if !o.closed || o.packed {
			continue
		}
		tool, ext := "gzip", ".gz"
		if _, err := exec.LookPath("zstd"); err == nil && r.IntN(2) == 0 {
			tool, ext = "zstd", ".zst"
		}
		args := []string{"-q", "-f", o.path}
		if tool == "zstd" {
			args = append([]string{"--rm"}, args...)
		}
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			return false, fmt.Errorf("%s: %w: %s", tool, err, out)
		}
		o.path, o.packed = o.path+ext, true
		f.s.ledger.change(genID{f.id, o.gen}, f.s.stamp("compressed to "+filepath.Base(o.path)), nil)
		return true, nil
	}
	return false, nil
}

// deleteRead deletes rotated files that have arrived.
func deleteRead(f *logfile, _ *rand.Rand) (bool, error) {
	return f.remove(false)
}

// deleteUnread deletes the oldest rotated file whatever has become of it.
func deleteUnread(f *logfile, _ *rand.Rand) (bool, error) {
	return f.remove(true)
}

// knownTime is how long the agent has at least to see a file and to store its size.
const knownTime = 3 * time.Second

// known says whether the agent can know how large a file became: it cannot count what it
// has not seen, or has forgotten because it was killed.
func (f *logfile) known(o *rotated) bool {
	return f.seen(o.gen) && time.Since(o.since) > knownTime && time.Since(f.s.shaken) > knownTime
}

func (f *logfile) remove(unread bool) (done bool, err error) {
	gone := func(o *rotated) bool {
		if !o.closed || err != nil || unread && done {
			return false
		}
		there := f.arrived(o.gen, o.upto)
		if !there && (!unread || o.upto >= 0 || !f.known(o)) {
			return false
		}
		if err = os.Remove(o.path); err != nil {
			return false
		}
		f.s.ledger.change(genID{f.id, o.gen}, f.s.stamp("deleted "+filepath.Base(o.path)), func(g *generation) { g.deleted = g.deleted || !there })
		done = true
		return true
	}
	for len(f.chain) > 0 && gone(f.chain[len(f.chain)-1]) {
		f.chain = f.chain[:len(f.chain)-1]
	}
	for i := 0; i < len(f.others); i++ {
		if gone(f.others[i]) {
			f.others = append(f.others[:i], f.others[i+1:]...)
			i--
		}
	}
	return done, err
}

// quiet pauses the writer and says whether all that it wrote has arrived; if
// not, it goes on.
func (f *logfile) quiet() (bool, error) {
	if err := f.freshen(true); err != nil {
		return false, err
	}
	if err := f.scanIfCopied(f.current(), f.path); err != nil {
		return false, err
	}
	deadline := time.Now().Add(time.Second)
	for !f.arrived(f.gen, -1) {
		if time.Now().After(deadline) {
			return false, f.freshen(false)
		}
		pauseFor(100 * time.Millisecond)
	}
	return true, nil
}

// recreate deletes the file, which has arrived, and makes it again at once: its
// inode is used again.
func recreate(f *logfile, _ *rand.Rand) (bool, error) {
	if ok, err := f.quiet(); !ok || err != nil {
		return false, err
	}
	f.s.ledger.change(f.current(), f.s.stamp("deleted and made again"), nil)
	if err := os.Remove(f.path); err != nil {
		return false, err
	}
	return true, f.open(f.path, false)
}

// truncate empties the file, which has arrived.
func truncate(f *logfile, _ *rand.Rand) (bool, error) {
	if ok, err := f.quiet(); !ok || err != nil {
		return false, err
	}
	f.s.ledger.change(f.current(), f.s.stamp("truncated"), nil)
	if err := os.Truncate(f.path, 0); err != nil {
		return false, err
	}
	f.gen++
	f.inside = []int{f.gen}
	if err := f.tell(order{Op: "renumber", Gen: f.gen}); err != nil {
		return false, err
	}
	f.s.ledger.change(f.current(), f.s.stamp("begun in "+filepath.Base(f.path)), nil)
	return true, nil
}

// edit replaces the file by one with the same content under the same name, as
// editors do, and the writer goes on in that. A file of another inode is another
// file, by the documented rule, so what is in it was written once more.
func edit(f *logfile, _ *rand.Rand) (bool, error) {
	f.s.ledger.mu.Lock()
	copied := f.s.ledger.gen(f.current()).copied
	f.s.ledger.mu.Unlock()
	if copied { // the file has not all of its generation
		return false, nil
	}
	if ok, err := f.quiet(); !ok || err != nil {
		return false, err
	}
	swap := filepath.Join(f.dir, ".swap")
	if err := copyFile(f.path, swap); err != nil {
		return false, err
	}
	inside := f.inside
	for _, gen := range inside {
		f.s.ledger.change(genID{f.id, gen}, f.s.stamp("written again by an editor"), func(g *generation) { g.again++ })
	}
	if err := os.Rename(swap, f.path); err != nil {
		return false, err
	}
	err := f.open(f.path, false)
	f.inside = append(inside, f.inside...)
	return true, err
}

// hardLink gives the file a second name that matches too, or takes it away.
func hardLink(f *logfile, _ *rand.Rand) (bool, error) {
	second := filepath.Join(f.dir, "second.log")
	if err := os.Remove(second); !errors.Is(err, os.ErrNotExist) {
		return err == nil, err
	}
	f.s.ledger.change(f.current(), f.s.stamp("linked as second.log"), nil)
	return true, os.Link(f.path, second)
}

// repoint makes the symbolic link lead to a new file.
func repoint(f *logfile, _ *rand.Rand) (bool, error) {
	if !f.seen(f.gen) {
		return false, nil
	}
	old := f.path
	f.s.ledger.change(f.current(), f.s.stamp("the link leads to another file"), nil)
	f.others = append(f.others, &rotated{path: old, gen: f.gen, upto: -1})
	return true, f.link()
}

// link makes a new target, and the link that leads to it.
func (f *logfile) link() error {
	f.serial++
	target := filepath.Join(f.dir, fmt.Sprintf("target-%d", f.serial))
	if err := f.open(target, false); err != nil {
		return err
	}
	swap := filepath.Join(f.dir, ".swap")
	if err := os.Symlink(filepath.Base(target), swap); err != nil {
		return err
	}
	return os.Rename(swap, f.app())
}

// renameDir renames the folder, and makes it again for the writer to go on in.
func renameDir(f *logfile, r *rand.Rand) (bool, error) {
	if f.path != f.app() || f.kind == narrow {
		return false, nil
	}
	f.serial++
	to := fmt.Sprintf("%s-was-%d", f.dir, f.serial)
	if err := os.Rename(f.dir, to); err != nil {
		return false, err
	}
	move := func(o *rotated) *rotated {
		o.path = filepath.Join(to, filepath.Base(o.path))
		return o
	}
	f.others = append(f.others, f.chain...)
	f.chain = nil
	for _, o := range f.others {
		if filepath.Dir(o.path) == f.dir {
			move(o)
		}
	}
	f.others = append(f.others, move(&rotated{path: f.path, gen: f.gen, upto: -1}))
	f.s.ledger.change(f.current(), f.s.stamp("its folder became "+filepath.Base(to)), nil)
	if err := os.Mkdir(f.dir, 0o755); err != nil {
		return false, err
	}
	f.busy = true
	f.s.after(time.Duration(r.IntN(600))*time.Millisecond, func() error {
		f.busy = false
		return f.open(f.app(), false)
	})
	return true, nil
}

// remakeDir deletes the folder with all in it, which has arrived, and makes it again.
func remakeDir(f *logfile, _ *rand.Rand) (bool, error) {
	if f.path != f.app() {
		return false, nil
	}
	if ok, err := f.quiet(); !ok || err != nil {
		return false, err
	}
	for _, o := range f.all() {
		if !o.closed || !f.arrived(o.gen, o.upto) {
			return false, f.freshen(false)
		}
	}
	f.s.ledger.change(f.current(), f.s.stamp("its folder was removed and made again"), nil)
	if err := os.RemoveAll(f.dir); err != nil {
		return false, err
	}
	for _, o := range f.others {
		os.Remove(o.path) // of a folder that was renamed
	}
	f.chain, f.others = nil, nil
	if err := os.Mkdir(f.dir, 0o755); err != nil {
		return false, err
	}
	return true, f.open(f.app(), false)
}

// pauseFor lets time pass: the schedule's own, not a wait for something.
func pauseFor(d time.Duration) { <-time.After(d) }
