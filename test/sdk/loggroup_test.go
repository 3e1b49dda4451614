package sdk

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	stock "github.com/aliyun/aliyun-log-go-sdk"
	"github.com/gogo/protobuf/proto"

	"logtail/internal/delivery"
	"logtail/internal/sls"
)

// groups are log groups of every shape, as the SDK has them.
func groups() map[string]*stock.LogGroup {
	long := strings.Repeat("v", 20_000)
	kv := func(kv ...string) (list []*stock.LogContent) {
		for i := 0; i < len(kv); i += 2 {
			list = append(list, &stock.LogContent{Key: proto.String(kv[i]), Value: proto.String(kv[i+1])})
		}
		return list
	}
	m := map[string]*stock.LogGroup{
		"empty":    {},
		"one log":  {Logs: []*stock.Log{{Time: proto.Uint32(1_700_000_000), Contents: kv("content", "hello")}}},
		"no field": {Logs: []*stock.Log{{Time: proto.Uint32(0)}}},
		"nanoseconds": {Logs: []*stock.Log{
			{Time: proto.Uint32(1), TimeNs: proto.Uint32(0), Contents: kv("a", "b")},
			{Time: proto.Uint32(2), TimeNs: proto.Uint32(999_999_999), Contents: kv("a", "b")},
		}},
		"repeated and empty": {Logs: []*stock.Log{{Time: proto.Uint32(4_294_967_295), Contents: kv("k", "1", "k", "2", "", "", "e", "")}}},
		"not text":           {Logs: []*stock.Log{{Time: proto.Uint32(5), Contents: kv("\xff\x00", "\x80\n")}}},
		"long":               {Logs: []*stock.Log{{Time: proto.Uint32(5), Contents: kv(long[:127], long[:128], long[:16_383], long[:16_384], "k", long)}}},
		"everything": {
			Logs:  []*stock.Log{{Time: proto.Uint32(5), TimeNs: proto.Uint32(7), Contents: kv("a", "b")}, {Time: proto.Uint32(6), Contents: kv("c", "d", "e", "f")}},
			Topic: proto.String("topic"), Source: proto.String("10.0.0.1"), MachineUUID: proto.String("uuid"), Category: proto.String("old"),
			LogTags: []*stock.LogTag{{Key: proto.String("__path__"), Value: proto.String("/x")}, {Key: proto.String("e"), Value: proto.String("")}},
		},
	}
	r := rand.New(rand.NewSource(1))
	text := func(max int) string {
		b := make([]byte, r.Intn(max))
		r.Read(b)
		return string(b)
	}
	for i := range 50 {
		g := &stock.LogGroup{}
		if i%2 == 0 {
			g.Topic, g.Source = proto.String("t"+text(10)), proto.String("s"+text(200))
		}
		for range r.Intn(20) {
			l := &stock.Log{Time: proto.Uint32(r.Uint32())}
			if r.Intn(2) == 0 {
				l.TimeNs = proto.Uint32(uint32(r.Intn(1e9)))
			}
			for range r.Intn(10) {
				l.Contents = append(l.Contents, kv(text(300), text(1000))...)
			}
			g.Logs = append(g.Logs, l)
		}
		for range r.Intn(4) {
			g.LogTags = append(g.LogTags, &stock.LogTag{Key: proto.String(text(20)), Value: proto.String(text(300))})
		}
		m[fmt.Sprintf("random %d", i)] = g
	}
	return m
}

// ours translates a group of the SDK into ours.
func ours(g *stock.LogGroup) *sls.LogGroup {
	o := &sls.LogGroup{Topic: g.GetTopic(), Source: g.GetSource(), MachineUUID: g.GetMachineUUID(), Category: g.GetCategory()}
	for _, l := range g.Logs {
		ol := sls.Log{Sec: l.GetTime(), Nsec: -1}
		if l.TimeNs != nil {
			ol.Nsec = int32(l.GetTimeNs())
		}
		for _, c := range l.Contents {
			ol.Contents = append(ol.Contents, sls.Content{Key: []byte(c.GetKey()), Value: []byte(c.GetValue())})
		}
		o.Logs = append(o.Logs, ol)
	}
	for _, t := range g.LogTags {
		o.Tags = append(o.Tags, sls.Tag{Key: t.GetKey(), Value: t.GetValue()})
	}
	return o
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLogGroupsAreTheSameBytes(t *testing.T) {
	for name, g := range groups() {
		t.Run(name, func(t *testing.T) {
			theirs := marshal(t, g)
			mine := ours(g).AppendTo(nil)
			if !bytes.Equal(mine, theirs) {
				t.Fatalf("we write\n%x\nthe SDK\n%x", mine, theirs)
			}
			var back stock.LogGroup
			if err := proto.Unmarshal(mine, &back); err != nil || !bytes.Equal(marshal(t, &back), theirs) {
				t.Fatalf("the SDK reads ours as %v, %v", &back, err)
			}
			var read sls.LogGroup
			if err := read.Decode(theirs, sls.DefaultLimits); err != nil || !bytes.Equal(read.AppendTo(nil), theirs) {
				t.Fatalf("we read the SDK's as %+v, %v", read, err)
			}
		})
	}
}

func TestLogGroupListsAreTheSameBytes(t *testing.T) {
	list := &stock.LogGroupList{}
	var mine []byte
	for _, g := range groups() {
		list.LogGroups = append(list.LogGroups, g)
		mine = sls.AppendLogGroupListEntry(mine, ours(g).AppendTo(nil))
	}
	theirs := marshal(t, list)
	if !bytes.Equal(mine, theirs) {
		t.Fatal("a list of groups has other bytes than the SDK's")
	}
	read, err := sls.DecodeLogGroupList(theirs, sls.DefaultLimits)
	if err != nil || len(read) != len(list.LogGroups) {
		t.Fatalf("we read %d of %d groups, %v", len(read), len(list.LogGroups), err)
	}
	for i := range read {
		if !bytes.Equal(read[i].AppendTo(nil), marshal(t, list.LogGroups[i])) {
			t.Fatalf("group %d is read as %+v", i, read[i])
		}
	}
}

// TestPackagesAreReadByStockServers: to who knows only the fields 1 and 2 of a
// package, ours is one like any other.
func TestPackagesAreReadByStockServers(t *testing.T) {
	p := sls.Package{
		Data: []byte("compressed"), RawSize: 4321, Compress: sls.CompressLZ4,
		Range: &delivery.Range{Lane: delivery.LaneID{1, 2}, Session: 5, Start: 100, End: 200, Ends: []byte{50, 50}, StartHash: 1, EndHash: 2, State: []byte("s"), Flags: delivery.Closed},
	}
	var list stock.SlsLogPackageList
	if err := proto.Unmarshal(sls.AppendPackage(nil, &p), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Packages) != 1 || string(list.Packages[0].GetData()) != "compressed" || list.Packages[0].GetUncompressSize() != 4321 {
		t.Fatalf("read as %v", &list)
	}
	// A list of the SDK has no compression in its packages: that means LZ4.
	theirs := marshal(t, &stock.SlsLogPackageList{Packages: []*stock.SlsLogPackage{{Data: []byte("d"), UncompressSize: proto.Int32(9)}}})
	got, err := sls.DecodePackages(theirs, sls.DefaultLimits)
	if err != nil || len(got) != 1 || string(got[0].Data) != "d" || got[0].RawSize != 9 || got[0].Compress != sls.CompressLZ4 || got[0].Range != nil {
		t.Fatalf("we read %+v, %v", got, err)
	}
}

// FuzzDecodeAgreesWithTheSDK: what we read, the SDK reads too, and the same;
// and whatever the SDK makes of any bytes and writes again, we read. (Of unknown
// fields the SDK also takes malformed ones; these we refuse.)
func FuzzDecodeAgreesWithTheSDK(f *testing.F) {
	for name, g := range groups() {
		if !strings.HasPrefix(name, "random") && name != "long" {
			f.Add(marshal(f, g))
		}
	}
	f.Add([]byte("C$"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var theirs stock.LogGroup
		theirErr := proto.Unmarshal(b, &theirs)
		var read sls.LogGroup
		err := read.Decode(b, sls.DefaultLimits)
		if theirErr != nil {
			if err == nil {
				t.Fatalf("we read what the SDK refuses: %v", theirErr)
			}
			return
		}
		want := ours(&theirs)
		for i := range want.Logs {
			if want.Logs[i].Nsec < 0 || want.Logs[i].Nsec >= 1e9 { // no fraction of a second: we leave it out
				want.Logs[i].Nsec = -1
			}
		}
		clean := want.AppendTo(nil)
		if err == nil && !bytes.Equal(read.AppendTo(nil), clean) {
			t.Fatalf("we read %+v, the SDK %v", read, &theirs)
		}
		proto.DiscardUnknown(&theirs)
		if err := read.Decode(marshal(t, &theirs), sls.DefaultLimits); err != nil {
			if e, ok := sls.AsError(err); !ok || e.Code != sls.CodePostBodyTooLarge {
				t.Fatalf("we refuse what the SDK writes: %v", err)
			}
		} else if !bytes.Equal(read.AppendTo(nil), clean) {
			t.Fatalf("we read %+v of what the SDK writes for %v", read, &theirs)
		}
	})
}
