package sls

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"logtail/internal/delivery"
)

func samplePackages() []Package {
	return []Package{
		{Data: []byte("stock"), RawSize: 10, Compress: CompressLZ4},
		{Data: []byte{}, RawSize: 0, Compress: CompressNone, Range: &delivery.Range{Lane: delivery.LaneID{1}, Flags: delivery.Empty}},
		{
			Data: bytes.Repeat([]byte("z"), 300), RawSize: 10 << 20, Compress: CompressZstd,
			Range: &delivery.Range{
				Lane: delivery.LaneID{0: 0xff, 15: 0x01}, Session: 7, Start: 1000, End: 1200, Ends: []byte{100, 100},
				StartHash: math.MaxUint64, EndHash: 1, State: bytes.Repeat([]byte("s"), delivery.MaxState),
				Flags: delivery.Claim | delivery.Closed, Reason: delivery.ReasonTruncated,
			},
		},
		{Data: []byte("d"), RawSize: 1, Compress: CompressDeflate, Range: &delivery.Range{Start: math.MaxUint64, End: math.MaxUint64, Session: math.MaxUint64}},
	}
}

func TestPackagesComeBack(t *testing.T) {
	want := samplePackages()
	var b []byte
	for i := range want {
		b = AppendPackage(b, &want[i])
	}
	got, err := DecodePackages(b, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("came back as %+v", got)
	}
}

func TestPackagesEncodeAsProtobuf(t *testing.T) {
	list := samplePackages()
	var got []byte
	for i := range list {
		got = AppendPackage(got, &list[i])
	}
	full := list[2].Range
	want := pb{}.
		bytes(1, pb{}.bytes(1, []byte("stock")).varint(2, 10).varint(3, 2)).
		bytes(1, pb{}.bytes(1, nil).varint(2, 0).varint(3, 0).bytes(100, list[1].Range.Lane[:]).varint(108, 1)).
		bytes(1, pb{}.bytes(1, list[2].Data).varint(2, 10<<20).varint(3, 3).bytes(100, full.Lane[:]).
			varint(101, 7).varint(102, 1000).varint(103, 1200).bytes(104, full.Ends).fixed64(105, math.MaxUint64).fixed64(106, 1).
			bytes(107, full.State).varint(108, uint64(full.Flags)).varint(109, 1)).
		bytes(1, pb{}.bytes(1, []byte("d")).varint(2, 1).varint(3, 1).bytes(100, make([]byte, 16)).
			varint(101, math.MaxUint64).varint(102, math.MaxUint64).varint(103, math.MaxUint64))
	if !bytes.Equal(got, want) {
		t.Fatalf("encoded\n%x\nwant\n%x", got, []byte(want))
	}
}

func TestPackageWithoutCompressTypeIsLZ4(t *testing.T) {
	got, err := DecodePackages(pb{}.bytes(1, pb{}.bytes(1, []byte("x")).varint(2, 5)), DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Compress != CompressLZ4 || got[0].RawSize != 5 || got[0].Range != nil {
		t.Fatalf("got %+v", got[0])
	}
}

func TestPackageFieldsOfUnknownNumberAreSkipped(t *testing.T) {
	got, err := DecodePackages(pb{}.varint(2, 1).bytes(1, pb{}.bytes(1, []byte("x")).varint(50, 5).bytes(110, []byte("new"))), DefaultLimits)
	if err != nil || len(got) != 1 || string(got[0].Data) != "x" {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestRangeNeedsItsLane(t *testing.T) {
	got, err := DecodePackages(pb{}.bytes(1, pb{}.bytes(1, []byte("x")).varint(102, 5).varint(103, 9)), DefaultLimits)
	if err != nil || got[0].Range != nil {
		t.Fatalf("got %+v, %v; without a lane there is no range", got, err)
	}
}

func TestDecodePackagesRefuses(t *testing.T) {
	lane := make([]byte, 16)
	data := pb{}.bytes(1, []byte("x"))
	one := func(p pb) []byte { return pb{}.bytes(1, p) }
	for name, tc := range map[string]struct {
		body []byte
		code string
	}{
		"text":                    {[]byte("hello, world"), CodePostBodyInvalid},
		"cut":                     {one(data)[:4], CodePostBodyInvalid},
		"package as number":       {pb{}.varint(1, 1), CodePostBodyInvalid},
		"no data":                 {one(pb{}.varint(2, 5)), CodePostBodyInvalid},
		"data as number":          {one(pb{}.varint(1, 5)), CodePostBodyInvalid},
		"size as bytes":           {one(data.bytes(2, []byte("5"))), CodePostBodyInvalid},
		"negative size":           {one(data.varint(2, math.MaxUint64)), CodePostBodyTooLarge},
		"size over the limit":     {one(data.varint(2, 10<<20+1)), CodePostBodyTooLarge},
		"unknown compression":     {one(data.varint(3, 4)), CodeInvalidCompressType},
		"short lane":              {one(data.bytes(100, lane[:15])), CodePostBodyInvalid},
		"long lane":               {one(data.bytes(100, make([]byte, 17))), CodePostBodyInvalid},
		"lane as number":          {one(data.varint(100, 1)), CodePostBodyInvalid},
		"hash as number":          {one(data.bytes(100, lane).varint(105, 1)), CodePostBodyInvalid},
		"state as number":         {one(data.bytes(100, lane).varint(107, 1)), CodePostBodyInvalid},
		"start as bytes":          {one(data.bytes(100, lane).bytes(102, []byte("1"))), CodePostBodyInvalid},
		"state too long":          {one(data.bytes(100, lane).bytes(107, make([]byte, delivery.MaxState+1))), CodePostBodyInvalid},
		"flags out of range":      {one(data.bytes(100, lane).varint(108, 256)), CodePostBodyInvalid},
		"reason out of range":     {one(data.bytes(100, lane).varint(109, 256)), CodePostBodyInvalid},
		"range runs backwards":    {one(data.bytes(100, lane).varint(102, 10).varint(103, 9)), CodePostBodyInvalid},
		"hash cut":                {one(append(data.bytes(100, lane), 0xc9, 0x06, 1, 2, 3)), CodePostBodyInvalid},
		"data, then a cut number": {one(append(data, 0x10)), CodePostBodyInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodePackages(tc.body, DefaultLimits)
			wantCode(t, err, tc.code)
		})
	}
	lim := DefaultLimits
	lim.MaxPackages = 1
	_, err := DecodePackages(append(one(data), one(data)...), lim)
	wantCode(t, err, CodePostBodyTooLarge)
}

func FuzzDecodePackages(f *testing.F) {
	list := samplePackages()
	var all []byte
	for i := range list {
		f.Add(AppendPackage(nil, &list[i]))
		all = AppendPackage(all, &list[i])
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := DecodePackages(b, DefaultLimits)
		if err != nil {
			if _, ok := AsError(err); !ok {
				t.Fatalf("%v is no *Error", err)
			}
			return
		}
		var again []byte
		for i := range got {
			if r := got[i].Range; r != nil && (r.End < r.Start || len(r.State) > delivery.MaxState) {
				t.Fatalf("a range without form was accepted: %+v", r)
			}
			again = AppendPackage(again, &got[i])
		}
		second, err := DecodePackages(again, DefaultLimits)
		if err != nil || !bytes.Equal(again, appendAll(second)) {
			t.Fatalf("encoded and decoded again: %+v, %v; first %+v", second, err, got)
		}
	})
}

func appendAll(list []Package) []byte {
	var b []byte
	for i := range list {
		b = AppendPackage(b, &list[i])
	}
	return b
}
