// Package status shows people, scripts and monitoring what the agent does now:
// over HTTP on a Unix domain socket in the agent's data folder, and as metrics for
// Prometheus also on a TCP port. Nothing can be changed through it.
package status

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"logtail/internal/agent/ledger"
)

// Source is what tells. Both methods are safe for concurrent use and wait for
// nothing but short locks.
type Source interface {
	// Status returns what the agent does. What is known of the process (Running,
	// PID, Version, Since) is added to it.
	Status() Status
	// Files returns all files, in any order. The caller may change the list.
	Files() []File
}

// Status is what the agent does now. Its JSON form is part of the agent's
// interface: fields are added, never changed.
type Status struct {
	Running   bool           `json:"running"`
	PID       int            `json:"pid"`     // of the worker; 0 without one
	Version   string         `json:"version"` // of the program that runs
	Since     time.Time      `json:"since,omitzero"`
	Files     int            `json:"files"`      // that are known
	OpenFiles int            `json:"open_files"` // those that are open
	Held      Held           `json:"held"`
	ReadBytes int64          `json:"read_bytes"` // raw bytes that became records, since the start
	Logs      int64          `json:"logs"`       // made of them
	Counts    []ledger.Entry `json:"counts"`     // what did not arrive as it was written, since the pipelines were first applied
	// Destinations, Pipelines and Buffer count from the start.
	Destinations []Destination `json:"destinations"`
	Buffer       Buffer        `json:"buffer"`
	Pipelines    []Pipeline    `json:"pipelines"`
}

// Held are the files that are gone from their paths and kept open, as they
// have bytes that are not delivered.
type Held struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"` // not delivered
}

// Destination is where flushers send to.
type Destination struct {
	Name             string `json:"name"`
	State            string `json:"state"` // "ok", or in a few words what it waits for
	QueuedPackages   int    `json:"queued_packages"`
	QueuedBytes      int64  `json:"queued_bytes"` // of memory
	BufferedPackages int    `json:"buffered_packages"`
	BufferedBytes    int64  `json:"buffered_bytes"` // in the disk buffer
	DeliveredLogs    int64  `json:"delivered_logs"`
	DeliveredBytes   int64  `json:"delivered_bytes"` // raw bytes of the files
	Requests         int64  `json:"requests"`
	Failures         int64  `json:"failures"`
	Concurrency      int    `json:"concurrency"` // requests that may be in flight
	Error            string `json:"error"`       // of the last failure, while it fails
}

// Buffer is the disk buffer.
type Buffer struct {
	Files   int       `json:"files"`
	Bytes   int64     `json:"bytes"`
	Records int       `json:"records"`
	Oldest  time.Time `json:"oldest,omitzero"` // when the oldest record was buffered
}

// Pipeline is one configuration at work.
type Pipeline struct {
	Name      string `json:"name"`
	Files     int    `json:"files"`
	ReadBytes int64  `json:"read_bytes"` // text of the records that were found
	Records   int64  `json:"records"`
	Logs      int64  `json:"logs"` // those of them that were kept
}

// The states of a file.
const (
	FileIdle    = "idle"    // everything is delivered
	FileBusy    = "busy"    // it has bytes that are not delivered
	FilePending = "pending" // it was there before its pipeline; it is collected once it is modified
	FileWaiting = "waiting" // the file that was at its path before comes first
	FileHeld    = "held"    // it is gone from its path, and kept open for bytes that are not delivered
	FileEnded   = "ended"   // it was truncated or deleted; what was read of it is being delivered
	FileStopped = "stopped" // other agents collect it now
	FileHangs   = "hangs"   // it is being read, and its disk does not answer; only its path is known
	FileGone    = "gone"    // without an agent: it is not at its path
)

// File is one file in one pipeline.
type File struct {
	Pipeline string  `json:"pipeline"`
	Path     string  `json:"path"`
	Stream   string  `json:"stream"` // its id at the destinations
	Dev      uint64  `json:"dev"`
	Inode    uint64  `json:"inode"`
	Birth    int64   `json:"birth"`      // unix nanoseconds; 0 = the file system does not tell
	Size     int64   `json:"size"`       // bytes, when it was last looked at
	Offset   uint64  `json:"offset"`     // up to which it is read
	Acked    Offsets `json:"acked"`      // up to which each flusher's destination has it
	Lag      int64   `json:"lag"`        // bytes that some destination does not have yet
	Held     int64   `json:"held_bytes"` // those of a file that is kept open for them
	State    string  `json:"state"`      // one of the File words
	Seen     int64   `json:"seen"`       // when it last changed, in unix seconds; 0 = not known
}

// SetLag sets Lag from the other fields: what the slowest destination lacks of
// all that the file has or had.
func (f *File) SetLag() {
	f.Lag = 0
	if f.State == FilePending || f.State == FileStopped {
		return
	}
	end := max(uint64(max(f.Size, 0)), f.Offset)
	if f.State == FileEnded { // nothing more is read
		end = f.Offset
	}
	low := end
	for _, o := range f.Acked {
		low = min(low, o.End)
	}
	if len(f.Acked) == 0 { // no destination has been asked yet
		low = min(low, f.Offset)
	}
	f.Lag = int64(end - low)
}

// Offsets are places by flusher. In JSON they are an object; a list takes a
// tenth of a map's memory, and there may be 100,000 files.
type Offsets []Offset

// Offset is the place of one flusher.
type Offset struct {
	Flusher string
	End     uint64
}

// MarshalJSON writes an object in the order of the list.
func (o Offsets) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, f := range o {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(f.Flusher)
		if err != nil {
			return nil, err
		}
		b = fmt.Appendf(append(b, name...), ":%d", f.End)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads an object and keeps its order.
func (o *Offsets) UnmarshalJSON(text []byte) error {
	*o = nil
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.Join(errors.New("offsets are no object"), err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		f := Offset{Flusher: fmt.Sprint(name)}
		if err := d.Decode(&f.End); err != nil {
			return err
		}
		*o = append(*o, f)
	}
	return nil
}
