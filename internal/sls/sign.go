package sls

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Credentials are an access key, with a token if it is a temporary one (STS).
type Credentials struct{ AccessKeyID, AccessKeySecret, SecurityToken string }

// Signer signs requests, by version 4 if it has a region and by version 1
// (HMAC-SHA1) else.
type Signer struct {
	Credentials
	Region string           // for example "cn-hangzhou"
	Now    func() time.Time // the time to sign with; nil = time.Now
}

// Sign adds the headers of a signature to req: date, digest of the body,
// Authorization and, where the credentials have one, the security token.
// body is what will be sent as the body of req. All x-log- headers, the
// Content-Type and the Host must be final before. Signing again replaces what
// an earlier Sign added.
func (s *Signer) Sign(req *http.Request, body []byte) error {
	if s.AccessKeyID == "" || s.AccessKeySecret == "" {
		return errors.New("sls: no access key to sign the request with; set its id and secret")
	}
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	if s.SecurityToken != "" {
		req.Header.Set(HeaderSecurityToken, s.SecurityToken)
	}
	if s.Region != "" {
		return s.signV4(req, body, now().UTC())
	}
	return s.signV1(req, body, now().UTC())
}

// KeyLookup returns the secret of an access key, or ErrUnknownKey (wrapped or
// not). An *Error is passed on to the client; any other error counts as a
// failure of the server, which clients retry.
type KeyLookup func(ctx context.Context, accessKeyID string) (secret string, err error)

// ErrUnknownKey is what a KeyLookup returns for an access key that does not
// exist or is disabled.
var ErrUnknownKey = errors.New("sls: the access key does not exist or is disabled")

// param is one query parameter, decoded.
type param struct{ key, value string }

// queryParams returns the parameters of a query, decoded and sorted by name. A
// name that stands twice is an error: what is signed could be read in two ways.
func queryParams(rawQuery string) ([]param, *Error) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, NewError(CodeParameterInvalid, "the query string of the URL is malformed: %v", err)
	}
	params := make([]param, 0, len(values))
	for k, v := range values {
		if len(v) != 1 {
			return nil, NewError(CodeParameterInvalid, "the query parameter %q is given %d times; give it once", k, len(v))
		}
		params = append(params, param{k, v[0]})
	}
	slices.SortFunc(params, func(a, b param) int { return strings.Compare(a.key, b.key) })
	return params, nil
}

// field is one header, with its name in lower case.
type field struct{ name, value string }

// signedHeaders returns the headers that both versions sign, those named x-log-*
// and x-acs-*, sorted by name.
func signedHeaders(h http.Header) []field {
	var fields []field
	for k, v := range h {
		name := strings.ToLower(k)
		if strings.HasPrefix(name, "x-log-") || strings.HasPrefix(name, "x-acs-") {
			fields = append(fields, field{name, headerValue(v)})
		}
	}
	sortFields(fields)
	return fields
}

func sortFields(fields []field) {
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
}

// headerValue is the value of a header that may have come in several lines.
func headerValue(v []string) string {
	if len(v) == 1 {
		return strings.TrimSpace(v[0])
	}
	return strings.TrimSpace(strings.Join(v, ","))
}

// escapedPath is the path as it stands in the request line.
func escapedPath(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}
