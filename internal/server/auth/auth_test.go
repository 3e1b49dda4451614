package auth_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"logtail/internal/server/auth"
	"logtail/internal/server/catalog"
	"logtail/internal/server/servertest"
	"logtail/internal/sls"
)

func TestNewAccessKeysAreStrongAndDiffer(t *testing.T) {
	ids, secrets := make(map[string]bool), make(map[string]bool)
	letters := make(map[rune]int)
	for range 1000 {
		k := auth.NewAccessKey("account")
		if len(k.ID) != 24 || !strings.HasPrefix(k.ID, "LTAI") || len(k.Secret) < 30 || k.Account != "account" {
			t.Fatalf("got an id of %d and a secret of %d letters", len(k.ID), len(k.Secret))
		}
		ids[k.ID], secrets[k.Secret] = true, true
		for _, r := range k.Secret {
			letters[r]++
		}
	}
	if len(ids) != 1000 || len(secrets) != 1000 || len(letters) != 62 {
		t.Errorf("%d ids, %d secrets, %d letters", len(ids), len(secrets), len(letters))
	}
	for r, n := range letters { // 580 on average; 10 standard deviations
		if n < 340 || n > 820 {
			t.Errorf("the letter %c occurs %d times", r, n)
		}
	}
}

type authTest struct {
	*testing.T
	catalog *servertest.Catalog
	auth    *auth.Authenticator
	now     time.Time
	key     catalog.AccessKey
}

func newAuthTest(t *testing.T) *authTest {
	t.Helper()
	at := &authTest{T: t, catalog: servertest.NewCatalog(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	at.auth = auth.New(at.catalog, auth.Options{Now: func() time.Time { return at.now }})
	a := catalog.Account{ID: auth.NewAccountID()}
	at.key = auth.NewAccessKey(a.ID)
	if err := at.catalog.CreateAccount(context.Background(), a, at.key); err != nil {
		t.Fatal(err)
	}
	return at
}

// verify signs a request and verifies it.
func (at *authTest) verify() (auth.Caller, error) {
	at.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://sls.test/", nil)
	if err != nil {
		at.Fatal(err)
	}
	r.Header.Set(sls.HeaderAPIVersion, sls.APIVersion)
	s := sls.Signer{Credentials: sls.Credentials{AccessKeyID: at.key.ID, AccessKeySecret: at.key.Secret}, Now: func() time.Time { return at.now }}
	if err := s.Sign(r, nil); err != nil {
		at.Fatal(err)
	}
	caller, signed, err := at.auth.Verify(r)
	if err == nil {
		err = signed.VerifyBody(nil)
	}
	return caller, err
}

func TestKeysAreCachedForAMoment(t *testing.T) {
	at := newAuthTest(t)
	broken := errors.New("the disk is broken")
	at.catalog.Fail(broken)
	if _, err := at.verify(); !errors.Is(err, broken) {
		t.Errorf("the cause is lost: %v", err)
	} else if e, ok := sls.AsError(err); !ok || e.Code != sls.CodeInternalServerError || strings.Contains(e.Message, "broken") {
		t.Errorf("the answer is %v", e)
	}
	at.catalog.Fail(nil)
	caller, err := at.verify()
	if err != nil || caller.AccessKeyID != at.key.ID || caller.Account.ID != at.key.Account {
		t.Fatalf("got %+v, %v", caller, err)
	}
	at.catalog.Fail(broken)
	if _, err := at.verify(); err != nil {
		t.Errorf("not cached: %v", err)
	}
	at.now = at.now.Add(auth.DefaultCacheTime)
	if _, err := at.verify(); !errors.Is(err, broken) {
		t.Errorf("cached for too long: %v", err)
	}
}

func TestKeyOfYesterdayIsOutWhenDisabled(t *testing.T) {
	at := newAuthTest(t)
	at.catalog.DisableKey(at.key.ID)
	_, err := at.verify()
	if e, ok := sls.AsError(err); !ok || e.Code != sls.CodeUnauthorized || strings.Contains(e.Message, at.key.Secret) {
		t.Errorf("got %v", err)
	}
}

func TestProjectOfAnotherAccountDoesNotExist(t *testing.T) {
	at := newAuthTest(t)
	ctx := context.Background()
	if err := at.catalog.CreateProject(ctx, catalog.Project{Name: "theirs", Account: "other"}); err != nil {
		t.Fatal(err)
	}
	caller := auth.Caller{Account: catalog.Account{ID: at.key.Account, Admin: true}}
	_, theirs := at.auth.Project(ctx, caller, "theirs")
	_, nobodys := at.auth.Project(ctx, caller, "nobody")
	if theirs == nil || nobodys == nil || strings.ReplaceAll(theirs.Error(), "theirs", "nobody") != nobodys.Error() {
		t.Errorf("got %v and %v", theirs, nobodys)
	}
	if _, err := at.auth.Project(ctx, auth.Caller{Account: catalog.Account{ID: "other"}}, "theirs"); err != nil {
		t.Errorf("the owner got %v", err)
	}
}
