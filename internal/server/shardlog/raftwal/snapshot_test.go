package raftwal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"logtail/internal/delivery"
	"logtail/internal/wal"
)

// putSum writes the CRC-32C of the parts.
func putSum(dst []byte, parts ...[]byte) {
	sum := uint32(0)
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	binary.LittleEndian.PutUint32(dst, sum)
}

func someSnapshot() *snapshot {
	return &snapshot{seq: 1 << 40, received: -5, sum: 77, lanes: map[delivery.LaneID]lane{
		{}: {},
		{1}: {seq: 9, Progress: delivery.Progress{
			End: 1<<64 - 1, Hash: 1 << 63, Session: 1 << 62, Closed: true, Time: 1 << 50,
			State: bytes.Repeat([]byte("s"), delivery.MaxState),
		}},
	}}
}

func TestSnapshotsComeBackAsTheyWent(t *testing.T) {
	for _, s := range []*snapshot{{lanes: map[delivery.LaneID]lane{}}, someSnapshot()} {
		path := filepath.Join(t.TempDir(), snapshotName)
		if err := writeSnapshot(nil, path, s); err != nil {
			t.Fatal(err)
		}
		got, err := readSnapshot(slog.Default(), path)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("got %+v, %v; want %+v", got, err, s)
		}
	}
}

func TestEveryDamageOfASnapshotIsFound(t *testing.T) {
	b := appendSnapshot(nil, someSnapshot())
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 0x10
		if _, err := decodeSnapshot(c); !errors.Is(err, wal.ErrDamaged) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if _, err := decodeSnapshot(b[:i]); !errors.Is(err, wal.ErrDamaged) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func TestNewerSnapshotIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), snapshotName)
	b := appendSnapshot(nil, someSnapshot())
	b[len(snapshotMagic)]++
	putSum(b[len(b)-4:], b[:len(b)-4])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := readSnapshot(slog.Default(), path)
	if err == nil || !strings.Contains(err.Error(), "version 3") || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("it was put aside: %v", err)
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	f.Add(appendSnapshot(nil, someSnapshot()))
	f.Add(appendSnapshot(nil, &snapshot{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 4 {
			putSum(b[len(b)-4:], b[:len(b)-4])
		}
		s, err := decodeSnapshot(b)
		if err != nil {
			return
		}
		again, err := decodeSnapshot(appendSnapshot(nil, s))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v became %+v, %v", s, again, err)
		}
	})
}

// TestSnapshotOfTheFirstVersionIsRead: it has no checksum of the last record.
func TestSnapshotOfTheFirstVersionIsRead(t *testing.T) {
	want := someSnapshot()
	b := appendSnapshot(nil, want)
	at := snapshotPrefix + len(binary.AppendUvarint(nil, want.seq)) + len(binary.AppendVarint(nil, want.received))
	b = append(b[:at], b[at+4:]...)
	b[len(snapshotMagic)] = 1
	putSum(b[len(b)-4:], b[:len(b)-4])
	got, err := decodeSnapshot(b)
	want.sum = 0
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}
