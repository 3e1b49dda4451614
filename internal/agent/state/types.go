package state

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"logtail/internal/agent/ledger"
	"logtail/internal/delivery"
)

// Stream is what the agent knows of one stream.
type Stream struct {
	ID       delivery.StreamID `json:"-"`
	Pipeline string            `json:"pipeline"`
	Path     string            `json:"path"`           // where the file was last seen
	Origin   string            `json:"from,omitempty"` // where it was first seen, if that was elsewhere
	Real     string            `json:"real,omitempty"` // the path behind symbolic links, if it differs from Path
	Dev      uint64            `json:"dev"`
	Inode    uint64            `json:"ino"`
	Birth    int64             `json:"birth,omitempty"` // unix nanoseconds; 0 = the file system does not tell
	HeadLen  int               `json:"hlen,omitempty"`  // bytes that Head covers
	Head     uint64            `json:"head,omitempty"`  // hash of the first HeadLen bytes
	// Compressed is "gzip" or "zstd" when the stream's file itself is
	// compressed; offsets are then those of the content.
	Compressed string `json:"zip,omitempty"`
	// Pending: the file was there at the pipeline's first scan and has not been
	// modified since, so nothing of it is collected until it is.
	Pending bool `json:"pending,omitempty"`
	// Sealed: the file is a copy that ends before what was read of the original.
	Sealed bool `json:"sealed,omitempty"`
	// Copy: the file is a copy that was made of the original, and will not grow.
	Copy bool `json:"copy,omitempty"`
	// Ended says why nothing more is read: the file was truncated or deleted.
	// [checkpoint, High) of a lane was read and cannot be read again.
	Ended delivery.Reason `json:"ended,omitempty"`
	// Size and Mtime (unix nanoseconds) are what a Pending file had then.
	Size  int64 `json:"size,omitempty"`
	Mtime int64 `json:"mtime,omitempty"`
	// Base is where collection started (not 0 after a first contact with a large file).
	Base     uint64 `json:"base,omitempty"`
	BaseHash uint64 `json:"bhash,omitempty"` // delivery.TailHash before Base
	// High is the furthest that was read, where the stream has ended.
	High uint64 `json:"high,omitempty"`
	// SizeSeen is the largest size that the file was seen to have, in bytes.
	SizeSeen uint64 `json:"most,omitempty"`
	// Marks are some places that were read, by which a copy that ends early is known.
	Marks []Mark `json:"marks,omitempty"`
	// Missed is how many bytes nobody has read of a file that was truncated, as long as they
	// are not counted: a copy may be found that has them.
	Missed uint64 `json:"missed,omitempty"`
	// Born is when the stream was made, in unix nanoseconds.
	Born int64 `json:"born,omitempty"`
	// Seen is when the file was last seen to change, in unix seconds.
	Seen  int64 `json:"seen"`
	Lanes Lanes `json:"lanes,omitempty"`
	// IDs are the ids that the stream has for single flushers, by their names, where their
	// destinations had other content under ID.
	IDs map[string]delivery.StreamID `json:"ids,omitempty"`
	// Was are earlier ids of the stream; the disk buffer may hold records of their lanes.
	Was []delivery.StreamID `json:"was,omitempty"`
}

// Tomb is what stays of a stream that ended: enough to know a copy of its
// file, or the compressed file that it became, when that appears.
type Tomb struct {
	Pipeline string `json:"pipeline"`
	Dir      string `json:"dir"`            // the folder that the file was in
	HeadLen  int    `json:"hlen,omitempty"` // bytes that Head covers
	Head     uint64 `json:"head,omitempty"` // hash of the first HeadLen bytes
	End      uint64 `json:"end"`            // offset up to which the content was delivered
	Tail     uint64 `json:"tail,omitempty"` // delivery.TailHash before End
	At       int64  `json:"at"`             // unix seconds
	Marks    []Mark `json:"marks,omitempty"`
}

// Mark is a place in a file's content.
type Mark struct {
	End  uint64 `json:"end"`
	Hash uint64 `json:"hash"` // delivery.TailHash before End
}

// key sorts tombstones by their age.
func (t *Tomb) key() []byte {
	var b []byte
	b = binary.BigEndian.AppendUint64(b, uint64(t.At))
	h := xxhash.New()
	_, _ = h.WriteString(t.Pipeline)
	_, _ = h.WriteString("\x00" + t.Dir + "\x00")
	for _, n := range []uint64{uint64(t.HeadLen), t.Head, t.End, t.Tail} {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, n))
	}
	return h.Sum(b)
}

// Hint is where another agent stood in a file, for the agent to go on from
// when it meets the file for the first time.
type Hint struct {
	Path   string `json:"path"`          // where the other agent saw the file
	Dev    uint64 `json:"dev,omitempty"` // 0 with Inode 0: the file is known by its path alone
	Inode  uint64 `json:"ino,omitempty"`
	Offset uint64 `json:"off"`            // bytes
	Hash   uint64 `json:"hash,omitempty"` // delivery.TailHash before Offset at the time of the import
	From   string `json:"by"`             // the other agent: "filebeat", "fluent-bit" or "loongcollector"
	At     int64  `json:"at"`             // when it was imported, unix seconds
}

func (h *Hint) key() []byte {
	if h.Inode == 0 {
		return append([]byte{'p'}, h.Path...)
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{'i'}, h.Dev), h.Inode)
}

// Seq is what exactly-once on real SLS keeps of a lane: the hash key that it
// writes with, the place up to which it is committed, and what may have arrived
// beyond that.
type Seq struct {
	Key  string `json:"key"`  // 32 hex digits
	Next uint64 `json:"next"` // the sequence number of Pend[0], or of what is sent next
	SeqPlace
	// Pend are ranges that were prepared and of which no answer is known yet, in
	// order: each begins where the one before it ends, or behind a range without
	// logs, and has the next sequence number.
	Pend []SeqIntent `json:"pending,omitempty"`
	Time int64       `json:"time,omitempty"` // unix seconds of the last change
}

// SeqPlace is a place in a lane, as in delivery.Point.
type SeqPlace struct {
	End   uint64 `json:"end"`
	Hash  uint64 `json:"hash,omitempty"`
	State []byte `json:"state,omitempty"`
}

// SeqIntent is the end of a range that was prepared. Short is set while a shorter
// one was offered under the same number, and the answer to that is not known either.
type SeqIntent struct {
	SeqPlace
	Short *SeqPlace `json:"short,omitempty"`
}

// Content is what the store holds, but for the sequence numbers (LoadSeq).
type Content struct {
	Streams []Stream         // in no order
	Scanned map[string]int64 // pipelines whose first scan is complete, with the time of it in unix seconds
	Counts  []ledger.Entry   // totals
	Tombs   []Tomb           // the oldest first
	Hints   []Hint
	// Damaged names records that are what was written, but that this version
	// cannot make sense of. They were put aside into the bucket "damaged".
	Damaged []string
}

// Change is one commit.
type Change struct {
	Put       []Stream
	Delete    []delivery.StreamID
	Scanned   []string       // pipelines whose first scan is complete with this commit
	Forget    []string       // pipelines that were removed
	Counts    []ledger.Entry // totals, which replace those of their keys
	PutTombs  []Tomb         // the newest 10,000 that are not older than 7 days are kept
	DropTombs []Tomb
	PutHints  []Hint
	DropHints []Hint
	Now       int64 // unix seconds
}

// Opened tells what Open found and did. Alarm puts it into words. It is told
// again at the next Open until something was committed.
type Opened struct {
	// Migrated is the older format that the file had, 0 if it had this one.
	Migrated uint64 `json:"migrated,omitempty"`
	// Stepped: the last commit may be missing, or what it removed be back, as
	// the mark of it or the way to it was damaged. Sequence numbers may be behind
	// where Aside is "", and are gone where it is not.
	Stepped bool `json:"stepped,omitempty"`
	// Aside is where a damaged file was put; "" if the file was whole. Cause says
	// what was wrong with it.
	Aside string `json:"aside,omitempty"`
	Cause string `json:"cause,omitempty"`
	// Salvaged is how many records were read from it; Older of them are copies
	// that may be some commits old.
	Salvaged int `json:"salvaged,omitempty"`
	Older    int `json:"older,omitempty"`
	// LostRecords is how many records could not be read, -1 if that is not known;
	// Lost names those whose key could (at most 20).
	LostRecords int      `json:"missing,omitempty"`
	Lost        []string `json:"lost,omitempty"`
	// FirstScans: marks of first scans are lost, or may be.
	FirstScans bool `json:"scans,omitempty"`
	// Anew: nothing is known of any file, so the rules of a first contact apply
	// again: idle files are not collected and large ones from their last megabyte.
	Anew bool `json:"anew,omitempty"`
}
