package segment

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

const (
	manifestName    = "manifest.json"
	manifestVersion = 1
	dataSuffix      = ".parquet"
	sidecarSuffix   = ".idx"
	tmpSuffix       = ".tmp"
	badSuffix       = ".bad"
)

// seqRange is From <= seq < To.
type seqRange struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

func (r seqRange) contains(seq uint64) bool { return r.From <= seq && seq < r.To }

// segmentMeta is a segment in the manifest. It holds enough to pass over a
// segment without opening it.
type segmentMeta struct {
	ID uint64 `json:"id"`
	seqRange
	Rows        int   `json:"rows"`
	MinTime     int64 `json:"min_time"` // unix nanoseconds
	MaxTime     int64 `json:"max_time"`
	MaxReceived int64 `json:"max_received"` // unix nanoseconds
	RawBytes    int64 `json:"raw_bytes"`    // about what the rows take in memory
	DataBytes   int64 `json:"data_bytes"`
	IndexBytes  int64 `json:"index_bytes"`
}

func (m *segmentMeta) dataFile(dir string) string {
	return filepath.Join(dir, segmentName(m.ID)+dataSuffix)
}

func (m *segmentMeta) sidecarFile(dir string) string {
	return filepath.Join(dir, segmentName(m.ID)+sidecarSuffix)
}

func segmentName(id uint64) string { return fmt.Sprintf("seg-%016x", id) }

// segmentID is the inverse of segmentName.
func segmentID(name string) (uint64, bool) {
	var id uint64
	if len(name) != len("seg-")+16 || name[:4] != "seg-" {
		return 0, false
	}
	id, err := strconv.ParseUint(name[4:], 16, 64)
	return id, err == nil && segmentName(id) == name
}

// lostSegment is a segment that was put aside: its sequences have to be applied
// again, and until then searches in its times are not complete.
type lostSegment struct {
	seqRange
	MinTime int64 `json:"min_time"`
	MaxTime int64 `json:"max_time"`
}

// manifest is the state of a shard on disk: the index holds every sequence
// below Next but for those of Lost, in Segments.
type manifest struct {
	Next     uint64        `json:"next"`
	NextID   uint64        `json:"next_id"` // of the next segment
	Segments []segmentMeta `json:"segments"`
	Lost     []lostSegment `json:"lost,omitempty"`
}

// position is where the shard log has to be read from after a start.
func (m *manifest) position() uint64 {
	pos := m.Next
	for _, l := range m.Lost {
		pos = min(pos, l.From)
	}
	return pos
}

// covers says whether the segments hold the sequence.
func (m *manifest) covers(seq uint64) bool {
	if seq >= m.Next {
		return false
	}
	for _, l := range m.Lost {
		if l.contains(seq) {
			return false
		}
	}
	return true
}

// anyLost says whether a sequence of the range is lost.
func (m *manifest) anyLost(r seqRange) bool {
	return slices.ContainsFunc(m.Lost, func(l lostSegment) bool { return max(l.From, r.From) < min(l.To, r.To) })
}

// regain takes a range out of what is lost.
func (m *manifest) regain(r seqRange) {
	var lost []lostSegment
	for _, l := range m.Lost {
		for _, part := range []seqRange{{l.From, min(l.To, r.From)}, {max(l.From, r.To), l.To}} {
			if part.From < part.To {
				lost = append(lost, lostSegment{part, l.MinTime, l.MaxTime})
			}
		}
	}
	m.Lost = lost
}

// lose takes a segment out that cannot be read.
func (m *manifest) lose(s *segmentMeta) {
	m.Segments = slices.DeleteFunc(slices.Clone(m.Segments), func(o segmentMeta) bool { return o.ID == s.ID })
	m.Lost = append(slices.Clone(m.Lost), lostSegment{s.seqRange, s.MinTime, s.MaxTime})
}

func (m *manifest) clone() manifest {
	return manifest{Next: m.Next, NextID: m.NextID, Segments: slices.Clone(m.Segments), Lost: slices.Clone(m.Lost)}
}

// manifestFile is the form on disk: the checksum is the xxhash64 of the bytes
// of the manifest, as written.
type manifestFile struct {
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"`
	Manifest json.RawMessage `json:"manifest"`
}

func (m *manifest) encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return json.Marshal(manifestFile{manifestVersion, fmt.Sprintf("%016x", xxhash.Sum64(body)), body})
}

// decodeManifest checks and reads a manifest. Every error is an errCorrupt.
func decodeManifest(b []byte) (*manifest, error) {
	var f manifestFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, corruptf("the manifest does not decode: %v", err)
	}
	if f.Version != manifestVersion {
		return nil, corruptf("the manifest has version %d, which this program does not know", f.Version)
	}
	if got := fmt.Sprintf("%016x", xxhash.Sum64(f.Manifest)); got != f.Checksum {
		return nil, corruptf("the checksum of the manifest is %s, not %s", got, f.Checksum)
	}
	var m manifest
	dec := json.NewDecoder(bytes.NewReader(f.Manifest))
	if err := dec.Decode(&m); err != nil {
		return nil, corruptf("the manifest does not decode: %v", err)
	}
	ids := map[uint64]bool{}
	for _, s := range m.Segments {
		if ids[s.ID] || s.ID >= m.NextID || s.Rows <= 0 || s.From >= s.To || s.To > m.Next || s.MinTime > s.MaxTime {
			return nil, corruptf("the manifest contradicts itself on segment %d", s.ID)
		}
		ids[s.ID] = true
	}
	for _, l := range m.Lost {
		if l.From >= l.To || l.To > m.Next {
			return nil, corruptf("the manifest contradicts itself on the lost sequences from %d", l.From)
		}
	}
	return &m, nil
}

// writeManifest publishes a state of the shard. When it fails, either the old
// or the new state may be on disk.
func (x *Index) writeManifest(dir string, m *manifest) error {
	b, err := m.encode()
	if err != nil {
		return err
	}
	err = x.writeFileAtomic(filepath.Join(dir, manifestName), func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return err
	}
	return x.syncDir(dir)
}

// rebuildManifest makes a manifest from the sidecars of a folder whose own is
// damaged. Of segments that hold the same sequences (a merge and its sources)
// the one with the most counts.
func rebuildManifest(dir string) (*manifest, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	m := &manifest{Next: 1, NextID: 1}
	var found []segmentMeta
	for _, e := range entries {
		name := e.Name()
		base, ext := name, filepath.Ext(name)
		if ext == badSuffix {
			base = base[:len(base)-len(ext)]
			ext = filepath.Ext(base)
		}
		id, ok := segmentID(base[:len(base)-len(ext)])
		if !ok {
			continue
		}
		m.NextID = max(m.NextID, id+1)
		if filepath.Ext(name) != sidecarSuffix {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		s, err := decodeSidecar(b)
		if err != nil || s.rows == 0 || s.from >= s.to {
			continue
		}
		meta := s.meta(id, int64(len(b)))
		if info, err := os.Stat(meta.dataFile(dir)); err != nil || info.Size() != s.dataSize {
			continue
		}
		found = append(found, meta)
	}
	slices.SortFunc(found, func(a, b segmentMeta) int {
		if a.From != b.From {
			return cmp.Compare(a.From, b.From)
		}
		return cmp.Compare(b.To, a.To)
	})
	for _, s := range found {
		if s.From < m.Next {
			continue // within one that is taken already
		}
		if s.From > m.Next {
			m.Lost = append(m.Lost, lostSegment{seqRange{m.Next, s.From}, 0, maxRowTime})
		}
		m.Segments = append(m.Segments, s)
		m.Next = s.To
	}
	return m, nil
}

func (s *sidecar) meta(id uint64, size int64) segmentMeta {
	return segmentMeta{
		ID: id, seqRange: seqRange{s.from, s.to}, Rows: s.rows, MinTime: s.minTime, MaxTime: s.maxTime,
		MaxReceived: s.maxReceived, RawBytes: s.rawBytes, DataBytes: s.dataSize, IndexBytes: size,
	}
}
