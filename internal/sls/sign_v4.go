package sls

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Constants of version 4.
const (
	algorithmV4 = "SLS4-HMAC-SHA256"
	productV4   = "sls"
	requestV4   = "aliyun_v4_request"
	keyPrefixV4 = "aliyun_v4"
	timeV4      = "20060102T150405Z"
)

func (s *Signer) signV4(req *http.Request, body []byte, now time.Time) error {
	h := req.Header
	date := now.Format(timeV4)
	digest := contentSHA256(body)
	h.Set(HeaderDate, date)
	h.Set(HeaderContentSHA256, digest)
	params, perr := queryParams(req.URL.RawQuery)
	if perr != nil {
		return perr
	}
	path := req.URL.Path
	if path == "" {
		path = "/"
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	canonical := canonicalV4(req.Method, path, params, headersV4(h, host), digest)
	scope := scopeV4(date[:8], s.Region)
	h.Set("Authorization", algorithmV4+" Credential="+s.AccessKeyID+"/"+scope+
		",Signature="+hex.EncodeToString(signatureV4(s.AccessKeySecret, s.Region, date, canonical)))
	return nil
}

// contentSHA256 is the digest of a body as version 4 writes it.
func contentSHA256(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// headersV4 returns the headers that a signature of version 4 covers.
func headersV4(h http.Header, host string) []field {
	fields := signedHeaders(h)
	if host != "" {
		fields = append(fields, field{"host", host})
	}
	if v, ok := h["Content-Type"]; ok {
		fields = append(fields, field{"content-type", headerValue(v)})
	}
	sortFields(fields)
	return fields
}

// withoutMeta drops the headers named x-log-meta-*, which some clients do not
// sign.
func withoutMeta(fields []field) []field {
	kept := make([]field, 0, len(fields))
	for _, f := range fields {
		if !strings.HasPrefix(f.name, "x-log-meta-") {
			kept = append(kept, f)
		}
	}
	return kept
}

// canonicalV4 is the canonical request: method, path, query, headers, their
// names and the digest of the body, in lines.
func canonicalV4(method, path string, params []param, headers []field, digest string) string {
	var b strings.Builder
	b.WriteString(method + "\n" + path + "\n")
	for i, p := range params {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.key)
		if p.value != "" {
			b.WriteString("=" + strings.ReplaceAll(url.QueryEscape(p.value), "+", "%20"))
		}
	}
	b.WriteByte('\n')
	for _, f := range headers {
		b.WriteString(f.name + ":" + f.value + "\n")
	}
	b.WriteByte('\n')
	for i, f := range headers {
		if i > 0 {
			b.WriteByte(';')
		}
		b.WriteString(f.name)
	}
	b.WriteString("\n" + digest)
	return b.String()
}

func scopeV4(date, region string) string {
	return date + "/" + region + "/" + productV4 + "/" + requestV4
}

// signatureV4 signs a canonical request with the key that is derived for the
// day and the region. date has the form of x-log-date.
func signatureV4(secret, region, date, canonical string) []byte {
	day := date[:len("20060102")]
	text := algorithmV4 + "\n" + date + "\n" + scopeV4(day, region) + "\n" + contentSHA256([]byte(canonical))
	key := []byte(keyPrefixV4 + secret)
	for _, part := range []string{day, region, productV4, requestV4, text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return key
}

// parseTimeV4 reads an x-log-date.
func parseTimeV4(s string) (time.Time, error) { return time.Parse(timeV4, s) }
