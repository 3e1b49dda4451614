// Package catalogtest is what every engine of the catalog has to pass.
package catalogtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"logtail/internal/server/catalog"
)

// Open opens an engine over a folder; opening the same folder again shows what
// was stored there.
type Open func(dir string) (catalog.Catalog, error)

// bench is one catalog during a test.
type bench struct {
	*testing.T
	catalog.Catalog
	open Open
	dir  string
	ctx  context.Context
}

func newBench(t *testing.T, open Open) *bench {
	b := &bench{T: t, open: open, dir: t.TempDir(), ctx: t.Context()}
	b.start()
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func (b *bench) start() {
	b.Helper()
	c, err := b.open(b.dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Catalog = c
}

func (b *bench) reopen() {
	b.Helper()
	b.ok(b.Close())
	b.start()
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// is wants an error of the catalog, and none of the others.
func (b *bench) is(err, want error) {
	b.Helper()
	found := 0
	for _, e := range []error{catalog.ErrNotFound, catalog.ErrExists, catalog.ErrNotEmpty} {
		if errors.Is(err, e) {
			found++
		}
	}
	if found != 1 || !errors.Is(err, want) {
		b.Fatalf("got %v, want %v", err, want)
	}
}

// someTime has a fraction, as the clock has.
var someTime = time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)

func (b *bench) account(id string) {
	b.Helper()
	b.ok(b.CreateAccount(b.ctx, catalog.Account{ID: id, Name: "name of " + id, Created: someTime},
		catalog.AccessKey{ID: "key-" + id, Secret: "secret-of-" + id, Account: id, Created: someTime}))
}

func (b *bench) project(account, name string) {
	b.Helper()
	b.ok(b.CreateProject(b.ctx, catalog.Project{Name: name, Account: account, Description: "d", Created: someTime, Modified: someTime}))
}

func store(project, name string) catalog.Logstore {
	return catalog.Logstore{
		Project: project, Name: name, ID: "id-" + project + "-" + name, TTLDays: 30,
		Settings: json.RawMessage(`{"a": 1}`), Created: someTime, Modified: someTime,
	}
}

func (b *bench) logstore(project, name string) catalog.Logstore {
	b.Helper()
	l := store(project, name)
	b.ok(b.CreateLogstore(b.ctx, l, 2))
	return l
}

func equal[T any](b *bench, got, want T) {
	b.Helper()
	if !reflect.DeepEqual(got, want) {
		b.Fatalf("got %+v, want %+v", got, want)
	}
}

// Run runs the tests.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*bench){
		"Accounts":                    testAccounts,
		"Projects":                    testProjects,
		"ListsProjectsByAccount":      testProjectPages,
		"Logstores":                   testLogstores,
		"ListsLogstores":              testLogstorePages,
		"DividesTheKeysAmongShards":   testShards,
		"RemembersWhatIsToBeDropped":  testDropped,
		"Index":                       testIndex,
		"KeepsAllOverReopening":       testReopen,
		"TakesAnyText":                testText,
		"HonoursTheContext":           testContext,
		"ErrorsHoldNoSecrets":         testSecrets,
		"OneOfManyCreatesAnObject":    testRace,
		"IsSafeForConcurrentUse":      testConcurrent,
		"NothingIsMadeInWhatIsNoMore": testOrphans,
	} {
		t.Run(name, func(t *testing.T) { test(newBench(t, open)) })
	}
}

func testAccounts(b *bench) {
	list, err := b.Accounts(b.ctx)
	b.ok(err)
	equal(b, len(list), 0)
	b.account("b")
	admin := catalog.Account{ID: "a", Name: "root", Admin: true}
	// A key belongs to the account that it is made with.
	b.ok(b.CreateAccount(b.ctx, admin, catalog.AccessKey{ID: "k", Secret: "s", Account: "b", Disabled: true}))
	list, err = b.Accounts(b.ctx)
	b.ok(err)
	equal(b, list, []catalog.Account{admin, {ID: "b", Name: "name of b", Created: someTime}})
	key, account, err := b.AccessKey(b.ctx, "key-b")
	b.ok(err)
	equal(b, key, catalog.AccessKey{ID: "key-b", Secret: "secret-of-b", Account: "b", Created: someTime})
	equal(b, account, list[1])
	key, account, err = b.AccessKey(b.ctx, "k")
	b.ok(err)
	equal(b, key, catalog.AccessKey{ID: "k", Secret: "s", Account: "a", Disabled: true})
	equal(b, account, admin)
	_, _, err = b.AccessKey(b.ctx, "none")
	b.is(err, catalog.ErrNotFound)
	_, _, err = b.AccessKey(b.ctx, "KEY-B")
	b.is(err, catalog.ErrNotFound)
	b.is(b.CreateAccount(b.ctx, catalog.Account{ID: "b"}, catalog.AccessKey{ID: "new"}), catalog.ErrExists)
	b.is(b.CreateAccount(b.ctx, catalog.Account{ID: "c"}, catalog.AccessKey{ID: "k"}), catalog.ErrExists)
	list, err = b.Accounts(b.ctx) // a failure leaves nothing
	b.ok(err)
	equal(b, len(list), 2)
}

func testProjects(b *bench) {
	b.account("a")
	b.account("b")
	_, err := b.Project(b.ctx, "p")
	b.is(err, catalog.ErrNotFound)
	b.project("a", "p")
	p, err := b.Project(b.ctx, "p")
	b.ok(err)
	equal(b, p, catalog.Project{Name: "p", Account: "a", Description: "d", Created: someTime, Modified: someTime})
	b.is(b.CreateProject(b.ctx, catalog.Project{Name: "p", Account: "b"}), catalog.ErrExists) // names are everybody's
	b.is(b.CreateProject(b.ctx, catalog.Project{Name: "q", Account: "nobody"}), catalog.ErrNotFound)
	b.ok(b.UpdateProject(b.ctx, "p", "other"))
	changed, err := b.Project(b.ctx, "p")
	b.ok(err)
	if changed.Description != "other" || changed.Account != "a" || !changed.Created.Equal(someTime) || !changed.Modified.After(someTime) {
		b.Fatalf("after an update: %+v", changed)
	}
	b.is(b.UpdateProject(b.ctx, "q", ""), catalog.ErrNotFound)
	b.is(b.DeleteProject(b.ctx, "q"), catalog.ErrNotFound)
	b.logstore("p", "l")
	b.is(b.DeleteProject(b.ctx, "p"), catalog.ErrNotEmpty)
	_, err = b.DeleteLogstore(b.ctx, "p", "l")
	b.ok(err)
	b.ok(b.DeleteProject(b.ctx, "p"))
	b.is(b.DeleteProject(b.ctx, "p"), catalog.ErrNotFound)
	b.project("b", "p") // the name is free again
}

func testProjectPages(b *bench) {
	b.account("a")
	b.account("b")
	for _, n := range []string{"web-3", "web-1", "db", "Web-2", "web_4"} {
		b.project("a", n)
	}
	b.project("b", "web-other")
	for _, c := range []struct {
		account string
		page    catalog.Page
		want    string
		total   int
	}{
		{"a", catalog.Page{Size: 10}, "Web-2 db web-1 web-3 web_4", 5},
		{"a", catalog.Page{Size: 2}, "Web-2 db", 5},
		{"a", catalog.Page{Offset: 2, Size: 2}, "web-1 web-3", 5},
		{"a", catalog.Page{Offset: 4, Size: 2}, "web_4", 5},
		{"a", catalog.Page{Offset: 9, Size: 2}, "", 5},
		{"a", catalog.Page{Size: 0}, "", 5},
		{"a", catalog.Page{Size: 10, Contains: "web-"}, "web-1 web-3", 2},
		{"a", catalog.Page{Offset: 1, Size: 10, Contains: "web"}, "web-3 web_4", 3},
		{"a", catalog.Page{Size: 10, Contains: "web_"}, "web_4", 1}, // no pattern
		{"a", catalog.Page{Size: 10, Contains: "%"}, "", 0},
		{"b", catalog.Page{Size: 10}, "web-other", 1},
		{"c", catalog.Page{Size: 10}, "", 0},
	} {
		list, total, err := b.Projects(b.ctx, c.account, c.page)
		b.ok(err)
		var names []string
		for _, p := range list {
			names = append(names, p.Name)
			equal(b, p.Account, c.account)
		}
		if got := strings.Join(names, " "); got != c.want || total != c.total {
			b.Errorf("%s, %+v: %q of %d, want %q of %d", c.account, c.page, got, total, c.want, c.total)
		}
	}
}

func testLogstores(b *bench) {
	b.account("a")
	b.project("a", "p")
	b.project("a", "q")
	_, err := b.Logstore(b.ctx, "p", "l")
	b.is(err, catalog.ErrNotFound)
	l := b.logstore("p", "l")
	b.logstore("q", "l")
	got, err := b.Logstore(b.ctx, "p", "l")
	b.ok(err)
	equal(b, got, l)
	twice := l
	twice.ID = "another"
	b.is(b.CreateLogstore(b.ctx, twice, 1), catalog.ErrExists)
	same := store("p", "other")
	same.ID = l.ID
	b.is(b.CreateLogstore(b.ctx, same, 1), catalog.ErrExists)
	b.is(b.CreateLogstore(b.ctx, store("nowhere", "l"), 1), catalog.ErrNotFound)

	l.TTLDays, l.Settings, l.Modified = 7, nil, someTime.Add(time.Hour)
	b.ok(b.UpdateLogstore(b.ctx, l))
	got, err = b.Logstore(b.ctx, "p", "l")
	b.ok(err)
	equal(b, got, l)
	change := l
	change.ID, change.Created = "forged", time.Time{}
	b.ok(b.UpdateLogstore(b.ctx, change)) // identity stays
	got, err = b.Logstore(b.ctx, "p", "l")
	b.ok(err)
	equal(b, got, l)
	b.is(b.UpdateLogstore(b.ctx, store("p", "none")), catalog.ErrNotFound)

	gone, err := b.DeleteLogstore(b.ctx, "p", "l")
	b.ok(err)
	equal(b, gone, l)
	_, err = b.DeleteLogstore(b.ctx, "p", "l")
	b.is(err, catalog.ErrNotFound)
	_, err = b.Shards(b.ctx, "p", "l")
	b.is(err, catalog.ErrNotFound)
	b.is(b.CreateLogstore(b.ctx, l, 1), catalog.ErrExists) // its id is being dropped
	l.ID = "reborn"
	b.ok(b.CreateLogstore(b.ctx, l, 1))
	shards, err := b.Shards(b.ctx, "p", "l")
	b.ok(err)
	equal(b, len(shards), 1)
}

func testLogstorePages(b *bench) {
	b.account("a")
	b.project("a", "p")
	b.project("a", "q")
	for _, n := range []string{"c", "a", "ab", "b"} {
		b.logstore("p", n)
	}
	b.logstore("q", "z")
	for _, c := range []struct {
		page  catalog.Page
		want  string
		total int
	}{
		{catalog.Page{Size: 10}, "a ab b c", 4},
		{catalog.Page{Offset: 1, Size: 2}, "ab b", 4},
		{catalog.Page{Size: 10, Contains: "a"}, "a ab", 2},
		{catalog.Page{Offset: 9, Size: 10}, "", 4},
	} {
		names, total, err := b.Logstores(b.ctx, "p", c.page)
		b.ok(err)
		if got := strings.Join(names, " "); got != c.want || total != c.total {
			b.Errorf("%+v: %q of %d, want %q of %d", c.page, got, total, c.want, c.total)
		}
	}
	all, err := b.AllLogstores(b.ctx)
	b.ok(err)
	var names []string
	for _, l := range all {
		names = append(names, l.Project+"/"+l.Name)
	}
	equal(b, strings.Join(names, " "), "p/a p/ab p/b p/c q/z")
	equal(b, all[4], store("q", "z"))
}

func testShards(b *bench) {
	b.account("a")
	b.project("a", "p")
	_, err := b.Shards(b.ctx, "p", "l")
	b.is(err, catalog.ErrNotFound)
	space := new(big.Int).Lsh(big.NewInt(1), 128)
	for _, n := range []int{1, 2, 3, 7, 10, 64, 256} {
		name := fmt.Sprint("l", n)
		b.ok(b.CreateLogstore(b.ctx, store("p", name), n))
		shards, err := b.Shards(b.ctx, "p", name)
		b.ok(err)
		equal(b, len(shards), n)
		equal(b, shards[0].BeginKey, strings.Repeat("0", 32))
		equal(b, shards[n-1].EndKey, strings.Repeat("f", 32))
		for i, s := range shards {
			if s.ID != i || !s.Writable || !s.Created.Equal(someTime) || len(s.BeginKey) != 32 || len(s.EndKey) != 32 {
				b.Fatalf("shard %d of %d: %+v", i, n, s)
			}
			if i > 0 && s.BeginKey != shards[i-1].EndKey {
				b.Fatalf("shard %d of %d begins at %s, the one before ends at %s", i, n, s.BeginKey, shards[i-1].EndKey)
			}
			begin, _ := new(big.Int).SetString(s.BeginKey, 16)
			// i/n of the space, rounded down: begin*n <= i*2^128 < (begin+1)*n.
			at := new(big.Int).Mul(space, big.NewInt(int64(i)))
			low := new(big.Int).Mul(begin, big.NewInt(int64(n)))
			if high := new(big.Int).Add(low, big.NewInt(int64(n))); low.Cmp(at) > 0 || high.Cmp(at) <= 0 {
				b.Fatalf("shard %d of %d begins at %s", i, n, s.BeginKey)
			}
		}
	}
	two, err := b.Shards(b.ctx, "p", "l2")
	b.ok(err)
	equal(b, two[1].BeginKey, "8"+strings.Repeat("0", 31))
	for _, n := range []int{-1, 0, 257} {
		if err := b.CreateLogstore(b.ctx, store("p", "bad"), n); err == nil {
			b.Errorf("a logstore with %d shards was made", n)
		}
	}
	_, err = b.Logstore(b.ctx, "p", "bad")
	b.is(err, catalog.ErrNotFound)
}

func testDropped(b *bench) {
	b.account("a")
	b.project("a", "p")
	l, m := b.logstore("p", "l"), b.logstore("p", "m")
	for _, name := range []string{"m", "l"} {
		_, err := b.DeleteLogstore(b.ctx, "p", name)
		b.ok(err)
	}
	b.reopen()
	ids, err := b.Dropped(b.ctx)
	b.ok(err)
	equal(b, ids, []string{l.ID, m.ID})
	for range 2 {
		b.ok(b.ForgetDropped(b.ctx, l.ID))
	}
	ids, err = b.Dropped(b.ctx)
	b.ok(err)
	equal(b, ids, []string{m.ID})
}

func testIndex(b *bench) {
	b.account("a")
	b.project("a", "p")
	one, two := json.RawMessage(`{"line": {"token": [","]}}`), json.RawMessage(`{"keys":{}}`)
	_, err := b.Index(b.ctx, "p", "l")
	b.is(err, catalog.ErrNotFound)
	b.is(b.CreateIndex(b.ctx, "p", "l", one), catalog.ErrNotFound)
	b.is(b.UpdateIndex(b.ctx, "p", "l", one), catalog.ErrNotFound)
	b.is(b.DeleteIndex(b.ctx, "p", "l"), catalog.ErrNotFound)
	l := b.logstore("p", "l")
	b.logstore("p", "m")
	_, err = b.Index(b.ctx, "p", "l")
	b.is(err, catalog.ErrNotFound)
	b.is(b.UpdateIndex(b.ctx, "p", "l", one), catalog.ErrNotFound)
	b.ok(b.CreateIndex(b.ctx, "p", "l", one))
	b.is(b.CreateIndex(b.ctx, "p", "l", two), catalog.ErrExists)
	got, err := b.Index(b.ctx, "p", "l")
	b.ok(err)
	equal(b, string(got), string(one)) // as given
	b.ok(b.UpdateIndex(b.ctx, "p", "l", two))
	got, err = b.Index(b.ctx, "p", "l")
	b.ok(err)
	equal(b, string(got), string(two))
	_, err = b.Index(b.ctx, "p", "m")
	b.is(err, catalog.ErrNotFound)
	b.ok(b.DeleteIndex(b.ctx, "p", "l"))
	b.is(b.DeleteIndex(b.ctx, "p", "l"), catalog.ErrNotFound)
	// The index goes with its logstore.
	b.ok(b.CreateIndex(b.ctx, "p", "l", one))
	_, err = b.DeleteLogstore(b.ctx, "p", "l")
	b.ok(err)
	l.ID = "reborn"
	b.ok(b.CreateLogstore(b.ctx, l, 1))
	_, err = b.Index(b.ctx, "p", "l")
	b.is(err, catalog.ErrNotFound)
}

func testReopen(b *bench) {
	b.account("a")
	b.project("a", "p")
	l := b.logstore("p", "l")
	b.ok(b.CreateIndex(b.ctx, "p", "l", json.RawMessage(`{}`)))
	for range 3 {
		b.reopen()
	}
	_, account, err := b.AccessKey(b.ctx, "key-a")
	b.ok(err)
	equal(b, account.ID, "a")
	got, err := b.Logstore(b.ctx, "p", "l")
	b.ok(err)
	equal(b, got, l)
	shards, err := b.Shards(b.ctx, "p", "l")
	b.ok(err)
	equal(b, len(shards), 2)
	index, err := b.Index(b.ctx, "p", "l")
	b.ok(err)
	equal(b, string(index), "{}")
}

func testText(b *bench) {
	for i, name := range []string{"it's", `"; DROP TABLE projects; --`, "日志", "a\x00b", " ", strings.Repeat("x", 10_000)} {
		b.account(name)
		b.project(name, name)
		l := store(name, name)
		l.ID = fmt.Sprint("id", i)
		b.ok(b.CreateLogstore(b.ctx, l, 1))
		p, err := b.Project(b.ctx, name)
		b.ok(err)
		equal(b, p.Name, name)
		names, total, err := b.Logstores(b.ctx, name, catalog.Page{Size: 10})
		b.ok(err)
		equal(b, names, []string{name})
		equal(b, total, 1)
	}
}

func testContext(b *bench) {
	b.account("a")
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	if err := b.CreateProject(ctx, catalog.Project{Name: "p", Account: "a"}); !errors.Is(err, context.Canceled) {
		b.Fatalf("got %v", err)
	}
	if _, err := b.Project(ctx, "p"); !errors.Is(err, context.Canceled) {
		b.Fatalf("got %v", err)
	}
	_, err := b.Project(b.ctx, "p")
	b.is(err, catalog.ErrNotFound)
}

func testSecrets(b *bench) {
	key := catalog.AccessKey{ID: "k", Secret: "very-secret-thing"}
	b.ok(b.CreateAccount(b.ctx, catalog.Account{ID: "a"}, key))
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	errs := []error{
		b.CreateAccount(b.ctx, catalog.Account{ID: "a"}, key),
		b.CreateAccount(b.ctx, catalog.Account{ID: "b"}, key),
		b.CreateAccount(ctx, catalog.Account{ID: "c"}, catalog.AccessKey{ID: "x", Secret: key.Secret}),
	}
	b.ok(b.Close())
	errs = append(errs, b.CreateAccount(b.ctx, catalog.Account{ID: "d"}, key))
	for i, err := range errs {
		if err == nil || strings.Contains(err.Error(), key.Secret) {
			b.Errorf("error %d: %v", i, err)
		}
	}
	b.start()
}

func testRace(b *bench) {
	b.account("a")
	b.project("a", "p")
	const n = 16
	errs := make(chan error, n)
	for i := range n {
		go func() {
			l := store("p", "l")
			l.ID = fmt.Sprint("id", i)
			errs <- b.CreateLogstore(b.ctx, l, 4)
		}()
	}
	made := 0
	for range n {
		if err := <-errs; err == nil {
			made++
		} else {
			b.is(err, catalog.ErrExists)
		}
	}
	equal(b, made, 1)
	shards, err := b.Shards(b.ctx, "p", "l")
	b.ok(err)
	equal(b, len(shards), 4)
}

func testConcurrent(b *bench) {
	const n, rounds = 8, 8
	var wg sync.WaitGroup
	fail := func(err error) {
		if err != nil {
			b.Error(err)
		}
	}
	for w := range n {
		wg.Go(func() {
			id := fmt.Sprint("a", w)
			fail(b.CreateAccount(b.ctx, catalog.Account{ID: id}, catalog.AccessKey{ID: "k" + id, Secret: "s"}))
			fail(b.CreateProject(b.ctx, catalog.Project{Name: id, Account: id}))
			for r := range rounds {
				l := store(id, fmt.Sprint("l", r))
				fail(b.CreateLogstore(b.ctx, l, 2))
				fail(b.UpdateLogstore(b.ctx, l))
				names, total, err := b.Logstores(b.ctx, id, catalog.Page{Size: 100})
				fail(err)
				if len(names) != total { // one state, whatever the others do
					b.Errorf("%d names of %d", len(names), total)
				}
				_, _, err = b.AccessKey(b.ctx, "k"+id)
				fail(err)
				if r%2 == 0 {
					_, err := b.DeleteLogstore(b.ctx, id, l.Name)
					fail(err)
				}
			}
		})
	}
	wg.Wait()
	all, err := b.AllLogstores(b.ctx)
	b.ok(err)
	equal(b, len(all), n*rounds/2)
	dropped, err := b.Dropped(b.ctx)
	b.ok(err)
	equal(b, len(dropped), n*rounds/2)
}

// testOrphans deletes a project while others make logstores in it.
func testOrphans(b *bench) {
	b.account("a")
	for round := range 8 {
		name := fmt.Sprint("p", round)
		b.project("a", name)
		var wg sync.WaitGroup
		var made, deleted error
		wg.Go(func() { made = b.CreateLogstore(b.ctx, store(name, "l"), 1) })
		wg.Go(func() { deleted = b.DeleteProject(b.ctx, name) })
		wg.Wait()
		switch {
		case made == nil:
			b.is(deleted, catalog.ErrNotEmpty)
		case deleted == nil:
			b.is(made, catalog.ErrNotFound)
		default:
			b.Fatalf("both failed: %v; %v", made, deleted)
		}
	}
}
