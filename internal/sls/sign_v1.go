package sls

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Signature methods of version 1, values of x-log-signaturemethod.
const (
	methodSHA1   = "hmac-sha1"   // SDKs and agents
	methodSHA256 = "hmac-sha256" // some SDKs
)

// The words before the access key in the Authorization header of version 1:
// agents and documents say LOG, the stock Go SDK says SLS.
const (
	schemeLOG = "LOG"
	schemeSLS = "SLS"
)

func (s *Signer) signV1(req *http.Request, body []byte, now time.Time) error {
	h := req.Header
	h.Set("Date", now.Format(http.TimeFormat))
	h.Set(HeaderSignatureMethod, methodSHA1)
	h.Del("Content-MD5")
	if len(body) > 0 {
		h.Set("Content-MD5", contentMD5(body))
	}
	params, perr := queryParams(req.URL.RawQuery)
	if perr != nil {
		return perr
	}
	mac := hmac.New(sha1.New, []byte(s.AccessKeySecret))
	mac.Write([]byte(stringToSignV1(req.Method, req.URL, params, h)))
	h.Set("Authorization", schemeLOG+" "+s.AccessKeyID+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return nil
}

// contentMD5 is the digest of a body as version 1 writes it, in upper case.
func contentMD5(body []byte) string {
	sum := md5.Sum(body)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// stringToSignV1 is the text that a signature of version 1 covers: method,
// Content-MD5, Content-Type, date, x-log- and x-acs- headers, and the path with
// the decoded query, in lines.
func stringToSignV1(method string, u *url.URL, params []param, h http.Header) string {
	var b strings.Builder
	for _, line := range []string{method, h.Get("Content-MD5"), h.Get("Content-Type"), dateV1(h)} {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	for _, f := range signedHeaders(h) {
		b.WriteString(f.name + ":" + f.value + "\n")
	}
	b.WriteString(escapedPath(u))
	for i, p := range params {
		if i == 0 {
			b.WriteByte('?')
		} else {
			b.WriteByte('&')
		}
		b.WriteString(p.key + "=" + p.value)
	}
	return b.String()
}

// dateV1 is the date that a signature of version 1 covers. x-log-date stands
// in for Date where a client cannot set that.
func dateV1(h http.Header) string {
	if d := h.Get(HeaderDate); d != "" {
		return d
	}
	return h.Get("Date")
}

// hashV1 returns the hash of a signature method, or nil.
func hashV1(method string) func() hash.Hash {
	switch strings.ToLower(method) {
	case methodSHA1:
		return sha1.New
	case methodSHA256:
		return sha256.New
	}
	return nil
}
