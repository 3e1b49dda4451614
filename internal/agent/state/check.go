package state

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// maxFaults is how many faults of a file are told; the others are counted.
const maxFaults = 5

// verdict is what a file was found to be.
type verdict struct {
	version uint64 // of the format; 0 if it could not be read
	sums    sums   // of the newest commit
	hasSums bool
	torn    bool // one meta page is not whole: the last commit may not be there
	report  *Opened
	faults  []string // what is wrong; empty if bbolt can be trusted with it
	more    int
}

func (v *verdict) fault(format string, a ...any) {
	if len(v.faults) == maxFaults {
		v.more++
		return
	}
	v.faults = append(v.faults, fmt.Sprintf(format, a...))
}

// check reads every page of a file and says whether it is whole.
func check(r io.ReaderAt, size int64) verdict {
	var v verdict
	im, err := readImage(r, size)
	if err != nil {
		v.fault("%v", err)
		return v
	}
	// Of two equal ones one has gone over the other, which may have been newer.
	if v.torn = len(im.metas) < 2 || im.metas[0].txid == im.metas[1].txid; !im.headers {
		v.fault("the header of a meta page is damaged")
	}
	var (
		found  [bucketCount]sum
		broken verdict // records that are not what was written; only the new formats can tell
		plain  = uint64(0)
	)
	w := walk{im: im, meta: im.metas[0], fault: func(_ string, _ keyRange, format string, a ...any) { v.fault(format, a...) }}
	w.record = func(name string, key, value []byte) {
		if name == metaBucket && string(key) == keyVersion {
			plain, _ = binary.Uvarint(value)
			return
		}
		if name == metaBucket {
			v.readMeta(key, value)
			return
		}
		b, ok := bucketOf(name)
		if !ok {
			return
		}
		if _, _, ok := unseal(name, key, value); !ok {
			broken.fault("the record of the %s is damaged", recordName(b, key))
		} else {
			found[b].add(value)
		}
	}
	w.run()
	w.freelist()
	if v.hasSums && v.version == version && v.sums.commit != im.metas[0].txid {
		v.fault("the records are those of commit %d and not of %d", v.sums.commit, im.metas[0].txid)
	}
	v.judge(plain, &found, &broken)
	return v
}

// judge compares what was found with what the last commit said.
func (v *verdict) judge(plain uint64, found *[bucketCount]sum, broken *verdict) {
	switch {
	case !v.hasSums && plain == 0:
		v.fault("the number of its format is missing")
	case !v.hasSums && plain == version:
		v.version = version
		v.fault("the sums of its records are missing")
	case !v.hasSums:
		v.version = plain // an older one has none
	case plain != v.version: // a byte of the plain number flipped
		v.fault("the number of its format is damaged")
	}
	if v.version != version {
		return
	}
	v.faults = append(v.faults, broken.faults...)
	v.more += broken.more
	if len(v.faults) > 0 {
		return // the counts differ then, of course
	}
	for b := range found {
		if got, want := found[b], v.sums.buckets[b]; got.count != want.count {
			v.fault("%d records of the kind %s are there instead of %d", got.count, recordNames[b], want.count)
		} else if got != want {
			v.fault("the records of the kind %s are not those of one commit", recordNames[b])
		}
	}
}

func (v *verdict) readMeta(key, value []byte) {
	switch string(key) {
	case keySums:
		if v.sums, v.version, v.hasSums = decodeSums(value); !v.hasSums {
			v.fault("the sums of its records are damaged")
		}
	case keyReport:
		_, b, ok := unseal(metaBucket, key, value)
		var o Opened
		if !ok || json.Unmarshal(b, &o) != nil {
			v.fault("the report of an earlier damage is damaged")
			return
		}
		v.report = &o
	}
}

// recordName names a record in a message.
func recordName(b bucket, key []byte) string {
	switch b {
	case inStreams, inSeq, inTombs:
		return fmt.Sprintf("%s %x", recordNames[b], key)
	}
	return fmt.Sprintf("%s %q", recordNames[b], key)
}
