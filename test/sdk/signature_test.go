package sdk

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	stock "github.com/aliyun/aliyun-log-go-sdk"

	"logtail/internal/sls"
)

const (
	keyID  = "LTAIexample"
	secret = "example-secret"
	region = "cn-hangzhou"
)

// TestSignaturesAreTheSDKs signs the same requests with our signer and with
// the SDK's and compares the headers that come out.
func TestSignaturesAreTheSDKs(t *testing.T) {
	for _, target := range []string{
		"/", "/logstores", "/logstores/app/shards/route?key=00ff",
		"/logstores/app?type=log&from=1&to=2&topic=&query=status%3A+500+%7C+select+count%28%2A%29&reverse=true",
		"/logstores/app/shards/0?cursor=MTIz%3D&type=cursor_time", "/machinegroups/a%20b/configs/c?x=%E4%BD%A0&y=a%2Bb",
	} {
		for _, body := range [][]byte{nil, []byte("body"), bytes.Repeat([]byte{0, 1, 2, 255}, 10_000)} {
			for _, version := range []string{"v1", "v4"} {
				t.Run(fmt.Sprintf("%s %s %d", version, target, len(body)), func(t *testing.T) {
					req, err := http.NewRequestWithContext(context.Background(), "POST", "http://endpoint"+target, bytes.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					req.Host = "project.endpoint:8080"
					req.Header.Set(sls.HeaderAPIVersion, sls.APIVersion)
					req.Header.Set(sls.HeaderBodyRawSize, fmt.Sprint(len(body)))
					if body != nil {
						req.Header.Set("Content-Type", sls.ContentTypePB)
					}
					signer := &sls.Signer{
						Credentials: sls.Credentials{AccessKeyID: keyID, AccessKeySecret: secret, SecurityToken: "token"},
						Now:         func() time.Time { return time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC) },
					}
					var theirs stock.Signer = stock.NewSignerV1(keyID, secret)
					if version == "v4" {
						signer.Region = region
						theirs = stock.NewSignerV4(keyID, secret, region)
					}
					if err := signer.Sign(req, body); err != nil {
						t.Fatal(err)
					}
					// The SDK is given the headers that it has not to make itself.
					headers := map[string]string{"Host": req.Host}
					for _, name := range []string{
						sls.HeaderAPIVersion, sls.HeaderBodyRawSize, sls.HeaderSecurityToken, sls.HeaderDate, "Content-Type", "Date",
					} {
						if v := req.Header.Get(name); v != "" {
							headers[name] = v
						}
					}
					if err := theirs.Sign("POST", target, headers, body); err != nil {
						t.Fatal(err)
					}
					want := strings.Replace(headers["Authorization"], "SLS ", "LOG ", 1) // its name for version 1; the documents' is LOG
					if got := req.Header.Get("Authorization"); got != want {
						t.Errorf("Authorization %q, the SDK's %q", got, want)
					}
					for _, name := range []string{"Content-MD5", sls.HeaderContentSHA256, sls.HeaderSignatureMethod} {
						if got := req.Header.Get(name); got != headers[name] {
							t.Errorf("%s %q, the SDK's %q", name, got, headers[name])
						}
					}
				})
			}
		}
	}
}
