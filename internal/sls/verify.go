package sls

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Verify checks the signature of a request, of version 1 or 4, and that body,
// the body as it was received, is the one that was signed. A request whose time
// differs from now by more than skew is refused; SLS allows 15 minutes. It
// returns the id of the access key that signed.
//
// The error is an *Error with the code by which SLS refuses such a request:
// MissAccessKeyId without a signature, Unauthorized for a key that is not known
// or a header that cannot be read, SignatureNotMatch for a wrong signature or a
// body that was changed, RequestTimeTooSkewed, MissingDate, InvalidDateFormat,
// MissingSignatureMethod, InvalidSignatureMethod, MissingHost,
// ParameterInvalid for a malformed query; InternalServerError if the lookup failed.
func Verify(r *http.Request, body []byte, lookup KeyLookup, now time.Time, skew time.Duration) (accessKeyID string, err error) {
	signed, err := VerifyHead(r, lookup, now, skew)
	if err != nil {
		return "", err
	}
	if err := signed.VerifyBody(body); err != nil {
		return "", err
	}
	return signed.AccessKeyID, nil
}

// Signed is a request whose signature was checked. The signature covers a digest
// of the body; that the body is the one of the digest is for VerifyBody to check.
type Signed struct {
	AccessKeyID string

	digest string // as the header has it
	name   string // of the header
	sum    func([]byte) string
}

// VerifyHead is the part of Verify that needs no body, so that a body is only
// read from somebody who knows the secret of a key. The errors are those of
// Verify.
func VerifyHead(r *http.Request, lookup KeyLookup, now time.Time, skew time.Duration) (*Signed, error) {
	auth := r.Header.Get("Authorization")
	scheme, rest, _ := strings.Cut(strings.TrimSpace(auth), " ")
	v := verifier{r: r, lookup: lookup, now: now, skew: skew}
	var e *Error
	switch scheme {
	case "":
		e = NewError(CodeMissAccessKeyID, "the request is not signed: it has no Authorization header")
	case algorithmV4:
		e = v.v4(rest)
	case schemeLOG, schemeSLS:
		e = v.v1(rest)
	default:
		e = NewError(CodeUnauthorized, "the Authorization header is of an unknown kind; signatures are of version 1 (LOG) or 4 (%s)", algorithmV4)
	}
	if e != nil {
		return nil, e
	}
	return &v.signed, nil
}

// VerifyBody checks that body, as it was received, is the one that was signed.
// The error is an *Error, SignatureNotMatch.
func (s *Signed) VerifyBody(body []byte) error {
	switch {
	case s.digest == "" && len(body) > 0:
		return notMatch("the request has a body and no " + s.name + ", so the signature does not cover the body")
	case s.digest != "" && !strings.EqualFold(s.digest, s.sum(body)):
		return notMatch(s.name + " is not that of the body")
	}
	return nil
}

// verifier is one call of VerifyHead.
type verifier struct {
	r      *http.Request
	lookup KeyLookup
	now    time.Time
	skew   time.Duration
	signed Signed
}

func (v *verifier) v1(credential string) *Error {
	id, signature, ok := strings.Cut(credential, ":")
	if !ok || id == "" {
		return NewError(CodeUnauthorized, "the Authorization header is not of the form LOG AccessKeyId:Signature")
	}
	h := v.r.Header
	method := h.Get(HeaderSignatureMethod)
	newHash := hashV1(method)
	if method == "" {
		return NewError(CodeMissingSignatureMethod, "the header %s is missing; send %s", HeaderSignatureMethod, methodSHA1)
	}
	if newHash == nil {
		return NewError(CodeInvalidSignatureMethod, "the signature method %q is not known; use %s or %s", method, methodSHA1, methodSHA256)
	}
	date := dateV1(h)
	if date == "" {
		return NewError(CodeMissingDate, "the request has neither Date nor %s", HeaderDate)
	}
	when, err := parseTimeV1(date)
	if err != nil {
		return NewError(CodeInvalidDateFormat, "the date %q is not of the form %q", date, http.TimeFormat)
	}
	if e := v.checkTime(when); e != nil {
		return e
	}
	params, e := queryParams(v.r.URL.RawQuery)
	if e != nil {
		return e
	}
	secret, e := v.secret(id)
	if e != nil {
		return e
	}
	got, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return notMatch("the signature is not base64")
	}
	mac := hmac.New(newHash, []byte(secret))
	mac.Write([]byte(stringToSignV1(v.r.Method, v.r.URL, params, h)))
	if !hmac.Equal(mac.Sum(nil), got) {
		return notMatch("the signature is not that of the request; check the secret of the access key and what was signed")
	}
	v.signed = Signed{AccessKeyID: id, digest: h.Get("Content-MD5"), name: "Content-MD5", sum: contentMD5}
	return nil
}

func (v *verifier) v4(credential string) *Error {
	var id, scope, signature string
	for part := range strings.SplitSeq(credential, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			id, scope, _ = strings.Cut(value, "/")
		case "Signature":
			signature = value
		}
	}
	parts := strings.Split(scope, "/")
	if id == "" || len(parts) != 4 || parts[1] == "" || parts[2] != productV4 || parts[3] != requestV4 {
		return NewError(CodeUnauthorized, "the Authorization header is not of the form %s Credential=AccessKeyId/date/region/%s/%s,Signature=hex",
			algorithmV4, productV4, requestV4)
	}
	h := v.r.Header
	date, region := h.Get(HeaderDate), parts[1]
	if date == "" {
		return NewError(CodeMissingDate, "the header %s is missing", HeaderDate)
	}
	when, err := parseTimeV4(date)
	if err != nil {
		return NewError(CodeInvalidDateFormat, "%s is %q and not of the form %s", HeaderDate, date, timeV4)
	}
	if e := v.checkTime(when); e != nil {
		return e
	}
	if v.r.Host == "" {
		return NewError(CodeMissingHost, "the request has no Host")
	}
	params, e := queryParams(v.r.URL.RawQuery)
	if e != nil {
		return e
	}
	secret, e := v.secret(id)
	if e != nil {
		return e
	}
	got, err := hex.DecodeString(signature)
	if err != nil || date[:8] != parts[0] {
		return notMatch("the signature is not hexadecimal, or its scope is of another day than " + HeaderDate)
	}
	digest := h.Get(HeaderContentSHA256)
	if !v.matchesV4(got, secret, region, date, params, digest) {
		return notMatch("the signature is not that of the request; check the secret of the access key, the region and what was signed")
	}
	if digest == "" {
		return notMatch("the header " + HeaderContentSHA256 + " is missing, so the signature does not cover the body")
	}
	v.signed = Signed{AccessKeyID: id, digest: digest, name: HeaderContentSHA256, sum: contentSHA256}
	return nil
}

// matchesV4 compares with each form of the canonical request that clients are
// known to sign: with the path decoded (the stock Go SDK) or as sent, and with
// or without the headers x-log-meta-*. For nearly all requests these are one.
func (v *verifier) matchesV4(got []byte, secret, region, date string, params []param, digest string) bool {
	paths := []string{v.r.URL.Path, escapedPath(v.r.URL)}
	if paths[0] == "" {
		paths[0] = "/"
	}
	all := headersV4(v.r.Header, v.r.Host)
	headers := [][]field{all}
	if some := withoutMeta(all); len(some) < len(all) {
		headers = append(headers, some)
	}
	for _, path := range slices.Compact(paths) {
		for _, hs := range headers {
			canonical := canonicalV4(v.r.Method, path, params, hs, digest)
			if hmac.Equal(signatureV4(secret, region, date, canonical), got) {
				return true
			}
		}
	}
	return false
}

func (v *verifier) checkTime(when time.Time) *Error {
	if d := v.now.Sub(when); d > v.skew || d < -v.skew {
		return NewError(CodeRequestTimeTooSkewed, "the time of the request, %s, differs from the server's, %s, by more than %s; set the clock",
			when.UTC().Format(time.RFC3339), v.now.UTC().Format(time.RFC3339), v.skew)
	}
	return nil
}

func (v *verifier) secret(id string) (string, *Error) {
	secret, err := v.lookup(v.r.Context(), id)
	if err == nil && secret == "" { // anybody could sign with it
		err = ErrUnknownKey
	}
	if err == nil {
		return secret, nil
	}
	if errors.Is(err, ErrUnknownKey) {
		return "", NewError(CodeUnauthorized, "the access key %q does not exist or is disabled", id)
	}
	if e, ok := AsError(err); ok {
		return "", e
	}
	return "", NewError(CodeInternalServerError, "the access key could not be looked up")
}

func notMatch(why string) *Error { return NewError(CodeSignatureNotMatch, "%s", why) }

// layoutsV1 are the forms of a date in version 1: those of HTTP, and two that
// stock clients were seen to send. Zones other than UTC would be misread by
// their abbreviation and are left out.
var layoutsV1 = []string{"Mon, 2 Jan 2006 15:04:05 GMT", "Mon, 2 Jan 2006 15:04:05 UTC", timeV4, time.RFC3339}

func parseTimeV1(s string) (time.Time, error) {
	t, err := http.ParseTime(s)
	for i := 0; err != nil && i < len(layoutsV1); i++ {
		t, err = time.Parse(layoutsV1[i], s)
	}
	return t, err
}
