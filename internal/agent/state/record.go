package state

import (
	"bytes"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// Every value carries a checksum over its bucket, its key and itself, and the
// number of the commit that wrote it (bbolt's own); and every commit writes its number, and the count
// and the sum of the checksums of each bucket. So a byte that flipped, a record that
// went missing, and pages of different commits in one file are all noticed
// when the file is opened, and of two copies of a record the newer one is known.

// bucket numbers the buckets that have sums. The names are in the file.
type bucket int

const (
	inStreams bucket = iota
	inPipelines
	inCounts
	inTombs
	inHints
	inSeq
	inDamaged
	bucketCount
)

var bucketNames = [bucketCount]string{"streams", "pipelines", "counts", "tombs", "hints", "seqid", "damaged"}

// what a record of the bucket is called in messages.
var recordNames = [bucketCount]string{"stream", "pipeline", "counter", "tombstone", "hint", "sequence number", "damaged record"}

func bucketOf(name string) (bucket, bool) {
	for b, n := range bucketNames {
		if n == name {
			return bucket(b), true
		}
	}
	return 0, false
}

const (
	metaBucket = "meta"
	keyVersion = "version" // a plain uvarint, so that every version of the program can read it
	keySums    = "sums"
	keyReport  = "report"

	checksumBytes = 8
)

// seal appends a record's value to dst.
func seal(dst []byte, bucket string, key []byte, commit uint64, payload []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, commit)
	dst = append(dst, payload...)
	binary.LittleEndian.PutUint64(dst[at:], checksum(bucket, key, dst[at+checksumBytes:]))
	return dst
}

// unseal reads a value; ok is false if it is not what was written there.
func unseal(bucket string, key, value []byte) (commit uint64, payload []byte, ok bool) {
	if len(value) <= checksumBytes || checksumOf(value) != checksum(bucket, key, value[checksumBytes:]) {
		return 0, nil, false
	}
	commit, n := binary.Uvarint(value[checksumBytes:])
	if n <= 0 {
		return 0, nil, false
	}
	return commit, value[checksumBytes+n:], true
}

func checksumOf(value []byte) uint64 { return binary.LittleEndian.Uint64(value) }

func checksum(bucket string, key, rest []byte) uint64 {
	var d xxhash.Digest
	var size [4]byte
	d.Reset()
	_, _ = d.WriteString(bucket)
	binary.LittleEndian.PutUint32(size[:], uint32(len(key)))
	_, _ = d.Write(size[:])
	_, _ = d.Write(key)
	_, _ = d.Write(rest)
	return d.Sum64()
}

// sum is the count of a bucket's records and the sum of their checksums.
type sum struct {
	count int64
	sum   uint64
}

func (s *sum) add(value []byte)    { s.count++; s.sum += checksumOf(value) }
func (s *sum) remove(value []byte) { s.count--; s.sum -= checksumOf(value) }

// sums is what a commit writes about all buckets.
type sums struct {
	commit  uint64
	buckets [bucketCount]sum
}

func (s *sums) encode() []byte {
	b := binary.AppendUvarint(nil, version)
	for i, name := range bucketNames {
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
		b = binary.AppendVarint(b, s.buckets[i].count)
		b = binary.LittleEndian.AppendUint64(b, s.buckets[i].sum)
	}
	return seal(nil, metaBucket, []byte(keySums), s.commit, b)
}

// decodeSums reads what encode wrote, and the format that it was written in.
func decodeSums(value []byte) (s sums, format uint64, ok bool) {
	commit, b, ok := unseal(metaBucket, []byte(keySums), value)
	if !ok {
		return s, 0, false
	}
	s.commit = commit
	r := bytes.NewReader(b)
	if format, err := binary.ReadUvarint(r); err != nil || format != version {
		return s, format, err == nil
	}
	for r.Len() > 0 {
		n, err := binary.ReadUvarint(r)
		if err != nil || n > uint64(r.Len()) {
			return s, 0, false
		}
		name := make([]byte, n)
		_, _ = r.Read(name)
		count, err := binary.ReadVarint(r)
		var rest [8]byte
		if m, _ := r.Read(rest[:]); err != nil || m < len(rest) {
			return s, 0, false
		}
		if i, ok := bucketOf(string(name)); ok {
			s.buckets[i] = sum{count: count, sum: binary.LittleEndian.Uint64(rest[:])}
		}
	}
	return s, version, true
}
