package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	fileName = "state.db"
	// newName is a file in the making. It takes the state's place by being renamed.
	newName   = "state.db.new"
	asideName = "state.db.damaged-" // and the unix time
	maxAside  = 5                   // damaged files that are kept; more would fill the disk
)

// ready makes sure that there is a whole file of this format: it makes one,
// brings an older one to this format, or heals a damaged one. The folder is
// locked.
func (s *Store) ready() (Opened, error) {
	if err := s.finishRename(); err != nil {
		return Opened{}, err
	}
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Opened{}, s.replace(&salvaged{}, nil)
	} else if err != nil {
		return Opened{}, err
	}
	defer f.Close()
	if err := lockFile(f, false, lockTimeout); err != nil { // an agent of an older version locks only this one
		return Opened{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return Opened{}, err
	}
	if info.Size() == 0 {
		f.Close()
		return Opened{}, s.replace(&salvaged{}, nil)
	}
	v := check(f, info.Size())
	switch {
	case v.version > version:
		return Opened{}, fmt.Errorf("%s was written by a newer logtail (format %d, this one reads %d); update logtail, or choose another folder with --data", s.path, v.version, version)
	case len(v.faults) > 0:
		saved := salvage(f, info.Size())
		f.Close()
		return s.heal(&v, saved)
	case v.version < version:
		saved := salvage(f, info.Size())
		f.Close()
		if saved.missing != 0 { // whole pages, but a record that cannot be read
			v.fault("%s cannot be read", strings.Join(saved.lost, ", "))
			return s.heal(&v, saved)
		}
		return Opened{Migrated: v.version}, s.replace(saved, nil)
	}
	opened := Opened{Stepped: v.torn}
	if v.report != nil {
		opened = *v.report // it could not be told before
	}
	return opened, nil
}

// finishRename ends a healing in whose midst the process ended: the damaged
// file was put aside and the healed one was not yet in its place.
func (s *Store) finishRename() error {
	made := filepath.Join(s.dir, newName)
	f, err := os.Open(made)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	info, err := f.Stat()
	whole := err == nil && len(check(f, info.Size()).faults) == 0
	f.Close()
	if _, err := os.Stat(s.path); whole && errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(made, s.path); err != nil {
			return err
		}
		return syncDir(s.dir)
	}
	return os.Remove(made)
}

// heal puts the damaged file aside and a new one with what could be read into
// its place. The report is in the new file, so that a crash does not make it silent.
func (s *Store) heal(v *verdict, saved *salvaged) (Opened, error) {
	o := Opened{
		Aside: s.aside(), Cause: v.cause(), Salvaged: saved.found, Older: saved.older,
		Lost: saved.lost, LostRecords: saved.missing, FirstScans: saved.marks, Stepped: saved.stepped || v.torn,
		Anew: len(saved.records[inStreams])+len(saved.records[inPipelines]) == 0,
	}
	if err := s.replace(saved, &o); err != nil {
		return o, fmt.Errorf("%s is damaged (%s) and cannot be healed: %w", s.path, o.Cause, err)
	}
	s.healed = true
	s.dropOldAside()
	return o, nil
}

func (v *verdict) cause() string {
	text := strings.Join(v.faults, "; ")
	if v.more > 0 {
		text += fmt.Sprintf("; and %d more", v.more)
	}
	return text
}

// aside returns a name for the damaged file: with the time, or a later one, so that the newest comes last.
func (s *Store) aside() string {
	at := time.Now().Unix()
	if list := s.allAside(); len(list) > 0 {
		if last, err := strconv.ParseInt(strings.TrimPrefix(filepath.Base(list[len(list)-1]), asideName), 10, 64); err == nil {
			at = max(at, last+1)
		}
	}
	return fmt.Sprintf("%s%d", filepath.Join(s.dir, asideName), at)
}

// allAside are the damaged files that were put aside, the oldest first.
func (s *Store) allAside() []string {
	entries, _ := os.ReadDir(s.dir)
	var list []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), asideName) {
			list = append(list, filepath.Join(s.dir, e.Name()))
		}
	}
	slices.Sort(list)
	return list
}

// dropOldAside removes the oldest damaged files; that it fails does no harm.
func (s *Store) dropOldAside() {
	for list := s.allAside(); len(list) > maxAside; list = list[1:] {
		_ = os.Remove(list[0])
	}
}

// replace makes a new file and puts it into the state's place: at any moment
// there is either the old one or the new one, or, while a damaged one is put
// aside, the finished new one under its first name.
func (s *Store) replace(saved *salvaged, report *Opened) error {
	made := filepath.Join(s.dir, newName)
	if err := build(made, saved, report); err != nil {
		_ = os.Remove(made)
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	if report != nil {
		if err := os.Rename(s.path, report.Aside); err != nil {
			return err
		}
		if err := syncDir(s.dir); err != nil {
			return err
		}
	}
	if err := os.Rename(made, s.path); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// build writes a file of this format and syncs it.
func build(path string, saved *salvaged, report *Opened) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout, FreelistType: bolt.FreelistMapType, NoSync: true})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		t, err := makeTxn(tx)
		if err != nil {
			return err
		}
		for b := range saved.records {
			for _, key := range slices.Sorted(maps.Keys(saved.records[b])) {
				if err := t.put(bucket(b), []byte(key), saved.records[b][key].payload); err != nil {
					return err
				}
			}
		}
		if report != nil {
			text, err := json.Marshal(report)
			if err != nil {
				return err
			}
			if err := t.meta.Put([]byte(keyReport), seal(nil, metaBucket, []byte(keyReport), t.sums.commit, text)); err != nil {
				return err
			}
		}
		return t.finish()
	})
	if err == nil {
		err = db.Sync()
	}
	return errors.Join(err, db.Close())
}

// Alarm is what the agent says of what Open found, as the text of a
// CHECKPOINT_ALARM; "" if there is nothing to say.
func (o Opened) Alarm() string {
	if o.Aside == "" {
		if o.Stepped {
			return "the agent's state was read as of the last commit but one, as the mark of the last one is damaged; the destinations' own progress makes up for it, where they have one"
		}
		return ""
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "the agent's state was damaged (%s) and was put aside as %s; %d records were saved", o.Cause, o.Aside, o.Salvaged)
	if o.Older > 0 {
		fmt.Fprintf(&b, ", %d of them as older copies", o.Older)
	}
	switch {
	case o.Anew:
		b.WriteString("; nothing is known of any file, so the rules of a first contact apply again: idle files are not collected, large ones from one megabyte before their end, and logs may be repeated or missing")
		return b.String()
	case o.LostRecords < 0:
		b.WriteString("; an unknown number of records is lost")
	case o.LostRecords > 0:
		fmt.Fprintf(&b, "; %d records are lost", o.LostRecords)
	default:
		b.WriteString("; nothing is lost")
	}
	if o.Stepped {
		b.WriteString(", but what the last commit removed may be back")
	}
	if len(o.Lost) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(o.Lost, ", "))
	}
	if o.LostRecords != 0 {
		b.WriteString("; a file whose stream is lost is read again from its first byte")
	}
	if o.FirstScans {
		b.WriteString("; pipelines whose mark is lost are scanned as for the first time: idle files that are not known are not collected, large ones from one megabyte before their end")
	}
	return b.String()
}
