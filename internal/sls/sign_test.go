package sls

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	testKeyID  = "LTAIexample"
	testSecret = "example-secret"
	testSkew   = 15 * time.Minute
)

var testTime = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// testKeys is a KeyLookup that knows one key.
func testKeys(_ context.Context, id string) (string, error) {
	if id == testKeyID {
		return testSecret, nil
	}
	return "", fmt.Errorf("catalog: %w", ErrUnknownKey)
}

func testSigner(region string) *Signer {
	return &Signer{Credentials: Credentials{testKeyID, testSecret, ""}, Region: region, Now: func() time.Time { return testTime }}
}

// signedRequest returns a request as the service receives it: it was signed,
// written to the wire and read again.
func signedRequest(t testing.TB, s *Signer, method, target string, body []byte) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://endpoint:8080"+target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "my-project.endpoint:8080"
	req.Header.Set(HeaderAPIVersion, APIVersion)
	req.Header.Set(HeaderBodyRawSize, fmt.Sprint(len(body)))
	if len(body) > 0 {
		req.Header.Set("Content-Type", ContentTypePB)
	}
	if err := s.Sign(req, body); err != nil {
		t.Fatal(err)
	}
	return overTheWire(t, req, body)
}

func overTheWire(t testing.TB, req *http.Request, body []byte) *http.Request {
	t.Helper()
	got := httptest.NewRequestWithContext(context.Background(), req.Method, req.URL.RequestURI(), bytes.NewReader(body))
	got.Host = req.Host
	got.Header = req.Header.Clone()
	return got
}

// TestSignatureV1Vectors checks signatures that other implementations made:
// the unit test of the stock Go SDK.
func TestSignatureV1Vectors(t *testing.T) {
	h := http.Header{}
	h.Set("x-log-apiversion", "0.6.0")
	h.Set("x-log-signaturemethod", "hmac-sha1")
	h.Set("x-log-bodyrawsize", "0")
	h.Set("Date", "Mon, 3 Jan 2010 08:33:47 GMT")
	mac := hmac.New(sha1.New, []byte("mockAccessKeySecret"))
	mac.Write([]byte(stringToSignV1("GET", &url.URL{Path: "/logstores"}, nil, h)))
	if got := base64.StdEncoding.EncodeToString(mac.Sum(nil)); got != "Rwm6cTKzoti4HWoe+GKcb6Kv07E=" {
		t.Errorf("signature %s", got)
	}
	// The example of the API's documentation; its secret is masked.
	h = http.Header{}
	h.Set("Date", "Mon, 09 Nov 2015 06:11:16 GMT")
	h.Set("x-log-apiversion", "0.6.0")
	h.Set("x-log-signaturemethod", "hmac-sha1")
	params, e := queryParams("logstoreName=&offset=0&size=1000")
	if e != nil {
		t.Fatal(e)
	}
	const want = "GET\n\n\nMon, 09 Nov 2015 06:11:16 GMT\nx-log-apiversion:0.6.0\nx-log-signaturemethod:hmac-sha1\n/logstores?logstoreName=&offset=0&size=1000"
	if got := stringToSignV1("GET", &url.URL{Path: "/logstores"}, params, h); got != want {
		t.Errorf("the text to sign is %q, want %q", got, want)
	}
}

// TestSignatureV4Vectors checks signatures from the unit test of the stock Go
// SDK.
func TestSignatureV4Vectors(t *testing.T) {
	const date, secret = "20220808T032330Z", "zxasdasdasw2"
	body := "adasd= -asd zcas"
	extra := map[string]string{"x-log-test": "het123", "x-acs-ppp": "dds"}
	params := map[string]string{" abc": "efg", " agc ": "", "": "efg", "A-bc": "eFg"}
	more := map[string]string{" abc": "efg", " agc ": "", "": "efg", "A-bc": "eFg", "abs-ij*asd/vc": "a~js+d ada", "a abAas123/vc": "a~jdad a2ADFs+d ada"}
	for _, tc := range []struct {
		method, path, region, body string
		params, header             map[string]string
		want                       string
	}{
		{"POST", "/logstores", "cn-hangzhou", body, params, extra, "a98f5632e93836e63839cd836a54055f480020a9364ca944e2d34f2eb9bf1bed"},
		{"POST", "/logstores", "cn-shanghai", body, nil, nil, "8a10a5e723cb2e75964816de660b2c16a58af8bc0261f7f0722d832468c76ce8"},
		{"POST", "/logstores", "cn-hangzhou", "", params, extra, "5a66d8f8051983e0e9d08e0f960ef9252ef971eead5bb5c7acec8617a2eb2701"},
		{"GET", "/logstores", "cn-hangzhou", "", params, extra, "d92741852500791d662a8d469ff61627c0559ecd86c3f59b7bf6772b6c62666a"},
		{"POST", "/logstores/hello/a+*~bb/cc", "cn-hangzhou", body, more, extra, "2c204068e961a8813a6bcf7ac422f7fa6e9bf9a5da493e0165dfe100854d18ff"},
	} {
		h := http.Header{}
		for k, v := range tc.header {
			h.Set(k, v)
		}
		digest := contentSHA256([]byte(tc.body))
		h.Set(HeaderDate, date)
		h.Set(HeaderContentSHA256, digest)
		q := url.Values{}
		for k, v := range tc.params {
			q.Set(k, v)
		}
		ps, e := queryParams(q.Encode())
		if e != nil {
			t.Fatal(e)
		}
		got := signatureV4(secret, tc.region, date, canonicalV4(tc.method, tc.path, ps, headersV4(h, ""), digest))
		if hex.EncodeToString(got) != tc.want {
			t.Errorf("%s %s in %s: signature %x, want %s", tc.method, tc.path, tc.region, got, tc.want)
		}
	}
}

func TestSignedRequestIsVerified(t *testing.T) {
	for _, region := range []string{"", "cn-hangzhou"} {
		for _, target := range []string{
			"/", "", "/logstores", "/logstores/app/shards/route?key=00ff&seqid=7",
			"/logstores/app?type=log&from=1&to=2&query=" + url.QueryEscape(`status: 500 and "a+b/c%20" | select count(*) c, é`),
			"/logstores/app?empty=&flag&z=1", "/logstores/na%20me%2Fx/shards/lb",
		} {
			for _, body := range []string{"", "body", strings.Repeat("x", 100_000)} {
				t.Run(fmt.Sprintf("%s %s %d", region, target, len(body)), func(t *testing.T) {
					method := "POST"
					if body == "" {
						method = "GET"
					}
					r := signedRequest(t, testSigner(region), method, target, []byte(body))
					id, err := Verify(r, []byte(body), testKeys, testTime.Add(time.Minute), testSkew)
					if err != nil || id != testKeyID {
						t.Fatalf("verified as %q: %v", id, err)
					}
				})
			}
		}
	}
}

func TestSigningAgainReplacesTheSignature(t *testing.T) {
	for _, region := range []string{"", "cn-hangzhou"} {
		req, _ := http.NewRequestWithContext(context.Background(), "POST", "http://endpoint/logstores", http.NoBody)
		s := testSigner(region)
		if err := s.Sign(req, []byte("first")); err != nil {
			t.Fatal(err)
		}
		if err := s.Sign(req, nil); err != nil {
			t.Fatal(err)
		}
		req.Host = "endpoint"
		if _, err := Verify(overTheWire(t, req, nil), nil, testKeys, testTime, testSkew); err != nil {
			t.Errorf("region %q: %v", region, err)
		}
	}
}

func TestSecurityTokenIsSentAndSigned(t *testing.T) {
	for _, region := range []string{"", "cn-hangzhou"} {
		s := testSigner(region)
		s.SecurityToken = "sts-token"
		r := signedRequest(t, s, "GET", "/", nil)
		if r.Header.Get(HeaderSecurityToken) != "sts-token" {
			t.Fatalf("the token is not sent: %v", r.Header)
		}
		if _, err := Verify(r, nil, testKeys, testTime, testSkew); err != nil {
			t.Fatal(err)
		}
		r.Header.Set(HeaderSecurityToken, "another")
		_, err := Verify(r, nil, testKeys, testTime, testSkew)
		wantCode(t, err, CodeSignatureNotMatch)
	}
}

func TestSignNeedsAKey(t *testing.T) {
	for _, c := range []Credentials{{}, {AccessKeyID: "id"}, {AccessKeySecret: "secret"}} {
		req, _ := http.NewRequestWithContext(context.Background(), "GET", "http://endpoint/", http.NoBody)
		if err := (&Signer{Credentials: c}).Sign(req, nil); err == nil {
			t.Errorf("signed with %+v", c)
		}
	}
}

func TestTamperingIsRefused(t *testing.T) {
	body := []byte("the body")
	tampered := []byte("the bodY")
	const target = "/logstores/app/shards/route?key=00ff&seqid=7"
	type refusal struct {
		name   string
		change func(r *http.Request)
		body   []byte
		code   string
	}
	both := []refusal{
		{"method", func(r *http.Request) { r.Method = "PUT" }, body, CodeSignatureNotMatch},
		{"path", func(r *http.Request) { r.URL.Path = "/logstores/other/shards/route" }, body, CodeSignatureNotMatch},
		{"query value", func(r *http.Request) { r.URL.RawQuery = "key=00fe&seqid=7" }, body, CodeSignatureNotMatch},
		{"query name", func(r *http.Request) { r.URL.RawQuery = "kez=00ff&seqid=7" }, body, CodeSignatureNotMatch},
		{"query cut", func(r *http.Request) { r.URL.RawQuery = "key=00ff" }, body, CodeSignatureNotMatch},
		{"query added", func(r *http.Request) { r.URL.RawQuery += "&z=1" }, body, CodeSignatureNotMatch},
		{"query repeated", func(r *http.Request) { r.URL.RawQuery += "&key=ee" }, body, CodeParameterInvalid},
		{"query malformed", func(r *http.Request) { r.URL.RawQuery += "&a=%zz" }, body, CodeParameterInvalid},
		{"content type", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, body, CodeSignatureNotMatch},
		{"header changed", func(r *http.Request) { r.Header.Set(HeaderBodyRawSize, "9") }, body, CodeSignatureNotMatch},
		{"header added", func(r *http.Request) { r.Header.Set(HeaderProject, "other") }, body, CodeSignatureNotMatch},
		{"header repeated", func(r *http.Request) { r.Header.Add(HeaderBodyRawSize, "9") }, body, CodeSignatureNotMatch},
		{"header removed", func(r *http.Request) { r.Header.Del(HeaderBodyRawSize) }, body, CodeSignatureNotMatch},
		{"body", func(*http.Request) {}, tampered, CodeSignatureNotMatch},
		{"body gone", func(*http.Request) {}, nil, CodeSignatureNotMatch},
		{"no signature", func(r *http.Request) { r.Header.Del("Authorization") }, body, CodeMissAccessKeyID},
		{"other scheme", func(r *http.Request) { r.Header.Set("Authorization", "Basic abc") }, body, CodeUnauthorized},
		{"key unknown", func(r *http.Request) { replaceAuth(r, testKeyID, "LTAIother") }, body, CodeUnauthorized},
	}
	v1 := append([]refusal{
		{"date changed", func(r *http.Request) { r.Header.Set("Date", testTime.Add(time.Minute).Format(http.TimeFormat)) }, body, CodeSignatureNotMatch},
		{"date replaced", func(r *http.Request) { r.Header.Set(HeaderDate, testTime.Format(http.TimeFormat)) }, body, CodeSignatureNotMatch},
		{"date missing", func(r *http.Request) { r.Header.Del("Date") }, body, CodeMissingDate},
		{"date malformed", func(r *http.Request) { r.Header.Set("Date", "today") }, body, CodeInvalidDateFormat},
		{"date of a local zone", func(r *http.Request) { r.Header.Set("Date", "Sat, 21 Nov 2026 10:00:00 CST") }, body, CodeInvalidDateFormat},
		{"digest changed", func(r *http.Request) { r.Header.Set("Content-MD5", contentMD5(tampered)) }, tampered, CodeSignatureNotMatch},
		{"digest removed", func(r *http.Request) { r.Header.Del("Content-MD5") }, body, CodeSignatureNotMatch},
		{"method missing", func(r *http.Request) { r.Header.Del(HeaderSignatureMethod) }, body, CodeMissingSignatureMethod},
		{"method unknown", func(r *http.Request) { r.Header.Set(HeaderSignatureMethod, "hmac-md5") }, body, CodeInvalidSignatureMethod},
		{"method changed", func(r *http.Request) { r.Header.Set(HeaderSignatureMethod, methodSHA256) }, body, CodeSignatureNotMatch},
		{"not base64", func(r *http.Request) { r.Header.Set("Authorization", "LOG "+testKeyID+":***") }, body, CodeSignatureNotMatch},
		{"empty signature", func(r *http.Request) { r.Header.Set("Authorization", "LOG "+testKeyID+":") }, body, CodeSignatureNotMatch},
		{"no signature after the key", func(r *http.Request) { r.Header.Set("Authorization", "LOG "+testKeyID) }, body, CodeUnauthorized},
		{"no key", func(r *http.Request) { r.Header.Set("Authorization", "LOG :abcd") }, body, CodeUnauthorized},
		{"signature cut", func(r *http.Request) { replaceAuth(r, "=", "") }, body, CodeSignatureNotMatch},
	}, both...)
	v4 := append([]refusal{
		{"host", func(r *http.Request) { r.Host = "my-project.endpoint" }, body, CodeSignatureNotMatch},
		{"host missing", func(r *http.Request) { r.Host = "" }, body, CodeMissingHost},
		{"date changed", func(r *http.Request) { r.Header.Set(HeaderDate, testTime.Add(time.Minute).Format(timeV4)) }, body, CodeSignatureNotMatch},
		{"date missing", func(r *http.Request) { r.Header.Del(HeaderDate) }, body, CodeMissingDate},
		{"date malformed", func(r *http.Request) { r.Header.Set(HeaderDate, "20261121") }, body, CodeInvalidDateFormat},
		{"region", func(r *http.Request) { replaceAuth(r, "cn-hangzhou", "cn-shanghai") }, body, CodeSignatureNotMatch},
		{"day of the scope", func(r *http.Request) { replaceAuth(r, "/20261121/", "/20261120/") }, body, CodeSignatureNotMatch},
		{"product", func(r *http.Request) { replaceAuth(r, "/sls/", "/oss/") }, body, CodeUnauthorized},
		{"scope cut", func(r *http.Request) { replaceAuth(r, "/aliyun_v4_request", "") }, body, CodeUnauthorized},
		{"no credential", func(r *http.Request) { replaceAuth(r, "Credential", "Cred") }, body, CodeUnauthorized},
		{"not hexadecimal", func(r *http.Request) { replaceAuth(r, "Signature=", "Signature=x") }, body, CodeSignatureNotMatch},
		{"empty signature", func(r *http.Request) { replaceAuth(r, "Signature=", "Sig=") }, body, CodeSignatureNotMatch},
		{"digest changed", func(r *http.Request) { r.Header.Set(HeaderContentSHA256, contentSHA256(tampered)) }, tampered, CodeSignatureNotMatch},
		{"digest removed", func(r *http.Request) { r.Header.Del(HeaderContentSHA256) }, body, CodeSignatureNotMatch},
	}, both...)
	for region, list := range map[string][]refusal{"": v1, "cn-hangzhou": v4} {
		for _, tc := range list {
			t.Run(region+" "+tc.name, func(t *testing.T) {
				r := signedRequest(t, testSigner(region), "POST", target, body)
				if _, err := Verify(r, body, testKeys, testTime, testSkew); err != nil {
					t.Fatalf("before the change: %v", err)
				}
				tc.change(r)
				id, err := Verify(r, tc.body, testKeys, testTime, testSkew)
				wantCode(t, err, tc.code)
				if id != "" {
					t.Fatalf("a refused request counts as %s", id)
				}
			})
		}
	}
}

func replaceAuth(r *http.Request, old, with string) {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
}

func TestTimeOfARequestIsBounded(t *testing.T) {
	for _, region := range []string{"", "cn-hangzhou"} {
		for off, ok := range map[time.Duration]bool{
			testSkew: true, -testSkew: true, testSkew + time.Second: false, -testSkew - time.Second: false, 24 * 365 * time.Hour: false,
		} {
			r := signedRequest(t, testSigner(region), "GET", "/", nil)
			_, err := Verify(r, nil, testKeys, testTime.Add(off), testSkew)
			if ok && err != nil {
				t.Errorf("region %q, %s apart: %v", region, off, err)
			}
			if !ok {
				wantCode(t, err, CodeRequestTimeTooSkewed)
			}
		}
	}
}

func TestFailingLookup(t *testing.T) {
	r := signedRequest(t, testSigner(""), "GET", "/", nil)
	for name, tc := range map[string]struct {
		lookup KeyLookup
		code   string
	}{
		"store is down": {func(context.Context, string) (string, error) { return "", errors.New("disk") }, CodeInternalServerError},
		"own error":     {func(context.Context, string) (string, error) { return "", NewError(CodeServerBusy, "wait") }, CodeServerBusy},
		"empty secret":  {func(context.Context, string) (string, error) { return "", nil }, CodeUnauthorized},
		"wrong secret":  {func(context.Context, string) (string, error) { return "other", nil }, CodeSignatureNotMatch},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Verify(r, nil, tc.lookup, testTime, testSkew)
			wantCode(t, err, tc.code)
			if strings.Contains(err.Error(), "disk") {
				t.Fatalf("%v tells the client about the server's inside", err)
			}
		})
	}
}

// TestOtherClientsOfVersion1: what stock clients do differently from our
// signer is verified too.
func TestOtherClientsOfVersion1(t *testing.T) {
	body := []byte("body")
	sign := func(r *http.Request, scheme string) {
		newHash := sha1.New
		if r.Header.Get(HeaderSignatureMethod) == methodSHA256 {
			newHash = sha256.New
		}
		params, _ := queryParams(r.URL.RawQuery)
		mac := hmac.New(newHash, []byte(testSecret))
		mac.Write([]byte(stringToSignV1(r.Method, r.URL, params, r.Header)))
		r.Header.Set("Authorization", scheme+" "+testKeyID+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	for name, change := range map[string]func(r *http.Request){
		"sha256":          func(r *http.Request) { r.Header.Set(HeaderSignatureMethod, methodSHA256) },
		"digest in lower": func(r *http.Request) { r.Header.Set("Content-MD5", strings.ToLower(contentMD5(body))) },
		"one-digit day":   func(r *http.Request) { r.Header.Set("Date", "Sat, 21 Nov 2026 10:00:00 UTC") },
		"x-log-date alone": func(r *http.Request) {
			r.Header.Del("Date")
			r.Header.Set(HeaderDate, testTime.Format(http.TimeFormat))
		},
		"x-log-date of v4":   func(r *http.Request) { r.Header.Set(HeaderDate, testTime.Format(timeV4)) },
		"x-log-date RFC3339": func(r *http.Request) { r.Header.Set(HeaderDate, testTime.Format(time.RFC3339)) },
	} {
		for _, scheme := range []string{"LOG", "SLS"} {
			t.Run(name+" "+scheme, func(t *testing.T) {
				r := signedRequest(t, testSigner(""), "POST", "/logstores/a?b=c+d", body)
				change(r)
				sign(r, scheme)
				if _, err := Verify(r, body, testKeys, testTime, testSkew); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// TestOtherClientsOfVersion4: the path may be signed as sent, and headers
// x-log-meta-* may be left out.
func TestOtherClientsOfVersion4(t *testing.T) {
	const date, region = "20261121T100000Z", "cn-hangzhou"
	r := signedRequest(t, testSigner(region), "GET", "/machinegroups/a%20b", nil)
	r.Header.Set("x-log-meta-ip", "10.0.0.1")
	digest := r.Header.Get(HeaderContentSHA256)
	all := headersV4(r.Header, r.Host)
	for _, path := range []string{"/machinegroups/a b", "/machinegroups/a%20b"} {
		for _, headers := range [][]field{all, withoutMeta(all)} {
			sig := signatureV4(testSecret, region, date, canonicalV4("GET", path, nil, headers, digest))
			r.Header.Set("Authorization", algorithmV4+" Credential="+testKeyID+"/"+scopeV4("20261121", region)+", Signature="+hex.EncodeToString(sig))
			if _, err := Verify(r, nil, testKeys, testTime, testSkew); err != nil {
				t.Errorf("path %q with %d headers: %v", path, len(headers), err)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	for _, region := range []string{"", "cn-hangzhou"} {
		r := signedRequest(f, testSigner(region), "POST", "/logstores/a?b=c", []byte("body"))
		f.Add(r.Header.Get("Authorization"), r.Header.Get("Date"), r.Header.Get(HeaderDate), r.Header.Get(HeaderSignatureMethod), r.Host, "/logstores/a", "b=c", []byte("body"))
	}
	f.Add("SLS4-HMAC-SHA256 Credential=a/b/c/sls/aliyun_v4_request,Signature=", "", "20261121T100000.5Z", "", "h", "", "&;=%", []byte(nil))
	f.Fuzz(func(t *testing.T, auth, date, logDate, method, host, path, query string, body []byte) {
		r := &http.Request{Method: "POST", Host: host, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{
			"Authorization": {auth}, "Date": {date}, "X-Log-Date": {logDate}, "X-Log-Signaturemethod": {method, "again"}, "Content-Type": nil,
		}}
		if _, err := Verify(r, body, testKeys, testTime, testSkew); err == nil {
			t.Fatal("an arbitrary request was verified")
		} else if _, ok := AsError(err); !ok {
			t.Fatalf("%v is no *Error", err)
		}
		// The same request passes once it is signed, whatever is in it.
		for _, region := range []string{"", "cn-hangzhou"} {
			if host == "" {
				continue
			}
			r.Header.Del(HeaderDate)
			if err := testSigner(region).Sign(r, body); err != nil {
				if e, ok := AsError(err); ok && e.Code == CodeParameterInvalid {
					return
				}
				t.Fatal(err)
			}
			if _, err := Verify(r, body, testKeys, testTime, testSkew); err != nil {
				t.Fatalf("region %q: a signed request is refused: %v", region, err)
			}
			r.Header.Del(HeaderContentSHA256)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	body := make([]byte, 200_000)
	for name, region := range map[string]string{"v1": "", "v4": "cn-hangzhou"} {
		r := signedRequest(b, testSigner(region), "POST", "/logstores/a/shards/lb", body)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := Verify(r, body, testKeys, testTime, testSkew); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
