package raftwal

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
	"logtail/internal/wal"
)

func someRecords() []shardlog.Record {
	return []shardlog.Record{
		{},
		{Received: -1, Compress: sls.CompressZstd, RawSize: 300, Logs: 3, Data: []byte("group")},
		{Received: 1 << 62, Range: &delivery.Range{}},
		{
			Received: 1_700_000_000_123_456_789, Compress: sls.CompressLZ4, RawSize: maxRecordBytes, Logs: 2, Data: bytes.Repeat([]byte("x"), 50),
			Range: &delivery.Range{
				Lane: delivery.LaneID{1, 15: 2}, Session: 1 << 63, Start: 5, End: 1<<64 - 1, Ends: []byte{1, 2},
				StartHash: 1<<64 - 1, EndHash: 7, State: bytes.Repeat([]byte("s"), delivery.MaxState), Flags: delivery.Abandoned | delivery.Closed,
				Reason: delivery.ReasonTooOld,
			},
		},
	}
}

func TestRecordsComeBackAsTheyWent(t *testing.T) {
	for i, r := range someRecords() {
		head := appendHead([]byte("before"), &r)[len("before"):]
		got, err := decodeRecord(head, r.Data)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("record %d: got %+v, %v; want %+v", i, got, err, r)
		}
	}
}

func TestEveryDamageOfARecordIsFound(t *testing.T) {
	r := someRecords()[3]
	r.Data = []byte("group")
	head := appendHead(nil, &r)
	for i := range head {
		for bit := range 8 {
			b := bytes.Clone(head)
			b[i] ^= 1 << bit
			got, err := decodeRecord(b, r.Data)
			if i == 0 { // the version: there was only one that has such a checksum
				if err != nil || !reflect.DeepEqual(got, r) {
					t.Fatalf("bit %d of the version: %+v, %v", bit, got, err)
				}
			} else if !errors.Is(err, wal.ErrDamaged) {
				t.Fatalf("bit %d of byte %d of the head: %v", bit, i, err)
			}
		}
		if _, err := decodeRecord(head[:i], r.Data); err == nil {
			t.Fatalf("a head cut at %d", i)
		}
	}
	for i := range r.Data {
		b := bytes.Clone(r.Data)
		b[i]++
		if _, err := decodeRecord(head, b); !errors.Is(err, wal.ErrDamaged) {
			t.Fatalf("byte %d of the group: %v", i, err)
		}
	}
}

func TestNewerRecordIsRefused(t *testing.T) {
	head := newerHead(appendHead(nil, &shardlog.Record{}), nil)
	var newer *wal.VersionError
	_, err := decodeRecord(head, nil)
	if !errors.As(err, &newer) || !strings.Contains(err.Error(), "version 2") || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("got %v", err)
	}
}

// newerHead makes a head one of the next version.
func newerHead(head, data []byte) []byte {
	head[0] = recordVersion + 1
	putSum(head[1:recordPrefix], head[:1], head[recordPrefix:], data)
	return head
}

func TestAppendHeadAllocatesNothing(t *testing.T) {
	r := someRecords()[3]
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = appendHead(buf[:0], &r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range someRecords() {
		f.Add(appendHead(nil, &r), r.Data)
	}
	f.Fuzz(func(t *testing.T, head, data []byte) {
		fixSum(head, data)
		r, err := decodeRecord(head, data)
		if err != nil {
			return
		}
		if r.Range != nil && (r.Range.End < r.Range.Start || len(r.Range.State) > delivery.MaxState) {
			t.Fatalf("an impossible range %+v", r.Range)
		}
		again, err := decodeRecord(appendHead(nil, &r), data)
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

// fixSum makes the checksum right, so that the fuzzer comes past it.
func fixSum(head, data []byte) {
	if len(head) >= recordPrefix {
		putSum(head[1:recordPrefix], head[recordPrefix:], data)
	}
}
