package buffer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"logtail/internal/delivery"
	"logtail/internal/sls"
	"logtail/internal/wal"
)

func testKey(tb testing.TB) *key {
	tb.Helper()
	k, err := newKey(bytes.Repeat([]byte{5}, keyBytes))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func someRecords() []Record {
	return []Record{
		{},
		rec(1, 1, 100),
		{Range: delivery.Range{End: math.MaxUint64, Flags: delivery.Empty | delivery.Closed}, Time: math.MaxUint32},
		{
			Dest: strings.Repeat("d", maxDest), RawSize: MaxRecord, Logs: MaxRecord, Compress: sls.CompressZstd, Data: bytes.Repeat([]byte("x"), 5000), Time: 1,
			Range: delivery.Range{
				Lane: delivery.LaneID{1, 15: 2}, Session: math.MaxUint64, Start: 5, End: math.MaxUint64, StartHash: math.MaxUint64, EndHash: 7,
				Ends: bytes.Repeat([]byte{1}, 300), State: bytes.Repeat([]byte("s"), delivery.MaxState), Flags: 255, Reason: 255,
			},
		},
	}
}

func TestRecordsComeBackAsTheyWent(t *testing.T) {
	k := testKey(t)
	for i, r := range someRecords() {
		w := seal(&r, k)
		if bytes.Contains(w.Data, []byte("xxxxxxxx")) || bytes.Contains(w.Data, []byte("state")) || bytes.Contains(append(w.Head, w.Data...), []byte("destination")) {
			t.Errorf("record %d can be read", i)
		}
		got, err := unseal(w, k.aead)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("record %d: got %+v, %v; want %+v", i, got, err, r)
		}
	}
}

func TestEveryDamageOfARecordIsFound(t *testing.T) {
	k := testKey(t)
	r := rec(1, 2, 30)
	w := seal(&r, k)
	whole := append(bytes.Clone(w.Head), w.Data...)
	for at := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[at] ^= 1 << bit
			if _, err := unseal(wal.Record{Head: b[:len(w.Head)], Data: b[len(w.Head):]}, k.aead); !errors.Is(err, errDamaged) {
				t.Fatalf("bit %d of byte %d: %v", bit, at, err)
			}
		}
	}
	for n := range w.Data {
		if _, err := unseal(wal.Record{Head: w.Head, Data: bytes.Clone(w.Data[:n])}, k.aead); !errors.Is(err, errDamaged) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	other, err := newKey(bytes.Repeat([]byte{6}, keyBytes))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unseal(w, other.aead); !errors.Is(err, errDamaged) || other.id == k.id {
		t.Errorf("with another key: %v", err)
	}
}

func TestNewerRecordIsTold(t *testing.T) {
	r := rec(1, 1, 10)
	b := appendHead(nil, &r, 1)
	b[0] = recordVersion + 1
	binary.LittleEndian.PutUint32(b[1:], headSum(b))
	var newer *wal.VersionError
	if _, err := decodeHead(b); !errors.As(err, &newer) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("got %v", err)
	}
}

func TestRecordsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Record){
		"data":     func(r *Record) { r.Data = make([]byte, MaxRecord+1) },
		"raw size": func(r *Record) { r.RawSize = MaxRecord + 1 },
		"negative": func(r *Record) { r.RawSize = -1 },
		"logs":     func(r *Record) { r.Logs = -1 },
		"range":    func(r *Record) { r.Range.End = r.Range.Start - 1 },
		"state":    func(r *Record) { r.Range.State = make([]byte, delivery.MaxState+1) },
		"ends":     func(r *Record) { r.Range.Ends = make([]byte, maxEnds+1) },
		"name":     func(r *Record) { r.Dest = strings.Repeat("x", maxDest+1) },
		"time":     func(r *Record) { r.Time = -1 },
		"late":     func(r *Record) { r.Time = math.MaxUint32 + 1 },
	} {
		r := rec(1, 1, 10)
		change(&r)
		if err := check(&r); err == nil {
			t.Errorf("%s: it was accepted", name)
		}
	}
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, keyName)
	if k, err := readKey(dir); k != nil || err != nil {
		t.Fatalf("no file: %v, %v", k, err)
	}
	made, err := makeKey(nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(path)
	if err != nil || stat.Mode().Perm()&0o077 != 0 {
		t.Errorf("the key file: %v, %v", stat.Mode(), err)
	}
	k, err := readKey(dir)
	if err != nil || k.id != made.id || !bytes.Equal(k.secret, made.secret) {
		t.Errorf("%v, %v", k, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range len(text) - 1 { // without the last line feed
		b := bytes.Clone(text)
		b[at] ^= 2
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readKey(dir); !errors.Is(err, errDamaged) {
			t.Errorf("byte %d (%q): %v", at, b, err)
		}
	}
	newer := "logtail-buffer-key 2 abc " + lineSum("key", 2, "abc")
	if err := os.WriteFile(path, []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	var version *wal.VersionError
	if _, err := readKey(dir); !errors.As(err, &version) || !strings.Contains(err.Error(), path) {
		t.Errorf("a newer one: %v", err)
	}
}

func FuzzDecodeHead(f *testing.F) {
	for _, r := range someRecords() {
		f.Add(appendHead(nil, &r, 9))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headPrefix {
			binary.LittleEndian.PutUint32(b[1:], headSum(b))
		}
		h, err := decodeHead(b)
		if err != nil {
			return
		}
		it := &h.item
		if it.Size > 1<<16 {
			return // only to be fast
		}
		r := Record{Range: delivery.Range{Lane: it.Lane, Start: it.Start, End: it.End}, Logs: it.Logs, Time: it.Time, Data: make([]byte, it.Size)}
		if err := check(&r); err != nil {
			t.Fatalf("%+v cannot be stored: %v", h, err)
		}
		if again, err := decodeHead(appendHead(nil, &r, h.key)); err != nil || again != h {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
	})
}

func FuzzDecodeBody(f *testing.F) {
	for _, r := range someRecords() {
		f.Add(appendBody(nil, &r), len(r.Data))
	}
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		it := Item{Lane: lane(1), Start: 5, End: 9, Logs: 3, Time: 77, Size: size}
		r, err := decodeBody(b, &it)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatal(err)
			}
			return
		}
		if err := check(&r); err != nil && len(r.Data) <= MaxRecord {
			t.Fatalf("%+v cannot be stored: %v", r, err)
		}
		if again, err := decodeBody(appendBody(nil, &r), &it); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}
