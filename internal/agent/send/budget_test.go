package send

import "testing"

func TestEachDestinationHasRoomWhateverTheOthersHold(t *testing.T) {
	b := NewBudget(64_000) // 24,000 to share, eight parts of 3,000, 16,000 for requests
	woken := 0
	var list []*account
	for range 3 {
		list = append(list, b.join(func() { woken++ }))
	}
	fill := func(a *account, failing bool) (n int64) {
		for a.room(failing) {
			a.add(100)
			n += 100
		}
		return n
	}
	if n := fill(list[0], true); n != 3000 {
		t.Errorf("one that fails takes %d bytes, its own part is 3,000", n)
	}
	if n := fill(list[1], false); n != 3000+12_000 {
		t.Errorf("one takes %d bytes, its part and half of the pool are 15,000", n)
	}
	if n := fill(list[2], false); n != 3000+12_000 {
		t.Errorf("the other one takes %d bytes", n)
	}
	if n := fill(list[0], false); n != 0 {
		t.Errorf("%d bytes from an empty pool", n)
	}
	if queued, _ := b.Used(); queued != 33_000 {
		t.Errorf("%d bytes used", queued)
	}
	list[1].add(-15_000)
	if woken == 0 {
		t.Error("nobody is told that there is room")
	}
	if !list[0].room(false) {
		t.Error("no room in the pool after it was emptied")
	}
	list[1].leave()
	list[2].leave()
	if n := fill(list[0], false); n != 24_000 {
		t.Errorf("the last one takes %d bytes more, want all of the pool", n)
	}
}

func TestRequestsShareAQuarterButOneMayAlwaysGo(t *testing.T) {
	b := NewBudget(8000)
	if !b.fly(5000, b.requests()) {
		t.Error("the only request may not go")
	}
	if b.fly(1, b.requests()) {
		t.Error("a second one goes above the bound")
	}
	b.land(5000)
	for i, want := range []bool{true, true, false} {
		if b.fly(1000, b.requests()) != want {
			t.Errorf("request %d of 1,000 bytes goes: %v; the bound is 2,000", i, !want)
		}
	}
}
